package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// DefaultCacheDir is where downloaded binaries are kept. For root it lies outside of root's home,
// which the server's user could not enter.
func DefaultCacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/cagenut", nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("pgdev: cache folder: %w", err)
	}
	return filepath.Join(base, "cagenut"), nil
}

// findBinaries gives the folder of initdb, postgres and pg_ctl: the machine's own, else a
// downloaded build. major is the version that an existing data folder needs; empty: any.
func findBinaries(ctx context.Context, o Options, major string) (string, error) {
	if !o.Downloaded {
		if bin, err := installed(ctx, major); err == nil {
			return bin, nil
		}
	}
	cache := o.CacheDir
	if cache == "" {
		var err error
		if cache, err = DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	return download(ctx, cache, major)
}

// installed finds the newest version on this machine, or the one that major names.
func installed(ctx context.Context, major string) (string, error) {
	candidates, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", fmt.Errorf("pgdev: %w", err)
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		candidates = append(candidates, filepath.Dir(p))
	}
	best, bestMajor := "", 0
	for _, dir := range candidates {
		v, err := majorOf(ctx, dir)
		if err != nil || (major != "" && strconv.Itoa(v) != major) {
			continue
		}
		if v > bestMajor {
			best, bestMajor = dir, v
		}
	}
	if best == "" {
		return "", fmt.Errorf("pgdev: no PostgreSQL %s on this machine", major)
	}
	return best, nil
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// majorOf gives the version of the binaries in a folder; an error when one is missing or does not run.
func majorOf(ctx context.Context, dir string) (int, error) {
	for _, tool := range []string{"initdb", "pg_ctl"} {
		if _, err := os.Stat(filepath.Join(dir, tool)); err != nil {
			return 0, err
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("postgres --version says %q", out)
	}
	return strconv.Atoi(string(m[1]))
}

// download fetches a build into the cache, once. The library that does it cannot be interrupted: when
// ctx ends first, it finishes in the background (it has its own time-outs) and keeps the cache's lock
// until then.
func download(ctx context.Context, cache, major string) (string, error) {
	version := string(embedded.V18)
	if major != "" && !strings.HasPrefix(version, major+".") {
		return "", fmt.Errorf("pgdev: the data folder was made by PostgreSQL %s, which is not on this machine: "+
			"install it (Debian: apt-get install postgresql-%s), or remove the folder to begin anew", major, major)
	}
	home := filepath.Join(cache, "postgresql-"+version)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", fmt.Errorf("pgdev: cache folder: %w", err)
	}
	lock, err := acquire(ctx, filepath.Join(home, "lock"), fetchWait)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(home, "dist", "bin")
	if _, err := majorOf(ctx, bin); err == nil {
		return bin, lock.Close()
	}
	if err := ctx.Err(); err != nil {
		return "", errors.Join(fmt.Errorf("pgdev: download PostgreSQL: %w", err), lock.Close())
	}
	ended := make(chan error, 1)
	go func() {
		defer lock.Close()
		ended <- fetch(context.WithoutCancel(ctx), home)
	}()
	select {
	case err := <-ended:
		return bin, err
	case <-ctx.Done():
		return "", fmt.Errorf("pgdev: download PostgreSQL: %w", ctx.Err())
	}
}

// fetch downloads into home/dist, by way of a folder beside it. The library that knows how also starts
// a server when it is allowed to, on a scratch folder; as root it fails after unpacking, which is all
// that is wanted: what counts is that the unpacked binaries run.
func fetch(ctx context.Context, home string) error {
	old, err := filepath.Glob(filepath.Join(home, "scratch-*")) // of one that was killed: we hold the lock
	if err != nil {
		return fmt.Errorf("pgdev: %w", err)
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("pgdev: cache folder: %w", err)
		}
	}
	scratch, err := os.MkdirTemp(home, "scratch-")
	if err != nil {
		return fmt.Errorf("pgdev: %w", err)
	}
	defer os.RemoveAll(scratch)
	port, err := freePort()
	if err != nil {
		return err
	}
	dist := filepath.Join(scratch, "dist")
	server := embedded.NewDatabase(embedded.DefaultConfig().Version(embedded.V18).Port(uint32(port)).
		CachePath(filepath.Join(scratch, "archive")).RuntimePath(filepath.Join(scratch, "run")).
		DataPath(filepath.Join(scratch, "data")).BinariesPath(dist).Logger(io.Discard))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop()
	}
	if _, err := majorOf(ctx, filepath.Join(dist, "bin")); err != nil {
		return fmt.Errorf("pgdev: no PostgreSQL on this machine (Debian: apt-get install postgresql), and downloading one failed: %w",
			errors.Join(startErr, err))
	}
	if err := openForAll(dist); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(home, "dist")), os.Rename(dist, filepath.Join(home, "dist"))); err != nil {
		return fmt.Errorf("pgdev: cache folder: %w", err)
	}
	return nil
}

// openForAll lets every user read what was unpacked: as root the server runs as somebody else.
func openForAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if d.IsDir() || slices.Contains([]string{"bin", "lib"}, filepath.Base(filepath.Dir(name))) {
			mode |= 0o111
		}
		return os.Chmod(name, mode)
	})
}
