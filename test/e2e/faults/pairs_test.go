//go:build e2e

package faults

import (
	"slices"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/sim"
)

// survived is the expectation that a fault passes without a person.
const survived fault.Code = "survived"

// step is a step with the requests that belong to it alone, and its deadline divided by hurry.
type step struct {
	name     string
	path     string // of the BMC; of NetBox, where ID stands for the device's; or calls of Salt, where MINION is the minion's
	deadline time.Duration
}

// hurry divides deadlines and waits; see workflows.Timing.Faster. With 20 a request that hangs for the
// broker's 30 s, and all that a busy computer needs besides, end within the shortest deadline.
const hurry = 20

func steps() []step {
	return []step{
		{"identity", `^/redfish/v1/(Systems|Chassis)`, 20 * time.Minute / hurry},
		{"bmc-credentials", `/AccountService/Accounts`, 20 * time.Minute / hurry},
		{"bmc-settings", `/Managers/[^/]+/NetworkProtocol$`, 30 * time.Minute / hurry},
		{"firmware", `/UpdateService/FirmwareInventory`, 140 * time.Minute / hurry},
		{"bios", `/Systems/[^/]+/Bios$`, 90 * time.Minute / hurry},
		{"hardware", `/Systems/[^/]+/Memory`, 30 * time.Minute / hurry},
	}
}

// central are the steps that talk to NetBox. A plan does so too, so that the faults of the first two wait for
// their machines' plans; those of the others come when the step before has been parked.
func central() []step {
	return []step{
		{"preflight", `^/api/dcim/devices/\?.*[?&]id=ID(&|$)`, 45 * time.Minute / hurry},
		{"stage", `^/api/dcim/devices/ID/`, 45 * time.Minute / hurry},
		{"addresses", `^/api/dcim/devices/ID/`, 45 * time.Minute / hurry},
		{"in-service", `^/api/dcim/devices/ID/`, 45 * time.Minute / hurry},
	}
}

// spoiler is a fault with what is expected of a step when it lasts.
type spoiler struct {
	name  string
	fault sim.Fault
	lasts fault.Code // what it parks with; survived: it does not park
	also  fault.Code // or with this: which of the two is a matter of moments
	// stops are faults that park the machine at once, however short they are.
	stops bool
	// own overrides lasts and also for steps in which it means something else.
	own map[string][]fault.Code
	// says must stand in the reason: a deadline is no reason by itself.
	says string
	// only are the steps in which it makes sense; nil: all.
	only []string
	path string // instead of the step's
	// gated faults match requests of several steps: a step is parked first (see gates), and the fault put in
	// its place.
	gated bool
	// cord: when the fault is gone, what it left in the BMC goes only with the power, as a person would do it.
	cord bool
	// twice: the machine is installed already, and is installed once more with the fault.
	twice bool
	// long: it takes minutes, so that it begins first.
	long bool
	// passes: what lasts for ever is another fault; it comes once and is survived.
	passes bool
}

// gate is how a step is parked before the fault is put in its place.
type gate struct {
	step  string
	fault sim.Fault
	code  fault.Code
}

// gates park by a refusal of the step's own requests, or of the step before where it has none of its own.
func gates(s step) gate {
	refused := sim.Fault{Path: s.path, Action: sim.ActStatus, Status: 400}
	switch s.name {
	case "addresses":
		refused.Path = steps()[len(steps())-1].path // then nobody knows the memory
		return gate{"hardware", refused, fault.Differs}
	case "agent":
		refused.Method = "PATCH"
	case "burn-in":
		return gate{s.name, sim.Fault{Path: s.name, Action: sim.ActHostFails}, fault.BurnInFailed}
	case "disk-layout":
		return gate{s.name, sim.Fault{Path: s.name, Action: sim.ActHostFails}, fault.AgentFailed}
	case "os-install":
		refused.Machine, refused.Path = sim.Salt, forgets
	case "in-service":
		return gate{"validate", sim.Fault{Machine: sim.Salt, Path: asks, Action: sim.ActStatus, Status: 400}, fault.Rejected}
	}
	return gate{s.name, refused, fault.Rejected}
}

func spoilers() []spoiler {
	// A demand for a new password that is cut off is a refusal without words. Only base's identity meets it.
	wordless := map[string][]fault.Code{"identity": {fault.Rejected}}
	return []spoiler{
		{name: "status 500", fault: sim.Fault{Action: sim.ActStatus, Status: 500}, lasts: fault.ServerError},
		{name: "status 503", fault: sim.Fault{Action: sim.ActStatus, Status: 503}, lasts: fault.Busy},
		{name: "status 401", fault: sim.Fault{Action: sim.ActStatus, Status: 401}, lasts: fault.BadCredentials},
		{name: "latency", fault: sim.Fault{Action: sim.ActLatency, DelayMS: 1500}, lasts: survived},
		// Two requests of 30 s are about as much as the hurried deadlines.
		{name: "hang", fault: sim.Fault{Action: sim.ActHang}, lasts: fault.Unreachable, also: fault.Deadline},
		// After five resets in a row the broker leaves the BMC alone for 30 s, which is longer than the
		// hurried patience with a BMC. Which of the two is seen last is a matter of moments.
		{name: "reset", fault: sim.Fault{Action: sim.ActReset}, lasts: fault.Unreachable, also: fault.Busy},
		{name: "drip", fault: sim.Fault{Action: sim.ActDrip, DelayMS: 500}, lasts: fault.Unreachable, also: fault.Deadline},
		{name: "html", fault: sim.Fault{Action: sim.ActHTML}, lasts: fault.Malformed},
		{name: "malformed", fault: sim.Fault{Action: sim.ActMalformed}, lasts: fault.Malformed, own: wordless},
		{name: "big", fault: sim.Fault{Action: sim.ActBig, Size: 9 << 20}, lasts: fault.Malformed},
		{name: "expired-session", fault: sim.Fault{Action: sim.ActExpiredSession}, lasts: fault.BadCredentials},
		{name: "wrong-serial", fault: sim.Fault{Action: sim.ActWrongSerial, Serial: "NOTTHISONE1"}, lasts: fault.IdentityMismatch,
			only: []string{"identity", "bmc-credentials", "firmware"}, path: `^/redfish/v1/(Systems|Chassis)`, gated: true, stops: true},
		{name: "certificate", fault: sim.Fault{Action: sim.ActCertificate, Count: 1}, lasts: fault.PinChanged, stops: true},
		{name: "power-ignored", fault: sim.Fault{Action: sim.ActPowerIgnored}, lasts: fault.NotApplied,
			only: []string{"firmware", "bios"}, path: `/ComputerSystem.Reset$`, gated: true, stops: true},
		{name: "stuck-task", fault: sim.Fault{Action: sim.ActStuckTask}, lasts: fault.Deadline,
			only: []string{"firmware"}, path: `/UpdateService`, cord: true},
	}
}

// storms are the spoilers of NetBox.
func storms() []spoiler {
	json := func(status int, detail string) sim.Fault {
		return sim.Fault{Action: sim.ActStatus, Status: status, Body: `{"detail":"` + detail + `"}`}
	}
	list := []spoiler{
		{name: "500, a page", fault: sim.Fault{Action: sim.ActStatus, Status: 500,
			Body: "<!DOCTYPE html><html><head><title>Server Error</title></head></html>"}, lasts: fault.InventoryAway},
		// One call is given a minute, and the step 45 hurried ones, which is about two.
		{name: "hang", fault: sim.Fault{Action: sim.ActHang}, lasts: fault.Deadline, also: fault.InventoryAway, says: "inventory unreachable"},
		{name: "reset", fault: sim.Fault{Action: sim.ActReset}, lasts: fault.InventoryAway},
		{name: "latency", fault: sim.Fault{Action: sim.ActLatency, DelayMS: 1500}, lasts: survived},
		{name: "login page", fault: sim.Fault{Action: sim.ActHTML}, lasts: fault.Malformed},
		{name: "malformed", fault: sim.Fault{Action: sim.ActMalformed}, lasts: fault.Malformed},
		{name: "412", fault: json(412, "Precondition failed."), lasts: fault.Conflict, only: []string{"stage", "addresses", "in-service"}},
		{name: "403", fault: json(403, "You do not have permission to perform this action."), lasts: fault.InventoryDenied, stops: true},
	}
	for i := range list {
		list[i].fault.Machine = sim.NetBox
	}
	list[6].fault.Method = "PATCH" // nothing else is asked with an ETag
	return list
}

// pair is one machine's case.
type pair struct {
	step
	spoiler
	flavour string // of the machine
	once    bool   // it fires once and must be survived
	want    fault.Code
}

// expected is what the table says; right tells whether a reason is it.
func (p pair) expected() string {
	if p.also == "" {
		return string(p.want)
	}
	return string(p.want) + " or " + string(p.also)
}

func (p pair) right(seen fault.Code) bool { return seen == p.want || p.also != "" && seen == p.also }

// netBox tells whether it is NetBox that is spoilt.
func (p pair) netBox() bool { return p.fault.Machine == sim.NetBox }

// planned tells whether the machine is planned before the fault is put in its place.
func (p pair) planned() bool { return p.netBox() && !p.gated }

// rank orders pairs by how long they take, the longest first.
func (p pair) rank() int {
	switch {
	case p.planned():
		return 0
	case p.cord, p.long, p.twice:
		return 1
	case p.once || p.stops && !p.fault.OfHost():
		return 3
	}
	return 2
}

// until is how far the machine is installed: what has been shown by then needs no operating system.
func (p pair) until() string {
	early := []string{"preflight", "stage"}
	for _, s := range steps() {
		early = append(early, s.name)
	}
	if slices.Contains(early, p.step.name) {
		return "hardware"
	}
	return "active"
}

// pairs lists every step with every fault that makes sense in it. A fault that passes by itself comes
// twice: once, and lasting.
func pairs() []pair {
	var out []pair
	add := func(s step, f spoiler) {
		if f.only != nil && !slices.Contains(f.only, s.name) {
			return
		}
		p := pair{step: s, spoiler: f, want: f.lasts}
		if own, ok := f.own[s.name]; ok {
			p.want, p.also = own[0], ""
			if len(own) > 1 {
				p.also = own[1]
			}
		}
		p.gated = f.gated && s.name != "identity" || s.name == "addresses" || s.name == "in-service"
		p.twice = f.twice || s.name == "installed"
		// The base flavour demands a new password at once, which its identity step then sets; and a stuck
		// task is waited for as long as the step may take, which is shorter with one component.
		p.flavour = sim.FlavourBase
		if s.name == "bmc-credentials" || f.name == "stuck-task" {
			p.flavour = sim.FlavourDell
		}
		if f.name == "stuck-task" {
			p.deadline = 60 * time.Minute / hurry
		}
		if !f.passes {
			out = append(out, p)
		}
		// What lasts and is survived shows more than once; and that a short fault passes, which is the executor's
		// doing, is shown in one step of each kind.
		others := []string{"os-install", "installed", "validate", "in-service"}
		if f.stops || f.cord || f.lasts == survived && !f.passes || len(f.only) != 1 && slices.Contains(others, s.name) && !f.passes {
			return
		}
		p.once, p.want, p.also, p.says = true, survived, "", ""
		out = append(out, p)
	}
	for _, s := range central() {
		for _, f := range storms() {
			add(s, f)
		}
	}
	for _, s := range steps() {
		for _, f := range spoilers() {
			add(s, f)
		}
	}
	for _, s := range booted() {
		for _, f := range slices.Concat(boots(), hosts()) {
			add(s, f)
		}
	}
	for _, s := range configured() {
		for _, f := range slices.Concat(masters(), minions()) {
			add(s, f)
		}
	}
	return out
}
