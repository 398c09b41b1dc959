package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

// system is the operating system that a machine gets, with all that it is made from.
type system struct {
	plan.System
	boot    plan.WantBoot
	machine json.RawMessage
	image   DiskImage // where the method is to write one
}

// system puts the machine's system together, and notes everything that is missing for it.
func (in *install) system() system {
	p, r := in.profile, in.resources.Site
	out := system{System: plan.System{Host: in.host(), Driver: p.ConfigManagement.Driver}}
	m := templates.Machine{
		Asset: in.facts.Asset, Firmware: "uefi", BootMAC: in.bootMAC(), OS: p.OS, SSHKeys: in.sshKeys(),
		Boot: templates.Boot{CA: r.BootCA, Agent: r.Agent}, Site: r.templatesSite(p.OS.Distro), Config: in.config(out.Host),
	}
	if p.BIOS.BootMode == "legacy" {
		m.Firmware = "bios"
	}
	if r.BootURL == "" {
		in.problem(in.siteKey("serve_url"), "set", "empty", "set serve and serve_url in the configuration of the server and of the site's worker: machines boot from there")
	}
	write := m.Method() == profile.WriteImage
	if write {
		out.image = in.diskImage(p.OS.Release)
	} else if kernel, ok := r.Installer(p.OS.Distro, p.OS.Release); ok {
		m.Boot.Installer = kernel
	} else {
		in.problem(in.siteKey("boot.installers"), "one for "+p.OS.Distro+" "+p.OS.Release, "none",
			"add its kernel and initrd, and for Ubuntu its medium, to the server's configuration")
	}
	out.boot = in.bootWay(m)
	in.renders(m)
	var err error
	if out.machine, err = json.Marshal(m); err != nil { // plain data that was read from files
		panic(err)
	}
	// Its addresses, where it stands and who installs it make no other system of it.
	out.Digest, err = plan.Digest(struct {
		Firmware  string
		OS        profile.OS
		Site      templates.Site
		Installer templates.Kernel
		SSHKeys   []string
		Config    templates.Config
		Image     string
	}{m.Firmware, m.OS, m.Site, m.Boot.Installer, m.SSHKeys, m.Config, out.image.SHA256})
	if err != nil {
		panic(err)
	}
	return out
}

// host is what configuration management knows the machine by: its DNS name where it has one.
func (in *install) host() string {
	if name := in.dnsName(); name != "" {
		return name
	}
	return in.facts.Asset.Name
}

// bootMAC is the MAC address of the port that the machine boots from: the first that has a cable.
func (in *install) bootMAC() string {
	for _, port := range in.facts.Interfaces {
		if !port.Mgmt && port.Cable != "" && len(port.MACs) > 0 {
			return port.MACs[0]
		}
	}
	return ""
}

// sshKeys are the public keys that the profile names.
func (in *install) sshKeys() []string {
	var out []string
	for _, name := range in.profile.OS.SSHKeys {
		if key, ok := in.resources.SSHKeys[name]; ok {
			out = append(out, key)
		} else {
			in.problem("ssh_keys."+name, "a public key", "none of that name", "add it to ssh_keys in the server's configuration, or correct os.ssh_keys of profile "+in.profile.Name)
		}
	}
	return out
}

// config is how the site's configuration management gets at the machine.
func (in *install) config(host string) templates.Config {
	r, driver := in.resources.Site, in.profile.ConfigManagement.Driver
	c := templates.Config{Driver: driver}
	switch {
	case driver == "salt" && r.Salt != nil:
		c.Salt = *r.Salt
		c.Salt.MinionID = host
	case driver == "ansible" && r.Ansible != nil:
		c.Ansible = *r.Ansible
	case driver != "":
		in.problem(in.siteKey(driver), "set", "empty", "set up "+driver+" in the configuration of the server and of the site's worker (docs/"+driver+".md), or leave config_management out of profile "+in.profile.Name)
	}
	return c
}

func (in *install) diskImage(name string) DiskImage {
	image, ok := in.resources.Site.Images[name]
	if !ok {
		in.problem(in.siteKey("images."+name), "url and sha256", "no image of that name", "add it to the server's configuration, or correct os.release of profile "+in.profile.Name)
	}
	return image
}

// bootWay is how the machine boots over the network.
func (in *install) bootWay(m templates.Machine) plan.WantBoot {
	w := plan.WantBoot{Way: or(m.OS.Boot, "pxe"), Firmware: m.Firmware, MAC: m.BootMAC}
	url, key := "", ""
	switch w.Way {
	case "http":
		url, key = in.resources.Site.HTTPURL, "boot.http_url"
		if w.Firmware == "bios" {
			in.problem("os.boot", "pxe or vmedia", "http", "choose another way in profile "+in.profile.Name+": HTTP boot is UEFI's, and bios.boot_mode is legacy")
		}
	case "vmedia":
		url, key = in.resources.Site.MediaURL, "boot.media_url"
	}
	if key == "" {
		return w
	}
	if in.profile.BMC.Protocol == "ipmi" {
		in.problem("os.boot", "pxe", w.Way, "choose pxe in profile "+in.profile.Name+": IPMI cannot carry another")
	}
	if url == "" {
		in.problem(in.siteKey(key), "set", "empty", "give the URL of iPXE that the BMC is pointed at, in the server's configuration")
	}
	w.URL = url
	return w
}

// renders notes what keeps the machine's files from being rendered. What is not known before the run
// (network, disks, operation) is made up here.
func (in *install) renders(m templates.Machine) {
	m.Operation = "op_00000000000000000000000000"
	m.Network = netconf.Network{Hostname: "machine", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Links: []netconf.Link{{
		Name: "eth0", Kind: netconf.Ethernet, MAC: "02:00:00:00:00:01", Gateway4: netip.MustParseAddr("192.0.2.1"),
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}}}}
	for i := range m.OS.Layout.Disks() {
		m.Disks = append(m.Disks, profile.Disk{Path: fmt.Sprintf("/dev/disk/by-id/disk-%d", i)})
	}
	_, err := m.Record()
	var found templates.Problems
	if !errors.As(err, &found) && err != nil {
		panic(err) // plain data that was read from files
	}
	for _, p := range found {
		if said := in.said(p.Field); said {
			continue
		}
		in.problem(in.keyOf(p.Field), "set", or(p.Value, "empty"), p.Remedy)
	}
}

// said tells whether a field is empty because of something that was noted already.
func (in *install) said(field string) bool {
	for prefix, subject := range map[string]string{
		"boot.installer.": in.siteKey("boot.installers"), "ssh_keys": "ssh_keys.",
		"config.salt.": in.siteKey("salt"), "config.ansible.": in.siteKey("ansible"),
	} {
		if strings.HasPrefix(field, prefix) && slices.ContainsFunc(in.problems, func(i fault.Item) bool {
			return i.Subject == subject || strings.HasSuffix(subject, ".") && strings.HasPrefix(i.Subject, subject)
		}) {
			return true
		}
	}
	return false
}

// keyOf names where a field of templates.Machine is set.
func (in *install) keyOf(field string) string {
	os := in.profile.OS
	for _, at := range []struct{ field, key string }{
		{"boot.installer.", in.siteKey("boot.installers of " + os.Distro + " " + os.Release + ": ")},
		{"boot.agent.", in.siteKey("boot.agent.")},
		{"boot.ca", in.siteKey("boot.ca_file")},
		{"site.ntp", in.siteKey("ntp")},
		{"site.", in.siteKey("sources." + os.Distro + ".")},
		{"config.salt.minion_id", "device name "},
		{"config.", in.siteKey("")},
		{"asset.", "device "},
		{"boot_mac", "MAC address to boot from"},
		{"ssh_keys", "os.ssh_keys"},
	} {
		if rest, ok := strings.CutPrefix(field, at.field); ok {
			return at.key + rest
		}
	}
	return field
}

func (in *install) siteKey(key string) string { return "sites." + in.facts.Asset.Site + "." + key }

func (in *install) problem(subject, expected, seen, remedy string) {
	in.problems = append(in.problems, fault.Item{Subject: subject, Expected: expected, Seen: seen, Remedy: remedy})
}

// network is what the site's configuration adds to the machine's network in NetBox.
func (in *install) network() *plan.WantNetwork {
	r := in.resources.Site
	if len(r.Gateways) == 0 {
		in.problem(in.siteKey("gateways"), "set", "empty", "name the default gateways of the machines' networks in the server's configuration: NetBox knows none")
	}
	if len(r.DNS) == 0 {
		in.problem(in.siteKey("dns"), "set", "empty", "name the site's name servers in the server's configuration")
	}
	return &plan.WantNetwork{Domain: in.facts.Domain, Gateways: r.Gateways, DNS: r.DNS, Search: r.Search, Bond: r.Bond}
}
