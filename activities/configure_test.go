package activities_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

const (
	configOp = operation.ID("op_01K3Z5T9Q4W8R2YB6N7M1XCVDE")
	oldOp    = operation.ID("op_01JD0000000000000000000000")
)

var system = plan.System{Digest: "d1", Host: "srv-01", Driver: "salt"}

// hosted drives steps that are about one host. Its clock moves a second with every look, and nobody waits.
type hosted struct {
	t     *testing.T
	host  *oneHost
	site  *activities.Site
	call  activities.Call
	wrote []string
}

func newHosted(t *testing.T, h *oneHost, kind string, want any) *hosted {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &hosted{t: t, host: h,
		site: &activities.Site{Configs: h, Clock: func() time.Time { now = now.Add(time.Second); return now }},
		call: activities.Call{Operation: configOp, Asset: asset.Ref{ID: 1, Name: "srv-01", Serial: "S"}, Attempt: 1, Round: 1,
			Step: plan.Step{Name: kind, Kind: kind, Version: 1, DeadlineSec: 3600, Want: plan.Encode(want)},
			Known: operation.Known{Network: &netconf.Network{Hostname: "srv-01"},
				Installed: &operation.Installed{Digest: "d1", OS: "debian 12", Fingerprint: "aabb", Operation: configOp, Proved: configOp}}}}
}

// do drives the step to its end; with twice every call is made again with its old handle, as after the loss
// of a worker between effect and answer.
func (h *hosted) do(twice bool) (*activities.Done, error) {
	h.t.Helper()
	h.call.Handle = nil
	for range 3000 {
		r, err := h.site.Step(h.t.Context(), h.call)
		if twice {
			r, err = h.site.Step(h.t.Context(), h.call)
		}
		if err != nil {
			f, ours := operation.FaultOf(err)
			if !ours {
				h.t.Fatalf("not a fault: %v", err)
			}
			return nil, f
		}
		var writes []plan.Write
		if r.Done != nil {
			writes = r.Done.Writes
		} else {
			writes = r.Again.Writes
		}
		for _, w := range writes {
			h.wrote = append(h.wrote, w.System+" "+w.Object+" "+w.Field)
		}
		if r.Done != nil {
			return r.Done, nil
		}
		h.call.Handle = r.Again.Handle
	}
	h.t.Fatalf("the step has no end; handle %s", h.call.Handle)
	return nil, nil
}

var (
	would   = end{report: configmgmt.Report{State: configmgmt.Succeeded, Test: true, Steps: 3, Changed: 2}}
	changed = end{report: configmgmt.Report{State: configmgmt.Succeeded, Steps: 3, Changed: 2}}
	so      = end{report: configmgmt.Report{State: configmgmt.Succeeded, Test: true, Steps: 3}}
	lost    = end{report: configmgmt.Report{State: configmgmt.Lost, Detail: "the host was restarted"}}
	bad     = end{report: configmgmt.Report{State: configmgmt.Failed, Steps: 3, Failed: 2, First: &configmgmt.Failure{Step: "nginx in web", Words: "no such package"}}}
)

func configuring(t *testing.T, h *oneHost) *hosted {
	return newHosted(t, h, plan.KindConfigure, plan.WantConfigure{System: system, Config: profile.ConfigManagement{Driver: "salt", States: []string{"web"}}})
}

func TestConfigure(t *testing.T) {
	twoWrites := []string{"salt host srv-01 key", "salt host srv-01 configuration"}
	for _, c := range []struct {
		name    string
		host    *oneHost
		changed bool
		did     []string
		wrote   []string
	}{
		{"a fresh host", newHost(would, changed), true, []string{"accepted", "test run", "real run"}, twoWrites},
		{"all is as it should be", func() *oneHost { h := newHost(so); h.accepted = "aabb"; return h }(), false, []string{"test run"}, nil},
		{"a test run that fails", newHost(bad, changed), true, []string{"accepted", "test run", "real run"}, twoWrites},
		{"a test run that is lost", newHost(lost, would, changed), true, []string{"accepted", "test run", "test run", "real run"}, twoWrites},
		{"a host that is busy", newHost(end{err: over(configmgmt.ErrBusy)}, would, end{err: over(configmgmt.ErrBusy)}, changed), true,
			[]string{"accepted", "test run", "test run", "real run", "real run"}, twoWrites},
		{"a host that is away for a while", func() *oneHost {
			h := newHost(would, changed)
			h.fail["Reach"] = []error{failed(configmgmt.ErrHostAway), failed(configmgmt.ErrHostAway)}
			h.fail["Poll"] = h.fail["Reach"]
			h.fail["test"] = []error{failed(configmgmt.ErrBusy)}
			return h
		}(), true, []string{"accepted", "test run", "real run"}, twoWrites},
	} {
		for _, twice := range []bool{false, true} {
			h := *c.host
			h.runs, h.fail, h.did = map[string]end{}, map[string][]error{}, nil
			for method, errs := range c.host.fail {
				h.fail[method] = slices.Clone(errs)
			}
			h.pending = "aabb"
			s := configuring(t, &h)
			done, err := s.do(twice)
			if err != nil {
				t.Errorf("%s, twice %t: %v", c.name, twice, err)
				continue
			}
			if done.Changed != c.changed || len(done.Evidence) != 1 || !json.Valid(done.Evidence[0].Data) {
				t.Errorf("%s: %+v", c.name, done)
			}
			if diff := cmp.Diff(c.did, h.did); diff != "" {
				t.Errorf("%s, twice %t: what was done (-want +got):\n%s", c.name, twice, diff)
			}
			if diff := cmp.Diff(c.wrote, s.wrote); diff != "" {
				t.Errorf("%s, twice %t: writes (-want +got):\n%s", c.name, twice, diff)
			}
		}
	}
}

// Every failure parks with its own code, says what was seen, and a retry without it goes on.
func TestConfigureFails(t *testing.T) {
	for _, c := range []struct {
		name string
		ends []end
		fail func(*oneHost)
		mend func(*oneHost)
		want fault.Code
		says string
	}{
		{"another key", []end{would, changed}, func(h *oneHost) { h.pending = "ccdd" }, func(h *oneHost) { h.pending = "aabb" }, fault.KeyMismatch, "ccdd"},
		{"no key comes", []end{would, changed}, func(h *oneHost) { h.pending = "" }, func(h *oneHost) { h.pending = "aabb" }, fault.NotEnrolled, "waited for 10m"},
		{"it does not render", []end{{err: over(configmgmt.ErrRender)}, would, changed}, nil, nil, fault.RenderFailed, "in its own words"},
		{"nothing applies", []end{{err: over(configmgmt.ErrNothing)}, would, changed}, nil, nil, fault.ConfigFailed, "in its own words"},
		{"a state fails", []end{would, bad, would, changed}, nil, nil, fault.ConfigFailed, "nginx in web: no such package"},
		{"the real run is lost", []end{would, lost, would, changed}, nil, nil, fault.ConfigLost, "restarted"},
		{"every test run is lost", []end{lost, lost, lost, would, changed}, nil, nil, fault.ConfigLost, "restarted"},
		{"salt-api is away", []end{would, changed}, func(h *oneHost) { h.fail["test"] = []error{failed(configmgmt.ErrUnreachable)} }, nil, fault.ConfigAway, ""},
		{"an HTML page", []end{would, changed}, func(h *oneHost) { h.fail["Poll"] = []error{failed(configmgmt.ErrMalformed)} }, nil, fault.ConfigAway, ""},
		{"no permission", []end{would, changed}, func(h *oneHost) { h.fail["test"] = []error{failed(configmgmt.ErrDenied)} }, nil, fault.ConfigDenied, ""},
		{"a lost minion", []end{would, changed}, func(h *oneHost) { h.fail["Poll"] = slices.Repeat([]error{failed(configmgmt.ErrHostAway)}, 2000) },
			func(h *oneHost) { h.fail = map[string][]error{} }, fault.HostAway, "waited for 10m"},
	} {
		h := newHost(c.ends...)
		h.pending = "aabb"
		if c.fail != nil {
			c.fail(h)
		}
		s := configuring(t, h)
		_, err := s.do(false)
		f := fault.From(err)
		if f.Code != c.want || !strings.Contains(f.Message, c.says) || f.Remedy == "" {
			t.Errorf("%s: %v (%s), want %s with %q", c.name, err, f.Code, c.want, c.says)
		}
		if c.want == fault.KeyMismatch && h.accepted != "" {
			t.Errorf("%s: accepted %s", c.name, h.accepted)
		}
		if c.mend != nil {
			c.mend(h)
		}
		s.call.Attempt, s.call.Last = 2, s.call.Handle
		if done, err := s.do(true); err != nil || !done.Changed {
			t.Errorf("%s, once more: %+v, %v", c.name, done, err)
		}
		if n := h.count("accepted"); n != 1 {
			t.Errorf("%s: accepted %d times", c.name, n)
		}
	}
}

func TestConfigureNeedsASystem(t *testing.T) {
	s := configuring(t, newHost(would, changed))
	s.call.Known.Installed.Proved = oldOp
	if _, err := s.do(false); fault.From(err).Code != fault.Incomplete || len(s.host.did) > 0 {
		t.Errorf("got %v, did %v", err, s.host.did)
	}
}

func TestInstalled(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*oneHost, *operation.Known)
		proved bool
		says   string
	}{
		{"the same", nil, true, "already so: debian 12"},
		{"nothing is known", func(_ *oneHost, k *operation.Known) { k.Installed = nil }, false, "nothing that Cagenut installed"},
		{"erased", func(_ *oneHost, k *operation.Known) { k.Installed = &operation.Installed{} }, false, "nothing that Cagenut installed"},
		{"another system", func(_ *oneHost, k *operation.Known) { k.Installed.Digest = "d0" }, false, "another system"},
		{"no key", func(_ *oneHost, k *operation.Known) { k.Installed.Fingerprint = "" }, false, "nothing to prove it by"},
		{"not enrolled", func(h *oneHost, _ *operation.Known) { h.accepted = "" }, false, "not proved"},
		{"another key", func(h *oneHost, _ *operation.Known) { h.accepted = "ccdd" }, false, "not proved"},
		{"another system came up", func(h *oneHost, _ *operation.Known) { h.facts.OS = "debian 11" }, false, "debian 11 runs"},
		{"it is off", func(h *oneHost, _ *operation.Known) {
			h.fail["Inspect"] = slices.Repeat([]error{failed(configmgmt.ErrHostAway)}, 2000)
		}, false, "does not answer"},
		{"it is on its way up", func(h *oneHost, _ *operation.Known) { h.fail["Inspect"] = []error{failed(configmgmt.ErrHostAway)} }, true, "already so"},
	} {
		h := newHost()
		h.accepted = "AA:BB" // the same, written otherwise
		s := newHosted(t, h, plan.KindInstalled, plan.WantInstalled{System: system})
		s.call.Known.Installed.Operation, s.call.Known.Installed.Proved = oldOp, oldOp
		if c.change != nil {
			c.change(h, &s.call.Known)
		}
		done, err := s.do(true)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		proved := done.Learned != nil && done.Learned.Installed.Is("d1", configOp)
		if proved != c.proved || !strings.Contains(done.Summary, c.says) || done.Changed || len(h.did) > 0 {
			t.Errorf("%s: %+v, did %v; want proved %t, and %q", c.name, done, h.did, c.proved, c.says)
		}
	}
	// Where nobody can be asked, nothing is installed anew.
	h := newHost()
	h.fail["Enrolled"] = []error{failed(configmgmt.ErrServer)}
	s := newHosted(t, h, plan.KindInstalled, plan.WantInstalled{System: system})
	if _, err := s.do(false); fault.From(err).Code != fault.ConfigAway {
		t.Errorf("salt-api is away: %v", err)
	}
}
