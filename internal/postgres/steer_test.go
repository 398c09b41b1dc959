package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

var bob = operation.Command{ID: "command-1", Actor: "bob", Reason: "wrong rack"}

func reseal(t *testing.T, p plan.Plan) plan.Plan {
	t.Helper()
	sealed, err := plan.Seal(p)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func relay(t *testing.T, s *postgres.Store, send func() error) int {
	t.Helper()
	n := 0
	r := &postgres.Relay{Store: s, Start: func(context.Context, postgres.OutboxItem) error { n++; return send() }}
	if _, err := r.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatIsAbortedBeforeItsStartNeverStarts(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	// Temporal is away, or has started the workflow and its answer was lost: that cannot be told apart.
	relay(t, s, func() error { return errors.New("deadline exceeded") })
	got, err := s.AbortUnsent(t.Context(), op, []asset.ID{1, 2}, bob, noon)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]asset.ID{1, 2}, got); diff != "" {
		t.Errorf("aborted (-want +got):\n%s", diff)
	}
	d, err := s.GetOperation(t.Context(), op)
	if err != nil || d.State != operation.Aborted || d.Runs[0].Steps[0].State != operation.StepAborted || d.Error != nil {
		t.Errorf("operation is %s with %+v, %v; %v", d.State, d.Error, d.Runs, err)
	}
	execSQL(t, s, `update outbox set next_at = now()`)
	if n := relay(t, s, func() error { return nil }); n != 0 {
		t.Error("it was started all the same")
	}
	wantCode(t, tryClaim(t, s, op, 1), fault.Aborted) // by the workflow whose start was not answered
	if n := count(t, s, `select count(*) from audit where action = 'run.abort' and actor = 'bob' and operation = $1`, op); n != 2 {
		t.Errorf("%d audit rows of bob's abort, want one a machine", n)
	}
	if n := count(t, s, `select count(*) from event where operation = $1 and body ->> 'kind' = 'ended'`, op); n != 1 {
		t.Errorf("%d events of the end, want 1", n)
	}
	create(t, s, request(t, 1, 2)) // the machines are free
}

func TestAbortUnsentOfSomeLeavesTheOthers(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	if got, err := s.AbortUnsent(t.Context(), op, []asset.ID{2}, bob, noon); err != nil || len(got) != 1 {
		t.Fatalf("aborted %v, %v", got, err)
	}
	if n := relay(t, s, func() error { return nil }); n != 1 {
		t.Errorf("started %d times, want once: a machine is left", n)
	}
	claim(t, s, op, 1)
	wantCode(t, tryClaim(t, s, op, 2), fault.Aborted)
	if got, err := s.AbortUnsent(t.Context(), op, []asset.ID{1}, bob, noon); err != nil || len(got) != 0 {
		t.Errorf("a started operation: aborted %v, %v; its workflow must be told", got, err)
	}
}

func TestAbortOfALostRun(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	claim(t, s, op, 1)
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Waiting, Step: "identity",
		Steps: []operation.StepChange{{Step: "preflight", State: operation.StepDone, Attempt: 1}, {Step: "identity", State: operation.StepParked, Attempt: 1}}})
	for id, want := range map[asset.ID]bool{1: true, 2: false} { // 2 is queued
		if got, err := s.AbortLost(t.Context(), op, id, bob, noon); err != nil || got != want {
			t.Errorf("AbortLost(%d) = %v, %v, want %v", id, got, err, want)
		}
	}
	run, err := s.GetRun(t.Context(), op, 1)
	if err != nil || run.State != operation.Aborted || len(run.Left) != 1 || run.Steps[0].State != operation.StepDone || run.Steps[1].State != operation.StepAborted {
		t.Errorf("run = %+v, %v", run, err)
	}
	if again, err := s.AbortLost(t.Context(), op, 1, bob, noon); err != nil || again {
		t.Errorf("again: %v, %v", again, err)
	}
}

func TestHeldIsTold(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	for _, want := range []bool{true, false} {
		if err := s.Hold(t.Context(), op, want); err != nil {
			t.Fatal(err)
		}
		if d, err := s.GetOperation(t.Context(), op); err != nil || d.Held != want {
			t.Errorf("held = %v, %v, want %v", d.Held, err, want)
		}
	}
}

func TestAuditOnce(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	e := operation.AuditEntry{At: noon, Actor: "worker-ams01", Action: "secret.read", Subject: "bmc/SN1", Operation: op, Asset: 1, Detail: "account root, in step bios"}
	other, step := e, e
	other.Asset, step.Detail = 2, "account root, in step firmware"
	for range 3 {
		for _, e := range []operation.AuditEntry{e, other, step} {
			if err := s.AuditOnce(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := count(t, s, `select count(*) from audit where action = 'secret.read'`); n != 3 {
		t.Errorf("%d rows of 9 uses, want 3", n)
	}
	if n := count(t, s, `select count(*) from event where body ->> 'kind' = 'command'`); n != 0 {
		t.Errorf("%d events: polls are nothing to watch", n)
	}
}

func TestAuditLog(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	for i, actor := range []string{"ada", "bob", "ada"} {
		if err := s.Audit(t.Context(), operation.AuditEntry{At: noon.AddDate(0, 0, i+1), Actor: actor, Action: "token.create", Subject: "tok_1"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		f    operation.AuditFilter
		want int
	}{
		"all":         {operation.AuditFilter{}, 4},
		"operation":   {operation.AuditFilter{Operation: op}, 1},
		"actor":       {operation.AuditFilter{Actor: "bob"}, 1},
		"since":       {operation.AuditFilter{Since: noon.AddDate(0, 0, 2)}, 2},
		"limit":       {operation.AuditFilter{Limit: 2}, 2},
		"not chained": {operation.AuditFilter{Chain: true}, 0},
	} {
		got, err := s.AuditLog(t.Context(), tc.f)
		if err != nil || len(got) != tc.want {
			t.Errorf("%s: %d rows, %v, want %d", name, len(got), err, tc.want)
		}
		if len(got) > 1 && got[0].At.Before(got[1].At) {
			t.Errorf("%s: the oldest comes first", name)
		}
	}
}

func TestRemoveFirmware(t *testing.T) {
	s := pgtest.New(t)
	sum := "ab" + string(make64())
	f := operation.FirmwareFile{SHA256: sum, Name: "bios.bin", Size: 12, Added: noon, By: "ada"}
	if err := s.SaveFirmware(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	r := request(t, 1)
	r.Plan.Targets[0].Steps[0].Want = plan.Encode(map[string]string{"sha256": sum})
	r.Plan = reseal(t, r.Plan)
	op := create(t, s, r)
	if f := wantCode(t, s.RemoveFirmware(t.Context(), sum), fault.Locked); f.Holder != string(op) {
		t.Errorf("held by %q, want %s", f.Holder, op)
	}
	finish(t, s, op, 1, operation.Done)
	if err := s.RemoveFirmware(t.Context(), sum); err != nil {
		t.Errorf("after the operation: %v", err)
	}
	wantCode(t, s.RemoveFirmware(t.Context(), sum), fault.NotFound)
}
