package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

const bootMAC = "02:00:00:00:65:01"

// booting is a rack in which an operation boots srv-01, and the worker of its site.
func booting(t *testing.T, p operation.Purpose) (a *apitest.API, w *client.Client, b operation.BootRecord, sum operation.BootSum) {
	t.Helper()
	a = apitest.Start(t, 2)
	id := accept(t, a.As(t, operation.Admin), names("srv-01"))
	sum = operation.SumBootToken("secret")
	b, _, err := a.Store.OpenBoot(t.Context(), operation.BootOpen{Operation: id, Asset: 101, Purpose: p, Attempt: 1, TokenSum: sum, MACs: []string{bootMAC},
		Machine: json.RawMessage(`{}`), At: a.Clock.Now(), Expires: a.Clock.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return a, a.As(t, operation.Worker, b.Asset.Site), b, sum
}

func TestBootLookup(t *testing.T) {
	a, w, b, sum := booting(t, operation.ForInstall)
	ctx := t.Context()
	got, err := w.BootByToken(ctx, sum)
	if err != nil || got.ID != b.ID || got.Asset.Name != "srv-01" {
		t.Fatalf("%+v, %v", got, err)
	}
	minted := operation.SumBootToken("minted")
	if got, err = w.BootByMAC(ctx, "02-00-00-00-65-01", minted); err != nil || got.ID != b.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err = w.BootByToken(ctx, minted); err != nil || got.ID != b.ID {
		t.Errorf("the minted token: %+v, %v", got, err)
	}
	if _, err := w.BootByMAC(ctx, "02:00:00:00:00:99", minted); code(err) != fault.NotFound {
		t.Errorf("an unknown MAC: %v", err)
	}
	if _, err := w.BootByToken(ctx, operation.SumBootToken("other")); code(err) != fault.NotFound {
		t.Errorf("an unknown token: %v", err)
	}
	// A machine that is being overwritten gets no token any more: it boots its disk.
	if _, err := w.BootEvent(ctx, sum, "partitioned", []byte("mac="+bootMAC+"\n"), "192.0.2.7"); err != nil {
		t.Fatal(err)
	}
	late := operation.SumBootToken("late")
	if got, err = w.BootByMAC(ctx, bootMAC, late); err != nil || len(got.Stages) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := w.BootByToken(ctx, late); code(err) != fault.NotFound {
		t.Errorf("a token was made for a machine that boots its disk: %v", err)
	}
	a.Clock.Move(2 * time.Hour)
	if _, err := w.BootByToken(ctx, sum); code(err) != fault.BootExpired {
		t.Errorf("expired: %v", err)
	}
	if err := a.Store.CloseBoot(ctx, b.ID, a.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.BootByToken(ctx, sum); code(err) != fault.BootUsed {
		t.Errorf("closed: %v", err)
	}
}

// A worker hears and tells nothing of another site's machines; nobody but a worker does at all.
func TestBootIsForTheWorkerOfTheSite(t *testing.T) {
	a, _, b, sum := booting(t, operation.ForAgent)
	ctx := t.Context()
	calls := func(c *client.Client) map[string]error {
		who := operation.BootIdentity{MACs: []string{bootMAC}}
		var out = map[string]error{}
		_, out["token"] = c.BootByToken(ctx, sum)
		_, out["mac"] = c.BootByMAC(ctx, bootMAC, "")
		_, out["event"] = c.BootEvent(ctx, sum, "early", []byte("mac="+bootMAC), "")
		_, out["claim"] = c.AgentClaim(ctx, sum, who, "")
		_, out["next"] = c.AgentNext(ctx, sum, 0)
		out["progress"] = c.AgentProgress(ctx, sum, "c", operation.Progress{})
		_, out["command"] = c.AgentCommand(ctx, operation.AgentCommand{ID: "c", Boot: b.ID, Kind: operation.AgentReport})
		out["close"] = c.BootClose(ctx, b.ID)
		_, out["result"] = c.AgentResult(ctx, sum, "c", operation.CommandResult{State: operation.CommandDone}, "")
		return out
	}
	for name, err := range calls(a.As(t, operation.Worker, "fra01")) {
		if code(err) != fault.ForeignSite {
			t.Errorf("%s by the worker of another site: %v", name, err)
		}
	}
	for name, err := range calls(a.As(t, operation.Operator)) {
		if code(err) != fault.Denied {
			t.Errorf("%s by an operator: %v", name, err)
		}
	}
}

func TestAgentProtocol(t *testing.T) {
	a, w, b, sum := booting(t, operation.ForAgent)
	ctx := t.Context()
	who := operation.BootIdentity{MACs: []string{bootMAC}, UUID: "u1"}
	if _, err := w.AgentNext(ctx, sum, 0); code(err) != fault.Conflict {
		t.Errorf("before the claim: %v", err)
	}
	if _, err := w.AgentClaim(ctx, sum, operation.BootIdentity{MACs: []string{"02:00:00:00:00:99"}}, ""); code(err) != fault.WrongMachine {
		t.Errorf("another machine: %v", err)
	}
	if got, err := w.AgentClaim(ctx, sum, who, "192.0.2.7"); err != nil || got.Claimed == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := w.AgentClaim(ctx, sum, operation.BootIdentity{MACs: who.MACs, UUID: "u2"}, ""); code(err) != fault.BootClaimed {
		t.Errorf("a second one with the same MAC: %v", err)
	}
	if c, err := w.AgentNext(ctx, sum, 0); err != nil || c != nil {
		t.Fatalf("%+v, %v", c, err)
	}
	// The question is held until there is something to do.
	got := make(chan *operation.AgentCommand, 1)
	go func() {
		c, err := w.AgentNext(ctx, sum, 20)
		if err != nil {
			t.Errorf("next: %v", err)
		}
		got <- c
	}()
	if _, err := a.Store.QueueCommand(ctx, operation.AgentCommand{ID: "c1", Boot: b.ID, Kind: operation.AgentBurnIn, Args: json.RawMessage(`{"minutes":5}`)}); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-got:
		if c == nil || c.ID != "c1" || string(c.Args) != `{"minutes":5}` {
			t.Fatalf("%+v", c)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the agent was not told")
	}
	if err := w.AgentProgress(ctx, sum, "c1", operation.Progress{Text: "memory", Percent: 40}); err != nil {
		t.Fatal(err)
	}
	if err := w.AgentProgress(ctx, sum, "c1", operation.Progress{Percent: 400}); code(err) != fault.Invalid {
		t.Errorf("400 percent: %v", err)
	}
	if _, err := w.AgentResult(ctx, sum, "c1", operation.CommandResult{State: "perhaps"}, ""); code(err) != fault.Invalid {
		t.Errorf("a state that is none: %v", err)
	}
	for range 2 {
		c, err := w.AgentResult(ctx, sum, "c1", operation.CommandResult{State: operation.CommandDone, Result: json.RawMessage(`{"errors":0}`)}, "192.0.2.7")
		if err != nil || c.State != operation.CommandDone || string(c.Result) != `{"errors":0}` || c.Progress.Percent != 40 {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	events, err := a.Store.BootEvents(ctx, b.Operation, 101)
	if err != nil {
		t.Fatal(err)
	}
	var stages []string
	for _, e := range events {
		stages = append(stages, e.Stage)
	}
	if diff := cmp.Diff([]string{"refused", "agent-claimed", "refused", "burn-in"}, stages); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.AgentNext(gone, sum, 20); !errors.Is(err, context.Canceled) {
		t.Errorf("the agent hung up: %v", err)
	}
}
