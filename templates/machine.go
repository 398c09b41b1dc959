package templates

import (
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/profile"
)

// Machine is all that the files of one machine are rendered from. Nothing in it is secret but the
// token in Boot.Base, which is made for one operation and dies with it.
type Machine struct {
	Operation string    // ID of the operation that installs it
	Asset     asset.Ref // the device in NetBox
	Firmware  string    // uefi, bios: what it boots with
	BootMAC   string    // of the port that it boots from, in NetBox's form
	Network   netconf.Network
	OS        profile.OS     // as the profile has it
	Disks     []profile.Disk // that the root disk hints chose: one, or two to be mirrored
	SSHKeys   []string       // public keys, in the form of authorized_keys
	Boot      Boot
	Site      Site
	Config    Config
}

// Boot is where a booting machine finds things.
type Boot struct {
	// Base is the one-time URL below which the boot service serves this machine's files and hears
	// its stages; its last part is the token.
	Base      string
	CA        string // certificates in PEM that Base is known by; empty: what the system trusts
	Agent     Kernel
	Installer Kernel
}

// Kernel is what a machine boots over the network, by URL.
type Kernel struct {
	Kernel string
	Initrd string
	// Media is what the installer fetches next: Ubuntu's ISO, RHEL's installation tree (empty: the
	// mirror). Debian has none.
	Media string
}

// Site is what machines of a site use.
type Site struct {
	Mirror   string // of the distribution; of RHEL's family, the BaseOS tree
	Security string // Debian's and Ubuntu's security mirror; empty: the mirror
	Repos    []Repo // RHEL's family: more repositories
	Proxy    string // HTTP proxy for packages; empty: none
	NTP      []string
}

// Repo is a package repository.
type Repo struct {
	Name string
	URL  string
}

// Config is how configuration management gets at the machine. It holds addresses and public keys;
// what is private stays with Salt and Ansible.
type Config struct {
	Driver  string // salt, ansible; empty: none
	Salt    Salt
	Ansible Ansible
}

// Salt is the minion's side of Salt.
type Salt struct {
	Package string   // that brings salt-minion, from the site's repositories
	Masters []string // host names or addresses
	// MasterFinger is the SHA-256 fingerprint of the master's public key: the minion talks to no other.
	MasterFinger string
	MinionID     string
}

// Ansible is the machine's side of Ansible.
type Ansible struct {
	PublicKey string // that Ansible logs in with, as root
}

// Stage is a stage of an install that the machine reports. It says so by POST to Boot.Base plus
// "/stage/" and the stage's name, with lines of the form key=value.
type Stage string

// The stages.
const (
	Early       Stage = "early"       // the installer runs, on the right machine with the right disks
	Partitioned Stage = "partitioned" // the disk's old content is gone
	Installed   Stage = "installed"   // the system is on the disk
	FirstBoot   Stage = "first-boot"  // the installed system is up; carries its SSH host key
	Failed      Stage = "failed"      // carries the reason
)

// Stages lists them in the order in which they come.
func Stages() []Stage { return []Stage{Early, Partitioned, Installed, FirstBoot, Failed} }

// Method is how the system gets on the disk.
func (m Machine) Method() string { return m.OS.MethodOrDefault() }

// UEFI tells that the machine boots with UEFI.
func (m Machine) UEFI() bool { return m.Firmware == "uefi" }

// Mirror tells that two disks hold the same.
func (m Machine) Mirror() bool { return m.OS.Layout.Mirror }

// LVM tells that file systems are logical volumes.
func (m Machine) LVM() bool { return m.OS.Layout.Scheme == "lvm" }

// PowerOff tells that the machine is switched off when it is installed, and not booted.
func (m Machine) PowerOff() bool { return m.OS.After == "poweroff" }

// Locale is the locale.
func (m Machine) Locale() string { return or(m.OS.Locale, "en_US.UTF-8") }

// Keyboard is the keyboard layout.
func (m Machine) Keyboard() string { return or(m.OS.Keyboard, "us") }

// Timezone is the time zone. Ubuntu's installer knows UTC by its short name alone.
func (m Machine) Timezone() string {
	zone := or(m.OS.Timezone, "Etc/UTC")
	if zone == "Etc/UTC" && m.Method() == profile.Autoinstall {
		return "UTC"
	}
	return zone
}

// SecurityMirror is where security updates come from.
func (m Machine) SecurityMirror() string { return or(m.Site.Security, m.Site.Mirror) }

// RHEL is the major release of RHEL and its family.
func (m Machine) RHEL() string {
	major, _, _ := strings.Cut(m.OS.Release, ".")
	return major
}

// Tree is RHEL's installation tree.
func (m Machine) Tree() string { return or(m.Boot.Installer.Media, m.Site.Mirror) }

// AuthorizedKeys are the keys that may log in as root: people's, and Ansible's.
func (m Machine) AuthorizedKeys() []string {
	keys := append([]string(nil), m.SSHKeys...)
	if m.Config.Driver == "ansible" {
		keys = append(keys, m.Config.Ansible.PublicKey)
	}
	return keys
}

// KernelArgs are the arguments of the installed system's kernel, consoles first.
func (m Machine) KernelArgs() []string {
	var args []string
	for _, c := range m.OS.Console {
		args = append(args, "console="+c)
	}
	return append(args, m.OS.Args...)
}

// Packages are the packages to install: what finishing needs, what the network needs, and the
// profile's own.
func (m Machine) Packages() []string {
	packages := []string{"curl", "openssh-server"}
	if m.OS.Distro == profile.Debian {
		packages = append(packages, "systemd-timesyncd")
		for _, kind := range []struct {
			link netconf.Kind
			name string
		}{{netconf.Bond, "ifenslave"}, {netconf.VLAN, "vlan"}} {
			for _, l := range m.Network.Links {
				if l.Kind == kind.link {
					packages = append(packages, kind.name)
					break
				}
			}
		}
	}
	if m.OS.Distro == profile.RHEL {
		packages = append(packages, "chrony")
	}
	if m.Config.Driver == "salt" {
		packages = append(packages, m.Config.Salt.Package)
	}
	if m.Config.Driver == "ansible" {
		packages = append(packages, "python3")
	}
	return append(packages, m.OS.Packages...)
}

// NetworkFormat is what configures the network of the installed system.
func (m Machine) NetworkFormat() netconf.Format {
	switch m.Method() {
	case profile.Preseed:
		return netconf.Ifupdown
	case profile.Autoinstall:
		return netconf.Netplan
	case profile.Kickstart:
		return netconf.Keyfiles
	}
	return netconf.NetworkConfig
}

// NetworkFiles are the network's files.
func (m Machine) NetworkFiles() ([]netconf.File, error) { return m.Network.Render(m.NetworkFormat()) }

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
