// Package sim is a data center in a box: racks of servers whose BMCs speak Redfish over TLS and keep
// state, for the demo and for scale, kill and fault tests. Nothing that is deployed imports it.
//
// Words
//
//   - Rack: what a source of truth should say before anybody racked anything: devices, serials, MAC
//     addresses, cables, prefixes. Plain data (rack.go); the box's NetBox and the loader for a real
//     one read the same.
//   - Machine: one server with its BMC, made from a MachineSpec. Its state (power, firmware, BIOS,
//     passwords, sessions, tasks) is one struct behind one lock.
//   - Flavour: how a vendor's BMC differs, as data: resource names, layouts, habits, answer times.
//   - Host: what runs on a machine: firmware that follows the boot override, the agent, an installer,
//     the system on its disk (host.go). It needs Options.BootURL.
//   - Effect: something that really happened to a machine, such as off -> on or a flash. The Journal
//     holds every mutating request and every effect, so that tests can count them.
//   - Fault: a rule that spoils answers a number of times. Hold: a rule that keeps the answer of a
//     mutating request back, before or after its effect, until a test has killed somebody.
//
// Box ties them together: one TLS listener per BMC, one admin API on loopback.
//
// Every change is on disk (fsync) before its answer is sent, so the box may be killed at any moment
// and started again on the same folder. A Box and its Machines are safe for concurrent use. Time
// comes from Options.Clock; what happens "later" on a machine (power coming on, a task's progress)
// is a list of dated events in its state that is worked off before each request, so nothing is lost
// when the process dies in between.
package sim
