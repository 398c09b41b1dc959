package configmgmt

import (
	"net/netip"
	"time"
)

// Questions say what Inspect asks a host beside its system and kernel, which it always tells.
type Questions struct {
	Services []string     `json:"services,omitempty"` // systemd units, with or without .service
	Mounts   bool         `json:"mounts,omitempty"`
	Links    bool         `json:"links,omitempty"`
	Clock    bool         `json:"clock,omitempty"`
	Reach    []netip.Addr `json:"reach,omitempty"` // that are pinged from the host
}

// Facts are what a host tells of itself. What was not asked for is empty.
type Facts struct {
	OS       string              `json:"os"`     // as its os-release says: ID and VERSION_ID
	Kernel   string              `json:"kernel"` // release, as uname -r prints it
	Services map[string]string   `json:"services,omitempty"`
	Mounts   []Mount             `json:"mounts,omitempty"`
	Links    []Link              `json:"links,omitempty"`
	Reached  map[netip.Addr]bool `json:"reached,omitempty"`
	Clock    Clock               `json:"clock,omitzero"`
}

// Active is the state of a service that runs. Any other word is the host's own.
const Active = "active"

// Mount is a file system that is mounted.
type Mount struct {
	Path       string `json:"path"`
	Filesystem string `json:"filesystem"` // ext4
	FreeMiB    int64  `json:"free_mib"`   // to whoever is not root
}

// Link is a network interface, whether it has an address or not.
type Link struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac"` // small letters, colons
	Up        bool           `json:"up"`
	Addresses []netip.Prefix `json:"addresses,omitempty"` // with the host's part
}

// Clock is a host's clock beside ours.
type Clock struct {
	Host time.Time `json:"host"`
	// Skew is how far it is ahead of ours, and Within how wrong that may be: half of the time that asking took.
	Skew   time.Duration `json:"skew_ns"`
	Within time.Duration `json:"within_ns"`
}
