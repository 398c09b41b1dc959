package activities

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

const forever = 1 << 30

// Scripted is configuration management with one host, which behaves as it is told to. Its counts say for
// how many calls to come.
type Scripted struct {
	port // what is not scripted may not be called

	Key   string // accepted
	shows string // by the host; empty: none seen yet

	broken    error // every call ends so
	unseen    int   // no key came yet
	away      int   // the host is silent
	awayRun   int   // and is so while a run is polled
	busy      int   // a run is not accepted
	busyRun   int   // it is, and ends without doing anything
	lostTest  int   // runs are lost
	lostReal  int
	overTest  error // runs end so, without doing anything
	failTest  bool
	failReal  bool
	changes   int // that a run would make
	facts     configmgmt.Facts
	asked     configmgmt.Questions
	enrolled  int // keys that were let in
	Revoked   int
	runs      map[string]*scriptedRun
	tests     []configmgmt.Request // that were really started
	real      []configmgmt.Request
	addressed string
}

type port = configmgmt.Driver

type scriptedRun struct {
	polls     int
	cancelled bool
	ended     *configmgmt.Report
	err       error
}

// Driver gives itself, whatever is asked for.
func (d *Scripted) Driver(string) (configmgmt.Driver, error) { return scriptedDriver{d}, nil }

type scriptedDriver struct{ *Scripted }

func take(n *int) bool {
	if *n > 0 {
		*n--
		return true
	}
	return false
}

func refusal(kind error, over bool) error {
	return &configmgmt.Error{Kind: kind, Op: "scripted", Host: "srv-1", Detail: "in its own words", Over: over}
}

func (d scriptedDriver) Enrolled(_ context.Context, t configmgmt.Target) (string, error) {
	d.addressed = t.Address
	switch {
	case d.broken != nil:
		return "", d.broken
	case d.Key == "":
		return "", refusal(configmgmt.ErrNotEnrolled, false)
	}
	return d.Key, nil
}

func (d scriptedDriver) Enroll(_ context.Context, _ configmgmt.Target, fingerprint string) error {
	switch {
	case d.broken != nil:
		return d.broken
	case take(&d.unseen):
		return refusal(configmgmt.ErrNotEnrolled, false)
	case take(&d.away):
		return refusal(configmgmt.ErrHostAway, false)
	case d.shows != fingerprint:
		return refusal(configmgmt.ErrFingerprint, false)
	case d.Key == "":
		d.Key = d.shows
		d.enrolled++
	}
	return nil
}

func (d scriptedDriver) Revoke(context.Context, configmgmt.Target) error {
	d.Key = ""
	d.Revoked++
	return d.broken
}

func (d scriptedDriver) Reach(context.Context, configmgmt.Target) error {
	if take(&d.away) {
		return refusal(configmgmt.ErrHostAway, false)
	}
	return d.broken
}

func (d scriptedDriver) Inspect(_ context.Context, _ configmgmt.Target, q configmgmt.Questions) (configmgmt.Facts, error) {
	d.asked = q
	if take(&d.away) {
		return configmgmt.Facts{}, refusal(configmgmt.ErrHostAway, false)
	}
	return d.facts, d.broken
}

func (d scriptedDriver) Plan(_ context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return d.start(r, true)
}

func (d scriptedDriver) Apply(_ context.Context, r configmgmt.Request) (configmgmt.Handle, error) {
	return d.start(r, false)
}

func (d scriptedDriver) start(r configmgmt.Request, test bool) (configmgmt.Handle, error) {
	if err := r.Check("run", "salt"); err != nil {
		return configmgmt.Handle{}, err
	}
	h := d.HandleOf(r, test)
	switch {
	case d.broken != nil:
		return h, d.broken
	case d.runs[h.Job] != nil:
		h.Found = true
		return h, nil
	case take(&d.busy):
		return h, refusal(configmgmt.ErrBusy, false)
	}
	if d.runs == nil {
		d.runs = map[string]*scriptedRun{}
	}
	run := &scriptedRun{}
	d.runs[h.Job] = run
	started, lost, failed := &d.real, &d.lostReal, d.failReal
	if test {
		started, lost, failed = &d.tests, &d.lostTest, d.failTest
	}
	*started = append(*started, r)
	out := configmgmt.Report{State: configmgmt.Succeeded, Test: test, Steps: 12, Changed: d.changes}
	switch {
	case take(&d.busyRun):
		run.err = refusal(configmgmt.ErrBusy, true)
	case take(lost):
		out = configmgmt.Report{State: configmgmt.Lost, Test: test, Detail: "the host was restarted"}
	case test && d.overTest != nil:
		run.err = d.overTest
	case failed:
		out.State, out.Failed, out.First = configmgmt.Failed, 2, &configmgmt.Failure{Step: "web.nginx: nginx", Words: "no such package"}
	case !test:
		d.changes = 0
	}
	run.ended = &out
	return h, nil
}

func (d scriptedDriver) HandleOf(r configmgmt.Request, test bool) configmgmt.Handle {
	return configmgmt.Handle{Driver: "salt", Job: r.Key(test), Target: r.Target.Name, Test: test}
}

func (d scriptedDriver) Cancel(_ context.Context, h configmgmt.Handle) error {
	switch run := d.runs[h.Job]; {
	case d.broken != nil:
		return d.broken
	case run != nil && !run.cancelled && run.polls <= 2: // it works
		run.cancelled = true
		run.ended, run.err = &configmgmt.Report{State: configmgmt.Lost, Test: h.Test, Detail: "the minion does not know the job"}, nil
	}
	return nil
}

func (d scriptedDriver) Poll(_ context.Context, h configmgmt.Handle) (configmgmt.Report, error) {
	run := d.runs[h.Job]
	switch {
	case d.broken != nil:
		return configmgmt.Report{}, d.broken
	case run == nil:
		return configmgmt.Report{}, errors.New("an unknown run")
	case take(&d.awayRun):
		return configmgmt.Report{}, refusal(configmgmt.ErrHostAway, false)
	}
	if run.polls++; run.polls <= 2 && !run.cancelled {
		return configmgmt.Report{State: configmgmt.Running, Test: h.Test}, nil
	}
	return *run.ended, run.err
}

// trail is what a step told on its way.
type trail struct {
	done     *Done
	writes   []string
	evidence []operation.Evidence
	calls    int
	took     time.Duration
}

// walk drives a step as the executor does, on a clock of its own. Every call is made twice, as after the loss of a worker
// between effect and answer. It gives the fault that parks it.
func walk(t *testing.T, a *Site, c Call) (trail, *Call, *fault.Error) {
	t.Helper()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	a.Clock = func() time.Time { return now }
	var out trail
	began, failing := now, time.Time{}
	tell := func(writes []plan.Write, evidence []operation.Evidence) {
		for _, w := range writes {
			out.writes = append(out.writes, fmt.Sprintf("%s %s: %s %s", w.System, w.Object, w.Field, w.After))
		}
		out.evidence = append(out.evidence, evidence...)
	}
	for ; out.calls < 1000; out.calls++ {
		_, _ = a.Step(t.Context(), c)
		r, err := a.Step(t.Context(), c)
		out.took = now.Sub(began)
		if err != nil {
			f, ours := operation.FaultOf(err)
			if !ours {
				t.Fatal(err)
			}
			if failing.IsZero() {
				failing = now
			}
			if f.Class() != fault.Retry || now.Sub(failing) > 15*time.Minute {
				c.Last = c.Handle
				c.Handle = nil
				c.Attempt++
				return out, &c, f
			}
			now = now.Add(30 * time.Second)
			continue
		}
		failing = time.Time{}
		if r.Done != nil {
			out.done = r.Done
			tell(r.Done.Writes, r.Done.Evidence)
			return out, &c, nil
		}
		tell(r.Again.Writes, r.Again.Evidence)
		c.Handle = r.Again.Handle
		now = now.Add(r.Again.After)
	}
	t.Fatalf("the step does not end; handle %s", c.Handle)
	return out, nil, nil
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
