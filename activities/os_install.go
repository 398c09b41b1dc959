package activities

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

// The phases of os-install beside those of every boot.
const (
	phaseWrite   = "write"   // the agent writes an image
	phaseRestart = "restart" // the agent restarts the machine
	phaseOff     = "off"     // the installer switches the machine off when it is done
	phaseOn      = "on"      // it is switched on
	phaseUp      = "up"      // for its first boot
	phaseForget  = "forget"  // configuration management has a key of the system before
	phaseBegin   = "begin"   // it has none any more
)

// osInstall installs the operating system, and sees it come up.
func (a *Site) osInstall(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantOS, bootHandle](c)
	if err != nil {
		return Result{}, err
	}
	if r, ok := alreadyRuns(c, want.System); ok {
		return r, nil
	}
	image := want.OS.MethodOrDefault() == profile.WriteImage
	switch h.Phase {
	case "", phaseForget, phaseBegin:
		return a.osBegin(ctx, c, want, h, image)
	case phaseOverride, phaseCycle:
		return a.bootOver(ctx, c, want.Boot, h)
	case phaseOff, phaseOn:
		return a.osPower(ctx, c, h)
	}
	if image && h.Phase != phaseUp {
		return a.osImage(ctx, c, want, h)
	}
	s, err := a.record(ctx, c, h.Boot)
	if err != nil {
		return Result{}, err
	}
	return a.osStages(ctx, c, want, h, s)
}

// osBegin opens a record for the installer; an image is written by the agent that runs already, or by one
// that a retry boots. A system that was asked for, and whose first boot came after the attempt before had been given
// up, is taken as it is.
func (a *Site) osBegin(ctx context.Context, c Call, want plan.WantOS, h bootHandle, image bool) (Result, error) {
	s, err := a.Boots.State(ctx, c.Operation, c.Asset.ID, "", 0)
	if err != nil && !isNotFound(err) {
		return Result{}, err
	}
	if c.Attempt > 1 && cameUp(c, want, s) {
		return again(0, bootHandle{Phase: phaseUp, Boot: s.Record.ID, Told: true}, "the machine came up after all")
	}
	if want.System.Driver != "" && h.Phase != phaseBegin {
		if r, err := a.osForget(ctx, c, want.System, h); r != nil || err != nil {
			return orZero(r), err
		}
	}
	switch {
	case !image:
		return a.openBoot(ctx, c, operation.ForInstall, 2*c.Step.Deadline(), want.Machine, want.Boot.MAC)
	case c.Attempt > 1:
		return a.openBoot(ctx, c, operation.ForAgent, agentRecord, want.Machine, want.Boot.MAC)
	case s.Record.Purpose != operation.ForAgent:
		return Result{}, fault.New(fault.AgentFailed, "no agent runs on %s to write the image", c.Asset.Name)
	}
	return again(0, bootHandle{Phase: phaseWrite, Boot: s.Record.ID, Command: commandID(c, operation.AgentWriteImage)}, "the agent writes the image")
}

// osForget has configuration management forget the key of the system before: a host that shows a new one
// under its name would be refused. nil: there was none.
func (a *Site) osForget(ctx context.Context, c Call, s plan.System, h bootHandle) (*Result, error) {
	d, err := a.Configs.Driver(s.Driver)
	if err != nil {
		return nil, err
	}
	t := configTarget(c, s)
	if h.Phase == "" && before[bootHandle](c).Phase == phaseForget { // whose write is not told yet
		h.Phase = phaseForget
	}
	if h.Phase == "" {
		if _, err := d.Enrolled(ctx, t); err == nil { // made durable first, so that the write is told
			r, err := again(0, bootHandle{Phase: phaseForget}, "%s is to forget the key of the system before", s.Driver)
			return &r, err
		} else if !errors.Is(err, configmgmt.ErrNotEnrolled) {
			return nil, err
		}
	}
	if err := d.Revoke(ctx, t); err != nil || h.Phase == "" { // also a key that was never accepted
		return nil, err
	}
	r, err := wrote(bootHandle{Phase: phaseBegin}, []plan.Write{configWrite(s, "key", "forgotten")}, "%s has forgotten the key of the system before", s.Driver)
	return &r, err
}

// osImage has the agent write the image, and restart into it.
func (a *Site) osImage(ctx context.Context, c Call, want plan.WantOS, h bootHandle) (Result, error) {
	if h.Command == "" {
		if r, err := a.agentBoots(ctx, c, want.Boot, &h); r != nil || err != nil {
			return orZero(r), err
		}
		h.Phase, h.Command = phaseWrite, commandID(c, operation.AgentWriteImage)
	}
	if h.Phase == phaseRestart {
		cmd, r, err := a.order(ctx, c, h, operation.AgentReboot, nil)
		if cmd == nil || err != nil {
			return r, err
		}
		h.Phase, h.Watch = phaseUp, watch{}
		return a.listen(h, -1, "the machine boots the image")
	}
	args := operation.ImageArgs{Disks: paths(c.Known.Disks), URL: want.ImageURL, SHA256: want.ImageSHA256, OS: want.OS.Expected()}
	cmd, r, err := a.order(ctx, c, h, operation.AgentWriteImage, args)
	if cmd == nil || err != nil {
		return r, err
	}
	var result operation.ImageResult
	if err := json.Unmarshal(cmd.Result, &result); err != nil || !strings.EqualFold(result.SHA256, want.ImageSHA256) {
		return Result{}, fault.New(fault.BadImage, "what the agent of %s read back has SHA-256 %q, the image has %s", c.Asset.Name, result.SHA256, want.ImageSHA256)
	}
	h.Phase, h.Command, h.Watch, h.Told = phaseRestart, commandID(c, operation.AgentReboot), watch{}, true
	r, err = wrote(h, diskWrites(c, want), "the image is written: restarting")
	if err == nil {
		r.Again.Reboot = true
	}
	return r, err
}

// waitFor is how long the stage after this one may take.
type waitFor struct {
	stage string
	next  time.Duration
	text  string
}

// waits are the stages of an install in their order.
var waits = []waitFor{
	{"", bootAsks, "waiting for the machine to ask what to boot"},
	{operation.StageAsked, bootKernel, "waiting for the installer to come up"},
	{operation.StageFetched, bootBegins, "the installer has its answers"},
	{string(templates.Early), bootBegins, "the installer partitions the disk"},
	{string(templates.Partitioned), bootWrites, "the installer writes the system"},
	{string(templates.Installed), bootFirst, "waiting for the system's first boot"},
}

// osStages follows what the machine tells, until the system has come up.
func (a *Site) osStages(ctx context.Context, c Call, want plan.WantOS, h bootHandle, s operation.BootState) (Result, error) {
	if err := refused(s); err != nil {
		return Result{}, err
	}
	if err := gaveUp(s); err != nil {
		return Result{}, err
	}
	var reached []string
	for _, w := range waits[1:] {
		if has(s, w.stage) {
			reached = append(reached, w.stage)
		}
	}
	up, isUp := event(s, string(templates.FirstBoot))
	if !h.Told && (isUp || slices.Contains(reached, string(templates.Partitioned)) || slices.Contains(reached, string(templates.Installed))) {
		h.Told = true
		return wrote(h, diskWrites(c, want), "the installer writes to the disk")
	}
	if isUp || len(reached) > 0 && reached[len(reached)-1] != operation.StageAsked { // the kernel is up
		if r, err := a.clearBoot(ctx, c, want.Boot, &h); r != nil || err != nil {
			return orZero(r), err
		}
	}
	if isUp {
		return osUp(c, want, s, up)
	}
	last := ""
	if len(reached) > 0 {
		last = reached[len(reached)-1]
	}
	if last == string(templates.Installed) && want.OS.After == "poweroff" && h.Phase == phaseWait && want.OS.MethodOrDefault() != profile.WriteImage {
		h.Phase, h.Watch = phaseOff, watch{}
		return again(0, h, "installed: waiting for the machine to switch itself off")
	}
	w := waits[slices.IndexFunc(waits, func(x waitFor) bool { return x.stage == last })]
	if h.Phase == phaseUp && last != string(templates.Installed) { // an image: it is the system that reports now
		w.stage, w.next, w.text = "the restart", bootFirst, "waiting for the system's first boot"
	}
	if err := a.silent(&h, c, w.stage, w.next); err != nil {
		return Result{}, err
	}
	return a.listen(h, -1, "%s", w.text)
}

// cameUp tells that the system which was asked for has come up on the right machine.
func cameUp(c Call, want plan.WantOS, s operation.BootState) bool {
	up, ok := event(s, string(templates.FirstBoot))
	if !ok || refused(s) != nil {
		return false
	}
	_, err := osUp(c, want, s, up)
	return err == nil
}

// gaveUp is the error of an installer, or of a first boot, that failed and has not gone on since.
func gaveUp(s operation.BootState) error {
	e, ok := event(s, string(templates.Failed))
	if up, isUp := event(s, string(templates.FirstBoot)); !ok || isUp && up.Sequence > e.Sequence {
		return nil
	}
	why := strings.Join(operation.ParseReport(e.Body)["reason"], "; ")
	return fault.New(fault.InstallerFailed, "the installer on %s gave up: %s", s.Record.Asset.Name, cmp.Or(why, "it does not say why"))
}

// osPower sees the machine off, which its installer does, and switches it on into its system.
func (a *Site) osPower(ctx context.Context, c Call, h bootHandle) (Result, error) {
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	if h.Phase == phaseOff {
		state, err := ctrl.PowerState(ctx)
		if err != nil {
			return Result{}, err
		}
		if state != bmc.PowerOff {
			if waited := a.silence(&h, phaseOff); waited > a.patience(bootOff) {
				return Result{}, fault.New(fault.InstallerHangs, "%s has installed its system, and is still on after %s where its installer was told to switch it off", c.Asset.Name, waited.Round(time.Second))
			}
			return again(a.Poll, h, "installed: waiting for the machine to switch itself off")
		}
		h.Phase, h.Cycle = phaseOn, cycle{Phase: "on", Since: a.Clock(), Seen: a.Clock()}
		r, err := again(0, h, "installed, and off: switching on")
		if err == nil {
			r.Again.Reboot = true
		}
		return r, err
	}
	waiting, pause, err := a.powerOver(ctx, c, ctrl, &h.Cycle, func() error { return nil })
	if err != nil {
		return Result{}, err
	}
	if waiting != "" {
		return again(pause, h, "%s", waiting)
	}
	h.Phase, h.Watch = phaseUp, watch{}
	return a.listen(h, -1, "the machine boots its system")
}

// diskWrites tells what is on the disk now.
func diskWrites(c Call, want plan.WantOS) []plan.Write {
	what := want.OS.Distro + " " + want.OS.Release
	if want.ImageSHA256 != "" {
		what = "image " + want.OS.Release + ", SHA-256 " + want.ImageSHA256
	}
	return []plan.Write{{System: "host", Object: "root disk", Field: "content", Before: plan.Unknown,
		After: what + " on " + strings.Join(paths(c.Known.Disks), ", ")}}
}

// osUp judges the system that came up, and keeps what it can be known by.
func osUp(c Call, want plan.WantOS, s operation.BootState, up operation.BootEvent) (Result, error) {
	report := operation.ParseReport(up.Body)
	first := func(key string) string {
		if v := report[key]; len(v) > 0 {
			return strings.TrimSpace(v[0])
		}
		return ""
	}
	system := first("os")
	if !want.OS.Is(system) {
		f := fault.New(fault.WrongOS, "%s came up with %q, where %s was asked for", c.Asset.Name, cmp.Or(system, "a system that does not name itself"), want.OS.Expected())
		f.Details = []fault.Item{{Subject: "os-release", Expected: want.OS.Expected(), Seen: system}}
		return Result{}, f
	}
	is := &operation.Installed{Digest: want.System.Digest, OS: system, Kernel: first("kernel"), Operation: c.Operation, At: up.At, Proved: c.Operation}
	keys := hostKeys(report["ssh_host_key"])
	switch want.System.Driver {
	case "salt":
		is.Fingerprint = first("salt_minion_fingerprint")
	case "ansible":
		if len(keys) > 0 {
			is.Fingerprint = keys[0]
		}
	}
	if want.System.Driver != "" && is.Fingerprint == "" {
		return Result{}, fault.New(fault.InstallerFailed, "%s came up and phoned home no key that %s could know it by", c.Asset.Name, want.System.Driver)
	}
	done := &Done{Changed: true, Summary: strings.TrimSpace(system + ", kernel " + is.Kernel), Learned: &operation.Known{Installed: is}}
	if len(want.OS.SSHKeys) > 0 {
		done.Writes = []plan.Write{{System: "host", Object: "system", Field: "ssh keys of root", Before: plan.Unknown, After: strings.Join(want.OS.SSHKeys, ", ")}}
	}
	var err error
	done.Evidence, err = proof("os-install", "The system that came up, and how it got there", map[string]any{
		"os": system, "kernel": is.Kernel, "digest": is.Digest, "ssh_host_keys": keys, "fingerprint": is.Fingerprint, "stages": story(s)})
	return Result{Done: done}, err
}

// keyTypes are the kinds of SSH host keys, the best first.
var keyTypes = []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"}

// hostKeys gives the fingerprints of public keys, as OpenSSH prints them, the best kind first.
func hostKeys(lines []string) []string {
	lines = slices.Clone(lines)
	rank := func(line string) int {
		kind, _, _ := strings.Cut(line, " ")
		if i := slices.Index(keyTypes, kind); i >= 0 {
			return i
		}
		return len(keyTypes)
	}
	slices.SortStableFunc(lines, func(x, y string) int { return rank(x) - rank(y) })
	var out []string
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 1 {
			if raw, err := base64.StdEncoding.DecodeString(f[1]); err == nil {
				sum := sha256.Sum256(raw)
				out = append(out, fmt.Sprintf("SHA256:%s", base64.RawStdEncoding.EncodeToString(sum[:])))
			}
		}
	}
	return out
}
