package workflows_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/workflows"
)

// slow asks to be called again after a minute, n times.
func slow(n int) answer {
	return func(_ activities.Call, nth int) (activities.Result, error) {
		if nth < n {
			return again(time.Minute, "waiting"), nil
		}
		return done(true), nil
	}
}

func TestPauseInsideATimer(t *testing.T) {
	w := newWorld(t, step("a"), step("b"))
	w.steps["a"] = slow(2)
	w.at(90*time.Second, "c1", operation.Pause, reason("power work"))
	w.at(24*time.Hour, "c2", operation.Resume)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @a a=running/1
		running @a a=running/1(waiting)
		paused @a a=running/1(waiting) by ann pause
		running @a a=running/1(waiting) by ann resume
		running @b a=done/1 b=running/1
		done b=done/1`)
	w.wantReplies(map[string]string{"c1": "paused a", "c2": "running a"})
	if got := len(w.calls); got != 4 {
		t.Errorf("%d calls, want 4: none while paused\n%v", got, w.calls)
	}
}

// A day of pause does not use up a deadline of an hour.
func TestPauseCountsForNoDeadline(t *testing.T) {
	w := newWorld(t, step("a", func(s *plan.Step) { s.DeadlineSec = 600 }))
	w.steps["a"] = slow(5)
	w.at(90*time.Second, "c1", operation.Pause)
	w.at(24*time.Hour, "c2", operation.Resume)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	for _, r := range w.records {
		if r.Error != nil {
			t.Errorf("%s: %s", r.State, r.Error)
		}
	}
}

// While an activity runs, a pause is accepted and takes effect after it.
func TestPauseDuringACall(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		if nth == 0 {
			w.send("c1", operation.Pause)
			w.at(time.Hour, "c2", operation.Resume)
			return again(time.Second, "first"), nil
		}
		return done(true), nil
	}
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @a a=running/1
		running @a a=running/1(first)
		paused @a a=running/1(first) by ann pause
		running @a a=running/1(first) by ann resume
		done a=done/1`)
	w.wantReplies(map[string]string{"c1": "running a", "c2": "running a"})
}

func TestDeadline(t *testing.T) {
	w := newWorld(t, step("a", func(s *plan.Step) { s.DeadlineSec = 600 }))
	w.steps["a"] = slow(1000)
	began := w.env.Now()
	w.at(time.Hour, "c1", operation.Abort)
	w.run()
	w.wantStory(`
		running @a a=running/1
		running @a a=running/1(waiting)
		waiting @a a=parked/1 !deadline
		running @a a=parked/1 by ann abort
		aborted a=aborted/1 !deadline`)
	if got := w.records[2].At.Sub(began).Round(time.Second); got != 10*time.Minute {
		t.Errorf("parked after %s, want 10m", got)
	}
	if want, got := "step a was not done within 10m0s; last seen: waiting", w.records[2].Error.Message; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
}

func TestSiteAwayThenBack(t *testing.T) {
	w := newWorld(t, step("a", func(s *plan.Step) { s.DeadlineSec = 60 }), step("b"))
	w.steps["a"] = nobody(5)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @a a=running/1
		waiting-for-site @a a=running/1 !site_away
		running @b a=done/1 b=running/1
		done b=done/1`)
}

func TestSiteAwayTooLong(t *testing.T) {
	w := newWorld(t, step("a"))
	w.delay(time.Minute) // each refused call lies in the queue as long as it may
	w.steps["a"] = func(c activities.Call, nth int) (activities.Result, error) {
		if nth >= 32 {
			return done(true), nil
		}
		return nobody(1<<30)(c, nth)
	}
	w.at(2*time.Hour, "c1", operation.Retry)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	story := lines(w.story())
	if diff := cmp.Diff([]string{
		"running @a a=running/1",
		"waiting-for-site @a a=running/1 !site_away",
		"waiting @a a=parked/1 !site_away",
		"running @a a=running/2 by ann retry",
	}, story[:4]); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

func TestCommandsWhileSiteIsAway(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(c activities.Call, nth int) (activities.Result, error) {
		switch nth {
		case 1:
			w.send("c1", operation.Retry)
			w.send("c2", operation.Pause)
			w.at(time.Hour, "c3", operation.Resume)
		case 5:
			w.send("c4", operation.Abort)
		}
		return nobody(1<<30)(c, nth)
	}
	if got := w.run(); got != operation.Aborted {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @a a=running/1
		waiting-for-site @a a=running/1 !site_away
		waiting-for-site @a a=running/1 by ann retry
		paused @a a=running/1 by ann pause
		running @a a=running/1 by ann resume
		waiting-for-site @a a=running/1 !site_away
		running @a a=running/1 by ann abort
		aborted a=aborted/1`)
}

func TestValidators(t *testing.T) {
	parked := func(w *world) { w.steps["a"] = fails(1, fault.NotApplied) }
	running := func(w *world) { w.steps["a"] = slow(3) }
	set := func(f func(*operation.Command)) []func(*operation.Command) { return []func(*operation.Command){f} }
	for _, c := range []struct {
		name   string
		setup  func(*world)
		action operation.Action
		change []func(*operation.Command)
		want   string
	}{
		{"no id", running, operation.Pause, set(func(c *operation.Command) { c.ID = "" }), "rejected invalid"},
		{"no actor", running, operation.Pause, set(func(c *operation.Command) { c.Actor = "" }), "rejected invalid"},
		{"another operation", running, operation.Pause, set(func(c *operation.Command) { c.Operation = "op_X" }), "rejected locked"},
		{"another step", running, operation.Pause, set(onStep("b")), "rejected conflict"},
		{"this step", running, operation.Pause, set(onStep("a")), "paused a"},
		{"pause while parked", parked, operation.Pause, nil, "rejected conflict"},
		{"resume while running", running, operation.Resume, nil, "rejected conflict"},
		{"resume while parked", parked, operation.Resume, nil, "rejected conflict"},
		{"retry while running", running, operation.Retry, nil, "rejected conflict"},
		{"skip while running", running, operation.Skip, set(reason("x")), "rejected conflict"},
		{"skip without reason", parked, operation.Skip, nil, "rejected invalid"},
		{"complete an act step", parked, operation.Complete, set(reason("x")), "rejected conflict"},
		{"complete while running", running, operation.Complete, set(reason("x")), "rejected conflict"},
		{"abort while running", running, operation.Abort, nil, "running a"},
		{"abort while parked", parked, operation.Abort, nil, "running a"},
	} {
		w := newWorld(t, step("a"), step("b"))
		c.setup(w)
		w.at(90*time.Second, "c1", c.action, c.change...)
		w.at(time.Hour, "end", operation.Abort)
		w.run()
		if got := w.replies["c1"]; got != c.want {
			t.Errorf("%s: %s got %q, want %q", c.name, c.action, got, c.want)
		}
	}
}

func TestUnskippable(t *testing.T) {
	w := newWorld(t, step("a", func(s *plan.Step) { s.Unskippable = true }))
	w.steps["a"] = fails(1, fault.IdentityMismatch)
	w.at(time.Minute, "c1", operation.Skip, reason("I know better"))
	w.at(2*time.Minute, "c2", operation.Abort)
	if got := w.run(); got != operation.Aborted {
		t.Errorf("ended as %s", got)
	}
	if got := w.replies["c1"]; got != "rejected denied" {
		t.Errorf("skip got %q", got)
	}
}

// The refusal reaches the asker with its own words.
func TestRefusalNamesTheHolder(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = slow(2)
	var refused *fault.Error
	w.env.RegisterDelayedCallback(func() {
		w.env.UpdateWorkflow(string(operation.Abort), "x", w.refused(&refused), operation.Command{ID: "x", Operation: "op_OTHER", Actor: "bob"})
	}, 30*time.Second)
	w.run()
	if refused == nil || refused.Code != fault.Locked || refused.Holder != string(op) {
		t.Errorf("refused with %+v", refused)
	}
}

// Of two decisions about one parked step, the first counts and the second is told why it does not.
func TestTwoDecisionsAtOnce(t *testing.T) {
	w := newWorld(t, step("a"), step("b"))
	w.steps["a"] = fails(1, fault.NotApplied)
	w.steps["diagnose"] = func(activities.Call, int) (activities.Result, error) { // both come before the run can look
		w.env.RegisterDelayedCallback(func() {
			w.update("c1", operation.Retry)
			w.update("c2", operation.Skip, reason("x"))
		}, 0)
		return done(false), nil
	}
	w.delay(time.Second)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantReplies(map[string]string{"c1": "running a", "c2": "refused conflict"})
	for _, r := range w.records {
		if r.Action == operation.Skip {
			t.Errorf("the second decision took effect:\n%s", w.story())
		}
	}
}

func TestRepeatedCommandIsHarmless(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = fails(3, fault.NotApplied)
	w.at(time.Minute, "c1", operation.Retry)
	w.env.RegisterDelayedCallback(func() { // the same command under another Update ID
		w.env.UpdateWorkflow(string(operation.Retry), "again", w.refused(new(*fault.Error)),
			operation.Command{ID: "c1", Operation: op, Actor: "ann"})
	}, 2*time.Minute)
	w.at(time.Hour, "end", operation.Abort)
	w.run()
	if got := len(w.calls); contains(w.calls, "a3") || got == 0 {
		t.Errorf("a repeated retry was carried out twice: %v", w.calls)
	}
}

// A worker that took a call and fell silent: the step is called again, not before the lost call can
// have learned of it, and with the same handle.
func TestWorkerLost(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		switch nth {
		case 0:
			return again(time.Second, "flashing"), nil
		case 1:
			return activities.Result{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil)
		}
		return done(true), nil
	}
	began := w.env.Now()
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	if got := string(w.sent[2].Handle); got != `{"n":1}` {
		t.Errorf("called again with handle %q", got)
	}
	timing := workflows.Standard()
	want := time.Second + timing.Orphan + timing.Policies[workflows.PolicyBMCRead].First
	if got := w.env.Now().Sub(began).Round(time.Second); got != want {
		t.Errorf("took %s, want %s", got, want)
	}
	if !contains(lines(w.story()), "gave no answer") {
		t.Errorf("nobody was told:\n%s", w.story())
	}
}

// The limits of a call reach Temporal.
func TestCallLimits(t *testing.T) {
	w := newWorld(t, step("long"), step("short", func(s *plan.Step) { s.DeadlineSec = 30 }))
	timing := workflows.Standard()
	for name, most := range map[string]time.Duration{"long": timing.Policies[workflows.PolicyBMCRead].Call, "short": 30 * time.Second} {
		w.limits[name] = func(i activity.Info) {
			if got := i.Deadline.Sub(i.StartedTime).Round(time.Second); got != most {
				t.Errorf("%s: a call may take %s, want %s", name, got, most)
			}
			if i.HeartbeatTimeout != timing.Heartbeat {
				t.Errorf("%s: heartbeat time-out %s, want %s", name, i.HeartbeatTimeout, timing.Heartbeat)
			}
			if i.RetryPolicy != nil && i.RetryPolicy.MaximumAttempts != 1 {
				t.Errorf("%s: Temporal may try it %d times: the executor tries again, nobody else", name, i.RetryPolicy.MaximumAttempts)
			}
		}
	}
	w.run()
	if len(w.sent) != 2 {
		t.Errorf("%d calls", len(w.sent))
	}
}

// A pause that names a step and was accepted while that step's call ran holds although the call ended
// the step.
func TestPauseAcceptedInTheLastCallOfAStep(t *testing.T) {
	w := newWorld(t, step("a"), step("b"))
	w.steps["a"] = func(activities.Call, int) (activities.Result, error) {
		w.send("c1", operation.Pause, onStep("a"))
		return done(true), nil
	}
	w.at(time.Hour, "c2", operation.Resume)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	if !slices.ContainsFunc(w.records, func(r operation.Transition) bool { return r.State == operation.Paused }) {
		t.Errorf("never paused:\n%s", w.story())
	}
}
