//go:build e2e

package install

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
)

// hosts are the rack's machines' names in DNS, which are their minions' IDs.
func (w world) hosts() []string {
	var out []string
	for _, name := range w.names() {
		out = append(out, w.host(name))
	}
	return out
}

func (w world) host(name string) string { return name + "." + w.Rack().Site.Slug + ".example.net" }

// rowsOfOurs is how many rows of devices in NetBox's changelog the service account wrote.
func rowsOfOurs(t *testing.T) int {
	t.Helper()
	var page struct{ Count int }
	server.Must(t, http.MethodGet, "core/object-changes/?"+url.Values{"changed_object_type": {"dcim.device"}, "user": {netboxload.ServiceAccount},
		"limit": {"1"}}.Encode(), nil, &page)
	return page.Count
}

// toActive asks for an install, as a person would.
func (w world) toActive(t *testing.T, what ...string) operation.ID {
	t.Helper()
	out, said, code := w.CLI(append([]string{"install", "--site", w.Rack().Site.Slug, "--reason", "e2e", "--ticket", "E2E-2", "-o", "json"}, what...)...)
	if code != 0 {
		t.Fatalf("install: exit %d\n%s%s", code, out, said)
	}
	return operationOf(t, out)
}

// everyone is the whole rack and the machine of Ansible.
func (w world) everyone() []string { return append(w.names(), w.ansible.machine.Name) }

// wholeInstall installs everyone and counts what NetBox was asked. meanwhile is called once it has been asked for.
func (w world) wholeInstall(t *testing.T, meanwhile func(*testing.T)) operation.ID {
	t.Helper()
	w.requests.since()
	began, names := time.Now(), w.everyone()
	id := w.toActive(t, names...)
	meanwhile(t)
	w.done(t, id)
	n, which := w.requests.since()
	t.Logf("%d machines active in %s; %d NetBox requests, %.1f a machine: %v", len(names), time.Since(began).Round(time.Second), n, float64(n)/float64(len(names)), which)
	if n > requestsToActive*len(names)+remade*which[givenUp] {
		t.Errorf("%d NetBox requests for %d machines, want at most %d each", n, len(names), requestsToActive)
	}
	return id
}

// installed takes everyone from planned to active.
func (w world) installed(t *testing.T) {
	w.editAll(t, w.names(), "planned")
	id := w.wholeInstall(t, w.ansibleUp)
	w.active(t, id, []string{"planned -> staged", "staged -> active"}, []string{"os-install", "configure", "checks"})
	names := w.everyone()
	each(t, names, func(t *testing.T, i int) { w.told(t, names[i], id) })
	w.salt.made(t, w.hosts())
	w.ansible.made(t)
	var want []string
	for _, host := range w.hosts() {
		want = append(want, host+" real", host+" test")
	}
	runs := w.salt.runs(t)
	if diff := cmp.Diff(want, asked(runs, id)); diff != "" {
		t.Errorf("runs with the operation's ID in their metadata (-want +got):\n%s", diff)
	}
	if len(runs) != len(want) {
		t.Errorf("Salt knows %d runs, want %d: %v", len(runs), len(want), runs)
	}
}

// installedAgain puts every machine back to staged, as a person would, and installs it once more: all is
// so already, nothing is booted or applied, and NetBox alone is told something.
func (w world) installedAgain(t *testing.T) {
	w.editAll(t, w.everyone(), "staged")
	last, rows := w.lastEntry(t), rowsOfOurs(t)
	id := w.wholeInstall(t, func(*testing.T) {})
	w.active(t, id, []string{"staged -> active"}, []string{"installed", "configure", "checks"})
	w.salt.made(t, w.hosts())
	w.ansible.made(t)
	var tests []string
	for _, host := range w.hosts() {
		tests = append(tests, host+" test")
	}
	runs := w.salt.runs(t)
	if diff := cmp.Diff(tests, asked(runs, id)); diff != "" {
		t.Errorf("runs, want tests alone (-want +got):\n%s", diff)
	}
	if want := 3 * len(tests); len(runs) != want { // two each before
		t.Errorf("Salt knows %d runs, want %d: %v", len(runs), want, runs)
	}
	entries, err := w.Box().Journal(t.Context(), sim.Query{Since: last, Kind: sim.KindEffect})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Effect != sim.EffectSessionOpened && e.Effect != sim.EffectSessionClosed {
			t.Errorf("%s: %s %s", e.Machine, e.Effect, e.Detail)
		}
	}
	for _, name := range w.everyone() {
		w.quiet(t, name, last)
	}
	if n := rowsOfOurs(t) - rows; n != len(w.everyone()) {
		t.Errorf("%d new rows in the changelog, want one for each machine's status and no more", n)
	}
	for _, r := range w.Operation(id).Runs {
		for _, s := range r.Steps {
			if s.Kind != plan.KindInService && (s.State == operation.StepDone || len(s.Writes) > 0) {
				t.Errorf("%s: step %s is %s and wrote %v; want it so already", r.Asset.Name, s.Name, s.State, s.Writes)
			}
		}
	}
}

// active holds that everyone is in service by an operation, in NetBox and in the operation's steps. moves are
// those of its status, and proofs the kinds of evidence that there are beside others.
func (w world) active(t *testing.T, id operation.ID, moves, proofs []string) {
	t.Helper()
	d, names := w.Operation(id), w.everyone()
	if d.State != operation.Done || len(d.Runs) != len(names) {
		t.Fatalf("operation %s is %s with %d machines, want it done with %d", id, d.State, len(d.Runs), len(names))
	}
	for _, r := range d.Runs {
		seen := map[string]bool{}
		for _, s := range r.Steps {
			if s.State != operation.StepDone && s.State != operation.StepAlready && s.State != operation.StepNotApplicable {
				t.Errorf("%s: step %s is %s", r.Asset.Name, s.Name, s.State)
			}
			for _, e := range s.Evidence {
				seen[e.Kind] = true
			}
		}
		for _, kind := range proofs {
			if !seen[kind] {
				t.Errorf("%s: no evidence of kind %s among %v", r.Asset.Name, kind, seen)
			}
		}
	}
	addresses := make([]netip.Prefix, len(names))
	each(t, names, func(t *testing.T, i int) { addresses[i] = w.inService(t, names[i], id, moves) })
	taken := map[netip.Prefix]string{}
	for i, address := range addresses {
		if other := taken[address]; other != "" {
			t.Errorf("%s and %s both have %s", names[i], other, address)
		}
		taken[address] = names[i]
	}
}

// inService holds that a machine is in service in NetBox, and gives its address.
func (w world) inService(t *testing.T, name string, id operation.ID, moves []string) netip.Prefix {
	t.Helper()
	d := w.device(t, name)
	if d.Status.Value != "active" || d.Custom.Operation != id || d.Primary == nil {
		t.Fatalf("%s is %s by %q with address %+v; want active by %s", name, d.Status.Value, d.Custom.Operation, d.Primary, id)
	}
	var moved []string
	for _, c := range w.ours(t, name) {
		if strings.Contains(c.Message, string(id)) && slices.Contains(c.Fields, "status") {
			moved = append(moved, c.Message[strings.LastIndex(c.Message, ": ")+2:])
		}
	}
	if diff := cmp.Diff(moves, moved); diff != "" {
		t.Errorf("%s: moves in the changelog (-want +got):\n%s", name, diff)
	}
	entry := "success: Installed and put in service by Cagenut, operation [" + string(id) + "]("
	var linked int
	for _, e := range server.Journal(t, w.ids[name]) {
		if strings.HasPrefix(e, entry) {
			linked++
		}
	}
	if linked != 1 {
		t.Errorf("%s: %d entries in NetBox's journal link the operation, want one: %q", name, linked, server.Journal(t, w.ids[name]))
	}
	var page struct {
		Results []struct {
			Address netip.Prefix
			DNSName string `json:"dns_name"`
		}
	}
	server.Must(t, http.MethodGet, "ipam/ip-addresses/?"+url.Values{"device": {name}, "dns_name": {w.host(name)}}.Encode(), nil, &page)
	if len(page.Results) != 1 || page.Results[0].Address != d.Primary.Address {
		t.Errorf("%s has addresses %+v of its DNS name, want its primary address %s alone", name, page.Results, d.Primary.Address)
	}
	return d.Primary.Address
}

// told holds that the API tells the same of a machine that an operation has installed.
func (w world) told(t *testing.T, name string, id operation.ID) {
	t.Helper()
	d := w.device(t, name)
	out, said, code := w.CLI("asset", "show", name, "-o", "json")
	var a wire.Asset
	if err := json.Unmarshal([]byte(out), &a); code != 0 || err != nil {
		t.Fatalf("asset show %s: exit %d, %v\n%s%s", name, code, err, out, said)
	}
	if a.Device.Status != asset.Active || a.Device.PrimaryIP4 != d.Primary.Address || a.Holder != nil || !a.History.EverActive || a.Blocking == nil {
		t.Errorf("asset show %s: status %s, address %s, holder %v, ever active %t, blocking %v; want it in service, held by nobody", name,
			a.Device.Status, a.Device.PrimaryIP4, a.Holder, a.History.EverActive, a.Blocking)
	}
	if a.System == nil || a.System.Operation != id {
		t.Errorf("asset show %s: system %+v, want that of %s", name, a.System, id)
	}
}
