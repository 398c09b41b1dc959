package temporaldev_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/workflows"
)

// record is where to write the histories, e.g. ../../../workflows/testdata/histories.
var record = flag.String("record", "", "folder to write the recorded histories to")

// history reads the whole history of the newest run of a workflow.
func history(t *testing.T, c client.Client, workflowID string) *historypb.History {
	t.Helper()
	h := &historypb.History{}
	events := c.GetWorkflowHistory(t.Context(), workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	return h
}

// TestHistories makes a history of each thing that the executor can go through, on a real server,
// and replays it at once. With -record it also writes them (make histories): workflows/replay_test.go
// replays those in every later version. Old files are never overwritten by a changed executor
// without a version constant: see workflows/versions.go.
func TestHistories(t *testing.T) {
	s := start(t)
	c := connect(t, s)
	steer := operation.NewClient(c)
	reached := func(seq int64) operation.Reached {
		return operation.Reached{Operation: op, Sequence: seq, Stage: "kernel", Digest: "d"}
	}
	await := func(p *plan.Step) { p.Mode, p.Stage = plan.Await, "kernel" }
	human := func(p *plan.Step) { p.Mode, p.Policy = plan.Human, workflows.PolicyHuman }
	for i, scenario := range []struct {
		name  string
		steps []plan.Step
		play  func(l *ledger, id asset.ID, tell func(operation.Action))
	}{
		{"every-mode", []plan.Step{
			noop("check", kindTouch, central), noop("slow", kindSlow), noop("none", kindTouch, func(p *plan.Step) { p.NotApplicable = "no need" }),
			noop("round", kindRound, twoRounds), noop("wipe", kindTouch, func(p *plan.Step) { p.Destructive = true }),
			noop("boot", kindTouch, await), noop("swap", kindTouch, human),
		}, func(l *ledger, id asset.ID, tell func(operation.Action)) {
			until(t, 20*time.Second, "boot is awaited", func() bool { return l.last(id).Step == "boot" })
			for range 2 {
				if err := c.SignalWorkflow(t.Context(), operation.AssetWorkflowID(id), "", operation.SignalReached, reached(1)); err != nil {
					t.Fatal(err)
				}
			}
			until(t, 20*time.Second, "the work order waits", func() bool { return l.last(id).State == operation.Waiting })
			tell(operation.Complete)
		}},
		{"park-retry-skip", []plan.Step{noop("a", kindFirst), noop("b", kindFirst), noop("c", kindTouch)},
			func(l *ledger, id asset.ID, tell func(operation.Action)) {
				until(t, 20*time.Second, "a is parked", func() bool { return l.last(id).State == operation.Waiting && l.last(id).Step == "a" })
				tell(operation.Retry)
				until(t, 20*time.Second, "b is parked", func() bool { return l.last(id).State == operation.Waiting && l.last(id).Step == "b" })
				tell(operation.Skip)
			}},
		{"pause-resume-abort", []plan.Step{noop("stage", kindTouch, central, compensable), noop("a", kindStuck)},
			func(l *ledger, id asset.ID, tell func(operation.Action)) {
				until(t, 20*time.Second, "a is stuck", func() bool { return l.last(id).Step == "a" && len(l.last(id).Steps) == 1 })
				tell(operation.Pause)
				until(t, 20*time.Second, "it is paused", func() bool { return l.last(id).State == operation.Paused })
				tell(operation.Resume)
				until(t, 20*time.Second, "it runs", func() bool { return l.last(id).State == operation.Running })
				tell(operation.Abort)
			}},
		{"abort-stops-run", []plan.Step{noop("stage", kindTouch, central, compensable), noop("configure", plan.KindConfigure)},
			func(l *ledger, id asset.ID, tell func(operation.Action)) {
				until(t, 20*time.Second, "a run is under way", func() bool { return shows(l.last(id), "configure") })
				tell(operation.Abort)
			}},
	} {
		id := asset.ID(i + 1)
		l := newLedger(scenario.steps...)
		stop, err := work(c, l, workflows.Standard(), "", "ams01")
		if err != nil {
			t.Fatal(err)
		}
		tell := func(a operation.Action) {
			cmd := operation.Command{ID: string(a), Operation: op, Actor: "ann", Reason: "because"}
			if _, err := steer.Command(t.Context(), id, a, cmd); err != nil {
				t.Fatalf("%s: %s: %v", scenario.name, a, err)
			}
		}
		run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: operation.AssetWorkflowID(id), TaskQueue: operation.QueueCentral},
			operation.WorkflowAsset, operation.StartAsset{Operation: op, Asset: id})
		if err != nil {
			t.Fatal(err)
		}
		scenario.play(l, id, tell)
		if err := run.Get(t.Context(), nil); err != nil {
			t.Fatalf("%s: %v", scenario.name, err)
		}
		stop()
		keep(t, "asset-"+scenario.name, history(t, c, operation.AssetWorkflowID(id)))
	}
	recordOperation(t, c, steer)
}

// shows tells whether a transition shows the progress of a step, whose handle is then kept.
func shows(t operation.Transition, step string) bool {
	return slices.ContainsFunc(t.Steps, func(c operation.StepChange) bool { return c.Step == step && c.Progress != nil && c.Progress.Text != "" })
}

// recordOperation makes the history of an operation: a window, a pause, a resume and an abort.
func recordOperation(t *testing.T, c client.Client, steer *operation.Client) {
	l := newLedger(noop("a", kindFirst))
	stop, err := work(c, l, workflows.Standard(), "", "ams01")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	tell := func(id asset.ID, a operation.Action, name string) {
		cmd := operation.Command{ID: name, Operation: op, Actor: "ann", Reason: "because"}
		if _, err := steer.Command(t.Context(), id, a, cmd); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	begin := operation.Start{Operation: op, Assets: []asset.ID{11, 12, 13, 14}, Window: 2}
	if err := steer.Start(t.Context(), begin); err != nil {
		t.Fatal(err)
	}
	parked := func(ids ...asset.ID) func() bool {
		return func() bool {
			for _, id := range ids {
				if l.last(id).State != operation.Waiting {
					return false
				}
			}
			return true
		}
	}
	until(t, 20*time.Second, "two are parked", parked(11, 12))
	tell(0, operation.Pause, "pause")
	tell(11, operation.Retry, "retry")
	until(t, 20*time.Second, "one is done", func() bool { return l.last(11).State == operation.Done })
	tell(0, operation.Resume, "resume")
	until(t, 20*time.Second, "the third is parked", parked(12, 13))
	tell(0, operation.Abort, "abort")
	tell(12, operation.Abort, "abort-12")
	tell(13, operation.Abort, "abort-13")
	if err := c.GetWorkflow(t.Context(), operation.WorkflowID(op), "").Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	keep(t, "operation-window", history(t, c, operation.WorkflowID(op)))
}

// keep replays a history, and writes it when asked to.
func keep(t *testing.T, name string, h *historypb.History) {
	t.Helper()
	r := worker.NewWorkflowReplayer()
	workflows.Register(r, workflows.Standard())
	if err := r.ReplayWorkflowHistory(nil, h); err != nil {
		t.Errorf("%s does not replay: %v", name, err)
	}
	if *record == "" {
		return
	}
	for _, e := range h.Events { // a worker's own queue is named after its host
		if q := e.GetWorkflowTaskScheduledEventAttributes().GetTaskQueue(); q.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
			q.Name = "sticky"
		}
	}
	raw, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*record, name+".json"), append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
