//go:build e2e

package install

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/inventory/inventorytest"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// How many NetBox requests a machine may cost from planned to staged, and to active.
const (
	requestsToStaged = 12
	requestsToActive = 25
)

// world is the rack in NetBox with the product over it, and the site's Salt.
type world struct {
	*stack.Stack
	requests *counter
	ids      map[string]asset.ID
	salt     salt
	ansible  ansible
}

// TestInstallARack takes a rack of a real NetBox from planned to staged and to active, over a real Salt
// with a real minion for each machine: first what must be refused, then all of it, then all of it again.
// One machine of another rack comes with them to active; it is for Ansible.
func TestInstallARack(t *testing.T) {
	rack, other := sim.DefaultRack(), ansibleRack()
	plugIn(t, rack, other)
	w := world{ids: map[string]asset.ID{}, requests: count(t, server.URL), ansible: newAnsible(t, other.Servers()[0])}
	for _, r := range []sim.Rack{rack, other} {
		if err := netboxload.LoadRack(t.Context(), server.URL, server.AdminToken, r); err != nil {
			t.Fatal(err)
		}
		for _, d := range r.Servers() {
			w.ids[d.Name] = w.device(t, d.Name).ID
		}
	}
	token := filepath.Join(t.TempDir(), "netbox-token")
	if err := os.WriteFile(token, []byte(server.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	w.salt = startSalt(t, func(minion string) error { return w.comeUp(t, minion) })
	folder := profiles(t)
	w.Stack = stack.Start(t, stack.Options{Racks: []sim.Rack{rack, other}, Hurry: 3, MinionsURL: w.salt.minions, Config: func(_ string, c map[string]any) {
		block := func(in map[string]any, name string) map[string]any { return in[name].(map[string]any) } //nolint:forcetypeassert // as cagenut-dev writes it
		c["netbox"] = map[string]any{"url": w.requests.URL, "token_file": token, "user": netboxload.ServiceAccount}
		c["profiles"] = folder
		block(c, "api")["url"] = "https://cagenut.example.net"
		site := block(block(c, "sites"), rack.Site.Slug)
		site["window"] = 6 // each host's minion starts on this machine
		site["ansible"] = w.ansible.configuration()
		w.salt.configure(t, block(site, "salt"))
	}})

	t.Run("refused", w.refused)
	t.Run("wrong serial", w.wrongSerial)
	t.Run("accepted", w.accepted)
	t.Run("accepted again", w.again)
	t.Run("installed", w.installed)
	t.Run("installed again", w.installedAgain)
}

// comeUp gives the host of a minion its network.
func (w *world) comeUp(t *testing.T, minion string) error {
	for _, d := range w.Rack().Servers() {
		m, err := w.Box().Machine(t.Context(), d.Name)
		if err != nil {
			return err
		}
		if m.Installed != nil && m.Installed.Minion == minion {
			return comeUp(d, m.Installed)
		}
	}
	return fmt.Errorf("no host of the box has minion %s", minion)
}

// device is what the tests read of a device in NetBox.
type device struct {
	ID      asset.ID
	Serial  string
	Status  struct{ Value string }
	Primary *struct {
		Address netip.Prefix
	} `json:"primary_ip4"`
	OOB *struct {
		ID      int64
		Address netip.Prefix
	} `json:"oob_ip"`
	Custom struct {
		Operation operation.ID `json:"cagenut_operation"`
	} `json:"custom_fields"`
}

func (w world) device(t *testing.T, name string) device {
	t.Helper()
	var page struct{ Results []device }
	server.Must(t, http.MethodGet, "dcim/devices/?"+url.Values{"name": {name}, "fields": {"id,serial,status,primary_ip4,oob_ip,custom_fields"}}.Encode(), nil, &page)
	if len(page.Results) != 1 {
		t.Fatalf("NetBox has %d devices %q", len(page.Results), name)
	}
	return page.Results[0]
}

func (w world) edit(t *testing.T, name string, fields map[string]any) {
	t.Helper()
	server.Must(t, http.MethodPatch, "dcim/devices/"+w.ids[name].String()+"/", fields, nil)
}

// editAll sets the status of machines, as a person would.
func (w world) editAll(t *testing.T, names []string, status string) {
	t.Helper()
	var rows []map[string]any
	for _, name := range names {
		rows = append(rows, map[string]any{"id": w.ids[name], "status": status})
	}
	server.Must(t, http.MethodPatch, "dcim/devices/", rows, nil)
}

// each looks at machines, some at a time.
func each(t *testing.T, names []string, look func(t *testing.T, i int)) {
	t.Helper()
	t.Run("machines", func(t *testing.T) {
		for i, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				look(t, i)
			})
		}
	})
}

// ours gives the changelog of a device that the service account wrote.
func (w world) ours(t *testing.T, name string) []inventorytest.Change {
	t.Helper()
	var out []inventorytest.Change
	for _, c := range server.Changes(t, w.ids[name]) {
		if c.User == netboxload.ServiceAccount {
			out = append(out, c)
		}
	}
	return out
}

// ask is an install of machines from the command line.
func (w world) ask(names ...string) (stdout, stderr string, code int) {
	return w.CLI(append([]string{"install", "--site", w.Rack().Site.Slug, "--until", "hardware",
		"--reason", "e2e", "--ticket", "E2E-1", "--wait", "-o", "json"}, names...)...)
}

// refused asks for machines that must not or cannot be installed: nothing starts, and every gap is said.
func (w world) refused(t *testing.T) {
	const active, incomplete = "srv-101", "srv-102"
	was := w.device(t, incomplete)
	w.edit(t, active, map[string]any{"status": "active"})
	w.edit(t, incomplete, map[string]any{"serial": "", "oob_ip": nil})
	defer w.edit(t, active, map[string]any{"status": "planned"})
	defer w.edit(t, incomplete, map[string]any{"serial": was.Serial, "oob_ip": was.OOB.ID})
	for _, c := range []struct {
		names []string
		says  []string
	}{
		{[]string{active}, []string{active, "active"}},
		{[]string{incomplete}, []string{incomplete, "serial", "oob_ip"}},
		{[]string{active, incomplete, "srv-103"}, []string{active, "active", incomplete, "serial", "oob_ip"}},
	} {
		_, said, code := w.ask(c.names...)
		if code != 3 {
			t.Errorf("install %v: exit %d, want 3\n%s", c.names, code, said)
		}
		for _, word := range c.says {
			if !strings.Contains(said, word) {
				t.Errorf("install %v does not say %q:\n%s", c.names, word, said)
			}
		}
		t.Logf("install %v:\n%s", c.names, said)
	}
	for _, name := range []string{active, incomplete, "srv-103"} {
		if got := w.ours(t, name); len(got) != 0 {
			t.Errorf("%s was refused and changed in NetBox: %+v", name, got)
		}
		w.quiet(t, name, 0)
	}
}

// wrongSerial asks for a machine whose BMC has another serial than NetBox: it stops before anything is
// written, and an abort ends it.
func (w world) wrongSerial(t *testing.T) {
	const name = "srv-103"
	was := w.device(t, name)
	w.edit(t, name, map[string]any{"serial": "NOTTHISONE1"})
	defer w.edit(t, name, map[string]any{"serial": was.Serial})
	out, said, code := w.ask(name)
	if code != 5 {
		t.Fatalf("a wrong serial: exit %d, want 5\n%s%s", code, out, said)
	}
	id := operationOf(t, said+out)
	got := w.Operation(id).Runs[0]
	if got.Error == nil || got.Step != "identity" || got.Error.Code != "identity_mismatch" ||
		!strings.Contains(got.Error.Message, was.Serial) || !strings.Contains(got.Error.Message, "NOTTHISONE1") {
		t.Errorf("parked at %q with %+v; want identity, identity_mismatch with both serials", got.Step, got.Error)
	}
	if rows := w.ours(t, name); len(rows) != 0 {
		t.Errorf("NetBox was changed before the serial was proved: %+v", rows)
	}
	w.quiet(t, name, 0)
	if out, said, code := w.CLI("op", "abort", string(id), "--all", "--reason", "wrong serial"); code != 0 {
		t.Fatalf("abort: exit %d\n%s%s", code, out, said)
	}
	w.Until(2*time.Minute, "the abort", func() error {
		if s := w.Operation(id).State; !s.Ended() {
			return fmt.Errorf("the operation is %s", s)
		}
		return nil
	})
}

// accepted installs all machines at once.
func (w world) accepted(t *testing.T) {
	w.requests.since()
	began := time.Now()
	id := w.accept(t)
	n, which := w.requests.since()
	names := w.names()
	t.Logf("%d machines staged in %s; %d NetBox requests, %.1f a machine: %v", len(names), time.Since(began).Round(time.Second), n, float64(n)/float64(len(names)), which)
	if n > requestsToStaged*len(names)+remade*which[givenUp] {
		t.Errorf("%d NetBox requests for %d machines, want at most %d each", n, len(names), requestsToStaged)
	}
	w.staged(t, id, 1)
}

// again sets every machine back to planned, as a person would, and accepts it once more: BMCs are only
// read, and NetBox is only told the status.
func (w world) again(t *testing.T) {
	w.editAll(t, w.names(), "planned")
	last := w.lastEntry(t)
	w.requests.since()
	id := w.accept(t)
	n, which := w.requests.since()
	t.Logf("again: %d NetBox requests: %v", n, which)
	if n > requestsToStaged*len(w.names())+remade*which[givenUp] {
		t.Errorf("%d NetBox requests for %d machines, want at most %d each", n, len(w.names()), requestsToStaged)
	}
	w.staged(t, id, 2)
	for _, name := range w.names() {
		w.quiet(t, name, last)
	}
	for _, r := range w.Operation(id).Runs {
		for _, s := range r.Steps {
			if s.Name != "stage" && len(s.Writes) > 0 {
				t.Errorf("%s: step %s says it wrote %v", r.Asset.Name, s.Name, s.Writes)
			}
		}
	}
}

func (w world) names() []string {
	var out []string
	for _, d := range w.Rack().Servers() {
		out = append(out, d.Name)
	}
	return out
}

// accept accepts the whole rack and waits for the end.
func (w world) accept(t *testing.T) operation.ID {
	t.Helper()
	id := w.Accept(w.names()...)
	w.done(t, id)
	return id
}

// done waits until an operation has ended, and no longer than until its machines wait for a person.
func (w world) done(t *testing.T, id operation.ID) {
	t.Helper()
	if _, said, code := w.CLI("op", "watch", string(id)); code != 0 {
		for _, r := range w.Operation(id).Runs {
			if r.Error != nil {
				t.Errorf("%s is %s in %s: %+v", r.Asset.Name, r.State, r.Step, r.Error)
			}
		}
		t.Fatalf("%s: exit %d\n%s", id, code, said)
	}
}

// staged looks at NetBox: every machine is staged by the operation, and of its changelog the service
// account wrote the status and the operation's ID, moves times, with the ID in the message.
func (w world) staged(t *testing.T, id operation.ID, moves int) {
	t.Helper()
	names := w.names()
	each(t, names, func(t *testing.T, i int) {
		name := names[i]
		d := w.device(t, name)
		if d.Status.Value != "staged" || d.Custom.Operation != id {
			t.Errorf("%s is %s by %q; want staged by %s", name, d.Status.Value, d.Custom.Operation, id)
		}
		rows := w.ours(t, name)
		if len(rows) != moves {
			t.Fatalf("%s: %d rows in the changelog, want %d: %+v", name, len(rows), moves, rows)
		}
		row := rows[len(rows)-1]
		// last_updated is NetBox's own.
		fields := strings.Join(row.Fields, " ")
		if diff := cmp.Diff("cagenut_operation status", strings.Join(strings.Fields(strings.ReplaceAll(fields, "last_updated", "")), " ")); diff != "" {
			t.Errorf("%s: fields changed (-want +got):\n%s", name, diff)
		}
		if !strings.Contains(row.Message, string(id)) {
			t.Errorf("%s: the message %q does not name operation %s", name, row.Message, id)
		}
	})
}

// lastEntry is the place of the newest entry in the box's journal.
func (w world) lastEntry(t *testing.T) int64 {
	t.Helper()
	entries, err := w.Box().Journal(t.Context(), sim.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return entries[len(entries)-1].Seq
}

// quiet looks for mutating requests to a machine's BMC after an entry of the journal: there may be
// sessions, and nothing else.
func (w world) quiet(t *testing.T, name string, after int64) {
	t.Helper()
	entries, err := w.Box().Journal(t.Context(), sim.Query{Machine: name, Kind: sim.KindRequest, Since: after})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(e.Path, "/Sessions") {
			t.Errorf("%s: %s %s was asked of the BMC", name, e.Method, e.Path)
		}
	}
}

// operationOf finds the operation's ID in what a command said.
func operationOf(t *testing.T, said string) operation.ID {
	t.Helper()
	i := strings.Index(said, "op_")
	if i < 0 || len(said) < i+29 {
		t.Fatalf("no operation in: %s", said)
	}
	return operation.ID(said[i : i+29])
}
