package workflows

import (
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// drive is one piece of work that takes several calls.
type drive struct {
	call     activities.Call
	policy   Policy
	deadline time.Duration
	count    *stepRun // whose rounds and reboots are counted; nil: none may be asked for
	deaf     bool     // takes no commands and shows no progress: an abort is not stopped half-way
}

// shortest is the least time that a call is given. One with less would tell of nothing but that, and hide
// what was seen before.
const shortest = 2 * time.Second

// drive calls until the work is done, has failed for good, or an operator ends it. Failures that
// pass by themselves are tried again within the policy; a site that is away is waited for.
func (r *run) drive(ctx workflow.Context, d drive) (*activities.Done, *fault.Error, verdict) {
	began := workflow.Now(ctx)
	r.stopped = 0
	var failing, away time.Time // since when
	wait, atOnce := d.policy.First, 0
	for {
		if !d.deaf {
			before := r.stopped
			if v := r.attend(ctx); v != next {
				return nil, nil, v
			}
			if r.stopped != before { // after a pause, everything begins anew
				failing, away, wait = time.Time{}, time.Time{}, d.policy.First
			}
		}
		elapsed := workflow.Now(ctx).Sub(began) - r.stopped
		if elapsed+shortest > d.deadline {
			return nil, r.late(d), failed
		}
		sent := workflow.Now(ctx)
		result, f, isAway := r.do(ctx, d.call, d.policy, d.deadline-elapsed)
		now := workflow.Now(ctx)
		if isAway {
			r.stopped += now.Sub(sent)
			if away.IsZero() {
				away = sent
			}
			if now.Sub(away) >= r.timing.SiteLimit {
				return nil, f, failed
			}
			if !d.deaf {
				r.siteAway(ctx, f)
			}
			continue
		}
		away = time.Time{}
		back := r.state == operation.Away
		if back {
			r.state = operation.Running
		}
		if f != nil {
			if failing.IsZero() {
				failing = now
			}
			if f.Class() != fault.Retry || now.Sub(failing) >= d.policy.Limit {
				return nil, f, failed
			}
			if !d.deaf {
				r.show(ctx, operation.Progress{Text: f.Message + "; trying again", Percent: -1}, nil)
			}
			if f.Code == fault.WorkerLost {
				// Not even a command shortens this: the lost call may still be at work.
				pause(ctx, r.timing.Orphan)
			}
			r.wait(ctx, min(wait, d.deadline-elapsed), d.deaf, false)
			wait = min(2*wait, d.policy.Most)
			continue
		}
		failing, wait = time.Time{}, d.policy.First
		if result.Done != nil {
			return result.Done, nil, next
		}
		if back {
			r.current().shown.progress = operation.Progress{} // the state changed: say so
		}
		r.learn(result.Again.Learned)
		d.call.Known = r.known
		over := d.bound(result.Again)
		if !d.deaf {
			r.show(ctx, result.Again.Progress, result.Again)
		}
		if over != nil {
			return nil, over, failed
		}
		d.call.Handle = result.Again.Handle
		if d.count != nil {
			d.call.Round = d.count.round
			d.count.handle = result.Again.Handle
		}
		if result.Again.After > 0 {
			atOnce = 0
		} else {
			atOnce++
		}
		elapsed = workflow.Now(ctx).Sub(began) - r.stopped
		r.wait(ctx, min(pace(result.Again.After, elapsed, atOnce), max(d.deadline-elapsed, 0)), d.deaf, result.Again.Listen)
	}
}

// bound counts the rounds and reboots that the next call would begin, and tells when the plan does
// not allow them.
func (d drive) bound(a *activities.Again) *fault.Error {
	s := d.count
	switch {
	case !a.NewRound && !a.Reboot:
		return nil
	case s == nil:
		return fault.New(fault.OutsidePlan, "step %s asks for a round or a reboot that nothing allows here: %s", d.call.Step.Name, a.Progress.Text)
	}
	if a.NewRound {
		if s.Mode == plan.Converge && s.round >= s.MaxRounds {
			return fault.New(fault.NotConverged, "still different after %d rounds, which is what the plan allows: %s", s.round, a.Progress.Text)
		}
		s.round++
	}
	if a.Reboot {
		if s.reboots >= s.MaxReboots {
			return fault.New(fault.NotConverged, "needs another reboot after %d, which is what the plan allows: %s", s.reboots, a.Progress.Text)
		}
		s.reboots++
	}
	return nil
}

// late is the failure of a step whose time is up.
func (r *run) late(d drive) *fault.Error {
	last := r.current().shown.progress.Text
	if last == "" {
		last = "nothing yet"
	}
	return fault.New(fault.Deadline, "step %s was not done within %s; last seen: %s", d.call.Step.Name, d.deadline, last)
}

// siteAway records once that the run stands still until its site answers.
func (r *run) siteAway(ctx workflow.Context, f *fault.Error) {
	if r.state == operation.Away {
		return
	}
	r.state = operation.Away
	r.record(ctx, operation.Transition{Error: f}, r.change())
}

// wait waits for d, or until a command comes, or, where the step listens, news of the machine: what it
// tells is then not looked for in vain.
func (r *run) wait(ctx workflow.Context, d time.Duration, deaf, listen bool) {
	switch {
	case d <= 0:
	case deaf:
		pause(ctx, d)
	default:
		if _, err := workflow.AwaitWithTimeout(ctx, d, func() bool { return len(r.inbox) > 0 || listen && r.news }); err != nil {
			workflow.GetLogger(ctx).Error("a wait was cut short", "error", err)
		}
	}
}

// do makes one call. away tells that no worker took it from the site's queue, so that nothing has
// happened.
func (r *run) do(ctx workflow.Context, c activities.Call, p Policy, left time.Duration) (result activities.Result, f *fault.Error, away bool) {
	o := workflow.ActivityOptions{
		TaskQueue:           operation.QueueCentral,
		StartToCloseTimeout: min(p.Call, left),
		HeartbeatTimeout:    r.timing.Heartbeat,
		// The executor tries again itself: then a pause, an abort and the deadline count meanwhile,
		// and people see why it waits.
		RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:     c.Step.Name,
	}
	if c.Step.Place == plan.Site {
		o.TaskQueue = operation.QueueSite(c.Asset.Site)
		o.ScheduleToStartTimeout = r.timing.SiteStart
	}
	r.calling, r.news = true, false
	err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), activities.ActivityStep, c).Get(ctx, &result)
	r.calling = false
	if err != nil {
		f, away = callFault(err, c, o)
		return activities.Result{}, f, away
	}
	if (result.Done == nil) == (result.Again == nil) {
		return activities.Result{}, fault.New(fault.Internal, "step %s/%d answered neither done nor again", c.Step.Kind, c.Step.Version), false
	}
	return result, nil, false
}

// callFault says what a failed call means.
func callFault(err error, c activities.Call, o workflow.ActivityOptions) (f *fault.Error, away bool) {
	if f, ours := operation.FaultOf(err); ours {
		return f, false
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		if timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START {
			return fault.New(fault.SiteAway, "no worker of site %s took step %s within %s", c.Asset.Site, c.Step.Name, o.ScheduleToStartTimeout), true
		}
		return fault.New(fault.WorkerLost, "the worker on queue %s that took step %s gave no answer within %s or fell silent",
			o.TaskQueue, c.Step.Name, o.StartToCloseTimeout), false
	}
	var panicked *temporal.PanicError
	if errors.As(err, &panicked) {
		return fault.Wrap(err, fault.Internal, "step %s/%d panicked: %v", c.Step.Kind, c.Step.Version, panicked), false
	}
	return fault.Wrap(err, fault.Internal, "step %s/%d: %v", c.Step.Kind, c.Step.Version, err), false
}

// describe writes a write as people read it.
func describe(w plan.Write) string {
	return fmt.Sprintf("%s %s: %s %s -> %s", w.System, w.Object, w.Field, w.Before, w.After)
}
