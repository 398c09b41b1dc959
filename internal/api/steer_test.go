package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

var noAnswer = fault.New(fault.Unreachable, "no answer")

func TestACommandAboutAStepNamesTheStepThatWasRead(t *testing.T) {
	a := apitest.Start(t, 3)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01", "srv-02", "srv-03"))
	a.Store.Move(id, "srv-01", operation.Waiting, "identity", operation.StepParked, noAnswer)
	a.Store.Move(id, "srv-02", operation.Waiting, "stage", operation.StepParked, noAnswer)
	a.Store.Move(id, "srv-03", operation.Running, "stage", operation.StepRunning, nil)
	all := func(action operation.Action, step string) (wire.Commanded, error) {
		return op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: action, All: true, Reason: "spare part is late", Step: step})
	}
	_, err := all(operation.Skip, "")
	if code(err) != fault.Conflict || len(a.Runs.Told()) > 0 {
		t.Fatalf("skip of several steps: %v, told %q", err, a.Runs.Told())
	}
	if got, err := all(operation.Skip, "identity"); err != nil || got.Applied != 1 {
		t.Errorf("skip of identity applied to %d, %v, want the one that waits there", got.Applied, err)
	}
	a.Store.Move(id, "srv-01", operation.Waiting, "identity", operation.StepParked, noAnswer)
	if got, err := all(operation.Retry, ""); err != nil || got.Applied != 2 {
		t.Errorf("retry applied to %d, %v, want 2", got.Applied, err)
	}
	want := []string{"srv-01 identity", "srv-01 identity", "srv-02 identity", "srv-02 stage", "srv-03 identity", "srv-03 stage"}
	if diff := cmp.Diff(want, a.Runs.Steps()); diff != "" {
		t.Errorf("steps that were named (-want +got):\n%s", diff)
	}
}

func TestANameThatMeansTwoMachinesIsRefused(t *testing.T) {
	a := apitest.Start(t, 3)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01", "srv-02", "srv-03"))
	a.Store.Edit(id, "srv-02", func(r *operation.Run) { r.Asset.Serial = "101" })    // the ID of srv-01
	a.Store.Edit(id, "srv-03", func(r *operation.Run) { r.Asset.Serial = "srv-01" }) // its name
	for ref, want := range map[string]string{
		"101": "", "srv-01": "", "SRV-01": "", "id:101": "srv-01", "name:srv-01": "srv-01", "serial:101": "srv-02", "serial:srv-01": "srv-03", "srv-02": "srv-02",
	} {
		r, err := op.Run(t.Context(), id, ref)
		if want == "" && code(err) != fault.Invalid || want != "" && (err != nil || r.Asset.Name != want) {
			t.Errorf("%q is %q, %v, want %q", ref, r.Asset.Name, err, want)
		}
	}
	_, err := op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Abort, Assets: []string{"101"}})
	if code(err) != fault.Invalid || !strings.Contains(err.Error(), "srv-02") || len(a.Runs.Told()) > 0 {
		t.Errorf("abort of an ambiguous machine: %v, told %q", err, a.Runs.Told())
	}
}

func TestAnOperationThatWasNeverStartedIsAbortedWithoutTemporal(t *testing.T) {
	a := apitest.Start(t, 2)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01", "srv-02"))
	a.Store.Sent = false
	a.Runs.Break(fault.New(fault.EngineAway, "Temporal is away"))
	got, err := op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Abort, All: true, Reason: "wrong rack"})
	if err != nil || got.Applied != 2 || got.Of != 2 || got.Runs[0].State != operation.Aborted {
		t.Errorf("abort: %+v, %v", got, err)
	}
	if told := a.Runs.Told(); len(told) > 0 {
		t.Errorf("told %q: there is no workflow to tell", told)
	}
	if d, err := op.Operation(t.Context(), id); err != nil || d.State != operation.Aborted {
		t.Errorf("the operation is %s, %v", d.State, err)
	}
}

func TestARunThatTemporalLostCanBeAborted(t *testing.T) {
	a := apitest.Start(t, 1)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01"))
	a.Store.Move(id, "srv-01", operation.Running, "stage", operation.StepRunning, nil)
	a.Runs.Break(fault.New(fault.NotFound, "nothing is running there"))
	cmd := wire.Command{ID: "command-1", Action: operation.Pause, All: true}
	if got, err := op.Command(t.Context(), id, cmd); err != nil || got.Applied != 0 {
		t.Errorf("pause: %+v, %v", got, err)
	}
	cmd.Action, cmd.ID = operation.Abort, "command-2"
	if got, err := op.Command(t.Context(), id, cmd); err != nil || got.Applied != 1 || got.Runs[0].State != operation.Aborted {
		t.Errorf("abort: %+v, %v", got, err)
	}
}

func TestAnOperationIsHeldWhileItIsPausedAsAWhole(t *testing.T) {
	a := apitest.Start(t, 2)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01", "srv-02"))
	for _, tc := range []struct {
		cmd  wire.Command
		want bool
	}{
		{wire.Command{ID: "command-1", Action: operation.Pause, Assets: []string{"srv-01"}}, false},
		{wire.Command{ID: "command-2", Action: operation.Pause, All: true}, true},
		{wire.Command{ID: "command-3", Action: operation.Resume, All: true}, false},
	} {
		if _, err := op.Command(t.Context(), id, tc.cmd); err != nil {
			t.Fatal(err)
		}
		if d, err := op.Operation(t.Context(), id); err != nil || d.Held != tc.want {
			t.Errorf("after %s: held %v, %v, want %v", tc.cmd.ID, d.Held, err, tc.want)
		}
	}
}
