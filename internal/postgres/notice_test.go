package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

// sendNotices gives what the relay of notices sends, by key.
func sendNotices(t *testing.T, s *postgres.Store) map[string]operation.Notice {
	t.Helper()
	got := map[string]operation.Notice{}
	r := postgres.Relay{Store: s, Kinds: []string{postgres.OutboxNotice}, Start: func(_ context.Context, i postgres.OutboxItem) error {
		var n postgres.NoticeItem
		if err := json.Unmarshal(i.Payload, &n); err != nil || i.Kind != postgres.OutboxNotice || i.Key != n.Notice.Key()+"/to/"+n.To {
			t.Errorf("sent %+v: %v", i, err)
		}
		got[i.Key] = n.Notice
		return nil
	}}
	for {
		if found, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		} else if !found {
			return got
		}
	}
}

func TestNotices(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	run := func(id asset.ID, seq int64, state operation.State, e *fault.Error) {
		t.Helper()
		tr := operation.Transition{Operation: op, Asset: id, Seq: seq, At: noon, State: state, Step: "identity", Error: e}
		for range 2 { // its answer was lost
			record(t, s, tr)
		}
	}
	claim(t, s, op, 1)
	claim(t, s, op, 2)
	run(1, 1, operation.Waiting, fault.New(fault.Unreachable, "no answer"))
	run(1, 2, operation.Running, nil)
	if got := sendNotices(t, s); len(got) != 0 {
		t.Fatalf("notices that nobody wants: %v", got)
	}

	every := []operation.NoticeKind{operation.NoticeInService, operation.NoticeWaiting, operation.NoticeEnded}
	s.UseNotices(postgres.Notices{Page: func(id operation.ID) string { return "https://x/" + string(id) },
		Targets: []postgres.NoticeTarget{{Name: "a", Kinds: every}, {Name: "b", Kinds: every[2:]}}})
	run(1, 3, operation.Waiting, fault.New(fault.Unreachable, "no answer"))
	run(1, 4, operation.Waiting, fault.New(fault.Unreachable, "no answer")) // waits on
	ref := asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1", Site: "ams01", Rack: "r12"}
	page := "https://x/" + string(op)
	waiting := operation.Notice{Kind: operation.NoticeWaiting, Operation: op, Asset: ref, Text: "srv-1 waits for a person at step identity: no answer", Page: page, At: noon}
	if diff := cmp.Diff(map[string]operation.Notice{waiting.Key() + "/to/a": waiting}, sendNotices(t, s)); diff != "" {
		t.Errorf("waiting (-want +got):\n%s", diff)
	}

	service := operation.Notice{Kind: operation.NoticeInService, Operation: op, Asset: ref, Text: "srv-1 is in service", Page: page, At: noon}
	for range 2 {
		if err := s.Notify(t.Context(), service); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]operation.Notice{service.Key() + "/to/a": service}, sendNotices(t, s)); diff != "" {
		t.Errorf("in service (-want +got):\n%s", diff)
	}
	if err := s.Notify(t.Context(), service); err != nil || len(sendNotices(t, s)) != 0 {
		t.Errorf("told again after it was sent: %v", err)
	}
	err := s.Notify(t.Context(), operation.Notice{Kind: operation.NoticeInService, Operation: op})
	wantCode(t, err, fault.Invalid)

	run(1, 5, operation.Running, nil)
	run(1, 6, operation.Done, nil)
	if got := sendNotices(t, s); len(got) != 0 {
		t.Errorf("one of two machines is done, and it was told: %v", got)
	}
	run(2, 1, operation.Running, nil)
	run(2, 2, operation.Done, nil)
	ended := operation.Notice{Kind: operation.NoticeEnded, Operation: op, Text: string(op) + " ended: 2 done, 0 aborted, 0 failed", Page: page, At: noon}
	if diff := cmp.Diff(map[string]operation.Notice{ended.Key() + "/to/a": ended, ended.Key() + "/to/b": ended}, sendNotices(t, s)); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
}

// A notice that cannot be told holds up nothing else, nor does the operation look as if it could not be started.
func TestNoticesHoldUpNothing(t *testing.T) {
	s := pgtest.New(t)
	s.UseNotices(postgres.Notices{Targets: []postgres.NoticeTarget{{Name: "a", Kinds: []operation.NoticeKind{operation.NoticeInService}}}})
	op := create(t, s, request(t, 1))
	if err := s.Notify(t.Context(), operation.Notice{Kind: operation.NoticeInService, Operation: op, Asset: asset.Ref{ID: 1}, Text: "x", At: noon.Add(-1)}); err != nil {
		t.Fatal(err)
	}
	var sent []string
	engine := postgres.Relay{Store: s, Kinds: []string{postgres.OutboxStart, postgres.OutboxSignal}, Start: func(_ context.Context, i postgres.OutboxItem) error {
		sent = append(sent, i.Kind)
		return nil
	}}
	people := postgres.Relay{Store: s, Kinds: []string{postgres.OutboxNotice}, Start: func(ctx context.Context, _ postgres.OutboxItem) error {
		for range 2 { // while the webhook hangs
			if _, err := engine.Once(ctx); err != nil {
				t.Error(err)
			}
		}
		return errors.New("webhook hangs")
	}}
	if found, err := people.Once(t.Context()); err != nil || !found {
		t.Fatalf("no notice: %v", err)
	}
	if diff := cmp.Diff([]string{postgres.OutboxStart}, sent); diff != "" {
		t.Errorf("sent to Temporal meanwhile (-want +got):\n%s", diff)
	}
	if d, err := s.GetOperation(t.Context(), op); err != nil || d.Error != nil {
		t.Errorf("operation says %v, %v", d.Error, err)
	}
	if b, err := s.Backlog(t.Context()); err != nil || b.Unsent != 0 {
		t.Errorf("backlog %+v, %v; want nothing that Temporal waits for", b, err)
	}
}
