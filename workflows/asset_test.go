package workflows_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

func TestRunsStepsInOrder(t *testing.T) {
	w := newWorld(t,
		step("check", func(s *plan.Step) { s.Place = plan.Central }),
		step("prove"),
		step("flash", func(s *plan.Step) { s.NotApplicable = "the profile says IPMI" }),
		step("look"),
	)
	w.claim.LastSeq = 4
	w.steps["prove"] = func(activities.Call, int) (activities.Result, error) {
		return activities.Result{Done: &activities.Done{Summary: "SN7", Learned: &operation.Known{Serial: "SN7", Pin: "AB"}}}, nil
	}
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @check check=running/1
		running @prove check=done/1 prove=running/1
		running @look prove=already-so/1 flash=not-applicable/0 look=running/1
		done look=done/1`)
	w.wantCalls(`
		central check a1 r1
		site-ams01 prove a1 r1
		site-ams01 look a1 r1`)
	if diff := cmp.Diff(operation.Known{Serial: "SN7", Pin: "AB"}, w.sent[2].Known); diff != "" {
		t.Errorf("the third call knows (-want +got):\n%s", diff)
	}
	if got := w.records[2].Learned; got == nil || got.Pin != "AB" {
		t.Errorf("the transition after prove has learned %+v", got)
	}
	if w.records[3].Learned != nil {
		t.Errorf("the last transition repeats what was learned: %+v", w.records[3].Learned)
	}
}

func TestClaimRefused(t *testing.T) {
	for code, want := range map[fault.Code]operation.State{fault.Locked: operation.Failed, fault.Aborted: operation.Aborted} {
		w := newWorld(t, step("a"))
		w.refuse = fault.New(code, "no")
		if got := w.run(); got != want {
			t.Errorf("%s: ended as %s, want %s", code, got, want)
		}
		if len(w.records)+len(w.calls) != 0 {
			t.Errorf("%s: recorded %d transitions and made %d calls", code, len(w.records), len(w.calls))
		}
	}
}

func TestStoreAwayLosesNothing(t *testing.T) {
	w := newWorld(t, step("a"), step("b"))
	w.broken = 25
	w.steps["a"] = func(activities.Call, int) (activities.Result, error) {
		w.mu.Lock()
		w.broken = 40
		w.mu.Unlock()
		return done(true), nil
	}
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @a a=running/1
		running @b a=done/1 b=running/1
		done b=done/1`)
}
