package workflows_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/workflows"
)

func converge(rounds, reboots int) func(*plan.Step) {
	return func(s *plan.Step) { s.Mode, s.MaxRounds, s.MaxReboots = plan.Converge, rounds, reboots }
}

func round(a *activities.Again)  { a.NewRound = true }
func reboot(a *activities.Again) { a.Reboot = true }

// The handle of one call reaches the next, also across a round.
func TestHandleIsCarried(t *testing.T) {
	w := newWorld(t, step("a", converge(2, 0)))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		if nth == 3 {
			return done(true), nil
		}
		return again(time.Second, "going", func(a *activities.Again) {
			a.Handle, a.NewRound = json.RawMessage(fmt.Sprintf(`{"n":%d}`, nth)), nth == 1
		}), nil
	}
	w.run()
	var got []string
	for _, c := range w.sent {
		got = append(got, fmt.Sprintf("r%d %s", c.Round, c.Handle))
	}
	if diff := cmp.Diff([]string{"r1 ", `r1 {"n":0}`, `r2 {"n":1}`, `r2 {"n":2}`}, got); diff != "" {
		t.Errorf("rounds and handles (-want +got):\n%s", diff)
	}
}

// A retry begins without a handle: it observes again.
func TestRetryBeginsWithoutHandle(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		switch nth {
		case 0:
			return again(time.Second, "going"), nil
		case 1:
			return activities.Result{}, operation.AsTemporal(fault.New(fault.TaskFailed, "flash failed"))
		}
		return done(true), nil
	}
	w.at(time.Minute, "c1", operation.Retry)
	w.run()
	if last := w.sent[len(w.sent)-1]; last.Handle != nil || last.Attempt != 2 {
		t.Errorf("the retry was called with attempt %d, handle %s", last.Attempt, last.Handle)
	}
}

func TestRoundsAreBounded(t *testing.T) {
	w := newWorld(t, step("bios", converge(3, 9)))
	w.steps["bios"] = func(c activities.Call, nth int) (activities.Result, error) {
		if c.Attempt == 2 {
			return done(true), nil
		}
		return again(0, fmt.Sprintf("still different: SMT, look %d", nth+1), round), nil
	}
	w.at(time.Hour, "c1", operation.Retry)
	w.run()
	w.wantStory(`
		running @bios bios=running/1
		running @bios bios=running/1r2(still different: SMT, look 1)
		running @bios bios=running/1r3(still different: SMT, look 2)
		running @bios bios=running/1r3(still different: SMT, look 3)
		waiting @bios bios=parked/1r3 !not_converged
		running @bios bios=running/2 by ann retry
		done bios=done/2`)
}

func TestRebootsAreBounded(t *testing.T) {
	for _, most := range []int{0, 2} {
		w := newWorld(t, step("bios", converge(9, most)))
		w.steps["bios"] = func(activities.Call, int) (activities.Result, error) { return again(0, "rebooting", reboot), nil }
		w.at(time.Hour, "c1", operation.Abort)
		w.run()
		calls := 0
		for _, c := range w.sent {
			if c.Step.Kind != plan.KindDiagnose {
				calls++
			}
		}
		if calls != most+1 {
			t.Errorf("most %d: %d calls, want %d: the reboot beyond the bound must not be begun", most, calls, most+1)
		}
		if !contains(lines(w.story()), "!not_converged") {
			t.Errorf("most %d: did not park:\n%s", most, w.story())
		}
	}
}

// Writes and evidence made on the way are recorded at once, and once.
func TestWritesOnTheWayAreRecorded(t *testing.T) {
	write := func(v string) plan.Write {
		return plan.Write{System: "bmc", Object: "BIOS", Field: "SMT", Before: "x", After: v}
	}
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		if nth == 0 {
			return again(time.Millisecond, "same", func(a *activities.Again) { a.Writes = []plan.Write{write("1")} }), nil
		}
		d := done(true)
		d.Done.Writes = []plan.Write{write("2")}
		return d, nil
	}
	w.run()
	var got []string
	for _, r := range w.records {
		for _, c := range r.Steps {
			for _, wr := range c.Writes {
				got = append(got, wr.After)
			}
		}
	}
	if diff := cmp.Diff([]string{"1", "2"}, got); diff != "" {
		t.Errorf("recorded writes (-want +got):\n%s", diff)
	}
}

// A certificate that a step pinned and a write that it made on its way are known to the attempt after
// a parked one, and to the store before the step ended.
func TestWhatAStepLearnedOutlivesIt(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(c activities.Call, nth int) (activities.Result, error) {
		switch nth {
		case 0:
			return again(time.Millisecond, "pinned", func(a *activities.Again) {
				a.Learned = &operation.Known{Pin: "NEW"}
				a.Writes = []plan.Write{{System: "bmc", Object: "manager", Field: "hostname", Before: "x", After: "y"}}
			}), nil
		case 1:
			return activities.Result{}, operation.AsTemporal(fault.New(fault.NotApplied, "no"))
		}
		return done(false), nil
	}
	w.at(time.Minute, "c1", operation.Retry)
	w.run()
	for i, want := range []string{"", "NEW", "NEW", "NEW"} { // the third is the diagnosis
		if got := w.sent[i].Known.Pin; got != want {
			t.Errorf("call %d knows pin %q, want %q", i, got, want)
		}
	}
	if got := string(w.sent[3].Last); got != `{"n":1}` {
		t.Errorf("the second attempt is told %q of where the first was", got)
	}
	var learned []string
	for _, r := range w.records {
		if r.Learned != nil {
			learned = append(learned, r.Learned.Pin+" while "+string(r.State))
		}
	}
	if diff := cmp.Diff([]string{"NEW while running"}, learned); diff != "" {
		t.Errorf("recorded as learned (-want +got):\n%s", diff)
	}
	if !contains(lines(w.story()), "done a=done/2") {
		t.Errorf("a step that wrote in its first attempt is not already so:\n%s", w.story())
	}
}

// Percentages are recorded every two seconds at most, a new text at once.
func TestProgressIsRateLimited(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		if nth == 100 {
			return done(true), nil
		}
		text := "uploading"
		if nth >= 50 {
			text = "flashing"
		}
		return again(200*time.Millisecond, text, func(a *activities.Again) { a.Progress.Percent = nth }), nil
	}
	w.run()
	if n := len(w.records); n < 8 || n > 14 {
		t.Errorf("%d transitions for 20 s of progress in 100 calls, want about one every two seconds", n)
	}
	if !contains(lines(w.story()), "flashing") {
		t.Errorf("the new phase was not recorded:\n%s", w.story())
	}
}

// A step that wants to be called at once for ever is slowed down, and ends at its deadline.
func TestBusyStepIsPaced(t *testing.T) {
	w := newWorld(t, step("a", func(s *plan.Step) { s.DeadlineSec = 300 }))
	w.steps["a"] = func(activities.Call, int) (activities.Result, error) { return again(0, "spinning"), nil }
	w.at(time.Hour, "c1", operation.Abort)
	w.run()
	if n := len(w.calls); n < 200 || n > 340 {
		t.Errorf("%d calls in 300 s, want about one a second", n)
	}
}

func await(stage string, probe int) func(*plan.Step) {
	return func(s *plan.Step) { s.Mode, s.Stage, s.ProbeSec = plan.Await, stage, probe }
}

func event(seq int64, stage string) operation.Reached {
	return operation.Reached{Operation: op, Sequence: seq, Stage: stage, Digest: "d"}
}

func TestAwaitEvent(t *testing.T) {
	w := newWorld(t, step("boot", await("kernel", 0)), step("install", await("installed", 0)))
	for d, e := range map[time.Duration]operation.Reached{
		10 * time.Second: {Operation: "op_OTHER", Sequence: 1, Stage: "kernel"}, // another operation's
		20 * time.Second: event(7, "installed"),                                 // early: buffered
		21 * time.Second: event(7, "installed"),                                 // a repeat
		40 * time.Second: event(6, "kernel"),
	} {
		w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(operation.SignalReached, e) }, d)
	}
	began := w.env.Now()
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @boot boot=running/1
		running @install boot=done/1 install=running/1
		done install=done/1`)
	if got := w.records[1].At.Sub(began).Round(time.Second); got != 40*time.Second {
		t.Errorf("boot ended after %s, want 40s", got)
	}
	if got := w.records[2].At.Sub(began).Round(time.Second); got != 40*time.Second {
		t.Errorf("install ended after %s: its event had come before", got)
	}
	if len(w.calls) != 0 {
		t.Errorf("an await step without a probe made calls: %v", w.calls)
	}
	if ev := w.records[1].Steps[0].Evidence; len(ev) != 1 || ev[0].Kind != "event" {
		t.Errorf("evidence %+v", ev)
	}
}

// A repeat of an event that was used does not end the next wait for the same stage.
func TestAwaitDropsRepeats(t *testing.T) {
	w := newWorld(t, step("one", await("boot", 0)), step("two", await("boot", 0)))
	for d, seq := range map[time.Duration]int64{time.Minute: 1, 2 * time.Minute: 1, 3 * time.Minute: 2} {
		w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(operation.SignalReached, event(seq, "boot")) }, d)
	}
	began := w.env.Now()
	w.run()
	if got := w.records[len(w.records)-1].At.Sub(began).Round(time.Second); got != 3*time.Minute {
		t.Errorf("the second wait ended after %s, want 3m", got)
	}
}

func TestAwaitDeadlineThenComplete(t *testing.T) {
	w := newWorld(t, step("boot", await("kernel", 0), func(s *plan.Step) { s.DeadlineSec = 600 }))
	w.at(5*time.Minute, "early", operation.Complete) // a reason is asked for
	w.at(time.Hour, "c1", operation.Complete, reason("seen on the console"))
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @boot boot=running/1
		waiting @boot boot=parked/1 !deadline
		done boot=done/1 by ann complete`)
	w.wantReplies(map[string]string{"early": "rejected invalid", "c1": "done"})
}

func TestAwaitRetryAndPauseBeforeTheEvent(t *testing.T) {
	w := newWorld(t, step("boot", await("kernel", 0), func(s *plan.Step) { s.DeadlineSec = 600 }))
	w.at(time.Minute, "c1", operation.Retry)
	w.at(2*time.Minute, "c2", operation.Pause)
	w.at(3*time.Minute, "no", operation.Complete, reason("x"))
	w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(operation.SignalReached, event(1, "kernel")) }, time.Hour)
	w.at(2*time.Hour, "c3", operation.Resume)
	w.run()
	w.wantStory(`
		running @boot boot=running/1
		running @boot boot=running/2 by ann retry
		paused @boot boot=running/2 by ann pause
		running @boot boot=running/2 by ann resume
		done boot=done/2`)
	w.wantReplies(map[string]string{"c1": "running boot", "c2": "paused boot", "c3": "running boot", "no": "rejected conflict"})
}

func TestAwaitProbe(t *testing.T) {
	w := newWorld(t, step("boot", await("kernel", 300)))
	w.steps["boot"] = func(_ activities.Call, nth int) (activities.Result, error) {
		switch nth {
		case 0:
			return again(time.Second, "no link yet"), nil
		case 1:
			return activities.Result{}, operation.AsTemporal(fault.New(fault.Unreachable, "no answer"))
		}
		return done(true), nil
	}
	began := w.env.Now()
	w.run()
	w.wantStory(`
		running @boot boot=running/1
		running @boot boot=running/1(no link yet)
		running @boot boot=running/1(no answer)
		done boot=done/1`)
	if got := w.records[3].At.Sub(began).Round(time.Second); got != 10*time.Minute {
		t.Errorf("the third look was after %s, want 10m: every 5 minutes and no sooner", got)
	}
}

func TestHuman(t *testing.T) {
	order := func(s *plan.Step) {
		s.Mode, s.Policy, s.Evidence, s.DeadlineSec = plan.Human, workflows.PolicyHuman, []string{"photo"}, 3600
	}
	photo := func(c *operation.Command) {
		c.Evidence = []operation.Evidence{{Kind: "photo", Title: "slot 3", Data: json.RawMessage(`{}`)}}
	}
	w := newWorld(t, step("swap", order), step("after"))
	w.at(time.Minute, "c1", operation.Complete)
	w.at(2*time.Hour, "c2", operation.Complete, photo)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @swap swap=running/1
		waiting @swap swap=running/1(waits for a person: Do swap)
		waiting @swap swap=parked/1 !deadline
		running @after swap=done/1 after=running/1 by ann complete
		done after=done/1`)
	w.wantReplies(map[string]string{"c1": "rejected invalid", "c2": "running after"})
	if got := w.records[3].Steps[0].Evidence; len(got) != 1 || got[0].Title != "slot 3" {
		t.Errorf("evidence %+v", got)
	}
}

func TestHumanSkip(t *testing.T) {
	w := newWorld(t, step("swap", func(s *plan.Step) { s.Mode = plan.Human }))
	w.at(time.Minute, "c1", operation.Skip, reason("no spare"))
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantReplies(map[string]string{"c1": "done"})
}
