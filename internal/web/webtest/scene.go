package webtest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// The operations of a scene.
const (
	Accepting operation.ID = "op_01KJZX4Q00000000000000000A" // runs, with one machine parked
	Earlier   operation.ID = "op_01KJZW4Q00000000000000000B" // ended, with one machine failed
	Forgotten operation.ID = "op_01KJZV4Q00000000000000000C" // was paused, and is
)

// Parked is the machine of a scene that waits for a person, Failed one that failed.
const (
	Parked asset.ID = 105
	Failed asset.ID = 203
)

// StepNames are the steps of a scene's runs.
func StepNames() []string {
	return []string{"preflight", "identity", "stage", "bmc-credentials", "bmc-settings", "firmware", "bios", "hardware"}
}

// Scene is a night at two sites: a rack is being accepted and one of its machines is parked; another
// rack was accepted, but for a machine that failed; somebody paused an operation and went home; one
// site is away, one worker's clock is off.
func Scene(now time.Time) (*Memory, *Records) {
	m := &Memory{Proofs: map[asset.ID]operation.Proof{}}
	r := &Records{}
	ams, fra := inventory.Named{ID: 1, Slug: "ams01", Name: "Amsterdam 1"}, inventory.Named{ID: 2, Slug: "fra02", Name: "Frankfurt 2"}
	r12 := rackOf(r, 12, ams, "r12", 101, 12)
	r13 := rackOf(r, 13, fra, "r13", 201, 4)
	r12.Devices = append(r12.Devices,
		inventory.RackDevice{ID: 190, Name: "storage-1", Serial: "STO1", Status: asset.Active, Type: inventory.Named{Name: "JBOD 4U"}, Role: inventory.Named{Name: "Storage"}, Position: 20, Face: "front", Height: 4, FullDepth: true},
		inventory.RackDevice{ID: 191, Name: "kvm", Serial: "KVM1", Status: asset.Active, Type: inventory.Named{Name: "Half KVM"}, Role: inventory.Named{Name: "Console"}, Position: 18.5, Face: "rear", Height: 0.5},
		inventory.RackDevice{ID: 192, Name: "sw-r12-a", Serial: "SW12A", Status: asset.Active, Type: inventory.Named{Name: "DCS-7050SX3"}, Role: inventory.Named{Name: "ToR switch"}, Position: 42, Face: "rear", Height: 1},
		inventory.RackDevice{ID: 193, Name: "old-1", Serial: "OLD1", Status: asset.Failed, Type: inventory.Named{Name: "R620"}, Role: inventory.Named{Name: "Server"}, Position: 25, Face: "front", Height: 2, FullDepth: true},
		inventory.RackDevice{ID: 194, Name: "pdu-1", Serial: "PDU1", Status: asset.Active, Type: inventory.Named{Name: "PDU"}, Role: inventory.Named{Name: "Power"}})
	r.Racks = append(r.Racks, r12, r13)

	m.Operations = []operation.Detail{
		{Summary: operation.Summary{ID: Accepting, Kind: "install", Until: "hardware", Actor: "ada", Reason: "rack r12 for the new region", Ticket: "DC-42",
			Hash: "9f2b5c0e5d7a4f1fa1c0b8f4d9a1c3e5f7092b4d6f8a0c2e4f6a8b0d2c4e6f80", Window: 8, Created: now.Add(-25 * time.Minute), Started: now.Add(-24 * time.Minute)},
			Runs: runs(Accepting, r12, 12, now.Add(-24*time.Minute))},
		{Summary: operation.Summary{ID: Earlier, Kind: "install", Until: "hardware", Actor: "bob", Reason: "replacements", Ticket: "DC-40",
			Hash: "17", Window: 8, Created: now.Add(-26 * time.Hour), Started: now.Add(-26 * time.Hour), Ended: now.Add(-25 * time.Hour)},
			Runs: runs(Earlier, r13, 4, now.Add(-26*time.Hour))},
		{Summary: operation.Summary{ID: Forgotten, Kind: "install", Until: "hardware", Actor: "eve", Reason: "before the holidays", Ticket: "DC-39",
			Hash: "18", Window: 2, Created: now.Add(-30 * time.Hour), Started: now.Add(-30 * time.Hour)},
			Runs: []operation.Run{{Operation: Forgotten, Asset: asset.Ref{ID: 301, Name: "srv-301", Serial: "SN301", Site: "fra02", Rack: "r13"}, Profile: "compute@3",
				State: operation.Paused, Step: "bios", Started: now.Add(-30 * time.Hour), Updated: now.Add(-29 * time.Hour), Steps: steps("bios", operation.StepRunning, now.Add(-30*time.Hour))}}},
	}
	for i := range m.Operations {
		setScene(&m.Operations[i], now)
		Count(&m.Operations[i])
	}
	m.Beats = []operation.Heartbeat{
		{Worker: "ctl-1/4242", Version: "v1.4.0", Queue: "central", At: now.Add(-4 * time.Second)},
		{Worker: "ctl-2/977", Version: "v1.4.0", Queue: "central", At: now.Add(-7 * time.Second)},
		{Site: "ams01", Worker: "ams-oob-1/31", Version: "v1.4.0", Queue: "site-ams01", At: now.Add(-3 * time.Second), SkewMS: 4100},
		{Site: "fra02", Worker: "fra-oob-1/77", Version: "v1.3.2", Queue: "site-fra02", At: now.Add(-9 * time.Minute), SkewMS: 12},
	}
	m.Moves = []operation.StatusMove{{From: asset.Planned, To: asset.Staged, Cause: "moved", Operation: Accepting, At: now.Add(-20 * time.Minute)},
		{To: asset.Planned, Cause: "observed", At: now.Add(-24 * time.Minute)}}
	for i, e := range []operation.Event{
		{Asset: 0, Kind: "requested", State: operation.Queued, Text: "install of 12 asked for: rack r12 for the new region"},
		{Asset: 101, Name: "srv-101", Kind: "transition", State: operation.Running, Step: "identity", StepState: operation.StepDone, Text: "serial SN101 as NetBox says"},
		{Asset: 102, Name: "srv-102", Kind: "transition", State: operation.Running, Step: "firmware", StepState: operation.StepRunning, Text: "BIOS 2.1.4: 40 % written"},
		{Asset: 104, Name: "srv-104", Kind: "transition", State: operation.Done, Step: "hardware", StepState: operation.StepDone, Text: "2 CPUs, 16 DIMMs, 4 drives, 4 network ports as the profile and NetBox say"},
		{Asset: Parked, Name: "srv-105", Kind: "transition", State: operation.Waiting, Step: "firmware", StepState: operation.StepParked, Text: "the firmware of srv-105 is not what the profile asks for"},
	} {
		e.Operation, e.At = Accepting, now.Add(time.Duration(i-25)*time.Minute)
		m.Happen(e)
	}
	m.Systems = map[asset.ID]*operation.Installed{Parked: {Digest: "7d1f0a3b9c2e", OS: "debian 12", Kernel: "6.1.0-28-amd64", Operation: Accepting, At: now.Add(-48 * time.Hour)}}
	m.Proofs[Parked] = operation.Proof{Operation: Accepting, Step: "hardware", Kind: "hardware", Title: "The machine as its BMC reads it", At: now.Add(-2 * time.Hour),
		Data: json.RawMessage(`{"systems":[{"id":"1","manufacturer":"Dell","model":"PowerEdge R660","serial":"SN105","bios_version":"2.1.4","boot_mode":"UEFI"}],
		"managers":[{"id":"1","model":"iDRAC 9","firmware":"7.00.60"}],
		"processors":[{"id":"1","model":"Xeon Gold 6430","type":"CPU","cores":32},{"id":"2","model":"Xeon Gold 6430","type":"CPU","cores":32}],
		"memory":[{"id":"A1","gib":32,"type":"DDR5","part_number":"M321R4"},{"id":"A2","gib":32,"type":"DDR5","part_number":"M321R4"}],
		"drives":[{"id":"0","bytes":1920000000000,"protocol":"NVMe","media":"SSD","model":"PM9A3","health":"OK"}]}`)}
	return m, r
}

func rackOf(r *Records, id int64, site inventory.Named, name string, first, n int) inventory.Rack {
	rack := inventory.Rack{ID: id, Name: name, Site: site, Height: 42, Lowest: 1}
	for i := range n {
		d := inventory.Device{ID: asset.ID(first + i), Name: fmt.Sprintf("srv-%d", first+i), Serial: fmt.Sprintf("SN%d", first+i), Status: asset.Staged,
			Site: site, Rack: inventory.Named{ID: id, Name: name}, Position: float64(i + 1), Face: "front", Role: inventory.Named{Slug: "server", Name: "Server"},
			Manufacturer: inventory.Named{Name: "Dell"}, Type: inventory.Named{Slug: "r660", Name: "PowerEdge R660"},
			OOB: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(id), byte(i + 1)}), 24),
			Interfaces: []inventory.Interface{{Name: "iDRAC", Mgmt: true, MACs: []string{fmt.Sprintf("02:00:00:00:%02X:01", first%256+i)},
				Cable: &inventory.Cable{Peer: "sw-" + name + "-mgmt", Port: fmt.Sprintf("Ethernet%d", i+1)}}}}
		r.Devices = append(r.Devices, d)
		rack.Devices = append(rack.Devices, inventory.RackDevice{ID: d.ID, Name: d.Name, Serial: d.Serial, Status: d.Status, Role: d.Role, Type: d.Type,
			Position: d.Position, Face: d.Face, Height: 1, FullDepth: true})
	}
	return rack
}

// steps makes the steps of a run that is at one of them.
func steps(at string, state operation.StepState, began time.Time) []operation.Step {
	var out []operation.Step
	before := true
	for i, name := range StepNames() {
		s := operation.Step{Name: name, Kind: name, Title: "Do " + name, State: operation.StepPending}
		start := began.Add(time.Duration(i) * 90 * time.Second)
		switch {
		case name == at:
			s.State, s.Attempt, s.Started = state, 1, start
			before = false
		case before:
			s.State, s.Attempt, s.Started, s.Ended = operation.StepDone, 1, start, start.Add(80*time.Second)
			s.Summary = name + " is as planned"
		}
		out = append(out, s)
	}
	return out
}

func runs(op operation.ID, rack inventory.Rack, n int, began time.Time) []operation.Run {
	var out []operation.Run
	for i := range n {
		d := rack.Devices[i]
		out = append(out, operation.Run{Operation: op, Asset: asset.Ref{ID: d.ID, Name: d.Name, Serial: d.Serial, Site: rack.Site.Slug, Rack: rack.Name},
			Profile: "compute@3", State: operation.Done, Started: began, Updated: began.Add(20 * time.Minute), Ended: began.Add(20 * time.Minute), Steps: steps("", "", began)})
	}
	return out
}

// setScene puts the runs of a scene's operations where they are.
func setScene(d *operation.Detail, now time.Time) {
	for i := range d.Runs {
		r := &d.Runs[i]
		at := func(state operation.State, step string, ss operation.StepState) *operation.Step {
			r.State, r.Step, r.Ended, r.Updated = state, step, time.Time{}, now.Add(-11*time.Minute)
			r.Steps = steps(step, ss, r.Started)
			for j := range r.Steps {
				if r.Steps[j].Name == step {
					return &r.Steps[j]
				}
			}
			return &operation.Step{}
		}
		switch r.Asset.ID {
		case Parked:
			s := at(operation.Waiting, "firmware", operation.StepParked)
			f := fault.New(fault.NotConverged, "the firmware of srv-105 is not what the profile asks for after 2 rounds")
			f.Details = []fault.Item{{Subject: "BIOS", Expected: "2.1.4", Seen: "1.9.0"}, {Subject: "iDRAC", Expected: "7.00.60", Seen: "6.10.30"}}
			s.Error, r.Error, s.Attempt = f, f, 2
			s.Attempts = []operation.Attempt{{Number: 1, State: operation.StepParked, Started: now.Add(-15 * time.Minute), Ended: now.Add(-12 * time.Minute),
				Error: fault.New(fault.ServerError, "GET /redfish/v1/UpdateService/FirmwareInventory: HTTP 500")},
				{Number: 2, State: operation.StepParked, Started: now.Add(-11 * time.Minute)}}
		case Failed:
			at(operation.Failed, "bios", operation.StepAborted)
			r.Ended = now.Add(-25 * time.Hour)
			r.Error = fault.New(fault.UnknownStep, "no worker knows step bios/3")
		case 101, 102, 103:
			s := at(operation.Running, "firmware", operation.StepRunning)
			s.Progress = &operation.Progress{Text: "BIOS 2.1.4: writing", Percent: 40}
		case 106, 107:
			at(operation.Away, "bios", operation.StepRunning)
		case 110, 111, 112:
			r.State, r.Ended, r.Started, r.Updated = operation.Queued, time.Time{}, time.Time{}, time.Time{}
			r.Steps = steps(" ", "", time.Time{})
			for j := range r.Steps {
				r.Steps[j] = operation.Step{Name: r.Steps[j].Name, Kind: r.Steps[j].Kind, Title: r.Steps[j].Title, State: operation.StepPending}
			}
		}
		for j := range r.Steps {
			s := &r.Steps[j]
			switch s.Name {
			case "stage":
				if s.State == operation.StepDone {
					s.Writes = []plan.Write{{System: "netbox", Object: "device " + r.Asset.Name, Field: "status", Before: "planned", After: "staged"}}
				}
			case "identity":
				if s.State == operation.StepDone {
					s.Evidence = []operation.Evidence{{Kind: "identity", Title: "Identity as the BMC gives it",
						Data: json.RawMessage(fmt.Sprintf(`{"serial":%q,"model":"PowerEdge R660"}`, r.Asset.Serial))}}
				}
			}
		}
	}
}
