//go:build e2e

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/devstack/pgdev"
)

// home makes this test binary a program that runs the case named by what in that folder.
const home, what = "CAGENUT_TEST_HOME", "CAGENUT_TEST_CASE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(home); dir != "" {
		run := map[string]func(string) error{"interrupted": interrupted, "fresh": fresh, "cached": cached}[os.Getenv(what)]
		if err := run(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestDownload is a person without root and without PostgreSQL. Somebody who gives up in the middle of
// the download gets the prompt back; the next start works, and the one after it downloads nothing.
func TestDownload(t *testing.T) {
	dir, err := os.MkdirTemp("", "cagenut-download-") // not t.TempDir, which is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "program")
	copyTo(t, program)
	mine := filepath.Join(dir, "home")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(mine, 0o700)); err != nil {
		t.Fatal(err)
	}
	as := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := os.Chown(mine, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		as.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	for _, name := range []string{"interrupted", "fresh", "cached"} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, program)
			cmd.Dir, cmd.SysProcAttr = mine, as
			cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + mine, "TMPDIR=" + mine, home + "=" + mine, what + "=" + name}
			for _, proxy := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"} {
				if v, set := os.LookupEnv(proxy); set {
					cmd.Env = append(cmd.Env, proxy+"="+v)
				}
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%.1f s: %s", time.Since(began).Seconds(), out)
		})
	}
}

func copyTo(t *testing.T, name string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(out, in); errors.Join(err, out.Close()) != nil {
		t.Fatal(err)
	}
}

func options(dir string) pgdev.Options {
	return pgdev.Options{DataDir: filepath.Join(dir, "data"), CacheDir: filepath.Join(dir, "cache"), Downloaded: true}
}

// interrupted gives up as soon as the download has begun.
func interrupted(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := pgdev.Start(ctx, options(dir))
		ended <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := false; !began; {
		select {
		case err := <-ended:
			return fmt.Errorf("it ended before it was interrupted: %w", err)
		case <-tick.C:
			found, err := filepath.Glob(filepath.Join(dir, "cache", "*", "scratch-*"))
			if err != nil {
				return err
			}
			began = len(found) > 0
		}
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("interrupted, it ended with %w", err)
		}
	case <-time.After(time.Second):
		return errors.New("it did not end within a second of being interrupted")
	}
	fmt.Println("ended at once")
	return nil
}

// fresh downloads and uses it.
func fresh(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "data", "pgdata")); err == nil {
		return errors.New("the interrupted start made a cluster")
	}
	return use(dir)
}

// cached does not download again: what is there is what the one before left.
func cached(dir string) error {
	stamp := func() (time.Time, error) {
		found, err := filepath.Glob(filepath.Join(dir, "cache", "*", "dist", "bin", "postgres"))
		if err != nil || len(found) != 1 {
			return time.Time{}, fmt.Errorf("in the cache: %v, %w", found, err)
		}
		var at syscall.Stat_t
		err = syscall.Stat(found[0], &at)
		return time.Unix(at.Ctim.Unix()), err
	}
	before, err := stamp()
	if err != nil {
		return err
	}
	if err := use(dir); err != nil {
		return err
	}
	after, err := stamp()
	if err == nil && !after.Equal(before) {
		err = errors.New("it was downloaded again")
	}
	return err
}

func use(dir string) error {
	ctx := context.Background()
	s, err := pgdev.Start(ctx, options(dir))
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	var version string
	err = conn.QueryRow(ctx, `select split_part(version(), ' on ', 1) || ' as user ' || (select usename from pg_user limit 1)`).Scan(&version)
	if err == nil && !strings.HasPrefix(version, "PostgreSQL 18.") {
		err = fmt.Errorf("this is %s, not the build that is downloaded", version)
	}
	fmt.Println(version)
	leftover, globErr := filepath.Glob(filepath.Join(dir, "cache", "*", "scratch-*"))
	if len(leftover) > 0 {
		err = errors.Join(err, fmt.Errorf("left in the cache: %v", leftover))
	}
	return errors.Join(err, globErr, conn.Close(ctx), s.Stop())
}
