package saltsim_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

// options are a small world; now is its clock.
func options(dir string, now *time.Time) saltsim.Options {
	return saltsim.Options{User: "u", Password: "p", Dir: dir, Clock: func() time.Time { return *now }, Top: []string{"web"},
		Files: map[string]saltsim.SLS{"web": {Takes: time.Minute, States: []saltsim.State{{ID: "motd", Module: "file", Func: "managed", Changes: true}}}}}
}

func open(t *testing.T, o saltsim.Options) *saltsim.Server {
	t.Helper()
	s, err := saltsim.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// client speaks to a server as anybody would.
type client struct {
	t     *testing.T
	s     *saltsim.Server
	token string
}

func (c *client) post(path string, in any) (int, map[string]any) {
	c.t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
	r.Header.Set("X-Auth-Token", c.token)
	w := httptest.NewRecorder()
	c.s.ServeHTTP(w, r)
	var out map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &out) // errors are pages
	return w.Code, out
}

func (c *client) login() {
	c.t.Helper()
	status, out := c.post("/login", map[string]string{"username": "u", "password": "p", "eauth": "sharedsecret"})
	if status != http.StatusOK {
		c.t.Fatalf("login: HTTP %d", status)
	}
	c.token = out["return"].([]any)[0].(map[string]any)["token"].(string)
}

func (c *client) call(low map[string]any) any {
	c.t.Helper()
	status, out := c.post("/", []any{low})
	if status != http.StatusOK {
		c.t.Fatalf("%v: HTTP %d", low, status)
	}
	return out["return"].([]any)[0]
}

// result gives what a job's minion returned; nil: nothing yet.
func (c *client) result(jid string) any {
	c.t.Helper()
	return c.call(map[string]any{"client": "runner", "fun": "jobs.list_job", "jid": jid}).(map[string]any)["Result"].(map[string]any)["web1"]
}

// TestKilled kills the server in a run, cuts its journal as a crash would, and opens it again.
func TestKilled(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := open(t, options(dir, &now))
	if err := s.Start("web1", saltsim.Key("web1")); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, s: s}
	c.login()
	c.call(map[string]any{"client": "wheel", "fun": "key.accept_dict", "match": map[string]any{"minions_pre": []string{"web1"}}})
	c.call(map[string]any{"client": "local_async", "fun": "state.apply", "tgt": []string{"web1"}, "tgt_type": "list", "jid": "20260101000000000000", "kwarg": map[string]any{"test": false}})
	if got := c.result("20260101000000000000"); got != nil {
		t.Errorf("a result before its time: %v", got)
	}
	// Not closed: what was answered is on the disk.
	path := filepath.Join(dir, "salt.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, `{"kind": "delete", "min`...), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, options(dir, &now))
	t.Cleanup(func() { _ = s.Close() })
	if status, _ := (&client{t: t, s: s, token: c.token}).post("/", []any{map[string]any{"client": "wheel", "fun": "key.list_all"}}); status != http.StatusUnauthorized {
		t.Errorf("a token lived through a restart: HTTP %d", status)
	}
	c = &client{t: t, s: s}
	c.login()
	if diff := cmp.Diff([]string{"web1"}, s.Keys("minions")); diff != "" {
		t.Errorf("accepted keys (-want +got):\n%s", diff)
	}
	now = now.Add(time.Minute)
	if got := c.result("20260101000000000000"); got == nil {
		t.Error("no result in time")
	}
	m, ok := s.Minion("web1")
	if !ok || !m.Up || !m.Applied["web/motd"] || m.Runs != 1 {
		t.Errorf("minion %+v, want one that was changed in one run", m)
	}
	if err := s.Start("web2", saltsim.Key("web2")); err != nil { // the journal goes on behind the cut
		t.Fatal(err)
	}
	again := open(t, options(dir, &now))
	t.Cleanup(func() { _ = again.Close() })
	if diff := cmp.Diff([]string{"web2"}, again.Keys("minions_pre")); diff != "" {
		t.Errorf("pending keys (-want +got):\n%s", diff)
	}
}

// TestKeys holds the master's oddities about keys.
func TestKeys(t *testing.T) {
	now := time.Now()
	s := open(t, options("", &now))
	c := &client{t: t, s: s}
	c.login()
	wheel := func(fun string, match any) any {
		return c.call(map[string]any{"client": "wheel", "fun": fun, "match": match}).(map[string]any)["data"].(map[string]any)["return"]
	}
	if got, ok := wheel("key.accept_dict", map[string]any{"minions_pre": []string{"web1"}}).(string); !ok || got == "" {
		t.Errorf("accepting what is not there gave %v, want a text", got)
	}
	for _, key := range []string{"first", "second"} {
		if err := s.Start("web1", saltsim.Key(key)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.Keys("minions_pre")) != 1 || len(s.Keys("minions_denied")) != 1 {
		t.Errorf("pending %v, denied %v; want web1 in both", s.Keys("minions_pre"), s.Keys("minions_denied"))
	}
	if diff := cmp.Diff(map[string]any{}, wheel("key.delete", "web1")); diff != "" {
		t.Errorf("delete (-want +got):\n%s", diff)
	}
	if len(s.Keys("minions_pre")) != 1 || len(s.Keys("minions_denied")) != 0 {
		t.Errorf("pending %v, denied %v; want the minion that still runs to ask again", s.Keys("minions_pre"), s.Keys("minions_denied"))
	}
	if diff := cmp.Diff(map[string]any{}, c.call(map[string]any{"client": "local_async", "fun": "state.apply", "tgt": []string{"web1"}})); diff != "" {
		t.Errorf("a run on nobody (-want +got):\n%s", diff)
	}
}

// TestServices holds what keeps a service running, and that a host which is installed anew has forgotten it.
func TestServices(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 250_000_000, time.UTC)
	o := options("", &now)
	o.Files["web"] = saltsim.SLS{States: []saltsim.State{
		{ID: "nginx", Module: "service", Func: "running", Name: "nginx.service", Changes: true},
		{ID: "sshd", Module: "service", Func: "running"},
		{ID: "broken", Module: "service", Func: "running", Fail: "it does not start"},
		{ID: "motd", Module: "file", Func: "managed", Changes: true},
	}}
	s := open(t, o)
	c := &client{t: t, s: s}
	c.login()
	enrol := func(key string) {
		t.Helper()
		if err := s.Start("web1", saltsim.Key(key)); err != nil {
			t.Fatal(err)
		}
		c.call(map[string]any{"client": "wheel", "fun": "key.accept_dict", "match": map[string]any{"minions_pre": []string{"web1"}}})
	}
	ask := func(fun string, arg ...any) (any, any) {
		t.Helper()
		a := c.call(map[string]any{"client": "local", "fun": fun, "tgt": []string{"web1"}, "arg": arg, "full_return": true}).(map[string]any)["web1"].(map[string]any)
		return a["ret"], a["retcode"]
	}
	check := func(when string, nginx bool) {
		t.Helper()
		for name, want := range map[string]bool{"nginx": nginx, "nginx.service": nginx, "sshd": true, "broken": false, "motd": false, "cron": false} {
			if got, _ := ask("service.status", name); got != want {
				t.Errorf("%s: %s runs: %v, want %t", when, name, got, want)
			}
		}
	}
	enrol("first")
	check("new", false)
	c.call(map[string]any{"client": "local_async", "fun": "state.apply", "tgt": []string{"web1"}, "jid": "1", "kwarg": map[string]any{"test": true}})
	check("after a test run", false)
	c.call(map[string]any{"client": "local_async", "fun": "state.apply", "tgt": []string{"web1"}, "jid": "2", "kwarg": map[string]any{"test": false}})
	check("applied", true)
	if err := s.Start("web1", saltsim.Key("first")); err != nil {
		t.Fatal(err)
	}
	check("restarted", true)
	if err := s.Stop("web1"); err != nil {
		t.Fatal(err)
	}
	c.call(map[string]any{"client": "wheel", "fun": "key.delete", "match": "web1"})
	enrol("second")
	check("installed anew", false)

	if got, code := ask("file.read", "/etc/shadow"); code != 1.0 {
		t.Errorf("another file gave %v with code %v", got, code)
	}
	if got, code := ask("status.time", "%s.%f"); got != "1767225600.250000" || code != 0.0 {
		t.Errorf("the time is %v, code %v", got, code)
	}
}
