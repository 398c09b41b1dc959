package operation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// frontend is Temporal's side, answering as it is told.
type frontend struct {
	started []client.StartWorkflowOptions
	updates []client.UpdateWorkflowOptions
	signals []string
	err     error // of the call
	result  error // of the Update
}

func (f *frontend) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, _ any, _ ...any) (client.WorkflowRun, error) {
	f.started = append(f.started, o)
	return nil, f.err
}

func (f *frontend) UpdateWorkflow(_ context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	f.updates = append(f.updates, o)
	return handle{f.result}, f.err
}

func (f *frontend) SignalWorkflow(_ context.Context, workflowID, _, name string, arg any) error {
	f.signals = append(f.signals, fmt.Sprintf("%s %s %+v", workflowID, name, arg))
	return f.err
}

type handle struct{ err error }

func (handle) WorkflowID() string { return "" }
func (handle) RunID() string      { return "" }
func (handle) UpdateID() string   { return "" }
func (h handle) Get(_ context.Context, to any) error {
	if r, ok := to.(*operation.Reply); ok && h.err == nil {
		*r = operation.Reply{State: operation.Paused, Step: "bios"}
	}
	return h.err
}

const id = operation.ID("op_01JD0000000000000000000000")

func TestStart(t *testing.T) {
	start := operation.Start{Operation: id, Assets: []asset.ID{1}, Window: 2}
	for _, c := range []struct {
		name string
		in   operation.Start
		err  error
		want fault.Code
	}{
		{name: "new", in: start},
		{name: "started before", in: start, err: serviceerror.NewWorkflowExecutionAlreadyStarted("x", "y", "z")},
		{name: "Temporal away", in: start, err: serviceerror.NewUnavailable("connection refused"), want: fault.EngineAway},
		{name: "no namespace", in: start, err: serviceerror.NewNamespaceNotFound("cagenut"), want: fault.EngineAway},
		{name: "empty", in: operation.Start{Operation: id}, want: fault.Invalid},
	} {
		f := &frontend{err: c.err}
		err := operation.NewClient(f).Start(t.Context(), c.in)
		if got := codeOf(err); got != c.want {
			t.Errorf("%s: %v (code %q), want code %q", c.name, err, got, c.want)
		}
		if c.want == fault.Invalid {
			if len(f.started) != 0 {
				t.Errorf("%s: it was sent", c.name)
			}
			continue
		}
		o := f.started[0]
		if o.ID != "op/"+string(id) || o.TaskQueue != "central" || !o.WorkflowExecutionErrorWhenAlreadyStarted ||
			o.WorkflowIDReusePolicy != enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE ||
			o.WorkflowIDConflictPolicy != enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL {
			t.Errorf("%s: options %+v: an operation must never run twice", c.name, o)
		}
	}
}

func codeOf(err error) fault.Code {
	if err == nil {
		return ""
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		return "none"
	}
	return f.Code
}

func TestCommand(t *testing.T) {
	refusal := fault.New(fault.Locked, "held by another")
	refusal.Holder = "op_OTHER"
	for _, c := range []struct {
		name        string
		err, result error
		want        fault.Code
	}{
		{name: "taken"},
		{name: "refused by the validator", result: operation.AsTemporal(refusal), want: fault.Locked},
		{name: "ended", err: serviceerror.NewNotFound("workflow execution already completed"), want: fault.NotFound},
		{name: "no worker", err: client.NewWorkflowUpdateServiceTimeoutOrCanceledError(context.DeadlineExceeded), want: fault.EngineAway},
		{name: "late", err: context.DeadlineExceeded, want: fault.EngineAway},
		{name: "denied", err: serviceerror.NewPermissionDenied("no", ""), want: fault.EngineAway},
		{name: "a worker's panic", result: temporal.NewApplicationError("boom", "panic"), want: fault.Internal},
		{name: "Temporal away", err: serviceerror.NewUnavailable("connection refused"), want: fault.EngineAway},
	} {
		f := &frontend{err: c.err, result: c.result}
		cmd := operation.Command{ID: "c1", Operation: id, Actor: "ann"}
		reply, err := operation.NewClient(f).Command(t.Context(), 12, operation.Pause, cmd)
		if got := codeOf(err); got != c.want {
			t.Errorf("%s: %v (code %q), want code %q", c.name, err, got, c.want)
		}
		if c.want == "" && (reply != operation.Reply{State: operation.Paused, Step: "bios"}) {
			t.Errorf("%s: reply %+v", c.name, reply)
		}
		if c.want == fault.Locked && fault.From(err).Holder != "op_OTHER" {
			t.Errorf("%s: the refusal lost its holder: %+v", c.name, err)
		}
		u := f.updates[0]
		if u.WorkflowID != "asset/12" || u.UpdateName != "pause" || u.UpdateID != "c1" || u.WaitForStage != client.WorkflowUpdateStageCompleted {
			t.Errorf("%s: update %+v", c.name, u)
		}
	}
}

func TestCommandToTheOperationItself(t *testing.T) {
	f := &frontend{}
	if _, err := operation.NewClient(f).Command(t.Context(), 0, operation.Abort, operation.Command{ID: "c1", Operation: id}); err != nil {
		t.Fatal(err)
	}
	if got := f.updates[0].WorkflowID; got != "op/"+string(id) {
		t.Errorf("sent to %s", got)
	}
}

// A fault comes out of a Temporal failure as it went in, through the payloads of a real connection.
func TestFaultsCrossTemporal(t *testing.T) {
	want := fault.New(fault.Differs, "two differences")
	want.Details = []fault.Item{{Subject: "drive 3", Expected: "NVMe", Seen: "SATA"}}
	_, failures, err := operation.Encrypted(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, conv := range map[string]converter.FailureConverter{"plain": temporal.GetDefaultFailureConverter(), "sealed": failures} {
		wire := conv.ErrorToFailure(operation.AsTemporal(want))
		if name == "sealed" && strings.Contains(wire.String(), "two differences") {
			t.Errorf("the sealed failure shows its message: %s", wire)
		}
		got, ok := operation.FaultOf(conv.FailureToError(wire))
		if !ok {
			t.Errorf("%s: no fault came out", name)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".cause" }, cmp.Ignore())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, ok := operation.FaultOf(errors.New("x")); ok {
		t.Error("a foreign error gave a fault")
	}
}

func TestEncrypted(t *testing.T) {
	one, _, err := operation.Encrypted([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := one.ToPayload("the serial is SN7")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sealed.String(), "SN7") {
		t.Errorf("payload is readable: %s", sealed)
	}
	again, err := one.ToPayload("the serial is SN7")
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Data) == string(sealed.Data) {
		t.Error("the same value sealed twice is the same: no nonce")
	}
	var got string
	if err := one.FromPayload(sealed, &got); err != nil || got != "the serial is SN7" {
		t.Errorf("opened %q, %v", got, err)
	}
	plain, err := converter.GetDefaultDataConverter().ToPayload("from before")
	if err != nil {
		t.Fatal(err)
	}
	if err := one.FromPayload(plain, &got); err != nil || got != "from before" {
		t.Errorf("a payload from before the key: %q, %v", got, err)
	}
	other, _, err := operation.Encrypted([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.FromPayload(sealed, &got); err == nil {
		t.Error("another key opened it")
	}
	sealed.Data[len(sealed.Data)-1] ^= 1
	if err := one.FromPayload(sealed, &got); err == nil {
		t.Error("a damaged payload was opened")
	}
	if _, _, err := operation.Encrypted([]byte("short")); err == nil {
		t.Error("a key of 5 bytes was taken")
	}
}

func TestTell(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		gone bool
		want fault.Code
	}{
		{"heard", nil, false, ""},
		{"nothing runs there", serviceerror.NewNotFound("x"), true, ""},
		{"no namespace", serviceerror.NewNamespaceNotFound("x"), false, fault.EngineAway},
		{"away", serviceerror.NewUnavailable("x"), false, fault.EngineAway},
	} {
		f := &frontend{err: c.err}
		gone, err := operation.NewClient(f).Tell(t.Context(), operation.Signal{Asset: 7, Reached: operation.Reached{Operation: id, Sequence: 3, Stage: "early"}})
		var got fault.Code
		if err != nil {
			got = fault.From(err).Code
		}
		if gone != c.gone || got != c.want || len(f.signals) != 1 || !strings.HasPrefix(f.signals[0], "asset/7 reached ") {
			t.Errorf("%s: gone=%v, %v, %q", c.name, gone, err, f.signals)
		}
	}
}
