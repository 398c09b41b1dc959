package workflows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/workflows"
)

func TestParksByClass(t *testing.T) {
	for _, code := range []fault.Code{fault.IdentityMismatch, fault.InService, fault.NotApplied, fault.Internal} {
		w := newWorld(t, step("a"))
		w.steps["a"] = fails(1, code)
		w.at(time.Minute, "c1", operation.Retry)
		if got := w.run(); got != operation.Done {
			t.Errorf("%s: ended as %s", code, got)
		}
		w.wantStory(`
			running @a a=running/1
			waiting @a a=parked/1 !` + string(code) + `
			running @a a=running/2 by ann retry
			done a=done/2`)
		w.wantReplies(map[string]string{"c1": "running a"})
	}
}

// The error of a parked step reaches the store whole, with remedy and details.
func TestParkTellsEverything(t *testing.T) {
	want := fault.New(fault.Differs, "2 differences")
	want.Details = []fault.Item{{Subject: "drive 3", Expected: "NVMe", Seen: "SATA", Remedy: "swap it"}}
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		if nth == 0 {
			return activities.Result{}, activities.Fail(want)
		}
		return done(false), nil
	}
	w.steps["diagnose"] = func(activities.Call, int) (activities.Result, error) {
		return activities.Result{Done: &activities.Done{Evidence: []operation.Evidence{{Kind: "sel", Title: "Event log", Data: []byte(`["x"]`)}}}}, nil
	}
	w.at(time.Minute, "c1", operation.Retry)
	w.run()
	w.wantStory(`
		running @a a=running/1
		waiting @a a=parked/1 !hardware_differs
		waiting @a a=parked/1 !hardware_differs
		running @a a=running/2 by ann retry
		done a=already-so/2`)
	parked := w.records[1]
	for _, got := range []*fault.Error{parked.Error, parked.Steps[0].Error} {
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(fault.Error{})); diff != "" {
			t.Errorf("error of the parked step (-want +got):\n%s", diff)
		}
	}
	if got := w.records[2].Steps[0].Evidence; len(got) != 1 || got[0].Kind != "sel" {
		t.Errorf("evidence from the BMC: %+v", got)
	}
}

// A BMC that may not be asked, or cannot answer, is not asked for evidence.
func TestDiagnoseOnlyWhereItMay(t *testing.T) {
	for code, want := range map[fault.Code]bool{fault.PinChanged: false, fault.BadCredentials: false, fault.IdentityMismatch: false, fault.TaskFailed: true} {
		w := newWorld(t, step("a"))
		w.steps["a"] = fails(1, code)
		w.at(time.Minute, "c1", operation.Retry)
		w.run()
		if got := contains(w.calls, "diagnose"); got != want {
			t.Errorf("%s: diagnosed %t, want %t", code, got, want)
		}
	}
}

func TestRetryClassWithinPolicy(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = fails(5, fault.Unreachable)
	began := w.env.Now()
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @a a=running/1
		running @a a=running/1(no unreachable; trying again)
		done a=done/1`)
	if waited := w.env.Now().Sub(began).Round(time.Second); waited != (2+4+8+16+30)*time.Second {
		t.Errorf("waited %s for five failures, want 1 minute: 2, 4, 8, 16 and 30 seconds", waited)
	}
}

func TestRetryClassExhausted(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = fails(1000, fault.Unreachable)
	began := w.env.Now()
	w.at(time.Hour, "c1", operation.Abort)
	w.run()
	var parked time.Duration
	for _, r := range w.records {
		if r.State == operation.Waiting {
			parked = r.At.Sub(began)
		}
	}
	limit := workflows.Standard().Policies[workflows.PolicyBMCRead].Limit
	if parked < limit || parked > limit+time.Minute {
		t.Errorf("parked after %s, want soon after %s", parked, limit)
	}
}

// A success in between begins the count anew: the limit is for failures in a row.
func TestRetryCountsFailuresInARow(t *testing.T) {
	w := newWorld(t, step("a"))
	w.steps["a"] = func(_ activities.Call, nth int) (activities.Result, error) {
		switch {
		case nth == 60:
			return done(true), nil
		case nth%10 == 9:
			return again(time.Second, "going on"), nil
		}
		return activities.Result{}, operation.AsTemporal(fault.New(fault.Busy, "busy"))
	}
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s:\n%s", got, w.story())
	}
}

func TestDefectsPark(t *testing.T) {
	for name, a := range map[string]answer{
		"panic":   func(activities.Call, int) (activities.Result, error) { panic("index out of range") },
		"neither": func(activities.Call, int) (activities.Result, error) { return activities.Result{}, nil },
		"unknown": func(activities.Call, int) (activities.Result, error) { return activities.Result{}, errors.New("what") },
	} {
		w := newWorld(t, step("a"))
		w.steps["a"] = a
		w.at(time.Minute, "c1", operation.Skip, reason("defect 12"))
		if got := w.run(); got != operation.Done {
			t.Errorf("%s: ended as %s", name, got)
		}
		w.wantStory(`
			running @a a=running/1
			waiting @a a=parked/1 !internal
			done a=skipped/1 by ann skip`)
		if got := w.records[2].Reason; got != "defect 12" {
			t.Errorf("%s: the skip's reason is %q", name, got)
		}
	}
}

func TestUnknownPolicyAndModePark(t *testing.T) {
	w := newWorld(t,
		step("a", func(s *plan.Step) { s.Policy = "of the future" }),
		step("b", func(s *plan.Step) { s.Mode = "of the future" }),
	)
	w.at(time.Minute, "c1", operation.Skip, reason("x"))
	w.at(2*time.Minute, "c2", operation.Skip, reason("y"))
	w.run()
	w.wantStory(`
		running @a a=running/1
		waiting @a a=parked/1 !unknown_step
		running @b a=skipped/1 b=running/1 by ann skip
		waiting @b b=parked/1 !unknown_step
		done b=skipped/1 by ann skip`)
	w.wantCalls(``)
}

// The operator's fingerprint goes to the step that was retried with it, and to no other. The identity
// is proved with it first, and from then on it is the pinned one.
func TestRetryWithPin(t *testing.T) {
	proof := step("identity", func(s *plan.Step) { s.Kind, s.Undo = plan.KindIdentity, plan.ReadOnly })
	w := newWorld(t, proof, step("a"), step("b"))
	w.steps["identity"] = func(c activities.Call, _ int) (activities.Result, error) {
		r := done(false)
		r.Done.Learned = &operation.Known{Pin: "11:22"}
		if c.AcceptPin != "" {
			r.Done.Learned.Pin = c.AcceptPin
		}
		return r, nil
	}
	w.steps["a"] = fails(1, fault.PinChanged)
	w.at(time.Minute, "c1", operation.Retry, func(c *operation.Command) { c.AcceptPin = "AB:CD" })
	w.run()
	var pins []string
	for _, c := range w.sent {
		pins = append(pins, fmt.Sprintf("%s knows %q accepts %q", c.Step.Name, c.Known.Pin, c.AcceptPin))
	}
	want := []string{
		`identity knows "" accepts ""`, `a knows "11:22" accepts ""`,
		`identity knows "11:22" accepts "AB:CD"`, `a knows "AB:CD" accepts "AB:CD"`, `b knows "AB:CD" accepts ""`,
	}
	if diff := cmp.Diff(want, pins); diff != "" {
		t.Errorf("pins by call (-want +got):\n%s", diff)
	}
}

func TestAbortUndoesBookkeepingNewestFirst(t *testing.T) {
	compensable := func(s *plan.Step) { s.Undo, s.Place = plan.Compensable, plan.Central }
	noReturn := func(s *plan.Step) { s.Undo = plan.NoReturn }
	write := plan.Write{System: "bmc", Object: "account root", Field: "password", Before: "factory", After: "its own"}
	w := newWorld(t, step("one", compensable), step("skipped", compensable), step("password", noReturn), step("two", compensable),
		step("three", compensable), step("last"))
	w.steps["skipped"] = fails(9, fault.Conflict)
	w.steps["password"] = func(activities.Call, int) (activities.Result, error) {
		return activities.Result{Done: &activities.Done{Changed: true, Writes: []plan.Write{write}}}, nil
	}
	w.steps["undo two"] = fails(9, fault.InventoryDenied)
	w.steps["undo one"] = fails(2, fault.InventoryAway) // passes by itself
	w.steps["three"] = fails(9, fault.Conflict)
	w.at(time.Minute, "c0", operation.Skip, reason("not needed"))
	w.at(2*time.Minute, "c1", operation.Abort, reason("wrong rack"))
	if got := w.run(); got != operation.Aborted {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @one one=running/1
		running @skipped one=done/1 skipped=running/1
		waiting @skipped skipped=parked/1 !conflict
		running @password skipped=skipped/1 password=running/1 by ann skip
		running @two password=done/1 two=running/1
		running @three two=done/1 three=running/1
		waiting @three three=parked/1 !conflict
		running @three three=parked/1 by ann abort
		running @three three=parked/1
		running @three two=done/1
		running @three one=done/1
		aborted three=aborted/1 last=aborted/0 !conflict`)
	w.wantCalls(`
		central one a1 r1
		central skipped a1 r1
		site-ams01 password a1 r1
		central two a1 r1
		central three a1 r1
		central undo three a1 r1
		central undo two a1 r1
		central undo one a1 r1
		central undo one a1 r1
		central undo one a1 r1`)
	want := []string{
		"Do two: could not be taken back: no inventory_denied",
		"bmc account root: password factory -> its own",
	}
	if diff := cmp.Diff(want, w.records[len(w.records)-1].Left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	w.wantReplies(map[string]string{"c0": "running password", "c1": "running three"})
}

// What a step wrote and its undoing leaves, since it is no longer its own, is told of.
func TestAbortSaysWhatItsUndoingLeaves(t *testing.T) {
	w := newWorld(t, step("stage", func(s *plan.Step) { s.Undo = plan.Compensable }), step("last"))
	w.steps["stage"] = func(activities.Call, int) (activities.Result, error) {
		return activities.Result{Done: &activities.Done{Changed: true, Writes: []plan.Write{{System: "netbox", Object: "device", Field: "status"}}}}, nil
	}
	w.steps["undo stage"] = func(activities.Call, int) (activities.Result, error) {
		return activities.Result{Done: &activities.Done{Summary: "status is staged by op_OTHER, left as it is"}}, nil
	}
	w.steps["last"] = fails(9, fault.Conflict)
	w.at(time.Minute, "c1", operation.Abort)
	w.run()
	if diff := cmp.Diff([]string{"Do stage: status is staged by op_OTHER, left as it is"}, w.records[len(w.records)-1].Left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A step that was writing when it was aborted is told of as uncertain.
func TestAbortInTheMiddle(t *testing.T) {
	w := newWorld(t, step("flash", func(s *plan.Step) {
		s.Undo, s.Writes = plan.NoReturn, []plan.Write{{System: "bmc", Object: "firmware", Field: "BMC", Before: plan.Unknown, After: "2.1"}}
	}))
	w.steps["flash"] = func(activities.Call, int) (activities.Result, error) { return again(time.Minute, "flashing"), nil }
	w.at(90*time.Second, "c1", operation.Abort)
	if got := w.run(); got != operation.Aborted {
		t.Errorf("ended as %s", got)
	}
	left := strings.Join(w.records[len(w.records)-1].Left, "\n")
	if !strings.Contains(left, "ended in the middle (flashing)") {
		t.Errorf("left: %s", left)
	}
}

// An abort has the run of a configure step ended, and says what that leaves; it waits for no site.
func TestAbortStopsTheRunOfConfigure(t *testing.T) {
	configure := func(s *plan.Step) { s.Kind, s.Policy = plan.KindConfigure, workflows.PolicyConfig }
	after := func(a *activities.Again) { a.Handle = json.RawMessage(`{"phase":"real"}`) }
	runs := func(activities.Call, int) (activities.Result, error) {
		return again(time.Minute, "real run", after), nil
	}
	silent := func(c activities.Call, nth int) (activities.Result, error) {
		if nth > 0 {
			return activities.Result{}, operation.AsTemporal(fault.New(fault.HostAway, "silent under its run"))
		}
		return runs(c, nth)
	}
	said := func(text string) answer {
		return func(activities.Call, int) (activities.Result, error) {
			return activities.Result{Done: &activities.Done{Changed: text != "", Summary: text}}, nil
		}
	}
	for name, tc := range map[string]struct {
		first, stop answer
		actions     []operation.Action
		left        []string
		stops       int
	}{
		"under way":                   {runs, said("real run 7 was told to end"), []operation.Action{operation.Abort}, []string{"Do configure: real run 7 was told to end"}, 1},
		"after a failure that passes": {runs, fails(2, fault.ConfigAway), []operation.Action{operation.Abort}, []string{"Do configure: ok"}, 3},
		"not to be ended": {runs, fails(9, fault.ConfigDenied), []operation.Action{operation.Abort},
			[]string{"Do configure: its run may still be under way, and could not be ended: no config_denied"}, 1},
		"the host stays silent": {runs, fails(9, fault.HostAway), []operation.Action{operation.Abort},
			[]string{"Do configure: its run may still be under way, and could not be ended: no host_away"}, 3},
		"Salt stays away": {runs, fails(9, fault.ConfigAway), []operation.Action{operation.Abort},
			[]string{"Do configure: its run may still be under way, and could not be ended: no config_away"}, 3},
		"nothing to end":    {runs, said(""), []operation.Action{operation.Abort}, nil, 1},
		"skipped before":    {silent, said("real run 7 was told to end"), []operation.Action{operation.Skip, operation.Abort}, []string{"Do configure: real run 7 was told to end"}, 1},
		"before any call":   {fails(9, fault.ConfigDenied), said("never"), []operation.Action{operation.Abort}, nil, 0},
		"ended well before": {nil, said("never"), []operation.Action{operation.Abort}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, step("stage", func(s *plan.Step) { s.Undo = plan.Compensable }), step("configure", configure), step("last"))
			w.steps["configure"], w.steps["stop configure"] = tc.first, tc.stop
			w.steps["last"] = fails(9, fault.Conflict)
			for i, a := range tc.actions {
				w.at(time.Duration(i+1)*90*time.Second, string(a), a, reason("because"))
			}
			if got := w.run(); got != operation.Aborted {
				t.Errorf("ended as %s", got)
			}
			if diff := cmp.Diff(tc.left, w.records[len(w.records)-1].Left); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			var stops []activities.Call
			undone := false
			for _, c := range w.sent {
				undone = undone || c.Undo
				if c.Step.Kind == plan.KindStop {
					stops = append(stops, c)
					if undone || string(c.Handle) != `{"phase":"real"}` || c.Attempt != 1 || c.Step.Name != "configure" {
						t.Errorf("stop after an undoing (%t), or with %+v", undone, c)
					}
				}
			}
			if len(stops) != tc.stops || !undone {
				t.Errorf("%d stops, want %d; undone %t", len(stops), tc.stops, undone)
			}
		})
	}
}

func TestCancelIsAbort(t *testing.T) {
	w := newWorld(t, step("stage", func(s *plan.Step) { s.Undo = plan.Compensable }), step("wait"))
	w.steps["wait"] = func(activities.Call, int) (activities.Result, error) { return again(time.Minute, "waiting"), nil }
	w.env.RegisterDelayedCallback(w.env.CancelWorkflow, 90*time.Second)
	if got := w.run(); got != operation.Aborted {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @stage stage=running/1
		running @wait stage=done/1 wait=running/1
		running @wait wait=running/1(waiting)
		running @wait wait=running/1(waiting) by temporal abort
		running @wait stage=done/1
		aborted wait=aborted/1`)
}

func TestDestructiveStepProvesIdentityFirst(t *testing.T) {
	proof := step("identity", func(s *plan.Step) { s.Kind, s.Undo = plan.KindIdentity, plan.ReadOnly })
	w := newWorld(t, proof, step("wipe", func(s *plan.Step) { s.Destructive, s.Undo = true, plan.NoReturn }))
	w.steps["identity"] = func(_ activities.Call, nth int) (activities.Result, error) {
		if nth == 1 { // between the first proof and the wipe, the machine was swapped
			return activities.Result{}, operation.AsTemporal(fault.New(fault.IdentityMismatch, "SN8, not SN7"))
		}
		return done(false), nil
	}
	w.at(time.Minute, "c1", operation.Retry)
	if got := w.run(); got != operation.Done {
		t.Errorf("ended as %s", got)
	}
	w.wantStory(`
		running @identity identity=running/1
		running @wipe identity=already-so/1 wipe=running/1
		waiting @wipe wipe=parked/1 !identity_mismatch
		running @wipe wipe=running/2 by ann retry
		done wipe=done/2`)
	w.wantCalls(`
		site-ams01 identity a1 r1
		site-ams01 identity a1 r1
		site-ams01 identity a2 r1
		site-ams01 wipe a2 r1`)
}

func TestDestructiveStepWithoutIdentityStep(t *testing.T) {
	w := newWorld(t, step("wipe", func(s *plan.Step) { s.Destructive = true }))
	w.run()
	if len(w.sent) != 2 || w.sent[0].Step.Kind != plan.KindIdentity || string(w.sent[0].Step.Want) != `{"serial":"SN7"}` {
		t.Errorf("calls %v, the first with %s", w.calls, w.sent[0].Step.Want)
	}
}
