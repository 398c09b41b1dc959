package templates

import (
	"encoding/pem"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/profile"
)

// Problem is one thing that is wrong, by field, value and remedy.
type Problem = profile.Problem

// Problems is the error of rendering for a machine that is not known well enough.
type Problems = netconf.Problems

var (
	operationForm = regexp.MustCompile(`^op_[0-9A-Za-z]{10,40}$`)
	deviceForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._:()/-]{0,63}$`)
	byIDForm      = regexp.MustCompile(`^/dev/disk/by-(id|path)/[A-Za-z0-9][A-Za-z0-9._:+@-]*$`)
	keyForm       = regexp.MustCompile(`^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{32,}={0,3}( [^\x00-\x1f\x7f]*)?$`)
	hostForm      = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`)
	urlForm       = regexp.MustCompile(`^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~+@,=%-]*)*$`)
	repoForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	packageForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]*$`)
	fingerForm    = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){31}$`)
	minionForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// tokenLength is how long the token of a one-time URL must be: 128 bits in base 64 take 22.
const tokenLength = 22

// Validate lists what keeps a machine's files from being rendered; none means that they can be.
func (m Machine) Validate() []Problem {
	v := validator{}
	v.form("operation", m.Operation, operationForm, "use the operation's ID, op_ and letters and digits")
	if m.Asset.ID <= 0 {
		v.bad("asset.id", m.Asset.ID, "use the device's ID in NetBox")
	}
	v.form("asset.name", m.Asset.Name, deviceForm, "use letters, digits, spaces and . _ : ( ) / -")
	v.form("asset.serial", m.Asset.Serial, deviceForm, "enter the serial from the machine's label")
	v.form("asset.site", m.Asset.Site, deviceForm, "assign the device to its site")
	if m.Asset.Rack != "" {
		v.form("asset.rack", m.Asset.Rack, deviceForm, "use letters, digits, spaces and . _ : ( ) / -")
	}
	v.oneOf("firmware", m.Firmware, "uefi", "bios")
	if mac, ok := asset.NormalMAC(m.BootMAC); !ok || mac != m.BootMAC {
		v.bad("boot_mac", m.BootMAC, "enter the MAC address of the port that the machine boots from")
	}
	v.under("network.", m.Network.Validate())
	if m.OS.IsZero() {
		v.bad("os", "", "choose an operating system in the profile")
	}
	v.out = append(v.out, m.OS.Validate()...)
	if m.Method() == profile.Kickstart && !slices.Contains([]string{"8", "9", "10"}, m.RHEL()) {
		v.bad("os.release", m.OS.Release, "use 8, 9 or 10, or a minor release of them: kickstart's commands differ by release")
	}
	v.disks(m)
	for i, k := range m.SSHKeys {
		v.form(fmt.Sprintf("ssh_keys[%d]", i), k, keyForm, "use a public key as authorized_keys has it, without options")
	}
	if len(m.AuthorizedKeys()) == 0 {
		v.bad("ssh_keys", "", "name at least one key in the profile: the root password is locked")
	}
	v.boot(m)
	v.site(m)
	v.config(m)
	return v.out
}

type validator struct{ out []Problem }

func (v *validator) bad(field string, value any, remedy string) {
	v.out = append(v.out, Problem{Field: field, Value: fmt.Sprint(value), Remedy: remedy})
}

func (v *validator) form(field, value string, form *regexp.Regexp, remedy string) {
	if !form.MatchString(value) {
		v.bad(field, value, remedy)
	}
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.bad(field, value, "use one of "+strings.Join(allowed, ", "))
	}
}

func (v *validator) url(field, value, what string) {
	v.urlShown(field, value, withoutUser(value), what)
}

// urlShown is url for a value that is shown otherwise than it is.
func (v *validator) urlShown(field, value, shown, what string) {
	u, err := url.Parse(value)
	if err != nil || !urlForm.MatchString(value) || u.Hostname() == "" || slices.Contains(strings.Split(u.Path, "/"), "..") {
		v.bad(field, shown, "give "+what+" as http(s)://host/path, without user, query and fragment")
	}
}

func (v *validator) under(prefix string, problems []Problem) {
	for _, p := range problems {
		v.out = append(v.out, Problem{Field: prefix + p.Field, Value: p.Value, Remedy: p.Remedy})
	}
}

func (v *validator) disks(m Machine) {
	if want := m.OS.Layout.Disks(); len(m.Disks) != want {
		v.bad("disks", len(m.Disks), fmt.Sprintf("choose exactly %d by the root disk hints", want))
	}
	for i, d := range m.Disks {
		at := fmt.Sprintf("disks[%d].", i)
		v.form(at+"path", d.Path, byIDForm, "use a path below /dev/disk/by-id: /dev/sda is another disk after the next boot")
		if i > 0 && (d.Path == m.Disks[0].Path || d.Serial != "" && d.Serial == m.Disks[0].Serial) {
			v.bad(at+"path", d.Path, "choose two different disks to mirror")
		}
	}
}

func (v *validator) boot(m Machine) {
	b := m.Boot
	v.urlShown("boot.base", b.Base, redact(b.Base), "the one-time URL")
	if token := b.Base[strings.LastIndexByte(b.Base, '/')+1:]; len(token) < tokenLength || strings.Contains(token, "%") {
		v.bad("boot.base", redact(b.Base), fmt.Sprintf("end it with the token, at least %d characters, and no slash", tokenLength))
	}
	if b.CA != "" && normalPEM(b.CA) == "" {
		v.bad("boot.ca", "(not shown)", "give certificates in PEM, and nothing else")
	}
	v.url("boot.agent.kernel", b.Agent.Kernel, "the agent's kernel")
	v.url("boot.agent.initrd", b.Agent.Initrd, "the agent's initrd")
	if m.Method() == profile.WriteImage { // the agent writes it
		return
	}
	v.url("boot.installer.kernel", b.Installer.Kernel, "the installer's kernel")
	v.url("boot.installer.initrd", b.Installer.Initrd, "the installer's initrd")
	if m.Method() == profile.Autoinstall || b.Installer.Media != "" {
		v.url("boot.installer.media", b.Installer.Media, "the installation medium")
	}
}

// redact leaves of a one-time URL, for messages, what is surely not its token.
func redact(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "(not shown)"
	}
	return u.Scheme + "://" + u.Host + "/..."
}

// withoutUser cuts off what may be a password.
func withoutUser(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return "..." + address[at:]
	}
	return address
}

func (v *validator) site(m Machine) {
	if m.Method() != profile.WriteImage || m.Site.Mirror != "" {
		v.url("site.mirror", m.Site.Mirror, "the distribution's mirror")
	}
	if m.Site.Security != "" {
		v.url("site.security", m.Site.Security, "the security mirror")
	}
	if m.Site.Proxy != "" {
		v.url("site.proxy", m.Site.Proxy, "the proxy")
	}
	for i, r := range m.Site.Repos {
		v.form(fmt.Sprintf("site.repos[%d].name", i), r.Name, repoForm, "use letters, digits and . _ -")
		v.url(fmt.Sprintf("site.repos[%d].url", i), r.URL, "the repository")
	}
	if len(m.Site.NTP) == 0 {
		v.bad("site.ntp", "", "name at least one time server of the site")
	}
	for i, s := range m.Site.NTP {
		v.form(fmt.Sprintf("site.ntp[%d]", i), s, hostForm, "use a host name or an address")
	}
}

func (v *validator) config(m Machine) {
	c := m.Config
	switch c.Driver {
	case "":
	case "salt":
		v.form("config.salt.package", c.Salt.Package, packageForm, "name the package that brings salt-minion")
		v.form("config.salt.minion_id", c.Salt.MinionID, minionForm, "use letters, digits and . _ -")
		if len(c.Salt.Masters) == 0 {
			v.bad("config.salt.masters", "", "name the site's Salt master")
		}
		for i, s := range c.Salt.Masters {
			v.form(fmt.Sprintf("config.salt.masters[%d]", i), s, hostForm, "use a host name or an address")
		}
		v.form("config.salt.master_finger", c.Salt.MasterFinger, fingerForm,
			"give the master's fingerprint, SHA-256 in small hexadecimal with colons: `salt-key -F master` on the master")
	case "ansible":
		v.form("config.ansible.public_key", c.Ansible.PublicKey, keyForm, "use a public key as authorized_keys has it, without options")
	default:
		v.oneOf("config.driver", c.Driver, "salt", "ansible")
	}
}

// normalPEM gives the certificates of a PEM text and nothing that stands beside them; empty when it
// holds something else.
func normalPEM(s string) string {
	var out strings.Builder
	rest := []byte(s)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 || len(block.Bytes) == 0 {
			return ""
		}
		out.Write(pem.EncodeToMemory(block))
	}
	if strings.TrimSpace(string(rest)) != "" {
		return ""
	}
	return out.String()
}
