package sim

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cagenut/cagenut/internal/profile"
)

// A host is what runs on a machine: its firmware at boot, then the agent in RAM, an installer, or the
// system on its disk. It runs only in a box with Options.BootURL. It does what it does in phases: each
// ends with its outcome, and what it did to the machine, on disk, so that a box that was killed goes
// on in the same phase. Kernels and images are not fetched; everything else that is advertised is.

// host is the part of a machine's state that its host has.
type host struct {
	Run       *hostRun `json:"run,omitempty"` // what the host does; nil: it is off, idle, or in its firmware
	Installed *OnDisk  `json:"installed,omitempty"`
	LastBase  string   `json:"last_base,omitempty"` // one-time URL of the boot before, for ActUsedToken
}

// OnDisk is what is on a machine's disk.
type OnDisk struct {
	OS        string    `json:"os"`              // ID and VERSION_ID of os-release
	Image     string    `json:"image,omitempty"` // SHA-256; empty when an installer made it
	Disks     []string  `json:"disks"`
	Operation string    `json:"operation"`
	At        time.Time `json:"at"`
	HostKey   string    `json:"ssh_host_key"`             // public
	Minion    string    `json:"salt_minion,omitempty"`    // its ID; empty: no Salt
	MinionKey string    `json:"salt_minion_fp,omitempty"` // fingerprint
	BootMAC   string    `json:"boot_mac,omitempty"`       // of the port that has the addresses
	Addresses []string  `json:"addresses,omitempty"`      // with their prefix lengths
	// Pending says that the system has not reported its first boot; Base is where it will.
	Pending bool   `json:"pending,omitempty"`
	Base    string `json:"base,omitempty"`
}

// hostRun is one boot of a host.
type hostRun struct {
	Number  int      `json:"number"` // state.Boots
	Phase   string   `json:"phase"`
	Target  string   `json:"target"` // of the boot override: Pxe, UefiHttp, Cd, Hdd
	URI     string   `json:"uri,omitempty"`
	Base    string   `json:"base,omitempty"` // one-time URL; the token in it dies with its operation
	Method  string   `json:"method,omitempty"`
	Stage   string   `json:"stage,omitempty"` // to be reported next
	Did     bool     `json:"did,omitempty"`   // what Stage or Command does to the machine is done
	Answers answers  `json:"answers,omitzero"`
	Command *command `json:"command,omitempty"`
	Why     string   `json:"why,omitempty"` // it stands still
}

// command is what the agent was told.
type command struct {
	ID   string          `json:"id"`
	Kind string          `json:"kind"`
	Args json.RawMessage `json:"args,omitempty"`
	Done int             `json:"done,omitempty"` // percent
}

// HostKernel is the kernel's release on every host of the box.
const HostKernel = "6.1.0-box"

// The phases of a host.
const (
	phaseFirmware  = "firmware"
	phaseClaim     = "agent-claim"
	phaseNext      = "agent-next"
	phaseCommand   = "agent-command"
	phaseFetch     = "installer-fetch"
	phaseInstaller = "installer"
	phaseDisk      = "disk"
	phaseStopped   = "stopped" // it hangs, or gave up; only a reset gets it out of there
)

// How long hosts take at Speed 1.
const (
	timeDHCP    = 200 * time.Millisecond
	timeKernel  = 500 * time.Millisecond
	timeBurn    = 2 * time.Second
	timeErase   = 500 * time.Millisecond
	timeInstall = 2 * time.Second
	timeSystem  = 500 * time.Millisecond
)

// How often hosts ask. What they wait for is not faster in a fast box, so that Speed does not count: a
// worker that is started anew must look to them like one that is.
const (
	timeAgain = time.Second // before something is asked again
	tries     = 300         // of a report: five minutes, as hook.sh does it
	asks      = 10          // of firmware: one port after another, each over IPv4 and IPv6, then the disk
)

// startHost lets the host begin what its firmware boots. The caller holds the lock.
func (m *Machine) startHost(target, uri string) {
	m.stopHost()
	if m.box.opts.BootURL == "" {
		return
	}
	m.st.Host.Run = &hostRun{Number: m.st.Boots, Phase: phaseFirmware, Target: target, URI: uri}
	m.dirty = true
	m.wakeHost()
}

// stopHost ends what the host does at once: its power is gone, or it was reset. The caller holds the lock.
func (m *Machine) stopHost() {
	if i := m.st.Host.Installed; i != nil {
		m.minionRuns(*i, false)
	}
	if m.st.Host.Run != nil {
		m.st.Host.Run, m.dirty = nil, true
	}
	if m.cancelHost != nil {
		m.cancelHost()
		m.cancelHost = nil
	}
}

func (m *Machine) wakeHost() {
	select {
	case m.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// hostLoop is the host's life. Unlike the BMC, which works off what is due when it is asked, a host
// acts by itself.
func (m *Machine) hostLoop(ctx context.Context) {
	for ctx.Err() == nil {
		run, runCtx, wait := m.hostNow(ctx)
		if run != nil {
			m.hostPhase(runCtx, *run)
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// hostNow gives what the host is to do now, or how long nothing happens by itself.
func (m *Machine) hostNow(ctx context.Context) (*hostRun, context.Context, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.box.now()
	m.settle(now)
	m.commit()
	if r := m.st.Host.Run; r != nil && r.Phase != phaseStopped {
		if m.cancelHost != nil {
			m.cancelHost() // of the phase before, which is over
		}
		ctx, m.cancelHost = context.WithCancel(ctx) //nolint:govet // stopHost and the next call end it
		run := *r
		return &run, ctx, 0
	}
	wait := time.Hour
	for _, l := range m.st.Later {
		wait = min(wait, max(l.At.Sub(now), time.Millisecond))
	}
	return nil, nil, wait
}

// hostDid keeps the outcome of a phase, unless the host was stopped meanwhile, and returns when it is
// on disk. fn may change everything of the machine.
func (m *Machine) hostDid(number int, fn func(now time.Time, run *hostRun)) bool {
	m.mu.Lock()
	now := m.box.now()
	m.settle(now)
	r := m.st.Host.Run
	if r == nil || r.Number != number {
		m.commit()
		m.mu.Unlock()
		return false
	}
	fn(now, r)
	m.dirty = true
	n := m.commit()
	m.mu.Unlock()
	return m.box.store.wait(n) == nil
}

// rest lets time pass, at the box's speed; false when the host was stopped.
func (m *Machine) rest(ctx context.Context, d time.Duration) bool {
	return pause(ctx, max(m.scaled(d), time.Millisecond))
}

func (m *Machine) hostPhase(ctx context.Context, r hostRun) {
	switch r.Phase {
	case phaseFirmware:
		m.firmwareBoots(ctx, r)
	case phaseClaim:
		m.agentClaims(ctx, r)
	case phaseNext:
		m.agentAsks(ctx, r)
	case phaseCommand:
		m.agentObeys(ctx, r)
	case phaseFetch:
		m.installerFetches(ctx, r)
	case phaseInstaller:
		m.installerGoesOn(ctx, r)
	case phaseDisk:
		m.diskBoots(ctx, r)
	default:
		m.stops(r, "written by another version of the box: phase "+r.Phase)
	}
}

// stops leaves the host standing until somebody resets it.
func (m *Machine) stops(r hostRun, why string) {
	m.hostDid(r.Number, func(now time.Time, run *hostRun) {
		run.Phase, run.Why = phaseStopped, why
		m.effect(now, EffectHostStopped, why)
	})
}

// idles ends what there is to do: the system runs, or there is none.
func (m *Machine) idles(r hostRun) {
	m.hostDid(r.Number, func(time.Time, *hostRun) { m.st.Host.Run = nil })
}

// spoilt tells whether a rule spoils a point of the host's way, and lets the rule have its way where
// the host cannot go on. Points are dhcp, kernel, agent-claim, the kinds of commands, and the stages.
func (m *Machine) spoilt(r hostRun, point string) bool {
	switch {
	case m.box.faults.takeHost(m.spec.Name, ActHostHang, point):
		m.stops(r, "hangs at "+point)
	case m.box.faults.takeHost(m.spec.Name, ActHostLost, point):
		if err := m.PowerLoss(); err != nil {
			m.box.opts.Logger.Error("box state is not kept", "error", err)
		}
	default:
		return false
	}
	return true
}

// OnDisk tells what is on the machine's disk; false: nothing.
func (m *Machine) OnDisk() (OnDisk, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st.Host.Installed == nil {
		return OnDisk{}, false
	}
	i := *m.st.Host.Installed
	i.Disks, i.Addresses = slices.Clone(i.Disks), slices.Clone(i.Addresses)
	return i, true
}

// HostOf gives the system whose minion has an ID, and the MAC addresses of its machine's own ports; false:
// there is none.
func (b *Box) HostOf(minion string) (on OnDisk, macs []string, found bool) {
	for _, m := range b.machines {
		if on, found = m.OnDisk(); found && on.Minion == minion {
			return on, slices.Clone(m.spec.MACs[1:]), true
		}
	}
	return OnDisk{}, nil, false
}

// Disks are the disks that the host's kernel sees.
func (m *Machine) Disks() []profile.Disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.disks()
}

// doing tells what the host does, for people. The caller holds the lock.
func (h host) doing() string {
	switch {
	case h.Run == nil:
		return ""
	case h.Run.Phase == phaseStopped:
		return h.Run.Why
	case h.Run.Command != nil:
		return h.Run.Phase + " " + h.Run.Command.Kind
	case h.Run.Stage != "":
		return h.Run.Phase + " " + h.Run.Stage
	}
	return h.Run.Phase
}
