package workflows_test

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/workflows"
)

var update = flag.Bool("update", false, "write testdata/*.json anew")

func facts() plan.Facts {
	return plan.Facts{
		Asset:  asset.Ref{ID: 101, Name: "srv-101", Serial: "ABC1234", Site: "ams01", Rack: "r12"},
		Status: asset.Planned, Type: "r650", Role: "compute", Manufacturer: "dell", Model: "PowerEdge R650",
		Position: 12, Face: "front", OOB: netip.MustParsePrefix("192.0.2.101/24"), OOBInterface: "idrac",
		PrimaryPool: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		Interfaces: []plan.Port{
			{Name: "eth0", MACs: []string{"02:00:00:00:65:01"}, Cable: "sw1:1"},
			{Name: "eth1", MACs: []string{"02:00:00:00:65:02"}, Cable: "sw2:1"},
			{Name: "idrac", Mgmt: true, MACs: []string{"02:00:00:00:65:00"}, Cable: "mgmt1:1"},
		},
		HasSecret: true,
	}
}

func dell() profile.Profile {
	return profile.Profile{
		Name: "compute-r650", Version: 3, Match: profile.Match{DeviceTypes: []string{"r650"}},
		BMC: profile.BMC{
			Protocol: "redfish", Account: "root", Hostname: "{name}-bmc", NTP: []string{"192.0.2.1", "192.0.2.2"},
			DNS: []string{"192.0.2.53"}, Syslog: "192.0.2.5:514", MaxClockSkew: 5,
		},
		Firmware: profile.Firmware{Components: []profile.Component{
			{Component: "iDRAC", Version: "7.10.50.00", File: "idrac.exe", Via: []profile.Component{{Version: "6.10.80.00", File: "idrac6.exe"}}},
			{Component: "BIOS", Version: "1.14.1", File: "bios.exe", Reboot: "host"},
		}},
		BIOS:     profile.BIOS{BootMode: "uefi", Attributes: map[string]any{"SriovGlobalEnable": "Enabled", "LogicalProc": "Disabled"}},
		Hardware: profile.Hardware{CPUs: 2, MemoryGiB: 512, Health: "OK"},
	}
}

func store(file string) (plan.Image, error) {
	if file == "missing.exe" {
		return plan.Image{}, errors.New("no such file in the firmware store")
	}
	return plan.Image{File: file, SHA256: strings.Repeat("ab", 32), Size: 1 << 20}, nil
}

// seal makes a whole plan of a target, as the API does.
func seal(t *testing.T, target plan.Target) plan.Plan {
	t.Helper()
	p, err := plan.Seal(plan.Plan{Kind: workflows.KindInstall, Until: workflows.UntilHardware, Capacity: "none: the machine is not in service",
		Targets: []plan.Target{target}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The whole plan, as people approve it, hash included. A change here is a change of what is done to
// machines: look at every line of the diff, then `go test ./workflows -run Golden -update`.
func TestInstallGolden(t *testing.T) {
	ipmi := dell()
	ipmi.Name, ipmi.BMC = "old-ipmi", profile.BMC{Protocol: "ipmi", Account: "ADMIN"}
	bare := profile.Profile{Name: "bare", Version: 1, BMC: profile.BMC{Protocol: "redfish", Account: "root"}}
	for name, p := range map[string]profile.Profile{"redfish": dell(), "ipmi": ipmi, "bare": bare} {
		target, problems := workflows.Install(facts(), p, workflows.Resources{Image: store}, workflows.UntilHardware)
		if len(problems) > 0 {
			t.Fatalf("%s: %+v", name, problems)
		}
		got, err := json.MarshalIndent(seal(t, target), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		file := filepath.Join("testdata", "install-"+name+".json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// What switches a host off or cannot be taken back has the identity proved again right before it.
func TestInstallProvesIdentityBeforeWhatIsDestructive(t *testing.T) {
	target, _ := workflows.Install(facts(), dell(), workflows.Resources{Image: store}, workflows.UntilHardware)
	for _, s := range target.Steps {
		if want := s.MaxReboots > 0 || s.Kind == plan.KindFirmware; s.Destructive != want {
			t.Errorf("step %s: destructive %t, want %t", s.Name, s.Destructive, want)
		}
	}
}

// Every policy that a plan names exists.
func TestInstallPoliciesExist(t *testing.T) {
	target, _ := workflows.Install(facts(), dell(), workflows.Resources{Image: store}, workflows.UntilHardware)
	for _, s := range target.Steps {
		if _, ok := workflows.Standard().Policies[s.Policy]; !ok {
			t.Errorf("step %s: policy %q does not exist", s.Name, s.Policy)
		}
	}
}

// The same facts make the same plan, byte by byte: the hash is what is approved.
func TestInstallIsStable(t *testing.T) {
	first, _ := workflows.Install(facts(), dell(), workflows.Resources{Image: store}, workflows.UntilHardware)
	for range 20 {
		next, _ := workflows.Install(facts(), dell(), workflows.Resources{Image: store}, workflows.UntilHardware)
		if a, b := seal(t, first).Hash, seal(t, next).Hash; a != b {
			t.Fatalf("hash %s, then %s", a, b)
		}
	}
}

func TestInstallProblems(t *testing.T) {
	p := dell()
	p.Firmware.Components[0].Via[0].File, p.Firmware.Components[1].File = "missing.exe", "missing.exe"
	_, problems := workflows.Install(facts(), p, workflows.Resources{Image: store}, workflows.UntilHardware)
	var subjects []string
	for _, i := range problems {
		subjects = append(subjects, i.Subject)
		if i.Remedy == "" || i.Seen == "" {
			t.Errorf("%+v lacks what was seen or what to do", i)
		}
	}
	if diff := cmp.Diff([]string{"firmware file of iDRAC 6.10.80.00", "firmware file of BIOS 1.14.1"}, subjects); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, problems := workflows.Install(facts(), dell(), workflows.Resources{Image: store}, "moon"); len(problems) != 1 || problems[0].Subject != "until" {
		t.Errorf("until moon: %+v", problems)
	}
}

// An abort sets NetBox back to planned only where the plan moved it from there.
func TestInstallStage(t *testing.T) {
	for status, want := range map[asset.Status]plan.Undo{
		asset.Planned: plan.Compensable, asset.Staged: plan.Reversible, asset.Failed: plan.Reversible,
	} {
		f := facts()
		f.Status = status
		target, _ := workflows.Install(f, dell(), workflows.Resources{Image: store}, workflows.UntilHardware)
		for _, s := range target.Steps {
			if s.Name == "stage" && (s.Undo != want || (len(s.Writes) == 0) != (status == asset.Staged)) {
				t.Errorf("%s: undo %s with %d writes, want %s", status, s.Undo, len(s.Writes), want)
			}
		}
	}
}

// The bounds of the firmware step: a round an image and one to see that nothing is left; a reboot
// an image that needs one.
func TestInstallFirmwareBounds(t *testing.T) {
	target, _ := workflows.Install(facts(), dell(), workflows.Resources{Image: store}, workflows.UntilHardware)
	for _, s := range target.Steps {
		if s.Name == "firmware" && (s.MaxRounds != 4 || s.MaxReboots != 1) {
			t.Errorf("%d rounds and %d reboots, want 4 and 1", s.MaxRounds, s.MaxReboots)
		}
	}
}

// With --until addresses a plan ends with the step that takes them: a free one of the pools where the
// machine has none, else only the name.
func TestInstallAddresses(t *testing.T) {
	last := func(f plan.Facts) plan.Step {
		t.Helper()
		target, problems := workflows.Install(f, dell(), workflows.Resources{Image: store}, workflows.UntilAddresses)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return target.Steps[len(target.Steps)-1]
	}
	f := facts()
	f.Domain = "Ams01.example.net"
	f.PrimaryPool = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("10.1.3.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	f.Interfaces[0].LAG = "bond0"
	s := last(f)
	want := plan.WantAddresses{Interface: "bond0", Pools: []string{"10.1.2.0/24", "10.1.3.0/24", "2001:db8::/64"}, DNSName: f.Asset.Name + ".ams01.example.net"}
	got, err := plan.Decode[plan.WantAddresses](s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || s.Kind != plan.KindAddresses || s.Undo != plan.Compensable || len(s.Writes) != 5 {
		t.Errorf("step %s, undo %s, writes %v (-want +got):\n%s", s.Kind, s.Undo, s.Writes, diff)
	}
	f.Primary = []netip.Prefix{netip.MustParsePrefix("10.1.2.7/24")}
	s = last(f)
	if got, err := plan.Decode[plan.WantAddresses](s); err != nil || cmp.Diff([]string{"10.1.2.0/24"}, got.Pools) != "" || len(s.Writes) != 1 {
		t.Errorf("a machine with an address: %+v, %v, writes %v", got, err, s.Writes)
	}
	f.Domain = ""
	if s = last(f); len(s.Writes) != 0 {
		t.Errorf("with an address and no domain: writes %v", s.Writes)
	}
}
