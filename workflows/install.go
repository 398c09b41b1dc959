package workflows

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// KindInstall is the kind of an install plan.
const KindInstall = "install"

// The stages of an install, in their order: each holds those before it.
const (
	UntilHardware  = "hardware"  // the machine is proved and staged
	UntilAddresses = "addresses" // it has its addresses and DNS name
	UntilOS        = "os"        // its operating system has booted
	UntilActive    = plan.UntilActive
)

// Stages lists them.
func Stages() []string { return []string{UntilHardware, UntilAddresses, UntilOS, UntilActive} }

// Install composes one machine's part of an install, up to the stage until. It reads like the paper
// procedure that it replaces. Items are what stands in the way, all at once: then there is no plan.
// Without until it is the whole install.
func Install(f plan.Facts, p profile.Profile, r Resources, until string) (plan.Target, []fault.Item) {
	until = or(until, UntilActive)
	if !slices.Contains(Stages(), until) {
		stages := strings.Join(Stages(), " or ")
		return plan.Target{}, []fault.Item{{Subject: "until", Expected: stages, Seen: until, Remedy: "ask with --until " + stages}}
	}
	in := install{facts: f, profile: p, resources: r}
	wanted := in.images(r.Image)
	t := plan.Target{
		Asset:   f.Asset,
		Profile: fmt.Sprintf("%s@%d", p.Name, p.Version),
		Vendor:  f.Manufacturer,
		Status:  f.Status,
		BMC: plan.BMC{Protocol: p.BMC.Protocol, Address: f.OOB.Addr().String(), Account: p.BMC.Account,
			System: p.BMC.System, OldCiphers: p.BMC.OldCiphers, PasswordLength: p.BMC.PasswordLength},
		Reads: append(plan.Reads(f), in.profileRead()),
		Steps: []plan.Step{
			in.preflight(),
			in.identity(),
			in.stage(),
			in.credentials(),
			in.settings(),
			in.firmware(wanted),
			in.bios(),
			in.hardware(),
		},
	}
	if until == UntilHardware {
		return t, in.problems
	}
	if until == UntilAddresses {
		t.Steps = append(t.Steps, in.addresses(nil))
		return t, in.problems
	}
	if p.OS.IsZero() {
		in.problem("os", "an operating system", "the profile "+p.Name+" installs none", "ask with --until addresses, or give the profile an os")
		return t, in.problems
	}
	s := in.system()
	t.Steps = append(t.Steps,
		in.addresses(in.network()),
		in.installed(s),
		in.agent(s),
		in.burnIn(s),
		in.disks(s),
		in.os(s),
	)
	if until == UntilOS {
		return t, in.problems
	}
	t.Steps = append(t.Steps,
		in.configure(s),
		in.validate(s),
		in.inService(),
	)
	return t, in.problems
}

// install holds what the steps are made from.
type install struct {
	facts     plan.Facts
	profile   profile.Profile
	resources Resources
	problems  []fault.Item
}

// preflight reads the NetBox record again and stops when it is not what this plan was made from.
func (in *install) preflight() plan.Step {
	return plan.Step{
		Name: "preflight", Kind: plan.KindPreflight, Version: versionPreflight,
		Title: "Check that the NetBox record is complete and unchanged",
		Mode:  plan.Act, Place: plan.Central, Undo: plan.ReadOnly, Unskippable: true,
		DeadlineSec: seconds(45 * time.Minute), Policy: PolicyNetBox,
		Want:     plan.Encode(plan.WantPreflight{Reads: plan.Reads(in.facts)}),
		Writes:   []plan.Write{},
		Evidence: []string{"netbox-record"},
	}
}

// identity proves that the machine behind the BMC's address is the one that NetBox means, and pins
// the BMC's certificate. Its one write is for BMCs that demand a new password before they show who
// they are (docs/adr/0003).
func (in *install) identity() plan.Step {
	return plan.Step{
		Name: "identity", Kind: plan.KindIdentity, Version: versionIdentity,
		Title: "Prove that the BMC's serial is NetBox's, and pin its certificate",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.NoReturn, Unskippable: true,
		DeadlineSec: seconds(20 * time.Minute), Policy: PolicyBMCRead,
		Want: plan.Encode(plan.WantIdentity{Serial: in.facts.Asset.Serial}),
		Writes: []plan.Write{in.bmc("account "+in.profile.BMC.Account, "password",
			fmt.Sprintf("generated, %d characters, never shown; only if the BMC demands it before it shows anything", in.profile.BMC.Password()))},
		Evidence: []string{"identity"},
	}
}

// stage moves NetBox to staged. An abort takes it back only where this plan moves it from planned.
func (in *install) stage() plan.Step {
	s := plan.Step{
		Name: "stage", Kind: plan.KindStage, Version: versionStage,
		Title: "Set the status in NetBox to staged",
		Mode:  plan.Act, Place: plan.Central, Undo: plan.Reversible, Unskippable: true,
		DeadlineSec: seconds(45 * time.Minute), Policy: PolicyNetBox,
		Want:   plan.Encode(plan.WantStage{From: []string{string(in.facts.Status)}, To: string(asset.Staged)}),
		Writes: []plan.Write{},
	}
	if in.facts.Status == asset.Staged {
		return s
	}
	if in.facts.Status == asset.Planned {
		s.Undo = plan.Compensable
	}
	device := "device " + in.facts.Asset.Name
	s.Writes = append(s.Writes,
		plan.Write{System: "netbox", Object: device, Field: "status", Before: string(in.facts.Status), After: string(asset.Staged)},
		plan.Write{System: "netbox", Object: device, Field: "custom field cagenut_operation", Before: plan.Unknown, After: "the ID of this operation"},
	)
	return s
}

// credentials gives the account a password of its own machine instead of the factory's.
func (in *install) credentials() plan.Step {
	account, length := in.profile.BMC.Account, in.profile.BMC.Password()
	return plan.Step{
		Name: "bmc-credentials", Kind: plan.KindCredentials, Version: versionCredentials,
		Title: "Give the BMC account a password of this machine's own",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.NoReturn,
		DeadlineSec: seconds(20 * time.Minute), Policy: PolicyBMCWrite,
		Want: plan.Encode(plan.WantCredentials{Account: account, Length: length}),
		Writes: []plan.Write{in.bmc("account "+account, "password",
			fmt.Sprintf("generated, %d characters, never shown", length))},
	}
}

// settings brings the BMC's own settings to the profile's.
func (in *install) settings() plan.Step {
	b := in.profile.BMC
	want := plan.WantSettings{
		Hostname: b.HostnameFor(in.facts.Asset.Name, in.facts.Asset.Site, in.facts.Asset.Serial),
		NTP:      b.NTP, DNS: b.DNS, Syslog: b.Syslog, MaxClockSkew: b.MaxClockSkew,
	}
	s := plan.Step{
		Name: "bmc-settings", Kind: plan.KindSettings, Version: versionSettings,
		Title: "Set the BMC's host name, time, name servers and log target",
		Mode:  plan.Act, Place: plan.Site, Undo: plan.Reversible,
		DeadlineSec: seconds(30 * time.Minute), Policy: PolicyBMCWrite,
		Want: plan.Encode(want), Writes: []plan.Write{},
	}
	rules := []struct{ field, after string }{
		{"hostname", want.Hostname},
		{"ntp_servers", strings.Join(want.NTP, ", ")},
		{"ntp_enabled", ""},
		{"dns_servers", strings.Join(want.DNS, ", ")},
		{"syslog", want.Syslog},
		{"clock", ""},
	}
	if len(want.NTP) > 0 {
		rules[2].after = "true"
	}
	if want.MaxClockSkew > 0 {
		rules[5].after = fmt.Sprintf("the time of writing, where it is off by more than %d s", want.MaxClockSkew)
	}
	for _, r := range rules {
		if r.after != "" {
			s.Writes = append(s.Writes, in.bmc("manager", r.field, r.after))
		}
	}
	return in.unless(s, len(s.Writes) == 0, "the profile sets nothing on the BMC")
}

// firmware brings the components to the profile's baseline, in its order. It is destructive: on the
// wrong machine it could not be taken back, and it switches the host off.
func (in *install) firmware(wanted []plan.Image) plan.Step {
	s := plan.Step{
		Name: "firmware", Kind: plan.KindFirmware, Version: versionFirmware,
		Title: "Bring firmware to the profile's baseline",
		Mode:  plan.Converge, Place: plan.Site, Undo: plan.NoReturn, Destructive: true, Policy: PolicyFirmware,
		Want: plan.Encode(plan.WantFirmware{Components: wanted}), Writes: []plan.Write{},
		Evidence: []string{"firmware"},
	}
	passes := 0
	for _, image := range wanted {
		for _, pass := range slices.Concat(image.Via, []plan.Image{image}) {
			passes++
			s.Writes = append(s.Writes, in.bmc("firmware", image.Component, pass.Version))
			if pass.Reboot == "host" {
				s.MaxReboots++
			}
		}
	}
	s.MaxRounds = passes + 1 // one an image, and one that finds nothing left to do
	s.Writes = append(s.Writes, in.reboots(s.MaxReboots)...)
	s.DeadlineSec = seconds(20*time.Minute + time.Duration(passes)*40*time.Minute)
	return in.unless(s, passes == 0, "the profile names no firmware")
}

// bios brings the named attributes and the boot mode to the profile's values, and no others. It is
// destructive, for it switches the host off.
func (in *install) bios() plan.Step {
	b := in.profile.BIOS
	rounds := b.MaxRounds
	if rounds == 0 {
		rounds = 3
	}
	s := plan.Step{
		Name: "bios", Kind: plan.KindBIOS, Version: versionBIOS,
		Title: "Bring BIOS settings and boot mode to the profile",
		Mode:  plan.Converge, Place: plan.Site, Undo: plan.Reversible, Destructive: true, Policy: PolicyBMCWrite,
		DeadlineSec: seconds(time.Duration(rounds) * 30 * time.Minute), MaxRounds: rounds, MaxReboots: rounds,
		Want: plan.Encode(plan.WantBIOS{BootMode: b.BootMode, Attributes: b.Attributes}), Writes: []plan.Write{},
		Evidence: []string{"bios"},
	}
	if b.BootMode != "" {
		s.Writes = append(s.Writes, in.bmc("BIOS", "boot mode", b.BootMode))
	}
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		s.Writes = append(s.Writes, in.bmc("BIOS", name, fmt.Sprint(b.Attributes[name])))
	}
	if len(s.Writes) == 0 {
		return in.unless(s, true, "the profile names no BIOS settings")
	}
	s.Writes = append(s.Writes, in.reboots(s.MaxReboots)...)
	return in.unless(s, false, "")
}

// hardware compares what is in the machine with the profile and with NetBox. IPMI knows sensors and
// field replaceable units only; the plan says what is then not judged, for it is approved with that.
func (in *install) hardware() plan.Step {
	want := plan.WantHardware{Hardware: in.profile.Hardware, MACs: in.macs()}
	title := "Compare the hardware with the profile and NetBox"
	if in.profile.BMC.Protocol == "ipmi" {
		want = plan.WantHardware{NotJudged: want.Named()}
		title = "Read what IPMI knows of the hardware"
		if len(want.NotJudged) > 0 {
			title += "; it cannot judge " + strings.Join(want.NotJudged, ", ")
		}
	}
	return plan.Step{
		Name: "hardware", Kind: plan.KindHardware, Version: versionHardware,
		Title: title,
		Mode:  plan.Act, Place: plan.Site, Undo: plan.ReadOnly,
		DeadlineSec: seconds(30 * time.Minute), Policy: PolicyBMCRead,
		Want: plan.Encode(want), Writes: []plan.Write{},
		Evidence: []string{"hardware"},
	}
}

// macs are the MAC addresses that NetBox has on the machine's own ports.
func (in *install) macs() []plan.WantMAC {
	var out []plan.WantMAC
	for _, port := range in.facts.Interfaces {
		if port.Mgmt {
			continue
		}
		for _, mac := range port.MACs {
			out = append(out, plan.WantMAC{Interface: port.Name, MAC: mac})
		}
	}
	return out
}

// dnsName is what the machine is called in DNS; empty where the site has no domain.
func (in *install) dnsName() string {
	if in.facts.Domain == "" {
		return ""
	}
	return strings.ToLower(in.facts.Asset.Name + "." + in.facts.Domain)
}

// addresses gives the machine its primary addresses and its DNS name, on the first cabled data
// interface, or the bond that it is a member of. What NetBox has already is kept; what this operation takes is given back by an abort.
func (in *install) addresses(network *plan.WantNetwork) plan.Step {
	f := in.facts
	want := plan.WantAddresses{DNSName: in.dnsName(), Network: network}
	for _, port := range f.Interfaces {
		if !port.Mgmt && port.Cable != "" && want.Interface == "" {
			want.Interface = or(port.LAG, port.Name)
		}
	}
	s := plan.Step{
		Name: "addresses", Kind: plan.KindAddresses, Version: versionAddresses,
		Title: "Give the machine its primary address and DNS name in NetBox",
		Mode:  plan.Act, Place: plan.Central, Undo: plan.Compensable,
		DeadlineSec: seconds(45 * time.Minute), Policy: PolicyNetBox,
		Writes: []plan.Write{}, Evidence: []string{"addresses"},
	}
	write := func(object, field, after string) {
		s.Writes = append(s.Writes, plan.Write{System: "netbox", Object: object, Field: field, Before: plan.Unknown, After: after})
	}
	device := "device " + f.Asset.Name
	for _, have := range f.Primary {
		want.Pools = append(want.Pools, have.Masked().String())
	}
	if len(f.Primary) == 0 {
		var gateways []netip.Addr
		if network != nil {
			gateways = network.Gateways
		}
		for _, pools := range poolsOf(f.PrimaryPool, gateways) {
			want.Pools = append(want.Pools, pools...)
			write("ip-address of "+f.Asset.Name, "address", "next free in "+strings.Join(pools, ", else ")+", on "+want.Interface)
			write(device, primaryField(pools[0]), "that address")
		}
	}
	if want.DNSName != "" {
		write("ip-address of "+f.Asset.Name, "dns_name", want.DNSName+", where it has none")
	}
	s.Want = plan.Encode(want)
	return s
}

// profileRead is the profile that the plan was made from. Preflight does not look at it again: what
// the profile asks for stands in the steps, and is what was approved.
func (in *install) profileRead() plan.Read {
	sum, err := plan.Digest(in.profile)
	if err != nil { // a profile is plain data that was read from a file
		panic(err)
	}
	return plan.Read{Object: "profile " + in.profile.Name, Field: "content", SHA256: sum}
}

// bmc is a write to the BMC whose present value an install plan does not read.
func (in *install) bmc(object, field, after string) plan.Write {
	return plan.Write{System: "bmc", Object: object, Field: field, Before: plan.Unknown, After: after}
}

// reboots are the writes of a step that may reboot the host.
func (in *install) reboots(most int) []plan.Write {
	if most == 0 {
		return nil
	}
	often := "once"
	if most > 1 {
		often = fmt.Sprintf("%d times", most)
	}
	return []plan.Write{in.bmc("host", "power", "off and on again, at most "+often)}
}

// unless marks a step that this machine needs not, or that its BMC cannot carry.
func (in *install) unless(s plan.Step, empty bool, why string) plan.Step {
	switch {
	case in.profile.BMC.Protocol == "ipmi":
		why = "the profile says IPMI, which cannot carry it"
	case !empty:
		return s
	}
	s.NotApplicable, s.Writes, s.Want = why, []plan.Write{}, nil
	s.MaxRounds, s.MaxReboots, s.Destructive = 0, 0, false
	return s
}

// poolsOf gives the pools of IPv4 and of IPv6, where there are any: those with a gateway of their own, or
// all where none has one.
func poolsOf(pools []netip.Prefix, gateways []netip.Addr) [][]string {
	var out [][]string
	for _, four := range []bool{true, false} {
		var routed, all []string
		for _, p := range pools {
			if p.Addr().Is4() != four {
				continue
			}
			all = append(all, p.String())
			if slices.ContainsFunc(gateways, p.Contains) {
				routed = append(routed, p.String())
			}
		}
		if len(routed) > 0 {
			all = routed
		}
		if len(all) > 0 {
			out = append(out, all)
		}
	}
	return out
}

func primaryField(pool string) string {
	if strings.Contains(pool, ":") {
		return "primary_ip6"
	}
	return "primary_ip4"
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func seconds(d time.Duration) int { return int(d / time.Second) }
