package workflows_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/mock"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/workflows"
)

const op = operation.ID("op_01JD0000000000000000000000")

// answer is what a step's call gets.
type answer func(c activities.Call, nth int) (activities.Result, error)

// world is one run's surroundings: what the store, the steps and the operator do.
type world struct {
	t      *testing.T
	env    *testsuite.TestWorkflowEnvironment
	limits map[string]func(activity.Info) // by step name: looks at how a call was made
	steps  map[string]answer              // by step name; undo: "undo <name>"; diagnose: "diagnose"

	mu      sync.Mutex
	claim   activities.Claim
	refuse  *fault.Error // of the claim
	broken  int          // how many store calls fail first
	calls   []string
	sent    []activities.Call
	records []operation.Transition
	replies map[string]string // command ID -> state/step or error
	names   []string
}

func newWorld(t *testing.T, steps ...plan.Step) *world {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	w := &world{
		t: t, env: suite.NewTestWorkflowEnvironment(), steps: map[string]answer{}, limits: map[string]func(activity.Info){}, replies: map[string]string{},
		claim: activities.Claim{
			Target: plan.Target{
				Asset: asset.Ref{ID: 7, Name: "srv-007", Serial: "SN7", Site: "ams01"},
				BMC:   plan.BMC{Protocol: "redfish", Address: "192.0.2.7", Account: "root"},
				Steps: steps,
			},
		},
	}
	w.env.SetTestTimeout(10 * time.Second)
	workflows.Register(w.env, workflows.Standard())
	w.env.RegisterActivityWithOptions(w.step, activity.RegisterOptions{Name: activities.ActivityStep})
	w.env.RegisterActivityWithOptions(w.take, activity.RegisterOptions{Name: activities.ActivityClaim})
	w.env.RegisterActivityWithOptions(w.record, activity.RegisterOptions{Name: activities.ActivityRecord})
	w.env.OnSignalExternalWorkflow(mock.Anything, operation.WorkflowID(op), "", operation.SignalFinished, mock.Anything).Return(nil)
	return w
}

func (w *world) take(_ context.Context, r activities.ClaimRequest) (activities.Claim, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken > 0 {
		w.broken--
		return activities.Claim{}, operation.AsTemporal(fault.New(fault.StoreAway, "connection refused"))
	}
	if w.refuse != nil {
		return activities.Claim{}, operation.AsTemporal(w.refuse)
	}
	if r.RunID == "" || r.Operation != op || r.Asset != 7 {
		w.t.Errorf("claim request %+v", r)
	}
	return w.claim, nil
}

func (w *world) record(_ context.Context, t operation.Transition) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken > 0 {
		w.broken--
		return operation.AsTemporal(fault.New(fault.StoreAway, "connection refused"))
	}
	w.records = append(w.records, t)
	return nil
}

func (w *world) step(ctx context.Context, c activities.Call) (activities.Result, error) {
	w.mu.Lock()
	name := c.Step.Name
	if c.Undo {
		name = "undo " + name
	}
	if c.Step.Kind == plan.KindDiagnose {
		name = "diagnose"
	}
	if c.Step.Kind == plan.KindStop {
		name = "stop " + name
	}
	nth := 0
	for _, n := range w.names {
		if n == name {
			nth++
		}
	}
	w.names = append(w.names, name)
	queue := activity.GetInfo(ctx).TaskQueue
	w.calls = append(w.calls, fmt.Sprintf("%s %s a%d r%d", queue, name, c.Attempt, c.Round))
	w.sent = append(w.sent, c)
	f := w.steps[name]
	if look := w.limits[name]; look != nil {
		look(activity.GetInfo(ctx))
	}
	w.mu.Unlock()
	switch {
	case f != nil:
		return f(c, nth)
	case name == "diagnose":
		return activities.Result{}, operation.AsTemporal(fault.New(fault.Unsupported, "no log"))
	}
	return done(true), nil
}

// run carries the run out and checks what must hold of every run: it ends without error and its
// transitions are numbered without a gap and end as the outcome says.
func (w *world) run() operation.State {
	w.t.Helper()
	w.env.ExecuteWorkflow(operation.WorkflowAsset, operation.StartAsset{Operation: op, Asset: 7})
	if !w.env.IsWorkflowCompleted() {
		w.t.Fatalf("the run did not end; transitions:\n%s", w.story())
	}
	if err := w.env.GetWorkflowError(); err != nil {
		w.t.Fatalf("the run ended with an error: %v\n%s", err, w.story())
	}
	var out operation.Outcome
	if err := w.env.GetWorkflowResult(&out); err != nil {
		w.t.Fatal(err)
	}
	for i, t := range w.records {
		if want := w.claim.LastSeq + int64(i) + 1; t.Seq != want || t.Operation != op || t.Asset != 7 {
			w.t.Errorf("transition %d: seq %d of %s/%s, want seq %d", i, t.Seq, t.Operation, t.Asset, want)
		}
	}
	if n := len(w.records); n > 0 && w.records[n-1].State != out.State {
		w.t.Errorf("the last transition says %s, the outcome %s", w.records[n-1].State, out.State)
	}
	return out.State
}

// story is the transitions, a line each: state, current step, changes, who, error code.
func (w *world) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, t := range w.records {
		fmt.Fprintf(&b, "%s", t.State)
		if t.Step != "" {
			fmt.Fprintf(&b, " @%s", t.Step)
		}
		for _, c := range t.Steps {
			fmt.Fprintf(&b, " %s=%s/%d", c.Step, c.State, c.Attempt)
			if c.Round > 1 {
				fmt.Fprintf(&b, "r%d", c.Round)
			}
			if c.Progress != nil && c.State == operation.StepRunning {
				fmt.Fprintf(&b, "(%s)", c.Progress.Text)
			}
		}
		if t.Actor != "" {
			fmt.Fprintf(&b, " by %s %s", t.Actor, t.Action)
		}
		if t.Error != nil {
			fmt.Fprintf(&b, " !%s", t.Error.Code)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (w *world) wantStory(want string) {
	w.t.Helper()
	if diff := cmp.Diff(lines(want), lines(w.story())); diff != "" {
		w.t.Errorf("story (-want +got):\n%s", diff)
	}
}

func (w *world) wantCalls(want string) {
	w.t.Helper()
	if diff := cmp.Diff(lines(want), w.calls); diff != "" {
		w.t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func lines(s string) []string {
	var out []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// send sends a command from within a call, before that call ends. Calls run beside the workflow's
// environment, which takes updates on its own goroutine only.
func (w *world) send(id string, a operation.Action, change ...func(*operation.Command)) {
	sent := make(chan struct{})
	w.env.RegisterDelayedCallback(func() {
		defer close(sent)
		w.update(id, a, change...)
	}, 0)
	<-sent
}

// at sends a command after d of workflow time.
func (w *world) at(d time.Duration, id string, a operation.Action, change ...func(*operation.Command)) {
	w.env.RegisterDelayedCallback(func() { w.update(id, a, change...) }, d)
}

// update sends a command from the environment's own goroutine.
func (w *world) update(id string, a operation.Action, change ...func(*operation.Command)) {
	c := operation.Command{ID: id, Operation: op, Actor: "ann"}
	for _, f := range change {
		f(&c)
	}
	w.env.UpdateWorkflow(string(a), id, &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { w.reply(id, "rejected "+code(err)) },
		OnComplete: func(v any, err error) {
			if err != nil {
				w.reply(id, "refused "+code(err))
				return
			}
			r, ok := v.(operation.Reply)
			if !ok {
				w.t.Errorf("reply of %s is a %T", id, v)
			}
			w.reply(id, strings.TrimSpace(string(r.State)+" "+r.Step))
		},
	}, c)
}

// refused keeps the fault with which an Update is refused.
func (w *world) refused(to **fault.Error) *testsuite.TestUpdateCallback {
	return &testsuite.TestUpdateCallback{
		OnAccept:   func() {},
		OnReject:   func(err error) { *to, _ = operation.FaultOf(err) },
		OnComplete: func(any, error) {},
	}
}

// delay lets every call take d of workflow time; without it a call takes none.
func (w *world) delay(d time.Duration) {
	w.env.OnActivity(activities.ActivityStep, mock.Anything, mock.Anything).Return(w.step).After(d)
}

func (w *world) reply(id, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.replies[id] = text
}

func (w *world) wantReplies(want map[string]string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.replies); diff != "" {
		w.t.Errorf("replies (-want +got):\n%s", diff)
	}
}

func code(err error) string {
	f, ok := operation.FaultOf(err)
	if !ok {
		return "without a code: " + err.Error()
	}
	return string(f.Code)
}

func reason(text string) func(*operation.Command) {
	return func(c *operation.Command) { c.Reason = text }
}

func onStep(name string) func(*operation.Command) {
	return func(c *operation.Command) { c.Step = name }
}

func step(name string, change ...func(*plan.Step)) plan.Step {
	s := plan.Step{
		Name: name, Kind: "noop", Version: 1, Title: "Do " + name, Mode: plan.Act, Place: plan.Site, Undo: plan.Reversible,
		DeadlineSec: 3600, Policy: workflows.PolicyBMCRead, Writes: []plan.Write{},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func done(changed bool) activities.Result {
	return activities.Result{Done: &activities.Done{Changed: changed, Summary: "ok"}}
}

func again(after time.Duration, text string, change ...func(*activities.Again)) activities.Result {
	a := &activities.Again{After: after, Handle: json.RawMessage(`{"n":1}`), Progress: operation.Progress{Text: text, Percent: -1}}
	for _, f := range change {
		f(a)
	}
	return activities.Result{Again: a}
}

// fails answers with a fault the first n times, and is done then.
func fails(n int, c fault.Code) answer {
	return func(_ activities.Call, nth int) (activities.Result, error) {
		if nth < n {
			return activities.Result{}, operation.AsTemporal(fault.New(c, "no %s", c))
		}
		return done(true), nil
	}
}

// nobody is the answer of a queue without a worker, n times.
func nobody(n int) answer {
	return func(_ activities.Call, nth int) (activities.Result, error) {
		if nth < n {
			return activities.Result{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
		}
		return done(true), nil
	}
}

func contains(s []string, part string) bool {
	return slices.ContainsFunc(s, func(l string) bool { return strings.Contains(l, part) })
}
