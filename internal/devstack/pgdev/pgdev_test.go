package pgdev_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/devstack/pgdev"
)

// ownerDir makes this test binary a program that starts a cluster in that folder, says so, and
// stays until it is killed.
const ownerDir = "PGDEV_TEST_OWNER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerDir); dir != "" {
		s, err := pgdev.Start(context.Background(), pgdev.Options{DataDir: dir})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("ready")
		<-s.Exited()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestDataOutlivesStop(t *testing.T) {
	dir := folder(t)
	s := start(t, pgdev.Options{DataDir: dir, TCP: true})
	exec1(t, s.URL(), `create table kept (n int)`)
	exec1(t, s.TCPURL(), `insert into kept values (7)`)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(t.Context(), s.URL()); err == nil {
		t.Fatal("the server still answers after Stop")
	}
	s = start(t, pgdev.Options{DataDir: dir})
	wantKept(t, s.URL())
}

func TestKilledOwner(t *testing.T) {
	tests := []struct {
		name string
		kill func(t *testing.T, owner int, dir string)
	}{
		{"owner", func(t *testing.T, owner int, _ string) { kill(t, owner) }},
		{"owner and keeper: the server is left running", func(t *testing.T, owner int, _ string) {
			kill(t, keeperOf(t, owner))
			kill(t, owner)
		}},
		{"all: the pid file is left", func(t *testing.T, owner int, dir string) {
			kill(t, keeperOf(t, owner))
			kill(t, postmaster(t, dir))
			kill(t, owner)
		}},
		{"all, and the number in the pid file is another process now", func(t *testing.T, owner int, dir string) {
			kill(t, keeperOf(t, owner))
			kill(t, postmaster(t, dir))
			kill(t, owner)
			file := filepath.Join(dir, "pgdata", "postmaster.pid")
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(raw), "\n")
			if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getppid())+"\n"+rest), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t)
			s := start(t, pgdev.Options{DataDir: dir})
			exec1(t, s.URL(), `create table kept (n int)`)
			exec1(t, s.URL(), `insert into kept values (7)`)
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			owner := exec.Command(os.Args[0])
			owner.Env = append(os.Environ(), ownerDir+"="+dir)
			out, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("owner said %q, %v", line, err)
			}
			old := postmaster(t, dir)
			tt.kill(t, owner.Process.Pid, dir)
			_ = owner.Wait() // killed

			s = start(t, pgdev.Options{DataDir: dir})
			wantKept(t, s.URL())
			if now := postmaster(t, dir); now == old {
				t.Errorf("server process %d is still the old one", now)
			}
		})
	}
}

// A server that was killed is started again by its owner, at the same address.
func TestKilledServer(t *testing.T) {
	dir := folder(t)
	s := start(t, pgdev.Options{DataDir: dir})
	exec1(t, s.URL(), `create table kept (n int)`)
	exec1(t, s.URL(), `insert into kept values (7)`)
	kill(t, s.PID())
	select {
	case <-s.Exited():
	case <-time.After(20 * time.Second):
		t.Fatal("Exited does not tell of the kill")
	}
	if err := s.Stop(); err != nil {
		t.Fatalf("Stop after the kill: %v", err)
	}
	again := start(t, pgdev.Options{DataDir: dir})
	if again.URL() != s.URL() {
		t.Errorf("URL is %s, was %s", again.URL(), s.URL())
	}
	wantKept(t, again.URL())
}

func TestClusterInUseIsRefused(t *testing.T) {
	dir := folder(t)
	start(t, pgdev.Options{DataDir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := pgdev.Start(ctx, pgdev.Options{DataDir: dir}); err == nil || !strings.Contains(err.Error(), dir+" is in use") {
		t.Errorf("second Start = %v, want an error that names %s as in use", err, dir)
	}
}

func TestEphemeralLeavesNothing(t *testing.T) {
	dir := filepath.Join(folder(t), "sub")
	s, err := pgdev.Start(t.Context(), pgdev.Options{DataDir: dir, Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pgdata")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("data folder after Stop: %v, want it gone", err)
	}
}

// A caller may keep the URL alone.
func TestServerOutlivesItsHandle(t *testing.T) {
	s, err := pgdev.Start(t.Context(), pgdev.Options{DataDir: filepath.Join(folder(t), "sub"), Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	url, exited := s.URL(), s.Exited()
	runtime.GC()
	runtime.GC()
	select {
	case <-exited:
		t.Fatal("the server ended with its handle")
	case <-time.After(200 * time.Millisecond):
		exec1(t, url, `select 1`)
	}
}

func TestDataDirIsNeeded(t *testing.T) {
	if _, err := pgdev.Start(t.Context(), pgdev.Options{}); err == nil || !strings.Contains(err.Error(), "DataDir") {
		t.Errorf("Start without DataDir = %v, want an error that names it", err)
	}
}

// folder is a temporary folder that the server's user can reach: t.TempDir's parents are 0700.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cagenut-pgdev-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, o pgdev.Options) *pgdev.Server {
	t.Helper()
	s, err := pgdev.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func exec1(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func wantKept(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), `select n from kept`).Scan(&n); err != nil || n != 7 {
		t.Errorf("kept row = %d, %v, want 7", n, err)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "pgdata", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// keeperOf finds the keeper among the children of a process.
func keeperOf(t *testing.T, owner int) int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) > 2 && f[1] == strconv.Itoa(owner) && strings.Contains(line, "cagenut-pg-keeper") {
			pid, err := strconv.Atoi(f[0])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("process %d has no keeper", owner)
	return 0
}
