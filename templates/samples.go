package templates

import (
	"net/netip"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/profile"
)

// Sample is an imagined machine with which templates are checked.
type Sample struct {
	Name    string
	Machine Machine
}

// Samples are machines that differ in all that templates decide by.
func Samples() []Sample {
	debian := sample("bookworm", profile.Debian)
	debian.Site.Mirror, debian.Site.Security = "http://mirror.ams01.example.net/debian", "http://mirror.ams01.example.net/debian-security"

	raid := debian
	raid.Firmware, raid.Network, raid.Disks = "uefi", bondedNetwork(), twoDisks()
	raid.OS.Layout = profile.Layout{Scheme: "lvm", Mirror: true, SwapMiB: 4096, RootMiB: 20480,
		Volumes: []profile.Mount{{Name: "var_log", Path: "/var/log", SizeMiB: 10240, Filesystem: "xfs"}}}
	raid.Config = salt()
	raid.Boot.CA = sampleCA
	raid.Site.Proxy = "http://proxy.ams01.example.net:3128"

	lvm := debian
	lvm.OS.Layout = profile.Layout{Scheme: "lvm", RootMiB: 20480, Volumes: raid.OS.Layout.Volumes}

	ubuntu := sample("24.04", profile.Ubuntu)
	ubuntu.Firmware, ubuntu.Site.Mirror = "uefi", "http://mirror.ams01.example.net/ubuntu"
	ubuntu.Boot.Installer.Media = "http://mirror.ams01.example.net/iso/ubuntu-24.04-live-server-amd64.iso"
	ubuntu.Config = Config{Driver: "ansible", Ansible: Ansible{PublicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ansible@ams01"}}

	ubuntuRAID := ubuntu
	ubuntuRAID.Firmware, ubuntuRAID.Network, ubuntuRAID.Disks = "bios", bondedNetwork(), twoDisks()
	ubuntuRAID.OS.Layout = raid.OS.Layout
	ubuntuRAID.OS.After, ubuntuRAID.Site.Proxy = "poweroff", raid.Site.Proxy

	ubuntuPlainRAID := ubuntu
	ubuntuPlainRAID.Disks, ubuntuPlainRAID.OS.Layout = twoDisks(), profile.Layout{Mirror: true, SwapMiB: 2048, Filesystem: "xfs"}

	rhel := sample("9", profile.RHEL)
	rhel.Site.Mirror = "http://mirror.ams01.example.net/rocky/9/BaseOS/x86_64/os"
	rhel.Site.Repos = []Repo{{"AppStream", "http://mirror.ams01.example.net/rocky/9/AppStream/x86_64/os"}}

	rhelRAID := rhel
	rhelRAID.Firmware, rhelRAID.Network, rhelRAID.Disks = "uefi", bondedNetwork(), twoDisks()
	rhelRAID.OS.Layout = raid.OS.Layout
	rhelRAID.OS.After, rhelRAID.Site.Proxy, rhelRAID.Config, rhelRAID.Boot.CA = "poweroff", raid.Site.Proxy, salt(), sampleCA

	image := sample("debian-12-amd64", profile.Image)
	image.Firmware, image.Network, image.Config, image.Boot.CA = "uefi", bondedNetwork(), salt(), sampleCA
	image.OS.Layout = profile.Layout{}
	image.Site.Mirror = "http://mirror.ams01.example.net/debian"

	return []Sample{
		{"debian-bios-plain", debian}, {"debian-bios-lvm", lvm}, {"debian-uefi-raid-lvm", raid},
		{"ubuntu-uefi-plain", ubuntu}, {"ubuntu-bios-raid-lvm", ubuntuRAID}, {"ubuntu-uefi-raid-plain", ubuntuPlainRAID},
		{"rhel-bios-plain", rhel}, {"rhel-uefi-raid-lvm", rhelRAID},
		{"image-uefi", image},
	}
}

func sample(release, distro string) Machine {
	base := "http://boot.ams01.example.net:8080/install/"
	files := "http://boot.ams01.example.net:8080/files/"
	return Machine{
		Operation: "op_01JCAGENUT0000000000000000",
		Asset:     asset.Ref{ID: 101, Name: "srv-101", Serial: "ABC1234", Site: "ams01", Rack: "r12"},
		Firmware:  "bios",
		BootMAC:   "02:00:00:00:65:01",
		Network: netconf.Network{
			Hostname: "srv-101", Domain: "ams01.example.net", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Search: []string{"ams01.example.net"},
			Links: []netconf.Link{{Name: "eno1", Kind: netconf.Ethernet, MAC: "02:00:00:00:65:01", Gateway4: netip.MustParseAddr("198.51.100.1"),
				Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.101/24")}}},
		},
		OS: profile.OS{
			Distro: distro, Release: release, Console: []string{"tty0", "ttyS1,115200n8"}, Args: []string{"mitigations=auto"},
			Timezone: "Europe/Amsterdam", Packages: []string{"lldpd"}, SSHKeys: []string{"ops"},
			RootDisk: profile.RootDisk{Bus: "SATA"}, Layout: profile.Layout{SwapMiB: 2048},
		},
		Disks:   twoDisks()[:1],
		SSHKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0Xq2Hq1b3fJc9nLr3q0mPp8bRz1s7d1Zb3Xy6lT4aK ops@example.net"},
		Boot: Boot{
			Base:      base + "Zk3vT9sQ1xW7yB5nM2pL8a",
			Agent:     Kernel{Kernel: files + "agent/vmlinuz", Initrd: files + "agent/initrd"},
			Installer: Kernel{Kernel: files + distro + "/vmlinuz", Initrd: files + distro + "/initrd"},
		},
		Site: Site{NTP: []string{"192.0.2.10", "ntp2.ams01.example.net"}},
	}
}

func bondedNetwork() netconf.Network {
	return netconf.Network{
		Hostname: "db1", Domain: "ams01.example.net", Search: []string{"ams01.example.net"},
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
		Links: []netconf.Link{
			{Name: "eno1", Kind: netconf.Ethernet, MAC: "02:00:00:00:65:01", MTU: 9000},
			{Name: "eno2", Kind: netconf.Ethernet, MAC: "02:00:00:00:65:02", MTU: 9000},
			{Name: "bond0", Kind: netconf.Bond, MTU: 9000, Members: []string{"eno1", "eno2"}, Bond: netconf.LACP},
			{Name: "bond0.100", Kind: netconf.VLAN, MTU: 1500, Parent: "bond0", VLAN: 100,
				Gateway4: netip.MustParseAddr("198.51.100.1"), Gateway6: netip.MustParseAddr("2001:db8:100::1"),
				Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.102/24"), netip.MustParsePrefix("2001:db8:100::102/64")}},
			{Name: "bond0.200", Kind: netconf.VLAN, MTU: 9000, Parent: "bond0", VLAN: 200, Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.102/25")}},
		},
	}
}

func twoDisks() []profile.Disk {
	return []profile.Disk{
		{Path: "/dev/disk/by-id/ata-Contoso_SSD_480_S1A", Serial: "S1A", Model: "Contoso SSD 480", Bus: "SATA", Bytes: 480e9},
		{Path: "/dev/disk/by-id/ata-Contoso_SSD_480_S1B", Serial: "S1B", Model: "Contoso SSD 480", Bus: "SATA", Bytes: 480e9},
	}
}

func salt() Config {
	return Config{Driver: "salt", Salt: Salt{Package: "salt-minion", Masters: []string{"salt.ams01.example.net"}, MinionID: "db1.ams01.example.net",
		MasterFinger: "3f:0a:5c:11:8e:72:9d:40:b6:13:57:aa:02:cc:91:7e:64:f8:25:0b:d3:49:8c:16:e0:75:3a:bd:52:07:c9:1f"}}
}

// sampleCA has the form of a certificate; nothing trusts it.
const sampleCA = `-----BEGIN CERTIFICATE-----
MIIBVTCB/aADAgECAgEBMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC3NhbXBsZSBv
bmx5MB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEwMTAwMDAwMFowFjEUMBIGA1UEAwwL
-----END CERTIFICATE-----
`
