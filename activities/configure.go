package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// The phases of configure. Each is durable before what it does is done.
const (
	phaseEnroll = "enroll" // accept the host's key
	phaseReach  = "reach"  // until it answers
	phaseTest   = "test"   // a test run
	phaseReal   = "real"   // the real one
)

// configureHandle is where the step is.
type configureHandle struct {
	Phase string `json:"phase,omitempty"`
	New   bool   `json:"new,omitempty"` // the host was not enrolled when the step began
	// Try counts the runs of an attempt: a host that is busy, and a test run that was lost, take another.
	Try   int                `json:"try,omitempty"`
	Run   *configmgmt.Handle `json:"run,omitempty"`
	Told  bool               `json:"told,omitempty"` // the write is recorded
	Test  *configmgmt.Report `json:"test,omitempty"` // what the test run told
	Watch watch              `json:"watch,omitzero"`
}

// configure hands the machine to configuration management: its key, a test run, the real run.
func (a *Site) configure(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantConfigure, configureHandle](c)
	if err != nil {
		return Result{}, err
	}
	is := c.Known.Installed
	if !is.Is(want.System.Digest, c.Operation) || is.Fingerprint == "" {
		return Result{}, fault.New(fault.Incomplete, "no system of this operation is known on %s, with a key to know it by: os-install has not run", c.Asset.Name)
	}
	driver, host, err := a.hostOf(c, want.System)
	if err != nil {
		return Result{}, err
	}
	switch h.Phase {
	case "":
		_, err := driver.Enrolled(ctx, host)
		if err != nil && !errors.Is(err, configmgmt.ErrNotEnrolled) {
			return Result{}, err
		}
		return again(0, configureHandle{Phase: phaseEnroll, New: err != nil}, "waiting for the host's key")
	case phaseEnroll:
		return a.enroll(ctx, driver, want.System, host, is.Fingerprint, h)
	case phaseReach:
		err := driver.Reach(ctx, host)
		if errors.Is(err, configmgmt.ErrHostAway) {
			return a.wait(&h.Watch, &h, "waiting for the host to answer", hostAnswers, err)
		}
		if err != nil {
			return Result{}, err
		}
		h.Phase, h.Watch = phaseTest, watch{}
		return again(0, h, "the host answers")
	}
	if h.Run == nil {
		return a.startRun(ctx, driver, c, want, host, h)
	}
	return a.followRun(ctx, driver, want, h)
}

// enroll accepts the key that the machine phoned home, and no other.
func (a *Site) enroll(ctx context.Context, driver configmgmt.Driver, s plan.System, host configmgmt.Target, fingerprint string, h configureHandle) (Result, error) {
	err := driver.Enroll(ctx, host, fingerprint)
	if errors.Is(err, configmgmt.ErrNotEnrolled) || errors.Is(err, configmgmt.ErrHostAway) {
		return a.wait(&h.Watch, &h, "waiting for the host's key", hostKey, err)
	}
	if err != nil {
		return Result{}, err
	}
	fresh := h.New
	h.Phase, h.New, h.Watch = phaseReach, false, watch{}
	if !fresh {
		return again(0, h, "the host is enrolled")
	}
	return wrote(h, []plan.Write{hostWrite(s, "key", "accepted: "+fingerprint)}, "the host's key is accepted")
}

// specOf is what the profile asks for, as the port takes it.
func specOf(m profile.ConfigManagement) configmgmt.Spec {
	if m.Driver == "ansible" {
		return configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: m.Playbook, Vars: m.Vars}}
	}
	return configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: m.States, Highstate: len(m.States) == 0, Pillar: m.Vars}}
}

// startRun asks for the run of the phase. Its name is in the handle, so asking twice gives the same run.
func (a *Site) startRun(ctx context.Context, driver configmgmt.Driver, c Call, want plan.WantConfigure, host configmgmt.Target, h configureHandle) (Result, error) {
	step := c.Step.Name
	if h.Try > 0 {
		step = fmt.Sprintf("%s.%d", step, h.Try)
	}
	r := configmgmt.Request{Operation: string(c.Operation), Step: step, Attempt: c.Attempt, Target: host, Spec: specOf(want.Config)}
	start := driver.Plan
	if h.Phase == phaseReal {
		start = driver.Apply
	}
	run, err := start(ctx, r)
	switch {
	case errors.Is(err, configmgmt.ErrBusy):
		return a.wait(&h.Watch, &h, "waiting for another run on the host", hostBusy, err)
	case errors.Is(err, configmgmt.ErrHostAway):
		return a.wait(&h.Watch, &h, "waiting for the host to answer", hostSilent, err)
	case err != nil:
		return Result{}, err
	}
	h.Run, h.Watch = &run, watch{}
	if h.Phase == phaseTest || h.Told {
		return again(a.patience(runLook), h, "%s run %s", h.Phase, run.Job)
	}
	h.Told = true
	r2, err := wrote(h, []plan.Write{hostWrite(want.System, "configuration", "run "+run.Job)}, "real run %s", run.Job)
	if err == nil {
		r2.Again.After = a.patience(runLook)
	}
	return r2, err
}

// followRun looks how far a run is, and decides by how it ended.
func (a *Site) followRun(ctx context.Context, driver configmgmt.Driver, want plan.WantConfigure, h configureHandle) (Result, error) {
	report, err := driver.Poll(ctx, *h.Run)
	switch {
	case errors.Is(err, configmgmt.ErrBusy) && configmgmt.Over(err):
		h.Run, h.Try = nil, h.Try+1 // the run is over and did nothing: another name, another run
		return a.wait(&h.Watch, &h, "waiting for another run on the host", hostBusy, err)
	case errors.Is(err, configmgmt.ErrHostAway) && !configmgmt.Over(err):
		return a.wait(&h.Watch, &h, "the host does not answer in the middle of its run", hostSilent, err)
	case err != nil:
		return Result{}, err
	}
	switch report.State {
	case configmgmt.Running:
		return again(a.patience(runLook), h, "%s run %s: %s", h.Phase, h.Run.Job, cmp.Or(report.Detail, fmt.Sprintf("%d done", report.Steps)))
	case configmgmt.Lost:
		if h.Phase == phaseTest && h.Try < lostTries { // it changed nothing
			h.Run, h.Try = nil, h.Try+1
			return again(a.patience(hostLook), h, "the test run was lost: %s", report.Detail)
		}
		return Result{}, fault.New(fault.ConfigLost, "the %s run %s on %s was lost: %s", h.Phase, h.Run.Job, h.Run.Target, report.Detail)
	case configmgmt.Succeeded, configmgmt.Failed:
	default:
		return Result{}, fault.New(fault.Internal, "run %s is in state %q", h.Run.Job, report.State)
	}
	if h.Phase == phaseReal {
		return configured(want, h, report)
	}
	// A test run may fail on a fresh host where a state needs what one before it would have made: only the
	// real run tells.
	if report.State == configmgmt.Succeeded && report.Changed == 0 {
		done := &Done{Summary: fmt.Sprintf("already so: %d of %s", report.Steps, applied(want.Config))}
		done.Evidence, err = proof("configure", "The test run, which found nothing to change", report)
		return Result{Done: done}, err
	}
	h.Phase, h.Run, h.Test, h.Watch = phaseReal, nil, &report, watch{}
	return again(0, h, "the test run would change %d of %d", report.Changed, report.Steps)
}

// lostTries is how many test runs may be lost.
const lostTries = 2

// configured ends the step by the report of the real run.
func configured(want plan.WantConfigure, h configureHandle, report configmgmt.Report) (Result, error) {
	if report.State == configmgmt.Failed {
		f := fault.New(fault.ConfigFailed, "%d of %d failed on %s", report.Failed, report.Steps, h.Run.Target)
		if first := report.First; first != nil {
			f.Message += fmt.Sprintf("; the first is %s: %s", first.Step, first.Words)
			f.Details = []fault.Item{{Subject: first.Step, Expected: "as " + applied(want.Config) + " says", Seen: first.Words}}
		}
		return Result{}, f
	}
	done := &Done{Changed: report.Changed > 0, Summary: fmt.Sprintf("%d of %s, %d changed", report.Steps, applied(want.Config), report.Changed)}
	var err error
	done.Evidence, err = proof("configure", "The test run and the real one", map[string]any{"test": h.Test, "real": report, "job": h.Run.Job})
	return Result{Done: done}, err
}

// applied says in words what the profile asks for.
func applied(m profile.ConfigManagement) string {
	switch {
	case m.Driver == "ansible":
		return "playbook " + m.Playbook
	case len(m.States) == 0:
		return "the highstate"
	}
	return "states " + strings.Join(m.States, ", ")
}
