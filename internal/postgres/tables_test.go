package postgres_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func TestLifecycleIsTheSameInGoAndSQL(t *testing.T) {
	s := pgtest.New(t)
	want := map[[2]string]bool{}
	for _, m := range asset.Moves() {
		want[[2]string{string(m.From), string(m.To)}] = true
	}
	if diff := cmp.Diff(want, pairs(t, s, `select from_status, to_status from lifecycle_move`)); diff != "" {
		t.Errorf("lifecycle (-Go +SQL):\n%s", diff)
	}
}

func TestStatesAreTheSameInGoAndSQL(t *testing.T) {
	s := pgtest.New(t)
	want := map[[2]string]bool{}
	for _, m := range operation.StateMoves() {
		want[[2]string{string(m.From), string(m.To)}] = true
	}
	if diff := cmp.Diff(want, pairs(t, s, `select from_state, to_state from state_move`)); diff != "" {
		t.Errorf("states (-Go +SQL):\n%s", diff)
	}
}

// Every pair of statuses, legal or not, must fare the same in Go and in PostgreSQL's trigger.
func TestAssetStatusTriggerHoldsTheLifecycle(t *testing.T) {
	s := pgtest.New(t)
	all := []asset.Status{asset.Planned, asset.Staged, asset.Active, asset.Failed, asset.Decommissioning, asset.Offline, asset.InStock, "racked"}
	id := 0
	for _, from := range all {
		for _, to := range all {
			if from == to {
				continue
			}
			id++
			execSQL(t, s, `insert into asset_status (asset, status, cause, at) values ($1, $2, 'observed', now())`, id, from)
			_, err := s.Pool().Exec(t.Context(), `update asset_status set status = $2, cause = 'moved' where asset = $1`, id, to)
			if legal := asset.CanMove(from, to) == nil; legal != (err == nil) {
				t.Errorf("%s -> %s: Go says legal=%v, SQL says %v", from, to, legal, err)
			}
		}
	}
	// What a person did in NetBox is taken as it is.
	execSQL(t, s, `update asset_status set status = 'active', cause = 'observed' where asset = 1`)
}

func TestRunTriggerHoldsTheStates(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	all := []operation.State{operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away,
		operation.Done, operation.Aborted, operation.Failed}
	for _, from := range all {
		for _, to := range all {
			tx, err := s.Pool().Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// Put the run where no transition may lead, then let the trigger judge.
			for _, sql := range []string{`alter table run disable trigger user`, `update run set state = '` + string(from) + `' where operation = '` + string(op) + `'`,
				`alter table run enable trigger run_state_check`} {
				if _, err := tx.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			_, err = tx.Exec(t.Context(), `update run set state = $2 where operation = $1`, op, to)
			if legal := operation.CanMove(from, to) == nil; legal != (err == nil) {
				t.Errorf("%s -> %s: Go says legal=%v, SQL says %v", from, to, legal, err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}
