package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// The phases of configure. Each is durable before what it does is done.
const (
	phaseEnrol = "enrol" // let the host's key in
	phaseReach = "reach" // wait until the host answers
	phaseTest  = "test"  // a test run
	phaseReal  = "real"  // the real run
)

// maxTestRuns is how often a test run is asked for when nobody knows how the one before ended.
const maxTestRuns = 3

// configureHandle is where configure is.
type configureHandle struct {
	Phase string             `json:"phase,omitempty"`
	New   bool               `json:"new,omitempty"`   // no key was let in before, so that it is to be told
	Run   *configmgmt.Handle `json:"run,omitempty"`   // of this phase; nil: none was accepted yet
	Again int                `json:"again,omitempty"` // runs that ended without doing anything: the next is another one
	Lost  int                `json:"lost,omitempty"`  // test runs
	Told  bool               `json:"told,omitempty"`  // the write of a real run is recorded
	// Unsure: an attempt before may have had a real run accepted, whose answer was lost and write not recorded.
	Unsure bool  `json:"unsure,omitempty"`
	Watch  watch `json:"watch,omitzero"`
}

// configure hands the machine to configuration management: its key first, then a test run, then the real
// one. A retry begins anew: all that is so already is left, and its runs are new ones.
func (a *Site) configure(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantConfigure, configureHandle](c)
	if err != nil {
		return Result{}, err
	}
	if err := handedOver(c, want.System); err != nil {
		return Result{}, err
	}
	d, err := a.Configs.Driver(want.System.Driver)
	if err != nil {
		return Result{}, err
	}
	t := configTarget(c, want.System)
	switch h.Phase {
	case "", phaseEnrol:
		return a.enrol(ctx, c, d, t, want.System, h)
	case phaseReach:
		err := d.Reach(ctx, t)
		if errors.Is(err, configmgmt.ErrHostAway) || errors.Is(err, configmgmt.ErrNotEnrolled) {
			return a.patient(err, configHost, &h.Watch, &h)
		}
		if err != nil {
			return Result{}, err
		}
		return again(0, configureHandle{Phase: phaseTest, Unsure: h.Unsure}, "%s answers: a test run", t.Name)
	}
	if h.Run == nil {
		return a.ask(ctx, c, d, t, want, h)
	}
	r, err := d.Poll(ctx, *h.Run)
	if err != nil {
		return a.unanswered(err, h)
	}
	if r.State == configmgmt.Running {
		if h.Watch.Stage != string(fault.Busy) { // a run that is refused may look as if it ran, for a moment
			h.Watch = watch{}
		}
		return again(a.patience(configLook), h, "%s run: %s", h.Phase, told(r))
	}
	if h.Phase == phaseTest {
		return tested(c, h, r)
	}
	return configured(c, r)
}

// handedOver holds that this operation has proved what runs there, and has a key to know it by.
func handedOver(c Call, s plan.System) error {
	is := c.Known.Installed
	var missing string
	switch {
	case !is.Is(s.Digest, c.Operation):
		missing = "this operation has neither installed nor proved its system"
	case is.Fingerprint == "":
		missing = "it phoned home no key to know it by"
	default:
		return nil
	}
	f := fault.New(fault.Incomplete, "%s cannot be handed to %s: %s", c.Asset.Name, s.Driver, missing)
	f.Remedy = "`cagenut op abort` and install again"
	return f
}

// enrol lets in the key that the machine phoned home, and no other.
func (a *Site) enrol(ctx context.Context, c Call, d configmgmt.Driver, t configmgmt.Target, s plan.System, h configureHandle) (Result, error) {
	if h.Phase == "" {
		_, err := d.Enrolled(ctx, t)
		if err != nil && !errors.Is(err, configmgmt.ErrNotEnrolled) {
			return Result{}, err
		}
		// What the attempt before was about to let in, or to run, is not told yet.
		last := before[configureHandle](c)
		next := configureHandle{Phase: phaseEnrol, New: err != nil || last.New, Unsure: last.Unsure || last.Phase == phaseReal && !last.Told}
		return again(0, next, "%s is to know %s by its key", s.Driver, t.Name)
	}
	key := c.Known.Installed.Fingerprint
	err := d.Enroll(ctx, t, key)
	switch {
	case errors.Is(err, configmgmt.ErrNotEnrolled), errors.Is(err, configmgmt.ErrHostAway):
		return a.patient(err, configKey, &h.Watch, &h)
	case errors.Is(err, configmgmt.ErrFingerprint):
		f := fault.Wrap(err, fault.KeyMismatch, "nothing was accepted: %v", err)
		f.Details = []fault.Item{{Subject: "key of host " + t.Name, Expected: key, Seen: "another one"}}
		if pin, perr := d.Enrolled(ctx, t); perr == nil {
			f.Details[0].Seen = pin
		}
		return Result{}, f
	case err != nil:
		return Result{}, err
	}
	next := configureHandle{Phase: phaseReach, Unsure: h.Unsure}
	if h.New {
		return wrote(next, []plan.Write{configWrite(s, "key", "accepted: "+key)}, "%s has let %s in", s.Driver, t.Name)
	}
	return again(0, next, "%s knows %s already", s.Driver, t.Name)
}

// ask has a run started, once by its key.
func (a *Site) ask(ctx context.Context, c Call, d configmgmt.Driver, t configmgmt.Target, want plan.WantConfigure, h configureHandle) (Result, error) {
	r := h.request(c, t, want, c.Attempt)
	start := d.Plan
	if h.Phase == phaseReal {
		start = d.Apply
	}
	run, err := start(ctx, r)
	if err != nil {
		return a.unanswered(err, h)
	}
	h.Run = &run
	if h.Phase == phaseReal && !h.Told {
		h.Told = true
		res, err := wrote(h, []plan.Write{configWrite(want.System, "configuration", want.Config.Applied()+", as run "+run.Job)}, "real run: accepted")
		if err == nil {
			res.Again.After = a.patience(configLook)
		}
		return res, err
	}
	return again(a.patience(configLook), h, "%s run: accepted", h.Phase)
}

// request is that of the run which an attempt asks for, or has asked for, in this phase.
func (h configureHandle) request(c Call, t configmgmt.Target, want plan.WantConfigure, attempt int) configmgmt.Request {
	r := configmgmt.Request{Operation: string(c.Operation), Step: c.Step.Name, Attempt: attempt, Target: t, Spec: configSpec(want)}
	if h.Again > 0 {
		r.Step = fmt.Sprintf("%s.%d", r.Step, h.Again+1)
	}
	return r
}

// unanswered judges an error of asking or polling. A host that is busy or away is waited for; a run that
// ended for it is asked for anew, under a name of its own.
func (a *Site) unanswered(err error, h configureHandle) (Result, error) {
	most := configSilent
	switch {
	case errors.Is(err, configmgmt.ErrBusy):
		most = configBusy
	case !errors.Is(err, configmgmt.ErrHostAway):
		return Result{}, err
	}
	if h.Run != nil && configmgmt.Over(err) {
		h.Run, h.Again = nil, h.Again+1
	}
	return a.patient(err, most, &h.Watch, &h)
}

// tested judges the end of a test run.
func tested(c Call, h configureHandle, r configmgmt.Report) (Result, error) {
	if r.State == configmgmt.Lost {
		if h.Lost++; h.Lost >= maxTestRuns {
			return Result{}, fault.New(fault.ConfigLost, "%d test runs on %s were lost: %s", h.Lost, c.Asset.Name, r.Detail)
		}
		h.Run, h.Again = nil, h.Again+1
		return again(0, h, "the test run was lost (%s): once more", r.Detail)
	}
	evidence, err := proof("configure", "Test run", r)
	if err != nil {
		return Result{}, err
	}
	if r.State == configmgmt.Succeeded && r.Changed == 0 && !h.Unsure { // else a real run shows what is so, and is told
		return Result{Done: &Done{Summary: fmt.Sprintf("already so: nothing to change in %d states or tasks", r.Steps), Evidence: evidence}}, nil
	}
	text := "test run: " + told(r)
	if r.State == configmgmt.Failed {
		// Nothing of what a state needs has been made in a test run, so that on a fresh host one often fails.
		text += ", which the real run will judge"
	}
	res, err := again(0, configureHandle{Phase: phaseReal}, "%s", text)
	if err == nil {
		res.Again.Evidence = evidence
	}
	return res, err
}

// configured judges the end of a real run.
func configured(c Call, r configmgmt.Report) (Result, error) {
	switch r.State {
	case configmgmt.Succeeded:
		done := &Done{Changed: r.Changed > 0, Summary: told(r)}
		var err error
		done.Evidence, err = proof("configure", "Real run", r)
		return Result{Done: done}, err
	case configmgmt.Lost:
		return Result{}, fault.New(fault.ConfigLost, "the run on %s was lost, and how far it came is not known: %s", c.Asset.Name, r.Detail)
	}
	first := configmgmt.Failure{Step: "a state or task", Words: "it does not say why"}
	if r.First != nil {
		first = *r.First
	}
	f := fault.New(fault.ConfigFailed, "configuration of %s failed in %s: %s (%s)", c.Asset.Name, first.Step, first.Words, told(r))
	f.Details = []fault.Item{{Subject: first.Step, Expected: "no error", Seen: first.Words}}
	for _, name := range r.Changes {
		f.Details = append(f.Details, fault.Item{Subject: name, Seen: "changed"})
	}
	return Result{}, f
}

// told says how a run stands.
func told(r configmgmt.Report) string {
	what := "changed"
	if r.State == configmgmt.Running && r.Steps == 0 {
		return "under way"
	}
	if r.Test {
		what = "would change"
	}
	s := fmt.Sprintf("%d states or tasks, %d %s", r.Steps, r.Changed, what)
	if r.Failed > 0 {
		s += fmt.Sprintf(", %d failed", r.Failed)
	}
	return s
}

// configSpec is what is applied, as the profile says.
func configSpec(w plan.WantConfigure) configmgmt.Spec {
	if w.System.Driver == "ansible" {
		return configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: w.Config.Playbook, Vars: w.Config.Vars}}
	}
	return configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: slices.Clone(w.Config.States), Highstate: len(w.Config.States) == 0, Pillar: w.Config.Vars}}
}
