// Package inventorytest is the conformance suite of inventory.Source. A driver passes it against a
// real source of truth and against the box's, unchanged; what one of them cannot do does not belong
// in the port.
//
// Run makes a world of its own (two sites whose names nobody else has), so that it may run on an
// inventory that holds other things, and again. It leaves its devices behind, moved along their
// lifecycle.
package inventorytest

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/inventory"
)

// Harness is what the suite needs to know about the inventory under test. Its functions end the test
// when they fail.
type Harness struct {
	// Source is the driver, with the rights that Setup grants to Account and no others.
	Source  inventory.Source
	Account string
	// Admin is the driver with an administrator's rights.
	Admin inventory.Source
	// Load makes a rack as an administrator.
	Load func(t *testing.T, rack sim.Rack)
	// Edit changes fields of a device as an administrator would by hand.
	Edit func(t *testing.T, id asset.ID, fields map[string]any)
	// Journal gives the entries in a device's journal, oldest first, each as "kind: text".
	Journal func(t *testing.T, id asset.ID) []string
	// Changes gives the changelog of a device, oldest first.
	Changes func(t *testing.T, id asset.ID) []Change
	// Requests is the number of requests that Source has made so far.
	Requests func() int
}

// Change is one row of the changelog.
type Change struct {
	User    string
	Message string
	Fields  []string // names of the fields that changed, sorted; of custom fields their own names
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	w := newWorld()
	for _, r := range []sim.Rack{w.first, w.second} {
		h.Load(t, r)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Harness, world)
	}{
		{"Ping", testPing},
		{"Sites", testSites},
		{"Find", testFind},
		{"FindRefuses", testFindRefuses},
		{"FindManyInBatches", testFindBatches},
		{"Describe", testDescribe},
		{"DescribePrimaryAddress", testDescribePrimary},
		{"DescribeNetwork", testDescribeNetwork},
		{"Device", testDevice},
		{"Rack", testRack},
		{"RackRefuses", testRackRefuses},
		{"SameSerial", testSameSerial},
		{"WasActive", testWasActive},
		{"Allocate", testAllocate},
		{"AllocateNext", testAllocateNext},
		{"AllocateRefuses", testAllocateRefuses},
		{"Journal", testJournal},
		{"JournalRefuses", testJournalRefuses},
		{"SetStatus", testSetStatus},
		{"SetStatusRefuses", testSetStatusRefuses},
		{"SetStatusBesidesOtherEdits", testSetStatusEdits},
		{"SetStatusRace", testSetStatusRace},
		{"Cancelled", testCancelled},
		{"Setup", testSetup},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, h, w) })
	}
}

// world is what Run loads: a site with a rack of one switch and seven servers, and a second site whose
// rack is numbered from the top, has a name of the first, and holds a device with a name and a serial
// of the first beside devices of other heights.
type world struct {
	first, second sim.Rack
}

func newWorld() world {
	random := make([]byte, 3)
	_, _ = rand.Read(random) // never fails
	tag := hex.EncodeToString(random)

	server := sim.Role{Name: "Server", Slug: "server"}
	kind := sim.DeviceType{Manufacturer: "Contoso", ManufacturerSlug: "contoso", Model: "CS-1000", Slug: "contoso-cs-1000", Height: 1}
	site := sim.Site{Name: "Suite " + tag + " A", Slug: "suite-" + tag + "-a", Status: "active"}
	subnet := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, random[0], random[1], n}) }
	w := world{first: sim.Rack{
		Site: site, Name: "r" + tag, Height: 42,
		Prefixes: []sim.Prefix{
			{Prefix: netip.PrefixFrom(subnet(0), 25), Role: "oob", Site: site.Slug},
			{Prefix: netip.PrefixFrom(subnet(128), 25), Role: "primary", Site: site.Slug},
			{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + random[0]%16, random[1], 0}), 30), Role: "primary", Site: site.Slug, VLAN: 100},
			{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + random[0]%16, random[1], 64}), 30), Role: "primary", Site: site.Slug, VLAN: 120},
		},
		Devices: []sim.PlannedDevice{{
			Name: "sw-" + tag, Serial: "SW" + tag, Status: "active", Position: 42, Face: "rear",
			Role:       sim.Role{Name: "ToR switch", Slug: "tor-switch"},
			Type:       kind,
			Interfaces: []sim.PlannedInterface{{Name: "Ethernet1", Type: "25gbase-x-sfp28"}, {Name: "Ethernet2", Type: "1000base-t"}},
		}},
	}}
	for i := byte(1); i <= 6; i++ {
		d := sim.PlannedDevice{
			Name: "srv-" + tag + string('0'+rune(i)), Serial: "SN" + tag + string('A'+rune(i)), AssetTag: "AT" + tag + string('0'+rune(i)),
			Status: "planned", Type: kind, Role: server, Position: float64(i), Face: "front",
			OOB: netip.PrefixFrom(subnet(i), 25),
			Interfaces: []sim.PlannedInterface{
				{Name: "bmc", Type: "1000base-t", Mgmt: true, MAC: mac(random, i, 0)},
				{Name: "eth0", Type: "25gbase-x-sfp28", MAC: mac(random, i, 1)},
			},
		}
		if i == 1 {
			d.Interfaces[0].Cable = &sim.PlannedCable{Device: "sw-" + tag, Port: "Ethernet2", Status: "connected", Label: d.Name + "-mgmt"}
			d.Interfaces[1].Cable = &sim.PlannedCable{Device: "sw-" + tag, Port: "Ethernet1", Status: "planned", Label: d.Name + "-a"}
		}
		w.first.Devices = append(w.first.Devices, d)
	}
	w.first.VLANs = []sim.VLAN{{VID: 100, Name: "native"}, {VID: 110, Name: "storage"}, {VID: 120, Name: "backup"}}
	w.first.Devices = append(w.first.Devices, sim.PlannedDevice{
		Name: "srv-" + tag + "7", Serial: "SN" + tag + "H", Status: "planned", Type: kind, Role: server, Position: 7, Face: "front",
		Interfaces: []sim.PlannedInterface{
			{Name: "bond0", Type: "lag", MTU: 9000, Mode: "tagged", Untagged: 100, Tagged: []int{120, 110}},
			{Name: "bond0.110", Type: "virtual", Parent: "bond0", MTU: 1500, Mode: "access", Untagged: 110},
			{Name: "eth0", Type: "25gbase-x-sfp28", MAC: mac(random, 7, 0), LAG: "bond0", MTU: 9000},
			{Name: "eth1", Type: "25gbase-x-sfp28", MAC: mac(random, 7, 1), LAG: "bond0", MTU: 9000},
		},
	})
	twin := w.server(6)
	twin.AssetTag, twin.OOB, twin.Interfaces = "", netip.Prefix{}, nil
	other := sim.Site{Name: "Suite " + tag + " B", Slug: "suite-" + tag + "-b", Status: "active"}
	tall, half := kind, kind
	tall.Model, tall.Slug, tall.Height = "CS-2000", "contoso-cs-2000", 2
	half.Model, half.Slug, half.Height = "CS-500", "contoso-cs-500", 0.5
	strip := kind
	strip.Model, strip.Slug, strip.Height = "CS-0", "contoso-cs-0", 0
	// NetBox lets nothing overlap the twin at unit 6.
	w.second = sim.Rack{Site: other, Name: w.first.Name, Height: 12, Descending: true, Devices: []sim.PlannedDevice{twin,
		{Name: "tall-" + tag, Serial: "T" + tag, Status: "planned", Type: tall, Role: server, Position: 2, Face: "front"},
		{Name: "half-" + tag, Serial: "H" + tag, Status: "active", Type: half, Role: server, Position: 4.5, Face: "rear"},
		{Name: "strip-" + tag, Serial: "Z" + tag, Status: "active", Type: strip, Role: server},
	}}
	return w
}

func mac(random []byte, device, port byte) string {
	s, _ := asset.NormalMAC("02" + hex.EncodeToString(random) + hex.EncodeToString([]byte{device, port}))
	return s
}

// server gives server n of the first site, from 1. Tests that write use one each: SetStatus 1,
// SetStatusRefuses 2, SetStatusBesidesOtherEdits 3, SetStatusRace 4, DescribePrimaryAddress 5. Server 7 has a bond and VLANs, and nobody writes it
// but Journal.
func (w world) server(n int) sim.PlannedDevice { return w.first.Devices[n] }
