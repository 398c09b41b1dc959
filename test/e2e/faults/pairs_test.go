//go:build e2e

package faults

import (
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/sim"
)

// survived is the expectation that a fault passes without a person.
const survived fault.Code = "survived"

// step is a step with the requests of a BMC that belong to it alone, and its deadline
// divided by hurry.
type step struct {
	name     string
	path     string
	deadline time.Duration
}

// hurry divides deadlines and waits; see workflows.Timing.Faster. With 25 a request that hangs for the
// broker's 30 s ends within the shortest deadline, and a second one does not.
const hurry = 25

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

// spoiler is a fault with what is expected of a step when it lasts.
type spoiler struct {
	name  string
	fault sim.Fault
	lasts fault.Code // what it parks with; survived: it does not park
	also  fault.Code
	// own overrides lasts for steps in which it means something else.
	own map[string]fault.Code
	// only are the steps in which it makes sense; nil: all.
	only []string
	path string // instead of the step's
	// gated faults match requests of several steps: the step is parked first, by a refusal of its own
	// requests, and the fault put in its place.
	gated bool
	// cord: when the fault is gone, what it left in the BMC goes only with the power, as a person would do it.
	cord bool
}

func spoilers() []spoiler {
	late := map[string]fault.Code{"identity": fault.Deadline, "bmc-credentials": fault.Deadline}
	return []spoiler{
		{name: "status 500", fault: sim.Fault{Action: sim.ActStatus, Status: 500}, lasts: fault.ServerError},
		{name: "status 503", fault: sim.Fault{Action: sim.ActStatus, Status: 503}, lasts: fault.Busy},
		{name: "status 401", fault: sim.Fault{Action: sim.ActStatus, Status: 401}, lasts: fault.BadCredentials},
		{name: "latency", fault: sim.Fault{Action: sim.ActLatency, DelayMS: 1500}, lasts: survived},
		{name: "hang", fault: sim.Fault{Action: sim.ActHang}, lasts: fault.Unreachable, own: late},
		// After five resets in a row the broker leaves the BMC alone for 30 s, which is longer than the
		// hurried patience with a BMC. Which of the two is seen last is a matter of moments.
		{name: "reset", fault: sim.Fault{Action: sim.ActReset}, lasts: fault.Unreachable, also: fault.Busy},
		{name: "drip", fault: sim.Fault{Action: sim.ActDrip, DelayMS: 500}, lasts: fault.Unreachable, own: late},
		{name: "html", fault: sim.Fault{Action: sim.ActHTML}, lasts: fault.Malformed},
		// A demand for a new password that is cut off is a refusal without words.
		{name: "malformed", fault: sim.Fault{Action: sim.ActMalformed}, lasts: fault.Malformed, also: fault.Rejected},
		{name: "big", fault: sim.Fault{Action: sim.ActBig, Size: 9 << 20}, lasts: fault.Malformed},
		{name: "expired-session", fault: sim.Fault{Action: sim.ActExpiredSession}, lasts: fault.BadCredentials},
		{name: "wrong-serial", fault: sim.Fault{Action: sim.ActWrongSerial, Serial: "NOTTHISONE1"}, lasts: fault.IdentityMismatch,
			only: []string{"identity", "bmc-credentials", "firmware"}, path: `^/redfish/v1/(Systems|Chassis)`, gated: true},
		{name: "certificate", fault: sim.Fault{Action: sim.ActCertificate, Count: 1}, lasts: fault.PinChanged},
		{name: "power-ignored", fault: sim.Fault{Action: sim.ActPowerIgnored}, lasts: fault.NotApplied,
			only: []string{"firmware", "bios"}, path: `/ComputerSystem.Reset$`, gated: true},
		{name: "stuck-task", fault: sim.Fault{Action: sim.ActStuckTask}, lasts: fault.Deadline,
			only: []string{"firmware"}, path: `/UpdateService`, cord: true},
	}
}

// pair is one machine's case.
type pair struct {
	step
	spoiler
	flavour string // of the machine
	once    bool   // it fires once and must be survived
	want    fault.Code
}
