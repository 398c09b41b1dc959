package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

var night = time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)

// parked starts an operation of a machine that waits at its second try, as the store and the BMC tell it.
func parked(t *testing.T) (*apitest.API, operation.ID) {
	t.Helper()
	a := loggedIn(t, 3, operation.Admin)
	id := install(t, "srv-01", "srv-02")
	f := fault.New(fault.NotConverged, "BIOS: 1 of 12 settings is still different after 3 rounds")
	f.Details = []fault.Item{{Subject: "ProcVirtualization", Expected: "Enabled", Seen: "Disabled"}}
	a.Store.Move(id, "srv-01", operation.Waiting, "stage", operation.StepParked, f)
	diagnosis := `{"power":"On","boot_progress":"MemoryInitializationStarted","events":[
		{"id":"9","log":"/l","time":"2026-03-04T02:58:11Z","severity":"Critical","message":"Uncorrectable ECC, DIMM A1","code":"MEM0001"},
		{"id":"8","log":"/l","time":"2026-03-04T02:57:00Z","severity":"OK","message":"Host reset"}],"unread":["event log: page 3 timed out"]}`
	big, err := json.Marshal(map[string]string{"sel": strings.Repeat("x", 40000)})
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("cd", 32)
	a.Store.Keep(sum, big)
	digest := func(raw string) string {
		d, err := plan.Digest(json.RawMessage(raw))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a.Store.Edit(id, "srv-01", func(r *operation.Run) {
		s := &r.Steps[1]
		s.Attempt = 2
		s.Attempts = []operation.Attempt{
			{Number: 1, State: operation.StepParked, Error: fault.New(fault.Unreachable, "10.0.8.1: no answer"), Started: night, Ended: night.Add(time.Minute)},
			{Number: 2, State: operation.StepParked, Error: f, Started: night.Add(time.Hour), Ended: night.Add(2 * time.Hour)},
		}
		s.Evidence = []operation.Evidence{
			{Kind: "diagnosis", Title: "Power, boot progress and the event log's tail", Data: json.RawMessage(diagnosis), Attempt: 2, At: night.Add(2 * time.Hour), Digest: digest(diagnosis)},
			{Kind: "sel", Title: "All of it", Data: json.RawMessage(`{"sha256":"` + sum + `","size":40010}`), Blob: sum, Attempt: 2, At: night, Digest: digest(string(big))},
		}
	})
	return a, id
}

func TestShowTellsWhatANightShiftNeeds(t *testing.T) {
	_, id := parked(t)
	r := run(t, "", "op", "show", string(id), "--asset", "srv-01")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	golden(t, "op-show-parked.txt", r.out)
}

func TestEvidenceIsPrintedWholeAndSaved(t *testing.T) {
	a, id := parked(t)
	r := run(t, "", "op", "evidence", string(id), "--asset", "SN001", "-o", "json")
	var got []piece
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 || len(got) != 2 {
		t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if got[1].Step != "stage" || len(got[1].Data) < 40000 {
		t.Errorf("large evidence of step %q has %d bytes", got[1].Step, len(got[1].Data))
	}
	if r := run(t, "", "op", "evidence", string(id), "--asset", "srv-01", "--kind", "diagnosis"); !strings.Contains(r.out, "Uncorrectable ECC, DIMM A1") || strings.Contains(r.out, "xxx") {
		t.Errorf("as text: %s", r.out)
	}
	if r := run(t, "", "op", "evidence", string(id), "--asset", "srv-01", "--save", "kept"); r.code != 0 {
		t.Errorf("save: %s", r.err)
	}
	raw, err := os.ReadFile(filepath.Join("kept", "srv-01-02-stage-sel.json"))
	if err != nil || len(raw) < 40000 {
		t.Errorf("saved %d bytes, %v", len(raw), err)
	}
	if r := run(t, "", "op", "evidence", string(id), "--asset", "srv-01", "--step", "nonsense"); r.code != ExitUsage {
		t.Errorf("no such step: exit %d, %s", r.code, r.err)
	}
	a.Store.Keep(strings.Repeat("cd", 32), json.RawMessage(`{"sel":"something else"}`))
	if r := run(t, "", "op", "evidence", string(id), "--asset", "srv-01", "-o", "json"); r.code != ExitFailure || !strings.Contains(r.err, "does not match the digest") {
		t.Errorf("changed evidence: exit %d, %s", r.code, r.err)
	}
}

func TestSkipMeansTheStepThatWasSeen(t *testing.T) {
	a, id := parked(t)
	skip := func(args ...string) result {
		return run(t, "", append([]string{"op", "skip", string(id), "--reason", "no such part"}, args...)...)
	}
	if r := skip("--all"); r.code != ExitUsage || len(a.Runs.Told()) > 0 {
		t.Errorf("skip --all without a step: exit %d, %s", r.code, r.err)
	}
	if r := skip("--asset", "srv-01,srv-02"); r.code != ExitUsage {
		t.Errorf("skip of two without a step: exit %d, %s", r.code, r.err)
	}
	if r := skip("--asset", "srv-01", "--step", "identity"); r.code != ExitRefused || !strings.Contains(r.out, `the run is at "stage"`) {
		t.Errorf("skip of another step: exit %d, %s%s", r.code, r.out, r.err)
	}
	if r := skip("--asset", "srv-01"); r.code != 0 || !strings.Contains(r.err, "step stage of srv-01") {
		t.Errorf("skip of one: exit %d, %s%s", r.code, r.out, r.err)
	}
	if got := a.Runs.Steps(); len(got) != 2 || got[1] != "srv-01 stage" {
		t.Errorf("steps that were named: %q", got)
	}
}

func TestRetryWaits(t *testing.T) {
	a, id := parked(t)
	a.Store.Move(id, "srv-02", operation.Done, "stage", operation.StepDone, nil)
	a.Runs.After = func(id operation.ID, name string) {
		a.Store.Move(id, name, operation.Done, "stage", operation.StepDone, nil)
	}
	r := run(t, "", "op", "retry", string(id), "--asset", "srv-01", "--wait", "-o", "json")
	var d operation.Detail
	if err := json.Unmarshal([]byte(r.out), &d); err != nil || r.code != 0 || d.State != operation.Done {
		t.Errorf("exit %d, %v, %s: %s%s", r.code, err, d.State, r.out, r.err)
	}
}

func TestWhatTheAdministratorsVerbsAnswer(t *testing.T) {
	a, id := parked(t)
	for _, tc := range []struct {
		args       []string
		code       int
		out, noErr string
	}{
		{[]string{"asset", "list", "--rack", "r12"}, 0, "srv-03", ""},
		{[]string{"asset", "list", "--site", "ams01"}, ExitUsage, "", ""},
		{[]string{"bmc", "password", "srv-01"}, ExitUsage, "", ""},
		{[]string{"bmc", "password", "srv-01", "--reason", "console"}, 0, "factory-of-SN001", "factory-of"},
		{[]string{"audit-log", "list", "--actor", "alice"}, 0, "secret.reveal", ""},
		{[]string{"audit-log", "list", "--since", "tomorrow"}, ExitUsage, "", ""},
		{[]string{"audit-log", "list", "--all", "-o", "json"}, 0, `"action": "secret.reveal"`, ""},
		{[]string{"audit-log", "accept-restore"}, ExitUsage, "", ""},
		{[]string{"firmware", "remove", "nothing.bin"}, ExitRefused, "", ""},
		{[]string{"op", "show", string(id), "--asset", "srv-77"}, ExitRefused, "", ""}, // as install and asset show
		{[]string{"op", "evidence", string(id), "--asset", "srv-77"}, ExitRefused, "", ""},
		{[]string{"op", "retry", string(id), "--asset", "srv-77"}, ExitRefused, "", ""},
		{[]string{"op", "abort", string(id), "--asset", "srv-77"}, ExitRefused, "", ""},
	} {
		r := run(t, "", tc.args...)
		if r.code != tc.code || !strings.Contains(r.out, tc.out) || tc.noErr != "" && strings.Contains(r.err, tc.noErr) {
			t.Errorf("%v: exit %d, want %d, with %q\n%s%s", tc.args, r.code, tc.code, tc.out, r.out, r.err)
		}
	}
	for _, args := range [][]string{{"token", "revoke", revocable(t, a)}, {"login", a.URL}} {
		r := run(t, a.Token(t, "bob", operation.Viewer)+"\n", append(args, "-o", "json")...)
		var got map[string]any
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 0 || len(got) == 0 {
			t.Errorf("%v -o json: exit %d, %v: %s%s", args[:2], r.code, err, r.out, r.err)
		}
	}
}

// revocable gives the ID of a token that is not needed.
func revocable(t *testing.T, a *apitest.API) string {
	t.Helper()
	a.Token(t, "zoe", operation.Viewer)
	list, err := a.Store.ListTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list[len(list)-1].ID
}

func TestGoOnAfterAnotherCertificateTakesTheFingerprint(t *testing.T) {
	a := loggedIn(t, 1, operation.Operator)
	id := install(t, "srv-01")
	a.Store.Move(id, "srv-01", operation.Waiting, "identity", operation.StepParked, fault.New(fault.PinChanged, "another certificate"))
	r := run(t, "", "op", "show", string(id), "--asset", "srv-01")
	if want := "op retry " + string(id) + " --asset srv-01 --accept-pin FINGERPRINT"; !strings.Contains(r.out, want) {
		t.Errorf("no %q in\n%s%s", want, r.out, r.err)
	}
	if r := run(t, "", "op", "retry", string(id), "--asset", "srv-01", "--accept-pin", "AA"); r.code == 0 || !strings.Contains(r.err, "64 hex digits") {
		t.Errorf("half a fingerprint: exit %d, %s", r.code, r.err)
	}
}

func TestAnEndedOperationIsNotHeld(t *testing.T) {
	a := loggedIn(t, 1, operation.Operator)
	id := install(t, "srv-01")
	a.Store.Move(id, "srv-01", operation.Running, "identity", operation.StepRunning, nil)
	held := func() bool {
		r := run(t, "", "op", "show", string(id))
		return strings.Contains(r.out, "paused as a whole")
	}
	if r := run(t, "", "op", "pause", string(id), "--all"); r.code != 0 || !held() {
		t.Fatalf("pause: exit %d, %s; held %v", r.code, r.err, held())
	}
	a.Store.Move(id, "srv-01", operation.Aborted, "identity", operation.StepAborted, nil)
	if held() {
		t.Error("op show tells how to resume what has ended")
	}
}

func TestADumbTerminalIsNotRedrawn(t *testing.T) {
	for kind, want := range map[string]bool{"": false, "dumb": false, "xterm": true, "screen-256color": true} {
		if got := redraws(kind); got != want {
			t.Errorf("TERM=%q: %v, want %v", kind, got, want)
		}
	}
}

// A removal that was killed between the catalogue and the folder is ended by asking again, by SHA-256.
func TestAFirmwareFileThatOnlyTheFolderHasIsRemoved(t *testing.T) {
	a := loggedIn(t, 1, operation.Admin)
	if err := os.WriteFile("bios.bin", []byte("BIOS 2.1"), 0o600); err != nil {
		t.Fatal(err)
	}
	var added []operation.FirmwareFile
	r := run(t, "", "firmware", "add", "bios.bin", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &added); err != nil || len(added) != 1 {
		t.Fatalf("add: exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	sum := added[0].SHA256
	if err := a.Store.RemoveFirmware(t.Context(), sum); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "firmware", "remove", strings.ToUpper(sum)); r.code != ExitRefused || !strings.Contains(r.err, sum) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if f, err := a.Files.Open(sum); err == nil {
		f.Close()
		t.Error("the file is still there")
	}
}

func TestADeadWorkerIsNotShownAsUp(t *testing.T) {
	a := loggedIn(t, 1, operation.Admin)
	for _, worker := range []string{"w1", "w2"} {
		if _, err := a.As(t, operation.Worker, "ams01").Heartbeat(t.Context(), operation.Heartbeat{Site: "ams01", Worker: worker, Queue: "site-ams01", Clock: a.Clock.Now()}); err != nil {
			t.Fatal(err)
		}
		if worker == "w1" {
			a.Clock.Move(time.Minute)
		}
	}
	rows := map[string]string{}
	for line := range strings.Lines(run(t, "", "site", "list").out) {
		if f := strings.Fields(line); len(f) > 2 {
			rows[f[2]] = f[1]
		}
	}
	if rows["w1"] != "away" || rows["w2"] != "up" {
		t.Errorf("workers by state: %v, want w1 away and w2 up", rows)
	}
}
