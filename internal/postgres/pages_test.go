package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func TestListRuns(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2, 3, 4))
	parked := fault.New(fault.Unreachable, "no answer")
	for id := range asset.ID(3) {
		claim(t, s, op, id+1)
	}
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Done, Steps: []operation.StepChange{
		{Step: "preflight", State: operation.StepDone, Attempt: 1}, {Step: "identity", State: operation.StepDone, Attempt: 1}}})
	record(t, s, operation.Transition{Operation: op, Asset: 2, Seq: 1, State: operation.Running, Step: "preflight", Steps: []operation.StepChange{
		{Step: "preflight", State: operation.StepRunning, Attempt: 1, Progress: &operation.Progress{Text: "reading", Percent: 40}}}})
	record(t, s, operation.Transition{Operation: op, Asset: 3, Seq: 1, State: operation.Waiting, Step: "identity", Error: parked, Steps: []operation.StepChange{
		{Step: "preflight", State: operation.StepDone, Attempt: 1}, {Step: "identity", State: operation.StepParked, Attempt: 2, Error: parked}}})
	for _, tt := range []struct {
		name string
		f    operation.RunFilter
		want string
		more bool
	}{
		{"an operation, what wants a person first", operation.RunFilter{Operation: op}, "srv-3 srv-2 srv-4 srv-1", false},
		{"a page", operation.RunFilter{Operation: op, Limit: 2}, "srv-3 srv-2", true},
		{"the next page", operation.RunFilter{Operation: op, Limit: 2, Skip: 2}, "srv-4 srv-1", false},
		{"a state", operation.RunFilter{Operation: op, States: []operation.State{operation.Done}}, "srv-1", false},
		{"a step", operation.RunFilter{Operation: op, Step: "identity"}, "srv-3", false},
		{"a name", operation.RunFilter{Operation: op, Name: "SRV-2"}, "srv-2", false},
		{"a name is no pattern", operation.RunFilter{Operation: op, Name: "%"}, "", false},
		{"a rack that has none", operation.RunFilter{Operation: op, Rack: "r13"}, "", false},
		{"waiting anywhere", operation.RunFilter{States: []operation.State{operation.Waiting}}, "srv-3", false},
		{"a site that may not be seen", operation.RunFilter{States: []operation.State{operation.Waiting}, Sites: []string{"fra01"}}, "", false},
		{"an asset", operation.RunFilter{Asset: 2}, "srv-2", false},
		{"failed lately", operation.RunFilter{Failed: true}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, more, err := s.ListRuns(t.Context(), tt.f)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, r := range got {
				names = append(names, r.Asset.Name)
			}
			if diff := cmp.Diff(tt.want, strings.Join(names, " ")); diff != "" || more != tt.more {
				t.Errorf("runs, more %v (-want +got):\n%s", more, diff)
			}
		})
	}
	_, _, err := s.ListRuns(t.Context(), operation.RunFilter{States: []operation.State{operation.Done}})
	wantCode(t, err, fault.Invalid)

	rows, _, err := s.ListRuns(t.Context(), operation.RunFilter{Operation: op})
	if err != nil {
		t.Fatal(err)
	}
	if r := rows[0]; r.Current == nil || r.Current.State != operation.StepParked || r.Current.Attempt != 2 || r.Current.Error.Code != fault.Unreachable ||
		r.Behind != 2 || r.Of != 3 || r.Actor != "ada" || r.Kind != "install" {
		t.Errorf("the parked run = %+v, step %+v", r, r.Current)
	}
	if r := rows[1]; r.Current == nil || r.Current.Progress == nil || r.Current.Progress.Percent != 40 {
		t.Errorf("the running run = %+v", r)
	}
	if r := rows[2]; r.Current != nil || !r.Updated.IsZero() {
		t.Errorf("the queued run = %+v", r)
	}

	live, err := s.LiveRuns(t.Context(), op, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []operation.Live{
		{Operation: op, Site: "ams01", State: operation.Queued, Runs: 1},
		{Operation: op, Site: "ams01", State: operation.Running, Step: "preflight", Runs: 1, Since: noon.Add(time.Second)},
		{Operation: op, Site: "ams01", State: operation.Waiting, Step: "identity", Runs: 1, Since: noon.Add(time.Second)},
	}
	if diff := cmp.Diff(want, live); diff != "" {
		t.Errorf("live (-want +got):\n%s", diff)
	}
	loads, err := s.RackLoads(t.Context(), "ams01", nil)
	if err != nil {
		t.Fatal(err)
	}
	wantLoads := []operation.RackLoad{{Site: "ams01", Rack: "r12", Counts: map[operation.State]int{
		operation.Queued: 1, operation.Running: 1, operation.Waiting: 1, operation.Done: 1}}}
	if diff := cmp.Diff(wantLoads, loads); diff != "" {
		t.Errorf("racks (-want +got):\n%s", diff)
	}
	newest, err := s.NewestRuns(t.Context(), []asset.ID{1, 3, 99})
	if err != nil || len(newest) != 2 || newest[3].State != operation.Waiting || newest[1].Operation != op {
		t.Errorf("newest runs = %+v, %v", newest, err)
	}
	events, err := s.LatestEvents(t.Context(), operation.EventFilter{Operation: op, Limit: 2})
	if err != nil || len(events) > 2 {
		t.Errorf("latest events = %+v, %v", events, err)
	}
	d, err := s.OperationHead(t.Context(), op)
	if err != nil || d.Assets != 4 || len(d.Runs) != 0 || d.State != operation.Waiting {
		t.Errorf("head = %+v, %v", d, err)
	}
	_, err = s.OperationHead(t.Context(), operation.NewID(noon))
	wantCode(t, err, fault.NotFound)
}

func TestLatestProofAndStatusMoves(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	large := `{"drives":["` + strings.Repeat("x", 40<<10) + `"]}` // goes into the evidence store
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Running, Steps: []operation.StepChange{
		{Step: "identity", State: operation.StepDone, Attempt: 1, Writes: []plan.Write{{System: "netbox", Object: "device srv-1", Field: "status", Before: "planned", After: "staged"}},
			Evidence: []operation.Evidence{{Kind: "hardware", Title: "old", Data: []byte(`{"a":1}`)}, {Kind: "hardware", Title: "new", Data: []byte(large)}}}}})
	got, err := s.LatestProof(t.Context(), 1, "hardware")
	if err != nil || got.Title != "new" || got.Operation != op || len(got.Data) < 40<<10 {
		t.Errorf("proof %q of %s, %d bytes, %v", got.Title, got.Operation, len(got.Data), err)
	}
	_, err = s.LatestProof(t.Context(), 1, "wipe")
	wantCode(t, err, fault.NotFound)
	moves, err := s.StatusMoves(t.Context(), 1)
	if err != nil || len(moves) != 2 || moves[1].To != asset.Planned || moves[0].To != asset.Staged || moves[0].Operation != op {
		t.Errorf("moves = %+v, %v", moves, err)
	}
}

func TestBacklog(t *testing.T) {
	s := pgtest.New(t)
	create(t, s, request(t, 1))
	execSQL(t, s, `update outbox set last_error = 'Temporal does not answer'`)
	got, err := s.Backlog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(operation.Backlog{Unsent: 1, LastError: "Temporal does not answer", Unsealed: got.Unsealed}, got,
		cmpopts.IgnoreFields(operation.Backlog{}, "OldestUnsent", "OldestRow")); diff != "" || got.Unsealed == 0 || got.OldestRow.IsZero() || got.OldestUnsent.IsZero() {
		t.Errorf("backlog (-want +got):\n%s%+v", diff, got)
	}
}

// TestPagesOfALargeOperation holds that a page of an operation with 5,000 runs stays quick. The bound is
// far above what it takes (some 20 ms) and far below what reading all steps takes.
func TestPagesOfALargeOperation(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	execSQL(t, s, fmt.Sprintf(`
		insert into run (operation, asset, ordinal, name, serial, site, rack, profile, target)
			select '%[1]s', i, i, 'srv-' || i, 'SN' || i, 'ams01', 'r' || i / 40, 'compute@1', (select target from run where asset = 1)
			from generate_series(2, 5000) i`, op))
	execSQL(t, s, fmt.Sprintf(`
		insert into step (operation, asset, name, ordinal, kind, version, title, unskippable, state)
			select '%[1]s', i, 'step-' || n, n, 'kind', 1, 'Title', false, 'pending' from generate_series(2, 5000) i, generate_series(1, 12) n`, op))
	execSQL(t, s, `analyze`)
	began := time.Now()
	rows, more, err := s.ListRuns(t.Context(), operation.RunFilter{Operation: op, Limit: 100, Skip: 2500})
	if err != nil || len(rows) != 100 || !more || rows[0].Of != 12 {
		t.Errorf("%d rows, more %v, %v", len(rows), more, err)
	}
	if _, err := s.LiveRuns(t.Context(), op, nil); err != nil {
		t.Error(err)
	}
	if loads, err := s.RackLoads(t.Context(), "", nil); err != nil || len(loads) != 126 {
		t.Errorf("%d racks, %v", len(loads), err)
	}
	took := time.Since(began)
	t.Logf("three queries of an operation of 5,000 runs: %s", took)
	if took > 3*time.Second {
		t.Errorf("they took %s", took)
	}
}
