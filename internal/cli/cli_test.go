package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/login"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

func TestEveryCommandSaysWhatItIsAndGivesAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q", c.CommandPath(), c.Short)
		}
		if !c.HasSubCommands() {
			if !strings.Contains(c.Example, c.CommandPath()) {
				t.Errorf("%s: no example shows it: %q", c.CommandPath(), c.Example)
			}
			if c.RunE == nil {
				t.Errorf("%s does nothing", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(New(Streams{}))
}

// TestExamplesParse holds every example to the flags that the command has.
func TestExamplesParse(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for line := range strings.SplitSeq(c.Example, "\n") {
			_, after, ok := strings.Cut(line, c.CommandPath()+" ")
			if !ok {
				continue
			}
			for _, word := range strings.Fields(after) {
				name, isFlag := strings.CutPrefix(word, "--")
				if name, _, _ = strings.Cut(name, "="); isFlag && name != "" && c.Flag(name) == nil {
					t.Errorf("%s: the example uses --%s, which there is not", c.CommandPath(), name)
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(New(Streams{}))
}

func TestOutputs(t *testing.T) {
	a := loggedIn(t, 3, operation.Admin)
	id := install(t, "srv-01", "srv-02", "srv-03")
	a.Store.Move(id, "srv-01", operation.Done, "stage", operation.StepDone, nil)
	mismatch := fault.New(fault.IdentityMismatch, "BMC 10.0.8.2 says serial SN999, NetBox says SN002")
	mismatch.Details = []fault.Item{{Subject: "serial", Expected: "SN002", Seen: "SN999"}}
	a.Store.Move(id, "srv-02", operation.Waiting, "identity", operation.StepParked, mismatch)
	a.Store.Move(id, "srv-03", operation.Running, "stage", operation.StepRunning, nil)
	a.Store.Installed(102, operation.Installed{Digest: "d1", OS: "debian 12", Kernel: "6.1.0-28-amd64", Operation: "op_01JD0000000000000000000000", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	firmwareFile := filepath.Join(t.TempDir(), "bios.bin")
	if err := os.WriteFile(firmwareFile, []byte("BIOS"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		golden string
		args   []string
		code   int
	}{
		{"op-list.txt", []string{"op", "list"}, 0},
		{"op-show.txt", []string{"op", "show", string(id)}, 0},
		{"op-show-asset.txt", []string{"op", "show", string(id), "--asset", "srv-02"}, 0},
		{"op-plan.txt", []string{"op", "plan", string(id)}, 0},
		{"op-pause.txt", []string{"op", "pause", string(id), "--all"}, 0},
		{"op-skip.txt", []string{"op", "skip", string(id), "--asset", "srv-01", "--reason", "why not"}, ExitRefused},
		{"asset-show.txt", []string{"asset", "show", "srv-02"}, 0},
		{"asset-history.txt", []string{"asset", "history", "srv-02"}, 0},
		{"profile-list.txt", []string{"profile", "list"}, 0},
		{"profile-show.txt", []string{"profile", "show", "box"}, 0},
		{"site-list.txt", []string{"site", "list"}, 0},
		{"doctor.txt", []string{"doctor"}, ExitFailure},
		{"netbox-setup.txt", []string{"netbox", "setup", "--dry-run"}, 0},
		{"firmware-add.txt", []string{"firmware", "add", firmwareFile}, 0},
		{"firmware-verify.txt", []string{"firmware", "verify"}, 0},
		{"audit-log-verify.txt", []string{"audit-log", "verify"}, 0},
		{"token-list.txt", []string{"token", "list"}, 0},
		{"config-keys.txt", []string{"config", "check", "--keys"}, 0},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			r := run(t, "", tc.args...)
			if r.code != tc.code {
				t.Errorf("exit %d, want %d: %s", r.code, tc.code, r.err)
			}
			golden(t, tc.golden, r.out+r.err)
		})
	}
}

func TestJSONAndYAMLSayTheSame(t *testing.T) {
	loggedIn(t, 2, operation.Admin)
	id := install(t, "srv-01")
	for _, args := range [][]string{
		{"op", "list"}, {"op", "show", string(id)}, {"op", "plan", string(id)}, {"asset", "show", "srv-01"}, {"asset", "history", "srv-01"},
		{"profile", "list"}, {"profile", "show", "box"}, {"site", "list"}, {"token", "list"}, {"firmware", "list"}, {"version"}, {"audit-log", "verify"},
		{"install", "srv-02", "--until", "hardware", "--dry-run"}, {"netbox", "setup", "--dry-run"}, {"profile", "check", "--server"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			asJSON, asYAML := run(t, "", append(args, "-o", "json")...), run(t, "", append(args, "-o", "yaml")...)
			var a, b any
			if err := json.Unmarshal([]byte(asJSON.out), &a); err != nil || asJSON.code != 0 {
				t.Fatalf("exit %d, %v: %s%s", asJSON.code, err, asJSON.out, asJSON.err)
			}
			raw, err := yaml.YAMLToJSON([]byte(asYAML.out))
			if err == nil {
				err = json.Unmarshal(raw, &b)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("(-json +yaml)\n%s", diff)
			}
		})
	}
}

func TestInstallAccepts(t *testing.T) {
	loggedIn(t, 2, operation.Operator)
	base := []string{"install", "--until", "hardware", "--reason", "rack r12", "--ticket", "DC-42"}
	golden(t, "install-dry-run.txt", run(t, "", "install", "--rack", "r12", "--until", "hardware", "--dry-run").out)
	r := run(t, "# the row\nsrv-01 # left\n\n  srv-02\n", append(base, "--file", "-")...)
	if r.code != 0 || !strings.Contains(r.out, "2 machines") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	golden(t, "install-accepted.txt", r.out)
	held := run(t, "", append(base, "srv-01")...)
	if held.code != ExitLocked || !ids.MatchString(held.err) || !strings.Contains(held.err, "what to do: ") {
		t.Errorf("exit %d, want %d with the holder: %s", held.code, ExitLocked, held.err)
	}
}

func TestRefusalsAndTheirExitCodes(t *testing.T) {
	a := loggedIn(t, 3, operation.Operator)
	base := []string{"install", "--until", "hardware", "--reason", "r", "--ticket", "t"}
	a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Active })
	a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Serial, d.Position = "", 0 })
	a.Fleet.Edit("srv-03", func(d *inventory.Device) { d.Role.Slug = "" })
	missing := filepath.Join(t.TempDir(), "no-such-file")
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		code  int
		says  string
	}{
		"an active machine":      {"", append(base, "srv-01"), ExitRefused, "active"},
		"gaps":                   {"", append(base, "srv-02", "srv-03"), ExitRefused, "srv-02 serial"},
		"an unknown machine":     {"", append(base, "srv-77"), ExitRefused, "srv-77"},
		"nobody":                 {"", base, ExitUsage, "empty is not all"},
		"names and rack":         {"", append(base, "srv-01", "--rack", "r12"), ExitUsage, "not both"},
		"an empty file":          {"# nobody\n", append(base, "--file", "-"), ExitUsage, "empty is not all"},
		"two names on a line":    {"srv-01\nsrv-02 srv-03\n", append(base, "--file", "-"), ExitUsage, "line 2"},
		"no such file":           {"", append(base, "--file", missing), ExitUsage, "no such file"},
		"no ticket":              {"", []string{"install", "srv-01", "--until", "hardware", "--reason", "r"}, ExitUsage, "--ticket"},
		"an unknown stage":       {"", []string{"install", "srv-03", "--until", "moon", "--reason", "r", "--ticket", "t"}, ExitRefused, "srv-03"},
		"waiting for a dry run":  {"", []string{"install", "srv-01", "--until", "hardware", "--dry-run", "--wait"}, ExitUsage, "--dry-run"},
		"an unknown flag":        {"", []string{"install", "--no-such"}, ExitUsage, "cagenut install --help"},
		"an unknown command":     {"", []string{"explode"}, ExitUsage, "unknown command"},
		"an unknown verb":        {"", []string{"op", "explode"}, ExitUsage, "use one of"},
		"too many arguments":     {"", []string{"op", "show", "a", "b"}, ExitUsage, "one operation's ID"},
		"a bad ID":               {"", []string{"op", "show", "op_1"}, ExitUsage, "26 letters"},
		"an unknown operation":   {"", []string{"op", "show", "op_01ARZ3NDEKTSV4RRFFQ69G5FAV"}, ExitRefused, "no operation"},
		"a bad format":           {"", []string{"op", "list", "-o", "xml"}, ExitUsage, "table, json, yaml"},
		"steering nobody":        {"", []string{"op", "pause", "op_01ARZ3NDEKTSV4RRFFQ69G5FAV"}, ExitUsage, "--all"},
		"a denied verb":          {"", []string{"token", "list"}, ExitRefused, "role admin"},
		"setup without saying":   {"", []string{"netbox", "setup"}, ExitUsage, "--apply"},
		"setup of no NetBox":     {"", []string{"netbox", "setup", "--dry-run", "--netbox-token-file", "t"}, ExitUsage, "netbox.user"},
		"setup with a file":      {"", []string{"netbox", "setup", "--dry-run", "--config", "c.yaml"}, ExitUsage, "--netbox-token-file"},
		"a bad configuration":    {"", []string{"serve", "--set", "api.listen"}, ExitUsage, "KEY=VALUE"},
		"an unknown key":         {"", []string{"migrate", "--set", "no.such=1"}, ExitUsage, "no.such"},
		"serve without anything": {"", []string{"serve"}, ExitUsage, "CAGENUT_DATABASE_URL"},
		"a site without API":     {"", []string{"worker", "--site", "ams01"}, ExitUsage, "CAGENUT_WORKER_URL"},
		"migrate without store":  {"", []string{"migrate"}, ExitUsage, "CAGENUT_DATABASE_URL"},
		"an unset variable":      {"", []string{"asset", "show", ""}, ExitUsage, "argument 1 is empty"},
		"an empty download":      {"", []string{"firmware", "add", os.DevNull}, ExitUsage, "is empty"},
		"a folder as firmware":   {"", []string{"firmware", "add", "."}, ExitUsage, "is a directory"},
		"nothing to check":       {"", []string{"config", "check"}, ExitUsage, "CAGENUT_CONFIG"},
		"an unknown shell":       {"", []string{"completion", "tcsh"}, ExitUsage, "powershell"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, tc.stdin, tc.args...)
			if r.code != tc.code || !strings.Contains(r.err, tc.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", r.code, tc.code, tc.says, r.err)
			}
			if r.out != "" {
				t.Errorf("an answer beside the failure: %q", r.out)
			}
		})
	}
}

func TestTheControlPlaneIsAway(t *testing.T) {
	alone(t)
	if r := run(t, "", "op", "list"); r.code != ExitRefused || !strings.Contains(r.err, "cagenut login") {
		t.Errorf("nothing known: exit %d: %s", r.code, r.err)
	}
	t.Setenv("CAGENUT_URL", "http://127.0.0.1:1")
	t.Setenv("CAGENUT_TOKEN", "cagenut_x")
	if r := run(t, "", "op", "list"); r.code != ExitAway || !strings.Contains(r.err, "what to do: ") || !strings.Contains(r.err, "from CAGENUT_URL") {
		t.Errorf("nobody there: exit %d: %s", r.code, r.err)
	}
	r := run(t, "", "install", "srv-01", "--until", "hardware", "--reason", "r", "--ticket", "t")
	if r.code != ExitAway || !strings.Contains(r.err, "--idempotency-key") {
		t.Errorf("a lost answer: exit %d: %s", r.code, r.err)
	}
}

// at moves runs of the operation that is made while the test waits for it.
func at(t *testing.T, a *apitest.API, moves func(id operation.ID)) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
			list, err := a.Store.ListOperations(context.Background(), operation.Filter{})
			if err == nil && len(list) > 0 {
				moves(list[0].ID)
				return
			}
		}
	}()
}

func TestWaitEndsWithTheOutcome(t *testing.T) {
	bad := fault.New(fault.Unreachable, "BMC 10.0.8.2 does not answer")
	for name, tc := range map[string]struct {
		second operation.State
		code   int
	}{
		"done":    {operation.Done, ExitOK},
		"waiting": {operation.Waiting, ExitWaiting},
		"aborted": {operation.Aborted, ExitFailed},
		"failed":  {operation.Failed, ExitFailed},
	} {
		for _, flag := range []string{"--wait", "--watch"} {
			t.Run(name+" "+flag, func(t *testing.T) {
				a := loggedIn(t, 2, operation.Operator)
				at(t, a, func(id operation.ID) {
					a.Store.Move(id, "srv-01", operation.Running, "identity", operation.StepRunning, nil)
					a.Store.Move(id, "srv-02", tc.second, "identity", operation.StepParked, bad)
					a.Store.Move(id, "srv-01", operation.Done, "stage", operation.StepDone, nil)
				})
				r := run(t, "", "install", "srv-01", "srv-02", "--until", "hardware", "--reason", "r", "--ticket", "t", flag)
				if r.code != tc.code {
					t.Errorf("exit %d, want %d:\n%s%s", r.code, tc.code, r.out, r.err)
				}
				if flag == "--watch" && name == "waiting" {
					golden(t, "watch.txt", r.out)
				}
			})
		}
	}
}

func TestWatchAsJSONIsOneEventALine(t *testing.T) {
	a := loggedIn(t, 1, operation.Operator)
	id := install(t, "srv-01")
	a.Store.Move(id, "srv-01", operation.Done, "stage", operation.StepDone, nil)
	r := run(t, "", "op", "watch", string(id), "-o", "json")
	var got []string
	for line := range strings.SplitSeq(strings.TrimSpace(r.out), "\n") {
		var e operation.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, fmt.Sprint(e.Seq, " ", e.Kind))
	}
	if r.code != 0 || !slices.Contains(got, "1 requested") || !slices.Contains(got, "2 transition") {
		t.Errorf("exit %d, events %q", r.code, got)
	}
}

func TestCtrlCEndsTheWaitingOnly(t *testing.T) {
	loggedIn(t, 1, operation.Operator)
	id := install(t, "srv-01")
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(50*time.Millisecond, cancel)
	defer stop.Stop()
	var errs bytes.Buffer
	code := Main(ctx, Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &errs}, []string{"op", "watch", string(id)})
	if code != ExitFailure || !strings.Contains(errs.String(), "goes on") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestScreenFitsTheTerminal(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := operation.Detail{Summary: operation.Summary{ID: "op_X", State: operation.Running, Assets: 30}}
	for i := range 30 {
		r := operation.Run{Asset: asset.Ref{Name: fmt.Sprintf("srv-%02d", i)}, State: operation.Running, Started: now.Add(-time.Minute),
			Step: "bios", Steps: []operation.Step{{Name: "identity", State: operation.StepDone}, {Name: "bios", State: operation.StepRunning,
				Progress: &operation.Progress{Text: strings.Repeat("rebooting ", 20), Percent: 40}}}}
		if i == 17 {
			r.State, r.Error = operation.Waiting, fault.New(fault.Unreachable, "no answer\x1b[2J")
		}
		d.Runs = append(d.Runs, r)
	}
	lines := screen(d, now, 60, 12)
	if len(lines) > 11 {
		t.Errorf("%d lines for 12 rows", len(lines))
	}
	for _, l := range lines {
		if len([]rune(l)) > 59 || strings.Contains(l, "\x1b") {
			t.Errorf("%q", l)
		}
	}
	if !strings.HasPrefix(lines[1], "srv-17") || !strings.Contains(lines[1], "WAITS FOR YOU") {
		t.Errorf("what needs a person is not on top: %q", lines[1])
	}
	if !strings.Contains(strings.Join(lines, "\n"), "22 more") || !strings.Contains(lines[len(lines)-1], "1 waiting, 29 running") {
		t.Errorf("what does not fit is not counted: %q", lines)
	}
	var out bytes.Buffer
	v := &screenView{out: &out, size: func() (int, int, error) { return 60, 12, nil }, clock: func() time.Time { return now }}
	for range 2 {
		if err := v.state(d); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(out.String(), fmt.Sprintf("\x1b[%dA", len(lines))) {
		t.Error("the second drawing does not go over the first")
	}
}

func TestLoginIsTriedAndKept(t *testing.T) {
	a := loggedIn(t, 1, operation.Viewer)
	token := os.Getenv("CAGENUT_TOKEN")
	os.Unsetenv("CAGENUT_URL")
	os.Unsetenv("CAGENUT_TOKEN")
	if r := run(t, "cagenut_wrong\n", "login", a.URL); r.code != ExitRefused {
		t.Errorf("a wrong token: exit %d: %s", r.code, r.err)
	}
	if r := run(t, "", "op", "list"); r.code != ExitRefused {
		t.Errorf("after a refused login: exit %d: %s", r.code, r.err)
	}
	r := run(t, token+"\n", "login", a.URL)
	if r.code != 0 || strings.Contains(r.err+r.out, token) {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := run(t, "", "op", "list"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, "", "op", "list", "--url", "http://127.0.0.1:1"); r.code != ExitAway {
		t.Errorf("another address: exit %d: %s", r.code, r.err)
	}
}

func TestDevLoginIsFound(t *testing.T) {
	a := loggedIn(t, 1, operation.Viewer)
	token := os.Getenv("CAGENUT_TOKEN")
	os.Unsetenv("CAGENUT_URL")
	os.Unsetenv("CAGENUT_TOKEN")
	path, err := login.DevPath()
	if err == nil {
		err = login.Save(path, login.Login{URL: a.URL, Token: token})
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "site", "list"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// Two stacks on one machine: CAGENUT_DATA chooses, and one that is away is told by its folder.
func TestTheStackOfAFolderIsChosen(t *testing.T) {
	a := loggedIn(t, 1, operation.Viewer)
	token := os.Getenv("CAGENUT_TOKEN")
	os.Unsetenv("CAGENUT_URL")
	os.Unsetenv("CAGENUT_TOKEN")
	path, err := login.DevPath()
	if err == nil {
		err = login.Save(path, login.Login{URL: "http://127.0.0.1:1", Token: "cagenut_x", Dir: "/stacks/other"})
	}
	if err == nil {
		err = os.MkdirAll("mine/conf", 0o700)
	}
	for name, text := range map[string]string{"stack.json": `{"api":"` + strings.TrimPrefix(a.URL, "http://") + `"}`, "conf/admin-token": token + "\n"} {
		if err == nil {
			err = os.WriteFile("mine/"+name, []byte(text), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "site", "list"); r.code != ExitAway || !strings.Contains(r.err, "dev.json of the stack in /stacks/other") {
		t.Errorf("the other, which is away: exit %d: %s", r.code, r.err)
	}
	t.Setenv("CAGENUT_DATA", "mine")
	if r := run(t, "", "site", "list"); r.code != 0 {
		t.Errorf("the chosen one: exit %d: %s", r.code, r.err)
	}
	if r := run(t, "", "site", "list", "--url", "http://127.0.0.1:1"); r.code != ExitAway || !strings.Contains(r.err, "from --url") {
		t.Errorf("a flag goes before: exit %d: %s", r.code, r.err)
	}
	t.Setenv("CAGENUT_DATA", "nothing")
	if r := run(t, "", "site", "list"); r.code != ExitRefused || !strings.Contains(r.err, "nothing") {
		t.Errorf("no stack there: exit %d: %s", r.code, r.err)
	}
}

func TestTokensAndManifest(t *testing.T) {
	loggedIn(t, 1, operation.Admin)
	r := run(t, "", "token", "create", "bob", "--role", "operator", "--site", "ams01")
	if r.code != 0 || !strings.HasPrefix(r.out, "cagenut_") || strings.Contains(r.err, strings.TrimSpace(r.out)) {
		t.Fatalf("exit %d: %q %q", r.code, r.out, r.err)
	}
	t.Setenv("CAGENUT_TOKEN", strings.TrimSpace(r.out))
	if r := run(t, "", "site", "list", "-o", "json"); r.code != 0 || strings.Contains(r.out, "fra01") {
		t.Errorf("bob sees: exit %d: %s%s", r.code, r.out, r.err)
	}
	loggedIn(t, 1, operation.Admin)
	if r := run(t, "SN001,secret-password\n", "bmc", "import", "-"); r.code != 0 || !strings.Contains(r.out, "1 password imported") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := run(t, "SN001\n", "bmc", "import", "-"); r.code != ExitUsage {
		t.Errorf("a bad manifest: exit %d: %s", r.code, r.err)
	}
}

func TestProfileCheckWorksAlone(t *testing.T) {
	alone(t)
	if err := os.Mkdir("profiles", 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join("profiles", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := run(t, "", "profile", "check"); r.code != ExitFailure || !strings.Contains(r.out, "no .yaml file") {
		t.Errorf("an empty folder: exit %d: %s%s", r.code, r.out, r.err)
	}
	write("a.yaml", "name: a\nmatch: {device_types: [x]}\nbmc: {account: root}\n")
	if r := run(t, "", "profile", "check"); r.code != 0 || !strings.Contains(r.out, "a@1") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	write("b.yaml", "name: b\nmatch: {device_types: [x]}\nbmc: {acount: root}\n")
	if r := run(t, "", "profile", "check"); r.code != ExitFailure || !strings.Contains(r.out, "profiles/b.yaml:3: bmc.acount") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := run(t, "", "profile", "check", "profiles/a.yaml"); r.code != 0 {
		t.Errorf("one file: exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestConfigCheckListsProblemsAndSaysWhatItFound(t *testing.T) {
	alone(t)
	if err := os.WriteFile("cagenut.yaml", []byte("api:\n  lisen: x\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, "", "config", "check")
	for _, want := range []string{"cagenut.yaml:2: api.lisen", "cagenut.yaml:3: log.level"} {
		if r.code != ExitUsage || !strings.Contains(r.err, want) {
			t.Errorf("exit %d, want %q in:\n%s", r.code, want, r.err)
		}
	}
	if err := os.WriteFile("cagenut.yaml", []byte("# nothing yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "config", "check"); r.code != ExitUsage || !strings.Contains(r.err, "nothing is configured in cagenut.yaml") {
		t.Errorf("an empty file: exit %d: %s", r.code, r.err)
	}
	a := apitest.Start(t, 1)
	if err := os.WriteFile("token", []byte(a.Token(t, "w", operation.Worker, "ams01")), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "worker: {url: \"" + a.URL + "\", token_file: token}\ntemporal: {host: \"127.0.0.1:1\"}\nstate_dir: state\n"
	if err := os.WriteFile("cagenut.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r = run(t, "", "config", "check", "-o", "json")
	var got []config.Checked
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	state := map[string]bool{}
	for _, c := range got {
		state[c.Name] = c.OK
		if c.Name == "API" && !strings.Contains(c.Says, "role worker, sites ams01") {
			t.Errorf("API: %q", c.Says)
		}
	}
	if diff := cmp.Diff(map[string]bool{"worker.token_file": true, "State folder": true, "Templates": true, "Temporal": false, "API": true}, state); diff != "" || r.code != ExitFailure {
		t.Errorf("exit %d (-want +got)\n%s", r.code, diff)
	}
}

func TestCompletion(t *testing.T) {
	loggedIn(t, 1, operation.Operator)
	id := install(t, "srv-01")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"op", "show", ""}, string(id)},
		{[]string{"op", "pause", string(id), "--asset", ""}, "srv-01"},
		{[]string{"profile", "show", ""}, "box"},
		{[]string{"op", "list", "-o", ""}, "yaml"},
		{[]string{"install", "--until", ""}, "hardware"},
		{[]string{"install", "--until", ""}, "active"},
	} {
		if r := run(t, "", append([]string{"__complete"}, tc.args...)...); !strings.Contains(r.out, tc.want) {
			t.Errorf("%q: %q", tc.args, r.out)
		}
	}
	if r := run(t, "", "completion", "bash"); r.code != 0 || !strings.Contains(r.out, "__start_cagenut") {
		t.Errorf("bash: exit %d", r.code)
	}
}
