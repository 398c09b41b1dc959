package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

func TestRoundTripperAddsTheLogin(t *testing.T) {
	f := newFakeBMC(t)
	c := dial(t, f.config())
	client := &http.Client{Transport: c.RoundTripper()}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL+"/redfish/v1/Systems/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("library", "its own idea")
	req.Close = true
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(body) != `{"Id":"1"}` {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if _, err := client.Get("https://192.0.2.1/redfish/v1/"); !errors.Is(err, bmc.ErrNotAllowed) {
		t.Errorf("another host: %v", err)
	}
}

func TestCrashLeavesNoSession(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("answer lost %v", lost), func(t *testing.T) {
			f := newFakeBMC(t)
			dir := t.TempDir()
			cfg := f.config()
			cfg.StateDir = dir
			c, err := broker.Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			// The crash: the journal as it stood then is what the next process finds. When the
			// answer to the login was lost, it has the intent only.
			journal := crash(t, dir, lost)
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.set(func() {
				f.sessions[sessionsPath+"/1"] = "token-1"
				f.sessions[sessionsPath+"/77"] = "of a person elsewhere"
				f.handler = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == sessionsPath+"/77" {
						fmt.Fprint(w, `{"UserName":"admin","ClientOriginIPAddress":"192.0.2.7"}`)
						return true
					}
					return false
				}
			})
			writeFile(t, journal.path, journal.content)
			pool := broker.NewPool()
			defer pool.Close(context.Background())
			logins := f.count("POST")
			if err := pool.CleanUp(t.Context(), broker.Config{Allow: cfg.Allow, StateDir: dir}); err != nil {
				t.Fatal(err)
			}
			if f.count("POST") != logins {
				t.Error("cleaning up spent a login")
			}
			if lost {
				// Nobody knows the session's URI or token: the next login looks for it.
				c, err := pool.Dial(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				c.Retire()
				if err := c.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if f.open() != 1 || f.sessions[sessionsPath+"/77"] == "" {
				t.Errorf("sessions %v; want only the other person's", f.sessions)
			}
			if f.most > 3 {
				t.Errorf("%d sessions at once, want two of ours and the other person's", f.most)
			}
		})
	}
}

type journalFile struct{ path, content string }

func crash(t *testing.T, dir string, answerLost bool) journalFile {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("journals %v, %v", entries, err)
	}
	path := dir + "/" + entries[0].Name()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "pa55word") {
		t.Errorf("the journal holds the password: %s", raw)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the journal, which holds the session's token, has the mode %v, %v", info.Mode(), err)
	}
	lines := strings.SplitAfter(string(raw), "\n")
	if answerLost {
		return journalFile{path, lines[0] + lines[1][:len(lines[1])/2]}
	}
	return journalFile{path, string(raw)}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStateFolderHasOneOwner(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	cfg.StateDir = t.TempDir()
	dial(t, cfg)
	if _, err := broker.Dial(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "state folder") {
		t.Errorf("a second owner: %v", err)
	}
}

func TestPool(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	cfg.StateDir = t.TempDir()
	clock := cfg.Clock.(*fakeClock)
	pool := broker.NewPool()
	first, err := pool.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(t.Context()); err != nil || f.open() != 0 {
		t.Errorf("a first contact was kept: %v, %d open", err, f.open())
	}
	f.set(func() { f.log = nil })
	cfg.Endpoint.Pin = first.Fingerprint()
	for range 3 {
		c, err := pool.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		mustGet(t, c, "/redfish/v1/Systems/1")
		if err := errors.Join(c.Close(t.Context()), c.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count("POST"); n != 1 {
		t.Errorf("%d logins, want 1 for all three", n)
	}
	if err := pool.CloseIdle(t.Context(), time.Minute); err != nil || f.open() != 1 {
		t.Errorf("CloseIdle closed a fresh one: %v, %d open", err, f.open())
	}
	_ = clock.Sleep(t.Context(), time.Minute)
	if err := pool.CloseIdle(t.Context(), time.Minute); err != nil || f.open() != 0 {
		t.Errorf("CloseIdle: %v, %d open", err, f.open())
	}
	a, err := pool.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pool.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pool.Dial(t.Context(), cfg)
	wantKind(t, err, bmc.ErrBusy)
	a.Retire()
	if err := errors.Join(a.Close(t.Context()), pool.Close(t.Context()), b.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if f.open() != 0 || f.most != 2 {
		t.Errorf("%d sessions left, at most %d; want 0 and 2", f.open(), f.most)
	}
}
