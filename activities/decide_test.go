package activities

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

func TestCompareVersions(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"2.9", "2.10", -1},
		{"1.8.2", "1.8.2", 0},
		{"1.8.2", "1.8.2a", -1},
		{"U46 v2.72 (09/29/2022)", "U46 v2.68 (09/29/2022)", 1},
		{"06.00.30.00", "6.0.30.0", 0},
		{"TEE118N-1.40", "tee118n-1.41", -1},
		{"", "1", -1},
		{"7.10", "7.9.999", 1},
	} {
		if got := compareVersions(tc.a, tc.b); got != tc.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := compareVersions(tc.b, tc.a); got != -tc.want {
			t.Errorf("compareVersions(%q, %q) = %d, want %d", tc.b, tc.a, got, -tc.want)
		}
	}
}

func TestNextImage(t *testing.T) {
	have := []bmc.FirmwareComponent{
		{ID: "Installed-159-1.5.0", Name: "BIOS", Version: "1.5.0", URI: "/fw/bios"},
		{ID: "Previous-159-1.4.0", Name: "BIOS", Version: "1.4.0"},
		{ID: "Installed-101", Name: "Integrated Remote Access Controller", Version: "6.00"},
		{ID: "NIC.1", Name: "Network Adapter 1", Version: "22.31.6"},
		{ID: "NIC.2", Name: "Network Adapter 2", Version: "22.31.6"},
	}
	bios := plan.Image{Component: "BIOS", Version: "1.8.2"}
	for name, tc := range map[string]struct {
		want    []plan.Image
		version string // of the next image; empty: none
		code    fault.Code
	}{
		"already so":          {want: []plan.Image{{Component: "bios", Version: "1.5.0"}}},
		"older is updated":    {want: []plan.Image{bios}, version: "1.8.2"},
		"by part of the name": {want: []plan.Image{{Component: "remote access", Version: "7.00"}}, version: "7.00"},
		"first things first":  {want: []plan.Image{{Component: "remote access", Version: "6.00"}, bios}, version: "1.8.2"},
		"through intermediates": {want: []plan.Image{{Component: "BIOS", Version: "2.0", Via: []plan.Image{{Version: "1.4.9"}, {Version: "1.6"}, {Version: "1.9"}}}},
			version: "1.6"},
		"newer is refused":   {want: []plan.Image{{Component: "BIOS", Version: "1.4"}}, code: fault.Downgrade},
		"newer, but allowed": {want: []plan.Image{{Component: "BIOS", Version: "1.4", AllowDowngrade: true}}, version: "1.4"},
		"absent":             {want: []plan.Image{bios, {Component: "FPGA", Version: "1"}}, code: fault.Differs},
		"ambiguous":          {want: []plan.Image{{Component: "Network Adapter", Version: "23"}}, code: fault.Differs},
	} {
		t.Run(name, func(t *testing.T) {
			next, _, err := nextImage(plan.WantFirmware{Components: tc.want}, have)
			var code fault.Code
			if err != nil {
				code = fault.From(err).Code
			}
			version := ""
			if next != nil {
				version = next.Version
			}
			if code != tc.code || version != tc.version {
				t.Errorf("got version %q, error %v; want version %q, code %q", version, err, tc.version, tc.code)
			}
		})
	}
}

func TestBIOSDiffComparesValuesNotTypes(t *testing.T) {
	state := bmc.BIOSState{
		Current:           bmc.Attributes{"NumLock": "On", "Retries": float64(4), "Quiet": true, "BootMode": "Bios", "Other": "x"},
		BootMode:          "legacy",
		BootModeAttribute: "BootMode",
		BootModeValues:    map[string]string{"uefi": "Uefi", "legacy": "Bios"},
	}
	want := plan.WantBIOS{BootMode: "uefi", Attributes: map[string]any{"NumLock": "Off", "Retries": 4, "Quiet": "true", "Absent": 1}}
	diff, lacking := biosDiff(want, state)
	if d := cmp.Diff([]plan.Write{
		{System: "bmc", Object: "BIOS", Field: "NumLock", Before: "On", After: "Off"},
		{System: "bmc", Object: "BIOS", Field: "BootMode", Before: "Bios", After: "Uefi"},
	}, diff); d != "" {
		t.Errorf("diff (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]fault.Item{{Subject: "Absent", Expected: "present", Seen: "absent"}}, lacking); d != "" {
		t.Errorf("lacking (-want +got):\n%s", d)
	}
}

func TestSettingsDiffWritesOnlyTheBaseline(t *testing.T) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	off, on := false, true
	want := plan.WantSettings{Hostname: "srv-101-oob", NTP: []string{"10.0.0.1"}, DNS: []string{"10.0.0.2"}, Syslog: "logs:514", MaxClockSkew: 30}
	for name, tc := range map[string]struct {
		now         bmc.ManagerSettings
		unsupported []string
		write       bmc.ManagerSettings
		fields      string
	}{
		"already so": {now: bmc.ManagerSettings{Hostname: "SRV-101-oob", NTPServers: []string{"10.0.0.1"}, NTPEnabled: &on,
			DNSServers: []string{"10.0.0.2"}, Syslog: "logs:514", Clock: clock.Add(20 * time.Second)}},
		"written otherwise": {now: bmc.ManagerSettings{Hostname: "srv-101-oob", NTPServers: []string{"::ffff:10.0.0.1"}, NTPEnabled: &on,
			DNSServers: []string{"10.0.0.2"}, Syslog: "other:514", AlsoSyslog: []string{"logs:514"}}},
		"one field": {now: bmc.ManagerSettings{Hostname: "srv-101-oob", NTPServers: []string{"10.0.0.1"}, NTPEnabled: &on,
			DNSServers: []string{"10.9.9.9"}, Syslog: "logs:514"}, write: bmc.ManagerSettings{DNSServers: []string{"10.0.0.2"}}, fields: "dns_servers"},
		"NTP off": {now: bmc.ManagerSettings{Hostname: "srv-101-oob", NTPServers: []string{"10.0.0.1"}, NTPEnabled: &off,
			DNSServers: []string{"10.0.0.2"}, Syslog: "logs:514"}, write: bmc.ManagerSettings{NTPEnabled: &on}, fields: "ntp_enabled"},
		"clock and no syslog": {now: bmc.ManagerSettings{Hostname: "srv-101-oob", NTPServers: []string{"10.0.0.1"}, NTPEnabled: &on,
			DNSServers: []string{"10.0.0.2"}, Clock: clock.Add(-time.Hour)}, unsupported: []string{"syslog"},
			write: bmc.ManagerSettings{Clock: clock}, fields: "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			write, diff := settingsDiff(want, tc.now, tc.unsupported, clock)
			if d := cmp.Diff(tc.write, write); d != "" {
				t.Errorf("write (-want +got):\n%s", d)
			}
			if got := fields(diff); got != tc.fields {
				t.Errorf("fields %q, want %q", got, tc.fields)
			}
		})
	}
}

func TestJudgeListsEveryDifference(t *testing.T) {
	yes := true
	want := plan.WantHardware{
		Hardware: profile.Hardware{CPUs: 2, CPUModel: "6338", MemoryGiB: 64, DIMMs: 4, NICPorts: 2, PowerSupplies: 2, Health: "OK", SecureBoot: &yes, TPM: "2.0",
			Drives:  []profile.Drives{{Count: 2, Media: "SSD"}, {Count: 1, Media: "SSD", Bus: "NVMe", MinGB: 900}},
			Volumes: []profile.Volume{{RAID: "RAID1"}}},
		MACs: []plan.WantMAC{{Interface: "eth0", MAC: "aa:bb:cc:00:00:01"}, {Interface: "eth1", MAC: "aa:bb:cc:00:00:02"}},
	}
	good := func() *bmc.Inventory {
		return &bmc.Inventory{
			Systems: []bmc.System{{Part: bmc.Part{ID: "1", Health: "OK"}, SecureBoot: &bmc.SecureBoot{Enabled: true}, TPMs: []bmc.TPM{{Type: "TPM2_0"}}}},
			Processors: []bmc.Processor{{Part: bmc.Part{ID: "CPU1", Model: "Xeon Gold 6338"}, Type: "CPU"},
				{Part: bmc.Part{ID: "CPU2", Model: "Xeon Gold 6338"}, Type: "CPU"}},
			Memory: []bmc.Memory{{GiB: 16}, {GiB: 16}, {GiB: 16}, {GiB: 16}},
			// The NVMe drive comes first and fits both groups: the narrower one must get it.
			Drives: []bmc.Drive{{Part: bmc.Part{ID: "n0"}, Media: "SSD", Protocol: "NVMe", Bytes: 960e9},
				{Part: bmc.Part{ID: "d0"}, Media: "SSD", Protocol: "SATA"}, {Part: bmc.Part{ID: "d1"}, Media: "SSD", Protocol: "SATA"}},
			Volumes: []bmc.Volume{{RAID: "RAID1"}},
			NetworkInterfaces: []bmc.NetworkInterface{{Owner: "system/1", MACs: []string{"AA:BB:CC:00:00:01"}},
				{Owner: "system/1", MACs: []string{"AA:BB:CC:00:00:02"}}, {Owner: "manager/1", MACs: []string{"AA:BB:CC:00:00:03"}}},
			PowerSupplies: []bmc.PowerSupply{{Part: bmc.Part{ID: "0", Health: "OK"}}, {Part: bmc.Part{ID: "1", Health: "OK"}}},
		}
	}
	if items := judge(want, good()); len(items) != 0 {
		t.Fatalf("a machine as wanted differs: %v", items)
	}
	for name, tc := range map[string]struct {
		change func(*bmc.Inventory)
		want   []fault.Item
	}{
		"a CPU is missing": {func(i *bmc.Inventory) { i.Processors = i.Processors[:1] }, []fault.Item{{Subject: "CPUs", Expected: "2", Seen: "1"}}},
		"unread is not absent": {func(i *bmc.Inventory) {
			i.Memory = nil
			i.Unread = []bmc.Unread{{URI: "/redfish/v1/Systems/1/Memory", Reason: "server_error"}}
		}, []fault.Item{
			{Subject: "memory GiB", Expected: "64", Seen: "0 (/redfish/v1/Systems/1/Memory could not be read: server_error)"},
			{Subject: "DIMMs", Expected: "4", Seen: "0 (/redfish/v1/Systems/1/Memory could not be read: server_error)"}}},
		"a drive too many": {func(i *bmc.Inventory) { i.Drives = append(i.Drives, bmc.Drive{Part: bmc.Part{ID: "d2"}, Media: "HDD"}) },
			[]fault.Item{{Subject: "drives beyond the profile", Expected: "none", Seen: "d2"}}},
		"the NVMe drive is small": {func(i *bmc.Inventory) { i.Drives[0].Bytes = 480e9 }, []fault.Item{
			{Subject: "drives SSD NVMe >= 900 GB", Expected: "1", Seen: "0"}, {Subject: "drives beyond the profile", Expected: "none", Seen: "d1"}}},
		"a MAC is another": {func(i *bmc.Inventory) { i.NetworkInterfaces[1].MACs[0] = "AA:BB:CC:00:00:99" },
			[]fault.Item{{Subject: "MAC of eth1", Expected: "aa:bb:cc:00:00:02", Seen: "on no port", Remedy: "look whether another card was fitted; where NetBox is wrong, correct the MAC there, `cagenut op abort` and install again"}}},
		"a port, a card, the chassis and a board are not well": {func(i *bmc.Inventory) {
			i.NetworkInterfaces[0].ID, i.NetworkInterfaces[0].Health = "eth0", "Warning"
			i.PCIeDevices = []bmc.PCIeDevice{{Part: bmc.Part{ID: "slot2", Health: "Critical"}}}
			i.Chassis = []bmc.Chassis{{Part: bmc.Part{ID: "1U", Health: "Critical"}}}
			i.Components = []bmc.Component{{Type: "Battery", Part: bmc.Part{ID: "cmos", Health: "Warning"}}, {Type: "Battery", Part: bmc.Part{ID: "b2", Health: "Critical", State: "Absent"}}}
		}, []fault.Item{{Subject: "chassis 1U health", Expected: "OK", Seen: "Critical"}, {Subject: "network port eth0 health", Expected: "OK", Seen: "Warning"},
			{Subject: "PCIe device slot2 health", Expected: "OK", Seen: "Critical"}, {Subject: "Battery cmos health", Expected: "OK", Seen: "Warning"}}},
		"the system sums up something worse": {func(i *bmc.Inventory) { i.Systems[0].HealthRollup = "Critical" },
			[]fault.Item{{Subject: "system 1 health, summed up", Expected: "OK", Seen: "Critical"}}},
		"no part tells a health": {func(i *bmc.Inventory) {
			i.Systems[0].Health, i.PowerSupplies[0].Health, i.PowerSupplies[1].Health = "", "", ""
		}, []fault.Item{{Subject: "health", Expected: "OK", Seen: "told of no part"}}},
		"a PSU is critical": {func(i *bmc.Inventory) { i.PowerSupplies[1].Health = "Critical" },
			[]fault.Item{{Subject: "power supply 1 health", Expected: "OK", Seen: "Critical"}}},
		"no RAID1, no TPM 2, Secure Boot off": {func(i *bmc.Inventory) {
			i.Volumes, i.Systems[0].TPMs, i.Systems[0].SecureBoot.Enabled = nil, nil, false
		}, []fault.Item{{Subject: "volumes RAID1", Expected: "1", Seen: "0"}, {Subject: "Secure Boot of 1", Expected: "on", Seen: "off"},
			{Subject: "TPM", Expected: "2.0", Seen: "none of that version"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inv := good()
			tc.change(inv)
			if d := cmp.Diff(tc.want, judge(want, inv)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// Groups and volumes get what fits them whatever their order, and a shortage is the widest group's.
func TestDrivesAreGivenSoThatAllGroupsGetTheirs(t *testing.T) {
	drive := func(gb int64) bmc.Drive { return bmc.Drive{Media: "SSD", Bytes: gb * 1e9} }
	volume := func(gb int64) bmc.Volume { return bmc.Volume{RAID: "RAID1", Bytes: gb * 1e9} }
	small, large := profile.Drives{Count: 1, Media: "SSD", MinGB: 400}, profile.Drives{Count: 1, Media: "SSD", MinGB: 900}
	sata, big := profile.Drives{Count: 1, Bus: "SATA"}, profile.Drives{Count: 1, MinGB: 900}
	for name, tc := range map[string]struct {
		want plan.WantHardware
		have bmc.Inventory
		seen string
	}{
		"equally narrow, the small one first": {plan.WantHardware{Hardware: profile.Hardware{Drives: []profile.Drives{small, large}}},
			bmc.Inventory{Drives: []bmc.Drive{drive(960), drive(480)}}, ""},
		"groups that overlap": {plan.WantHardware{Hardware: profile.Hardware{Drives: []profile.Drives{sata, big}}},
			bmc.Inventory{Drives: []bmc.Drive{{Protocol: "SATA", Bytes: 960e9}, {Protocol: "SATA", Bytes: 480e9}}}, ""},
		"one is missing": {plan.WantHardware{Hardware: profile.Hardware{Drives: []profile.Drives{small, large}}},
			bmc.Inventory{Drives: []bmc.Drive{drive(480)}}, "drives SSD >= 900 GB: 0"},
		"volumes": {plan.WantHardware{Hardware: profile.Hardware{Volumes: []profile.Volume{{RAID: "RAID1", MinGB: 400}, {RAID: "RAID1", MinGB: 900}}}},
			bmc.Inventory{Volumes: []bmc.Volume{volume(960), volume(480)}}, ""},
		"a volume of the size is missing": {plan.WantHardware{Hardware: profile.Hardware{Volumes: []profile.Volume{{RAID: "RAID1", MinGB: 400}, {RAID: "RAID1", MinGB: 900}}}},
			bmc.Inventory{Volumes: []bmc.Volume{volume(480), volume(480)}}, "volumes RAID1: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := ""
			for _, i := range judge(tc.want, &tc.have) {
				seen += i.Subject + ": " + i.Seen
			}
			if seen != tc.seen {
				t.Errorf("got %q, want %q", seen, tc.seen)
			}
		})
	}
}

// A reading that broke off is read again although nothing differs; a BMC that fails at one resource
// each time passes, and that is said.
func TestHardwareSaysWhatWasNotRead(t *testing.T) {
	for reason, want := range map[string]struct {
		code fault.Code
		said string
	}{
		"unreachable":  {code: fault.Unreachable},
		"unauthorized": {code: fault.BadCredentials},
		"malformed":    {said: "1 resources could not be read: /x/Memory (malformed)"},
		"not_found":    {},
	} {
		l := &lone{inventory: &bmc.Inventory{Systems: []bmc.System{{Part: bmc.Part{Health: "OK"}}}, Fans: []bmc.Fan{{}},
			Unread: []bmc.Unread{{URI: "/x/Memory", Reason: reason}}}}
		done, _, err := l.carry(t, plan.KindHardware, plan.WantHardware{Hardware: profile.Hardware{Health: "OK"}})
		var code fault.Code
		if err != nil {
			code = fault.From(err).Code
		}
		if code != want.code {
			t.Errorf("%s: %v, want %q", reason, err, want.code)
		}
		if code == "" && (!strings.Contains(done.Summary, want.said) || !strings.Contains(done.Summary, "without a health: 1 fan")) {
			t.Errorf("%s: the summary does not say it: %q", reason, done.Summary)
		}
	}
}

// slowPower is a host that takes one look to change its state, and counts what it is told.
type slowPower struct {
	bmc.Power
	state, next bmc.PowerState
	asked       []bmc.PowerAction
}

func (p *slowPower) Tasks(context.Context) ([]bmc.TaskState, error) { return nil, bmc.ErrUnsupported }

func (p *slowPower) PowerState(context.Context) (bmc.PowerState, error) {
	s := p.state
	if p.next != "" {
		p.state, p.next = p.next, ""
	}
	return s, nil
}

func (p *slowPower) SetPower(_ context.Context, a bmc.PowerAction) error {
	p.asked = append(p.asked, a)
	p.next = bmc.PowerOn
	if a == bmc.PowerActionOff {
		p.next = bmc.PowerOff
	}
	return nil
}

// A worker that dies after any advance is called again with the handle from before it: the host
// must still go off once and on once.
func TestCycleSurvivesACrashAnywhere(t *testing.T) {
	for crash := range 8 {
		p := &slowPower{state: bmc.PowerOn}
		y := cycle{}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := 0; y.Phase != "done"; i++ {
			if i > 20 {
				t.Fatalf("crash at %d: no end, phase %q, asked %v", crash, y.Phase, p.asked)
			}
			before := y
			if _, err := y.advance(context.Background(), p, now, powerDeadline); err != nil {
				t.Fatal(err)
			}
			if i == crash {
				y = before
				p.state, p.next = either(p.next, p.state), "" // the host goes on meanwhile
			}
			now = now.Add(2 * time.Second)
		}
		if d := cmp.Diff([]bmc.PowerAction{bmc.PowerActionOff, bmc.PowerActionOn}, p.asked); d != "" {
			t.Errorf("crash at %d (-want +got):\n%s", crash, d)
		}
	}
}

func either(a, b bmc.PowerState) bmc.PowerState {
	if a != "" {
		return a
	}
	return b
}

func TestCycleGivesUp(t *testing.T) {
	p := &slowPower{state: bmc.PowerOn}
	y := cycle{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 100 {
		_, err := y.advance(context.Background(), ignoring{p}, now, powerDeadline)
		if err != nil {
			if code := fault.From(err).Code; code != fault.NotApplied {
				t.Errorf("code %s, want %s", code, fault.NotApplied)
			}
			return
		}
		now = now.Add(10 * time.Second)
	}
	t.Error("a host that ignores its power button is waited for without end")
}

// ignoring accepts power actions and does nothing.
type ignoring struct{ *slowPower }

func (ignoring) SetPower(context.Context, bmc.PowerAction) error { return nil }

func TestSpoiledReading(t *testing.T) {
	for _, c := range []struct {
		reasons []string
		want    fault.Code
	}{
		{nil, ""},
		{[]string{"not_found", "unsupported"}, ""},
		{[]string{"not_found", "server_error"}, fault.ServerError},
		{[]string{"html"}, fault.Malformed},
		{[]string{"server_error", "unreachable", "pin_changed"}, fault.PinChanged},
	} {
		var unread []bmc.Unread
		for _, r := range c.reasons {
			unread = append(unread, bmc.Unread{URI: "/redfish/v1/Systems/1/Memory", Reason: r})
		}
		if got, _ := spoiled(unread); got != c.want {
			t.Errorf("%v: %q, want %q", c.reasons, got, c.want)
		}
	}
}

// A retry takes what came up only when it is what was asked for; what failed at first may have gone on.
func TestWhatCameUp(t *testing.T) {
	want := plan.WantOS{OS: profile.OS{Distro: "debian", Release: "12"}}
	say := func(seq int64, stage, body string) operation.BootEvent {
		return operation.BootEvent{Sequence: seq, Stage: stage, Body: []byte(body)}
	}
	right, other := say(2, string(templates.FirstBoot), "os=debian 12\n"), say(2, string(templates.FirstBoot), "os=debian 11\n")
	early, late := say(1, string(templates.Failed), "reason=no key\n"), say(3, string(templates.Failed), "reason=no key\n")
	refusal := say(1, operation.StageRefused, "reason=another MAC\n")
	for name, c := range map[string]struct {
		events   []operation.BootEvent
		up, fail bool
	}{
		"nothing":               {},
		"the right one":         {events: []operation.BootEvent{right}, up: true},
		"another system":        {events: []operation.BootEvent{other}},
		"another machine too":   {events: []operation.BootEvent{refusal, right}},
		"failed":                {events: []operation.BootEvent{early}, fail: true},
		"failed, then went on":  {events: []operation.BootEvent{early, right}, up: true},
		"came up, failed later": {events: []operation.BootEvent{right, late}, up: true, fail: true},
	} {
		s := operation.BootState{Events: c.events}
		if got := cameUp(Call{}, want, s); got != c.up {
			t.Errorf("%s: came up %t, want %t", name, got, c.up)
		}
		if err := gaveUp(s); (err != nil) != c.fail {
			t.Errorf("%s: gave up: %v, want one: %t", name, err, c.fail)
		}
	}
}
