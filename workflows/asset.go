// Package workflows is what happens, in which order: the executor of one machine's plan (asset.go),
// the operation that runs many of them (operation.go), and the runbooks, which only compose plans
// (install.go).
//
// Words
//
//   - Run: one machine's part of an operation, workflow asset/<netbox-id>.
//   - Attempt: one try at a step, from its beginning. An operator's retry makes another.
//   - Call: one bounded piece of an attempt, done by an activity that observes before it acts.
//   - Park: a step that failed stands still, with the reason and the remedy, until an operator says
//     retry, skip or abort. A failed step never ends a workflow.
//   - Record: every change is written to PostgreSQL as a numbered transition before the run goes on.
//
// Concurrency: one coroutine, the run's own, drives the steps and writes the run's state. Update
// handlers only put commands into the inbox and wait; signals only go into their buffer. Commands
// take effect between calls and in waits, never in the middle of a call. All of it is workflow code:
// no clock, goroutine, channel, random number or I/O but Temporal's.
package workflows

import (
	"encoding/json"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// run is the state of one machine's part of an operation.
type run struct {
	timing Timing
	in     operation.StartAsset
	target plan.Target
	known  operation.Known
	seq    int64 // of the last transition

	state operation.State
	steps []stepRun
	at    int // the current step

	inbox    []*command
	seen     map[string]*command // by command ID
	calling  bool                // an activity runs: commands wait for it
	awaiting bool                // the current step waits for an event or a person, unparked
	aborting bool
	stopped  time.Duration // paused or site away: counts for no deadline

	news    bool                // the machine told something since the last call
	reached []operation.Reached // buffered events
	heard   map[int64]bool      // sequences seen

	ended   []operation.StepChange // steps that ended since the last transition
	by      *command               // who caused the next transition
	learned bool                   // known changed since the last transition
}

// stepRun is a step with what became of it.
type stepRun struct {
	plan.Step
	state     operation.StepState
	attempt   int
	round     int
	reboots   int
	handle    json.RawMessage // of this attempt, and of the one before
	last      json.RawMessage
	acceptPin string
	fault     *fault.Error // why it is parked
	began     time.Time    // the attempt
	writes    []plan.Write // really made, all attempts
	shown     shown
}

// verdict is how a piece of work ended.
type verdict int

const (
	next   verdict = iota // go on with what follows
	again                 // do the step from its beginning
	passed                // an operator ended the step: go on with the next
	abort                 // an operator ended the run
	failed                // a fault says why
)

// Asset carries out one machine's part of an operation's plan. It returns an error only when it
// could not tell how it ended.
func (e executor) Asset(ctx workflow.Context, in operation.StartAsset) (operation.Outcome, error) {
	r := &run{timing: e.timing, in: in, state: operation.Queued, seen: map[string]*command{}, heard: map[int64]bool{}}
	if err := r.listen(ctx); err != nil {
		return operation.Outcome{}, err
	}
	// A cancelled workflow is an abort like any other: what follows must still run.
	work, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	workflow.Go(work, func(c workflow.Context) {
		ctx.Done().Receive(c, nil)
		r.send(&command{action: operation.Abort, Command: operation.Command{
			ID: "cancel", Operation: in.Operation, Actor: "temporal", Reason: "the workflow was cancelled",
		}})
	})

	if f := r.claim(work); f != nil {
		workflow.GetLogger(ctx).Info("the run is not ours: nothing was touched", "asset", in.Asset, "code", f.Code, "reason", f.Message)
		r.state = operation.Failed
		if f.Code == fault.Aborted {
			r.state = operation.Aborted
		}
		return r.close(work)
	}
	r.follow(work)
	return r.close(work)
}

// claim takes the run in PostgreSQL. Until it has, nothing is touched and nothing is recorded.
func (r *run) claim(ctx workflow.Context) *fault.Error {
	claim, f := local[activities.Claim](ctx, r.timing, activities.ActivityClaim, activities.ClaimRequest{
		Operation: r.in.Operation, Asset: r.in.Asset, RunID: workflow.GetInfo(ctx).WorkflowExecution.RunID,
	})
	if f != nil {
		return f
	}
	r.target, r.known, r.seq, r.state = claim.Target, claim.Known, claim.LastSeq, operation.Running
	for _, s := range claim.Target.Steps {
		r.steps = append(r.steps, stepRun{Step: s, state: operation.StepPending})
	}
	// Search attributes are for people who look into Temporal; nothing depends on them.
	if err := workflow.UpsertTypedSearchAttributes(ctx, operation.SearchSite.ValueSet(claim.Target.Asset.Site)); err != nil {
		workflow.GetLogger(ctx).Warn("search attributes not set", "error", err)
	}
	return nil
}

// follow does the steps in their order.
func (r *run) follow(ctx workflow.Context) {
	for r.at = range r.steps {
		if r.step(ctx) == abort {
			r.abort(ctx)
			return
		}
	}
	r.state = operation.Done
	r.record(ctx, operation.Transition{})
}

// step does the current step until it ends, by itself or by an operator's word.
func (r *run) step(ctx workflow.Context) verdict {
	s := r.current()
	if s.NotApplicable != "" {
		s.state = operation.StepNotApplicable
		r.end(operation.StepChange{Summary: s.NotApplicable})
		return next
	}
	for {
		s.attempt++
		s.began = workflow.Now(ctx)
		s.state, s.round, s.reboots, s.shown, s.fault = operation.StepRunning, 1, 0, shown{}, nil
		if s.handle != nil { // an attempt that ended before it began adds nothing
			s.last, s.handle = s.handle, nil
		}
		r.state = operation.Running
		r.record(ctx, operation.Transition{}, r.change())
		done, f, v := r.attempt(ctx)
		if v == failed {
			v = r.park(ctx, f)
		}
		switch v {
		case next:
			r.finish(done)
			return next
		case passed:
			return next
		case abort:
			return abort
		}
	}
}

// attempt does the current step once, in its mode. With next, it says what was done, with failed, why
// not.
func (r *run) attempt(ctx workflow.Context) (*activities.Done, *fault.Error, verdict) {
	s := r.current()
	policy, f := r.timing.policy(s.Step)
	if f != nil {
		return nil, f, failed
	}
	// A certificate that an operator accepts becomes the pinned one by proving the serial over it, in
	// whatever step it was met.
	if s.Destructive || s.acceptPin != "" && s.Place == plan.Site && s.Kind != plan.KindIdentity {
		if f, v := r.prove(ctx); v != next {
			return nil, f, v
		}
	}
	switch s.Mode {
	case plan.Act, plan.Converge:
		return r.drive(ctx, drive{call: r.call(s.Step), policy: policy, deadline: r.timing.deadline(s.Step), count: s})
	case plan.Await:
		return r.await(ctx, policy)
	case plan.Human:
		return r.human(ctx)
	}
	return nil, fault.New(fault.UnknownStep, "step %s has mode %q, which this worker does not know", s.Name, s.Mode), failed
}

// prove has the machine's identity proved again, right before something destructive.
func (r *run) prove(ctx workflow.Context) (*fault.Error, verdict) {
	// The checker takes JSON for random because of what the garbage collector does inside; a struct's
	// JSON is always the same.
	want := plan.Encode(plan.WantIdentity{Serial: r.target.Asset.Serial}) //workflowcheck:ignore
	proof := plan.Step{
		Name: "identity", Kind: plan.KindIdentity, Version: versionIdentity, Title: "Prove the identity again",
		Mode: plan.Act, Place: plan.Site, Undo: plan.ReadOnly, DeadlineSec: 1800, Policy: PolicyBMCRead,
		Want: want,
	}
	for _, s := range r.target.Steps {
		if s.Kind == plan.KindIdentity && s.NotApplicable == "" {
			proof = s
		}
	}
	policy, f := r.timing.policy(proof)
	if f != nil {
		return f, failed
	}
	call := r.call(r.current().Step)
	call.Step = proof
	done, f, v := r.drive(ctx, drive{call: call, policy: policy, deadline: r.timing.deadline(proof)})
	if v == next {
		r.learn(done.Learned)
		if len(done.Writes) > 0 {
			c := r.change()
			c.Writes = done.Writes
			r.current().writes = append(r.current().writes, done.Writes...)
			r.record(ctx, operation.Transition{}, c)
		}
	}
	return f, v
}

// finish ends the current step as done. What an earlier attempt wrote was changed by this step, also
// when the last attempt found everything so.
func (r *run) finish(d *activities.Done) {
	s := r.current()
	s.state = operation.StepAlready
	if d.Changed || len(s.writes) > 0 {
		s.state = operation.StepDone
	}
	r.learn(d.Learned)
	r.end(operation.StepChange{Summary: d.Summary, Writes: d.Writes, Evidence: d.Evidence})
}

// end keeps the end of the current step for the transition that begins the next one.
func (r *run) end(c operation.StepChange) {
	full := r.change()
	full.Summary, full.Error, full.Writes, full.Evidence, full.Progress = c.Summary, c.Error, c.Writes, c.Evidence, nil
	r.current().writes = append(r.current().writes, c.Writes...)
	r.ended = append(r.ended, full)
}

// close tells the operation how the run ended, answers the commands that came too late and ends.
func (r *run) close(ctx workflow.Context) (operation.Outcome, error) {
	out := operation.Outcome{Asset: r.in.Asset, State: r.state}
	err := workflow.SignalExternalWorkflow(ctx, operation.WorkflowID(r.in.Operation), "", operation.SignalFinished, out).Get(ctx, nil)
	if err != nil { // the operation has ended already: it learns it from its child, or needs it no more
		workflow.GetLogger(ctx).Warn("operation not told", "operation", r.in.Operation, "error", err)
	}
	for cmd := r.receive(); cmd != nil; cmd = r.receive() {
		cmd.answer(r, fault.New(fault.Conflict, "the run ended as %s before the command took effect", r.state))
	}
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return out, err
	}
	return out, nil
}

func (r *run) current() *stepRun { return &r.steps[r.at] }

// call makes the call of a step, with what the run knows.
func (r *run) call(s plan.Step) activities.Call {
	cur := r.current()
	c := activities.Call{
		Operation: r.in.Operation, Asset: r.target.Asset, BMC: r.target.BMC, Step: s, Known: r.known,
		Attempt: max(cur.attempt, 1), Round: max(cur.round, 1), AcceptPin: cur.acceptPin,
	}
	if s.Kind == cur.Kind { // not for a proof, a diagnosis or an undoing meanwhile
		c.Last = cur.last
	}
	return c
}

// assetSearch are the search attributes with which an asset's workflow starts.
func assetSearch(op operation.ID, id asset.ID) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(operation.SearchOperation.ValueSet(string(op)), operation.SearchAsset.ValueSet(id.String()))
}
