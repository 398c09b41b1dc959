package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

// tables are all that the calls of TestKilledConnection write to.
var tables = []string{"operation", "run", "step", "outbox", "audit", "event", "approval", "step_attempt", "step_write",
	"evidence", "evidence_blob", "asset_known", "asset_status", "asset_move"}

// TestKilledConnection ends the connection (pg_terminate_backend) at every table that a call writes,
// one after the other: each time nothing of the call may be left, and the same call must then
// succeed.
func TestKilledConnection(t *testing.T) {
	r := operation.Request{}
	first := asset.ID(1) // of the assets of a subtest; each has its own
	transition := func(op operation.ID) operation.Transition {
		return operation.Transition{Operation: op, Asset: first, Seq: 1, At: noon, State: operation.Done,
			Learned: &operation.Known{Serial: "SN1", Pin: "AA"},
			Steps: []operation.StepChange{{Step: "preflight", State: operation.StepDone, Attempt: 1,
				Writes: []plan.Write{{System: "netbox", Object: "device", Field: "status", Before: "planned", After: "staged"}},
				Evidence: []operation.Evidence{{Kind: "small", Data: json.RawMessage(`{}`)},
					{Kind: "large", Data: json.RawMessage(`"` + strings.Repeat("x", inlineLimit) + `"`)}}}}}
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T, s *postgres.Store)
		call    func(ctx context.Context, s *postgres.Store) error
		writes  []string // tables that the call writes to
	}{
		{"CreateOperation", func(t *testing.T, s *postgres.Store) { r = request(t, first, first+1) },
			func(ctx context.Context, s *postgres.Store) error { _, _, err := s.CreateOperation(ctx, r); return err },
			[]string{"operation", "run", "step", "approval", "outbox", "event", "audit", "asset_status", "asset_move"}},
		{"Claim", func(t *testing.T, s *postgres.Store) { r = request(t, first, first+1); create(t, s, r) },
			func(ctx context.Context, s *postgres.Store) error {
				_, err := s.Claim(ctx, activities.ClaimRequest{Operation: r.ID, Asset: first, RunID: "run-1"})
				return err
			},
			[]string{"run", "operation", "event"}},
		{"Record", func(t *testing.T, s *postgres.Store) {
			r = request(t, first)
			create(t, s, r)
			claim(t, s, r.ID, first)
		},
			func(ctx context.Context, s *postgres.Store) error { return s.Record(ctx, transition(r.ID)) },
			[]string{"run", "operation", "step", "step_attempt", "step_write", "asset_status", "asset_move", "evidence",
				"evidence_blob", "asset_known", "event", "audit"}},
	}
	url := pgtest.URL(t)
	s := pgtest.Open(t, url)
	// A trigger kills the writer when it has written to the table.
	execSQL(t, s, `create function pull_the_plug() returns trigger language plpgsql as $$
		begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$`)
	for _, tt := range tests {
		for _, table := range tt.writes {
			t.Run(tt.name+"/"+table, func(t *testing.T) {
				first += 10
				tt.prepare(t, s)
				if table == "evidence_blob" { // the same evidence is kept once
					execSQL(t, s, `delete from evidence_blob`)
				}
				execSQL(t, s, fmt.Sprintf(`create trigger zz_plug after insert or update on %s for each row execute function pull_the_plug()`, table))
				before := dump(t, url)
				err := tt.call(t.Context(), s)
				wantCode(t, err, fault.StoreAway)
				if after := dump(t, url); after != before {
					t.Errorf("the killed call left something:\nbefore %s\nafter  %s", before, after)
				}
				execSQL(t, s, fmt.Sprintf(`drop trigger zz_plug on %s`, table))
				if err := tt.call(t.Context(), s); err != nil {
					t.Fatalf("the same call afterwards: %v", err)
				}
				done := dump(t, url)
				if done == before {
					t.Fatal("the call changed nothing")
				}
				// The answer may have been lost after the commit: asking again changes nothing.
				if err := tt.call(t.Context(), s); err != nil {
					t.Fatalf("the same call again: %v", err)
				}
				if again := dump(t, url); again != done {
					t.Errorf("the repeated call changed something:\nbefore %s\nafter  %s", done, again)
				}
			})
		}
	}
}

// dump gives a digest of each table's content.
func dump(t *testing.T, url string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var out strings.Builder
	for _, table := range tables {
		var sum string
		var n int
		err := conn.QueryRow(t.Context(), `select count(*), md5(coalesce(string_agg(x::text, '|' order by x::text), '')) from `+table+` x`).Scan(&n, &sum)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s:%d:%.6s ", table, n, sum)
	}
	return out.String()
}

// A server that goes away and comes back is StoreAway and then served again by the same Store.
func TestServerGoesAway(t *testing.T) {
	url := pgtest.URL(t)
	s := pgtest.Open(t, url)
	admin := pgtest.Open(t, url)
	for range 3 {
		execSQL(t, admin, `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`)
		// A dead connection of the pool may be met once; it is not met again.
		if err := s.Ping(t.Context()); err != nil {
			wantCode(t, err, fault.StoreAway)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Fatalf("second Ping after the connections were killed: %v", err)
		}
	}
	_, err := postgres.Open(t.Context(), "postgres://nobody@127.0.0.1:1/x?connect_timeout=1")
	wantCode(t, err, fault.StoreAway)
	_, err = postgres.Open(t.Context(), "postgres://nobody:hunter2@127.0.0.1:port/x")
	if f := wantCode(t, err, fault.Invalid); strings.Contains(f.Message, "hunter2") {
		t.Errorf("the password stands in the error: %s", f.Message)
	}
}
