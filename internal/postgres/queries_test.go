package postgres_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

// What the API asks of its store, this one gives.
var _ api.Store = (*postgres.Store)(nil)

func TestListOperations(t *testing.T) {
	s := pgtest.New(t)
	ask := func(actor, site string, ids ...asset.ID) operation.ID {
		r := request(t, ids...)
		for i := range r.Plan.Targets {
			r.Plan.Targets[i].Asset.Site = site
		}
		var err error
		if r.Plan, err = plan.Seal(r.Plan); err != nil {
			t.Fatal(err)
		}
		r.Actor = actor
		return create(t, s, r)
	}
	made := []operation.ID{ask("ada", "ams01", 1, 2), ask("bob", "fra01", 3), ask("ada", "fra01", 4)}
	slices.Sort(made) // IDs of one millisecond sort by chance
	byActor := map[string][]operation.ID{}
	all, err := s.ListOperations(t.Context(), operation.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		byActor[o.Actor+"@"+o.Sites[0]] = append(byActor[o.Actor+"@"+o.Sites[0]], o.ID)
	}
	ams, fra, bob := byActor["ada@ams01"][0], byActor["ada@fra01"][0], byActor["bob@fra01"][0]
	finish(t, s, bob, 3, operation.Done)
	newest := []operation.ID{made[2], made[1], made[0]}
	only := func(want ...operation.ID) []operation.ID {
		return slices.DeleteFunc(slices.Clone(newest), func(id operation.ID) bool { return !slices.Contains(want, id) })
	}
	tests := []struct {
		name string
		f    operation.Filter
		want []operation.ID
	}{
		{"all", operation.Filter{}, newest},
		{"state", operation.Filter{States: []operation.State{operation.Done, operation.Failed}}, only(bob)},
		{"site", operation.Filter{Site: "fra01"}, only(fra, bob)},
		{"allowed sites", operation.Filter{Sites: []string{"ams01", "lon01"}}, only(ams)},
		{"site that is not allowed", operation.Filter{Site: "fra01", Sites: []string{"ams01"}}, nil},
		{"asset", operation.Filter{Asset: 2}, only(ams)},
		{"actor", operation.Filter{Actor: "ada"}, only(ams, fra)},
		{"limit", operation.Filter{Limit: 1}, newest[:1]},
		{"page", operation.Filter{Limit: 1, Before: newest[0]}, newest[1:2]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := s.ListOperations(t.Context(), tt.f)
			if err != nil {
				t.Fatal(err)
			}
			var got []operation.ID
			for _, o := range list {
				got = append(got, o.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGetPlan(t *testing.T) {
	s := pgtest.New(t)
	r := request(t, 2, 1, 3)
	op := create(t, s, r)
	got, err := s.GetPlan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Plan, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	execSQL(t, s, `update run set target = jsonb_set(target, '{asset,serial}', '"EVIL"') where asset = 1`)
	_, err = s.GetPlan(t.Context(), op)
	wantCode(t, err, fault.Internal)
	_, err = s.GetPlan(t.Context(), operation.NewID(noon))
	wantCode(t, err, fault.NotFound)
}

func TestRunsOfOperationAndAsset(t *testing.T) {
	s := pgtest.New(t)
	first := create(t, s, request(t, 1, 2))
	finish(t, s, first, 1, operation.Aborted)
	var second operation.ID
	for second <= first { // IDs of one millisecond sort by chance
		r := request(t, 1)
		r.ID = operation.NewID(noon.Add(1000000000))
		second = create(t, s, r)
	}
	got, err := s.AssetHistory(t.Context(), 1, 0)
	if err != nil || len(got) != 2 || got[0].Operation != second || got[1].State != operation.Aborted || len(got[1].Steps) != 3 {
		t.Errorf("history = %+v, %v, want the newest first, with steps", got, err)
	}
	if got, err = s.AssetHistory(t.Context(), 1, 1); err != nil || len(got) != 1 {
		t.Errorf("history with limit 1 = %d runs, %v", len(got), err)
	}
	run, err := s.GetRun(t.Context(), first, 2)
	if err != nil || run.Asset.Name != "srv-2" || len(run.Steps) != 3 {
		t.Errorf("run = %+v, %v", run, err)
	}
	_, err = s.GetRun(t.Context(), second, 2)
	wantCode(t, err, fault.NotFound)
	_, err = s.GetOperation(t.Context(), operation.NewID(noon))
	wantCode(t, err, fault.NotFound)
}

func TestEvents(t *testing.T) {
	s := pgtest.New(t)
	a, b := create(t, s, request(t, 1)), create(t, s, request(t, 2))
	claim(t, s, a, 1)
	record(t, s, operation.Transition{Operation: a, Asset: 1, Seq: 1, State: operation.Running, Step: "preflight", Steps: []operation.StepChange{
		{Step: "preflight", State: operation.StepRunning, Attempt: 1, Progress: &operation.Progress{Text: "reading", Percent: 50}}}})
	record(t, s, operation.Transition{Operation: a, Asset: 1, Seq: 2, State: operation.Done})
	if err := s.Audit(t.Context(), operation.AuditEntry{At: noon, Actor: "bob", Action: "operation.pause", Subject: "srv-2", Operation: b}); err != nil {
		t.Fatal(err)
	}
	get := func(f operation.EventFilter) []operation.Event {
		t.Helper()
		out, err := s.Events(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	type brief struct {
		Kind, Step, Text string
		State            operation.State
	}
	briefs := func(events []operation.Event) (out []brief) {
		for _, e := range events {
			out = append(out, brief{e.Kind, e.Step, e.Text, e.State})
		}
		return out
	}
	if last, err := s.LastEvent(t.Context()); err != nil || last != 7 {
		t.Errorf("LastEvent = %d, %v, want 7", last, err)
	}
	all := get(operation.EventFilter{})
	for i, e := range all {
		if e.Seq != int64(i+1) {
			t.Errorf("event %d has number %d: there must be no gaps", i, e.Seq)
		}
	}
	want := []brief{
		{"requested", "", "install of 1 asked for: rack r12", operation.Queued},
		{"transition", "", "begun", operation.Running},
		{"transition", "preflight", "reading", operation.Running},
		{"transition", "", "done", operation.Done},
		{"ended", "", "ended: 1 done, 0 aborted, 0 failed", operation.Done},
	}
	if diff := cmp.Diff(want, briefs(get(operation.EventFilter{Operation: a}))); diff != "" {
		t.Errorf("events of %s (-want +got):\n%s", a, diff)
	}
	want = []brief{
		{"requested", "", "install of 1 asked for: rack r12", operation.Queued},
		{"command", "", "bob: operation.pause srv-2", operation.Queued},
	}
	if diff := cmp.Diff(want, briefs(get(operation.EventFilter{Operation: b}))); diff != "" {
		t.Errorf("events of %s (-want +got):\n%s", b, diff)
	}
	if got := get(operation.EventFilter{After: all[2].Seq, Limit: 2}); len(got) != 2 || got[0].Seq != all[3].Seq {
		t.Errorf("events after %d = %+v", all[2].Seq, got)
	}
	if got := get(operation.EventFilter{Sites: []string{"fra01"}}); len(got) != 0 {
		t.Errorf("%d events of a site that has none", len(got))
	}
	if got := get(operation.EventFilter{Sites: []string{"ams01"}}); len(got) != len(all) {
		t.Errorf("%d events of the site, want all %d", len(got), len(all))
	}
}

// Transactions that insert first may commit last. A reader that goes on after the last number must
// still see every event.
func TestEventsMissNothing(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2, 3, 4))
	const each = 25
	var wg sync.WaitGroup
	for id := range asset.ID(4) {
		claim(t, s, op, id+1)
		wg.Go(func() {
			for seq := range int64(each) {
				if err := s.Record(t.Context(), operation.Transition{Operation: op, Asset: id + 1, Seq: seq + 1, At: noon, State: operation.Running}); err != nil {
					t.Errorf("Record: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var after int64
	seen, perAsset := 0, map[asset.ID]int{}
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		events, err := s.Events(t.Context(), operation.EventFilter{After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Seq != after+1 {
				t.Fatalf("event %d after %d", e.Seq, after)
			}
			after = e.Seq
			seen++
			perAsset[e.Asset]++
		}
	}
	if want := 1 + 4*(1+each); seen != want {
		t.Errorf("saw %d events, want %d: %v", seen, want, perAsset)
	}
}
