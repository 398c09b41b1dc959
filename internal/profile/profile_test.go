package profile

import (
	"strings"
	"testing"
)

func good() Profile {
	return Profile{Name: "compute", Version: 1, Match: Match{DeviceTypes: []string{"r750"}}, BMC: BMC{Protocol: "redfish", Account: "root", Hostname: "{name}-oob"},
		Firmware: Firmware{Components: []Component{{Component: "BIOS", Version: "1.8", File: "bios.bin", Via: []Component{{Version: "1.6", File: "old.bin"}}}}}}
}

func TestValidateNamesFieldValueAndRemedy(t *testing.T) {
	if p := good().Validate(); len(p) != 0 {
		t.Fatalf("a good profile has problems: %v", p)
	}
	for field, change := range map[string]func(*Profile){
		"name":                               func(p *Profile) { p.Name = "" },
		"match.device_types":                 func(p *Profile) { p.Match.DeviceTypes = nil },
		"bmc.protocol":                       func(p *Profile) { p.BMC.Protocol = "snmp" },
		"bmc.account":                        func(p *Profile) { p.BMC.Account = "" },
		"bmc.hostname":                       func(p *Profile) { p.BMC.Hostname = "{rack}" },
		"bmc.max_clock_skew":                 func(p *Profile) { p.BMC.MaxClockSkew = -1 },
		"bmc.password_length":                func(p *Profile) { p.BMC.PasswordLength = 15 },
		"bmc.old_ciphers":                    func(p *Profile) { p.BMC.Protocol, p.BMC.OldCiphers = "ipmi", true },
		"bmc.system":                         func(p *Profile) { p.BMC.Protocol, p.BMC.System = "ipmi", "Node1" },
		"firmware.components[0].version":     func(p *Profile) { p.Firmware.Components[0].Version = "" },
		"firmware.components[0].file":        func(p *Profile) { p.Firmware.Components[0].File = "" },
		"firmware.components[0].reboot":      func(p *Profile) { p.Firmware.Components[0].Reboot = "twice" },
		"firmware.components[0].push":        func(p *Profile) { p.Firmware.Components[0].Push = "ftp" },
		"firmware.components[0].via[0].file": func(p *Profile) { p.Firmware.Components[0].Via[0].File = "" },
		"firmware.components[1].component": func(p *Profile) {
			p.Firmware.Components = append(p.Firmware.Components, Component{Component: "bios", Version: "2", File: "x"})
		},
		"bios.boot_mode":           func(p *Profile) { p.BIOS.BootMode = "UEFI" },
		"bios.max_rounds":          func(p *Profile) { p.BIOS.MaxRounds = 11 },
		"bios.attributes.X":        func(p *Profile) { p.BIOS.Attributes = map[string]any{"X": []any{1}} },
		"hardware.cpus":            func(p *Profile) { p.Hardware.CPUs = -1 },
		"hardware.drives[0].count": func(p *Profile) { p.Hardware.Drives = []Drives{{}} },
		"hardware.volumes[0].raid": func(p *Profile) { p.Hardware.Volumes = []Volume{{}} },
		"hardware.health":          func(p *Profile) { p.Hardware.Health = "Critical" },
		"hardware.tpm":             func(p *Profile) { p.Hardware.TPM = "3" },
	} {
		p := good()
		change(&p)
		problems := p.Validate()
		if len(problems) != 1 || problems[0].Field != field || problems[0].Remedy == "" {
			t.Errorf("%s: %v", field, problems)
		}
	}
}

func TestFindTakesTheMostSpecific(t *testing.T) {
	named := func(name string, m Match) Profile { return Profile{Name: name, Match: m} }
	profiles := []Profile{
		named("any", Match{DeviceTypes: []string{"r750", "dl360"}}),
		named("storage", Match{DeviceTypes: []string{"r750"}, Roles: []string{"storage"}}),
		named("storage-ams", Match{DeviceTypes: []string{"r750"}, Roles: []string{"storage"}, Sites: []string{"ams01"}}),
		named("twin-a", Match{DeviceTypes: []string{"twin"}}),
		named("twin-b", Match{DeviceTypes: []string{"twin"}}),
	}
	for _, tc := range []struct {
		subject   Subject
		want, err string
	}{
		{Subject{"r750", "compute", "ams01"}, "any", ""},
		{Subject{"r750", "storage", "fra01"}, "storage", ""},
		{Subject{"r750", "storage", "ams01"}, "storage-ams", ""},
		{Subject{"r640", "compute", "ams01"}, "", "no profile"},
		{Subject{"twin", "compute", "ams01"}, "", "twin-a, twin-b"},
		{Subject{"", "", ""}, "", "no profile"},
	} {
		got, err := Find(profiles, tc.subject)
		if got.Name != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%v: %q, %v; want %q, %q", tc.subject, got.Name, err, tc.want, tc.err)
		}
	}
}

func TestHostnameFor(t *testing.T) {
	b := BMC{Hostname: "{name}-{site}-{serial}"}
	if got := b.HostnameFor("srv-101", "ams01", "ABC1"); got != "srv-101-ams01-abc1" {
		t.Errorf("got %q", got)
	}
}
