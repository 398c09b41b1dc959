package inventory

import (
	"net/netip"
	"slices"

	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
)

// Network gives what a described device's network is derived from, with what its site adds. dnsName is
// that of its primary address; empty: it is called by its name.
func (d Device) Network(dnsName string, w plan.WantNetwork) netconf.Facts {
	f := netconf.Facts{Name: d.Name, DNSName: dnsName, Domain: w.Domain, DNS: w.DNS, Search: w.Search, Bond: w.Bond}
	for _, i := range d.Interfaces {
		n := netconf.Interface{Name: i.Name, Type: i.Type, Disabled: !i.Enabled, Mgmt: i.Mgmt, MACs: i.MACs, LAG: i.LAG, Parent: i.Parent,
			MTU: i.MTU, Mode: i.Mode, Untagged: i.Untagged.VID, Addresses: i.Addresses}
		for _, v := range i.Tagged {
			n.Tagged = append(n.Tagged, v.VID)
		}
		f.Interfaces = append(f.Interfaces, n)
	}
	f.Gateways = d.gateways(w.Gateways)
	return f
}

// gateways chooses among the site's gateways, for each family the first in the subnet of the primary
// address; of a family without a primary address in that of any. Where none fits, the first of each
// family stay: deriving then names them with what to do.
func (d Device) gateways(candidates []netip.Addr) []netip.Addr {
	var fit, first []netip.Addr
	for _, four := range []bool{true, false} {
		family := slices.DeleteFunc(slices.Clone(candidates), func(g netip.Addr) bool { return g.Unmap().Is4() != four })
		if len(family) == 0 {
			continue
		}
		first = append(first, family[0])
		subnets := d.subnets(four)
		if i := slices.IndexFunc(family, func(g netip.Addr) bool {
			return slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(g.Unmap()) })
		}); i >= 0 {
			fit = append(fit, family[i])
		}
	}
	if len(fit) == 0 {
		return first
	}
	return fit
}

func (d Device) subnets(four bool) []netip.Prefix {
	primary := d.PrimaryIP6
	if four {
		primary = d.PrimaryIP4
	}
	if primary.IsValid() {
		return []netip.Prefix{primary}
	}
	var out []netip.Prefix
	for _, i := range d.Interfaces {
		for _, a := range i.Addresses {
			if i.Enabled && !i.Mgmt && a.Addr().Is4() == four {
				out = append(out, a)
			}
		}
	}
	return out
}
