package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/workflows"
)

// site is a fleet of machines whose runs are played by a function.
type site struct {
	t   *testing.T
	env *testsuite.TestWorkflowEnvironment

	mu      sync.Mutex
	running int
	most    int
	started []asset.ID
	records []operation.Transition
}

// newSite registers play as the workflow of every machine.
func newSite(t *testing.T, play func(ctx workflow.Context, id asset.ID) (operation.State, error)) *site {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	s := &site{t: t, env: suite.NewTestWorkflowEnvironment()}
	s.env.SetTestTimeout(20 * time.Second)
	workflows.Register(only{operation.WorkflowOperation, s.env}, workflows.Standard())
	s.env.RegisterWorkflowWithOptions(func(ctx workflow.Context, in operation.StartAsset) (operation.Outcome, error) {
		s.began(in.Asset)
		state, err := play(ctx, in.Asset)
		s.ended()
		return operation.Outcome{Asset: in.Asset, State: state}, err
	}, workflow.RegisterOptions{Name: operation.WorkflowAsset})
	s.env.RegisterActivityWithOptions(func(_ context.Context, t operation.Transition) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.records = append(s.records, t)
		return nil
	}, activity.RegisterOptions{Name: activities.ActivityRecord})
	return s
}

// only registers the one workflow of a name.
type only struct {
	name string
	to   workflows.Registry
}

func (o only) RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions) {
	if options.Name == o.name {
		o.to.RegisterWorkflowWithOptions(w, options)
	}
}

func (s *site) began(id asset.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
	s.most = max(s.most, s.running)
	s.started = append(s.started, id)
}

func (s *site) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

func (s *site) run(in operation.Start) operation.Tally {
	s.t.Helper()
	s.env.ExecuteWorkflow(operation.WorkflowOperation, in)
	if !s.env.IsWorkflowCompleted() {
		s.t.Fatal("the operation did not end")
	}
	if err := s.env.GetWorkflowError(); err != nil {
		s.t.Fatalf("the operation ended with an error: %v", err)
	}
	var tally operation.Tally
	if err := s.env.GetWorkflowResult(&tally); err != nil {
		s.t.Fatal(err)
	}
	return tally
}

// ids are the assets 1 to n.
func ids(n int) []asset.ID {
	out := make([]asset.ID, n)
	for i := range out {
		out[i] = asset.ID(i + 1)
	}
	return out
}

// minutes plays a run that takes as many minutes.
func minutes(n int) func(workflow.Context, asset.ID) (operation.State, error) {
	return func(ctx workflow.Context, _ asset.ID) (operation.State, error) {
		return operation.Done, workflow.Sleep(ctx, time.Duration(n)*time.Minute)
	}
}

func TestWindowIsRespected(t *testing.T) {
	for _, window := range []int{1, 3, 10} {
		s := newSite(t, minutes(5))
		began := s.env.Now()
		if diff := cmp.Diff(operation.Tally{Done: 10}, s.run(operation.Start{Operation: op, Assets: ids(10), Window: window})); diff != "" {
			t.Errorf("tally (-want +got):\n%s", diff)
		}
		if s.most != window {
			t.Errorf("window %d: %d runs at once", window, s.most)
		}
		if got, want := s.env.Now().Sub(began).Round(time.Minute), time.Duration((10+window-1)/window)*5*time.Minute; got != want {
			t.Errorf("window %d: took %s, want %s: the window must be kept full", window, got, want)
		}
		slices.Sort(s.started)
		if diff := cmp.Diff(ids(10), s.started); diff != "" {
			t.Errorf("started (-want +got):\n%s", diff)
		}
	}
}

func TestEmptyIsNotAll(t *testing.T) {
	s := newSite(t, minutes(1))
	s.env.ExecuteWorkflow(operation.WorkflowOperation, operation.Start{Operation: op, Window: 5})
	if f, ok := operation.FaultOf(s.env.GetWorkflowError()); !ok || f.Code != fault.Invalid {
		t.Errorf("ended with %v", s.env.GetWorkflowError())
	}
}

// A run that fails, even without telling how, stops no other.
func TestFailuresStayAlone(t *testing.T) {
	s := newSite(t, func(ctx workflow.Context, id asset.ID) (operation.State, error) {
		switch id {
		case 2:
			return operation.Aborted, nil
		case 3:
			return "", errors.New("terminated")
		}
		return operation.Done, workflow.Sleep(ctx, time.Minute)
	})
	got := s.run(operation.Start{Operation: op, Assets: ids(6), Window: 2})
	if diff := cmp.Diff(operation.Tally{Done: 4, Aborted: 1, Failed: 1}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	// The lost one's lock must not stay, so its end is recorded for it.
	if len(s.records) != 1 || s.records[0].Asset != 3 || s.records[0].Seq != operation.SeqLost ||
		s.records[0].State != operation.Failed || s.records[0].Error == nil {
		t.Errorf("transitions %+v", s.records)
	}
}

func (s *site) at(d time.Duration, id string, a operation.Action, to *string) {
	s.env.RegisterDelayedCallback(func() {
		s.env.UpdateWorkflow(string(a), id, &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { *to = "rejected " + code(err) },
			OnComplete: func(v any, err error) {
				if err != nil {
					*to = err.Error()
					return
				}
				*to = string(v.(operation.Reply).State)
			},
		}, operation.Command{ID: id, Operation: op, Actor: "ann", Reason: "power work"})
	}, d)
}

func TestPauseStopsStarting(t *testing.T) {
	s := newSite(t, minutes(10))
	var pause, resume string
	s.at(5*time.Minute, "c1", operation.Pause, &pause)
	began := s.env.Now()
	s.env.RegisterDelayedCallback(func() {
		if len(s.started) != 2 || s.running != 0 {
			t.Errorf("paused: %d started, %d running; want 2 and 0", len(s.started), s.running)
		}
	}, 59*time.Minute)
	s.at(time.Hour, "c2", operation.Resume, &resume)
	if got := s.run(operation.Start{Operation: op, Assets: ids(4), Window: 2}); got.Done != 4 {
		t.Errorf("tally %+v", got)
	}
	if got := s.env.Now().Sub(began).Round(time.Minute); got != 70*time.Minute {
		t.Errorf("took %s, want 1h10m", got)
	}
	if pause != "paused" || resume != "running" {
		t.Errorf("replies %q, %q", pause, resume)
	}
}

func TestAbortMarksTheUnstarted(t *testing.T) {
	s := newSite(t, minutes(10))
	var abort, late string
	s.at(5*time.Minute, "c1", operation.Abort, &abort)
	s.at(6*time.Minute, "c2", operation.Pause, &late)
	got := s.run(operation.Start{Operation: op, Assets: ids(5), Window: 2})
	if diff := cmp.Diff(operation.Tally{Done: 2, Aborted: 3}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	var marked []string
	for _, r := range s.records {
		marked = append(marked, fmt.Sprintf("%s %s #%d by %s %s: %s", r.Asset, r.State, r.Seq, r.Actor, r.Action, r.Reason))
	}
	if diff := cmp.Diff([]string{
		"3 aborted #1 by ann abort: power work", "4 aborted #1 by ann abort: power work", "5 aborted #1 by ann abort: power work",
	}, marked); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if abort != "running" || late != "rejected conflict" {
		t.Errorf("replies %q, %q", abort, late)
	}
}

// Cancelling the operation's workflow aborts what has not started and cancels what runs.
func TestCancelledOperation(t *testing.T) {
	s := newSite(t, func(ctx workflow.Context, _ asset.ID) (operation.State, error) {
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return operation.Aborted, nil //nolint:nilerr // a cancelled run ends as aborted
		}
		return operation.Done, nil
	})
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, time.Minute)
	got := s.run(operation.Start{Operation: op, Assets: ids(5), Window: 2})
	if diff := cmp.Diff(operation.Tally{Aborted: 5}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
}

// A run that cannot be started is recorded as failed, with the reason, and the others go on. (That
// of a machine which another workflow holds is tested against a server, in temporaldev.)
func TestRunThatCannotBeStarted(t *testing.T) {
	s := newSite(t, minutes(1))
	s.env.OnWorkflow(operation.WorkflowAsset, mock.Anything, operation.StartAsset{Operation: op, Asset: 2}).
		Return(operation.Outcome{}, testsuite.ErrMockStartChildWorkflowFailed)
	s.env.OnWorkflow(operation.WorkflowAsset, mock.Anything, mock.Anything).
		Return(operation.Outcome{Asset: 1, State: operation.Done}, nil)
	got := s.run(operation.Start{Operation: op, Assets: ids(2), Window: 2})
	if diff := cmp.Diff(operation.Tally{Done: 1, Failed: 1}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	if len(s.records) != 1 || s.records[0].State != operation.Failed || s.records[0].Asset != 2 || s.records[0].Error == nil {
		t.Errorf("transitions %+v", s.records)
	}
}

func TestContinueAsNew(t *testing.T) {
	s := newSite(t, minutes(10))
	// The end of run 1 comes as a signal just before the workflow continues as new.
	s.env.RegisterDelayedCallback(func() {
		s.env.SignalWorkflowSkippingWorkflowTask(operation.SignalFinished, operation.Outcome{Asset: 1, State: operation.Done})
		s.env.RegisterDelayedCallback(func() { s.env.SetContinueAsNewSuggested(true) }, time.Nanosecond)
	}, 5*time.Minute)
	s.env.ExecuteWorkflow(operation.WorkflowOperation, operation.Start{Operation: op, Assets: ids(5), Window: 2})
	var renewed *workflow.ContinueAsNewError
	if !errors.As(s.env.GetWorkflowError(), &renewed) {
		t.Fatalf("ended with %v", s.env.GetWorkflowError())
	}
	var next operation.Start
	if err := converter.GetDefaultDataConverter().FromPayloads(renewed.Input, &next); err != nil {
		t.Fatal(err)
	}
	want := operation.Start{Operation: op, Assets: []asset.ID{3, 4, 5}, Window: 2, Carried: &operation.Carried{
		Live: []asset.ID{2}, Tally: operation.Tally{Done: 1},
	}}
	if diff := cmp.Diff(want, next); diff != "" {
		t.Errorf("input of the next run (-want +got):\n%s", diff)
	}
}

// A workflow that continued as new goes on with its window, and learns the ends of runs that began
// before by signal, once.
func TestContinued(t *testing.T) {
	s := newSite(t, minutes(10))
	for _, d := range []time.Duration{time.Minute, 2 * time.Minute} { // the second is a repeat
		s.env.RegisterDelayedCallback(func() {
			s.env.SignalWorkflow(operation.SignalFinished, operation.Outcome{Asset: 1, State: operation.Aborted})
		}, d)
	}
	got := s.run(operation.Start{Operation: op, Assets: []asset.ID{3}, Window: 2, Carried: &operation.Carried{
		Live: []asset.ID{1, 2}, Tally: operation.Tally{Done: 7},
	}})
	// Run 2 has ended without a signal: its start succeeds, and tells how it ended.
	if diff := cmp.Diff(operation.Tally{Done: 9, Aborted: 1}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	if !slices.Contains(s.started, 3) {
		t.Errorf("started %v", s.started)
	}
}

// An abort goes along when the workflow continues as new: a run that had not begun is cancelled, not
// carried out.
func TestContinuedAbort(t *testing.T) {
	s := newSite(t, func(ctx workflow.Context, _ asset.ID) (operation.State, error) {
		if err := workflow.Sleep(ctx, time.Hour); err != nil {
			return operation.Aborted, nil //nolint:nilerr // a cancelled run ends as aborted
		}
		return operation.Done, nil
	})
	s.env.OnRequestCancelExternalWorkflow(mock.Anything, operation.AssetWorkflowID(1), "").Return(func(_, workflowID, _ string) error {
		s.env.CancelWorkflowByID(workflowID, "")
		return nil
	})
	got := s.run(operation.Start{Operation: op, Window: 2, Carried: &operation.Carried{
		Live: []asset.ID{1}, AbortedBy: &operation.Command{ID: "c1", Operation: op, Actor: "ann", Reason: "power work"},
	}})
	if diff := cmp.Diff(operation.Tally{Aborted: 1}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
}

// A rack that is full does not hold up the others, and no rack has more runs at once than it allows.
func TestOperationKeepsTheRacksWindow(t *testing.T) {
	rackOf := func(id asset.ID) int { return int(id-1) / 4 } // racks of 1-4, 5-8, 9-12; the last has no limit of its own
	var mu sync.Mutex
	now, most := map[int]int{}, map[int]int{}
	s := newSite(t, func(ctx workflow.Context, id asset.ID) (operation.State, error) {
		mu.Lock()
		now[rackOf(id)]++
		most[rackOf(id)] = max(most[rackOf(id)], now[rackOf(id)])
		mu.Unlock()
		err := workflow.Sleep(ctx, 10*time.Minute)
		mu.Lock()
		now[rackOf(id)]--
		mu.Unlock()
		return operation.Done, err
	})
	got := s.run(operation.Start{Operation: op, Assets: ids(12), Window: 6, Racks: []operation.Rack{
		{Window: 1, Assets: []asset.ID{1, 2, 3, 4}}, {Window: 2, Assets: []asset.ID{5, 6, 7, 8}}}})
	if diff := cmp.Diff(operation.Tally{Done: 12}, got); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[int]int{0: 1, 1: 2, 2: 3}, most); diff != "" || s.most != 6 {
		t.Errorf("at once %d, in the racks (-want +got):\n%s", s.most, diff)
	}
	if first := s.started[:6]; slices.Contains(first, 2) || !slices.Contains(first, 9) {
		t.Errorf("started %v: a full rack holds up the others", s.started)
	}
}
