package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/profile"
)

var (
	hostForm    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`)
	sha256Form  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	fingerForm  = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){31}$`)
	packageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]*$`)
	keyNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	// What stands before the key would be options of sshd, and a line break another line of its file.
	publicKeyForm = regexp.MustCompile(`^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{32,}={0,3}( [^\x00-\x1f\x7f]*)?$`)
)

var distros = []string{profile.Debian, profile.Ubuntu, profile.RHEL, profile.Image}

// siteChecker collects what is wrong with what a site installs from, below a key.
type siteChecker struct {
	key string
	out Problems
}

func (v *siteChecker) bad(key string, value any, remedy string) {
	v.out = append(v.out, Problem{Key: v.key + "." + key, Value: quote(value), Remedy: remedy})
}

func (v *siteChecker) form(key, value string, form *regexp.Regexp, remedy string) {
	if value != "" && !form.MatchString(value) {
		v.bad(key, value, remedy)
	}
}

// files holds that a value is the URL of a file or folder, as it stands in boot scripts.
func (v *siteChecker) files(key, value string) {
	u, err := url.Parse(value)
	switch {
	case value == "":
	case err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "":
		v.bad(key, value, "use http://host/path or https://host/path, without query and fragment")
	case u.User != nil:
		v.bad(key, "…", "leave user and password out of the URL: every machine reads it")
	}
}

func (v *siteChecker) need(key, value, remedy string) {
	if value == "" {
		v.bad(key, value, remedy)
	}
}

func (v *siteChecker) hosts(key string, values []string) {
	for i, s := range values {
		if !hostForm.MatchString(s) {
			v.bad(fmt.Sprintf("%s[%d]", key, i), s, "use a host name or an address")
		}
	}
}

func (v *siteChecker) addresses(key string, values []string) {
	for i, s := range values {
		if _, err := netip.ParseAddr(s); err != nil {
			v.bad(fmt.Sprintf("%s[%d]", key, i), s, "use an address such as 10.1.0.1")
		}
	}
}

// installing lists what is wrong with what machines of the site are installed from.
func (s Site) installing(key string) Problems {
	v := &siteChecker{key: key}
	v.addresses("gateways", s.Gateways)
	v.addresses("dns", s.DNS)
	v.hosts("ntp", s.NTP)
	for i, d := range s.Search {
		if !domainForm.MatchString(d) {
			v.bad(fmt.Sprintf("search[%d]", i), d, "use a DNS domain in small letters, such as ams01.example.net")
		}
	}
	v.boot(s.Boot)
	for _, distro := range slices.Sorted(maps.Keys(s.Sources)) {
		at, from := "sources."+distro, s.Sources[distro]
		if !slices.Contains(distros, distro) {
			v.bad(at, distro, "use one of "+strings.Join(distros, ", "))
		}
		v.files(at+".mirror", from.Mirror)
		v.files(at+".security", from.Security)
		v.files(at+".proxy", from.Proxy)
		for i, r := range from.Repos {
			repo := fmt.Sprintf("%s.repos[%d].", at, i)
			if !keyNameForm.MatchString(r.Name) {
				v.bad(repo+"name", r.Name, "use letters, digits and . _ -")
			}
			v.need(repo+"url", r.URL, "give the repository's URL")
			v.files(repo+"url", r.URL)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Images)) {
		at, image := "images."+name, s.Images[name]
		v.need(at+".url", image.URL, "give the image's URL")
		v.files(at+".url", image.URL)
		if !sha256Form.MatchString(image.SHA256) {
			v.bad(at+".sha256", image.SHA256, "give the SHA-256 of the image, 64 small hexadecimal digits: no image is written unproved")
		}
	}
	v.salt(s.Salt)
	v.ansible(s.Ansible)
	return v.out
}

func (v *siteChecker) boot(b Boot) {
	v.files("boot.http_url", b.HTTPURL)
	v.files("boot.media_url", b.MediaURL)
	v.files("boot.agent.kernel", b.Agent.Kernel)
	v.files("boot.agent.initrd", b.Agent.Initrd)
	if (b.Agent.Kernel == "") != (b.Agent.Initrd == "") {
		v.bad("boot.agent.kernel", b.Agent.Kernel, "set boot.agent.kernel and boot.agent.initrd together, or neither")
	}
	for i, in := range b.Installers {
		at := fmt.Sprintf("boot.installers[%d].", i)
		if !slices.Contains(distros[:3], in.Distro) {
			v.bad(at+"distro", in.Distro, "use one of "+strings.Join(distros[:3], ", ")+": images are written by the agent")
		}
		if _, err := path.Match(in.Release, ""); err != nil {
			v.bad(at+"release", in.Release, "use a release, or a pattern such as 9*")
		}
		v.need(at+"kernel", in.Kernel, "give the URL of the installer's kernel")
		v.need(at+"initrd", in.Initrd, "give the URL of the installer's initrd")
		v.files(at+"kernel", in.Kernel)
		v.files(at+"initrd", in.Initrd)
		v.files(at+"media", in.Media)
		if in.Distro == profile.Ubuntu {
			v.need(at+"media", in.Media, "give the URL of Ubuntu's server ISO: its installer is on it")
		}
	}
}

func (v *siteChecker) salt(s Salt) {
	if !s.Used() {
		return
	}
	v.need("salt.url", s.URL, "give the URL of salt-api, such as https://salt.example.com:8000")
	v.files("salt.url", s.URL)
	v.need("salt.user", s.User, "name the account of external_auth on the master")
	v.need("salt.password_file", s.PasswordFile, "name a file (mode 0600) that holds the password or shared secret")
	if len(s.Masters) == 0 {
		v.bad("salt.masters", "", "name the masters as the minions reach them")
	}
	v.hosts("salt.masters", s.Masters)
	v.need("salt.master_finger", s.MasterFinger, "give the fingerprint of the master's key: `salt-key -F master` on the master")
	v.form("salt.master_finger", s.MasterFinger, fingerForm, "give it as SHA-256 in small hexadecimal with colons: `salt-key -F master` on the master")
	v.form("salt.package", s.Package, packageForm, "name the package that brings salt-minion")
}

func (v *siteChecker) ansible(a Ansible) {
	if !a.Used() {
		return
	}
	v.need("ansible.project", a.Project, "name the folder with the playbooks")
	v.need("ansible.key_file", a.KeyFile, "name the private SSH key (mode 0600) with which Ansible logs in")
	v.need("ansible.public_key", a.PublicKey, "give the public half of key_file: the installer puts it on the machines")
	v.form("ansible.public_key", a.PublicKey, publicKeyForm, "use a public key as authorized_keys has it, without options")
	v.form("ansible.user", a.User, regexp.MustCompile(`^[a-z_][a-z0-9_-]*$`), "name the account on the machines")
}

// sshKeys lists what is wrong with the public keys.
func sshKeys(keys map[string]string) Problems {
	var out Problems
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !keyNameForm.MatchString(name) {
			out = append(out, Problem{Key: "ssh_keys." + name, Value: quote(name), Remedy: "name the key with letters, digits and . _ -"})
		}
		if !publicKeyForm.MatchString(keys[name]) {
			// Somebody may have put a private key there.
			out = append(out, Problem{Key: "ssh_keys." + name, Remedy: "give a public key as authorized_keys has it, without options"})
		}
	}
	return out
}
