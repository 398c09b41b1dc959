package sim

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// MachineSpec is one server to run.
type MachineSpec struct {
	Name    string     `json:"name"`
	Flavour string     `json:"flavour"`
	Serial  string     `json:"serial"` // the one that stands in the source of truth
	Addr    netip.Addr `json:"addr"`   // of the BMC, on loopback
	// MACs are the BMC's first, then the host's ports. Missing ones are derived from the serial.
	MACs []string `json:"macs,omitempty"`
	// User and Password are the factory account; empty: FactoryUser and FactoryPassword.
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	// PasswordSet says that the factory password need not be changed first, where the flavour
	// would demand it.
	PasswordSet bool `json:"password_set,omitempty"`
	// Firmware overrides the factory versions by component.
	Firmware map[string]string `json:"firmware,omitempty"`
	// BIOS overrides factory attributes.
	BIOS map[string]any `json:"bios,omitempty"`
	// Missing names parts that are not there, by the Id that the flavour gives them.
	Missing []string `json:"missing,omitempty"`
	// Failed names parts whose health is Critical.
	Failed []string `json:"failed,omitempty"`
	// Off starts the machine without host power, as most are after racking.
	Off bool `json:"off,omitempty"`
	// ClockSkew is how far the BMC's clock is ahead until it has a time server.
	ClockSkew time.Duration `json:"clock_skew,omitempty"`
}

// Machines gives the specs of a rack's servers. Some are without host power and some have a wrong
// clock, as after racking.
func (r Rack) Machines() []MachineSpec {
	var out []MachineSpec
	for i, d := range r.Servers() {
		s := MachineSpec{Name: d.Name, Flavour: d.Flavour, Serial: d.Serial, Addr: d.OOB.Addr()}
		for _, p := range d.Interfaces {
			if p.MAC != "" { // bonds and VLANs are no hardware
				s.MACs = append(s.MACs, p.MAC)
			}
		}
		s.Off = i%6 == 5
		if i%3 == 1 {
			s.ClockSkew = -17 * time.Minute
		}
		out = append(out, s)
	}
	return out
}

// fill completes a spec and checks it.
func (s MachineSpec) fill() (MachineSpec, error) {
	f, known := flavours[s.Flavour]
	switch {
	case s.Name == "":
		return s, fmt.Errorf("machine with serial %q has no name", s.Serial)
	case !known:
		return s, fmt.Errorf("machine %s: unknown flavour %q; use one of %s", s.Name, s.Flavour, strings.Join(Flavours(), ", "))
	case !s.Addr.IsLoopback():
		return s, fmt.Errorf("machine %s: address %s is not on loopback; the box listens nowhere else", s.Name, s.Addr)
	}
	if s.Serial == "" {
		s.Serial = f.serial(s.Name)
	}
	for i := len(s.MACs); i < 1+f.hostPorts(); i++ {
		s.MACs = append(slices.Clip(s.MACs), macOf(s.Serial, i))
	}
	if s.User == "" {
		s.User = f.user
	}
	if s.Password == "" {
		s.Password = FactoryPassword(s.Serial)
	}
	return s, nil
}

// Machine is one server with its BMC.
type Machine struct {
	spec MachineSpec
	f    *flavour
	box  *Box
	slot chan struct{} // nil: any number of requests at once

	mu    sync.Mutex
	st    state
	out   []Entry // what happened since the last commit
	dirty bool
	// epoch counts restarts of the BMC's web server. A connection from an earlier one is dead.
	epoch   int
	cert    *tls.Certificate
	certGen int

	// Of the host (host.go).
	wake       chan struct{}
	cancelHost context.CancelFunc // ends what the host does now; nil: nothing
	hostClient *http.Client
}

// Name gives the machine's name.
func (m *Machine) Name() string { return m.spec.Name }

// Spec gives what the machine was made from.
func (m *Machine) Spec() MachineSpec { return m.spec }

// factory is the state of a machine that nobody has touched.
func (m *Machine) factory(now time.Time) state {
	f := m.f
	st := state{
		Power: "On", Boot: "OSRunning", PostCode: postDone, Reset: now, Timeout: 1800,
		Firmware: map[string]string{}, BIOS: map[string]any{},
		Override:   override{Target: "None", Enabled: "Disabled", Mode: "UEFI"},
		SecureBoot: false,
		Manager:    manager{HostName: f.hostName(m.spec.Serial), Port: 514, Offset: "+00:00", Skew: m.spec.ClockSkew},
	}
	if m.spec.Off {
		st.Power, st.Boot, st.PostCode = "Off", "None", 0
	}
	for _, c := range f.components {
		st.Firmware[c.key] = c.version
	}
	for key, v := range m.spec.Firmware {
		st.Firmware[key] = v
	}
	for _, a := range f.bios {
		st.BIOS[a.name] = a.value
	}
	for name, v := range m.spec.BIOS {
		st.BIOS[name] = v
	}
	st.Override.Mode = f.bootMode(st.BIOS)
	for i := 1; i <= f.accountSlots; i++ {
		st.Accounts = append(st.Accounts, account{ID: fmt.Sprint(i), Role: "None"})
	}
	a := account{ID: f.accountID, User: m.spec.User, Role: "Administrator", Enabled: true}
	a.ChangeRequired = f.passwordChange && !m.spec.PasswordSet
	a.setPassword(word(m.spec.Serial, "salt", 8), m.spec.Password)
	if i := slices.IndexFunc(st.Accounts, func(x account) bool { return x.ID == a.ID }); i >= 0 {
		st.Accounts[i] = a
	} else {
		st.Accounts = append(st.Accounts, a)
	}
	if f.raidVolume != "" {
		st.Volumes = []volume{f.firstVolume()}
	}
	m.log(&st, now, "OK", "SystemPowerOn", "The system was assembled.")
	return st
}

// effect notes that something happened. The caller holds the lock.
func (m *Machine) effect(t time.Time, effect, detail string) {
	m.out = append(m.out, Entry{Time: t, Machine: m.spec.Name, Kind: KindEffect, Effect: effect, Detail: detail})
	m.dirty = true
}

// log adds an entry to the system event log, which holds the newest 200.
func (m *Machine) log(st *state, t time.Time, severity, code, text string) {
	const keep = 200
	st.Log = append(st.Log, event{ID: st.next(), Time: t.Add(st.Manager.Skew).UTC(), Severity: severity, Code: code, Message: text})
	if n := len(st.Log); n > keep {
		st.Log = slices.Clone(st.Log[n-keep:])
	}
	m.dirty = true
}

// commit hands what changed to the store and gives the number to wait for; 0 when nothing did.
// The caller holds the lock.
func (m *Machine) commit() int64 {
	if !m.dirty && len(m.out) == 0 {
		return 0
	}
	entries := m.out
	m.out, m.dirty = nil, false
	m.box.journal.add(entries)
	raw, err := json.Marshal(&m.st)
	if err != nil {
		panic(fmt.Sprintf("sim: encode the state of %s: %v", m.spec.Name, err)) // plain data always encodes
	}
	return m.box.store.put(record{Machine: m.spec.Name, State: raw, Entries: entries})
}

// change runs fn on the machine as it is now, and returns when the outcome is on disk.
func (m *Machine) change(fn func(now time.Time)) error {
	m.mu.Lock()
	now := m.box.now()
	m.settle(now)
	fn(now)
	m.dirty = true
	n := m.commit()
	m.mu.Unlock()
	return m.box.store.wait(n)
}

// settle lets happen what was to happen until now. The caller holds the lock.
func (m *Machine) settle(now time.Time) {
	for {
		first := -1
		for i, l := range m.st.Later {
			if !l.At.After(now) && (first < 0 || l.At.Before(m.st.Later[first].At)) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		l := m.st.Later[first]
		m.st.Later = slices.Delete(m.st.Later, first, first+1)
		m.dirty = true
		m.happen(l)
	}
	m.expireSessions(now)
}

// later plans something for d (at Speed 1) after t.
func (m *Machine) later(t time.Time, d time.Duration, do, arg string) {
	m.st.Later = append(m.st.Later, later{At: t.Add(m.scaled(d)), Do: do, Arg: arg})
	m.dirty = true
	m.wakeHost()
}

func (m *Machine) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / m.box.opts.Speed)
}

// Things that happen later.
const (
	doPowerOn  = "power-on"
	doPowerOff = "power-off"
	doCycle    = "power-cycle"
	doBoot     = "boot"
	doFlash    = "flash"
	doNTP      = "ntp"
	doVolume   = "volume"
)

func (m *Machine) happen(l later) {
	switch l.Do {
	case doPowerOn:
		m.powerIsOn(l.At)
	case doPowerOff:
		m.powerIsOff(l.At)
	case doCycle:
		m.powerIsOff(l.At)
		m.startPowerOn(l.At)
	case doBoot:
		m.bootStage(l.At, l.Arg)
	case doFlash:
		m.flashEnds(l.At, l.Arg)
	case doNTP:
		m.st.Manager.Skew = 0
	case doVolume:
		m.volumeReady(l.At, l.Arg)
	}
}

// rebootBMC starts the BMC anew: it is away for a while, and forgets sessions and tasks.
func (m *Machine) rebootBMC(t time.Time, why string) {
	st := &m.st
	st.DownUntil = t.Add(m.scaled(1500 * time.Millisecond))
	st.Reset = st.DownUntil
	for _, s := range st.Sessions {
		m.effect(t, EffectSessionClosed, s.ID)
	}
	st.Sessions = nil
	st.Tasks = slices.DeleteFunc(st.Tasks, task.done)
	m.epoch++
	m.effect(t, EffectBMCReboot, why)
	m.log(st, t, "OK", "ManagerReset", "The management controller restarted: "+why+".")
}

// away tells whether the BMC is restarting.
func (m *Machine) away(now time.Time) bool { return m.st.DownUntil.After(now) }

// PowerLoss pulls the cord: the host is off, the BMC restarts, and an update that was being
// written fails.
func (m *Machine) PowerLoss() error {
	return m.change(func(now time.Time) {
		st := &m.st
		m.effect(now, EffectPowerLoss, "")
		st.cancel(doPowerOn, doPowerOff, doCycle, doBoot, doFlash, doVolume)
		for i := range st.Tasks {
			if t := &st.Tasks[i]; !t.done() {
				t.State, t.End, t.Message = "Exception", now, "Power was lost."
			}
		}
		if st.on() {
			m.powerIsOff(now)
		} else {
			st.Power = "Off"
		}
		m.log(st, now, "Critical", "PowerLoss", "Input power was lost.")
		m.rebootBMC(now, "power loss")
	})
}

// Summary is a machine's state for people and tests.
type Summary struct {
	Name        string            `json:"name"`
	Flavour     string            `json:"flavour"`
	Serial      string            `json:"serial"`
	Address     string            `json:"address"`
	Power       string            `json:"power"`
	Boot        string            `json:"boot_progress"`
	Boots       int               `json:"boots"`
	Firmware    map[string]string `json:"firmware"`
	Staged      map[string]string `json:"firmware_staged,omitempty"`
	BIOS        map[string]any    `json:"bios"`
	Pending     map[string]any    `json:"bios_pending,omitempty"`
	BootMode    string            `json:"boot_mode"`
	HostName    string            `json:"bmc_hostname"`
	NTP         []string          `json:"ntp,omitempty"`
	DNS         []string          `json:"dns,omitempty"`
	Syslog      string            `json:"syslog,omitempty"`
	Media       string            `json:"media,omitempty"`
	SecureBoot  bool              `json:"secure_boot"`
	Sessions    int               `json:"sessions"`
	MaxSessions int               `json:"max_sessions"`
	Tasks       int               `json:"tasks_running"`
	Away        bool              `json:"bmc_away"`
	Fingerprint string            `json:"fingerprint"`
	Host        string            `json:"host,omitempty"` // what runs on it, when that is more than a system
	Installed   *OnDisk           `json:"installed,omitempty"`
}

// Summary reads the machine's state.
func (m *Machine) Summary() Summary {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.box.now()
	m.settle(now)
	m.commit()
	st := &m.st
	s := Summary{
		Name: m.spec.Name, Flavour: m.f.name, Serial: m.spec.Serial, Address: m.box.addressOf(m),
		Power: st.Power, Boot: st.Boot, Boots: st.Boots, Firmware: cloneMap(st.Firmware), Staged: cloneMap(st.Staged),
		BIOS: cloneMap(st.BIOS), Pending: cloneMap(st.Pending), BootMode: m.f.bootMode(st.BIOS),
		HostName: st.Manager.HostName, NTP: slices.Clone(st.Manager.NTP), DNS: slices.Clone(st.Manager.DNS),
		Syslog: st.Manager.Syslog, Media: st.Media, SecureBoot: st.SecureBootNow,
		Sessions: len(st.Sessions), MaxSessions: st.MaxSessions, Away: m.away(now), Host: st.Host.doing(),
	}
	if i := st.Host.Installed; i != nil {
		s.Installed = &OnDisk{OS: i.OS, Image: i.Image, Disks: slices.Clone(i.Disks), Operation: i.Operation, At: i.At, HostKey: i.HostKey,
			Minion: i.Minion, MinionKey: i.MinionKey, BootMAC: i.BootMAC, Addresses: slices.Clone(i.Addresses), Pending: i.Pending} // without the one-time URL
	}
	for _, t := range st.Tasks {
		if !t.done() {
			s.Tasks++
		}
	}
	if c, err := m.certificate(); err == nil {
		s.Fingerprint = fingerprint(c)
	}
	return s
}

func cloneMap[V any](in map[string]V) map[string]V {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]V, len(in))
	for k, v := range in {
		out[k] = v
	}
	return out
}

// resume takes up again what was under way when the box died.
func (m *Machine) resume(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.st.Tasks {
		if !t.done() && t.URI != "" && !t.Stuck {
			m.download(ctx, t.ID, t.URI)
		}
	}
}
