package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func macFor(id asset.ID) string { return fmt.Sprintf("02:00:00:00:00:%02X", int(id)) }

func opening(op operation.ID, id asset.ID, p operation.Purpose, token string) operation.BootOpen {
	return operation.BootOpen{Operation: op, Asset: id, Step: string(p), Purpose: p, Attempt: 1, TokenSum: operation.SumBootToken(token), MACs: []string{strings.ToLower(macFor(id))},
		Serial: fmt.Sprintf("SN%d", id), Machine: json.RawMessage(`{"Firmware": "uefi", "Boot": {"Base": ""}}`), At: noon, Expires: noon.Add(time.Hour)}
}

func openBoot(t *testing.T, s *postgres.Store, o operation.BootOpen) operation.BootRecord {
	t.Helper()
	b, _, err := s.OpenBoot(t.Context(), o)
	if err != nil {
		t.Fatalf("OpenBoot: %v", err)
	}
	return b
}

func report(id asset.ID, stage string) []byte {
	return fmt.Appendf(nil, "stage=%s\nproduct_serial=SN%d\nmac=%s\n", stage, id, macFor(id))
}

func event(b operation.BootRecord, stage string, body []byte) operation.BootEvent {
	return operation.BootEvent{Boot: b.ID, Stage: stage, Body: body, From: "192.0.2.7", At: noon.Add(time.Minute)}
}

func TestOpenBoot(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	ctx := t.Context()
	first, created, err := s.OpenBoot(ctx, opening(op, 1, operation.ForAgent, "a"))
	if err != nil || !created {
		t.Fatalf("%v, %v", created, err)
	}
	if first.Asset.Name != "srv-1" || first.Asset.Site != "ams01" || first.MACs[0] != macFor(1) || first.Run != operation.Queued || first.Expires != noon.Add(time.Hour) {
		t.Errorf("record %+v", first)
	}
	// The caller died before it learned of it, and made another token: both are good.
	again, created, err := s.OpenBoot(ctx, opening(op, 1, operation.ForAgent, "b"))
	if err != nil || created || again.ID != first.ID {
		t.Errorf("again: %d, %v, %v", again.ID, created, err)
	}
	for _, token := range []string{"a", "b"} {
		if b, err := s.BootByToken(ctx, operation.SumBootToken(token)); err != nil || b.ID != first.ID {
			t.Errorf("token %s: %d, %v", token, b.ID, err)
		}
	}
	_, err = s.BootByToken(ctx, operation.SumBootToken("c"))
	wantCode(t, err, fault.NotFound)
	if n := count(t, s, `select count(*) from boot_token where sum = 'a'::bytea`); n != 0 {
		t.Error("a token stands in the database")
	}
	// The next one takes its place, and the closed one stays closed.
	install := openBoot(t, s, opening(op, 1, operation.ForInstall, "i"))
	if b, err := s.GetBoot(ctx, first.ID); err != nil || b.Revoked != noon || fault.From(b.Live(noon)).Code != fault.BootUsed {
		t.Errorf("the first is open beside the second: %+v, %v", b, err)
	}
	_, _, err = s.OpenBoot(ctx, opening(op, 1, operation.ForAgent, "a"))
	wantCode(t, err, fault.BootUsed)
	_, _, err = s.OpenBoot(ctx, opening(op, 2, operation.ForAgent, "i"))
	wantCode(t, err, fault.Conflict) // the token is another record's
	for range 2 {
		if err := s.CloseBoot(ctx, install.ID, noon.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := s.BootState(ctx, op, 1, string(operation.ForInstall), 1); err != nil || st.Record.Revoked != noon.Add(time.Second) {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := s.BootState(ctx, op, 1, "", 0); err != nil || st.Record.ID != install.ID {
		t.Errorf("newest of the operation: %+v, %v", st, err)
	}
	_, err = s.BootState(ctx, op, 1, string(operation.ForInstall), 9)
	wantCode(t, err, fault.NotFound)
	if n := count(t, s, `select count(*) from audit where action in ('boot.open', 'boot.close')`); n != 3 {
		t.Errorf("%d audit rows, want 3", n)
	}
}

func TestOpenBootRefuses(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	finish(t, s, op, 2, operation.Aborted)
	for name, c := range map[string]struct {
		change func(*operation.BootOpen)
		want   fault.Code
	}{
		"no MAC":            {func(o *operation.BootOpen) { o.MACs = nil }, fault.Invalid},
		"a bad MAC":         {func(o *operation.BootOpen) { o.MACs = []string{"x"} }, fault.Invalid},
		"the token itself":  {func(o *operation.BootOpen) { o.TokenSum = "token" }, fault.Invalid},
		"no machine":        {func(o *operation.BootOpen) { o.Machine = nil }, fault.Invalid},
		"a URL to keep":     {func(o *operation.BootOpen) { o.Machine = json.RawMessage(`{"Boot":{"Base":"http://x/tok"}}`) }, fault.Invalid},
		"expired":           {func(o *operation.BootOpen) { o.Expires = noon }, fault.Invalid},
		"another purpose":   {func(o *operation.BootOpen) { o.Purpose = "wipe" }, fault.Invalid},
		"not of the op":     {func(o *operation.BootOpen) { o.Asset = 9 }, fault.NotFound},
		"the run has ended": {func(o *operation.BootOpen) { o.Asset = 2 }, fault.Conflict},
	} {
		o := opening(op, 1, operation.ForAgent, "t")
		c.change(&o)
		_, _, err := s.OpenBoot(t.Context(), o)
		if err == nil || fault.From(err).Code != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if n := count(t, s, `select count(*) from boot_record`); n != 0 {
		t.Errorf("%d records were made", n)
	}
}

func TestBootByMAC(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	ctx := t.Context()
	b := openBoot(t, s, opening(op, 1, operation.ForInstall, "a"))
	if got, err := s.BootByMAC(ctx, "02-00-00-00-00-01", noon); err != nil || got.ID != b.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	for range 2 {
		if err := s.AddBootToken(ctx, b.ID, operation.SumBootToken("minted"), noon); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.BootByToken(ctx, operation.SumBootToken("minted")); err != nil || got.ID != b.ID {
		t.Errorf("minted: %+v, %v", got, err)
	}
	_, err := s.BootByMAC(ctx, macFor(9), noon)
	wantCode(t, err, fault.NotFound)
	_, err = s.BootByMAC(ctx, macFor(1), noon.Add(time.Hour))
	wantCode(t, err, fault.NotFound) // expired
	double := opening(op, 2, operation.ForInstall, "d")
	double.MACs = []string{macFor(1)}
	other := openBoot(t, s, double)
	_, err = s.BootByMAC(ctx, macFor(1), noon)
	wantCode(t, err, fault.Conflict)
	if err := s.CloseBoot(ctx, other.ID, noon); err != nil {
		t.Fatal(err)
	}
	finish(t, s, op, 1, operation.Done) // and so the operation holds the asset no more, whatever is open
	_, err = s.BootByMAC(ctx, macFor(1), noon)
	wantCode(t, err, fault.NotFound)
	wantCode(t, s.AddBootToken(ctx, b.ID, operation.SumBootToken("late"), noon), fault.BootUsed)
}

func TestBootTokensHaveAnEnd(t *testing.T) {
	s := pgtest.New(t)
	b := openBoot(t, s, opening(create(t, s, request(t, 1)), 1, operation.ForAgent, "0"))
	for i := range 63 {
		if err := s.AddBootToken(t.Context(), b.ID, operation.SumBootToken(fmt.Sprint(i+1)), noon); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, s.AddBootToken(t.Context(), b.ID, operation.SumBootToken("64"), noon), fault.Conflict)
}

func TestSaveEvent(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	ctx := t.Context()
	b := openBoot(t, s, opening(op, 1, operation.ForInstall, "a"))
	first, err := s.SaveEvent(ctx, event(b, "early", report(1, "early")))
	if err != nil || first.Repeated {
		t.Fatalf("%+v, %v", first, err)
	}
	// Many at once, as a machine does whose answers are lost.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			again, err := s.SaveEvent(ctx, event(b, "early", report(1, "early")))
			if err != nil || !again.Repeated || again.Sequence != first.Sequence {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
	wg.Wait()
	if _, err := s.SaveEvent(ctx, event(b, "partitioned", report(1, "partitioned"))); err != nil {
		t.Fatal(err)
	}
	stranger := event(b, "installed", report(7, "installed"))
	for range 2 {
		_, err = s.SaveEvent(ctx, stranger)
		wantCode(t, err, fault.WrongMachine)
	}
	got, err := s.GetBoot(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"early", "partitioned", "refused"}, got.Stages); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	if n := count(t, s, `select count(*) from event where body->>'kind' = 'boot' and asset = 1`); n != 3 {
		t.Errorf("%d events of the operation, want 3", n)
	}
	// One row of the outbox an event, with what the run must know.
	var sent []operation.Signal
	r := postgres.Relay{Store: s, Start: func(_ context.Context, i postgres.OutboxItem) error {
		if i.Kind != postgres.OutboxSignal {
			return nil
		}
		var sig operation.Signal
		if err := json.Unmarshal(i.Payload, &sig); err != nil {
			t.Error(err)
		}
		if want := fmt.Sprintf("signal/%s/1/%d", op, sig.Reached.Sequence); i.Key != want {
			t.Errorf("key %s, want %s", i.Key, want)
		}
		sent = append(sent, sig)
		return nil
	}}
	for range 6 {
		if _, err := r.Once(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(sent) != 3 || sent[0].Asset != 1 || sent[0].Reached != (operation.Reached{Operation: op, Sequence: first.Sequence, Stage: "early", Digest: first.Digest}) {
		t.Errorf("signals %+v", sent)
	}
	events, err := s.BootEvents(ctx, op, 1)
	if err != nil || len(events) != 3 || string(events[0].Body) != string(report(1, "early")) || !strings.Contains(string(events[2].Body), "another machine") {
		t.Errorf("events %+v, %v", events, err)
	}
	if st, err := s.BootState(ctx, op, 1, "", 0); err != nil || len(st.Events) != 3 || st.Events[0].Stage != "early" {
		t.Errorf("state %+v, %v", st, err)
	}

	if err := s.CloseBoot(ctx, b.ID, noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	// What was heard before stays heard: the machine goes on instead of trying for ever.
	if again, err := s.SaveEvent(ctx, event(b, "early", report(1, "early"))); err != nil || !again.Repeated {
		t.Errorf("after the record was closed: %+v, %v", again, err)
	}
	_, err = s.SaveEvent(ctx, event(b, "first-boot", report(1, "first-boot")))
	wantCode(t, err, fault.BootUsed)
	late := opening(op, 1, operation.ForInstall, "l")
	late.Attempt = 2
	l := event(openBoot(t, s, late), "early", report(1, "early"))
	l.At = noon.Add(time.Hour)
	_, err = s.SaveEvent(ctx, l)
	wantCode(t, err, fault.BootExpired)
	_, err = s.SaveEvent(ctx, event(b, "Early!", nil))
	wantCode(t, err, fault.Invalid)
}

// A run that is gone hears nothing: that is success, said in the row, and not a failed start.
func TestASignalToNobodyIsSent(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	b := openBoot(t, s, opening(op, 1, operation.ForInstall, "a"))
	if _, err := s.SaveEvent(t.Context(), event(b, "early", report(1, "early"))); err != nil {
		t.Fatal(err)
	}
	away := true
	r := postgres.Relay{Store: s, Start: func(_ context.Context, i postgres.OutboxItem) error {
		switch {
		case i.Kind != postgres.OutboxSignal:
			return nil
		case away:
			return errors.New("no Temporal")
		}
		return fmt.Errorf("tell: %w", postgres.Gone{Why: "nothing runs as asset/1"})
	}}
	for range 2 {
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := s.GetOperation(t.Context(), op); err != nil || d.Error != nil {
		t.Errorf("a signal that waits is shown as a start that fails: %v, %v", d.Error, err)
	}
	away = false
	execSQL(t, s, `update outbox set next_at = now() where sent is null`)
	if _, err := r.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `select count(*) from outbox where kind = 'signal' and sent is not null and last_error = 'nothing runs as asset/1'`); n != 1 {
		t.Error("the row does not say that nobody was there")
	}
}

func TestAgent(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	ctx := t.Context()
	b := openBoot(t, s, opening(op, 1, operation.ForAgent, "a"))
	queue := func(id, kind, args string) (operation.AgentCommand, error) {
		c := operation.AgentCommand{ID: id, Boot: b.ID, Kind: kind, Queued: noon}
		if args != "" {
			c.Args = json.RawMessage(args)
		}
		return s.QueueCommand(ctx, c)
	}
	for range 2 {
		if c, err := queue("c1", operation.AgentReport, ""); err != nil || c.State != operation.CommandQueued {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	_, err := queue("../x", operation.AgentBurnIn, "")
	wantCode(t, err, fault.Invalid)

	_, err = s.NextCommand(ctx, b.ID, noon)
	wantCode(t, err, fault.Conflict) // not claimed
	me := operation.BootIdentity{MACs: []string{macFor(1)}, Serials: []string{"SN1"}, UUID: "u1"}
	for range 2 {
		if got, err := s.ClaimAgent(ctx, b.ID, me, "192.0.2.7", noon); err != nil || got.Claimed == nil || got.Claimed.UUID != "u1" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	_, err = s.ClaimAgent(ctx, b.ID, operation.BootIdentity{MACs: []string{macFor(9)}}, "192.0.2.9", noon)
	wantCode(t, err, fault.WrongMachine)
	_, err = s.ClaimAgent(ctx, b.ID, operation.BootIdentity{MACs: me.MACs, UUID: "u2"}, "192.0.2.9", noon)
	wantCode(t, err, fault.BootClaimed)
	if n := count(t, s, `select count(*) from boot_event where stage = 'refused'`); n != 2 {
		t.Errorf("%d refused claims are noted, want 2", n)
	}

	for range 2 { // an agent that dies over a command gets it again
		if c, err := s.NextCommand(ctx, b.ID, noon); err != nil || c == nil || c.ID != "c1" || c.State != operation.CommandRunning {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	done := operation.CommandResult{State: operation.CommandDone, Result: json.RawMessage(`{"cpus":2}`)}
	for range 2 {
		if c, err := s.FinishCommand(ctx, b.ID, "c1", done, "192.0.2.7", noon); err != nil || c.State != operation.CommandDone || string(c.Result) != `{"cpus": 2}` {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	// The first result counts.
	if c, err := s.FinishCommand(ctx, b.ID, "c1", operation.CommandResult{State: operation.CommandFailed, Error: "x"}, "", noon); err != nil || c.State != operation.CommandDone {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := queue("c1", operation.AgentReport, ""); err != nil || c.State != operation.CommandDone {
		t.Errorf("asked again: %+v, %v", c, err)
	}
	for range 2 {
		if _, err := queue("c2", operation.AgentBurnIn, `{"minutes": 5, "b": 1}`); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := queue("c2", operation.AgentBurnIn, `{"b":1,"minutes":5}`); err != nil {
		t.Errorf("the same in another order: %v", err)
	}
	_, err = queue("c2", operation.AgentBurnIn, `{"minutes": 6}`)
	wantCode(t, err, fault.Invalid)
	if c, err := s.NextCommand(ctx, b.ID, noon); err != nil || c == nil || c.ID != "c2" {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := s.AgentProgress(ctx, b.ID, "c2", operation.Progress{Text: "memory", Percent: 40}, noon); err != nil {
		t.Fatal(err)
	}
	if c, err := s.GetCommand(ctx, "c2"); err != nil || c.Progress == nil || *c.Progress != (operation.Progress{Text: "memory", Percent: 40}) {
		t.Errorf("%+v, %v", c, err)
	}
	wantCode(t, s.AgentProgress(ctx, b.ID, "c9", operation.Progress{}, noon), fault.NotFound)
	if _, err := s.FinishCommand(ctx, b.ID, "c2", operation.CommandResult{State: operation.CommandFailed, Error: "DIMM 3"}, "", noon); err != nil {
		t.Fatal(err)
	}
	if c, err := s.NextCommand(ctx, b.ID, noon); err != nil || c != nil {
		t.Errorf("%+v, %v, want nothing", c, err)
	}
	got, err := s.GetBoot(ctx, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"agent-claimed", "refused", "report", "burn-in-failed"}, got.Stages); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	if err := s.CloseBoot(ctx, b.ID, noon); err != nil {
		t.Fatal(err)
	}
	if _, err := s.FinishCommand(ctx, b.ID, "c2", done, "", noon); err != nil {
		t.Errorf("a repeated result after the end: %v", err)
	}
	_, err = s.NextCommand(ctx, b.ID, noon)
	wantCode(t, err, fault.BootUsed)
	_, err = queue("c3", operation.AgentStop, "")
	wantCode(t, err, fault.BootUsed)
	_, err = s.ClaimAgent(ctx, b.ID, me, "", noon)
	wantCode(t, err, fault.BootUsed)
}

// An agent that comes back late gets what its run wants now, not what it was told before.
func TestCommandsAreWithdrawnAndKeptBack(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	ctx := t.Context()
	b := openBoot(t, s, opening(op, 1, operation.ForAgent, "a"))
	if _, err := s.ClaimAgent(ctx, b.ID, operation.BootIdentity{MACs: []string{macFor(1)}, Serials: []string{"SN1"}}, "", noon); err != nil {
		t.Fatal(err)
	}
	next := func(state operation.State) string {
		t.Helper()
		execSQL(t, s, `update run set state = $1`, state)
		c, err := s.NextCommand(ctx, b.ID, noon)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			return ""
		}
		return c.ID
	}
	queue := func(id, kind string) {
		t.Helper()
		if _, err := s.QueueCommand(ctx, operation.AgentCommand{ID: id, Boot: b.ID, Kind: kind, Queued: noon}); err != nil {
			t.Fatal(err)
		}
	}
	queue("load", operation.AgentBurnIn)
	if got := next(operation.Running); got != "load" {
		t.Errorf("got %q", got)
	}
	queue("erase", operation.AgentDiskLayout) // burn-in was skipped
	if c, err := s.GetCommand(ctx, "load"); err != nil || c.State != operation.CommandFailed || c.Error == "" {
		t.Errorf("%+v, %v; want it withdrawn", c, err)
	}
	for _, c := range []struct {
		state operation.State
		want  string
	}{
		{operation.Waiting, ""}, {operation.Paused, ""}, {operation.Running, "erase"},
		{operation.Waiting, "erase"}, // it is at work: the same again
	} {
		if got := next(c.state); got != c.want {
			t.Errorf("while %s: %q, want %q", c.state, got, c.want)
		}
	}
}
