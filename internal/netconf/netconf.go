// Package netconf is the network configuration of one machine: from what the inventory says to the
// files that an operating system reads.
//
// Words
//
//   - Facts: what the inventory knows of the machine's interfaces, and what its site adds (derive.go).
//   - Network: the links that the machine shall have, with name servers and its own name. It is
//     derived from Facts and validated as a whole (validate.go): no single value can be judged alone.
//   - Link: an Ethernet port, a bond of them, or a VLAN on one of either. Links are known by MAC:
//     the kernel's own names differ between installer and system.
//   - Format: what reads the configuration. Each gives a list of files (render.go).
//
// An inventory that contradicts itself is never half configured: problems name field, value and
// remedy, and nothing is rendered. Names are narrow (letters, digits, dot, dash, underscore) and all
// else is typed, so no value can break out of its field in any format.
//
// The package is pure: no I/O, no clocks, no goroutines. A Network is a value; whoever changes one
// copies its slices first.
package netconf

import (
	"net/netip"
	"strings"

	"github.com/cagenut/cagenut/internal/profile"
)

// Problem is one thing that is wrong, by field, value and remedy.
type Problem = profile.Problem

// Problems is the error of rendering a network that must not be used.
type Problems []Problem

// Error gives one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Kind says what a link is.
type Kind string

// The kinds of links.
const (
	Ethernet Kind = "ethernet"
	Bond     Kind = "bond"
	VLAN     Kind = "vlan"
)

// Network is what a machine's network shall be.
type Network struct {
	Hostname string       `json:"hostname"` // one label
	Domain   string       `json:"domain,omitempty"`
	Links    []Link       `json:"links"` // Ethernet, then bonds, then VLANs, each by name
	DNS      []netip.Addr `json:"dns"`
	Search   []string     `json:"search,omitempty"`
}

// Link is one network link.
type Link struct {
	Name      string         `json:"name"`
	Kind      Kind           `json:"kind"`
	MAC       string         `json:"mac,omitempty"` // Ethernet only, in NetBox's form
	MTU       int            `json:"mtu,omitempty"` // 0: the driver's own
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway4  netip.Addr     `json:"gateway4,omitzero"` // of a default route through this link
	Gateway6  netip.Addr     `json:"gateway6,omitzero"`
	Members   []string       `json:"members,omitempty"` // of a bond
	Bond      BondOptions    `json:"bond,omitzero"`
	Parent    string         `json:"parent,omitempty"` // of a VLAN
	VLAN      int            `json:"vlan,omitempty"`
}

// BondOptions is how the members of a bond work together.
type BondOptions struct {
	Mode       string `json:"mode"`                  // 802.3ad, active-backup, balance-xor
	LACPRate   string `json:"lacp_rate,omitempty"`   // 802.3ad: fast, slow
	HashPolicy string `json:"hash_policy,omitempty"` // 802.3ad, balance-xor: layer2, layer2+3, layer3+4
	MonitorMs  int    `json:"monitor_ms,omitempty"`  // how often the carrier is looked at
}

// LACP is what a bond is when nothing else is said: both ends must agree, so a cable in the wrong
// port carries nothing instead of half of the traffic.
var LACP = BondOptions{Mode: "802.3ad", LACPRate: "fast", HashPolicy: "layer3+4", MonitorMs: 100}

// FQDN is the machine's full name.
func (n Network) FQDN() string {
	if n.Domain == "" {
		return n.Hostname
	}
	return n.Hostname + "." + n.Domain
}

// Link gives a link by name.
func (n Network) Link(name string) (Link, bool) {
	for _, l := range n.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// Address is the machine's first address of the link with the default route, IPv4 before IPv6: where
// others reach it.
func (n Network) Address() netip.Addr {
	for _, want4 := range []bool{true, false} {
		for _, l := range n.Links {
			if want4 && !l.Gateway4.IsValid() || !want4 && !l.Gateway6.IsValid() {
				continue
			}
			for _, a := range l.Addresses {
				if a.Addr().Is4() == want4 {
					return a.Addr()
				}
			}
		}
	}
	return netip.Addr{}
}

// bondOf names the bond that a link is a member of.
func (n Network) bondOf(name string) string {
	for _, l := range n.Links {
		for _, m := range l.Members {
			if m == name {
				return l.Name
			}
		}
	}
	return ""
}

// vlansOn names the VLANs of a link.
func (n Network) vlansOn(name string) []string {
	var out []string
	for _, l := range n.Links {
		if l.Kind == VLAN && l.Parent == name {
			out = append(out, l.Name)
		}
	}
	return out
}

// resolver is the link that name servers are entered on: the first with a default route.
func (n Network) resolver() string {
	for _, l := range n.Links {
		if l.Gateway4.IsValid() || l.Gateway6.IsValid() {
			return l.Name
		}
	}
	return ""
}

func (l Link) family(four bool) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range l.Addresses {
		if a.Addr().Is4() == four {
			out = append(out, a)
		}
	}
	return out
}
