package netboxsim_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxsim"
	"github.com/cagenut/cagenut/internal/sim/simclient"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// spoilt is a NetBox with one site behind a real HTTP server, and the box whose rules it obeys.
type spoilt struct {
	t    *testing.T
	base string
	box  *simclient.Client
	site string // its path
}

func startSpoilt(t *testing.T) spoilt {
	t.Helper()
	rules := &sim.Faults{}
	s, err := netboxsim.Open(netboxsim.Options{AdminToken: token, Faults: rules})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	box := simtest.StartWith(t, sim.Options{Faults: rules, Machines: []sim.MachineSpec{{Flavour: sim.FlavourBase}}})
	n := spoilt{t: t, base: web.URL, box: simclient.New(box.AdminURL())}
	if status, _, err := n.do(t.Context(), http.MethodPost, "/api/dcim/sites/", `{"name":"One","slug":"one","status":"active"}`); err != nil || status != http.StatusCreated {
		t.Fatalf("make a site: %d, %v", status, err)
	}
	n.site = "/api/dcim/sites/1/"
	return n
}

func (n spoilt) do(ctx context.Context, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.base+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Close = true // on a kept connection net/http asks again after a reset, by itself
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return res.StatusCode, string(raw), err
}

func (n spoilt) name() string {
	n.t.Helper()
	var got struct{ Name string }
	_, raw, err := n.do(n.t.Context(), http.MethodGet, n.site, "")
	if err != nil || json.Unmarshal([]byte(raw), &got) != nil {
		n.t.Fatalf("read the site: %v: %s", err, raw)
	}
	return got.Name
}

func (n spoilt) rule(f sim.Fault) sim.Fault {
	n.t.Helper()
	f.Machine = sim.NetBox
	f, err := n.box.AddFault(n.t.Context(), f)
	if err != nil {
		n.t.Fatal(err)
	}
	return f
}

func TestRulesSpoilAnswers(t *testing.T) {
	n := startSpoilt(t)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for _, c := range []struct {
		name  string
		rule  sim.Fault
		shows func(status int, body string, err error) bool
	}{
		{"a page instead of JSON", sim.Fault{Action: sim.ActStatus, Status: 500, Body: "<html><title>Server Error</title></html>"},
			func(status int, body string, _ error) bool {
				return status == 500 && strings.Contains(body, "Server Error")
			}},
		{"stale", sim.Fault{Action: sim.ActStatus, Status: 412, Body: `{"detail":"Precondition failed."}`},
			func(status int, _ string, _ error) bool { return status == 412 }},
		{"reset", sim.Fault{Action: sim.ActReset}, func(_ int, _ string, err error) bool { return err != nil }},
		{"hang", sim.Fault{Action: sim.ActHang}, func(_ int, _ string, err error) bool { return err != nil }},
		{"half", sim.Fault{Action: sim.ActMalformed},
			func(status int, body string, err error) bool {
				return status == 200 && err == nil && !json.Valid([]byte(body))
			}},
		{"login page", sim.Fault{Action: sim.ActHTML}, func(status int, body string, _ error) bool { return status == 200 && strings.HasPrefix(body, "<") }},
		{"late", sim.Fault{Action: sim.ActLatency, DelayMS: 5},
			func(status int, body string, _ error) bool { return status == 200 && json.Valid([]byte(body)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Path = `/sites/1/\?brief=1$` // the query counts, other requests are left alone
			rule := n.rule(c.rule)
			if n.name() != "One" {
				t.Error("another request was spoilt")
			}
			if status, body, err := n.do(short(), http.MethodGet, n.site+"?brief=1", ""); !c.shows(status, body, err) {
				t.Errorf("answered %d, %v: %s", status, err, body)
			}
			if status, _, err := n.do(t.Context(), http.MethodGet, n.site+"?brief=1", ""); status != http.StatusOK || err != nil {
				t.Errorf("it was to fire once: %d, %v", status, err)
			}
			if err := n.box.RemoveFault(t.Context(), rule.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A write can be held back before it happened and after; other requests go on meanwhile.
func TestHolds(t *testing.T) {
	for phase, want := range map[string]string{sim.Before: "One", sim.After: "Two"} {
		t.Run(phase, func(t *testing.T) {
			n := startSpoilt(t)
			rule := n.rule(sim.Fault{Method: http.MethodPatch, Phase: phase, Action: sim.ActHold})
			ctx, gone := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, _, err := n.do(ctx, http.MethodPatch, n.site, `{"name":"Two"}`)
				ended <- err
			}()
			hold, err := n.box.WaitHold(t.Context(), rule.ID)
			if err != nil {
				t.Fatal(err)
			}
			if hold.Machine != sim.NetBox || hold.Method != http.MethodPatch || hold.Path != n.site {
				t.Errorf("held: %+v", hold)
			}
			if got := n.name(); got != want {
				t.Errorf("while held %s its effect, the name is %q, want %q", phase, got, want)
			}
			gone()
			if err := <-ended; err == nil {
				t.Error("the request was answered")
			}
			for holds := []sim.Hold{hold}; len(holds) > 0; {
				if holds, err = n.box.Holds(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := n.name(); got != want {
				t.Errorf("after the client left, the name is %q, want %q", got, want)
			}
		})
	}
}

func TestRulesForNetBoxAreChecked(t *testing.T) {
	n := startSpoilt(t)
	if _, err := n.box.AddFault(t.Context(), sim.Fault{Machine: sim.NetBox, Action: sim.ActStuckTask}); err == nil {
		t.Error("a stuck task of NetBox was accepted")
	}
	if _, err := n.box.AddFault(t.Context(), sim.Fault{Action: sim.ActStatus, Status: 500, Count: -1}); err != nil {
		t.Fatal(err)
	}
	if got := n.name(); got != "One" {
		t.Errorf("a rule for every BMC spoilt NetBox: %q", got)
	}
}
