package activities_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/cagenut/cagenut/configmgmt"
)

// oneHost is a configuration management with one host in it. It does what its fields say, and notes what
// was really done.
type oneHost struct {
	pending  string // fingerprint of the key that asks to be let in; empty: none yet
	accepted string
	facts    configmgmt.Facts
	// fail gives errors by method, the first one first; then the method works.
	fail map[string][]error
	// ends is how runs end, one after the other; the last one stays.
	ends []end

	runs map[string]end // by key
	did  []string
	q    configmgmt.Questions
}

// end is how a run ends: by a report, or an error.
type end struct {
	report configmgmt.Report
	err    error
}

func (h *oneHost) Driver(string) (configmgmt.Driver, error) { return h, nil }

func (h *oneHost) fails(method string) error {
	if left := h.fail[method]; len(left) > 0 {
		h.fail[method] = left[1:]
		return left[0]
	}
	return nil
}

func failed(kind error) error { return &configmgmt.Error{Kind: kind, Op: "ask", Host: "srv-01"} }

func over(kind error) error {
	return &configmgmt.Error{Kind: kind, Op: "run", Host: "srv-01", Detail: "in its own words", Over: true}
}

func (h *oneHost) Plan(_ context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return h.start("test", r)
}

func (h *oneHost) Apply(_ context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return h.start("real", r)
}

func (h *oneHost) start(kind string, r configmgmt.Request) (configmgmt.Handle, error) {
	if err := r.Check(kind, "salt"); err != nil {
		return configmgmt.Handle{}, err
	}
	if err := h.fails(kind); err != nil {
		return configmgmt.Handle{}, err
	}
	key := r.Key(kind == "test")
	_, found := h.runs[key]
	if !found {
		h.runs[key] = h.ends[0]
		if len(h.ends) > 1 {
			h.ends = h.ends[1:]
		}
		h.did = append(h.did, kind+" run")
	}
	return configmgmt.Handle{Driver: "salt", Job: key, Target: r.Target.Name, Test: kind == "test", Found: found}, nil
}

func (h *oneHost) Poll(_ context.Context, run configmgmt.Handle) (configmgmt.Report, error) {
	if err := h.fails("Poll"); err != nil {
		return configmgmt.Report{}, err
	}
	e, ok := h.runs[run.Job]
	if !ok {
		return configmgmt.Report{}, fmt.Errorf("nobody asked for run %s", run.Job)
	}
	return e.report, e.err
}

func (h *oneHost) Reach(context.Context, configmgmt.Target) error { return h.fails("Reach") }

func (h *oneHost) Inspect(_ context.Context, _ configmgmt.Target, q configmgmt.Questions) (configmgmt.Facts, error) {
	h.q = q
	return h.facts, h.fails("Inspect")
}

func (h *oneHost) Enrolled(context.Context, configmgmt.Target) (string, error) {
	if err := h.fails("Enrolled"); err != nil {
		return "", err
	}
	if h.accepted == "" {
		return "", failed(configmgmt.ErrNotEnrolled)
	}
	return h.accepted, nil
}

func (h *oneHost) Enroll(_ context.Context, _ configmgmt.Target, fingerprint string) error {
	switch {
	case h.accepted == fingerprint:
	case h.accepted == "" && h.pending == "":
		return failed(configmgmt.ErrNotEnrolled)
	case h.accepted != "" || h.pending != fingerprint:
		return &configmgmt.Error{Kind: configmgmt.ErrFingerprint, Op: "enroll", Host: "srv-01", Detail: "phoned home " + fingerprint + ", pending " + h.pending}
	default:
		h.accepted = fingerprint
		h.did = append(h.did, "accepted")
	}
	return nil
}

func (h *oneHost) Revoke(context.Context, configmgmt.Target) error {
	if h.accepted != "" {
		h.did = append(h.did, "forgotten")
	}
	h.accepted, h.pending = "", ""
	return nil
}

func (h *oneHost) Cancel(context.Context, configmgmt.Handle) error { return nil }
func (h *oneHost) Ping(context.Context) (configmgmt.Status, error) { return configmgmt.Status{}, nil }
func (h *oneHost) Close() error                                    { return nil }

// count counts what was done.
func (h *oneHost) count(what string) int {
	n := 0
	for _, d := range h.did {
		if d == what {
			n++
		}
	}
	return n
}

func newHost(ends ...end) *oneHost {
	return &oneHost{pending: "aa:bb", ends: slices.Clone(ends), runs: map[string]end{}, fail: map[string][]error{},
		facts: configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-28-amd64"}}
}
