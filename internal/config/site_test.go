package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const siteKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0Xq2Hq1b3fJc9nLr3q0mPp8bRz1s7d1Zb3Xy6lT4aK ops@example.net"

const installing = `
ssh_keys: {ops: "` + siteKey + `"}
templates: mine
sites:
  ams01:
    oob_prefixes: [10.0.8.0/22]
    rack_window: 3
    gateways: [10.1.0.1, "2001:db8::1"]
    dns: [192.0.2.53]
    search: [ams01.example.net]
    ntp: [ntp.ams01.example.net, 192.0.2.10]
    boot:
      ca_file: boot.pem
      agent: {kernel: "http://boot.example/agent/vmlinuz", initrd: "http://boot.example/agent/initrd"}
      installers:
        - {distro: debian, release: bookworm, kernel: "http://boot.example/d/linux", initrd: "http://boot.example/d/initrd"}
    sources:
      rhel-family: {mirror: "http://mirror.example/9/BaseOS", repos: [{name: AppStream, url: "http://mirror.example/9/AppStream"}]}
    images:
      debian-12: {url: "http://boot.example/d12.raw", sha256: ` + "abababababababababababababababababababababababababababababababab" + `}
    salt: {url: "https://salt.example:8000", user: cagenut, password_file: salt.secret, masters: [salt.example],
      master_finger: "` + "ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab" + `"}
    ansible: {project: playbooks, key_file: ansible.key, public_key: "` + siteKey + `", become: true}
`

func TestSiteInstallsFrom(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(Source{File: write(t, dir, "c.yaml", installing)})
	if err != nil {
		t.Fatal(err)
	}
	s := c.Sites["ams01"]
	got := []string{c.Templates, s.Boot.CAFile, s.Salt.PasswordFile, s.Ansible.Project, s.Ansible.KeyFile, s.Sources["rhel-family"].Repos[0].Name, c.SSHKeys["ops"]}
	want := []string{"mine", "boot.pem", "salt.secret", "playbooks", "ansible.key"}
	for i := range want {
		want[i] = filepath.Join(dir, want[i])
	}
	if diff := cmp.Diff(append(want, "AppStream", siteKey), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(Addresses(s.Gateways)) != 2 || !s.Salt.Used() || !s.Ansible.Used() || s.Stagger() != 2*time.Second || s.RackWindow != 3 {
		t.Errorf("%+v", s)
	}
	if (Site{}).Salt.Used() || (Site{}).Ansible.Used() {
		t.Error("a site that names none has configuration management")
	}
}

// Each wrong value is named with its key, and none is taken for another's.
func TestSiteInstallsFromWrongValues(t *testing.T) {
	for _, c := range []struct{ from, to, key string }{
		{"10.1.0.1,", "10.1.0.1/24,", "sites.ams01.gateways[0]"},
		{"[192.0.2.53]", "[ns1]", "sites.ams01.dns[0]"},
		{"search: [ams01", "search: [AMS_01", "sites.ams01.search[0]"},
		{"192.0.2.10]", `"a b"]`, "sites.ams01.ntp[1]"},
		{"rack_window: 3", "rack_window: 501", "sites.ams01.rack_window"},
		{"rack_window: 3", "power_stagger_seconds: -1", "sites.ams01.power_stagger_seconds"},
		{`kernel: "http://boot.example/agent/vmlinuz"`, `kernel: "ftp://boot.example/x"`, "sites.ams01.boot.agent.kernel"},
		{`kernel: "http://boot.example/agent/vmlinuz", `, "", "sites.ams01.boot.agent.kernel"},
		{"distro: debian", "distro: beos", "sites.ams01.boot.installers[0].distro"},
		{"release: bookworm", `release: "["`, "sites.ams01.boot.installers[0].release"},
		{"distro: debian", "distro: ubuntu", "sites.ams01.boot.installers[0].media"},
		{"rhel-family: {", "beos: {", "sites.ams01.sources.beos"},
		{"http://mirror.example/9/BaseOS", "http://u:p@mirror.example/9", "sites.ams01.sources.rhel-family.mirror"},
		{`http://mirror.example/9/AppStream`, "", "sites.ams01.sources.rhel-family.repos[0].url"},
		{"sha256: ab", "sha256: xx", "sites.ams01.images.debian-12.sha256"},
		{"masters: [salt.example],", "", "sites.ams01.salt.masters"},
		{`master_finger: "ab:`, `master_finger: "`, "sites.ams01.salt.master_finger"},
		{"password_file: salt.secret, ", "", "sites.ams01.salt.password_file"},
		{"ansible: {project: playbooks,", "ansible: {", "sites.ams01.ansible.project"},
		{`public_key: "ssh-ed25519`, `public_key: "command=\"x\" ssh-ed25519`, "sites.ams01.ansible.public_key"},
		{`ops: "ssh-ed25519`, `ops: "-----BEGIN`, "ssh_keys.ops"},
	} {
		text := strings.Replace(installing, c.from, c.to, 1)
		if text == installing {
			t.Fatalf("%q is not there", c.from)
		}
		_, err := Load(Source{File: write(t, t.TempDir(), "c.yaml", text)})
		problems, _ := err.(Problems) //nolint:errorlint // Load returns it as it is
		if len(problems) != 1 || problems[0].Key != c.key || problems[0].Remedy == "" {
			t.Errorf("%q: %v, want one of %s", c.to, err, c.key)
		}
		if err != nil && strings.Contains(err.Error(), "u:p@") {
			t.Errorf("a password is shown: %v", err)
		}
	}
}
