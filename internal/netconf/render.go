package netconf

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Format is what reads the configuration.
type Format string

// The formats.
const (
	Netplan         Format = "netplan"        // version 2: Ubuntu, and cloud-init's network-config
	Ifupdown        Format = "ifupdown"       // Debian, with ifenslave and vlan
	Networkd        Format = "networkd"       // systemd
	Keyfiles        Format = "keyfiles"       // NetworkManager: RHEL and its family
	KickstartFormat Format = "kickstart"      // network commands; needs RenameArgs at boot
	NetworkConfig   Format = "network-config" // NoCloud's file: Netplan under another name
)

// Formats lists them all.
func Formats() []Format {
	return []Format{Netplan, Ifupdown, Networkd, Keyfiles, KickstartFormat, NetworkConfig}
}

// File is one rendered file. A path below / is the machine's; others are parts of something else.
type File struct {
	Path string
	Mode uint32
	Text string
}

// Render gives the files of a format, in the order of writing. The error is of type Problems when
// the network must not be used.
func (n Network) Render(f Format) ([]File, error) {
	if problems := n.Validate(); len(problems) > 0 {
		return nil, Problems(problems)
	}
	switch f {
	case Netplan:
		// Not world-readable: netplan complains, since the format can hold secrets.
		return []File{{"/etc/netplan/60-cagenut.yaml", 0o600, n.netplan()}}, nil
	case NetworkConfig:
		return []File{{"network-config", 0o644, n.netplan()}}, nil
	case Ifupdown:
		return append(n.linkFiles(), File{"/etc/network/interfaces", 0o644, n.ifupdown()}), nil
	case Networkd:
		return append(n.linkFiles(), n.networkd()...), nil
	case Keyfiles:
		return append(n.linkFiles(), n.keyfiles()...), nil
	case KickstartFormat:
		text, problems := n.kickstart()
		if len(problems) > 0 {
			return nil, Problems(problems)
		}
		return []File{{"network.ks", 0o644, text}}, nil
	}
	return nil, fmt.Errorf("network: no format %q", f)
}

// RenameArgs are the kernel arguments by which dracut gives ports the names that kickstart's network
// commands use.
func (n Network) RenameArgs() []string {
	var out []string
	for _, l := range n.Links {
		if l.Kind == Ethernet {
			out = append(out, "ifname="+l.Name+":"+strings.ToLower(l.MAC))
		}
	}
	return out
}

// linkFiles name ports by their permanent MAC: a bond and its VLANs borrow one, and must not be
// renamed.
func (n Network) linkFiles() []File {
	var out []File
	for _, l := range n.Links {
		if l.Kind == Ethernet {
			out = append(out, File{"/etc/systemd/network/10-" + l.Name + ".link", 0o644,
				"[Match]\nPermanentMACAddress=" + strings.ToLower(l.MAC) + "\n\n[Link]\nName=" + l.Name + "\n"})
		}
	}
	return out
}

func (n Network) netplan() string {
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		fmt.Fprintf(&b, strings.Repeat("  ", depth)+format+"\n", args...)
	}
	line(0, "network:")
	line(1, "version: 2")
	last := Kind("")
	for _, l := range n.Links {
		if l.Kind != last {
			line(1, "%ss:", l.Kind)
			last = l.Kind
		}
		line(2, "%q:", l.Name) // quoted: a name such as "on" is a boolean without
		switch l.Kind {
		case Ethernet:
			line(3, "match:")
			line(4, "macaddress: %q", strings.ToLower(l.MAC))
			line(3, "set-name: %q", l.Name)
		case Bond:
			line(3, "interfaces: %s", flow(l.Members))
			line(3, "parameters:")
			line(4, "mode: %q", l.Bond.Mode)
			line(4, "mii-monitor-interval: %d", l.Bond.MonitorMs)
			if l.Bond.LACPRate != "" {
				line(4, "lacp-rate: %q", l.Bond.LACPRate)
			}
			if l.Bond.HashPolicy != "" {
				line(4, "transmit-hash-policy: %q", l.Bond.HashPolicy)
			}
		case VLAN:
			line(3, "id: %d", l.VLAN)
			line(3, "link: %q", l.Parent)
		}
		line(3, "dhcp4: false")
		line(3, "dhcp6: false")
		line(3, "accept-ra: false")
		if l.MTU > 0 {
			line(3, "mtu: %d", l.MTU)
		}
		if len(l.Addresses) > 0 {
			line(3, "addresses: %s", flow(stringsOf(l.Addresses)))
		}
		if l.Gateway4.IsValid() || l.Gateway6.IsValid() {
			line(3, "routes:")
			if l.Gateway4.IsValid() {
				line(4, "- to: \"0.0.0.0/0\"")
				line(4, "  via: %q", l.Gateway4)
			}
			if l.Gateway6.IsValid() {
				line(4, "- to: \"::/0\"")
				line(4, "  via: %q", l.Gateway6)
			}
		}
		if l.Name == n.resolver() {
			line(3, "nameservers:")
			line(4, "addresses: %s", flow(stringsOf(n.DNS)))
			if len(n.Search) > 0 {
				line(4, "search: %s", flow(n.Search))
			}
		}
	}
	return b.String()
}

func (n Network) ifupdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("auto lo\niface lo inet loopback")
	for _, l := range n.Links {
		if n.bondOf(l.Name) != "" { // ifenslave brings members up, and the bond hands its MTU down
			continue
		}
		line("\nauto %s", l.Name)
		var options []string // of the link itself; in the first stanza only
		add := func(format string, args ...any) { options = append(options, fmt.Sprintf(format, args...)) }
		switch l.Kind {
		case Bond:
			add("bond-slaves %s", strings.Join(l.Members, " "))
			add("bond-mode %s", l.Bond.Mode)
			add("bond-miimon %d", l.Bond.MonitorMs)
			if l.Bond.LACPRate != "" {
				add("bond-lacp-rate %s", l.Bond.LACPRate)
			}
			if l.Bond.HashPolicy != "" {
				add("bond-xmit-hash-policy %s", l.Bond.HashPolicy)
			}
		case VLAN:
			add("vlan-raw-device %s", l.Parent)
		}
		if l.MTU > 0 {
			add("mtu %d", l.MTU)
		}
		if l.Name == n.resolver() {
			add("dns-nameservers %s", strings.Join(stringsOf(n.DNS), " "))
			if len(n.Search) > 0 {
				add("dns-search %s", strings.Join(n.Search, " "))
			}
		}
		stanza := func(family, method string, more ...string) {
			line("iface %s %s %s", l.Name, family, method)
			for _, o := range append(more, options...) {
				line("    %s", o)
			}
			options = nil
		}
		if len(l.Addresses) == 0 {
			stanza("inet", "manual")
		}
		for i, a := range l.family(true) {
			more := []string{"address " + a.String()}
			if i == 0 && l.Gateway4.IsValid() {
				more = append(more, "gateway "+l.Gateway4.String())
			}
			stanza("inet", "static", more...)
		}
		for i, a := range l.family(false) {
			more := []string{"address " + a.String(), "autoconf 0", "accept_ra 0"}
			if i == 0 && l.Gateway6.IsValid() {
				more = append(more, "gateway "+l.Gateway6.String())
			}
			stanza("inet6", "static", more...)
		}
	}
	return b.String()
}

func (n Network) networkd() []File {
	var out []File
	for _, l := range n.Links {
		var dev, net strings.Builder
		switch l.Kind {
		case Bond:
			fmt.Fprintf(&dev, "[NetDev]\nName=%s\nKind=bond\n\n[Bond]\nMode=%s\nMIIMonitorSec=%dms\n", l.Name, l.Bond.Mode, l.Bond.MonitorMs)
			if l.Bond.LACPRate != "" {
				fmt.Fprintf(&dev, "LACPTransmitRate=%s\n", l.Bond.LACPRate)
			}
			if l.Bond.HashPolicy != "" {
				fmt.Fprintf(&dev, "TransmitHashPolicy=%s\n", l.Bond.HashPolicy)
			}
		case VLAN:
			fmt.Fprintf(&dev, "[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", l.Name, l.VLAN)
		}
		if dev.Len() > 0 {
			out = append(out, File{"/etc/systemd/network/20-" + l.Name + ".netdev", 0o644, dev.String()})
		}
		fmt.Fprintf(&net, "[Match]\nName=%s\n", l.Name)
		if l.MTU > 0 {
			fmt.Fprintf(&net, "\n[Link]\nMTUBytes=%d\n", l.MTU)
		}
		fmt.Fprintf(&net, "\n[Network]\nDHCP=no\nIPv6AcceptRA=no\n")
		if bond := n.bondOf(l.Name); bond != "" {
			fmt.Fprintf(&net, "LinkLocalAddressing=no\nBond=%s\n", bond)
		}
		for _, v := range n.vlansOn(l.Name) {
			fmt.Fprintf(&net, "VLAN=%s\n", v)
		}
		for _, a := range l.Addresses {
			fmt.Fprintf(&net, "Address=%s\n", a)
		}
		for _, g := range []netip.Addr{l.Gateway4, l.Gateway6} {
			if g.IsValid() {
				fmt.Fprintf(&net, "Gateway=%s\n", g)
			}
		}
		if l.Name == n.resolver() {
			for _, a := range n.DNS {
				fmt.Fprintf(&net, "DNS=%s\n", a)
			}
			if len(n.Search) > 0 {
				fmt.Fprintf(&net, "Domains=%s\n", strings.Join(n.Search, " "))
			}
		}
		out = append(out, File{"/etc/systemd/network/30-" + l.Name + ".network", 0o644, net.String()})
	}
	return out
}

func (n Network) keyfiles() []File {
	var out []File
	for _, l := range n.Links {
		var b strings.Builder
		fmt.Fprintf(&b, "[connection]\nid=%s\ntype=%s\ninterface-name=%s\nautoconnect=true\n", l.Name, l.Kind, l.Name)
		if bond := n.bondOf(l.Name); bond != "" {
			fmt.Fprintf(&b, "master=%s\nslave-type=bond\n", bond)
		}
		if l.Kind == Ethernet || l.MTU > 0 { // NetworkManager keeps the MTU of every kind here
			fmt.Fprint(&b, "\n[ethernet]\n")
			if l.Kind == Ethernet {
				fmt.Fprintf(&b, "mac-address=%s\n", l.MAC)
			}
			if l.MTU > 0 {
				fmt.Fprintf(&b, "mtu=%d\n", l.MTU)
			}
		}
		switch l.Kind {
		case Bond:
			fmt.Fprintf(&b, "\n[bond]\nmode=%s\nmiimon=%d\n", l.Bond.Mode, l.Bond.MonitorMs)
			if l.Bond.LACPRate != "" {
				fmt.Fprintf(&b, "lacp_rate=%s\n", l.Bond.LACPRate)
			}
			if l.Bond.HashPolicy != "" {
				fmt.Fprintf(&b, "xmit_hash_policy=%s\n", l.Bond.HashPolicy)
			}
		case VLAN:
			fmt.Fprintf(&b, "\n[vlan]\nid=%d\nparent=%s\n", l.VLAN, l.Parent)
		}
		if n.bondOf(l.Name) == "" {
			n.keyfileFamily(&b, l, "ipv4", true, l.Gateway4)
			n.keyfileFamily(&b, l, "ipv6", false, l.Gateway6)
		}
		// NetworkManager ignores a file that others may read.
		out = append(out, File{"/etc/NetworkManager/system-connections/" + l.Name + ".nmconnection", 0o600, b.String()})
	}
	return out
}

func (n Network) keyfileFamily(b *strings.Builder, l Link, section string, four bool, gateway netip.Addr) {
	fmt.Fprintf(b, "\n[%s]\n", section)
	addresses := l.family(four)
	if len(addresses) == 0 {
		fmt.Fprint(b, "method=disabled\n")
		return
	}
	fmt.Fprint(b, "method=manual\n")
	for i, a := range addresses {
		fmt.Fprintf(b, "address%d=%s\n", i+1, a)
	}
	if gateway.IsValid() {
		fmt.Fprintf(b, "gateway=%s\n", gateway)
	}
	var dns []string
	for _, a := range n.DNS {
		if a.Is4() == four {
			dns = append(dns, a.String())
		}
	}
	if gateway.IsValid() && len(dns) > 0 {
		fmt.Fprintf(b, "dns=%s;\n", strings.Join(dns, ";"))
	}
	if gateway.IsValid() && len(n.Search) > 0 {
		fmt.Fprintf(b, "dns-search=%s;\n", strings.Join(n.Search, ";"))
	}
}

// kickstart gives network commands. They are not activated: the installer keeps the network that it
// booted with.
func (n Network) kickstart() (string, []Problem) {
	var b strings.Builder
	var problems []Problem
	for _, l := range n.Links {
		if n.bondOf(l.Name) != "" || l.Kind == VLAN { // said in the line of what they belong to
			continue
		}
		device := "--device=" + l.Name
		if l.Kind == Bond {
			device += " --bondslaves=" + strings.Join(l.Members, ",") + " --bondopts=" + bondOptions(l.Bond)
		}
		if vlans := n.vlansOn(l.Name); len(vlans) > 0 {
			if len(vlans) > 1 || len(l.Addresses) > 0 {
				problems = append(problems, Problem{Field: "links." + l.Name, Value: strings.Join(vlans, " "),
					Remedy: "kickstart takes one address or one VLAN a device: use the keyfiles, as the built-in template does"})
				continue
			}
			l, _ = n.Link(vlans[0])
			device += fmt.Sprintf(" --vlanid=%d --interfacename=%s", l.VLAN, l.Name)
		}
		four, six := l.family(true), l.family(false)
		if len(four) > 1 || len(six) > 1 {
			problems = append(problems, Problem{Field: "links." + l.Name + ".addresses", Value: fmt.Sprint(l.Addresses),
				Remedy: "kickstart takes one address a family: use the keyfiles, as the built-in template does"})
			continue
		}
		fmt.Fprintf(&b, "network %s --onboot=yes --no-activate", device)
		if len(four) == 0 {
			b.WriteString(" --noipv4")
		} else {
			fmt.Fprintf(&b, " --bootproto=static --ip=%s --netmask=%s", four[0].Addr(), netmask(four[0].Bits()))
		}
		if l.Gateway4.IsValid() {
			fmt.Fprintf(&b, " --gateway=%s", l.Gateway4)
		}
		if len(six) == 0 {
			b.WriteString(" --noipv6")
		} else {
			fmt.Fprintf(&b, " --ipv6=%s", six[0])
		}
		if l.Gateway6.IsValid() {
			fmt.Fprintf(&b, " --ipv6gateway=%s", l.Gateway6)
		}
		if l.Name == n.resolver() {
			fmt.Fprintf(&b, " --nameserver=%s", strings.Join(stringsOf(n.DNS), ","))
		} else {
			b.WriteString(" --nodns")
		}
		if l.MTU > 0 {
			fmt.Fprintf(&b, " --mtu=%d", l.MTU)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "network --hostname=%s\n", n.FQDN())
	return b.String(), problems
}

func bondOptions(o BondOptions) string {
	s := fmt.Sprintf("mode=%s,miimon=%d", o.Mode, o.MonitorMs)
	if o.LACPRate != "" {
		s += ",lacp_rate=" + o.LACPRate
	}
	if o.HashPolicy != "" {
		s += ",xmit_hash_policy=" + o.HashPolicy
	}
	return s
}

func netmask(bits int) netip.Addr {
	var m [4]byte
	for i := range bits {
		m[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(m)
}

func stringsOf[T fmt.Stringer](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = v.String()
	}
	return out
}

// flow is a YAML list on one line.
func flow(in []string) string {
	quoted := make([]string, len(in))
	for i, s := range in {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
