// Package profile says what a device type in a role must look like: the BMC's settings, firmware,
// BIOS, the hardware that must be there, and the operating system with what proves and configures
// it. Profiles are YAML files in the configuration folder; internal/config decodes them into these
// structs, and a profile is only used after Validate.
//
// Words
//
//   - OS: the operating system, how it is installed and booted, and what it is given (os.go).
//   - RootDisk: hints that must point at exactly the disks it goes to (disk.go). None points at all.
//   - BurnIn, ConfigManagement, Checks: what loads, configures and proves the machine (service.go).
//
// What a profile does not name is never written and never judged. The package is pure.
package profile

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// Profile is one profile.
type Profile struct {
	Name     string   `json:"name" yaml:"name"`
	Version  int      `json:"version" yaml:"version"`
	Match    Match    `json:"match" yaml:"match"`
	BMC      BMC      `json:"bmc" yaml:"bmc"`
	Firmware Firmware `json:"firmware,omitzero" yaml:"firmware"`
	BIOS     BIOS     `json:"bios,omitzero" yaml:"bios"`
	Hardware Hardware `json:"hardware,omitzero" yaml:"hardware"`

	// What is left out below is not in a profile's JSON, and so changes no plan.
	OS               OS               `json:"os,omitzero" yaml:"os"`
	BurnIn           BurnIn           `json:"burn_in,omitzero" yaml:"burn_in"`
	ConfigManagement ConfigManagement `json:"config_management,omitzero" yaml:"config_management"`
	Checks           Checks           `json:"checks,omitzero" yaml:"checks"`
}

// Match says which devices a profile is for. Every non-empty list must hold the device's value;
// device types are required.
type Match struct {
	DeviceTypes []string `json:"device_types" yaml:"device_types"` // NetBox slugs
	Roles       []string `json:"roles,omitempty" yaml:"roles"`     // NetBox slugs; empty: any
	Sites       []string `json:"sites,omitempty" yaml:"sites"`     // NetBox slugs; empty: any
}

// BMC is the baseline of the management controller.
type BMC struct {
	Protocol string `json:"protocol" yaml:"protocol"` // redfish (default) or ipmi
	// Account is the account whose password Cagenut keeps. It must exist from the factory.
	Account string `json:"account" yaml:"account"`
	// Hostname may hold {name}, {site} and {serial}.
	Hostname string   `json:"hostname,omitempty" yaml:"hostname"`
	NTP      []string `json:"ntp,omitempty" yaml:"ntp"`
	DNS      []string `json:"dns,omitempty" yaml:"dns"`
	Syslog   string   `json:"syslog,omitempty" yaml:"syslog"`
	// MaxClockSkew is in seconds; 0 means that the clock is not judged.
	MaxClockSkew int `json:"max_clock_skew,omitempty" yaml:"max_clock_skew"`
	// System is the Redfish Id of the machine's system on a BMC that serves several. Without it the
	// system is found by the machine's serial.
	System string `json:"system,omitempty" yaml:"system"`
	// OldCiphers also offers these machines' BMCs the RSA key exchange, which is all that some know.
	OldCiphers bool `json:"old_ciphers,omitempty" yaml:"old_ciphers"`
	// PasswordLength is that of the passwords made for these BMCs; 0 is the most that IPMI stores, 20.
	PasswordLength int `json:"password_length,omitempty" yaml:"password_length"`
}

// The lengths of a password that Cagenut makes: 20 characters is the most that IPMI 2.0 stores, 16 the
// most that some BMCs keep.
const (
	MinPassword = 16
	MaxPassword = 20
)

// Password is the length of the passwords to make: the profile's, else the longest. Over IPMI that is
// the shortest: there are BMCs that take 20 characters, say yes, and then know neither the new password
// nor the old (OpenIPMI's simulator is one).
func (b BMC) Password() int {
	switch {
	case b.PasswordLength != 0:
		return b.PasswordLength
	case b.Protocol == "ipmi":
		return MinPassword
	}
	return MaxPassword
}

// Firmware is the baseline, in the order in which it is installed.
type Firmware struct {
	Components []Component `json:"components,omitempty" yaml:"components"`
}

// Component is one component's wanted firmware.
type Component struct {
	// Component names it as the BMC's firmware inventory does: an ID, a name, or a part of either
	// that matches exactly one component of each machine, letter case ignored.
	Component string `json:"component" yaml:"component"`
	Version   string `json:"version" yaml:"version"`
	File      string `json:"file" yaml:"file"` // name or SHA-256 in the firmware store
	// Via are intermediate versions to pass through when the installed one is older, oldest first.
	Via            []Component `json:"via,omitempty" yaml:"via"`
	Reboot         string      `json:"reboot,omitempty" yaml:"reboot"` // none, host; the BMC reboots itself
	Push           string      `json:"push,omitempty" yaml:"push"`     // auto (default), pull, multipart
	AllowDowngrade bool        `json:"allow_downgrade,omitempty" yaml:"allow_downgrade"`
}

// BIOS is the wanted BIOS: the named attributes and no others.
type BIOS struct {
	BootMode   string         `json:"boot_mode,omitempty" yaml:"boot_mode"` // uefi, legacy
	Attributes map[string]any `json:"attributes,omitempty" yaml:"attributes"`
	MaxRounds  int            `json:"max_rounds,omitempty" yaml:"max_rounds"` // default 3
}

// Hardware is what must be in the machine. Zero values are not judged.
type Hardware struct {
	CPUs          int      `json:"cpus,omitempty" yaml:"cpus"`
	CPUModel      string   `json:"cpu_model,omitempty" yaml:"cpu_model"` // contained in the model, letter case ignored
	GPUs          int      `json:"gpus,omitempty" yaml:"gpus"`
	MemoryGiB     float64  `json:"memory_gib,omitempty" yaml:"memory_gib"`
	DIMMs         int      `json:"dimms,omitempty" yaml:"dimms"`
	Drives        []Drives `json:"drives,omitempty" yaml:"drives"`
	Volumes       []Volume `json:"volumes,omitempty" yaml:"volumes"`
	NICPorts      int      `json:"nic_ports,omitempty" yaml:"nic_ports"` // at least
	PowerSupplies int      `json:"power_supplies,omitempty" yaml:"power_supplies"`
	Health        string   `json:"health,omitempty" yaml:"health"` // OK: nothing below; Warning: warnings are accepted
	SecureBoot    *bool    `json:"secure_boot,omitempty" yaml:"secure_boot"`
	TPM           string   `json:"tpm,omitempty" yaml:"tpm"` // 2.0
}

// Drives is a group of equal drives.
type Drives struct {
	Count  int     `json:"count" yaml:"count"`
	Media  string  `json:"media,omitempty" yaml:"media"` // SSD, HDD
	Bus    string  `json:"bus,omitempty" yaml:"bus"`     // NVMe, SATA, SAS
	MinGB  float64 `json:"min_gb,omitempty" yaml:"min_gb"`
	Models string  `json:"model,omitempty" yaml:"model"` // contained in the model
}

// Volume is a RAID volume that must exist.
type Volume struct {
	RAID  string  `json:"raid" yaml:"raid"` // RAID1, ...
	MinGB float64 `json:"min_gb,omitempty" yaml:"min_gb"`
	Count int     `json:"count,omitempty" yaml:"count"` // default 1
}

// Problem is one thing that is wrong with a profile.
type Problem struct {
	Field  string `json:"field"`
	Value  string `json:"value"`
	Remedy string `json:"remedy"`
}

func (p Problem) String() string {
	return fmt.Sprintf("%s: %q: %s", p.Field, p.Value, p.Remedy)
}

// Validate lists all that is wrong with a profile; none means that it can be used.
func (p Profile) Validate() []Problem {
	var out []Problem
	bad := func(field string, value any, remedy string) {
		out = append(out, Problem{field, fmt.Sprint(value), remedy})
	}
	oneOf := func(field, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			bad(field, value, "use one of "+strings.Join(allowed, ", "))
		}
	}
	if p.Name == "" {
		bad("name", "", "give the profile a name, unique in the folder")
	}
	if len(p.Match.DeviceTypes) == 0 {
		bad("match.device_types", "", "name at least one NetBox device type slug: empty is not all")
	}
	oneOf("bmc.protocol", p.BMC.Protocol, "redfish", "ipmi")
	if p.BMC.Account == "" {
		bad("bmc.account", "", "name the BMC account whose password Cagenut keeps, e.g. root or ADMIN")
	}
	if p.BMC.MaxClockSkew < 0 {
		bad("bmc.max_clock_skew", p.BMC.MaxClockSkew, "use seconds, 0 or more")
	}
	if n := p.BMC.PasswordLength; n != 0 && (n < MinPassword || n > MaxPassword) {
		bad("bmc.password_length", n, "use 16 to 20, or leave it out for 20")
	}
	if p.BMC.Protocol == "ipmi" {
		if p.BMC.OldCiphers {
			bad("bmc.old_ciphers", true, "leave it out: it is about TLS, which IPMI has not")
		}
		if p.BMC.System != "" {
			bad("bmc.system", p.BMC.System, "leave it out: IPMI knows one system")
		}
	}
	for _, ph := range placeholders(p.BMC.Hostname) {
		oneOf("bmc.hostname", ph, "{name}", "{site}", "{serial}")
	}
	seen := map[string]bool{}
	for i, c := range p.Firmware.Components {
		field := fmt.Sprintf("firmware.components[%d]", i)
		out = append(out, c.validate(field)...)
		key := strings.ToLower(c.Component)
		if seen[key] {
			bad(field+".component", c.Component, "name each component once; use via for intermediate versions")
		}
		seen[key] = true
		for j, v := range c.Via {
			if v.Component != "" && v.Component != c.Component {
				bad(fmt.Sprintf("%s.via[%d].component", field, j), v.Component, "leave it out: it is the same component")
			}
			v.Component = c.Component
			out = append(out, v.validate(fmt.Sprintf("%s.via[%d]", field, j))...)
			if len(v.Via) > 0 {
				bad(fmt.Sprintf("%s.via[%d].via", field, j), "", "list all intermediate versions at one level")
			}
		}
	}
	if p.BIOS.BootMode != "" {
		oneOf("bios.boot_mode", p.BIOS.BootMode, "uefi", "legacy")
	}
	if p.BIOS.MaxRounds < 0 || p.BIOS.MaxRounds > 10 {
		bad("bios.max_rounds", p.BIOS.MaxRounds, "use 1 to 10; 0 means the default of 3")
	}
	for _, name := range slices.Sorted(maps.Keys(p.BIOS.Attributes)) {
		switch v := p.BIOS.Attributes[name].(type) {
		case string, bool, int, int64, uint64, float64:
		default:
			bad("bios.attributes."+name, v, "use a string, a number or true/false")
		}
	}
	h := p.Hardware
	for field, n := range map[string]float64{
		"cpus": float64(h.CPUs), "gpus": float64(h.GPUs), "memory_gib": h.MemoryGiB, "dimms": float64(h.DIMMs),
		"nic_ports": float64(h.NICPorts), "power_supplies": float64(h.PowerSupplies),
	} {
		if n < 0 {
			bad("hardware."+field, n, "use 0 (not judged) or more")
		}
	}
	for i, d := range h.Drives {
		if d.Count <= 0 {
			bad(fmt.Sprintf("hardware.drives[%d].count", i), d.Count, "use 1 or more")
		}
	}
	for i, v := range h.Volumes {
		if v.RAID == "" {
			bad(fmt.Sprintf("hardware.volumes[%d].raid", i), "", "name the RAID type, e.g. RAID1")
		}
	}
	if h.Health != "" {
		oneOf("hardware.health", h.Health, "OK", "Warning")
	}
	if h.TPM != "" {
		oneOf("hardware.tpm", h.TPM, "1.2", "2.0")
	}
	for _, more := range [][]Problem{p.OS.Validate(), p.BurnIn.Validate(), p.ConfigManagement.Validate(), p.Checks.Validate()} {
		out = append(out, more...)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Field < out[j].Field })
	return out
}

func (c Component) validate(field string) []Problem {
	var out []Problem
	if c.Component == "" {
		out = append(out, Problem{field + ".component", "", "name the component as the BMC's firmware inventory does"})
	}
	if c.Version == "" {
		out = append(out, Problem{field + ".version", "", "give the version that must be read back"})
	}
	if c.File == "" {
		out = append(out, Problem{field + ".file", "", "name a file added with `cagenut firmware add`, or its SHA-256"})
	}
	if !slices.Contains([]string{"", "none", "host"}, c.Reboot) {
		out = append(out, Problem{field + ".reboot", c.Reboot, "use none or host"})
	}
	if !slices.Contains([]string{"", "auto", "pull", "multipart"}, c.Push) {
		out = append(out, Problem{field + ".push", c.Push, "use auto, pull or multipart"})
	}
	return out
}

func placeholders(s string) []string {
	var out []string
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			return out
		}
		j := strings.IndexByte(s[i:], '}')
		if j < 0 {
			return append(out, s[i:])
		}
		out = append(out, s[i:i+j+1])
		s = s[i+j+1:]
	}
}

// Subject is what a profile is matched against: NetBox slugs.
type Subject struct{ Type, Role, Site string }

// Find gives the one profile for a device: among those that match, the one that names the most of
// role and site. None, or two equally specific ones, is an error that names them.
func Find(profiles []Profile, s Subject) (Profile, error) {
	var best []Profile
	bestScore := -1
	for _, p := range profiles {
		score, ok := p.Match.score(s)
		switch {
		case !ok || score < bestScore:
		case score == bestScore:
			best = append(best, p)
		default:
			best, bestScore = []Profile{p}, score
		}
	}
	switch len(best) {
	case 0:
		return Profile{}, fmt.Errorf("no profile matches device type %q, role %q, site %q", s.Type, s.Role, s.Site)
	case 1:
		return best[0], nil
	}
	names := make([]string, len(best))
	for i, p := range best {
		names[i] = p.Name
	}
	slices.Sort(names)
	return Profile{}, fmt.Errorf("profiles %s match device type %q, role %q, site %q equally: name role or site in one of them",
		strings.Join(names, ", "), s.Type, s.Role, s.Site)
}

func (m Match) score(s Subject) (int, bool) {
	score := 0
	for _, c := range []struct {
		list  []string
		value string
	}{{m.DeviceTypes, s.Type}, {m.Roles, s.Role}, {m.Sites, s.Site}} {
		if len(c.list) == 0 {
			continue
		}
		if !slices.Contains(c.list, c.value) {
			return 0, false
		}
		score++
	}
	return score, true
}

// HostnameFor fills the placeholders of the BMC's host name.
func (b BMC) HostnameFor(name, site, serial string) string {
	return strings.NewReplacer("{name}", name, "{site}", site, "{serial}", strings.ToLower(serial)).Replace(b.Hostname)
}
