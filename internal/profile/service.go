package profile

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// BurnIn is how long a machine is loaded before it gets an operating system, and what it must hold.
// Durations are in minutes; 0 leaves a test out.
type BurnIn struct {
	CPUMinutes     int `json:"cpu_minutes,omitempty" yaml:"cpu_minutes"`
	MemoryMinutes  int `json:"memory_minutes,omitempty" yaml:"memory_minutes"`
	DiskMinutes    int `json:"disk_minutes,omitempty" yaml:"disk_minutes"`
	NetworkMinutes int `json:"network_minutes,omitempty" yaml:"network_minutes"`
	// DiskWrites allows the disk test to overwrite what is on the disks.
	DiskWrites bool       `json:"disk_writes,omitempty" yaml:"disk_writes"`
	Thresholds Thresholds `json:"thresholds,omitzero" yaml:"thresholds"`
}

// Thresholds end a burn-in badly. Zero values are not judged, but for the counts of errors: any is
// one too many unless the profile allows some.
type Thresholds struct {
	MaxCPUCelsius     float64 `json:"max_cpu_celsius,omitempty" yaml:"max_cpu_celsius"`
	MaxDriveCelsius   float64 `json:"max_drive_celsius,omitempty" yaml:"max_drive_celsius"`
	MaxCorrectable    int     `json:"max_correctable_errors,omitempty" yaml:"max_correctable_errors"` // of memory
	MaxReallocated    int     `json:"max_reallocated_sectors,omitempty" yaml:"max_reallocated_sectors"`
	MaxWearPercent    float64 `json:"max_wear_percent,omitempty" yaml:"max_wear_percent"`
	MinReadMBs        float64 `json:"min_read_mb_s,omitempty" yaml:"min_read_mb_s"`
	MinWriteMBs       float64 `json:"min_write_mb_s,omitempty" yaml:"min_write_mb_s"`
	MinThroughputGbps float64 `json:"min_throughput_gbit_s,omitempty" yaml:"min_throughput_gbit_s"`
	MaxLossPercent    float64 `json:"max_loss_percent,omitempty" yaml:"max_loss_percent"`
}

// Validate lists what is wrong with the burn-in.
func (b BurnIn) Validate() []Problem {
	c := checker{prefix: "burn_in."}
	const week = 7 * 24 * 60
	for field, n := range map[string]int{"cpu_minutes": b.CPUMinutes, "memory_minutes": b.MemoryMinutes,
		"disk_minutes": b.DiskMinutes, "network_minutes": b.NetworkMinutes} {
		if n < 0 || n > week {
			c.bad(field, n, "use minutes, 0 (left out) to a week")
		}
	}
	if b.DiskWrites && b.DiskMinutes == 0 {
		c.bad("disk_writes", true, "set disk_minutes, or leave it out")
	}
	t := b.Thresholds
	for field, n := range map[string]float64{
		"max_cpu_celsius": t.MaxCPUCelsius, "max_drive_celsius": t.MaxDriveCelsius, "max_correctable_errors": float64(t.MaxCorrectable),
		"max_reallocated_sectors": float64(t.MaxReallocated), "max_wear_percent": t.MaxWearPercent, "min_read_mb_s": t.MinReadMBs,
		"min_write_mb_s": t.MinWriteMBs, "min_throughput_gbit_s": t.MinThroughputGbps, "max_loss_percent": t.MaxLossPercent,
	} {
		if n < 0 || strings.HasSuffix(field, "_percent") && n > 100 {
			c.bad("thresholds."+field, n, "use 0 or more, and no more than 100 percent")
		}
	}
	return c.out
}

// ConfigManagement is what configuration management applies once the system is up.
type ConfigManagement struct {
	Driver string `json:"driver" yaml:"driver"` // salt, ansible
	// States are Salt states in the order of applying; empty: the highstate.
	States   []string `json:"states,omitempty" yaml:"states"`
	Playbook string   `json:"playbook,omitempty" yaml:"playbook"` // for ansible, relative to its project
	// Vars are pillar values for Salt and extra variables for Ansible. Never secrets: name a reference.
	Vars map[string]any `json:"vars,omitempty" yaml:"vars"`
}

// IsZero tells that nothing is handed to configuration management.
func (m ConfigManagement) IsZero() bool {
	return m.Driver == "" && len(m.States) == 0 && m.Playbook == "" && len(m.Vars) == 0
}

// Applied says in words what is applied.
func (m ConfigManagement) Applied() string {
	switch {
	case m.Driver == "ansible":
		return "playbook " + m.Playbook
	case len(m.States) == 0:
		return "the highstate"
	}
	return "states " + strings.Join(m.States, ", ")
}

var (
	stateForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]*$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretName   = regexp.MustCompile(`(?i)(password|passwd|secret|token|private_?key|api_?key)`)
	serviceForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@:-]*$`)
	kernelForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]*$`)
)

// Validate lists what is wrong with the hand-over.
func (m ConfigManagement) Validate() []Problem {
	if m.IsZero() {
		return nil
	}
	c := checker{prefix: "config_management."}
	c.oneOf("driver", m.Driver, "salt", "ansible")
	switch {
	case m.Driver == "ansible" && len(m.States) > 0:
		c.bad("states", strings.Join(m.States, ", "), "name a playbook: states are Salt's")
	case m.Driver == "salt" && m.Playbook != "":
		c.bad("playbook", m.Playbook, "name states: playbooks are Ansible's")
	case m.Driver == "ansible":
		if c.form("playbook", m.Playbook, stateForm, "name the playbook, relative to the project") && slices.Contains(strings.Split(m.Playbook, "/"), "..") {
			c.bad("playbook", m.Playbook, "stay below the project")
		}
	}
	for i, s := range m.States {
		c.form(fmt.Sprintf("states[%d]", i), s, stateForm, "name one state an entry, e.g. base.ssh")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Vars)) {
		switch {
		case !variableForm.MatchString(name):
			c.bad("vars."+name, name, "use letters, digits and _")
		case secretName.MatchString(name) && !strings.HasSuffix(name, "_ref"):
			c.bad("vars."+name, "(not shown)", "keep secrets out of profiles: name a reference in a variable that ends in _ref")
		}
	}
	return c.out
}

// Checks are what must hold before a machine goes in service.
type Checks struct {
	Services []string     `json:"services,omitempty" yaml:"services"` // systemd units that must be active
	Mounts   []MountCheck `json:"mounts,omitempty" yaml:"mounts"`
	// Network holds that every link of the plan is up with its addresses, and the default gateways answer.
	Network bool `json:"network,omitempty" yaml:"network"`
	// MaxClockSkewMs is how far the clock may be from that of the site's worker; 0: not judged.
	MaxClockSkewMs int         `json:"max_clock_skew_ms,omitempty" yaml:"max_clock_skew_ms"`
	Kernel         string      `json:"kernel,omitempty" yaml:"kernel"` // release must begin with it, e.g. 6.1.
	TCP            []TCPCheck  `json:"tcp,omitempty" yaml:"tcp"`
	HTTP           []HTTPCheck `json:"http,omitempty" yaml:"http"`
}

// MountCheck is a file system that must be mounted.
type MountCheck struct {
	Path       string `json:"path" yaml:"path"`
	Filesystem string `json:"filesystem,omitempty" yaml:"filesystem"`
	MinFreeMiB int    `json:"min_free_mib,omitempty" yaml:"min_free_mib"`
}

// TCPCheck is a port of the machine that must accept connections.
type TCPCheck struct {
	Port int `json:"port" yaml:"port"`
}

// HTTPCheck is a page of the machine that must answer. The URL's host is {address} or {name}: a check
// looks at the machine that it is about and at no other.
type HTTPCheck struct {
	URL      string `json:"url" yaml:"url"`
	Status   int    `json:"status,omitempty" yaml:"status"`     // 0: 200
	Contains string `json:"contains,omitempty" yaml:"contains"` // in the first 64 KiB
}

// IsZero tells that nothing is checked.
func (k Checks) IsZero() bool {
	return len(k.Services) == 0 && len(k.Mounts) == 0 && !k.Network && k.MaxClockSkewMs == 0 && k.Kernel == "" && len(k.TCP) == 0 && len(k.HTTP) == 0
}

// Validate lists what is wrong with the checks.
func (k Checks) Validate() []Problem {
	c := checker{prefix: "checks."}
	for i, s := range k.Services {
		c.form(fmt.Sprintf("services[%d]", i), s, serviceForm, "name one systemd unit an entry")
	}
	for i, m := range k.Mounts {
		at := fmt.Sprintf("mounts[%d].", i)
		if m.Path != "/" {
			c.form(at+"path", m.Path, pathForm, "give an absolute path of letters, digits and . _ -")
		}
		c.optional(at+"filesystem", m.Filesystem, fsForm, "name the file system, e.g. ext4")
		if m.MinFreeMiB < 0 {
			c.bad(at+"min_free_mib", m.MinFreeMiB, "use MiB, 0 (not judged) or more")
		}
	}
	if k.MaxClockSkewMs < 0 {
		c.bad("max_clock_skew_ms", k.MaxClockSkewMs, "use milliseconds, 0 (not judged) or more")
	}
	c.optional("kernel", k.Kernel, kernelForm, "give the beginning of the release, e.g. 6.1.")
	for i, t := range k.TCP {
		if t.Port < 1 || t.Port > 65535 {
			c.bad(fmt.Sprintf("tcp[%d].port", i), t.Port, "use 1 to 65535")
		}
	}
	for i, h := range k.HTTP {
		at := fmt.Sprintf("http[%d].", i)
		if !machineURL(h.URL) {
			c.bad(at+"url", h.URL, "use http(s)://{address} or {name}, a port and a path, without a user")
		}
		if h.Status != 0 && (h.Status < 100 || h.Status > 599) {
			c.bad(at+"status", h.Status, "use 100 to 599; 0 means 200")
		}
	}
	return c.out
}

var fsForm = regexp.MustCompile(`^[a-z][a-z0-9._-]*$`)

// For fills the placeholders of the URL.
func (h HTTPCheck) For(name string, address netip.Addr) string {
	host := address.String()
	if address.Is6() {
		host = "[" + host + "]"
	}
	return strings.NewReplacer("{name}", name, "{address}", host).Replace(h.URL)
}

func machineURL(s string) bool {
	for _, host := range []string{"{address}", "{name}"} {
		for _, scheme := range []string{"http://", "https://"} {
			rest, ok := strings.CutPrefix(s, scheme+host)
			if !ok {
				continue
			}
			u, err := url.Parse(scheme + "machine" + rest)
			return err == nil && u.Hostname() == "machine" && u.User == nil && u.Fragment == ""
		}
	}
	return false
}
