package reader

import (
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// nicTable merges the several views that a BMC gives of one port: its function, its port, the
// host's interface and the vendor's own resource. They are the same when they share a MAC.
type nicTable struct {
	kinds  [][]string       // the resource types that each entry of the inventory was seen as
	byMAC  map[string][]int // entries, by side and MAC
	ports  map[string]value // by key
	wanted map[string]bool  // adapters by Id that have an entry
}

type adapter struct {
	part     bmc.Part
	firmware string
}

// network reads NICs, their ports and functions, and the interfaces of hosts and managers.
func (b *builder) network() {
	b.nics = nicTable{byMAC: map[string][]int{}, ports: map[string]value{}, wanted: map[string]bool{}}
	adapters := map[string]adapter{}
	var order []string
	b.of(func(key string, v value) {
		if absent(v) {
			return
		}
		a := adapter{part: b.part(v, key), firmware: b.adapterFirmware(v)}
		adapters[key] = a
		order = append(order, key)
	}, "NetworkAdapter")
	adapterOf := func(key string, v value) (adapter, string) {
		for up := parentOf(key); up != ""; up = parentOf(up) {
			if a, ok := adapters[up]; ok {
				return a, up
			}
			if r := b.w.resources[up]; r != nil {
				for _, k := range b.targets(r.v.get("Links", "NetworkAdapter")) {
					if a, ok := adapters[k]; ok {
						return a, k
					}
				}
			}
		}
		return adapter{}, ""
	}
	b.of(func(key string, v value) { b.nics.ports[key] = v }, "NetworkPort", "Port")

	b.of(func(key string, v value) {
		a, adapterKey := adapterOf(key, v)
		n := b.nic(key, v, a, adapterKey)
		n.MACs = macs(v.path("Ethernet.PermanentMACAddress"), v.path("Ethernet.MACAddress"), v.get("PermanentMACAddress"),
			v.get("MACAddress"), v.path("FibreChannel.PermanentMACAddress"), v.path("iSCSIBoot.InitiatorMACAddress"))
		for _, at := range [...]string{"Links.PhysicalPortAssignment", "PhysicalPortAssignment", "Links.PhysicalNetworkPortAssignment"} {
			for _, k := range b.targets(v.path(at)) {
				b.portState(&n, b.nics.ports[k])
			}
		}
		if len(n.MACs) > 0 {
			b.addNIC(n, "NetworkDeviceFunction", adapterKey)
		}
	}, "NetworkDeviceFunction")
	b.of(func(key string, v value) {
		a, adapterKey := adapterOf(key, v)
		if adapterKey == "" {
			return // a port of a processor, switch or controller
		}
		n := b.nic(key, v, a, adapterKey)
		n.MACs = macs(v.get("AssociatedNetworkAddresses"), v.path("Ethernet.AssociatedMACAddresses"), v.get("AssociatedMACAddresses"))
		b.portState(&n, v)
		if len(n.MACs) > 0 {
			b.addNIC(n, "Port", adapterKey)
		}
	}, "NetworkPort", "Port")
	b.of(func(key string, v value) {
		n := bmc.NetworkInterface{Part: b.part(v, key), Owner: b.owner(key), LinkUp: linkUp(v.get("LinkStatus").str()),
			Mbps: v.get("SpeedMbps").float(), MTU: int(v.get("MTUSize").integer()), VLAN: int(v.path("VLAN.VLANId").integer()),
			MACs: macs(v.get("PermanentMACAddress"), v.get("MACAddress"), v.get("MacAddress"), v.get("FactoryMacAddress")),
			IPv4: addresses(v.get("IPv4Addresses")), IPv6: addresses(v.get("IPv6Addresses"))}
		b.addNIC(n, "EthernetInterface", "")
	}, "EthernetInterface")
	for _, key := range order {
		v, a := b.w.resources[key].v, adapters[key]
		v.get("PhysicalPorts").each(func(i string, port value) bool {
			n := b.nic(key, v, a, key)
			n.MACs = macs(port.get("MacAddress"), port.get("MACAddress"))
			fill(&n.Name, port.get("Name").str())
			b.portState(&n, port)
			if len(n.MACs) > 0 {
				b.addNIC(n, "PhysicalPort", key)
			}
			return true
		})
	}
	for _, key := range order {
		a := adapters[key]
		if !b.nics.wanted[key] && !b.serialListed(a.part.Serial) && anyText(a.part.Serial, a.part.Model, a.part.PartNumber, a.part.Name) {
			n := b.nic(key, b.w.resources[key].v, a, key)
			b.addNIC(n, "NetworkAdapter", key)
		}
	}
}

func (b *builder) serialListed(serial string) bool {
	return !blank(serial) && slices.ContainsFunc(b.inv.NetworkInterfaces, func(n bmc.NetworkInterface) bool {
		return strings.TrimSpace(n.Serial) == strings.TrimSpace(serial)
	})
}

func (b *builder) adapterFirmware(v value) string {
	if s := b.firmwareOf(v); !blank(s) {
		return s
	}
	out := ""
	v.get("Controllers").each(func(_ string, c value) bool {
		out = c.get("FirmwarePackageVersion").str()
		return out == ""
	})
	return out
}

// nic begins an entry for a port or function of an adapter: maker, model and serial are the
// adapter's where the port has none.
func (b *builder) nic(key string, v value, a adapter, adapterKey string) bmc.NetworkInterface {
	n := bmc.NetworkInterface{Part: b.part(v, key), Owner: b.owner(key), MACs: []string{}, Firmware: b.firmwareOf(v)}
	if adapterKey != "" {
		n.Adapter = lastSegment(adapterKey)
		id, name, uri := n.ID, n.Name, n.URI
		fillPart(&n.Part, a.part)
		n.ID, n.Name, n.URI = id, name, uri
		fill(&n.Firmware, a.firmware)
	}
	return n
}

func (b *builder) owner(key string) string {
	if id := under(key, "Managers"); id != "" {
		return "manager/" + id
	}
	if id := b.systemOf(key); id != "" {
		return "system/" + id
	}
	if id := under(key, "Chassis"); id != "" {
		return "chassis/" + id
	}
	return ""
}

// portState takes over what a port tells of its link.
func (b *builder) portState(n *bmc.NetworkInterface, port value) {
	if !port.exists() {
		return
	}
	if n.LinkUp == nil {
		n.LinkUp = linkUp(port.get("LinkStatus").str())
	}
	if n.Mbps == 0 {
		n.Mbps = port.first1("CurrentLinkSpeedMbps", "SpeedMbps")
	}
	if lldp := port.get("Ethernet", "LLDPReceive"); n.Neighbor == nil && anyText(lldp.get("ChassisId").str()) {
		n.Neighbor = &bmc.Neighbor{Chassis: lldp.get("ChassisId").str(), Port: lldp.get("PortId").str(), Name: lldp.get("SystemName").str()}
	}
	if gbps := port.get("CurrentSpeedGbps").float(); n.Mbps == 0 && gbps > 0 {
		n.Mbps = gbps * 1000
	}
}

func linkUp(s string) *bool {
	var up bool
	switch strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "linkup", "up", "starting", "training":
		up = true
	case "linkdown", "down", "nolink":
	default:
		return nil
	}
	return &up
}

// addNIC merges an entry into one that shares a MAC on the same side (host or manager). Two
// interfaces of the same type are never one, but for the same Id under two paths: a bond and its
// member share a MAC.
func (b *builder) addNIC(n bmc.NetworkInterface, kind, adapterKey string) {
	if n.MACs == nil {
		n.MACs = []string{}
	}
	b.nics.wanted[adapterKey] = true
	side := "host "
	if strings.HasPrefix(n.Owner, "manager/") {
		side = "manager "
	}
	for _, mac := range n.MACs {
		for _, i := range b.nics.byMAC[side+mac] {
			have := &b.inv.NetworkInterfaces[i]
			if slices.Contains(b.nics.kinds[i], kind) && (kind == "EthernetInterface" || have.ID != n.ID) && (have.ID != n.ID || under(have.URI, "Systems") != under(n.URI, "Systems")) {
				continue
			}
			mergeNIC(have, n)
			b.nics.kinds[i] = append(b.nics.kinds[i], kind)
			b.index(side, i, n.MACs)
			return
		}
	}
	b.inv.NetworkInterfaces = append(b.inv.NetworkInterfaces, n)
	b.nics.kinds = append(b.nics.kinds, []string{kind})
	b.index(side, len(b.inv.NetworkInterfaces)-1, n.MACs)
}

func (b *builder) index(side string, i int, macs []string) {
	for _, mac := range macs {
		if !slices.Contains(b.nics.byMAC[side+mac], i) {
			b.nics.byMAC[side+mac] = append(b.nics.byMAC[side+mac], i)
		}
	}
}

func mergeNIC(have *bmc.NetworkInterface, more bmc.NetworkInterface) {
	for _, mac := range more.MACs {
		if !slices.Contains(have.MACs, mac) {
			have.MACs = append(have.MACs, mac)
		}
	}
	fillPart(&have.Part, more.Part)
	fill(&have.Adapter, more.Adapter)
	fill(&have.Firmware, more.Firmware)
	if !strings.HasPrefix(have.Owner, "system/") && strings.HasPrefix(more.Owner, "system/") {
		have.Owner = more.Owner
	}
	if have.LinkUp == nil {
		have.LinkUp = more.LinkUp
	}
	if have.Neighbor == nil {
		have.Neighbor = more.Neighbor
	}
	have.Mbps = nonZero(have.Mbps, more.Mbps)
	have.MTU, have.VLAN = max(have.MTU, more.MTU), max(have.VLAN, more.VLAN)
	for _, ip := range more.IPv4 {
		if !slices.Contains(have.IPv4, ip) {
			have.IPv4 = append(have.IPv4, ip)
		}
	}
	for _, ip := range more.IPv6 {
		if !slices.Contains(have.IPv6, ip) {
			have.IPv6 = append(have.IPv6, ip)
		}
	}
}

func addresses(v value) []string {
	var out []string
	v.each(func(_ string, a value) bool {
		if s := a.get("Address").str(); !blank(s) && s != "0.0.0.0" && s != "::" {
			out = append(out, s)
		}
		return true
	})
	return out
}

// macs gives the MACs in strings and arrays of strings, each once, in NetBox's form.
func macs(vs ...value) []string {
	out := []string{}
	add := func(s string) {
		if mac, ok := macOf(s, true); ok && !slices.Contains(out, mac) {
			out = append(out, mac)
		}
	}
	for _, v := range vs {
		if v.isArray() {
			v.each(func(_ string, m value) bool { add(m.str()); return true })
			continue
		}
		add(v.str())
	}
	return out
}

// macOf reads an EUI-48 in NetBox's form. Without separators it is one only where bare is set: a
// name said so. All zeros and all ones are no address of a thing.
func macOf(s string, bare bool) (string, bool) {
	s = strings.TrimSpace(s)
	var hex [12]byte
	n, separators := 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ':' || c == '-' || c == '.':
			separators++
			continue
		case c >= 'a' && c <= 'f':
			c -= 'a' - 'A'
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'F':
		default:
			return "", false
		}
		if n == 12 {
			return "", false
		}
		hex[n] = c
		n++
	}
	if n != 12 || separators != 5 && separators != 2 && (separators != 0 || !bare) {
		return "", false
	}
	h := string(hex[:])
	if h == "000000000000" || h == "FFFFFFFFFFFF" {
		return "", false
	}
	return h[0:2] + ":" + h[2:4] + ":" + h[4:6] + ":" + h[6:8] + ":" + h[8:10] + ":" + h[10:12], true
}
