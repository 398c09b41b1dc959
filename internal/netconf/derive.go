package netconf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
)

// Facts are what the inventory and the site say of a machine's network.
type Facts struct {
	Name       string // of the device
	DNSName    string // of its primary address; its first label becomes the host name
	Domain     string // the site's, for a DNSName without one
	Interfaces []Interface
	// Gateways are the default gateways, at most one a family. NetBox knows none: the site's
	// configuration or a prefix's custom field does.
	Gateways []netip.Addr
	DNS      []netip.Addr
	Search   []string
	Bond     BondOptions // of bonds; zero: LACP
}

// Interface is an interface as NetBox has it.
type Interface struct {
	Name      string
	Type      string // NetBox slug: lag, virtual, and anything else is a port
	Disabled  bool
	Mgmt      bool     // the BMC's, which the host cannot see
	MACs      []string // primary first
	LAG       string   // name of the bond that it belongs to
	Parent    string   // name of the interface that it is a VLAN of
	MTU       int
	Mode      string // 802.1Q: "", access, tagged, tagged-all
	Untagged  int    // VLAN ID; 0: none
	Tagged    []int
	Addresses []netip.Prefix
}

// Derive makes the network of a machine. It is nil and the problems say why, or it is whole.
//
// A port that carries nothing (no address, no bond, no VLAN) is left to itself. The untagged VLAN of
// a port is the switch's business: addresses on the port itself are sent untagged.
func Derive(f Facts) (*Network, []Problem) {
	d := deriver{facts: f, names: map[string]string{}}
	n := d.network()
	out := append(d.out, n.Validate()...)
	if len(out) > 0 {
		return nil, out
	}
	return n, nil
}

type deriver struct {
	facts Facts
	names map[string]string // from NetBox's names to ours
	out   []Problem
}

func (d *deriver) bad(field string, value any, remedy string) {
	d.out = append(d.out, Problem{Field: field, Value: fmt.Sprint(value), Remedy: remedy})
}

func (d *deriver) network() *Network {
	f := d.facts
	host, domain, _ := strings.Cut(strings.TrimSuffix(strings.ToLower(cmp.Or(f.DNSName, f.Name)), "."), ".")
	n := &Network{Hostname: host, Domain: cmp.Or(domain, strings.ToLower(f.Domain)), DNS: f.DNS, Search: slices.Clone(f.Search)}
	if len(n.Search) == 0 && n.Domain != "" {
		n.Search = []string{n.Domain}
	}
	var in []Interface
	for _, i := range f.Interfaces {
		if !i.Mgmt && !i.Disabled {
			in = append(in, i)
			d.names[i.Name] = linuxName(i)
		}
	}
	carries := map[string]bool{} // ports that something is built on
	for _, i := range in {
		if i.Parent != "" {
			carries[i.Parent] = true
		}
	}
	for _, i := range in {
		switch {
		case i.Type == "lag":
			n.Links = append(n.Links, d.bond(i, in))
		case i.Type == "virtual":
			if l, ok := d.vlan(i, in); ok {
				n.Links = append(n.Links, l)
			}
		case i.LAG != "" || len(i.Addresses) > 0 || carries[i.Name]:
			n.Links = append(n.Links, d.port(i))
		}
	}
	order := []Kind{Ethernet, Bond, VLAN}
	slices.SortStableFunc(n.Links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Name, b.Name))
	})
	d.gateways(n)
	return n
}

func (d *deriver) port(i Interface) Link {
	l := Link{Name: d.names[i.Name], Kind: Ethernet, MTU: i.MTU, Addresses: unmapped(i.Addresses)}
	if len(i.MACs) > 0 {
		l.MAC = i.MACs[0]
	}
	if mac, ok := asset.NormalMAC(l.MAC); ok {
		l.MAC = mac
	}
	if i.LAG == "" {
		return l
	}
	if !slices.ContainsFunc(d.facts.Interfaces, func(o Interface) bool { return o.Name == i.LAG && o.Type == "lag" && !o.Disabled && !o.Mgmt }) {
		d.bad("interfaces."+i.Name+".lag", i.LAG, "choose an enabled interface of type lag of this device, or none")
	}
	return l
}

func (d *deriver) bond(i Interface, in []Interface) Link {
	l := Link{Name: d.names[i.Name], Kind: Bond, MTU: i.MTU, Addresses: unmapped(i.Addresses), Bond: d.facts.Bond}
	if l.Bond == (BondOptions{}) {
		l.Bond = LACP
	}
	for _, m := range in {
		if m.LAG == i.Name {
			l.Members = append(l.Members, d.names[m.Name])
		}
	}
	slices.Sort(l.Members)
	return l
}

// vlan is false when it was said what is wrong: an unknown ID or parent would only be said again.
func (d *deriver) vlan(i Interface, in []Interface) (Link, bool) {
	l := Link{Name: d.names[i.Name], Kind: VLAN, MTU: i.MTU, Addresses: unmapped(i.Addresses), VLAN: i.Untagged}
	at := "interfaces." + i.Name
	if l.VLAN == 0 && len(i.Tagged) == 1 {
		l.VLAN = i.Tagged[0]
	}
	if l.VLAN == 0 {
		if _, after, ok := strings.Cut(i.Name, "."); ok {
			l.VLAN, _ = strconv.Atoi(after)
		}
	}
	if l.VLAN == 0 {
		d.bad(at+".untagged_vlan", "", "choose the VLAN of this virtual interface")
		return l, false
	}
	p := slices.IndexFunc(in, func(o Interface) bool { return o.Name == i.Parent })
	if p < 0 {
		d.bad(at+".parent", i.Parent, "choose an enabled port or LAG of this device")
		return l, false
	}
	parent := in[p]
	l.Parent = d.names[parent.Name]
	if parent.Mode == "access" || parent.Mode == "tagged" && len(parent.Tagged) > 0 && !slices.Contains(parent.Tagged, l.VLAN) {
		d.bad("interfaces."+parent.Name+".tagged_vlans", parent.Tagged, fmt.Sprintf("add VLAN %d, which %s carries on it", l.VLAN, i.Name))
	}
	if !namesVLAN(l.Name, l.VLAN) {
		l.Name = fmt.Sprintf("%s.%d", l.Parent, l.VLAN)
	}
	return l, true
}

// gateways puts each default gateway on the link whose subnet holds it.
func (d *deriver) gateways(n *Network) {
	var seen4, seen6 bool
	for i, g := range d.facts.Gateways {
		g = g.Unmap()
		field := fmt.Sprintf("gateways[%d]", i)
		if g.Is4() && seen4 || g.Is6() && seen6 {
			d.bad(field, g, "name one default gateway a family")
			continue
		}
		seen4, seen6 = seen4 || g.Is4(), seen6 || g.Is6()
		k := slices.IndexFunc(n.Links, func(l Link) bool {
			return slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool { return a.Contains(g) })
		})
		switch {
		case k < 0:
			d.bad(field, g, "use a gateway inside the subnet of one of the machine's addresses")
		case g.Is4():
			n.Links[k].Gateway4 = g
		default:
			n.Links[k].Gateway6 = g
		}
	}
}

// linuxName gives an interface a name that Linux takes: NetBox's where it can be one, else that in
// small letters with dashes ("Gig-E 1" is gig-e-1). The port is found by its MAC, whatever it is
// called; two that get the same name are a problem.
func linuxName(i Interface) string {
	if nameForm.MatchString(i.Name) {
		return i.Name
	}
	var b strings.Builder
	for _, r := range strings.ToLower(i.Name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-._")
	if len(name) > maxName { // the end tells ports apart: NIC.Integrated.1-1-1
		name = strings.Trim(name[len(name)-maxName:], "-._")
	}
	return name
}

// unmapped gives addresses in their own family: an IPv4 address in IPv6 clothing is IPv4.
func unmapped(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range in {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p)
	}
	return out
}
