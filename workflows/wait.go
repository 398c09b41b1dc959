package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// hear buffers an event until a step waits for it; repeats and other operations' are dropped.
func (r *run) hear(e operation.Reached) {
	if e.Operation != r.in.Operation || r.heard[e.Sequence] {
		return
	}
	r.heard[e.Sequence], r.news = true, true
	r.reached = append(r.reached, e)
}

// reachedAt takes the oldest buffered event of a stage.
func (r *run) reachedAt(stage string) (operation.Reached, bool) {
	i := slices.IndexFunc(r.reached, func(e operation.Reached) bool { return stage != "" && e.Stage == stage })
	if i < 0 {
		return operation.Reached{}, false
	}
	e := r.reached[i]
	r.reached = slices.Delete(r.reached, i, i+1)
	return e, true
}

// await waits for an event of the step's stage. An operator may say that it has happened (complete)
// or begin the step anew (retry); a step with a probe also looks by itself every so often, and a
// failure of the probe that passes by itself is only shown.
func (r *run) await(ctx workflow.Context, policy Policy) (*activities.Done, *fault.Error, verdict) {
	s := r.current()
	began := workflow.Now(ctx)
	deadline := r.timing.deadline(s.Step)
	probe := time.Duration(s.ProbeSec) * time.Second
	call := r.call(s.Step)
	r.stopped = 0
	r.awaiting = true
	defer func() { r.awaiting = false }()
	look := workflow.Now(ctx)
	for {
		if v := r.attend(ctx); v != next {
			return nil, nil, v
		}
		if e, ok := r.reachedAt(s.Stage); ok {
			return reached(e), nil, next
		}
		now := workflow.Now(ctx)
		left := deadline - (now.Sub(began) - r.stopped)
		if left <= 0 {
			return nil, r.late(drive{call: call, deadline: deadline}), failed
		}
		if probe > 0 && !now.Before(look) {
			result, f, _ := r.do(ctx, call, policy, left)
			switch {
			case f != nil && f.Class() != fault.Retry:
				return nil, f, failed
			case f != nil:
				r.show(ctx, operation.Progress{Text: f.Message, Percent: -1}, nil)
			case result.Done != nil:
				return result.Done, nil, next
			default:
				r.learn(result.Again.Learned)
				call.Handle, call.Known = result.Again.Handle, r.known
				r.show(ctx, result.Again.Progress, result.Again)
			}
			look = workflow.Now(ctx).Add(probe)
			continue
		}
		d := left
		if probe > 0 {
			d = min(d, look.Sub(now))
		}
		r.listenFor(ctx, d, s.Stage)
	}
}

// reached ends an await step with its event as evidence.
func reached(e operation.Reached) *activities.Done {
	data := plan.Encode(e) //workflowcheck:ignore
	return &activities.Done{Changed: true, Summary: "reached " + e.Stage, Evidence: []operation.Evidence{{
		Kind: "event", Title: "The machine reached " + e.Stage, Data: data,
	}}}
}

// listenFor waits for d, a command, or an event of the stage.
func (r *run) listenFor(ctx workflow.Context, d time.Duration, stage string) {
	_, err := workflow.AwaitWithTimeout(ctx, d, func() bool {
		return len(r.inbox) > 0 || slices.ContainsFunc(r.reached, func(e operation.Reached) bool { return e.Stage == stage })
	})
	if err != nil {
		workflow.GetLogger(ctx).Error("a wait was cut short", "error", err)
	}
}

// human is a work order: nothing is called, a person completes it. It waits for the person from the
// beginning; when the deadline passes, that is said, and it still waits.
func (r *run) human(ctx workflow.Context) (*activities.Done, *fault.Error, verdict) {
	s := r.current()
	if v := r.attend(ctx); v != next {
		return nil, nil, v
	}
	r.state = operation.Waiting
	s.shown.progress = operation.Progress{Text: "waits for a person: " + s.Title, Percent: -1}
	r.record(ctx, operation.Transition{}, r.change())
	deadline := r.timing.deadline(s.Step)
	for end := workflow.Now(ctx).Add(deadline); ; {
		left := end.Sub(workflow.Now(ctx))
		if left <= 0 {
			return nil, fault.New(fault.Deadline, "work order %q was not completed within %s", s.Title, deadline), failed
		}
		r.wait(ctx, left, false, false)
		if v := r.attend(ctx); v != next {
			return nil, nil, v
		}
	}
}
