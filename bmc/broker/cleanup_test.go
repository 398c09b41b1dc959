package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

const killedVariable = "CAGENUT_TEST_KILLED" // address, certificate and state folder of TestKilled's process

// TestKilledProcess is no test but the process that TestKilled kills.
func TestKilledProcess(t *testing.T) {
	about := strings.Split(os.Getenv(killedVariable), "|")
	if len(about) != 3 {
		t.Skip("runs in TestKilled alone")
	}
	pool := broker.NewPool()
	cfg := broker.Config{
		Endpoint: bmc.Endpoint{Address: about[0], Pin: about[1]}, Credentials: bmc.Credentials{User: "admin", Password: "pa55word"},
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, StateDir: about[2],
	}
	if _, err := pool.Dial(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Dial(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	fmt.Println("logged in twice")
	select {}
}

// killed leaves two sessions on f by a process that is killed.
func killed(t *testing.T, f *fakeBMC, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), killedVariable+"="+strings.Join([]string{f.host, broker.Fingerprint(f.Certificate()), dir}, "|"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len("logged in twice"))
	if _, err := out.Read(said); err != nil || string(said) != "logged in twice" {
		t.Fatalf("the process says %q, %v", said, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if f.open() != 2 {
		t.Fatalf("%d sessions were left, want 2", f.open())
	}
}

// A worker that was killed with two sessions open gives both back when it starts again, without a
// login, and never has a third.
func TestKilled(t *testing.T) {
	f := newFakeBMC(t)
	dir := t.TempDir()
	killed(t, f, dir)
	pool := broker.NewPool()
	defer pool.Close(context.Background())
	logins := f.count("POST")
	if err := pool.CleanUp(t.Context(), broker.Config{Allow: f.config().Allow, StateDir: dir}); err != nil {
		t.Fatal(err)
	}
	if n := f.open(); n != 0 || f.count("POST") != logins {
		t.Errorf("%d sessions are left, and %d logins were spent", n, f.count("POST")-logins)
	}
	if err := pool.CleanUp(t.Context(), broker.Config{Allow: f.config().Allow, StateDir: dir}); err != nil {
		t.Errorf("again: %v", err)
	}
	if f.most > 2 {
		t.Errorf("%d sessions at once", f.most)
	}
}

// Whoever shows another certificate is sent no token; whoever refuses the token keeps its place in the
// journal until a login tells.
func TestCleanUpIsCareful(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(f *fakeBMC, dir string)
		want error
		sent int // DELETEs
	}{
		"another certificate": {set: func(f *fakeBMC, dir string) {
			path := dir + "/" + journalOf(t, dir)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, path, strings.ReplaceAll(string(raw), broker.Fingerprint(f.Certificate()), strings.Repeat("AB:", 31)+"AB"))
		}, want: bmc.ErrPinChanged},
		"another network": {set: func(*fakeBMC, string) {}, want: bmc.ErrNotAllowed},
		"the tokens are unknown": {set: func(f *fakeBMC, _ string) {
			f.handler = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodDelete && r.Header.Get("X-Auth-Token") != "token-3" {
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				return false
			}
		}, sent: 2},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeBMC(t)
			dir := t.TempDir()
			killed(t, f, dir)
			tt.set(f, dir)
			allow := f.config().Allow
			if errors.Is(tt.want, bmc.ErrNotAllowed) {
				allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			}
			pool := broker.NewPool()
			defer pool.Close(context.Background())
			if err := pool.CleanUp(t.Context(), broker.Config{Allow: allow, StateDir: dir}); !errors.Is(err, tt.want) {
				t.Errorf("CleanUp: %v, want %v", err, tt.want)
			}
			if n := f.count("DELETE"); n != tt.sent || f.open() != 2 {
				t.Errorf("%d DELETEs and %d sessions left, want %d and 2", n, f.open(), tt.sent)
			}
			if leftJournal(t, dir) == "" {
				t.Error("the journal has forgotten the sessions")
			}
		})
	}
}

func journalOf(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("journals %v, %v", entries, err)
	}
	return entries[0].Name()
}

func leftJournal(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(dir + "/" + journalOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
