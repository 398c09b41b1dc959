package config

import (
	"net/netip"
	"time"
)

// Site is what differs from site to site.
type Site struct {
	// OOBPrefixes are the only networks in which BMCs are dialled.
	OOBPrefixes []string `yaml:"oob_prefixes"`
	BMCPort     int      `yaml:"bmc_port"` // 0: the protocol's own
	BMCCAFile   string   `yaml:"bmc_ca_file"`
	// Serve is where this site's worker serves firmware to BMCs, and machines what they boot; ServeURL is
	// that address as they see it.
	Serve    string `yaml:"serve"`     // host:port to listen on
	ServeURL string `yaml:"serve_url"` // http(s)://host:port

	Window       int `yaml:"window"`                // machines at once in one operation; 0: DefaultWindow
	RackWindow   int `yaml:"rack_window"`           // of them in one rack; 0: as many as the window
	PowerStagger int `yaml:"power_stagger_seconds"` // between two hosts of a rack that are switched on; 0: DefaultStagger

	// Domain is what machines' names are completed with in DNS; empty: they get no DNS name.
	Domain   string   `yaml:"domain"`
	Gateways []string `yaml:"gateways"` // of the machines' networks: the one inside a machine's prefix is taken
	DNS      []string `yaml:"dns"`
	Search   []string `yaml:"search"`
	NTP      []string `yaml:"ntp"`

	Boot    Boot               `yaml:"boot"`
	Sources map[string]Sources `yaml:"sources"` // by distribution
	Images  map[string]Image   `yaml:"images"`  // by the name that profiles use
	Salt    Salt               `yaml:"salt"`
	Ansible Ansible            `yaml:"ansible"`
}

// Boot is what machines boot over the network.
type Boot struct {
	CAFile     string      `yaml:"ca_file"`   // that serve_url is known by; empty: what the installers trust
	HTTPURL    string      `yaml:"http_url"`  // iPXE for UEFI's HTTP boot
	MediaURL   string      `yaml:"media_url"` // iPXE as virtual media
	Agent      Kernel      `yaml:"agent"`
	Installers []Installer `yaml:"installers"` // the first that fits is taken
}

// Kernel is what a machine boots, by URL.
type Kernel struct {
	Kernel string `yaml:"kernel"`
	Initrd string `yaml:"initrd"`
}

// Installer is what an installer boots from.
type Installer struct {
	Distro  string `yaml:"distro"`
	Release string `yaml:"release"` // or a pattern, such as 9*; empty: every release
	Kernel  string `yaml:"kernel"`
	Initrd  string `yaml:"initrd"`
	Media   string `yaml:"media"` // Ubuntu's ISO, RHEL's installation tree
}

// Sources is where a distribution's packages come from.
type Sources struct {
	Mirror   string `yaml:"mirror"`
	Security string `yaml:"security"`
	Proxy    string `yaml:"proxy"`
	Repos    []Repo `yaml:"repos"`
}

// Repo is one more package repository.
type Repo struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
}

// Image is a disk image.
type Image struct {
	URL    string `yaml:"url"`
	SHA256 string `yaml:"sha256"`
}

// Salt is how the site's worker reaches salt-api, and machines their master.
type Salt struct {
	URL          string   `yaml:"url"`
	User         string   `yaml:"user"`
	PasswordFile string   `yaml:"password_file"` // or the shared secret
	Eauth        string   `yaml:"eauth"`         // empty: sharedsecret
	CAFile       string   `yaml:"ca_file"`
	Masters      []string `yaml:"masters"`       // as the minions reach them
	MasterFinger string   `yaml:"master_finger"` // of the master's key: minions talk to no other
	Package      string   `yaml:"package"`       // that brings salt-minion; empty: salt-minion
}

// Used tells that the site has Salt.
func (s Salt) Used() bool {
	return s.URL != "" || s.User != "" || s.PasswordFile != "" || s.Eauth != "" || s.CAFile != "" || len(s.Masters) > 0 || s.MasterFinger != "" || s.Package != ""
}

// Ansible is how the site's worker runs ansible-runner.
type Ansible struct {
	Project     string `yaml:"project"` // folder with playbooks and roles
	User        string `yaml:"user"`    // empty: root
	KeyFile     string `yaml:"key_file"`
	PublicKey   string `yaml:"public_key"`  // of key_file: the installer puts it on the machines
	Bin         string `yaml:"bin"`         // folder of ansible-runner; empty: as the PATH has it
	Interpreter string `yaml:"interpreter"` // Python on the machines; empty: Ansible looks for one
	Become      bool   `yaml:"become"`
}

// Used tells that the site has Ansible.
func (a Ansible) Used() bool { return a != (Ansible{}) }

// Prefixes gives the out-of-band prefixes. They were checked by Load.
func (s Site) Prefixes() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(s.OOBPrefixes))
	for _, p := range s.OOBPrefixes {
		if prefix, err := netip.ParsePrefix(p); err == nil {
			out = append(out, prefix)
		}
	}
	return out
}

// Addresses gives addresses that Load has checked.
func Addresses(texts []string) []netip.Addr {
	out := make([]netip.Addr, 0, len(texts))
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// WindowFor is how many machines of a site one operation works on at once.
func (c *Config) WindowFor(site string) int {
	if w := c.Sites[site].Window; w > 0 {
		return w
	}
	return DefaultWindow
}

// DefaultWindow is the window of a site that names none: small enough that a bad profile is seen
// before it has touched a whole rack.
const DefaultWindow = 8

// DefaultStagger is the time between two hosts of a rack that are switched on, where the site names
// none: the inrush current of a power supply is over in much less.
const DefaultStagger = 2 * time.Second

// Stagger is the time between two hosts of a rack that are switched on.
func (s Site) Stagger() time.Duration {
	if s.PowerStagger > 0 {
		return time.Duration(s.PowerStagger) * time.Second
	}
	return DefaultStagger
}
