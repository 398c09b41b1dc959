//go:build e2e

package faults

import (
	"encoding/json"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

// The calls of Salt that belong to a step alone; in rules MINION stands for the minion's ID.
const (
	forgets    = `^wheel key.print MINION$` // of os-install, and of installed before it
	submits    = `^local_async state.apply MINION$`
	looksUp    = `^runner jobs.list_job MINION$`
	configures = `^(wheel key.accept_dict|local_async state.apply|runner jobs.list_job) MINION$`
	asks       = `^local file.read MINION$` // of validate, and of installed on a machine that has a system
)

// overrides are the requests by which a step has its machine boot over the network.
const overrides = `/Systems/[^/]+$`

// booted are the steps of the machine itself.
func booted() []step {
	return []step{
		{"agent", overrides, 90 * time.Minute / hurry},
		{"burn-in", "", 150 * time.Minute / hurry},
		{"disk-layout", "", 2 * time.Hour / hurry},
		{"os-install", overrides, 4 * time.Hour / hurry},
	}
}

// configured are the steps that talk to configuration management.
func configured() []step {
	return []step{
		{"installed", forgets, 20 * time.Minute / hurry},
		{"os-install", forgets, 4 * time.Hour / hurry},
		{"configure", configures, 2 * time.Hour / hurry},
		{"validate", asks, time.Hour / hurry},
	}
}

// boots are the spoilers of BMCs in the steps that boot a machine over the network. Override and power are
// asked for by both, and the power by firmware too: they are gated.
func boots() []spoiler {
	both := []string{"agent", "os-install"}
	const reset = `/ComputerSystem.Reset$`
	set := func(f sim.Fault) sim.Fault { f.Method = "PATCH"; return f }
	return []spoiler{
		{name: "override: status 500", fault: set(sim.Fault{Action: sim.ActStatus, Status: 500}), lasts: fault.ServerError, only: both, gated: true},
		{name: "override: status 503", fault: set(sim.Fault{Action: sim.ActStatus, Status: 503}), lasts: fault.Busy, only: both, gated: true},
		{name: "override: status 401", fault: set(sim.Fault{Action: sim.ActStatus, Status: 401}), lasts: fault.BadCredentials, only: both, gated: true},
		{name: "override: hang", fault: set(sim.Fault{Action: sim.ActHang}), lasts: fault.Unreachable, only: both, gated: true},
		{name: "override: reset", fault: set(sim.Fault{Action: sim.ActReset}), lasts: fault.Unreachable, also: fault.Busy, only: both, gated: true},
		{name: "override: expired-session", fault: set(sim.Fault{Action: sim.ActExpiredSession}), lasts: fault.BadCredentials, only: both, gated: true},
		{name: "override: latency", fault: set(sim.Fault{Action: sim.ActLatency, DelayMS: 1500}), lasts: survived, only: both, gated: true},
		{name: "power: status 500", fault: sim.Fault{Action: sim.ActStatus, Status: 500}, lasts: fault.ServerError, only: both, path: reset, gated: true},
		{name: "power: ignored", fault: sim.Fault{Action: sim.ActPowerIgnored}, lasts: fault.NotApplied, only: both, path: reset, gated: true, stops: true},
		{name: "certificate", fault: set(sim.Fault{Action: sim.ActCertificate, Count: 1}), lasts: fault.PinChanged, stops: true, only: both, gated: true},
		// The identity is proved again right before whatever is destructive.
		{name: "wrong-serial", fault: sim.Fault{Action: sim.ActWrongSerial, Serial: "NOTTHISONE1"}, lasts: fault.IdentityMismatch, path: `^/redfish/v1/(Systems|Chassis)`, gated: true, stops: true},
	}
}

// hosts are the spoilers of the machines themselves. A boot that went wrong is a person's to repeat.
func hosts() []spoiler {
	agent, burnIn, disks, installer := []string{"agent"}, []string{"burn-in"}, []string{"disk-layout"}, []string{"os-install"}
	second := func(action string) sim.Fault { return sim.Fault{Action: action, Skip: 1} } // the agent's boot is the first
	list := []spoiler{
		{name: "no DHCP", fault: sim.Fault{Action: sim.ActNoDHCP}, path: "dhcp", lasts: fault.NoDHCP, only: agent},
		{name: "no phone-home", fault: sim.Fault{Action: sim.ActNoPhoneHome}, path: "kernel", lasts: fault.NoPhoneHome, only: agent},
		{name: "used token", fault: sim.Fault{Action: sim.ActUsedToken}, path: "kernel", lasts: fault.NoPhoneHome, only: agent},
		{name: "another machine", fault: sim.Fault{Action: sim.ActWrongMAC}, path: "agent-claim", lasts: fault.WrongMachine, only: agent},
		{name: "hangs before its first word", fault: sim.Fault{Action: sim.ActHostHang}, path: "agent-claim", lasts: fault.NoPhoneHome, only: agent},
		{name: "hangs in its report", fault: sim.Fault{Action: sim.ActHostHang}, path: "^report", lasts: fault.AgentFailed, only: agent, long: true},
		{name: "fails in its report", fault: sim.Fault{Action: sim.ActHostFails}, path: "^report", lasts: fault.AgentFailed, only: agent},
		// A hurried machine may be off again before anybody has seen it on.
		{name: "loses its power", fault: sim.Fault{Action: sim.ActHostLost}, path: "agent-claim", lasts: fault.NoPhoneHome, also: fault.NotApplied, only: agent},

		{name: "hangs", fault: sim.Fault{Action: sim.ActHostHang}, path: "burn-in", lasts: fault.AgentFailed, only: burnIn},
		{name: "loses its power", fault: sim.Fault{Action: sim.ActHostLost}, path: "burn-in", lasts: fault.AgentFailed, only: burnIn},
		{name: "memory fails", fault: sim.Fault{Action: sim.ActHostFails}, path: "burn-in", lasts: fault.BurnInFailed, only: burnIn},

		{name: "hangs", fault: sim.Fault{Action: sim.ActHostHang}, path: "disk-layout", lasts: fault.AgentFailed, only: disks},
		{name: "loses its power", fault: sim.Fault{Action: sim.ActHostLost}, path: "disk-layout", lasts: fault.AgentFailed, only: disks},
		{name: "cannot erase", fault: sim.Fault{Action: sim.ActHostFails}, path: "disk-layout", lasts: fault.AgentFailed, only: disks},

		{name: "no DHCP", fault: second(sim.ActNoDHCP), path: "dhcp", lasts: fault.NoDHCP, only: installer},
		{name: "no phone-home", fault: second(sim.ActNoPhoneHome), path: "kernel", lasts: fault.NoPhoneHome, only: installer},
		{name: "used token", fault: second(sim.ActUsedToken), path: "kernel", lasts: fault.NoPhoneHome, only: installer},
		{name: "another machine", fault: sim.Fault{Action: sim.ActWrongMAC}, path: "early", lasts: fault.WrongMachine, only: installer},
		{name: "another machine comes up", fault: sim.Fault{Action: sim.ActWrongMAC}, path: "first-boot", lasts: fault.WrongMachine, only: installer},
		{name: "installer hangs at once", fault: sim.Fault{Action: sim.ActHostHang}, path: "early", lasts: fault.InstallerHangs, only: installer},
		{name: "installer hangs", fault: sim.Fault{Action: sim.ActHostHang}, path: "partitioned", lasts: fault.InstallerHangs, only: installer},
		{name: "installer hangs with the packages", fault: sim.Fault{Action: sim.ActHostHang}, path: "installed", lasts: fault.InstallerHangs, only: installer, long: true},
		{name: "installer loses its power", fault: sim.Fault{Action: sim.ActHostLost}, path: "partitioned", lasts: fault.InstallerHangs, also: fault.NotApplied, only: installer},
		{name: "installer gives up", fault: sim.Fault{Action: sim.ActHostFails}, path: "partitioned", lasts: fault.InstallerFailed, only: installer},
		{name: "system does not come up", fault: sim.Fault{Action: sim.ActHostHang}, path: "first-boot", lasts: fault.InstallerHangs, only: installer, long: true},
	}
	for i := range list {
		list[i].stops = true
	}
	return append(list,
		spoiler{name: "override kept", fault: sim.Fault{Action: sim.ActKeepsBoot}, path: "override", lasts: survived, only: agent, passes: true},
		spoiler{name: "override kept", fault: second(sim.ActKeepsBoot), path: "override", lasts: survived, only: installer, passes: true})
}

// answer is what Salt answers in place of the truth, with HTTP 200.
func answer(body string) sim.Fault { return sim.Fault{Action: sim.ActStatus, Status: 200, Body: body} }

// masters are the spoilers of salt-api in every step that talks to it.
func masters() []spoiler {
	list := []spoiler{
		{name: "salt-api resets", fault: sim.Fault{Action: sim.ActReset}, lasts: fault.ConfigAway},
		{name: "salt-api: 500", fault: sim.Fault{Action: sim.ActStatus, Status: 500}, lasts: fault.ConfigAway},
		{name: "salt-api: 401, a page", fault: sim.Fault{Action: sim.ActStatus, Status: 401}, lasts: fault.ConfigDenied},
		{name: "salt-api: 403", fault: sim.Fault{Action: sim.ActStatus, Status: 403}, lasts: fault.ConfigDenied, stops: true},
		{name: "salt-api: a page", fault: sim.Fault{Action: sim.ActHTML}, lasts: fault.Malformed},
		{name: "salt-api: a list of strings", fault: answer(`{"return": [["Exception", "occurred"]]}`), lasts: fault.Malformed},
		{name: "salt-api: half of the JSON", fault: answer(`{"return": [{`), lasts: fault.Malformed},
		{name: "salt-api: latency", fault: sim.Fault{Action: sim.ActLatency, DelayMS: 1500}, lasts: survived},
		{name: "salt-api restarts", fault: sim.Fault{Action: sim.ActExpiredSession}, lasts: survived, passes: true},
		{name: "salt-api hangs", fault: sim.Fault{Action: sim.ActHang}, lasts: fault.ConfigAway, also: fault.Deadline, only: []string{"os-install", "configure", "validate"}, long: true},
		// A request is given a minute, which is all that there is of the hurried deadline of installed.
		{name: "salt-api hangs", fault: sim.Fault{Action: sim.ActHang}, lasts: fault.Deadline, also: fault.ConfigAway, only: []string{"installed"}, stops: true},
	}
	for i := range list {
		list[i].fault.Machine = sim.Salt
	}
	return list
}

// minions are the spoilers of what Salt and its minions do in one step.
func minions() []spoiler {
	configure, validate, installed := []string{"configure"}, []string{"validate"}, []string{"installed"}
	says := func(body string, code int) sim.Fault {
		return sim.Fault{Action: sim.ActMinionSays, Body: body, Status: code}
	}
	key, err := json.Marshal(saltsim.Key("of another machine"))
	if err != nil {
		panic(err)
	}
	keys := func(list string) sim.Fault {
		return answer(`{"return": [{"data": {"return": ` + list + `, "success": true}}]}`)
	}
	told := func(ret string) sim.Fault {
		return answer(`{"return": [{"MINION": {"ret": ` + ret + `, "retcode": 0, "jid": "1"}}]}`)
	}
	silent := answer(`{"return": [{"MINION": false}]}`)
	failing := says(`{"pkg_|-web_|-nginx_|-installed": {"name": "nginx", "__id__": "web", "__sls__": "web", "result": false, "comment": "no such package", "changes": {}}}`, 2)
	once := func(f sim.Fault) sim.Fault { f.Count = 1; return f }
	later := func(f sim.Fault) sim.Fault { f.Skip, f.Count = 1, 1; return f } // the test run is the first
	list := []spoiler{
		{name: "wrong fingerprint", fault: keys(`{"minions_pre": {"MINION": ` + string(key) + `}}`), path: forgets, lasts: fault.KeyMismatch, only: configure, stops: true},
		{name: "no key ever", fault: keys(`{}`), path: forgets, lasts: fault.NotEnrolled, only: configure, stops: true},
		{name: "accepting answers a text", fault: answer(`{"return": [{"data": {"return": "Usage: ...", "success": true}}]}`), path: `^wheel key.accept_dict MINION$`, lasts: fault.Rejected, only: configure, stops: true},
		{name: "minion is silent", fault: silent, path: `^local test.ping MINION$`, lasts: fault.HostAway, only: configure},
		{name: "minion is silent in a run", fault: silent, path: `^local saltutil.find_job MINION$`, lasts: survived, only: configure, passes: true}, // its result comes all the same
		{name: "minion lost in test runs", fault: sim.Fault{Action: sim.ActMinionLost}, path: submits, lasts: fault.ConfigLost, only: configure},
		{name: "minion lost in the run", fault: later(sim.Fault{Action: sim.ActMinionLost}), path: submits, lasts: fault.ConfigLost, only: configure, stops: true},
		{name: "salt-api restarts in a run", fault: sim.Fault{Action: sim.ActExpiredSession}, path: looksUp, lasts: survived, only: configure, passes: true},
		{name: "salt-api: 500 in a run", fault: sim.Fault{Action: sim.ActStatus, Status: 500}, path: looksUp, lasts: fault.ConfigAway, only: configure},
		{name: "the master forgets its jobs", fault: answer(`{"return": [{"jid": "x", "Error": "Cannot contact returner or no job with this jid", "Result": {}}]}`), path: looksUp, lasts: fault.ConfigLost, only: configure},
		{name: "render failure", fault: says(`["Rendering SLS 'base:base.ssh' failed: Jinja variable 'x' is undefined"]`, 1), path: submits, lasts: fault.RenderFailed, only: configure, stops: true},
		{name: "minion is busy", fault: says(`["The function \"state.apply\" is running as PID 4711 and was started at 2026, Jan 01 00:00:00.000000 with jid 1"]`, 1), path: submits, lasts: fault.Busy, only: configure},
		{name: "a state fails", fault: later(failing), path: submits, lasts: fault.ConfigFailed, only: configure, stops: true},
		{name: "a state fails in the test run", fault: failing, path: submits, lasts: survived, only: configure, passes: true},
		{name: "no state applies", fault: says(`["No Top file or master_tops data matches found."]`, 1), path: submits, lasts: fault.ConfigFailed, only: configure, stops: true},

		{name: "minion is silent", fault: silent, lasts: fault.HostAway, only: validate},
		{name: "a service does not run", fault: told("false"), path: `^local service.status MINION$`, lasts: fault.CheckFailed, only: validate},
		{name: "the clock is wrong", fault: told(`"1000000000.0"`), path: `^local status.time MINION$`, lasts: fault.CheckFailed, only: validate},
		{name: "no link", fault: told(`{"lo": {"up": true}}`), path: `^local network.interfaces MINION$`, lasts: fault.CheckFailed, only: validate},
		{name: "the gateway is silent", fault: answer(`{"return": [{"MINION": {"ret": false, "retcode": 1, "jid": "1"}}]}`), path: `^local network.ping MINION$`, lasts: fault.CheckFailed, only: validate},
		{name: "df fails", fault: told(`{}`), path: `^local disk.usage MINION$`, lasts: fault.Rejected, only: validate, stops: true},

		// What is not proved is installed anew; another release under our own key is a person's to erase.
		{name: "another key is let in", fault: keys(`{"minions": {"MINION": ` + string(key) + `}}`), lasts: survived, only: installed, passes: true},
		{name: "minion is silent", fault: silent, path: asks, lasts: survived, only: installed},
		{name: "another release runs", fault: once(told(`"ID=debian\nVERSION_ID=13\n"`)), path: asks, lasts: fault.WrongOS, only: installed, stops: true},
		{name: "it was updated in place", fault: told(`"ID=debian\nVERSION_ID=12.8\n"`), path: asks, lasts: survived, only: installed, passes: true},
	}
	for i := range list {
		list[i].fault.Machine = sim.Salt
	}
	return list
}
