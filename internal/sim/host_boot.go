package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/profile"
)

// answers are what an installer, or a new system, finds in the files that it fetched.
type answers struct {
	Operation string   `json:"operation,omitempty"`
	OS        string   `json:"os,omitempty"`
	BootMAC   string   `json:"boot_mac,omitempty"`
	Firmware  string   `json:"firmware,omitempty"`
	Disks     []string `json:"disks,omitempty"`
	PowerOff  bool     `json:"power_off,omitempty"`
	Minion    string   `json:"minion,omitempty"` // its ID; empty: no Salt
	Addresses []string `json:"addresses,omitempty"`
}

// firmwareBoots follows the boot override: over the network, or the disk.
func (m *Machine) firmwareBoots(ctx context.Context, r hostRun) {
	outcome, next := m.netBoot(ctx, r)
	if ctx.Err() != nil {
		return
	}
	m.hostDid(r.Number, func(now time.Time, run *hostRun) {
		if outcome != "" {
			m.effect(now, EffectNetBoot, outcome)
		}
		next.Number, next.Target, next.URI = run.Number, run.Target, run.URI
		if next.Base != "" {
			m.st.Host.LastBase = next.Base
			if next.Phase == phaseStopped {
				m.effect(now, EffectHostStopped, next.Why)
			}
		}
		*run = next
	})
}

// netBoot asks for a script and gives what it boots. Whatever goes wrong ends at the disk, as it does
// on a machine whose next boot option that is.
func (m *Machine) netBoot(ctx context.Context, r hostRun) (outcome string, next hostRun) {
	disk := hostRun{Phase: phaseDisk}
	if !slices.Contains([]string{"Pxe", "UefiHttp", "Cd"}, r.Target) {
		return "", disk
	}
	if m.box.faults.takeHost(m.spec.Name, ActNoDHCP, "dhcp") {
		m.rest(ctx, 5*timeDHCP)
		return "no DHCP answer", disk
	}
	m.rest(ctx, timeDHCP)
	url := strings.TrimSuffix(m.box.opts.BootURL, "/") + "/boot/mac/" + strings.ToLower(m.spec.MACs[1])
	if r.Target == "UefiHttp" && r.URI != "" && !strings.HasSuffix(r.URI, ".efi") { // iPXE itself asks as from PXE
		url = r.URI
	}
	var script string
	for script == "" {
		var why string
		if script, why = m.script(ctx, url); why != "" {
			return why, disk
		}
		if found := chainIn.FindStringSubmatch(script); found != nil && pause(ctx, 5*timeAgain) {
			script, url = "", found[1] // the API is away
		}
	}
	next = parseScript(script)
	if next.Phase == phaseDisk {
		return "local", next
	}
	outcome = "agent"
	if next.Phase == phaseFetch {
		outcome = "installer"
	}
	if m.box.faults.takeHost(m.spec.Name, ActUsedToken, "kernel") {
		next.Base = m.usedBase(next.Base)
	}
	if m.box.faults.takeHost(m.spec.Name, ActNoPhoneHome, "kernel") {
		next.Phase, next.Why = phaseStopped, "the kernel is up and says nothing"
	}
	return outcome, next
}

// chainIn is the line of a script that has the machine ask again.
var chainIn = regexp.MustCompile(`(?m)^chain --replace (\S+) \|\|$`)

// script asks for a script, or tells why there is none.
func (m *Machine) script(ctx context.Context, url string) (script, why string) {
	for n := 0; ; n++ {
		a, err := m.ask(ctx, http.MethodGet, url, "", "", quick)
		switch {
		case err == nil && a.status == http.StatusOK:
			return string(a.body), ""
		case ctx.Err() != nil, n == asks-1:
			return "", "the boot service does not answer"
		case err == nil && a.status < 500 && a.status != http.StatusTooManyRequests:
			return "", fmt.Sprintf("HTTP %d", a.status)
		}
		pause(ctx, timeAgain)
	}
}

// usedBase is the one-time URL of the boot before, or one of a token that nobody made.
func (m *Machine) usedBase(base string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := m.st.Host.LastBase; last != "" && last != base {
		return last
	}
	return base[:strings.LastIndexByte(base, '/')+1] + word(m.spec.Serial, "used token", 32)
}

// parseScript reads what an iPXE script boots. A script without a kernel boots the disk.
func parseScript(script string) hostRun {
	kernel := false
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if words[0] == "kernel" {
			kernel = true
		}
		if words[0] != "imgargs" || !kernel {
			continue
		}
		args := map[string]string{}
		for _, w := range words[2:] {
			if key, value, ok := strings.Cut(w, "="); ok && args[key] == "" {
				args[key] = value
			}
		}
		_, seed, _ := strings.Cut(args["ds"], "s=")
		for _, c := range []struct{ method, base string }{
			{profile.Autoinstall, strings.TrimSuffix(seed, "/")},
			{profile.Kickstart, strings.TrimSuffix(args["inst.ks"], "/kickstart.cfg")},
			{profile.Preseed, strings.TrimSuffix(args["url"], "/preseed.cfg")},
		} {
			if c.base != "" {
				return hostRun{Phase: phaseFetch, Method: c.method, Base: c.base}
			}
		}
		if base := args["cagenut.url"]; base != "" {
			return hostRun{Phase: phaseClaim, Base: base}
		}
	}
	return hostRun{Phase: phaseDisk}
}

// filesOf are what a system fetches to be installed, or to come up the first time.
var filesOf = map[string][]string{
	profile.Preseed:     {"preseed.cfg", "hook.sh"},
	profile.Autoinstall: {"meta-data", "user-data", "vendor-data", "hook.sh"},
	profile.Kickstart:   {"kickstart.cfg", "hook.sh"},
	profile.WriteImage:  {"meta-data", "user-data", "vendor-data", "network-config"},
}

func (m *Machine) fetchAnswers(ctx context.Context, base, method string) (answers, error) {
	var all strings.Builder
	for _, name := range filesOf[method] {
		a, err := m.insist(ctx, http.MethodGet, base+"/"+name, "", "")
		if err != nil {
			return answers{}, fmt.Errorf("%s: %w", name, err)
		}
		all.Write(a.body)
	}
	return parseAnswers(method, all.String()), nil
}

var (
	operationIn = regexp.MustCompile(`\bop_[0-9A-Za-z]{10,40}\b`)
	bootMACIn   = regexp.MustCompile(`(?m)^\s*boot_mac='?([0-9a-f:]+)`)
	disksIn     = regexp.MustCompile(`(?m)^\s*disks='([^']*)'`)
	biosIn      = regexp.MustCompile(`(?m)^\s*\[ ! -d /sys/firmware/efi \] \|\| fail`)
	powerOffIn  = regexp.MustCompile(`(?m)^(d-i debian-installer/exit/poweroff boolean true|poweroff|\s*shutdown: "?poweroff"?)\s*$`)
	minionIn    = regexp.MustCompile(`'id: \\?"([A-Za-z0-9._-]+)\\?"'`) // in user-data, quotes have a backslash
	addressIn   = regexp.MustCompile(`[0-9a-f:.]+/[0-9]{1,3}\b`)
	titleIn     = regexp.MustCompile(`(?m)^# (Debian|Ubuntu|RHEL family) (\S+) for `)
)

// debianVersions are what os-release calls Debian's releases.
var debianVersions = map[string]string{"bullseye": "11", "bookworm": "12", "trixie": "13"}

func parseAnswers(method, text string) answers {
	first := func(r *regexp.Regexp) string {
		if found := r.FindStringSubmatch(text); len(found) > 1 {
			return found[1]
		}
		return ""
	}
	a := answers{Operation: operationIn.FindString(text), BootMAC: first(bootMACIn), Disks: strings.Fields(first(disksIn)), Firmware: "uefi",
		PowerOff: powerOffIn.MatchString(text), Minion: first(minionIn)}
	if biosIn.MatchString(text) {
		a.Firmware = "bios"
	}
	for _, found := range addressIn.FindAllString(text, -1) {
		if p, err := netip.ParsePrefix(found); err == nil && p.Bits() > 0 && !slices.Contains(a.Addresses, found) {
			a.Addresses = append(a.Addresses, found)
		}
	}
	if t := titleIn.FindStringSubmatch(text); t != nil && method != profile.WriteImage {
		a.OS = map[string]string{"Debian": "debian ", "Ubuntu": "ubuntu ", "RHEL family": "rocky "}[t[1]] + t[2]
		if v := debianVersions[t[2]]; v != "" {
			a.OS = "debian " + v
		}
	}
	return a
}

func (m *Machine) installerFetches(ctx context.Context, r hostRun) {
	if !m.rest(ctx, timeKernel) {
		return
	}
	a, err := m.fetchAnswers(ctx, r.Base, r.Method)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.stops(r, "the installer has no answers: "+err.Error())
	default:
		m.hostDid(r.Number, func(_ time.Time, run *hostRun) {
			run.Phase, run.Stage, run.Did, run.Answers = phaseInstaller, "early", false, a
		})
	}
}

// wrong is why hook.sh would not let an installer begin; empty: it would.
func (m *Machine) wrong(a answers) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is := m.bootFirmware(); is != a.Firmware {
		return fmt.Sprintf("booted with %s, where the profile asks for %s", is, a.Firmware)
	}
	if !slices.ContainsFunc(m.spec.MACs[1:], func(mac string) bool { return strings.EqualFold(mac, a.BootMAC) }) {
		return "no port has the MAC " + a.BootMAC + ": this is another machine"
	}
	if len(a.Disks) == 0 {
		return "no disk is named"
	}
	here := m.disks()
	for _, path := range a.Disks {
		if !slices.ContainsFunc(here, func(d profile.Disk) bool { return d.Path == path }) {
			return "disk " + path + " is not here"
		}
	}
	return ""
}

// installerGoesOn does what comes before a stage, once, and reports the stage.
func (m *Machine) installerGoesOn(ctx context.Context, r hostRun) {
	a := r.Answers
	took := map[string]time.Duration{"early": 0, "partitioned": timeErase, "installed": timeInstall}
	if !r.Did {
		if !m.rest(ctx, took[r.Stage]) {
			return
		}
		why := ""
		if r.Stage == "early" {
			why = m.wrong(a)
		}
		if why == "" && m.box.faults.takeHost(m.spec.Name, ActHostFails, r.Stage) {
			why = "a rule of the box has it fail before " + r.Stage
		}
		if why != "" {
			_, _ = m.insist(ctx, http.MethodPost, r.Base+"/stage/failed", textKind, m.facts("failed")+"reason="+why+"\n")
			m.stops(r, why)
			return
		}
		switch r.Stage {
		case "partitioned":
			if !m.erases(r, a.Disks) {
				return
			}
		case "installed":
			written := m.hostDid(r.Number, func(now time.Time, run *hostRun) {
				run.Did = true
				i := OnDisk{OS: a.OS, Disks: a.Disks, Operation: a.Operation, Pending: true, Base: run.Base, HostKey: hostKey(m.spec.Serial, a.Operation),
					BootMAC: a.BootMAC, Addresses: a.Addresses}
				if a.Minion != "" {
					i.Minion, i.MinionKey = a.Minion, m.minionKey(a.Minion, a.Operation)
				}
				m.writes(now, i)
			})
			if !written {
				return
			}
		}
	}
	if m.spoilt(r, r.Stage) {
		return
	}
	_, err := m.insist(ctx, http.MethodPost, r.Base+"/stage/"+r.Stage, textKind, m.facts(r.Stage))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.stops(r, "stage "+r.Stage+" is not heard: "+err.Error())
	default:
		m.hostDid(r.Number, func(now time.Time, run *hostRun) {
			run.Did = false
			switch {
			case r.Stage == "early":
				run.Stage = "partitioned"
			case r.Stage == "partitioned":
				run.Stage = "installed"
			case a.PowerOff:
				m.hostTurnsOff(now)
			default:
				m.hostRestarts(now)
			}
		})
	}
}

// minionSeed is what a minion's key is made of: each installation has another.
func (m *Machine) minionSeed(operation string) string { return m.spec.Serial + " in " + operation }

// minionKey is the fingerprint of the key that a minion makes; empty: it made none.
func (m *Machine) minionKey(id, operation string) string {
	seed := m.minionSeed(operation)
	if m.box.opts.Minions == nil {
		return fmt.Sprintf("%x", digest(seed, "salt minion key"))
	}
	key, err := m.box.opts.Minions.Fingerprint(id, seed)
	if err != nil {
		m.box.opts.Logger.Error("the box's Salt", "minion", id, "error", err)
	}
	return key
}

// minionRuns tells the box's Salt that the host's minion has started, or that it is gone.
func (m *Machine) minionRuns(i OnDisk, up bool) {
	minions := m.box.opts.Minions
	if minions == nil || i.Minion == "" {
		return
	}
	var err error
	if up {
		err = minions.Start(i.Minion, m.minionSeed(i.Operation))
	} else {
		err = minions.Stop(i.Minion)
	}
	if err != nil {
		m.box.opts.Logger.Error("the box's Salt", "minion", i.Minion, "up", up, "error", err)
	}
}

// diskBoots brings up what is on the disk, and reports its first boot.
func (m *Machine) diskBoots(ctx context.Context, r hostRun) {
	i, is := m.OnDisk()
	if !is {
		m.idles(r)
		return
	}
	if !m.rest(ctx, timeSystem) {
		return
	}
	if i.Minion != "" && (!i.Pending || i.Image == "" || r.Stage == "first-boot") {
		m.minionRuns(i, true)
	}
	if !i.Pending {
		m.hostDid(r.Number, func(now time.Time, _ *hostRun) {
			m.effect(now, EffectOSUp, i.OS)
			m.st.Host.Run = nil
		})
		return
	}
	image := i.Image != ""
	if image && r.Stage == "" {
		a, err := m.fetchAnswers(ctx, i.Base, profile.WriteImage)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			m.stops(r, "cloud-init has no data: "+err.Error())
		default:
			m.hostDid(r.Number, func(now time.Time, run *hostRun) {
				run.Stage = "installed"
				on := m.st.Host.Installed
				on.Operation, on.HostKey = a.Operation, hostKey(m.spec.Serial, a.Operation)
				on.BootMAC, on.Addresses = a.BootMAC, a.Addresses
				if a.Minion != "" {
					on.Minion, on.MinionKey = a.Minion, m.minionKey(a.Minion, a.Operation)
				}
			})
		}
		return
	}
	stage := "first-boot"
	if image && r.Stage == "installed" {
		stage = r.Stage
	}
	if m.spoilt(r, stage) {
		return
	}
	body := m.facts(stage)
	if stage == "first-boot" {
		body += "ssh_host_key=" + i.HostKey + "\nos=" + i.OS + "\n"
		if i.MinionKey != "" {
			body += "salt_minion_fingerprint=" + i.MinionKey + "\n"
		}
	}
	_, err := m.insist(ctx, http.MethodPost, i.Base+"/stage/"+stage, textKind, body)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errRefused):
		m.stops(r, "stage "+stage+" is not heard: "+err.Error())
	case err != nil: // its unit starts again after a while
		pause(ctx, 30*timeAgain)
	case stage == "installed":
		m.hostDid(r.Number, func(_ time.Time, run *hostRun) { run.Stage = "first-boot" })
	default:
		m.hostDid(r.Number, func(now time.Time, _ *hostRun) {
			m.effect(now, EffectOSUp, i.OS)
			m.st.Host.Run = nil
			if on := m.st.Host.Installed; on != nil {
				on.Pending, on.Base = false, ""
			}
		})
	}
}
