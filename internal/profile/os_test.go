package profile

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func whole() Profile {
	p := good()
	p.OS = OS{
		Distro: Debian, Release: "bookworm", Method: Preseed, Boot: "pxe", Args: []string{"mitigations=auto"}, Console: []string{"tty0", "ttyS1,115200n8"},
		Locale: "en_US.UTF-8", Keyboard: "us", Timezone: "Etc/UTC", Packages: []string{"lldpd"}, SSHKeys: []string{"ops"},
		RootDisk: RootDisk{Bus: "SATA", MaxGB: 500}, After: "reboot",
		Layout: Layout{Scheme: "lvm", Mirror: true, Filesystem: "ext4", SwapMiB: 1024, RootMiB: 20480,
			Volumes: []Mount{{Name: "var_log", Path: "/var/log", SizeMiB: 10240, Filesystem: "xfs"}}},
	}
	p.BurnIn = BurnIn{CPUMinutes: 30, MemoryMinutes: 30, DiskMinutes: 10, DiskWrites: true, Thresholds: Thresholds{MaxCPUCelsius: 95, MaxLossPercent: 0.1}}
	p.ConfigManagement = ConfigManagement{Driver: "salt", States: []string{"base", "role.compute"}, Vars: map[string]any{"ntp": "192.0.2.1", "db_password_ref": "vault/db"}}
	p.Checks = Checks{Services: []string{"ssh.service"}, Mounts: []MountCheck{{Path: "/"}, {Path: "/var/log", Filesystem: "xfs", MinFreeMiB: 100}},
		Network: true, MaxClockSkewMs: 100, Kernel: "6.1.", TCP: []TCPCheck{{22}}, HTTP: []HTTPCheck{{URL: "http://{address}:9100/metrics", Contains: "node_"}}}
	return p
}

func TestValidateTheOperatingSystem(t *testing.T) {
	if p := whole().Validate(); len(p) != 0 {
		t.Fatalf("a good profile has problems: %v", p)
	}
	for field, change := range map[string]func(*Profile){
		"os.distro":                           func(p *Profile) { p.OS.Distro, p.OS.Method = "slackware", "" },
		"os.method":                           func(p *Profile) { p.OS.Method = Kickstart },
		"os.release":                          func(p *Profile) { p.OS.Release = "book worm" },
		"os.boot":                             func(p *Profile) { p.OS.Boot = "floppy" },
		"os.kernel_args[0]":                   func(p *Profile) { p.OS.Args = []string{"a b"} },
		"os.console[0]":                       func(p *Profile) { p.OS.Console = []string{"ttyS0 init=/bin/sh"} },
		"os.locale":                           func(p *Profile) { p.OS.Locale = "en\nUS" },
		"os.keyboard":                         func(p *Profile) { p.OS.Keyboard = "US!" },
		"os.timezone":                         func(p *Profile) { p.OS.Timezone = "../etc/passwd" },
		"os.packages[0]":                      func(p *Profile) { p.OS.Packages = []string{"a; rm"} },
		"os.ssh_keys[0]":                      func(p *Profile) { p.OS.SSHKeys = []string{"ssh-ed25519 AAAA"} },
		"os.after":                            func(p *Profile) { p.OS.After = "halt" },
		"os.root_disk":                        func(p *Profile) { p.OS.RootDisk = RootDisk{} },
		"os.root_disk.bus":                    func(p *Profile) { p.OS.RootDisk.Bus = "IDE" },
		"os.root_disk.wwn":                    func(p *Profile) { p.OS.RootDisk.WWN = "xyz" },
		"os.root_disk.min_gb":                 func(p *Profile) { p.OS.RootDisk.MinGB = -1 },
		"os.root_disk.max_gb":                 func(p *Profile) { p.OS.RootDisk.MinGB = 900 },
		"os.layout.scheme":                    func(p *Profile) { p.OS.Layout = Layout{Scheme: "zfs"} },
		"os.layout.filesystem":                func(p *Profile) { p.OS.Layout.Filesystem = "ext2" },
		"os.layout.swap_mib":                  func(p *Profile) { p.OS.Layout.SwapMiB = -1 },
		"os.layout.root_mib":                  func(p *Profile) { p.OS.Layout.RootMiB = 100 },
		"os.layout.volumes":                   func(p *Profile) { p.OS.Layout.Scheme = "plain" },
		"os.layout.volumes[0].name":           func(p *Profile) { p.OS.Layout.Volumes[0].Name = "root" },
		"os.layout.volumes[0].path":           func(p *Profile) { p.OS.Layout.Volumes[0].Path = "/var/../etc" },
		"os.layout.volumes[0].size_mib":       func(p *Profile) { p.OS.Layout.Volumes[0].SizeMiB = 0 },
		"burn_in.cpu_minutes":                 func(p *Profile) { p.BurnIn.CPUMinutes = -1 },
		"burn_in.disk_writes":                 func(p *Profile) { p.BurnIn.DiskMinutes = 0 },
		"burn_in.thresholds.max_loss_percent": func(p *Profile) { p.BurnIn.Thresholds.MaxLossPercent = 101 },
		"config_management.driver":            func(p *Profile) { p.ConfigManagement.Driver = "puppet" },
		"config_management.states[0]":         func(p *Profile) { p.ConfigManagement.States = []string{"a b"} },
		"config_management.playbook":          func(p *Profile) { p.ConfigManagement.Playbook = "site.yml" },
		"config_management.vars.a-b":          func(p *Profile) { p.ConfigManagement.Vars = map[string]any{"a-b": 1} },
		"config_management.vars.password":     func(p *Profile) { p.ConfigManagement.Vars = map[string]any{"password": "hunter2"} },
		"checks.services[0]":                  func(p *Profile) { p.Checks.Services = []string{"a;b"} },
		"checks.mounts[0].path":               func(p *Profile) { p.Checks.Mounts = []MountCheck{{Path: "var"}} },
		"checks.max_clock_skew_ms":            func(p *Profile) { p.Checks.MaxClockSkewMs = -1 },
		"checks.kernel":                       func(p *Profile) { p.Checks.Kernel = "$(id)" },
		"checks.tcp[0].port":                  func(p *Profile) { p.Checks.TCP[0].Port = 0 },
		"checks.http[0].url":                  func(p *Profile) { p.Checks.HTTP[0].URL = "http://metadata/" },
		"checks.http[0].status":               func(p *Profile) { p.Checks.HTTP[0].Status = 99 },
	} {
		p := whole()
		change(&p)
		problems := p.Validate()
		if len(problems) != 1 || problems[0].Field != field || problems[0].Remedy == "" {
			t.Errorf("%s: %v", field, problems)
		}
	}
}

func TestAnImageBringsItsOwnLayout(t *testing.T) {
	p := good()
	p.OS = OS{Distro: Ubuntu, Release: "24.04", Method: WriteImage, RootDisk: RootDisk{Serial: "A"}}
	if problems := p.Validate(); len(problems) > 0 {
		t.Errorf("without layout: %v", problems)
	}
	p.OS.Layout.Scheme = "lvm"
	if problems := p.Validate(); len(problems) != 1 || problems[0].Field != "os.layout.scheme" {
		t.Errorf("with layout: %v", problems)
	}
}

// A profile that says nothing of operating systems has the JSON that it always had, so plans and
// their hashes stay what they were.
func TestUnsetPartsAreNotInTheJSON(t *testing.T) {
	got, err := json.Marshal(Profile{Name: "bare", Version: 1, Match: Match{DeviceTypes: []string{"r750"}}, BMC: BMC{Protocol: "redfish", Account: "root"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"bare","version":1,"match":{"device_types":["r750"]},"bmc":{"protocol":"redfish","account":"root"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	raw, err := json.Marshal(whole())
	if err != nil {
		t.Fatal(err)
	}
	var back Profile
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole(), back); diff != "" {
		t.Errorf("through JSON (-want +got):\n%s", diff)
	}
}

func TestMethodOrDefault(t *testing.T) {
	for distro, want := range map[string]string{Debian: Preseed, Ubuntu: Autoinstall, RHEL: Kickstart, Image: WriteImage, "": "", "x": ""} {
		if got := (OS{Distro: distro}).MethodOrDefault(); got != want {
			t.Errorf("%q: %q, want %q", distro, got, want)
		}
	}
}

func TestHTTPCheckFor(t *testing.T) {
	h := HTTPCheck{URL: "https://{address}:8443/{name}"}
	if got := h.For("srv-101", netip.MustParseAddr("2001:db8::1")); got != "https://[2001:db8::1]:8443/srv-101" {
		t.Errorf("got %q", got)
	}
}

func TestTheSystemThatCameUp(t *testing.T) {
	for _, c := range []struct {
		distro, release, system string
		want                    bool
	}{
		{Debian, "bookworm", "debian 12", true}, {Debian, "12", "debian 12", true}, {Debian, "bookworm", "debian 13", false},
		{Ubuntu, "jammy", "ubuntu 22.04", true}, {Ubuntu, "noble", "ubuntu 24.04", true}, {Ubuntu, "24.04.1", "ubuntu 24.04", true},
		{Ubuntu, "noble", "debian 12", false}, {RHEL, "9", "rocky 9.4", true}, {RHEL, "9.4", "almalinux 9.4", true}, {RHEL, "9", "centos 9", true},
		{RHEL, "9", "rocky 90", false}, {RHEL, "9.4", "rhel 9.5", false}, {RHEL, "9", "fedora 9", false}, {Image, "golden", "suse 15", true}, {Debian, "bookworm", "", false},
	} {
		if got := (OS{Distro: c.distro, Release: c.release}).Is(c.system); got != c.want {
			t.Errorf("%s %s is %q: %t", c.distro, c.release, c.system, got)
		}
	}
}

func TestLine(t *testing.T) {
	for system, want := range map[string]string{
		"debian 12": "debian 12", "debian 12.8\n": "debian 12", "rocky 9.4": "rocky 9", "rhel 10.0": "rhel 10",
		"ubuntu 24.04": "ubuntu 24.04", "ubuntu 24.04.1": "ubuntu 24.04", "ubuntu 24.10": "ubuntu 24.10", "arch": "arch", "": "",
	} {
		if got := Line(system); got != want {
			t.Errorf("Line(%q) = %q, want %q", system, got, want)
		}
	}
}
