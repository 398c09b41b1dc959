package workflows_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
	"github.com/cagenut/cagenut/workflows"
)

const opsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0Xq2Hq1b3fJc9nLr3q0mPp8bRz1s7d1Zb3Xy6lT4aK ops@example.net"

// resources are those of a site at which everything that installs need is configured.
func resources() workflows.Resources {
	files := "http://boot.ams01.example.net/files/"
	kernel := func(name string) templates.Kernel {
		return templates.Kernel{Kernel: files + name + "/vmlinuz", Initrd: files + name + "/initrd"}
	}
	ubuntu := kernel("ubuntu")
	ubuntu.Media = files + "ubuntu-24.04.iso"
	return workflows.Resources{Image: store, SSHKeys: map[string]string{"ops": opsKey}, Site: workflows.SiteResources{
		Gateways: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Search: []string{"ams01.example.net"}, NTP: []string{"192.0.2.10"}, BootURL: "http://192.0.2.4:8080", HTTPURL: files + "ipxe.efi", MediaURL: files + "ipxe.iso",
		Agent: kernel("agent"),
		Installers: []workflows.Installer{{Distro: "debian", Release: "bookworm", Kernel: kernel("bookworm")},
			{Distro: "rhel-family", Release: "9*", Kernel: kernel("rocky9")}, {Distro: "ubuntu", Kernel: ubuntu}},
		Sources: map[string]workflows.Sources{"debian": {Mirror: "http://mirror.ams01.example.net/debian"},
			"ubuntu": {Mirror: "http://mirror.ams01.example.net/ubuntu"}, "rhel-family": {Mirror: "http://mirror.ams01.example.net/rocky/9"}},
		Images:  map[string]workflows.DiskImage{"debian-12": {URL: files + "debian-12.raw", SHA256: strings.Repeat("cd", 32)}},
		Salt:    &templates.Salt{Package: "salt-minion", Masters: []string{"salt.ams01.example.net"}, MasterFinger: strings.Repeat("ab:", 31) + "ab"},
		Ansible: &templates.Ansible{PublicKey: opsKey},
	}}
}

// whole is a profile that asks for everything.
func whole() profile.Profile {
	p := dell()
	p.OS = profile.OS{Distro: "debian", Release: "bookworm", SSHKeys: []string{"ops"}, RootDisk: profile.RootDisk{Bus: "SATA", MaxGB: 500},
		Layout: profile.Layout{Scheme: "lvm", Mirror: true, SwapMiB: 4096}}
	p.BurnIn = profile.BurnIn{CPUMinutes: 30, MemoryMinutes: 60, DiskMinutes: 10, DiskWrites: true}
	p.ConfigManagement = profile.ConfigManagement{Driver: "salt", States: []string{"base", "compute"}}
	p.Checks = profile.Checks{Services: []string{"ssh.service"}, Network: true, TCP: []profile.TCPCheck{{Port: 22}}}
	return p
}

func withDomain() plan.Facts {
	f := facts()
	f.Domain = "ams01.example.net"
	return f
}

// The second half of an install, as people approve it.
func TestInstallSystemGolden(t *testing.T) {
	image, plain := whole(), whole()
	image.OS = profile.OS{Distro: "image", Release: "debian-12", Boot: "http", SSHKeys: []string{"ops"}, RootDisk: profile.RootDisk{Serial: "S1"}}
	image.ConfigManagement = profile.ConfigManagement{Driver: "ansible", Playbook: "site.yml"}
	plain.BurnIn, plain.ConfigManagement, plain.Checks = profile.BurnIn{}, profile.ConfigManagement{}, profile.Checks{}
	for name, p := range map[string]profile.Profile{"active": whole(), "image": image, "plain": plain} {
		target, problems := workflows.Install(withDomain(), p, resources(), "")
		if len(problems) > 0 {
			t.Fatalf("%s: %+v", name, problems)
		}
		sealed := seal(t, target)
		i := slices.IndexFunc(target.Steps, func(s plan.Step) bool { return s.Kind == plan.KindAddresses })
		sealed.Targets[0].Steps = sealed.Targets[0].Steps[i:] // what comes before has a golden file of its own
		got, err := json.MarshalIndent(sealed.Targets[0].Steps, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		file := filepath.Join("testdata", "install-system-"+name+".json")
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

func kinds(t plan.Target) string {
	var out []string
	for _, s := range t.Steps {
		out = append(out, s.Kind)
	}
	return strings.Join(out, " ")
}

// Each stage holds the one before; none is all of them.
func TestInstallStages(t *testing.T) {
	before := ""
	for _, until := range append(workflows.Stages(), "") {
		target, problems := workflows.Install(withDomain(), whole(), resources(), until)
		if len(problems) > 0 {
			t.Fatalf("%s: %+v", until, problems)
		}
		got := kinds(target)
		if !strings.HasPrefix(got, before) || until != "" && got == before {
			t.Errorf("until %q: %s, before it %s", until, got, before)
		}
		before = got
	}
	if !strings.HasSuffix(before, "addresses installed agent burn-in disk-layout os-install configure validate in-service") {
		t.Errorf("steps %s", before)
	}
}

// What overwrites disks or switches the host off proves the identity first, tells it as a write, and
// has a policy that exists.
func TestInstallSystemTellsWhatItDestroys(t *testing.T) {
	target, _ := workflows.Install(withDomain(), whole(), resources(), "")
	writes := map[string]int{}
	for _, s := range target.Steps {
		if _, ok := workflows.Standard().Policies[s.Policy]; !ok {
			t.Errorf("step %s: policy %q does not exist", s.Name, s.Policy)
		}
		for _, w := range s.Writes {
			if w.System == "host" && w.Field == "content" {
				writes[s.Kind]++
			}
			if (w.System == "host" && w.Field == "content" || w.Field == "power") && !s.Destructive {
				t.Errorf("step %s writes %+v and does not prove the identity first", s.Name, w)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"burn-in": 1, "disk-layout": 1, "os-install": 1}, writes); diff != "" {
		t.Errorf("steps that overwrite disks (-want +got):\n%s", diff)
	}
}

func systemOf(t *testing.T, f plan.Facts, p profile.Profile, r workflows.Resources) (plan.System, templates.Machine) {
	t.Helper()
	target, problems := workflows.Install(f, p, r, "")
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	for _, s := range target.Steps {
		if s.Kind == plan.KindOS {
			want, err := plan.Decode[plan.WantOS](s)
			var m templates.Machine
			if err == nil {
				err = json.Unmarshal(want.Machine, &m)
			}
			if err != nil {
				t.Fatal(err)
			}
			return want.System, m
		}
	}
	t.Fatal("no system is installed")
	return plan.System{}, templates.Machine{}
}

// The digest is that of the system: another layout, key, mirror or image makes another one, other
// addresses or hints of the hardware do not.
func TestInstallSystemDigest(t *testing.T) {
	first, m := systemOf(t, withDomain(), whole(), resources())
	if first.Host != "srv-101.ams01.example.net" || first.Driver != "salt" || m.Config.Salt.MinionID != first.Host {
		t.Errorf("%+v, minion %s", first, m.Config.Salt.MinionID)
	}
	if m.Operation != "" || m.Boot.Base != "" || len(m.Disks) > 0 || len(m.Network.Links) > 0 {
		t.Errorf("the plan holds what only the run knows: %+v", m)
	}
	for name, change := range map[string]func(*plan.Facts, *profile.Profile, *workflows.Resources){
		"layout":  func(_ *plan.Facts, p *profile.Profile, _ *workflows.Resources) { p.OS.Layout.SwapMiB++ },
		"package": func(_ *plan.Facts, p *profile.Profile, _ *workflows.Resources) { p.OS.Packages = []string{"lldpd"} },
		"mirror": func(_ *plan.Facts, _ *profile.Profile, r *workflows.Resources) {
			r.Site.Sources["debian"] = workflows.Sources{Mirror: "http://other.example.net/debian"}
		},
		"key": func(_ *plan.Facts, _ *profile.Profile, r *workflows.Resources) { r.SSHKeys["ops"] = opsKey + "2" },
		"master": func(_ *plan.Facts, _ *profile.Profile, r *workflows.Resources) {
			r.Site.Salt.Masters = []string{"other"}
		},
		"driver": func(_ *plan.Facts, p *profile.Profile, _ *workflows.Resources) {
			p.ConfigManagement = profile.ConfigManagement{Driver: "ansible", Playbook: "site.yml"}
		},
		"same: address": func(f *plan.Facts, _ *profile.Profile, _ *workflows.Resources) {
			f.Primary = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/24")}
		},
		"same: checks": func(_ *plan.Facts, p *profile.Profile, _ *workflows.Resources) { p.Checks.TCP = nil },
		"same: rack":   func(f *plan.Facts, _ *profile.Profile, _ *workflows.Resources) { f.Asset.Rack = "r13" },
	} {
		f, p, r := withDomain(), whole(), resources()
		change(&f, &p, &r)
		got, _ := systemOf(t, f, p, r)
		if same := got.Digest == first.Digest; same != strings.HasPrefix(name, "same") {
			t.Errorf("%s: same digest %t", name, same)
		}
	}
	p := whole()
	p.OS = profile.OS{Distro: "debian", Method: "image", Release: "debian-12", SSHKeys: []string{"ops"}, RootDisk: profile.RootDisk{Serial: "S1"}}
	one, _ := systemOf(t, withDomain(), p, resources())
	r := resources()
	r.Site.Images["debian-12"] = workflows.DiskImage{URL: r.Site.Images["debian-12"].URL, SHA256: strings.Repeat("ef", 32)}
	if other, _ := systemOf(t, withDomain(), p, r); other.Digest == one.Digest {
		t.Error("another image is the same system")
	}
}

// All that is missing is named at once, by key, with what to do.
func TestInstallSystemProblems(t *testing.T) {
	legacyHTTP := whole()
	legacyHTTP.BIOS.BootMode, legacyHTTP.OS.Boot = "legacy", "http"
	image := whole()
	image.OS = profile.OS{Distro: "image", Release: "none", SSHKeys: []string{"ops"}, RootDisk: profile.RootDisk{Serial: "S1"}}
	nobody := whole()
	nobody.ConfigManagement = profile.ConfigManagement{}
	badSite := resources()
	badSite.Site.NTP, badSite.Site.Agent.Kernel, badSite.Site.Salt.MasterFinger = nil, "ftp://x", "12"
	for name, c := range map[string]struct {
		profile profile.Profile
		with    workflows.Resources
		want    []string
	}{
		"nothing is configured": {whole(), workflows.Resources{Image: store}, []string{"ssh_keys.ops", "sites.ams01.salt", "sites.ams01.serve_url", "sites.ams01.boot.installers",
			"sites.ams01.boot.agent.kernel", "sites.ams01.boot.agent.initrd", "sites.ams01.sources.debian.mirror", "sites.ams01.ntp",
			"sites.ams01.gateways", "sites.ams01.dns"}},
		"no operating system":      {dell(), resources(), []string{"os"}},
		"unknown image":            {image, resources(), []string{"sites.ams01.images.none"}},
		"HTTP boot of a BIOS":      {legacyHTTP, resources(), []string{"os.boot"}},
		"checks that nobody makes": {nobody, resources(), []string{"config_management"}},
		"wrong values":             {whole(), badSite, []string{"sites.ams01.boot.agent.kernel", "sites.ams01.ntp", "sites.ams01.salt.master_finger"}},
	} {
		_, problems := workflows.Install(withDomain(), c.profile, c.with, "")
		var got []string
		for _, p := range problems {
			got = append(got, p.Subject)
			if p.Expected == "" || p.Seen == "" || p.Remedy == "" {
				t.Errorf("%s: %+v lacks something", name, p)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Checks from outside need no configuration management.
	nobody.Checks = profile.Checks{TCP: []profile.TCPCheck{{Port: 22}}}
	if _, problems := workflows.Install(withDomain(), nobody, resources(), ""); len(problems) > 0 {
		t.Errorf("checks from outside: %+v", problems)
	}
}
