package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
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

func TestRelaySendsWhatWasAsked(t *testing.T) {
	s := pgtest.New(t)
	var got []postgres.OutboxItem
	r := postgres.Relay{Store: s, Start: func(_ context.Context, i postgres.OutboxItem) error { got = append(got, i); return nil }}
	if found, err := r.Once(t.Context()); found || err != nil {
		t.Fatalf("Once on an empty outbox = %v, %v", found, err)
	}
	op := create(t, s, request(t, 2, 1))
	for range 2 {
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 1 || got[0].Key != "op/"+string(op) || got[0].Kind != postgres.OutboxStart || got[0].Operation != op {
		t.Fatalf("sent %+v, want the start of %s once", got, op)
	}
	var start operation.Start
	if err := json.Unmarshal(got[0].Payload, &start); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(operation.Start{Operation: op, Assets: []asset.ID{2, 1}, Window: 4}, start); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
}

func TestRelayTriesAgainLater(t *testing.T) {
	s := pgtest.New(t)
	bad := create(t, s, request(t, 1))
	good := create(t, s, request(t, 2))
	var sent []operation.ID
	r := postgres.Relay{Store: s, Start: func(_ context.Context, i postgres.OutboxItem) error {
		sent = append(sent, i.Operation)
		if i.Operation == bad && i.Attempts == 0 {
			return errors.New("no Temporal")
		}
		return nil
	}}
	for range 3 {
		if _, err := r.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]operation.ID{bad, good}, sent); diff != "" {
		t.Errorf("sent (-want +got): the failed item must wait and hold up no other\n%s", diff)
	}
	d, err := s.GetOperation(t.Context(), bad)
	if err != nil || d.Error == nil || d.Error.Code != fault.EngineAway {
		t.Errorf("operation that could not be started = %+v, %v, want the reason in it", d.Error, err)
	}
	execSQL(t, s, `update outbox set next_at = now() where sent is null`)
	if _, err := r.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]operation.ID{bad, good, bad}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if d, err = s.GetOperation(t.Context(), bad); err != nil || d.Error != nil {
		t.Errorf("error after it was started = %v, %v", d.Error, err)
	}
}

// A relay that dies while it sends frees the item: another sends it again.
func TestRelayKilledWhileSending(t *testing.T) {
	url := pgtest.URL(t)
	s, other := pgtest.Open(t, url), pgtest.Open(t, url)
	create(t, s, request(t, 1))
	r := postgres.Relay{Store: s, Start: func(ctx context.Context, _ postgres.OutboxItem) error {
		second := postgres.Relay{Store: other, Start: func(context.Context, postgres.OutboxItem) error {
			return errors.New("must not be called: the item is being sent")
		}}
		if found, err := second.Once(ctx); found || err != nil {
			t.Errorf("second relay meanwhile = %v, %v, want nothing", found, err)
		}
		execSQL(t, other, `select pg_terminate_backend(pid, 10000) from pg_stat_activity -- waits until it is gone
			where datname = current_database() and state = 'idle in transaction'`)
		return nil
	}}
	_, err := r.Once(t.Context())
	wantCode(t, err, fault.StoreAway)
	sent := 0
	r2 := postgres.Relay{Store: other, Start: func(context.Context, postgres.OutboxItem) error { sent++; return nil }}
	for range 2 {
		if _, err := r2.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if sent != 1 {
		t.Errorf("sent %d times after the kill, want 1", sent)
	}
}

// Run is woken by the request itself, long before it would look by itself, and ends with its context.
func TestRelayRun(t *testing.T) {
	url := pgtest.URL(t)
	s := pgtest.Open(t, url)
	got := make(chan operation.ID, 10)
	r := postgres.Relay{Store: s, Poll: time.Hour, Start: func(_ context.Context, i postgres.OutboxItem) error { got <- i.Operation; return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	waitFor(t, "the relay listens", func() bool {
		return count(t, s, `select count(*) from pg_stat_activity where datname = current_database() and query = 'listen cagenut_outbox'`) == 1
	})
	for id := range asset.ID(2) {
		op := create(t, s, request(t, id+1))
		select {
		case id := <-got:
			if id != op {
				t.Errorf("sent %s, want %s", id, op)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the relay was not woken")
		}
	}
	cancel()
	wg.Wait()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}
