//go:build e2e

package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/salt"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/saltlab"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// requestsToActive is how many NetBox requests a machine may cost from planned to active.
const requestsToActive = 25

// lab is a real Salt whose states leave files that the test reads.
type lab struct{ *saltlab.Lab }

func startSalt(t *testing.T) lab {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../scripts/configmgmt-venv.sh", "salt")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("configmgmt-venv.sh salt: %v", err)
	}
	l := lab{saltlab.Start(t, strings.TrimSpace(string(out)), nil)}
	for _, name := range []string{"ssh", "time", "metrics"} { // as the box's profiles name them
		l.File(t, "srv/salt/base/"+name+".sls", fmt.Sprintf(`
%s/hosts/{{ grains.id }}/%s:
  file.managed:
    - contents: {{ grains.id }}
`, l.Dir, name))
	}
	return l
}

// at is where the site's worker finds it.
func (l lab) at(t *testing.T) stack.Salt {
	t.Helper()
	l.File(t, "etc/cagenut-password", l.Password+"\n")
	return stack.Salt{URL: l.URL, PasswordFile: filepath.Join(l.Dir, "etc/cagenut-password"), CAFile: filepath.Join(l.Dir, "etc/api.crt")}
}

// keys are the IDs of the accepted keys, from the master's own folder.
func (l lab) keys(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(l.Dir, "m/pki/minions"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// realProfiles are the box's profiles for machines whose minions run on this machine: each installs what
// this machine runs, and is checked for what is true here. What the box pretends of its hosts, such as
// their links, is not asked of real minions.
func realProfiles(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../../internal/devstack/profiles/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no profiles: %v", err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(string(kernel), ".")
	out := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for _, c := range []struct{ from, to string }{
			{`(?m)^name: (.*)$`, "name: real-$1"},
			{`(?m)^  roles: \[server\]$`, "  roles: [server]\n  sites: [ams01]"}, // more specific than the box's
			{`(?m)^  distro: (debian|ubuntu|rhel-family)$`, "  distro: debian"},
			{`(?m)^  release: (bookworm|"24.04"|"9")$`, "  release: bookworm"},
			{`(?m)^burn_in: .*$`, "burn_in: {cpu_minutes: 1}"},
			{`(?ms)^checks:.*`, fmt.Sprintf("checks:\n  mounts: [{path: /, min_free_mib: 10}]\n  max_clock_skew_ms: 5000\n  kernel: %q\n", major+".")},
		} {
			re := regexp.MustCompile(c.from)
			if !re.MatchString(text) && !strings.Contains(c.from, "distro") && !strings.Contains(c.from, "release") {
				t.Fatalf("%s has nothing like %s", file, c.from)
			}
			text = re.ReplaceAllString(text, c.to)
		}
		out["real-"+filepath.Base(file)] = text
	}
	return out
}

// toActive installs the whole rack, four machines at once, and waits until they are active.
func (w world) toActive(t *testing.T) operation.Detail {
	t.Helper()
	out, said, code := w.CLI(append([]string{"install", "--site", w.Rack().Site.Slug, "--window", "6", "--reason", "e2e", "--ticket", "E2E-2", "-o", "json"}, w.names()...)...)
	var got struct{ ID operation.ID }
	if code != 0 || json.Unmarshal([]byte(out), &got) != nil {
		t.Fatalf("exit %d\n%s%s", code, out, said)
	}
	var d operation.Detail
	w.Until(8*time.Minute, "every machine active", func() error {
		d = w.Operation(got.ID)
		for _, r := range d.Runs {
			if r.State == operation.Waiting {
				return stack.Stop(fmt.Errorf("%s waits at %s: %w", r.Asset.Name, r.Step, r.Error))
			}
		}
		if !d.State.Ended() {
			return fmt.Errorf("the operation is %s: %v", d.State, d.Counts)
		}
		return nil
	})
	return d
}

// active installs the rack, which is staged, and looks at all that was to be done: in NetBox, in Salt and in
// our tables.
func (w world) active(t *testing.T, l lab) {
	w.requests.since()
	began := time.Now()
	d := w.toActive(t)
	n, which := w.requests.since()
	names := w.names()
	t.Logf("%d machines active in %s; %d NetBox requests, %.1f a machine: %v", len(names), time.Since(began).Round(time.Second), n, float64(n)/float64(len(names)), which)
	if n > requestsToActive*len(names) {
		t.Errorf("%d NetBox requests for %d machines, want at most %d each", n, len(names), requestsToActive)
	}
	var ids []string
	for _, name := range names {
		id := w.host(name)
		ids = append(ids, id)
		w.inService(t, name, d.ID)
		for _, state := range []string{"ssh", "time", "metrics"} {
			if got, err := os.ReadFile(l.Host(id, state)); err != nil || strings.TrimSpace(string(got)) != id {
				t.Errorf("%s: state base.%s left %q, %v", name, state, got, err)
			}
		}
	}
	if diff := cmp.Diff(ids, l.keys(t)); diff != "" {
		t.Errorf("accepted keys (-want +got):\n%s", diff)
	}
	if got := l.runsOf(t, d.ID); got != len(names) {
		t.Errorf("%d real runs of Salt carry the operation, want one for each of %d machines", got, len(names))
	}
	for _, r := range d.Runs {
		w.proved(t, d.ID, r)
	}
}

// host is what Salt calls a machine.
func (w world) host(name string) string { return name + "." + w.Rack().Site.Slug + ".example.net" }

// inService looks at a machine in NetBox: active by the operation, with its address and DNS name, and with one
// entry in its journal that names the operation.
func (w world) inService(t *testing.T, name string, id operation.ID) {
	t.Helper()
	d := w.device(t, name)
	if d.Status.Value != "active" || d.Custom.Operation != id {
		t.Errorf("%s is %s by %q, want active by %s", name, d.Status.Value, d.Custom.Operation, id)
	}
	if rows := w.ours(t, name); !strings.Contains(rows[len(rows)-1].Message, string(id)) {
		t.Errorf("%s: the changelog says %q, and not %s", name, rows[len(rows)-1].Message, id)
	}
	var entries struct {
		Results []struct{ Comments string }
	}
	server.Must(t, http.MethodGet, "extras/journal-entries/?"+url.Values{"assigned_object_id": {w.ids[name].String()}, "assigned_object_type": {"dcim.device"}}.Encode(), nil, &entries)
	if n := len(slices.DeleteFunc(entries.Results, func(e struct{ Comments string }) bool { return !strings.Contains(e.Comments, string(id)) })); n != 1 {
		t.Errorf("%s: %d entries of the journal name the operation, want one", name, n)
	}
	var page struct {
		Results []struct{ Address string }
	}
	server.Must(t, http.MethodGet, "ipam/ip-addresses/?"+url.Values{"dns_name": {w.host(name)}}.Encode(), nil, &page)
	if len(page.Results) != 1 {
		t.Errorf("%s has addresses %+v, want one", name, page.Results)
	}
}

// proved looks at a machine's steps in our tables.
func (w world) proved(t *testing.T, id operation.ID, run operation.Run) {
	t.Helper()
	out, said, code := w.CLI("op", "show", string(id), "--asset", run.Asset.Name, "-o", "json")
	var r operation.Run
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("%s: exit %d, %v\n%s", run.Asset.Name, code, err, said)
	}
	kinds := map[string]bool{}
	for _, s := range r.Steps {
		if s.State != operation.StepDone && s.State != operation.StepAlready && s.State != operation.StepNotApplicable {
			t.Errorf("%s: step %s is %s", r.Asset.Name, s.Name, s.State)
		}
		for _, e := range s.Evidence {
			kinds[e.Kind] = true
		}
	}
	for _, kind := range []string{"agent", "disks", "os-install", "configure", "checks"} {
		if !kinds[kind] {
			t.Errorf("%s: no evidence of kind %s: %v", r.Asset.Name, kind, kinds)
		}
	}
}

// runsOf counts the real state runs in the master's job cache that carry an operation.
func (l lab) runsOf(t *testing.T, id operation.ID) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(l.Dir, "m/cache/jobs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != ".load.p" {
			return err
		}
		raw, err := os.ReadFile(path) // MessagePack, in which text is text
		if strings.Contains(string(raw), string(id)) && strings.Contains(string(raw), "state.apply") && !strings.Contains(string(raw), "\xa4test\xc3") {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}

// activeAgain sets every machine back to staged, as a person would, and installs it once more: each is proved
// to run its system, so that none boots, and Salt is only asked what it would change.
func (w world) activeAgain(t *testing.T, l lab) {
	for _, name := range w.names() {
		w.edit(t, name, map[string]any{"status": "staged"})
	}
	entries, err := w.Box().Journal(t.Context(), sim.Query{})
	if err != nil {
		t.Fatal(err)
	}
	last := entries[len(entries)-1].Seq
	began := time.Now()
	d := w.toActive(t)
	t.Logf("again: %d machines active in %s", len(w.names()), time.Since(began).Round(time.Second))
	for _, name := range w.names() {
		w.quiet(t, name, last)
		w.inService(t, name, d.ID)
	}
	if got := l.runsOf(t, d.ID); got != 0 {
		t.Errorf("%d real runs of Salt, want none", got)
	}
	for _, r := range d.Runs {
		for _, s := range r.Steps {
			if s.Name != "stage" && s.Name != "in-service" && len(s.Writes) > 0 {
				t.Errorf("%s: step %s says it wrote %v", r.Asset.Name, s.Name, s.Writes)
			}
		}
	}
	driver, err := salt.New(salt.Options{URL: l.URL, User: saltlab.User, Password: l.Password, RootCAs: l.Roots})
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	for _, name := range w.names() {
		if err := driver.Reach(t.Context(), configmgmt.Target{Name: w.host(name)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
