package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func TestCreateOperationStoresAllOfIt(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 2, 1))
	got := map[string]int{}
	for _, table := range []string{"operation", "run", "step", "outbox", "audit", "event", "approval"} {
		got[table] = count(t, s, `select count(*) from `+table)
	}
	want := map[string]int{"operation": 1, "run": 2, "step": 6, "outbox": 1, "audit": 1, "event": 1, "approval": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if n := count(t, s, `select count(*) from step where state = 'not-applicable' and summary <> ''`); n != 2 {
		t.Errorf("%d steps are not applicable with their reason, want 2", n)
	}
	holders, err := s.CurrentHolders(t.Context(), []asset.ID{1, 3})
	if err != nil {
		t.Fatal(err)
	}
	want2 := map[asset.ID]operation.Holder{1: {Operation: op, Asset: target(1).Asset, State: operation.Queued, Actor: "ada", Account: "root"}}
	if diff := cmp.Diff(want2, holders); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
}

func TestCreateOperationRepeated(t *testing.T) {
	s := pgtest.New(t)
	first := request(t, 1)
	first.Key = "k1"
	create(t, s, first)

	again := request(t, 1)
	again.Key = "k1"
	id, created, err := s.CreateOperation(t.Context(), again)
	if err != nil || created || id != first.ID {
		t.Errorf("same key = %s, %v, %v, want %s, false", id, created, err, first.ID)
	}
	id, created, err = s.CreateOperation(t.Context(), first)
	if err != nil || created || id != first.ID {
		t.Errorf("same ID = %s, %v, %v, want %s, false", id, created, err, first.ID)
	}
	if id, digest, err := s.OperationByKey(t.Context(), "ada", "k1"); err != nil || id != first.ID || digest != "digest" {
		t.Errorf("OperationByKey = %s, %q, %v", id, digest, err)
	}
	if _, _, err := s.OperationByKey(t.Context(), "bob", "k1"); err == nil {
		t.Error("OperationByKey finds the key of another actor")
	}
	other := request(t, 9)
	other.Key, other.Digest = "k1", "another question"
	_, _, err = s.CreateOperation(t.Context(), other)
	wantCode(t, err, fault.Invalid)
	// The same key of another person is another request.
	other.Actor = "bob"
	create(t, s, other)
	if n := count(t, s, `select count(*) from operation`); n != 2 {
		t.Errorf("%d operations, want 2", n)
	}
}

func TestCreateOperationHeldMachine(t *testing.T) {
	s := pgtest.New(t)
	holder := create(t, s, request(t, 1, 2))
	_, _, err := s.CreateOperation(t.Context(), request(t, 3, 2, 1))
	f := wantCode(t, err, fault.Locked)
	if f.Holder != string(holder) || len(f.Details) != 2 || !strings.Contains(f.Message, "srv-2, srv-1") {
		t.Errorf("fault = %+v, want holder %s and both machines in the plan's order", f, holder)
	}
	if d := f.Details[0]; d.Seen != "held by operation "+string(holder)+" of ada (queued)" || !strings.Contains(d.Remedy, "`cagenut op abort "+string(holder)+" --asset srv-2`") {
		t.Errorf("detail = %+v, want whose it is and a command that works", d)
	}
	if n := count(t, s, `select count(*) from run where asset = 3`) + count(t, s, `select count(*) - 1 from outbox`); n != 0 {
		t.Errorf("the refused request left %d rows", n)
	}
	// One machine of the holder ends: it is free, the other is not.
	finish(t, s, holder, 1, operation.Done)
	create(t, s, request(t, 1))
	_, _, err = s.CreateOperation(t.Context(), request(t, 2))
	wantCode(t, err, fault.Locked)
}

func TestCreateOperationInvalid(t *testing.T) {
	s := pgtest.New(t)
	tests := []struct {
		name  string
		spoil func(*operation.Request)
	}{
		{"ID", func(r *operation.Request) { r.ID = "op_1" }},
		{"actor", func(r *operation.Request) { r.Actor = "" }},
		{"window", func(r *operation.Request) { r.Window = 0 }},
		{"plan changed after sealing", func(r *operation.Request) { r.Plan.Targets[0].Asset.Serial = "OTHER" }},
		{"plan without hash", func(r *operation.Request) { r.Plan.Hash = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, 1)
			tt.spoil(&r)
			_, _, err := s.CreateOperation(t.Context(), r)
			wantCode(t, err, fault.Invalid)
			if n := count(t, s, `select count(*) from operation`); n != 0 {
				t.Errorf("%d operations were stored", n)
			}
		})
	}
}

// Many ask at once for overlapping machines: each machine has one holder, whoever was refused is
// told by whom, and nothing deadlocks.
func TestCreateOperationRace(t *testing.T) {
	s := pgtest.New(t)
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for i := range errs {
		r := request(t, asset.ID(1+i%3), asset.ID(1+(i+1)%3), asset.ID(10+i))
		wg.Go(func() { _, _, errs[i] = s.CreateOperation(t.Context(), r) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		if f := wantCode(t, err, fault.Locked); f.Holder == "" {
			t.Errorf("refused without a holder: %v", f)
		}
	}
	if won != 1 {
		t.Errorf("%d operations won, want 1: any two share a machine", won)
	}
	if n := count(t, s, `select count(*) from operation`); n != won {
		t.Errorf("%d operations stored, %d accepted", n, won)
	}
}
