package netconf

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
)

const (
	maxName = 15 // of a network device in Linux
	minMTU  = 576
	minMTU6 = 1280
	maxMTU  = 9216
)

var (
	nameForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,14}$`)
	labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// bondForms are the modes with what each may say.
var bondForms = map[string]struct{ lacp, hash bool }{
	"802.3ad":       {lacp: true, hash: true},
	"balance-xor":   {hash: true},
	"active-backup": {},
}

// namesVLAN tells whether every format understands that a device of this name is this VLAN.
func namesVLAN(name string, id int) bool {
	return name == "vlan"+strconv.Itoa(id) || strings.HasSuffix(name, "."+strconv.Itoa(id))
}

// Validate lists what is wrong with a network as a whole; none means that it can be rendered.
func (n Network) Validate() []Problem {
	v := validator{network: n}
	if !labelForm.MatchString(n.Hostname) {
		v.bad("hostname", n.Hostname, "use small letters, digits and dashes, at most 63: the device's name or the DNS name of its primary address")
	}
	if n.Domain != "" {
		v.domain("domain", n.Domain)
	}
	for i, s := range n.Search {
		v.domain(fmt.Sprintf("search[%d]", i), s)
	}
	if len(n.DNS) == 0 {
		v.bad("dns", "", "name at least one server: installers stop at a prompt without")
	}
	for i, a := range n.DNS {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || slices.Contains(n.DNS[:i], a) {
			v.bad(fmt.Sprintf("dns[%d]", i), a, "name each server once, by its address")
		}
	}
	if len(n.Links) == 0 {
		v.bad("links", "", "give the machine an interface with an address in the inventory")
	}
	v.names()
	for _, l := range n.Links {
		v.link(l)
	}
	v.addresses()
	v.routes()
	return v.out
}

type validator struct {
	network Network
	out     []Problem
}

func (v *validator) bad(field string, value any, remedy string) {
	v.out = append(v.out, Problem{Field: field, Value: fmt.Sprint(value), Remedy: remedy})
}

func (v *validator) domain(field, s string) {
	for label := range strings.SplitSeq(s, ".") {
		if !labelForm.MatchString(label) || len(s) > 253 {
			v.bad(field, s, "use a domain of small letters, digits and dashes, such as ams01.example.net")
			return
		}
	}
}

func (v *validator) names() {
	names, macs, ids := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, l := range v.network.Links {
		at := "links." + l.Name
		switch {
		case !nameForm.MatchString(l.Name) || l.Name == "lo":
			v.bad(at+".name", l.Name, "use a letter and up to 14 letters, digits and . _ -")
		case names[l.Name]:
			v.bad(at+".name", l.Name, "give each interface a name of its own in the inventory")
		}
		names[l.Name] = true
		if l.MAC != "" {
			if other, dup := macs[l.MAC]; dup {
				v.bad(at+".mac", l.MAC, "correct it: "+other+" has the same")
			}
			macs[l.MAC] = l.Name
		}
		if l.Kind == VLAN {
			key := fmt.Sprintf("%s.%d", l.Parent, l.VLAN)
			if other, dup := ids[key]; dup {
				v.bad(at+".vlan", l.VLAN, "remove it: "+other+" is the same VLAN on "+l.Parent)
			}
			ids[key] = l.Name
		}
	}
}

func (v *validator) link(l Link) {
	at := "links." + l.Name
	if l.Kind != Bond && (len(l.Members) > 0 || l.Bond != BondOptions{}) {
		v.bad(at+".members", strings.Join(l.Members, " "), "leave it out: only a bond has members")
	}
	if l.Kind != VLAN && (l.Parent != "" || l.VLAN != 0) {
		v.bad(at+".parent", l.Parent, "leave it out: only a VLAN has a parent")
	}
	v.mtu(l)
	switch l.Kind {
	case Ethernet:
		mac, ok := asset.NormalMAC(l.MAC)
		if !ok || mac != l.MAC || mac == "00:00:00:00:00:00" || strings.ContainsAny(mac[1:2], "13579BDF") {
			v.bad(at+".mac", l.MAC, "enter the port's own MAC address: the port is found by it")
		}
	case Bond:
		v.bond(l)
	case VLAN:
		v.vlan(l)
	default:
		v.bad(at+".kind", l.Kind, "use ethernet, bond or vlan")
	}
	if l.Kind != Ethernet && l.MAC != "" {
		v.bad(at+".mac", l.MAC, "leave it out: only a port has its own")
	}
}

func (v *validator) mtu(l Link) {
	at := "links." + l.Name + ".mtu"
	if l.MTU == 0 {
		return
	}
	low := minMTU
	if len(l.family(false)) > 0 {
		low = minMTU6 // less, and the kernel takes IPv6 away
	}
	if l.MTU < low || l.MTU > maxMTU {
		v.bad(at, l.MTU, fmt.Sprintf("use %d to %d", low, maxMTU))
	}
	below := l.Members
	if l.Parent != "" {
		below = []string{l.Parent}
	}
	for _, name := range below {
		if p, ok := v.network.Link(name); ok && p.MTU < l.MTU && (p.MTU != 0 || l.MTU > 1500) {
			v.bad(at, l.MTU, fmt.Sprintf("raise the MTU of %s, which is %d, or lower this one", name, orEthernet(p.MTU)))
		}
	}
}

func orEthernet(mtu int) int {
	if mtu == 0 {
		return 1500
	}
	return mtu
}

func (v *validator) bond(l Link) {
	at := "links." + l.Name
	if len(l.Members) == 0 {
		v.bad(at+".members", "", "choose it as LAG of at least one enabled port, or remove it")
	}
	for i, name := range l.Members {
		m, ok := v.network.Link(name)
		switch {
		case !ok || m.Kind != Ethernet:
			v.bad(at+".members", name, "name a port of this machine")
		case slices.Contains(l.Members[:i], name) || v.network.bondOf(name) != l.Name:
			v.bad(at+".members", name, "name each port once, in one bond")
		case len(m.Addresses) > 0:
			v.bad("links."+name+".addresses", m.Addresses, "move them to "+l.Name+", whose member it is")
		case len(v.network.vlansOn(name)) > 0:
			v.bad("links."+name+".vlans", strings.Join(v.network.vlansOn(name), " "), "move them to "+l.Name+", whose member it is")
		}
	}
	form, ok := bondForms[l.Bond.Mode]
	if !ok {
		v.bad(at+".bond.mode", l.Bond.Mode, "use 802.3ad, active-backup or balance-xor")
		return
	}
	if l.Bond.LACPRate != "" && (!form.lacp || l.Bond.LACPRate != "fast" && l.Bond.LACPRate != "slow") {
		v.bad(at+".bond.lacp_rate", l.Bond.LACPRate, "use fast or slow with 802.3ad, and nothing with another mode")
	}
	if p := l.Bond.HashPolicy; p != "" && (!form.hash || !slices.Contains([]string{"layer2", "layer2+3", "layer3+4"}, p)) {
		v.bad(at+".bond.hash_policy", p, "use layer2, layer2+3 or layer3+4 with 802.3ad or balance-xor, and nothing with another mode")
	}
	if l.Bond.MonitorMs < 1 || l.Bond.MonitorMs > 10000 {
		v.bad(at+".bond.monitor_ms", l.Bond.MonitorMs, "use 1 to 10000; 100 is usual: without, a dead link stays in use")
	}
}

func (v *validator) vlan(l Link) {
	at := "links." + l.Name
	if p, ok := v.network.Link(l.Parent); !ok || p.Kind == VLAN {
		v.bad(at+".parent", l.Parent, "name a port or a bond of this machine")
	}
	if l.VLAN < 1 || l.VLAN > 4094 {
		v.bad(at+".vlan", l.VLAN, "use 1 to 4094")
	} else if !namesVLAN(l.Name, l.VLAN) {
		v.bad(at+".name", l.Name, fmt.Sprintf("call it vlan%d, or end it with .%d", l.VLAN, l.VLAN))
	}
}

func (v *validator) addresses() {
	seen := map[netip.Addr]string{}
	for _, l := range v.network.Links {
		for _, p := range l.Addresses {
			at := "links." + l.Name + ".addresses"
			a := p.Addr()
			switch {
			case !p.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast():
				v.bad(at, p, "use an address that others can reach; link-local ones make themselves")
				continue
			case p.Bits() == 0:
				v.bad(at, p, "give the address its subnet's length")
				continue
			case p.IsSingleIP() || a.Is4() && p.Bits() == 31 || a.Is6() && p.Bits() == 127:
			case a == p.Masked().Addr() && a.Is4():
				v.bad(at, p, "use another: it is the subnet's own address")
			case a.Is4() && a == broadcast(p):
				v.bad(at, p, "use another: it is the subnet's broadcast address")
			}
			if other, dup := seen[a]; dup {
				v.bad(at, p, "remove it: "+other+" has the same address")
			}
			seen[a] = l.Name
		}
	}
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

func (v *validator) routes() {
	var four, six []string
	for _, l := range v.network.Links {
		for _, g := range []struct {
			field   string
			addr    netip.Addr
			four    bool
			holders *[]string
		}{{"gateway4", l.Gateway4, true, &four}, {"gateway6", l.Gateway6, false, &six}} {
			if g.addr == (netip.Addr{}) {
				continue
			}
			at := "links." + l.Name + "." + g.field
			*g.holders = append(*g.holders, l.Name)
			switch {
			case g.addr.Is4() != g.four || g.addr.Is4In6() || g.addr.Zone() != "":
				v.bad(at, g.addr, "use an address of the field's family")
			case slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == g.addr }):
				v.bad(at, g.addr, "use the router's address: this is the machine's own")
			case !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(g.addr) }):
				v.bad(at, g.addr, "use a gateway inside a subnet of this link")
			case len(*g.holders) > 1:
				v.bad(at, g.addr, "keep one default route a family: "+(*g.holders)[0]+" has one")
			}
		}
	}
	if len(four)+len(six) == 0 {
		v.bad("gateways", "", "name the default gateway of the machine's network: without a default route it cannot report")
	}
}
