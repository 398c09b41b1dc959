package workflows

import (
	"net/netip"
	"path"
	"slices"

	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/templates"
)

// Resources is what an install takes that is neither NetBox's nor the profile's: the firmware store and
// the configuration.
type Resources struct {
	// Image gives a firmware file of the store by its name or SHA-256.
	Image   func(file string) (plan.Image, error)
	SSHKeys map[string]string // public keys, by the names that profiles use
	Site    SiteResources
}

// SiteResources is what the configuration says of the machine's site.
type SiteResources struct {
	Gateways []netip.Addr // candidates: the one inside a machine's prefix is taken
	DNS      []netip.Addr
	Search   []string
	NTP      []string
	Bond     netconf.BondOptions

	BootURL    string // where the site's worker serves machines what they boot; empty: nowhere
	BootCA     string // certificates in PEM that the boot service is known by
	HTTPURL    string // what a BMC is pointed at for HTTP boot, and for virtual media
	MediaURL   string
	Agent      templates.Kernel
	Installers []Installer
	Sources    map[string]Sources   // by distribution
	Images     map[string]DiskImage // by name

	Salt    *templates.Salt    // nil: the site has none
	Ansible *templates.Ansible // nil: the site has none
}

// Sources is where a distribution's packages come from.
type Sources struct {
	Mirror, Security, Proxy string
	Repos                   []templates.Repo
}

// Installer is what an installer boots from.
type Installer struct {
	Distro  string
	Release string // a pattern as of path.Match, such as 9* ; empty: every release
	Kernel  templates.Kernel
}

// DiskImage is an image that the agent writes to a disk.
type DiskImage struct{ URL, SHA256 string }

// Installer gives the first installer of a distribution's release.
func (s SiteResources) Installer(distro, release string) (templates.Kernel, bool) {
	i := slices.IndexFunc(s.Installers, func(in Installer) bool {
		ok, err := path.Match(in.Release, release)
		return in.Distro == distro && (in.Release == "" || err == nil && ok)
	})
	if i < 0 {
		return templates.Kernel{}, false
	}
	return s.Installers[i].Kernel, true
}

// templatesSite is what the files of a distribution's installer are rendered with.
func (s SiteResources) templatesSite(distro string) templates.Site {
	from := s.Sources[distro]
	return templates.Site{Mirror: from.Mirror, Security: from.Security, Repos: from.Repos, Proxy: from.Proxy, NTP: s.NTP}
}
