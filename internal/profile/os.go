package profile

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// The distributions, and the methods that put them on a disk.
const (
	Debian = "debian"
	Ubuntu = "ubuntu"
	RHEL   = "rhel-family" // RHEL, Rocky, Alma, CentOS Stream, Oracle
	Image  = "image"       // a disk image of any system that has cloud-init

	Preseed     = "preseed"
	Autoinstall = "autoinstall"
	Kickstart   = "kickstart"
	WriteImage  = "image"
)

// methods says which distribution is installed how. The first is the default.
var methods = map[string][]string{
	Debian: {Preseed, WriteImage},
	Ubuntu: {Autoinstall, WriteImage},
	RHEL:   {Kickstart, WriteImage},
	Image:  {WriteImage},
}

// OS is the operating system that a machine gets. Without a distribution there is none, and nothing
// is installed.
type OS struct {
	Distro  string   `json:"distro" yaml:"distro"`                     // debian, ubuntu, rhel-family, image
	Release string   `json:"release" yaml:"release"`                   // bookworm, 24.04, 9; an image: its name in the image store
	Method  string   `json:"method,omitempty" yaml:"method"`           // empty: what the distribution is usually installed with
	Boot    string   `json:"boot,omitempty" yaml:"boot"`               // pxe (default), http, vmedia
	Args    []string `json:"kernel_args,omitempty" yaml:"kernel_args"` // for the installer and the installed system
	// Console are the Linux consoles, the one for messages last: [tty0, "ttyS1,115200n8"].
	Console  []string `json:"console,omitempty" yaml:"console"`
	Locale   string   `json:"locale,omitempty" yaml:"locale"`     // empty: en_US.UTF-8
	Keyboard string   `json:"keyboard,omitempty" yaml:"keyboard"` // empty: us
	Timezone string   `json:"timezone,omitempty" yaml:"timezone"` // empty: Etc/UTC
	Packages []string `json:"packages,omitempty" yaml:"packages"`
	// SSHKeys name public keys of the configuration that may log in as root; never the keys themselves.
	SSHKeys  []string `json:"ssh_keys,omitempty" yaml:"ssh_keys"`
	RootDisk RootDisk `json:"root_disk,omitzero" yaml:"root_disk"`
	Layout   Layout   `json:"layout,omitzero" yaml:"layout"`
	After    string   `json:"after,omitempty" yaml:"after"` // reboot (default) or poweroff when installed
}

// IsZero tells that a profile installs no operating system.
func (o OS) IsZero() bool {
	return o.Distro == "" && o.Release == "" && o.Method == "" && o.Boot == "" && len(o.Args) == 0 && len(o.Console) == 0 &&
		o.Locale == "" && o.Keyboard == "" && o.Timezone == "" && len(o.Packages) == 0 && len(o.SSHKeys) == 0 &&
		o.RootDisk == RootDisk{} && o.Layout.IsZero() && o.After == ""
}

// MethodOrDefault is how the system is installed.
func (o OS) MethodOrDefault() string {
	if o.Method == "" && len(methods[o.Distro]) > 0 {
		return methods[o.Distro][0]
	}
	return o.Method
}

// versions are what os-release calls releases that have names.
var versions = map[string]string{"bullseye": "11", "bookworm": "12", "trixie": "13", "focal": "20.04", "jammy": "22.04", "noble": "24.04"}

// family are the IDs in os-release of RHEL and its family.
var family = []string{"rhel", "rocky", "almalinux", "centos", "ol"}

// Expected is the system as its os-release will say: ID and VERSION_ID. The family of RHEL is named by
// its first; empty: an image, whose name tells nothing.
func (o OS) Expected() string {
	version := o.Release
	if v := versions[version]; v != "" {
		version = v
	}
	switch o.Distro {
	case Debian:
		return "debian " + version
	case Ubuntu: // 24.04.1 calls itself 24.04
		if parts := strings.Split(version, "."); len(parts) > 2 {
			version = strings.Join(parts[:2], ".")
		}
		return "ubuntu " + version
	case RHEL:
		return "rhel " + version
	}
	return ""
}

// Is tells whether a system is the one asked for, by ID and VERSION_ID of its os-release.
func (o OS) Is(system string) bool {
	want := o.Expected()
	if want == "" {
		return true
	}
	id, version, _ := strings.Cut(strings.TrimSpace(system), " ")
	wantID, wantVersion, _ := strings.Cut(want, " ")
	if o.Distro == RHEL { // a major release is any of its minor ones
		return slices.Contains(family, id) && (version == wantVersion || strings.HasPrefix(version, wantVersion+"."))
	}
	return id == wantID && version == wantVersion
}

// Line is the release that a system belongs to, by ID and VERSION_ID of its os-release, and stays in while
// it is updated in place: ubuntu 24.04, else the major one, such as rocky 9 of rocky 9.4.
func Line(system string) string {
	id, version, _ := strings.Cut(strings.TrimSpace(system), " ")
	parts, keep := strings.Split(version, "."), 1
	if id == "ubuntu" { // its major is the year, and it has two releases in each
		keep = 2
	}
	return strings.TrimSpace(id + " " + strings.Join(parts[:min(keep, len(parts))], "."))
}

// Layout is how the root disk is divided. The zero value is one plain partition for everything, with
// what the firmware needs beside it.
type Layout struct {
	Scheme string `json:"scheme,omitempty" yaml:"scheme"` // plain (default), lvm
	// Mirror makes RAID1 of two disks: the hints must then match exactly two.
	Mirror     bool    `json:"mirror,omitempty" yaml:"mirror"`
	Filesystem string  `json:"filesystem,omitempty" yaml:"filesystem"` // ext4 (default), xfs
	SwapMiB    int     `json:"swap_mib,omitempty" yaml:"swap_mib"`     // 0: none
	RootMiB    int     `json:"root_mib,omitempty" yaml:"root_mib"`     // 0: the rest of the disk
	Volumes    []Mount `json:"volumes,omitempty" yaml:"volumes"`       // beside /; lvm only
}

// Mount is a file system of its own.
type Mount struct {
	Name       string `json:"name" yaml:"name"` // of the logical volume
	Path       string `json:"path" yaml:"path"`
	SizeMiB    int    `json:"size_mib" yaml:"size_mib"`
	Filesystem string `json:"filesystem,omitempty" yaml:"filesystem"` // empty: the layout's
}

// IsZero tells that the layout is the default one.
func (l Layout) IsZero() bool {
	return l.Scheme == "" && !l.Mirror && l.Filesystem == "" && l.SwapMiB == 0 && l.RootMiB == 0 && len(l.Volumes) == 0
}

// Disks is how many disks the layout takes.
func (l Layout) Disks() int {
	if l.Mirror {
		return 2
	}
	return 1
}

// The forms that values must have. They are narrow on purpose: what is not in them cannot break out
// of a rendered file.
var (
	releaseForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)
	argForm      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._,:/@=+%-]*$`)
	consoleForm  = regexp.MustCompile(`^(tty[0-9]+|tty[A-Z]+[0-9]+(,[0-9]+[neo]?[78]?r?)?|hvc[0-9]+)$`)
	localeForm   = regexp.MustCompile(`^[A-Za-z]{1,8}(_[A-Z]{2})?(\.[A-Za-z0-9-]+)?(@[a-z]+)?$`)
	keyboardForm = regexp.MustCompile(`^[a-z]{2,8}$`)
	timezoneForm = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$`)
	packageForm  = regexp.MustCompile(`^@?[A-Za-z0-9][A-Za-z0-9.+_-]*$`)
	nameForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	volumeForm   = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	pathForm     = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
)

// reserved are the names of logical volumes, and the paths, that every layout has by itself.
var reserved = []string{"root", "swap", "boot", "efi", "/", "/boot", "/boot/efi"}

// Validate lists what is wrong with the operating system, each under the field's name in a profile.
func (o OS) Validate() []Problem {
	if o.IsZero() {
		return nil
	}
	c := checker{prefix: "os."}
	if c.oneOf("distro", o.Distro, Debian, Ubuntu, RHEL, Image) && o.Method != "" {
		c.oneOf("method", o.Method, methods[o.Distro]...)
	}
	c.form("release", o.Release, releaseForm, "name the release as the distribution does, e.g. bookworm, 24.04 or 9")
	if o.Boot != "" {
		c.oneOf("boot", o.Boot, "pxe", "http", "vmedia")
	}
	for i, a := range o.Args {
		c.form(fmt.Sprintf("kernel_args[%d]", i), a, argForm, "give one argument an entry, of letters, digits and . _ , : / @ = + % -")
	}
	for i, v := range o.Console {
		c.form(fmt.Sprintf("console[%d]", i), v, consoleForm, "name a Linux console, e.g. tty0 or ttyS1,115200n8")
	}
	c.optional("locale", o.Locale, localeForm, "use a locale such as en_US.UTF-8")
	c.optional("keyboard", o.Keyboard, keyboardForm, "use a layout such as us or de")
	c.optional("timezone", o.Timezone, timezoneForm, "use a zone such as Etc/UTC or Europe/Amsterdam")
	for i, p := range o.Packages {
		c.form(fmt.Sprintf("packages[%d]", i), p, packageForm, "name one package an entry")
	}
	for i, k := range o.SSHKeys {
		c.form(fmt.Sprintf("ssh_keys[%d]", i), k, nameForm, "name a key of the configuration, not the key itself")
	}
	if o.After != "" {
		c.oneOf("after", o.After, "reboot", "poweroff")
	}
	if o.RootDisk == (RootDisk{}) {
		c.bad("root_disk", "", "give at least one hint, so that no other disk can be overwritten: serial, wwn, model, bus, min_gb, max_gb or rotational")
	}
	return append(append(c.out, o.RootDisk.validate("os.root_disk")...), o.Layout.validate("os.layout", o.MethodOrDefault())...)
}

func (l Layout) validate(prefix, method string) []Problem {
	c := checker{prefix: prefix + "."}
	if method == WriteImage && !l.IsZero() {
		c.bad("scheme", l.Scheme, "leave the layout out: an image brings its own")
		return c.out
	}
	if l.Scheme != "" {
		c.oneOf("scheme", l.Scheme, "plain", "lvm")
	}
	if l.Filesystem != "" {
		c.oneOf("filesystem", l.Filesystem, "ext4", "xfs")
	}
	for field, n := range map[string]int{"swap_mib": l.SwapMiB, "root_mib": l.RootMiB} {
		if n < 0 {
			c.bad(field, n, "use MiB, 0 or more")
		}
	}
	if l.RootMiB > 0 && l.RootMiB < 4096 {
		c.bad("root_mib", l.RootMiB, "use 4096 or more, or 0 for the rest of the disk")
	}
	if len(l.Volumes) > 0 && l.Scheme != "lvm" {
		c.bad("volumes", len(l.Volumes), "set scheme to lvm, or leave them out")
	}
	if len(l.Volumes) > 0 && l.RootMiB == 0 {
		c.bad("root_mib", 0, "give / a size, so that the volumes have room")
	}
	seen := map[string]bool{}
	for i, m := range l.Volumes {
		at := fmt.Sprintf("volumes[%d].", i)
		c.form(at+"name", m.Name, volumeForm, "use small letters, digits and _")
		if c.form(at+"path", m.Path, pathForm, "give an absolute path of letters, digits and . _ -") && path.Clean(m.Path) != m.Path {
			c.bad(at+"path", m.Path, "leave out . and ..")
		}
		for field, v := range map[string]string{"name": m.Name, "path": m.Path} {
			if seen[v] || slices.Contains(reserved, v) {
				c.bad(at+field, v, "choose another: it is taken")
			}
			seen[v] = true
		}
		if m.SizeMiB < 64 {
			c.bad(at+"size_mib", m.SizeMiB, "use 64 or more")
		}
		if m.Filesystem != "" {
			c.oneOf(at+"filesystem", m.Filesystem, "ext4", "xfs")
		}
	}
	return c.out
}

// checker collects problems under a common prefix.
type checker struct {
	prefix string
	out    []Problem
}

func (c *checker) bad(field string, value any, remedy string) {
	c.out = append(c.out, Problem{c.prefix + field, fmt.Sprint(value), remedy})
}

func (c *checker) oneOf(field, value string, allowed ...string) bool {
	ok := slices.Contains(allowed, value)
	if !ok {
		c.bad(field, value, "use one of "+strings.Join(allowed, ", "))
	}
	return ok
}

func (c *checker) form(field, value string, form *regexp.Regexp, remedy string) bool {
	ok := form.MatchString(value)
	if !ok {
		c.bad(field, value, remedy)
	}
	return ok
}

func (c *checker) optional(field, value string, form *regexp.Regexp, remedy string) {
	if value != "" {
		c.form(field, value, form, remedy)
	}
}
