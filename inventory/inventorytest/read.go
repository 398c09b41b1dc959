package inventorytest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

func testPing(t *testing.T, h Harness, _ world) {
	s, err := h.Source.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := inventory.Status{Version: s.Version, User: h.Account}
	if diff := cmp.Diff(want, s); diff != "" || s.Version == "" {
		t.Errorf("status of the service account (-want +got):\n%s", diff)
	}
	if s, err = h.Admin.Ping(t.Context()); err != nil || !s.Super {
		t.Errorf("Ping as administrator = %+v, %v; want a superuser", s, err)
	}
}

func testSites(t *testing.T, h Harness, w world) {
	sites, err := h.Source.Sites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(sites, func(a, b inventory.Named) int { return strings.Compare(a.Slug, b.Slug) }) {
		t.Errorf("sites are not sorted by slug: %v", sites)
	}
	for _, want := range []string{w.first.Site.Slug, w.second.Site.Slug} {
		if !slices.ContainsFunc(sites, func(n inventory.Named) bool { return n.Slug == want && n.ID != 0 && n.Name != "" }) {
			t.Errorf("no site %s in %v", want, sites)
		}
	}
}

// one finds the device of the first site with this name.
func one(t *testing.T, h Harness, w world, name string) inventory.Device {
	t.Helper()
	found, err := h.Source.Find(t.Context(), inventory.Query{Names: []string{name}, Site: w.first.Site.Slug})
	if err != nil {
		t.Fatal(err)
	}
	return found[0]
}

func names(devices []inventory.Device) []string {
	var out []string
	for _, d := range devices {
		out = append(out, d.Name)
	}
	slices.Sort(out)
	return out
}

func testFind(t *testing.T, h Harness, w world) {
	s1, s2 := w.server(1), w.server(2)
	id := one(t, h, w, s1.Name).ID
	var rack []string
	for _, d := range w.first.Devices {
		rack = append(rack, d.Name)
	}
	slices.Sort(rack)
	for _, test := range []struct {
		name  string
		query inventory.Query
		want  []string
	}{
		{"names", inventory.Query{Names: []string{s2.Name, s1.Name}}, []string{s1.Name, s2.Name}},
		{"letter case of names", inventory.Query{Names: []string{strings.ToUpper(s1.Name)}}, []string{s1.Name}},
		{"the same name twice", inventory.Query{Names: []string{s1.Name, s1.Name}}, []string{s1.Name}},
		{"IDs", inventory.Query{IDs: []asset.ID{id}}, []string{s1.Name}},
		{"serials", inventory.Query{Serials: []string{strings.ToLower(s1.Serial), s2.Serial}}, []string{s1.Name, s2.Name}},
		{"rack and site", inventory.Query{Rack: w.first.Name, Site: w.first.Site.Slug}, rack},
		{"name and site", inventory.Query{Names: []string{w.server(6).Name}, Site: w.first.Site.Slug}, []string{w.server(6).Name}},
		{"all fields at once", inventory.Query{IDs: []asset.ID{id}, Names: []string{s1.Name}, Serials: []string{s1.Serial},
			Rack: w.first.Name, Site: w.first.Site.Slug}, []string{s1.Name}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := h.Source.Find(t.Context(), test.query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, names(got)); diff != "" {
				t.Errorf("devices (-want +got):\n%s", diff)
			}
			if !slices.IsSortedFunc(got, func(a, b inventory.Device) int { return int(a.ID - b.ID) }) {
				t.Errorf("devices are not ordered by ID")
			}
		})
	}
}

func testFindRefuses(t *testing.T, h Harness, w world) {
	s1, twin := w.server(1), w.server(6)
	for _, test := range []struct {
		name  string
		query inventory.Query
		kind  error
		names []string
	}{
		{"nothing", inventory.Query{}, inventory.ErrInvalid, nil},
		{"a site alone", inventory.Query{Site: w.first.Site.Slug}, inventory.ErrInvalid, nil},
		{"an empty name", inventory.Query{Names: []string{s1.Name, ""}}, inventory.ErrInvalid, nil},
		{"unknown names, all at once", inventory.Query{Names: []string{"no-2", s1.Name, "no-1"}}, inventory.ErrNotFound, []string{"no-1", "no-2"}},
		{"unknown IDs", inventory.Query{IDs: []asset.ID{1 << 30, 1<<30 + 1}}, inventory.ErrNotFound, []string{"1073741824", "1073741825"}},
		{"an unknown serial", inventory.Query{Serials: []string{"no-such-serial"}}, inventory.ErrNotFound, []string{"no-such-serial"}},
		{"an unknown site", inventory.Query{Names: []string{s1.Name}, Site: "nowhere"}, inventory.ErrNotFound, []string{"nowhere"}},
		{"an unknown rack", inventory.Query{Rack: "no-rack"}, inventory.ErrNotFound, []string{"no-rack"}},
		{"a name of the other site", inventory.Query{Names: []string{s1.Name}, Site: w.second.Site.Slug}, inventory.ErrNotFound, []string{s1.Name}},
		{"a name of several", inventory.Query{Names: []string{twin.Name}}, inventory.ErrAmbiguous, nil},
		{"a rack of several", inventory.Query{Rack: w.first.Name}, inventory.ErrAmbiguous, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := h.Source.Find(t.Context(), test.query)
			e := kind(t, err, test.kind)
			if len(got) != 0 {
				t.Errorf("devices beside the error: %v", names(got))
			}
			if test.names != nil {
				if diff := cmp.Diff(test.names, e.Names); diff != "" {
					t.Errorf("names in the error (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// kind checks that err is an *inventory.Error of a kind.
func kind(t *testing.T, err, want error) *inventory.Error {
	t.Helper()
	var e *inventory.Error
	if !errors.As(err, &e) || !errors.Is(err, want) {
		t.Fatalf("error %v, want an *inventory.Error that is %q", err, want)
	}
	return e
}

func testFindBatches(t *testing.T, h Harness, w world) {
	q := inventory.Query{Names: []string{w.server(1).Name}}
	var want []string
	for i := range 300 { // more than fit into one request line
		name := "missing-" + strings.Repeat("x", 20) + string('a'+rune(i/26)) + string('a'+rune(i%26))
		q.Names, want = append(q.Names, name), append(want, name)
	}
	_, err := h.Source.Find(t.Context(), q)
	if diff := cmp.Diff(want, kind(t, err, inventory.ErrNotFound).Names); diff != "" {
		t.Errorf("missing names (-want +got):\n%s", diff)
	}
}

func testDescribe(t *testing.T, h Harness, w world) {
	s1, s2 := w.server(1), w.server(2)
	first, second := one(t, h, w, s1.Name).ID, one(t, h, w, s2.Name).ID
	before := h.Requests()
	got, err := h.Source.Describe(t.Context(), []asset.ID{second, first, second})
	if err != nil {
		t.Fatal(err)
	}
	if used := h.Requests() - before; used > 5 {
		t.Errorf("%d requests for two devices, want at most 5", used)
	}
	if len(got) != 3 || got[0].ID != second || got[1].ID != first || got[2].ID != second {
		t.Fatalf("got %v, want the order asked for", names(got))
	}
	want := inventory.Device{
		ID: first, Name: s1.Name, Serial: s1.Serial, AssetTag: s1.AssetTag, Status: asset.Planned,
		Site: inventory.Named{Slug: w.first.Site.Slug, Name: w.first.Site.Name}, Rack: inventory.Named{Name: w.first.Name},
		Position: 1, Face: "front", Role: inventory.Named{Slug: "server", Name: "Server"},
		Manufacturer: inventory.Named{Slug: "contoso", Name: "Contoso"}, Type: inventory.Named{Slug: s1.Type.Slug, Name: s1.Type.Model},
		OOB: s1.OOB,
		Interfaces: []inventory.Interface{
			{Name: "bmc", Type: "1000base-t", Mgmt: true, Enabled: true, MACs: []string{s1.Interfaces[0].MAC}, Addresses: []netip.Prefix{s1.OOB},
				Cable: &inventory.Cable{Status: "connected", Peer: s1.Interfaces[0].Cable.Device, Port: "Ethernet2"}},
			{Name: "eth0", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{s1.Interfaces[1].MAC},
				Cable: &inventory.Cable{Status: "planned", Peer: s1.Interfaces[1].Cable.Device, Port: "Ethernet1"}},
		},
		PrimaryPool: w.pools(1, 2, 3), // it does not say of which VLAN it is
	}
	ids := cmp.FilterPath(func(p cmp.Path) bool {
		// IDs of everything but the device are the inventory's own affair.
		return p.Last().String() == ".ID" && len(p) > 2
	}, cmp.Ignore())
	if diff := cmp.Diff(want, got[1], ids, cmpopts.EquateComparable(netip.Prefix{}),
		cmpopts.IgnoreFields(inventory.Device{}, "OOBID", "Updated", "Custom")); diff != "" {
		t.Errorf("described device (-want +got):\n%s", diff)
	}
	if got[1].OOBID == 0 || got[1].Updated.IsZero() || got[1].Interfaces[0].ID == 0 || got[1].Site.ID == 0 || got[1].Interfaces[0].Cable.ID == 0 {
		t.Errorf("IDs or the time of the last update are missing in %+v", got[1])
	}

	before = h.Requests()
	if got, err := h.Source.Describe(t.Context(), nil); err != nil || len(got) != 0 || h.Requests() != before {
		t.Errorf("Describe(nothing) = %v, %v after %d requests; want nothing and none", got, err, h.Requests()-before)
	}
	before = h.Requests()
	if seen, err := h.Source.ManagementMACs(t.Context(), first); err != nil || !slices.Equal(seen, want.Interfaces[0].MACs) || h.Requests() != before+1 {
		t.Errorf("ManagementMACs = %v, %v after %d requests; want %v and one", seen, err, h.Requests()-before, want.Interfaces[0].MACs)
	}
	_, err = h.Source.Describe(t.Context(), []asset.ID{first, 1 << 30})
	if diff := cmp.Diff([]string{"1073741824"}, kind(t, err, inventory.ErrNotFound).Names); diff != "" {
		t.Errorf("names of an unknown device (-want +got):\n%s", diff)
	}
}

func testDescribePrimary(t *testing.T, h Harness, w world) {
	d := one(t, h, w, w.server(5).Name)
	// Any address of the device can be its primary one.
	h.Edit(t, d.ID, map[string]any{"primary_ip4": d.OOBID})
	got, err := h.Source.Describe(t.Context(), []asset.ID{d.ID})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].PrimaryIP4 != w.server(5).OOB || got[0].PrimaryPool != nil {
		t.Errorf("primary address %v, pool %v; want %v and no pool", got[0].PrimaryIP4, got[0].PrimaryPool, w.server(5).OOB)
	}
}

// testDescribeNetwork holds that bonds, VLANs and MTU come with the interfaces, for no further request.
func testDescribeNetwork(t *testing.T, h Harness, w world) {
	s := w.server(7)
	d := one(t, h, w, s.Name)
	before := h.Requests()
	got, err := h.Source.Describe(t.Context(), []asset.ID{d.ID})
	if err != nil {
		t.Fatal(err)
	}
	if used := h.Requests() - before; used > 4 { // a device without a cable has none to read
		t.Errorf("%d requests, want at most 4", used)
	}
	native, storage, backup := inventory.VLAN{VID: 100, Name: "native"}, inventory.VLAN{VID: 110, Name: "storage"}, inventory.VLAN{VID: 120, Name: "backup"}
	want := []inventory.Interface{
		{Name: "bond0", Type: "lag", Enabled: true, MTU: 9000, Mode: "tagged", Untagged: native, Tagged: []inventory.VLAN{storage, backup}},
		{Name: "bond0.110", Type: "virtual", Enabled: true, Parent: "bond0", MTU: 1500, Mode: "access", Untagged: storage},
		{Name: "eth0", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{s.Interfaces[2].MAC}, LAG: "bond0", MTU: 9000},
		{Name: "eth1", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{s.Interfaces[3].MAC}, LAG: "bond0", MTU: 9000},
	}
	if diff := cmp.Diff(w.pools(2, 1), got[0].PrimaryPool, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("pools: first of the VLAN that bond0 carries untagged, then of none, and not of one that is tagged there (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got[0].Interfaces, cmpopts.IgnoreFields(inventory.Interface{}, "ID")); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
}

func testDevice(t *testing.T, h Harness, w world) {
	want := one(t, h, w, w.server(2).Name)
	before := h.Requests()
	got, err := h.Source.Device(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if used := h.Requests() - before; used != 1 {
		t.Errorf("%d requests, want 1", used)
	}
	want.ETag = got.ETag // Find gives none
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("Device and Find differ (-find +device):\n%s", diff)
	}
	for _, id := range []asset.ID{0, -1, 1 << 30, 1 << 40} {
		_, err = h.Source.Device(t.Context(), id)
		_ = kind(t, err, inventory.ErrNotFound)
	}
}

// lain is what testRack compares of a device.
type lain struct {
	Position float64
	Face     string
	Height   float64
	Type     string
	Status   asset.Status
}

func testRack(t *testing.T, h Harness, w world) {
	before := h.Requests()
	first, err := h.Source.Rack(t.Context(), w.first.Site.Slug, w.first.Name)
	if err != nil {
		t.Fatal(err)
	}
	if used := h.Requests() - before; used > 4 {
		t.Errorf("%d requests for one rack, want at most 4", used)
	}
	if first.Name != w.first.Name || first.Site.Slug != w.first.Site.Slug || first.Height != 42 || first.Lowest != 1 || first.Descending ||
		len(first.Devices) != len(w.first.Devices) {
		t.Errorf("first rack = %+v", first)
	}
	if !slices.IsSortedFunc(first.Devices, func(a, b inventory.RackDevice) int { return int(a.ID - b.ID) }) {
		t.Errorf("devices are not ordered by ID")
	}
	second, err := h.Source.Rack(t.Context(), w.second.Site.Slug, w.second.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Descending || second.Height != 12 || second.ID == first.ID {
		t.Errorf("second rack = %+v", second)
	}
	want, got := map[string]lain{}, map[string]lain{}
	for _, d := range w.second.Devices {
		want[d.Name] = lain{d.Position, d.Face, d.Type.Height, d.Type.Slug, asset.Status(d.Status)}
	}
	for _, d := range second.Devices {
		got[d.Name] = lain{d.Position, d.Face, d.Height, d.Type.Slug, d.Status}
		if d.ID == 0 || d.Serial == "" || d.Role.Slug != "server" {
			t.Errorf("device %+v lacks its ID, serial or role", d)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices of the second rack (-want +got):\n%s", diff)
	}
}

func testRackRefuses(t *testing.T, h Harness, w world) {
	for _, test := range []struct {
		name, site, rack string
		kind             error
	}{
		{"no name", w.first.Site.Slug, "", inventory.ErrInvalid},
		{"an unknown rack", w.first.Site.Slug, "no-rack", inventory.ErrNotFound},
		{"an unknown site", "nowhere", w.first.Name, inventory.ErrNotFound},
		{"a name of several sites", "", w.first.Name, inventory.ErrAmbiguous},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := h.Source.Rack(t.Context(), test.site, test.rack)
			_ = kind(t, err, test.kind)
		})
	}
}

func testSameSerial(t *testing.T, h Harness, w world) {
	twin := w.server(6)
	got, err := h.Source.SameSerial(t.Context(), strings.ToLower(twin.Serial))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{twin.Name, twin.Name}, names(got)); diff != "" {
		t.Errorf("devices with one serial (-want +got):\n%s", diff)
	}
	if got, err = h.Source.SameSerial(t.Context(), "no-such-serial"); err != nil || len(got) != 0 {
		t.Errorf("SameSerial(unknown) = %v, %v; want none", names(got), err)
	}
	_, err = h.Source.SameSerial(t.Context(), " ")
	_ = kind(t, err, inventory.ErrInvalid)
}

func testCancelled(t *testing.T, h Harness, w world) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Source.Find(ctx, inventory.Query{Names: []string{w.server(1).Name}})
	_ = kind(t, err, inventory.ErrUnreachable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one that is context.Canceled", err)
	}
}

// testWasActive holds that the changelog is read from a time on, and that a log which does not reach
// back to it proves nothing.
func testWasActive(t *testing.T, h Harness, w world) {
	d := one(t, h, w, w.server(4).Name)
	ask := func(since time.Time) bool {
		t.Helper()
		got, err := h.Source.WasActive(t.Context(), d.ID, since)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	now := time.Now()
	if ask(now) {
		t.Error("a planned device was active")
	}
	if !ask(now.AddDate(-1, 0, 0)) {
		t.Error("what is older than the changelog counts as never active")
	}
	h.Edit(t, d.ID, map[string]any{"status": "active"})
	h.Edit(t, d.ID, map[string]any{"status": "failed"})
	if !ask(now) {
		t.Error("a device that was active and failed counts as never active")
	}
	if ask(now.Add(time.Hour)) {
		t.Error("it was not active in the time asked for")
	}
	h.Edit(t, d.ID, map[string]any{"status": "planned"})
}
