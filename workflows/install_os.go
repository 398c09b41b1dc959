package workflows

import (
	"fmt"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// installed asks whether the machine runs this very system already: then the steps up to the install
// leave it alone. Nobody but configuration management can prove it.
func (in *install) installed(s system) plan.Step {
	step := plan.Step{
		Name: "installed", Kind: plan.KindInstalled, Version: versionInstalled,
		Title: "Look whether the machine already runs this system",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.ReadOnly,
		DeadlineSec: seconds(20 * time.Minute), Policy: PolicyConfig,
		Want: plan.Encode(plan.WantInstalled{System: s.System}), Writes: []plan.Write{},
		Evidence: []string{"installed"},
	}
	return in.leave(step, s.Driver == "", "the profile names no configuration management, which could prove it")
}

// agent boots the agent in RAM, and chooses the disks by what the machine itself sees. It is
// destructive, for it switches the host off; without the disks that it chooses nothing can follow.
func (in *install) agent(s system) plan.Step {
	os := in.profile.OS
	return plan.Step{
		Name: "agent", Kind: plan.KindAgent, Version: versionAgent,
		Title: fmt.Sprintf("Boot the agent over the network (%s), and choose %s by the root disk hints", s.boot.Way, disks(os.Layout.Disks())),
		Mode:  plan.Act, Place: plan.Site, Undo: plan.Reversible, Destructive: true, Unskippable: true,
		DeadlineSec: seconds(90 * time.Minute), Policy: PolicyBoot, MaxReboots: 1,
		Want: plan.Encode(plan.WantAgent{System: s.System, Boot: s.boot, Root: os.RootDisk, Disks: os.Layout.Disks(),
			MACs: in.macs(), Machine: s.machine}),
		Writes:   in.bootWrites(s.boot, 1),
		Evidence: []string{"agent", "disks"},
	}
}

// burnIn loads the machine for as long as the profile says.
func (in *install) burnIn(s system) plan.Step {
	b := in.profile.BurnIn
	minutes := b.CPUMinutes + b.MemoryMinutes + b.DiskMinutes + b.NetworkMinutes
	step := plan.Step{
		Name: "burn-in", Kind: plan.KindBurnIn, Version: versionBurnIn,
		Title: fmt.Sprintf("Load the machine for %d minutes, and compare with the profile's thresholds", minutes),
		Mode:  plan.Act, Place: plan.Site, Undo: plan.Reversible, Destructive: true,
		DeadlineSec: seconds(2*time.Hour + time.Duration(minutes)*time.Minute), Policy: PolicyBoot, MaxReboots: 1,
		Want:     plan.Encode(plan.WantBurnIn{System: s.System, Boot: s.boot, BurnIn: b}),
		Writes:   in.bootWrites(s.boot, 1), // of a retry, when the agent fell silent
		Evidence: []string{"burn-in"},
	}
	if b.DiskWrites {
		step.Undo = plan.NoReturn
		step.Writes = append(step.Writes, in.onHost("every disk", "content", "overwritten by the disk test"))
	}
	return in.leave(step, minutes == 0, "the profile asks for no burn-in")
}

// disks erases what the agent step chose. From here on nothing is installed.
func (in *install) disks(s system) plan.Step {
	return plan.Step{
		Name: "disk-layout", Kind: plan.KindDisks, Version: versionDisks,
		Title: "Erase " + disks(in.profile.OS.Layout.Disks()) + ", chosen by " + hints(in.profile.OS.RootDisk),
		Mode:  plan.Act, Place: plan.Site, Undo: plan.NoReturn, Destructive: true, Unskippable: true,
		DeadlineSec: seconds(2 * time.Hour), Policy: PolicyBoot, MaxReboots: 1,
		Want: plan.Encode(plan.WantDisks{System: s.System, Boot: s.boot}),
		Writes: append(in.bootWrites(s.boot, 1),
			in.onHost("root disk", "content", "ERASED: "+disks(in.profile.OS.Layout.Disks())+" with "+hints(in.profile.OS.RootDisk))),
		Evidence: []string{"disk-layout"},
	}
}

// os installs the operating system, by its own installer or by writing an image.
func (in *install) os(s system) plan.Step {
	os := in.profile.OS
	what, with := os.Distro+" "+os.Release, os.MethodOrDefault()
	want := plan.WantOS{System: s.System, Boot: s.boot, OS: os, Machine: s.machine}
	if with == profile.WriteImage {
		want.ImageURL, want.ImageSHA256 = s.image.URL, s.image.SHA256
		what = "image " + os.Release
	}
	step := plan.Step{
		Name: "os-install", Kind: plan.KindOS, Version: versionOS,
		Title: "Install " + what + " by " + with + ", until it has booted and said so",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.NoReturn, Destructive: true, Unskippable: true,
		DeadlineSec: seconds(4 * time.Hour), Policy: PolicyBoot, MaxReboots: 2,
		Want: plan.Encode(want), Writes: in.bootWrites(s.boot, 2),
		Evidence: []string{"os-install"},
	}
	content := what + ", " + layout(os.Layout)
	if with == profile.WriteImage {
		content = what + ", SHA-256 " + s.image.SHA256
	}
	step.Writes = append(step.Writes, in.onHost("root disk", "content", content))
	if s.Driver != "" { // a host with a new key is not let in under a name whose old key is accepted
		step.Writes = append(step.Writes, inConfig(s, "key", "forgotten, before the install"))
	}
	if len(os.SSHKeys) > 0 {
		step.Writes = append(step.Writes, in.onHost("system", "ssh keys of root", strings.Join(os.SSHKeys, ", ")))
	}
	return step
}

// configure hands the machine to configuration management: its key first, then a test run, then the
// real one.
func (in *install) configure(s system) plan.Step {
	c := in.profile.ConfigManagement
	step := plan.Step{
		Name: "configure", Kind: plan.KindConfigure, Version: versionConfigure,
		Title: "Let " + or(c.Driver, "configuration management") + " make the machine what the profile asks for",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.NoReturn,
		DeadlineSec: seconds(2 * time.Hour), Policy: PolicyConfig,
		Want: plan.Encode(plan.WantConfigure{System: s.System, Config: c}), Writes: []plan.Write{},
		Evidence: []string{"configure"},
	}
	step.Writes = append(step.Writes, inConfig(s, "key", "accepted, if it is the one that the machine phoned home"),
		inConfig(s, "configuration", c.Applied()+", after a test run"))
	return in.leave(step, c.IsZero(), "the profile names no configuration management")
}

// validate holds that the machine does what it is for. What is asked on the machine itself, only
// configuration management can ask.
func (in *install) validate(s system) plan.Step {
	k := in.profile.Checks
	step := plan.Step{
		Name: "validate", Kind: plan.KindValidate, Version: versionValidate,
		Title: "Prove the profile's checks on the machine",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.ReadOnly, Unskippable: true,
		DeadlineSec: seconds(time.Hour), Policy: PolicyConfig,
		Want: plan.Encode(plan.WantValidate{System: s.System, Checks: k}), Writes: []plan.Write{},
		Evidence: []string{"checks"},
	}
	if asked := hostChecks(k); s.Driver == "" && len(asked) > 0 {
		in.problem("config_management", "a driver, for checks."+strings.Join(asked, ", checks."), "none in profile "+in.profile.Name,
			"give the profile a config_management, or leave these checks out: nobody else can ask the machine")
	}
	return in.leave(step, k.IsZero(), "the profile names no checks")
}

// hostChecks names the checks that are made on the machine and not from outside.
func hostChecks(k profile.Checks) []string {
	var out []string
	for _, c := range []struct {
		name  string
		asked bool
	}{{"services", len(k.Services) > 0}, {"mounts", len(k.Mounts) > 0}, {"network", k.Network},
		{"max_clock_skew_ms", k.MaxClockSkewMs > 0}, {"kernel", k.Kernel != ""}} {
		if c.asked {
			out = append(out, c.name)
		}
	}
	return out
}

// inService is the last step: from here on the machine may carry load, and is not touched again.
func (in *install) inService() plan.Step {
	device := "device " + in.facts.Asset.Name
	write := func(field, before, after string) plan.Write {
		return plan.Write{System: "netbox", Object: device, Field: field, Before: before, After: after}
	}
	return plan.Step{
		Name: "in-service", Kind: plan.KindInService, Version: versionInService,
		Title: "Set the status in NetBox to active",
		Mode:  plan.Act, Place: plan.Central, Undo: plan.NoReturn, Unskippable: true,
		DeadlineSec: seconds(45 * time.Minute), Policy: PolicyNetBox,
		Want: plan.Encode(plan.WantInService{From: []string{string(asset.Staged)}, To: string(asset.Active)}),
		Writes: []plan.Write{
			write("status", string(asset.Staged), string(asset.Active)),
			write("journal", plan.Unknown, "an entry that links to this operation"),
		},
		Evidence: []string{"in-service"},
	}
}

// bootWrites are the writes of a step that boots the machine over the network.
func (in *install) bootWrites(b plan.WantBoot, reboots int) []plan.Write {
	from := map[string]string{"pxe": "the network (PXE)", "http": b.URL, "vmedia": "virtual media " + b.URL}[b.Way]
	return append([]plan.Write{in.bmc("host", "boot override", from+", once; then none")}, in.reboots(reboots)...)
}

// onHost is a write to the machine itself.
func (in *install) onHost(object, field, after string) plan.Write {
	return plan.Write{System: "host", Object: object, Field: field, Before: plan.Unknown, After: after}
}

// inConfig is a write to what configuration management has of the machine, or makes of it.
func inConfig(s system, field, after string) plan.Write {
	return plan.Write{System: s.Driver, Object: "host " + s.Host, Field: field, Before: plan.Unknown, After: after}
}

// leave marks a step that the profile does not ask for.
func (in *install) leave(s plan.Step, empty bool, why string) plan.Step {
	if !empty {
		return s
	}
	s.NotApplicable, s.Writes, s.Want = why, []plan.Write{}, nil
	s.MaxRounds, s.MaxReboots, s.Destructive = 0, 0, false
	return s
}

func disks(n int) string {
	if n == 1 {
		return "one disk"
	}
	return fmt.Sprintf("%d disks", n)
}

// hints says in words which disks are meant.
func hints(h profile.RootDisk) string {
	var out []string
	for _, x := range []struct {
		name, value string
	}{{"serial", h.Serial}, {"WWN", h.WWN}, {"model", h.Model}, {"bus", h.Bus}} {
		if x.value != "" {
			out = append(out, x.name+" "+x.value)
		}
	}
	if h.MinGB > 0 {
		out = append(out, fmt.Sprintf("at least %g GB", h.MinGB))
	}
	if h.MaxGB > 0 {
		out = append(out, fmt.Sprintf("at most %g GB", h.MaxGB))
	}
	if h.Rotational != nil {
		out = append(out, map[bool]string{true: "rotating", false: "not rotating"}[*h.Rotational])
	}
	return strings.Join(out, ", ")
}

// layout says in words how the root disk is divided.
func layout(l profile.Layout) string {
	out := or(l.Scheme, "plain") + " layout, " + or(l.Filesystem, "ext4")
	if l.Mirror {
		out += ", mirrored on 2 disks"
	}
	return out
}
