//go:build e2e

// Package configmgmt_test runs the conformance suite of configuration-management drivers against real
// Salt and real Ansible, and what the box cannot show.
package configmgmt_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/configmgmttest"
	"github.com/cagenut/cagenut/configmgmt/salt"
	"github.com/cagenut/cagenut/test/e2e/saltlab"
)

// venv gives the folder of the programs of salt or ansible.
func venv(t *testing.T, what string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../scripts/configmgmt-venv.sh", what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("configmgmt-venv.sh %s: %v", what, err)
	}
	return strings.TrimSpace(string(out))
}

// marks counts the lines of a file that may not be there.
func marks(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// states are the SLS files of the suite's kinds. %DIR% is the folder of the hosts.
var states = map[configmgmttest.Kind]string{
	configmgmttest.Clean: `
there:
  file.exists:
    - name: /etc
`,
	configmgmttest.Change: `
motd:
  file.managed:
    - name: %DIR%/{{ grains.id }}/changed
    - contents: hello
`,
	configmgmttest.Slow: `
mark:
  cmd.run:
    - name: echo run >> marks; while [ ! -e release ]; do sleep 0.1; done
    - cwd: %DIR%/{{ grains.id }}
`,
	configmgmttest.Fail: `
service:
  test.succeed_without_changes:
    - require:
      - test: root
root:
  test.fail_without_changes:
    - comment: ` + configmgmttest.Words + `
`,
	configmgmttest.Render:  "x: {{ nothing.here }}\n",
	configmgmttest.Nothing: "{}\n",
}

// minion is a minion of a lab as the suite's host.
type minion struct {
	*saltlab.Lab
	id          string
	fingerprint string
}

func (m *minion) Target() configmgmt.Target     { return configmgmt.Target{Name: m.id} }
func (m *minion) Fingerprint(*testing.T) string { return m.fingerprint }
func (m *minion) Rekey(t *testing.T)            { m.fingerprint = m.Minion(t, m.id) }
func (m *minion) Changed(t *testing.T) bool     { return exists(t, m.Host(m.id, "changed")) }
func (m *minion) Marks(t *testing.T) int        { return marks(t, m.Host(m.id, "marks")) }
func (m *minion) Release(t *testing.T)          { m.File(t, "hosts/"+m.id+"/release", "") }
func (m *minion) Hold(t *testing.T)             { remove(t, m.Host(m.id, "release")) }
func (m *minion) Stop(t *testing.T)             { m.StopMinion(t, m.id) }
func (m *minion) Start(t *testing.T)            { m.StartMinion(t, m.id) }
func (m *minion) open(t *testing.T) configmgmt.Driver {
	t.Helper()
	d, err := salt.New(salt.Options{URL: m.URL, User: saltlab.User, Password: m.Password, RootCAs: m.Roots, Settle: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func startSalt(t *testing.T) *minion {
	t.Helper()
	lab := saltlab.Start(t, venv(t, "salt"), nil)
	for kind, text := range states {
		lab.File(t, "srv/salt/"+string(kind)+".sls", strings.ReplaceAll(text, "%DIR%", lab.Dir+"/hosts"))
	}
	m := &minion{Lab: lab, id: "srv-101"}
	m.Rekey(t)
	return m
}

func saltHarness(m *minion) configmgmttest.Harness {
	return configmgmttest.Harness{
		Open: m.open, Host: m, Facts: thisMachine, Within: 3 * time.Minute, Every: 250 * time.Millisecond,
		Spec: func(k configmgmttest.Kind) configmgmt.Spec {
			return configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{string(k)}}}
		},
		Lose: func(t *testing.T, _ configmgmt.Handle) { m.Stop(t); m.Start(t) },
	}
}

// TestSalt runs the suite against a real Salt, with the account that docs/salt.md describes, and then
// what the box cannot show.
func TestSalt(t *testing.T) {
	m := startSalt(t)
	t.Run("Fingerprint", func(t *testing.T) {
		// What the minion itself says of its key is what the driver computes from the master's copy.
		if got, err := configmgmt.Fingerprint(m.Key(t, m.id)); err != nil || got != m.fingerprint {
			t.Errorf("the minion says %s, %v; we compute %s", got, err, m.fingerprint)
		}
	})
	t.Run("Suite", func(t *testing.T) { configmgmttest.Run(t, saltHarness(m)) })

	second := &minion{Lab: m.Lab, id: "srv-102"}
	second.Rekey(t)
	d := second.open(t)
	t.Cleanup(func() { _ = d.Close() })
	until(t, "srv-102", func() error {
		if err := d.Enroll(t.Context(), second.Target(), second.fingerprint); err != nil {
			return err
		}
		return d.Reach(t.Context(), second.Target())
	})
	request := func(t *testing.T, k configmgmttest.Kind) configmgmt.Request {
		return configmgmt.Request{Operation: "op_01K3Z5T9Q4W8R2YB6N7M1XCVDE", Step: t.Name(), Attempt: 1, Target: second.Target(), Spec: saltHarness(second).Spec(k)}
	}
	t.Run("RestartOfSaltAPI", func(t *testing.T) {
		second.Hold(t)
		h, err := d.Apply(t.Context(), request(t, configmgmttest.Slow))
		if err != nil {
			t.Fatal(err)
		}
		second.StopAPI(t)
		if _, err := d.Poll(t.Context(), h); !errors.Is(err, configmgmt.ErrUnreachable) {
			t.Errorf("poll without salt-api: %v, want %v", err, configmgmt.ErrUnreachable)
		}
		second.StartAPI(t)
		until(t, "salt-api to answer", func() error { _, err := d.Ping(t.Context()); return err })
		if r, err := d.Poll(t.Context(), h); err != nil || r.State != configmgmt.Running {
			t.Errorf("poll: %+v, %v; want a running run", r, err)
		}
		second.Release(t)
		if r := ended(t, d, h); r.State != configmgmt.Succeeded || second.Marks(t) != 1 {
			t.Errorf("report %+v after %d marks, want success after one", r, second.Marks(t))
		}
	})
	t.Run("PublishedTwice", func(t *testing.T) {
		// The crash between the request and its effect: whoever comes next sees no job yet.
		blind := second.blind(t)
		second.Release(t)
		before := second.Marks(t)
		var h configmgmt.Handle
		for range 2 {
			var err error
			if h, err = blind.Apply(t.Context(), request(t, configmgmttest.Slow)); err != nil || h.Found {
				t.Fatalf("Apply = %+v, %v; want a run that seems new", h, err)
			}
		}
		if r := ended(t, d, h); r.State != configmgmt.Succeeded {
			t.Errorf("report %+v, want success", r)
		}
		// Whatever the minion got is behind it: it answers in order.
		if r := ended(t, d, apply(t, d, request(t, configmgmttest.Clean), 2)); r.State != configmgmt.Succeeded {
			t.Errorf("the next run: %+v, want success", r)
		}
		if got := second.Marks(t); got != before+1 {
			t.Errorf("it ran %d times, want once", got-before)
		}
	})
	t.Run("NoOtherFile", func(t *testing.T) {
		for path, want := range map[string]bool{"/etc/os-release": false, "/etc/shadow": true, "/etc/os-release/../shadow": true, "/x/etc/os-release": true} {
			if got := second.refused(t, "file.read", path); got != want {
				t.Errorf("reading %s is refused: %t, want %t", path, got, want)
			}
		}
		if !second.refused(t, "file.readlink", "/etc/os-release") {
			t.Error("a function that begins like file.read is allowed")
		}
	})
	t.Run("WrongPassword", func(t *testing.T) {
		wrong, err := salt.New(salt.Options{URL: m.URL, User: saltlab.User, Password: "wrong", RootCAs: m.Roots})
		if err != nil {
			t.Fatal(err)
		}
		defer wrong.Close()
		if _, err := wrong.Ping(t.Context()); !errors.Is(err, configmgmt.ErrDenied) {
			t.Errorf("error %v, want %v", err, configmgmt.ErrDenied)
		}
	})
}

// refused tells whether salt-api refuses the account of the driver a call.
func (m *minion) refused(t *testing.T, fun string, args ...string) bool {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: m.Roots}}}
	defer client.CloseIdleConnections()
	token := ""
	post := func(path string, body any) int {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.URL+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Auth-Token", token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		token = resp.Header.Get("X-Auth-Token")
		return resp.StatusCode
	}
	if status := post("/login", map[string]string{"username": saltlab.User, "password": m.Password, "eauth": "sharedsecret"}); status != http.StatusOK {
		t.Fatalf("login: HTTP %d", status)
	}
	status := post("/", []any{map[string]any{"client": "local", "fun": fun, "tgt": []string{m.id}, "tgt_type": "list", "arg": args}})
	if status != http.StatusOK && status != http.StatusUnauthorized {
		t.Errorf("%s %v: HTTP %d", fun, args, status)
	}
	return status == http.StatusUnauthorized
}

// blind gives a driver to which the master says, of every job, that it does not know it.
func (m *minion) blind(t *testing.T) configmgmt.Driver {
	t.Helper()
	target, err := url.Parse(m.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: m.Roots}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if strings.Contains(string(body), "jobs.list_job") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"return": [{"Error": "Cannot contact returner or no job with this jid", "Result": {}}]}`)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	d, err := salt.New(salt.Options{URL: web.URL, User: saltlab.User, Password: m.Password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// apply starts a run of an attempt.
func apply(t *testing.T, d configmgmt.Driver, r configmgmt.Request, attempt int) configmgmt.Handle {
	t.Helper()
	r.Attempt = attempt
	h, err := d.Apply(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ended polls until a run is over.
func ended(t *testing.T, d configmgmt.Driver, h configmgmt.Handle) configmgmt.Report {
	t.Helper()
	var r configmgmt.Report
	until(t, "the end of run "+h.Job, func() (err error) {
		if r, err = d.Poll(t.Context(), h); err == nil && r.State == configmgmt.Running {
			err = errors.New("it still runs")
		}
		return err
	})
	return r
}
