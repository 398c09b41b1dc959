package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// park stands still with the reason until an operator says what to do.
func (r *run) park(ctx workflow.Context, f *fault.Error) verdict {
	s := r.current()
	s.state, r.state, s.fault = operation.StepParked, operation.Waiting, f
	c := r.change()
	c.Error = f
	r.record(ctx, operation.Transition{Error: f}, c)
	r.diagnose(ctx, f)
	return r.decide(ctx)
}

// decide waits for an operator's word on the current step.
func (r *run) decide(ctx workflow.Context) verdict {
	for {
		if v := r.attend(ctx); v != next {
			return v
		}
		r.hold(ctx)
	}
}

// blind are the failures after which asking the BMC for evidence is useless or forbidden.
var blind = []fault.Code{
	fault.SiteAway, fault.WorkerLost, fault.Unreachable, fault.OutsidePrefixes, fault.PinChanged, fault.Untrusted,
	fault.IdentityMismatch, fault.BadCredentials, fault.NoSecret, fault.UnknownStep, fault.Drift,
	fault.ConfigAway, fault.ConfigDenied, fault.RenderFailed, // nothing was asked of the machine
}

// diagnose adds what the BMC tells of the failure (the event log's tail, the boot progress) to the
// evidence of a parked step at a site. It is one try: the step has parked whether it works or not.
func (r *run) diagnose(ctx workflow.Context, f *fault.Error) {
	s := r.current()
	if s.Place != plan.Site || s.Mode == plan.Human || slices.Contains(blind, f.Code) {
		return
	}
	call := r.call(plan.Step{
		Name: s.Name, Kind: plan.KindDiagnose, Version: versionDiagnose, Title: "Ask the BMC what it saw",
		Mode: plan.Act, Place: plan.Site, Undo: plan.ReadOnly,
	})
	result, failure, _ := r.do(ctx, call, r.timing.Policies[PolicyBMCRead], time.Minute)
	if failure != nil || result.Done == nil {
		workflow.GetLogger(ctx).Info("no evidence from the BMC", "step", s.Name, "failure", failure)
		return
	}
	c := r.change()
	c.Error, c.Evidence = f, result.Done.Evidence
	r.record(ctx, operation.Transition{Error: f}, c)
}

// abort ends what goes on without us, takes back the bookkeeping, newest first, says what it leaves, and ends
// the run.
func (r *run) abort(ctx workflow.Context) {
	r.aborting, r.state = true, operation.Running
	// Why the step was parked stays with it: it is mostly why the run is aborted.
	why := r.current().fault
	c := r.change()
	c.Error = why
	r.record(ctx, operation.Transition{}, c) // who asked for it, and why
	left := r.stop(ctx)
	undone := map[string]bool{}
	for i := r.at; i >= 0; i-- {
		s := &r.steps[i]
		begun := s.attempt > 0
		if s.Undo != plan.Compensable || !begun || s.state == operation.StepSkipped && len(s.writes) == 0 {
			continue
		}
		done, f := r.undo(ctx, i)
		if f != nil {
			left = append(left, fmt.Sprintf("%s: could not be taken back: %s", s.Title, f.Message))
			continue
		}
		undone[s.Name] = true
		if !done.Changed && len(s.writes) > 0 { // it wrote, and finds that it is not its own to take back
			left = append(left, fmt.Sprintf("%s: %s", s.Title, done.Summary))
		}
	}
	for i := range r.steps[:r.at+1] {
		s := &r.steps[i]
		if undone[s.Name] {
			continue
		}
		for _, w := range s.writes {
			left = append(left, describe(w))
		}
		if i == r.at && !s.state.Ended() && s.attempt > 0 && len(s.Writes) > 0 {
			left = append(left, fmt.Sprintf("%s: ended in the middle (%s); what it was writing is not known for certain", s.Title, r.lastSeen(s)))
		}
	}
	for i := r.at; i < len(r.steps); i++ {
		if s := &r.steps[i]; !s.state.Ended() {
			s.state = operation.StepAborted
			r.ended = append(r.ended, operation.StepChange{Step: s.Name, State: s.state, Attempt: s.attempt, Round: s.round, Error: s.fault})
		}
	}
	r.state = operation.Aborted
	r.record(ctx, operation.Transition{Left: left, Error: why})
}

// stopTries are how often an abort tries to end a run. A person waits for it, and a run that goes on does no
// more than what was approved.
const stopTries = 3

// stop has configuration management end the runs of a configure step that did not end by itself, as well as
// that goes, and says what is left of them.
func (r *run) stop(ctx workflow.Context) (left []string) {
	i := slices.IndexFunc(r.steps, func(s stepRun) bool { return s.Kind == plan.KindConfigure })
	if i < 0 {
		return nil
	}
	s := &r.steps[i]
	if s.handle == nil && s.last == nil || s.state == operation.StepDone || s.state == operation.StepAlready {
		return nil
	}
	policy, f := r.timing.policy(s.Step)
	if f != nil || workflow.GetVersion(ctx, changeStop, workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return nil
	}
	step := s.Step
	step.Kind, step.Version = plan.KindStop, versionStop
	call := r.call(step)
	call.Attempt, call.Handle, call.Last = s.attempt, s.handle, s.last
	c := operation.StepChange{Step: s.Name, State: s.state, Attempt: s.attempt, Round: s.round}
	result, f, away := r.do(ctx, call, policy, policy.Call)
	passes := func() bool { return f != nil && !away && (f.Class() == fault.Retry || f.Code == fault.HostAway) }
	for try := 1; passes() && try < stopTries; try++ {
		pause(ctx, max(policy.First, r.timing.Orphan))
		result, f, away = r.do(ctx, call, policy, policy.Call)
	}
	switch {
	case f != nil:
		c.Error = f
		left = []string{fmt.Sprintf("%s: its run may still be under way, and could not be ended: %s", s.Title, f.Message)}
	case result.Done == nil || result.Done.Summary == "":
		return nil
	default:
		c.Summary = "stopped: " + result.Done.Summary
		left = []string{s.Title + ": " + result.Done.Summary}
	}
	r.record(ctx, operation.Transition{}, c)
	return left
}

func (r *run) lastSeen(s *stepRun) string {
	if text := s.shown.progress.Text; text != "" {
		return text
	}
	return "no progress was told"
}

// undo takes back what step i did. The step decides by looking whether there is anything to take
// back, so that a step whose effect is not known for certain can be undone too.
func (r *run) undo(ctx workflow.Context, i int) (*activities.Done, *fault.Error) {
	s := &r.steps[i]
	policy, f := r.timing.policy(s.Step)
	if f != nil {
		return nil, f
	}
	call := r.call(s.Step)
	call.Undo, call.Attempt, call.Round = true, max(s.attempt, 1), max(s.round, 1)
	done, f, _ := r.drive(ctx, drive{call: call, policy: policy, deadline: r.timing.deadline(s.Step), deaf: true})
	c := operation.StepChange{Step: s.Name, State: s.state, Attempt: s.attempt, Round: s.round, Error: f}
	if f == nil {
		c.Summary, c.Writes, c.Evidence = "taken back: "+done.Summary, done.Writes, done.Evidence
	}
	r.record(ctx, operation.Transition{}, c)
	return done, f
}
