package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// shown is what was last recorded of a step's progress.
type shown struct {
	progress operation.Progress
	at       time.Time
}

// change is the current step as it stands.
func (r *run) change() operation.StepChange {
	s := r.current()
	c := operation.StepChange{Step: s.Name, State: s.state, Attempt: s.attempt, Round: s.round}
	if s.shown.progress.Text != "" && s.state == operation.StepRunning {
		p := s.shown.progress
		c.Progress = &p
	}
	return c
}

// record writes one transition: the steps that ended before, the changes given, and who caused it.
// It returns when PostgreSQL has it, however long that takes; only then the command is answered.
func (r *run) record(ctx workflow.Context, t operation.Transition, changes ...operation.StepChange) {
	r.seq++
	t.Operation, t.Asset, t.Seq, t.At, t.State = r.in.Operation, r.in.Asset, r.seq, workflow.Now(ctx), r.state
	if !r.state.Ended() {
		t.Step = r.current().Name
	}
	t.Vendor = r.target.Vendor
	t.Steps = append(r.ended, changes...)
	for i := range t.Steps {
		c := &t.Steps[i]
		j := slices.IndexFunc(r.steps, func(s stepRun) bool { return s.Name == c.Step })
		if j >= 0 && !r.steps[j].began.IsZero() && (c.State.Ended() || c.State == operation.StepParked) {
			c.Took, r.steps[j].began = t.At.Sub(r.steps[j].began), time.Time{} // told once
		}
	}
	if r.by != nil {
		t.Actor, t.Action, t.Reason = r.by.Actor, r.by.action, r.by.Reason
	}
	if r.learned {
		known := r.known
		t.Learned = &known
	}
	by := r.by
	r.ended, r.by, r.learned = nil, nil, false
	record(ctx, r.timing, t)
	if by != nil {
		by.answer(r, nil)
	}
}

// record writes a transition through the central worker's store.
func record(ctx workflow.Context, timing Timing, t operation.Transition) {
	// A refusal here would be a defect; the transition is kept and tried until the defect is mended.
	for {
		if _, f := local[any](ctx, timing, activities.ActivityRecord, t); f == nil {
			return
		}
		pause(ctx, timing.StoreSeldom)
	}
}

// local runs a local activity until it succeeds or is refused: PostgreSQL that is away, a worker
// that lost its connection and a defect that a new version will mend all pass.
func local[T any](ctx workflow.Context, timing Timing, name string, arg any) (T, *fault.Error) {
	var out T
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: timing.Store,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	began := workflow.Now(ctx)
	for wait := timing.StoreFirst; ; wait = min(2*wait, timing.StoreMost) {
		err := workflow.ExecuteLocalActivity(ctx, name, arg).Get(ctx, &out)
		if err == nil {
			return out, nil
		}
		if f, ours := operation.FaultOf(err); ours && (f.Class() == fault.Refuse || f.Code == fault.Aborted || f.Code == fault.OutsidePlan) {
			return out, f
		}
		workflow.GetLogger(ctx).Warn("the store does not answer, trying again", "activity", name, "error", err)
		if workflow.Now(ctx).Sub(began) > timing.StoreLong {
			wait = timing.StoreSeldom
		}
		pause(ctx, wait)
	}
}

// pause sleeps; the contexts of a run are disconnected, so nothing ends it early.
func pause(ctx workflow.Context, d time.Duration) {
	if err := workflow.Sleep(ctx, d); err != nil {
		workflow.GetLogger(ctx).Error("a wait was cut short", "error", err)
	}
}

// show records a step's progress when it says something new: another text at once, another
// percentage at most every timing.Show, and writes, evidence, rounds and what was learned always.
func (r *run) show(ctx workflow.Context, p operation.Progress, a *activities.Again) {
	s := r.current()
	now := workflow.Now(ctx)
	due := p.Text != s.shown.progress.Text || (p.Percent != s.shown.progress.Percent && now.Sub(s.shown.at) >= r.timing.Show)
	if a != nil {
		due = due || a.NewRound || len(a.Writes) > 0 || len(a.Evidence) > 0 || a.Learned != nil
	}
	if !due {
		return
	}
	s.shown = shown{progress: p, at: now}
	c := r.change()
	if a != nil {
		c.Writes, c.Evidence = a.Writes, a.Evidence
		s.writes = append(s.writes, a.Writes...)
	}
	r.record(ctx, operation.Transition{}, c)
}

// learn keeps what a step found out about the machine.
func (r *run) learn(k *operation.Known) {
	if k == nil {
		return
	}
	r.known = r.known.Merge(*k)
	r.learned = true
}
