package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// A step opens a record, asks how it stands, tells the agent what to do, and closes it. All of it may
// be repeated.
func TestStepBootsItsMachine(t *testing.T) {
	a := apitest.Start(t, 2)
	op := accept(t, a.As(t, operation.Admin), names("srv-01"))
	w, ctx := a.As(t, operation.Worker, "ams01"), t.Context()
	sum := operation.SumBootToken("one")
	ask := operation.BootOpen{Operation: op, Asset: 101, Step: "agent", Purpose: operation.ForAgent, Attempt: 1, TokenSum: sum,
		MACs: []string{bootMAC}, Machine: json.RawMessage(`{}`), Expires: time.Time{}.Add(time.Hour)}
	b, err := w.BootOpen(ctx, ask)
	if err != nil || b.Step != "agent" || b.Expires.Sub(b.Opened) != time.Hour || !b.Opened.Equal(a.Clock.Now()) {
		t.Fatalf("%+v, %v", b, err)
	}
	ask.TokenSum = operation.SumBootToken("two")
	if again, err := w.BootOpen(ctx, ask); err != nil || again.ID != b.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := w.AgentClaim(ctx, sum, operation.BootIdentity{MACs: []string{bootMAC}}, ""); err != nil {
		t.Fatal(err)
	}
	cmd := operation.AgentCommand{ID: "c1", Boot: b.ID, Kind: operation.AgentReport}
	for range 2 {
		if got, err := w.AgentCommand(ctx, cmd); err != nil || got.State != operation.CommandQueued || !got.Queued.Equal(a.Clock.Now()) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if _, err := w.AgentResult(ctx, sum, "c1", operation.CommandResult{State: operation.CommandDone, Result: json.RawMessage(`{"cpus":2}`)}, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := w.AgentCommand(ctx, cmd); err != nil || string(got.Result) != `{"cpus":2}` {
		t.Errorf("after its result: %+v, %v", got, err)
	}
	st, err := w.BootState(ctx, op, 101, "agent", 1)
	if err != nil || st.Record.ID != b.ID || len(st.Events) != 2 || st.Events[0].Stage != operation.StageClaimed {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := w.BootState(ctx, op, 101, "agent", 2); code(err) != fault.NotFound {
		t.Errorf("another attempt: %v", err)
	}
	if st, err := w.BootState(ctx, op, 101, "", 0); err != nil || st.Record.ID != b.ID {
		t.Errorf("the newest: %+v, %v", st, err)
	}
	for range 2 {
		if err := w.BootClose(ctx, b.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.BootOpen(ctx, ask); code(err) != fault.BootUsed {
		t.Errorf("opened again after it was closed: %v", err)
	}
}

// Machines boot for runs of the worker's own sites that hold them now, and only so.
func TestStepBootsNoOtherMachine(t *testing.T) {
	a, w, b, _ := booting(t, operation.ForAgent)
	ctx := t.Context()
	ask := operation.BootOpen{Operation: b.Operation, Asset: 101, Step: "agent", Purpose: operation.ForAgent, Attempt: 1,
		TokenSum: operation.SumBootToken("one"), MACs: []string{bootMAC}, Machine: json.RawMessage(`{}`), Expires: time.Time{}.Add(time.Hour)}
	other, foreign := ask, ask
	other.Operation, foreign.Asset = "op_01ARZ3NDEKTSV4RRFFQ69G5FAV", 102
	for name, o := range map[string]operation.BootOpen{"another operation": other, "an asset that is not held": foreign} {
		if _, err := w.BootOpen(ctx, o); code(err) != fault.Denied {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.BootState(ctx, o.Operation, o.Asset, "", 0); code(err) != fault.Denied {
			t.Errorf("state of %s: %v", name, err)
		}
	}
	if _, err := a.As(t, operation.Worker, "fra01").BootOpen(ctx, ask); code(err) != fault.Denied {
		t.Errorf("another site: %v", err)
	}
	for name, change := range map[string]func(*operation.BootOpen){
		"no step":  func(o *operation.BootOpen) { o.Step = "" },
		"no time":  func(o *operation.BootOpen) { o.Expires = o.At },
		"too long": func(o *operation.BootOpen) { o.Expires = o.At.Add(8 * 24 * time.Hour) },
	} {
		bad := ask
		change(&bad)
		if _, err := w.BootOpen(ctx, bad); code(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.AgentCommand(ctx, operation.AgentCommand{ID: "c", Boot: 99, Kind: operation.AgentReport}); code(err) != fault.NotFound {
		t.Errorf("a record that is not there: %v", err)
	}
	// A run that has ended boots nothing any more; its records may still be closed.
	a.Store.Move(b.Operation, "srv-01", operation.Aborted, "", "", nil)
	if _, err := w.BootOpen(ctx, ask); code(err) != fault.Denied {
		t.Errorf("after the run: %v", err)
	}
	if _, err := w.AgentCommand(ctx, operation.AgentCommand{ID: "c", Boot: b.ID, Kind: operation.AgentReport}); code(err) != fault.Denied {
		t.Errorf("a command after the run: %v", err)
	}
	if err := w.BootClose(ctx, b.ID); err != nil {
		t.Errorf("close after the run: %v", err)
	}
}
