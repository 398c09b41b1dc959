package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// target is an asset with two steps that act and one that does not apply.
func target(id asset.ID) plan.Target {
	act := func(name string) plan.Step {
		return plan.Step{Name: name, Kind: name, Version: 1, Title: "Do " + name, Mode: plan.Act, Place: plan.Central,
			Undo: plan.ReadOnly, DeadlineSec: 60, Policy: "central", Writes: []plan.Write{}}
	}
	none := act("bios")
	none.NotApplicable = "the profile has no BIOS settings"
	return plan.Target{
		Asset:   asset.Ref{ID: id, Name: fmt.Sprintf("srv-%d", id), Serial: fmt.Sprintf("SN%d", id), Site: "ams01", Rack: "r12"},
		Profile: "compute@1", Status: asset.Planned,
		BMC:   plan.BMC{Protocol: "redfish", Address: fmt.Sprintf("10.0.0.%d", id), Account: "root"},
		Steps: []plan.Step{act("preflight"), act("identity"), none},
		Reads: []plan.Read{},
	}
}

func request(t *testing.T, ids ...asset.ID) operation.Request {
	t.Helper()
	p := plan.Plan{Kind: "install", Until: "hardware", Capacity: "none"}
	for _, id := range ids {
		p.Targets = append(p.Targets, target(id))
	}
	sealed, err := plan.Seal(p)
	if err != nil {
		t.Fatal(err)
	}
	return operation.Request{ID: operation.NewID(noon), Digest: "digest", Actor: "ada", Reason: "rack r12", Ticket: "DC-42",
		Window: 4, Plan: sealed, At: noon}
}

func create(t *testing.T, s *postgres.Store, r operation.Request) operation.ID {
	t.Helper()
	id, created, err := s.CreateOperation(t.Context(), r)
	if err != nil || !created {
		t.Fatalf("CreateOperation(%s) = %s, %v, %v", r.ID, id, created, err)
	}
	return id
}

func claim(t *testing.T, s *postgres.Store, op operation.ID, id asset.ID) activities.Claim {
	t.Helper()
	c, err := s.Claim(t.Context(), activities.ClaimRequest{Operation: op, Asset: id, RunID: "run-1"})
	if err != nil {
		t.Fatalf("Claim(%s, %s): %v", op, id, err)
	}
	return c
}

func record(t *testing.T, s *postgres.Store, tr operation.Transition) {
	t.Helper()
	if tr.At.IsZero() {
		tr.At = noon.Add(time.Duration(tr.Seq) * time.Second)
	}
	if err := s.Record(t.Context(), tr); err != nil {
		t.Fatalf("Record(%d): %v", tr.Seq, err)
	}
}

// finish claims a run and ends it.
func finish(t *testing.T, s *postgres.Store, op operation.ID, id asset.ID, state operation.State) {
	t.Helper()
	claim(t, s, op, id)
	record(t, s, operation.Transition{Operation: op, Asset: id, Seq: 1, State: state})
}

func wantCode(t *testing.T, err error, want fault.Code) *fault.Error {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != want {
		t.Fatalf("error %v, want code %s", err, want)
	}
	return f
}

// count runs a query that gives one number.
func count(t *testing.T, s *postgres.Store, sql string, args ...any) int {
	t.Helper()
	var n int
	if err := s.Pool().QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func execSQL(t *testing.T, s *postgres.Store, sql string, args ...any) {
	t.Helper()
	if _, err := s.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func pairs(t *testing.T, s *postgres.Store, sql string) map[[2]string]bool {
	t.Helper()
	rows, err := s.Pool().Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	out := map[[2]string]bool{}
	var p [2]string
	if _, err := pgx.ForEachRow(rows, []any{&p[0], &p[1]}, func() error { out[p] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}
