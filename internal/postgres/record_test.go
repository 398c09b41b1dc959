package postgres_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func TestClaim(t *testing.T) {
	s := pgtest.New(t)
	r := request(t, 1, 2)
	op := create(t, s, r)
	ask := func(id asset.ID, run string) (activities.Claim, error) {
		return s.Claim(t.Context(), activities.ClaimRequest{Operation: op, Asset: id, RunID: run})
	}
	got, err := ask(1, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	want := activities.Claim{Target: r.Plan.Targets[0], Hash: r.Plan.Hash}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claim (-want +got):\n%s", diff)
	}
	if again, err := ask(1, "run-1"); err != nil || !cmp.Equal(again, got) {
		t.Errorf("the same run claims again = %+v, %v, want the same claim", again, err)
	}
	_, err = ask(1, "run-2")
	if f := wantCode(t, err, fault.Locked); f.Holder != string(op) {
		t.Errorf("holder = %q, want %s", f.Holder, op)
	}
	_, err = ask(3, "run-1")
	wantCode(t, err, fault.NotFound)
	_, err = ask(1, "")
	wantCode(t, err, fault.Invalid)

	record(t, s, operation.Transition{Operation: op, Asset: 2, Seq: 1, State: operation.Aborted})
	_, err = ask(2, "run-1")
	wantCode(t, err, fault.Aborted)

	// After it ended, the claim still belongs to the run that had it.
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Done})
	if c, err := ask(1, "run-1"); err != nil || c.LastSeq != 1 {
		t.Errorf("claim after the end = %+v, %v", c, err)
	}
	_, err = ask(1, "run-2")
	wantCode(t, err, fault.Locked)
}

func TestRecordProjectsARun(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	change := func(c ...operation.StepChange) []operation.StepChange { return c }
	failure := fault.New(fault.Unreachable, "10.0.0.1: no answer")

	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, At: at(1), State: operation.Running, Step: "preflight",
		Steps: change(operation.StepChange{Step: "preflight", State: operation.StepRunning, Attempt: 1})})
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 2, At: at(2), State: operation.Running, Step: "identity",
		Steps: change(operation.StepChange{Step: "preflight", State: operation.StepAlready, Attempt: 1, Summary: "record complete"},
			operation.StepChange{Step: "identity", State: operation.StepRunning, Attempt: 1, Round: 1,
				Progress: &operation.Progress{Text: "logging in", Percent: -1}})})
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 3, At: at(3), State: operation.Waiting, Step: "identity", Error: failure,
		Steps: change(operation.StepChange{Step: "identity", State: operation.StepParked, Attempt: 1, Round: 2, Error: failure})})
	parked, err := s.GetOperation(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if parked.State != operation.Waiting || parked.Counts[operation.Waiting] != 1 || parked.Runs[0].Error == nil {
		t.Errorf("parked operation = %+v", parked)
	}
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 4, At: at(4), State: operation.Running, Step: "identity",
		Actor: "bob", Action: operation.Retry, Reason: "cable fixed",
		Steps: change(operation.StepChange{Step: "identity", State: operation.StepRunning, Attempt: 2})})
	write := plan.Write{System: "netbox", Object: "device srv-1", Field: "status", Before: "planned", After: "staged"}
	ev := operation.Evidence{Kind: "identity", Title: "who it is", Data: json.RawMessage(`{"serial":"SN1","note":"a\u0000b"}`)}
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 5, At: at(5), State: operation.Done,
		Learned: &operation.Known{Serial: "SN1", Pin: "AA:BB", Secret: "bmc/SN1"},
		Steps: change(operation.StepChange{Step: "identity", State: operation.StepDone, Attempt: 2, Summary: "SN1 proved",
			Writes: []plan.Write{write}, Evidence: []operation.Evidence{ev}})})

	got, err := s.GetOperation(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	got.Runs[0].Started, got.Started = time.Time{}, time.Time{} // the database's clock
	if first := &got.Runs[0].Steps[1].Attempts[0]; first.Error == nil || first.Error.Message != failure.Message {
		t.Errorf("the first attempt's error is %v, want %v", first.Error, failure)
	} else {
		first.Error = nil
	}
	want := operation.Detail{
		Summary: operation.Summary{ID: op, Kind: "install", Until: "hardware", State: operation.Done, Actor: "ada", Reason: "rack r12",
			Ticket: "DC-42", Hash: got.Hash, Window: 4, Sites: []string{"ams01"}, Assets: 1,
			Counts: map[operation.State]int{operation.Done: 1}, Created: noon, Ended: at(5)},
		Runs: []operation.Run{{
			Operation: op, Asset: target(1).Asset, Profile: "compute@1", State: operation.Done, Seq: 5, Updated: at(5), Ended: at(5),
			Steps: []operation.Step{
				{Name: "preflight", Kind: "preflight", Title: "Do preflight", State: operation.StepAlready, Attempt: 1,
					Summary: "record complete", Started: at(1), Ended: at(2), Attempts: []operation.Attempt{
						{Number: 1, State: operation.StepAlready, Summary: "record complete", Started: at(1), Ended: at(2)}}},
				{Name: "identity", Kind: "identity", Title: "Do identity", State: operation.StepDone, Attempt: 2, Summary: "SN1 proved",
					Writes: []plan.Write{write},
					Evidence: []operation.Evidence{{Kind: "identity", Title: "who it is", Data: json.RawMessage(`{"note": "a�b", "serial": "SN1"}`),
						Attempt: 2, At: at(5), Digest: "e742ec999b220e2b9407c638ce957df13ea40070fbaa5fced24fe965bbc791f2"}},
					Attempts: []operation.Attempt{ // the first one's reason is not lost with the second
						{Number: 1, State: operation.StepParked, Rounds: 2, Started: at(2), Ended: at(3)},
						{Number: 2, State: operation.StepDone, Summary: "SN1 proved", Started: at(4), Ended: at(5)}},
					Started: at(2), Ended: at(5)},
				{Name: "bios", Kind: "bios", Title: "Do bios", State: operation.StepNotApplicable, Summary: "the profile has no BIOS settings"},
			},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operation (-want +got):\n%s", diff)
	}
	if n := count(t, s, `select count(*) from step_attempt where step = 'identity' and (attempt, state) in ((1, 'parked'), (2, 'done'))`); n != 2 {
		t.Errorf("%d attempts of identity as expected, want 2", n)
	}
	if known, err := s.Known(t.Context(), target(1).Asset); err != nil || known.Pin != "AA:BB" || known.Secret != "bmc/SN1" {
		t.Errorf("known = %+v, %v", known, err)
	}
	if n := count(t, s, `select count(*) from asset_move where asset = 1 and from_status = 'planned' and to_status = 'staged' and cause = 'moved'`); n != 1 {
		t.Errorf("%d moves planned -> staged, want 1", n)
	}
	if n := count(t, s, `select count(*) from audit where action = 'run.retry' and actor = 'bob'`); n != 1 {
		t.Errorf("%d audit rows of bob's retry, want 1", n)
	}
	if n := count(t, s, `select count(*) from audit where detail like '%"before":"planned","after":"staged"%' and detail like '%"digest":"%'`); n != 1 {
		t.Errorf("%d audit rows hold the write and the evidence's digest, want 1", n)
	}
}

func TestRecordIsIdempotent(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	tr := operation.Transition{Operation: op, Asset: 1, Seq: 2, State: operation.Running, Step: "preflight",
		Steps: []operation.StepChange{{Step: "preflight", State: operation.StepDone, Attempt: 1, Summary: "fine",
			Evidence: []operation.Evidence{{Kind: "k", Title: "t", Data: json.RawMessage(`{}`)}}}}}
	record(t, s, tr)
	rows := func() [3]int {
		return [3]int{count(t, s, `select count(*) from event`), count(t, s, `select count(*) from evidence`), count(t, s, `select count(*) from audit`)}
	}
	before := rows()
	record(t, s, tr)
	older := tr
	older.Seq, older.State = 1, operation.Waiting
	record(t, s, older)
	if after := rows(); after != before {
		t.Errorf("events, evidence, audit rows = %v after repeats, were %v", after, before)
	}
	if d, err := s.GetOperation(t.Context(), op); err != nil || d.State != operation.Running || d.Runs[0].Seq != 2 {
		t.Errorf("operation = %+v, %v", d, err)
	}
}

func TestRecordRefusesAndKeepsNothing(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	tests := []struct {
		name string
		t    operation.Transition
		want fault.Code
	}{
		{"no sequence number", operation.Transition{Asset: 1, State: operation.Running, At: noon}, fault.Invalid},
		{"no such asset", operation.Transition{Asset: 9, Seq: 1, State: operation.Running, At: noon}, fault.NotFound},
		{"illegal state", operation.Transition{Asset: 1, Seq: 1, State: operation.Queued, At: noon}, fault.Conflict},
		{"unknown state", operation.Transition{Asset: 1, Seq: 1, State: "dancing", At: noon}, fault.Conflict},
		{"unknown step", operation.Transition{Asset: 1, Seq: 1, State: operation.Running, At: noon,
			Steps: []operation.StepChange{{Step: "preflight", State: operation.StepRunning, Attempt: 1}, {Step: "nap", State: operation.StepRunning}}}, fault.Invalid},
		{"illegal lifecycle move", operation.Transition{Asset: 1, Seq: 1, State: operation.Running, At: noon,
			Steps: []operation.StepChange{{Step: "preflight", State: operation.StepDone, Attempt: 1,
				Writes: []plan.Write{{System: "netbox", Object: "device", Field: "status", Before: "planned", After: "active"}}}}}, fault.IllegalMove},
		{"evidence that is not JSON", operation.Transition{Asset: 1, Seq: 1, State: operation.Running, At: noon,
			Steps: []operation.StepChange{{Step: "preflight", State: operation.StepDone, Attempt: 1,
				Evidence: []operation.Evidence{{Kind: "k", Data: json.RawMessage(`{`)}}}}}, fault.Invalid},
	}
	before := count(t, s, `select count(*) from event`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.t.Operation = op
			wantCode(t, s.Record(t.Context(), tt.t), tt.want)
			if n := count(t, s, `select (select count(*) from step_attempt) + (select count(*) from step_write) + (select seq from run)`); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
	if after := count(t, s, `select count(*) from event`); after != before {
		t.Errorf("%d events, want %d", after, before)
	}
}

func TestRecordLargeEvidence(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	big, err := json.Marshal(strings.Repeat("x", inlineLimit))
	if err != nil {
		t.Fatal(err)
	}
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Running, Steps: []operation.StepChange{
		{Step: "preflight", State: operation.StepDone, Attempt: 1, Evidence: []operation.Evidence{{Kind: "sel", Title: "log", Data: big}}}}})
	d, err := s.GetOperation(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		SHA256 string `json:"sha256"`
		Size   int    `json:"size"`
	}
	if err := json.Unmarshal(d.Runs[0].Steps[0].Evidence[0].Data, &ref); err != nil || ref.Size != len(big) {
		t.Fatalf("evidence = %s, %v, want a reference", d.Runs[0].Steps[0].Evidence[0].Data, err)
	}
	if got := d.Runs[0].Steps[0].Evidence[0]; got.Blob != ref.SHA256 || got.Attempt != 1 || got.Digest == "" || got.At.IsZero() {
		t.Errorf("evidence = %+v, want where it is, its digest and when", got)
	}
	for _, sites := range [][]string{nil, {"fra01", "ams01"}} {
		blob, err := s.EvidenceBlob(t.Context(), ref.SHA256, sites)
		if err != nil || string(blob) != string(big) {
			t.Errorf("EvidenceBlob(%v) = %d bytes, %v, want %d", sites, len(blob), err, len(big))
		}
	}
	_, err = s.EvidenceBlob(t.Context(), ref.SHA256, []string{"fra01"})
	wantCode(t, err, fault.NotFound)
	_, err = s.EvidenceBlob(t.Context(), "00", nil)
	wantCode(t, err, fault.NotFound)
	execSQL(t, s, `update evidence_blob set data = '"y"'`)
	_, err = s.EvidenceBlob(t.Context(), ref.SHA256, nil)
	wantCode(t, err, fault.Internal)
}

// inlineLimit is the limit that DECISIONS 4 sets.
const inlineLimit = 32 << 10

func TestOperationEndsWithItsLastRun(t *testing.T) {
	tests := []struct {
		ends []operation.State
		want operation.State
	}{
		{[]operation.State{operation.Done, operation.Done}, operation.Done},
		{[]operation.State{operation.Aborted, operation.Done}, operation.Aborted},
		{[]operation.State{operation.Aborted, operation.Failed, operation.Done}, operation.Failed},
	}
	s := pgtest.New(t)
	for _, tt := range tests {
		ids := make([]asset.ID, len(tt.ends))
		for i := range ids {
			ids[i] = asset.ID(i + 1)
		}
		op := create(t, s, request(t, ids...))
		counts := map[operation.State]int{operation.Queued: len(ids)}
		for i, end := range tt.ends {
			finish(t, s, op, ids[i], end)
			counts[operation.Queued]--
			counts[end]++
			d, err := s.GetOperation(t.Context(), op)
			if err != nil {
				t.Fatal(err)
			}
			if want := operation.Combine(counts); d.State != want {
				t.Errorf("%v after %d runs: state %s, Go's Combine says %s", tt.ends, i+1, d.State, want)
			}
			if last := i == len(ids)-1; last != !d.Ended.IsZero() {
				t.Errorf("%v after %d runs: ended at %v", tt.ends, i+1, d.Ended)
			}
		}
		if d, _ := s.GetOperation(t.Context(), op); d.State != tt.want {
			t.Errorf("%v: operation is %s, want %s", tt.ends, d.State, tt.want)
		}
		if n := count(t, s, `select count(*) from event where operation = $1 and body->>'kind' = 'ended'`, op); n != 1 {
			t.Errorf("%v: %d events say that it ended, want 1", tt.ends, n)
		}
	}
}

// A run whose workflow is gone ends as failed, with its steps, and frees the machine; one that told
// its end before is left as it is.
func TestRecordLost(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	lost := func(id asset.ID) operation.Transition {
		return operation.Transition{Operation: op, Asset: id, Seq: operation.SeqLost, State: operation.Failed, Error: fault.New(fault.Internal, "gone")}
	}
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Running})
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 2, State: operation.Done})
	record(t, s, lost(1))
	record(t, s, operation.Transition{Operation: op, Asset: 2, Seq: 1, State: operation.Running, Step: "identity",
		Steps: []operation.StepChange{{Step: "identity", State: operation.StepRunning, Attempt: 1}}})
	record(t, s, lost(2))
	d, err := s.GetOperation(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if d.Runs[0].State != operation.Done || d.Runs[0].Error != nil {
		t.Errorf("the run that had ended is %s, %v", d.Runs[0].State, d.Runs[0].Error)
	}
	if d.State != operation.Failed || d.Runs[1].State != operation.Failed || d.Runs[1].Error == nil {
		t.Errorf("the operation is %s, the lost run %s, %v", d.State, d.Runs[1].State, d.Runs[1].Error)
	}
	for _, st := range d.Runs[1].Steps {
		if !st.State.Ended() {
			t.Errorf("step %s is %s", st.Name, st.State)
		}
	}
	holders, err := s.CurrentHolders(t.Context(), []asset.ID{2})
	if err != nil || len(holders) != 0 {
		t.Errorf("held by %v, %v", holders, err)
	}
}

func TestLearned(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	learn := func(seq int64, k operation.Known) {
		record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: seq, State: operation.Running, Step: "identity", Learned: &k})
	}
	want := func(ref asset.Ref, k operation.Known) {
		t.Helper()
		got, err := s.Known(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(k, got); diff != "" {
			t.Errorf("known (-want +got):\n%s", diff)
		}
	}
	ref := target(1).Asset
	learn(1, operation.Known{Serial: "SN1", Pin: "AA", Quirks: []string{"dell"}})
	learn(2, operation.Known{Secret: "bmc/SN1"})
	want(ref, operation.Known{Serial: "SN1", Pin: "AA", Secret: "bmc/SN1", Quirks: []string{"dell"}})
	learn(3, operation.Known{Pin: "BB"})
	want(ref, operation.Known{Serial: "SN1", Pin: "BB", Secret: "bmc/SN1", Quirks: []string{"dell"}})
	if n := count(t, s, `select count(*) from audit where action = 'bmc.pin'`); n != 2 {
		t.Errorf("%d audit rows of pin changes, want 2", n)
	}
	// A new machine behind the same NetBox device has none of this.
	other := ref
	other.Serial = "NEW"
	want(other, operation.Known{})
}

func TestInstallHistories(t *testing.T) {
	s := pgtest.New(t)
	status := func(op operation.ID, id asset.ID, seq int64, from, to string) {
		record(t, s, operation.Transition{Operation: op, Asset: id, Seq: seq, State: operation.Running, Steps: []operation.StepChange{
			{Step: "identity", State: operation.StepDone, Attempt: 1,
				Writes: []plan.Write{{System: "netbox", Field: "status", Before: from, After: to}}}}})
	}
	op := create(t, s, request(t, 1, 2, 3))
	claim(t, s, op, 1) // began, never active
	claim(t, s, op, 2)
	status(op, 2, 1, "planned", "staged")
	status(op, 2, 2, "staged", "active")
	got, err := s.InstallHistories(t.Context(), []asset.ID{1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	want := map[asset.ID]operation.InstallHistory{1: {InstallBegan: true}, 2: {EverActive: true}}
	if got[2].Staged.IsZero() {
		t.Error("asset 2 was moved to staged, and the history does not say when")
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(operation.InstallHistory{}, "Staged")); diff != "" {
		t.Errorf("histories (-want +got):\n%s", diff)
	}
}

// A status that was only seen is a past, too: people move machines by hand.
func TestObserveStatus(t *testing.T) {
	s := pgtest.New(t)
	for i, status := range []asset.Status{asset.Staged, asset.Active, asset.Active, asset.Failed} {
		if err := s.ObserveStatus(t.Context(), 5, status, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, `select count(*) from asset_move where asset = 5 and cause = 'observed'`); n != 3 {
		t.Errorf("%d moves, want staged, active and failed", n)
	}
	got, err := s.InstallHistories(t.Context(), []asset.ID{5})
	if err != nil || !got[5].EverActive {
		t.Errorf("history %+v, %v", got[5], err)
	}
}
