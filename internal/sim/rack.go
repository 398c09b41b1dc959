package sim

import (
	"fmt"
	"net/netip"
	"strings"
)

// Rack is a planned rack, as it should stand in the source of truth before anything was accepted.
type Rack struct {
	Site     Site            `json:"site"`
	Name     string          `json:"name"`     // e.g. r12
	Height   int             `json:"u_height"` // in rack units
	Prefixes []Prefix        `json:"prefixes"`
	VLANs    []VLAN          `json:"vlans,omitempty"`
	Devices  []PlannedDevice `json:"devices"` // switches first, then servers
	// Descending racks number their units from the top.
	Descending bool `json:"desc_units,omitempty"`
}

// Site is a place with racks. Status is NetBox's, e.g. active.
type Site struct {
	Name   string `json:"name"`
	Slug   string `json:"slug"`
	Status string `json:"status"`
}

// Prefix is an IP prefix of a site. Role is a NetBox prefix role's slug: "oob" for BMC addresses,
// "primary" for what a device may take its primary address from.
type Prefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Role   string       `json:"role"`
	Site   string       `json:"site"` // slug of the site that it is scoped to
	VLAN   int          `json:"vlan,omitempty"`
}

// VLAN is a VLAN of the rack's site.
type VLAN struct {
	VID  int    `json:"vid"`
	Name string `json:"name"`
}

// DeviceType is what was bought.
type DeviceType struct {
	Manufacturer     string  `json:"manufacturer"` // name, e.g. Dell
	ManufacturerSlug string  `json:"manufacturer_slug"`
	Model            string  `json:"model"`
	Slug             string  `json:"slug"`
	Height           float64 `json:"u_height"`
}

// Role is a device role.
type Role struct {
	Name string `json:"name"`
	Slug string `json:"slug"`
}

// PlannedDevice is one device as planned.
type PlannedDevice struct {
	Name       string             `json:"name"`
	Serial     string             `json:"serial"`
	AssetTag   string             `json:"asset_tag,omitempty"`
	Status     string             `json:"status"` // NetBox device status
	Type       DeviceType         `json:"type"`
	Role       Role               `json:"role"`
	Position   float64            `json:"position"` // lowest rack unit; 0: none
	Face       string             `json:"face"`     // front or rear
	Interfaces []PlannedInterface `json:"interfaces"`
	// OOB is the BMC's address with its prefix length, on the interface that is Mgmt. Zero for
	// devices without a BMC.
	OOB netip.Prefix `json:"oob_ip"`
	// Flavour names the BMC's behaviour in the box. Empty for devices that the box does not run.
	Flavour string `json:"flavour,omitempty"`
}

// PlannedInterface is one interface of a planned device.
type PlannedInterface struct {
	Name string `json:"name"`
	Type string `json:"type"` // NetBox slug, e.g. 25gbase-x-sfp28
	Mgmt bool   `json:"mgmt_only"`
	MAC  string `json:"mac,omitempty"` // upper case with colons; empty on switch ports
	// LAG and Parent name other interfaces of the device: the bond that a port belongs to, and what a
	// virtual interface is a VLAN of.
	LAG      string `json:"lag,omitempty"`
	Parent   string `json:"parent,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Mode     string `json:"mode,omitempty"`          // 802.1Q: access, tagged, tagged-all; needed for VLANs
	Untagged int    `json:"untagged_vlan,omitempty"` // VID of one of the rack's VLANs
	Tagged   []int  `json:"tagged_vlans,omitempty"`
	// Cable is where the interface is plugged in. Only the server's side names it, so that each
	// cable stands once.
	Cable *PlannedCable `json:"cable,omitempty"`
}

// PlannedCable is the cable from an interface to its far end.
type PlannedCable struct {
	Device string `json:"device"` // name of the far device, in the same rack
	Port   string `json:"port"`   // its interface
	Status string `json:"status"` // connected or planned
	Label  string `json:"label,omitempty"`
}

// Servers lists the devices that have a BMC in the box.
func (r Rack) Servers() []PlannedDevice {
	var out []PlannedDevice
	for _, d := range r.Devices {
		if d.Flavour != "" {
			out = append(out, d)
		}
	}
	return out
}

// FactoryUser is the account that a flavour's BMCs come with. Its password is FactoryPassword.
func FactoryUser(flavour string) string { return flavourOf(flavour).user }

// FactoryPassword gives the factory password that belongs to a serial number. Each machine has its
// own, as on the pull-out tags of real ones.
func FactoryPassword(serial string) string {
	return "Fac" + word(serial, "password", 9)
}

// The flavours that the box knows.
const (
	FlavourBase       = "base"       // follows DMTF's schemas and habits cleanly
	FlavourDell       = "dell"       // iDRAC-like
	FlavourHPE        = "hpe"        // iLO-like
	FlavourLenovo     = "lenovo"     // XCC-like
	FlavourSupermicro = "supermicro" // X13-like
	FlavourOpenBMC    = "openbmc"    // bmcweb-like
)

// Flavours lists the flavours.
func Flavours() []string {
	return []string{FlavourBase, FlavourDell, FlavourHPE, FlavourLenovo, FlavourSupermicro, FlavourOpenBMC}
}

var deviceTypes = map[string]DeviceType{
	FlavourBase:       {"Contoso", "contoso", "CS-1000", "contoso-cs-1000", 1},
	FlavourDell:       {"Dell", "dell", "PowerEdge R660", "dell-poweredge-r660", 1},
	FlavourHPE:        {"HPE", "hpe", "ProLiant DL360 Gen11", "hpe-proliant-dl360-gen11", 1},
	FlavourLenovo:     {"Lenovo", "lenovo", "ThinkSystem SR630 V3", "lenovo-thinksystem-sr630-v3", 1},
	FlavourSupermicro: {"Supermicro", "supermicro", "SYS-111C-NR", "supermicro-sys-111c-nr", 1},
	FlavourOpenBMC:    {"Wiwynn", "wiwynn", "SV7000", "wiwynn-sv7000", 1},
}

// DeviceTypeOf gives the device type of a flavour's servers.
func DeviceTypeOf(flavour string) (DeviceType, bool) {
	t, ok := deviceTypes[flavour]
	return t, ok
}

var (
	serverRole = Role{"Server", "server"}
	torRole    = Role{"ToR switch", "tor-switch"}
	mgmtRole   = Role{"Management switch", "mgmt-switch"}
	torType    = DeviceType{"Arista", "arista", "DCS-7050SX3-48YC8", "arista-dcs-7050sx3-48yc8", 1}
	mgmtType   = DeviceType{"Arista", "arista", "DCS-7010TX-48", "arista-dcs-7010tx-48", 1}
)

// DefaultRack is the rack of the demo: site ams01, rack r12, twelve servers srv-101 to srv-112 of
// all flavours, two top-of-rack switches and a management switch.
func DefaultRack() Rack {
	return NewRack(Site{"Amsterdam 1", "ams01", "active"}, 12, 101, []string{
		FlavourDell, FlavourHPE, FlavourLenovo, FlavourSupermicro, FlavourOpenBMC, FlavourBase,
		FlavourDell, FlavourHPE, FlavourLenovo, FlavourSupermicro, FlavourOpenBMC, FlavourBase,
	})
}

// ScaleRacks makes n servers of mixed flavours in racks of forty, named srv-<rack><unit>. They take their
// primary addresses from one prefix: plans name one pool, and a rack's own holds 254 hosts.
func ScaleRacks(site Site, n int) []Rack {
	const perRack = 40
	var out []Rack
	for rack := 1; n > 0; rack++ {
		size := min(n, perRack)
		n -= size
		flavours := make([]string, size)
		for i := range flavours {
			flavours[i] = Flavours()[i%len(Flavours())]
		}
		r := NewRack(site, rack, rack*1000+1, flavours)
		for i := range r.Prefixes {
			if r.Prefixes[i].Role == "primary" {
				r.Prefixes[i].Prefix = netip.MustParsePrefix("10.77.0.0/16")
			}
		}
		out = append(out, r)
	}
	return out
}

// NewRack makes a planned rack r<number> with one server for each flavour, named srv-<first>
// upwards. BMCs are at 127.77.<number>.<101 upwards>; number is 1 to 255, at most 40 servers.
// The same arguments give the same serials and MAC addresses.
func NewRack(site Site, number, first int, flavours []string) Rack {
	if number < 1 || number > 255 || len(flavours) > 40 {
		panic(fmt.Sprintf("sim.NewRack: rack %d with %d servers: want rack 1 to 255 and at most 40 servers", number, len(flavours)))
	}
	r := Rack{
		Site: site, Name: fmt.Sprintf("r%02d", number), Height: 48,
		Prefixes: []Prefix{
			{Prefix: netip.PrefixFrom(oobAddr(number, 0), 24), Role: "oob", Site: site.Slug},
			{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(number), 0}), 24), Role: "primary", Site: site.Slug},
		},
	}
	torA, torB, oob := "sw-"+r.Name+"-a", "sw-"+r.Name+"-b", "sw-"+r.Name+"-mgmt"
	r.Devices = append(r.Devices,
		plannedSwitch(site, torA, torType, torRole, 48, "Ethernet", "25gbase-x-sfp28"),
		plannedSwitch(site, torB, torType, torRole, 47, "Ethernet", "25gbase-x-sfp28"),
		plannedSwitch(site, oob, mgmtType, mgmtRole, 46, "Ethernet", "1000base-t"))
	for i, flavour := range flavours {
		name := fmt.Sprintf("srv-%d", first+i)
		f := flavourOf(flavour)
		port := fmt.Sprintf("Ethernet%d", i+1)
		d := PlannedDevice{
			Name: name, Serial: f.serial(site.Slug + "/" + name), AssetTag: "CN" + strings.ToUpper(site.Slug) + fmt.Sprint(first+i),
			Status: "planned", Type: deviceTypes[flavour], Role: serverRole,
			Position: float64(i + 1), Face: "front", Flavour: flavour,
			OOB: netip.PrefixFrom(oobAddr(number, 101+i), 24),
			Interfaces: []PlannedInterface{
				{Name: f.mgmtPort, Type: "1000base-t", Mgmt: true, Cable: &PlannedCable{oob, port, "planned", name + "-mgmt"}},
				{Name: "eth0", Type: "25gbase-x-sfp28", Cable: &PlannedCable{torA, port, "planned", name + "-a"}},
				{Name: "eth1", Type: "25gbase-x-sfp28", Cable: &PlannedCable{torB, port, "planned", name + "-b"}},
			},
		}
		for j := range d.Interfaces {
			d.Interfaces[j].MAC = macOf(d.Serial, j)
		}
		r.Devices = append(r.Devices, d)
	}
	return r
}

func plannedSwitch(site Site, name string, t DeviceType, role Role, position float64, port, kind string) PlannedDevice {
	d := PlannedDevice{
		Name: name, Serial: "SSJ" + word(site.Slug+"/"+name, "serial", 8), Status: "active",
		Type: t, Role: role, Position: position, Face: "rear",
	}
	for i := 1; i <= 48; i++ {
		d.Interfaces = append(d.Interfaces, PlannedInterface{Name: fmt.Sprintf("%s%d", port, i), Type: kind})
	}
	return d
}

// oobAddr is the loopback address of a BMC.
func oobAddr(rack, n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, byte(rack), byte(n)}) }
