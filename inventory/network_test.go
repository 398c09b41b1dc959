package inventory_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

func subnets(in ...string) (out []netip.Prefix) {
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addresses(in ...string) (out []netip.Addr) {
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// site is what a site with several networks adds.
func site() plan.WantNetwork {
	return plan.WantNetwork{Domain: "ams01.example.net", DNS: addresses("192.0.2.53"),
		Gateways: addresses("203.0.113.1", "198.51.100.1", "198.51.100.2", "2001:db8:9::1", "2001:db8:1::1")}
}

// single is a machine with one port in use, beside an idle one, a disabled one and its BMC's.
func single() inventory.Device {
	return inventory.Device{Name: "srv-101", PrimaryIP4: netip.MustParsePrefix("198.51.100.101/24"), Interfaces: []inventory.Interface{
		{Name: "bmc", Type: "1000base-t", Mgmt: true, Enabled: true, MACs: []string{"02:00:00:00:65:00"}, Addresses: subnets("203.0.113.101/24")},
		{Name: "eth0", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{"02:00:00:00:65:01"}, Addresses: subnets("198.51.100.101/24")},
		{Name: "eth1", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{"02:00:00:00:65:02"}},
		{Name: "eth2", Type: "25gbase-x-sfp28", MACs: []string{"02:00:00:00:65:03"}, Addresses: subnets("203.0.113.9/24")},
	}}
}

// bonded is a machine with a bond of two ports and VLANs on it, in both families.
func bonded() inventory.Device {
	v := func(vid int) inventory.VLAN { return inventory.VLAN{VID: vid, Name: "v"} }
	return inventory.Device{Name: "srv-102", PrimaryIP4: netip.MustParsePrefix("198.51.100.102/24"), Interfaces: []inventory.Interface{
		{Name: "bond0", Type: "lag", Enabled: true, MTU: 9000, Mode: "tagged", Untagged: v(10), Tagged: []inventory.VLAN{v(100), v(200)}},
		{Name: "bond0.100", Type: "virtual", Enabled: true, Parent: "bond0", MTU: 1500, Mode: "access", Untagged: v(100), Addresses: subnets("198.51.100.102/24", "2001:db8:1::102/64")},
		{Name: "bond0.200", Type: "virtual", Enabled: true, Parent: "bond0", MTU: 9000, Mode: "access", Untagged: v(200), Addresses: subnets("203.0.113.102/24")},
		{Name: "eth0", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{"02:00:00:00:66:01"}, LAG: "bond0", MTU: 9000},
		{Name: "eth1", Type: "25gbase-x-sfp28", Enabled: true, MACs: []string{"02:00:00:00:66:02"}, LAG: "bond0", MTU: 9000},
	}}
}

func sixOnly() inventory.Device {
	d := single()
	d.PrimaryIP4, d.PrimaryIP6 = netip.Prefix{}, netip.MustParsePrefix("2001:db8:1::101/64")
	d.Interfaces[1].Addresses = subnets("2001:db8:1::101/64")
	return d
}

func TestNetwork(t *testing.T) {
	active := netconf.BondOptions{Mode: "active-backup", MonitorMs: 100}
	for name, tc := range map[string]struct {
		device inventory.Device
		dns    string
		site   func() plan.WantNetwork
		want   netconf.Network
	}{
		"one port": {single(), "", site, netconf.Network{Hostname: "srv-101", Domain: "ams01.example.net", Links: []netconf.Link{
			{Name: "eth0", Kind: netconf.Ethernet, MAC: "02:00:00:00:65:01", Addresses: subnets("198.51.100.101/24"), Gateway4: netip.MustParseAddr("198.51.100.1")},
		}, DNS: addresses("192.0.2.53"), Search: []string{"ams01.example.net"}}},
		"a bond with VLANs": {bonded(), "db1.example.net", func() plan.WantNetwork {
			w := site()
			w.Bond, w.Search = active, []string{"example.net", "example.org"}
			return w
		}, netconf.Network{Hostname: "db1", Domain: "example.net", Links: []netconf.Link{
			{Name: "eth0", Kind: netconf.Ethernet, MAC: "02:00:00:00:66:01", MTU: 9000},
			{Name: "eth1", Kind: netconf.Ethernet, MAC: "02:00:00:00:66:02", MTU: 9000},
			{Name: "bond0", Kind: netconf.Bond, MTU: 9000, Members: []string{"eth0", "eth1"}, Bond: active},
			{Name: "bond0.100", Kind: netconf.VLAN, MTU: 1500, Addresses: subnets("198.51.100.102/24", "2001:db8:1::102/64"), Parent: "bond0", VLAN: 100,
				Gateway4: netip.MustParseAddr("198.51.100.1"), Gateway6: netip.MustParseAddr("2001:db8:1::1")},
			{Name: "bond0.200", Kind: netconf.VLAN, MTU: 9000, Addresses: subnets("203.0.113.102/24"), Parent: "bond0", VLAN: 200},
		}, DNS: addresses("192.0.2.53"), Search: []string{"example.net", "example.org"}}},
		"IPv6 alone": {sixOnly(), "", site, netconf.Network{Hostname: "srv-101", Domain: "ams01.example.net", Links: []netconf.Link{
			{Name: "eth0", Kind: netconf.Ethernet, MAC: "02:00:00:00:65:01", Addresses: subnets("2001:db8:1::101/64"), Gateway6: netip.MustParseAddr("2001:db8:1::1")},
		}, DNS: addresses("192.0.2.53"), Search: []string{"ams01.example.net"}}},
	} {
		got, problems := netconf.Derive(tc.device.Network(tc.dns, tc.site()))
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, netconf.Problems(problems))
			continue
		}
		if diff := cmp.Diff(tc.want, *got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNetworkRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*inventory.Device, *plan.WantNetwork)
		want   string // field and value
	}{
		"no MAC":                         {func(d *inventory.Device, _ *plan.WantNetwork) { d.Interfaces[3].MACs = nil }, "eth0"},
		"a bond that is no more":         {func(d *inventory.Device, _ *plan.WantNetwork) { d.Interfaces[0].Enabled = false }, "bond0"},
		"a VLAN that is not let through": {func(d *inventory.Device, _ *plan.WantNetwork) { d.Interfaces[0].Tagged = d.Interfaces[0].Tagged[:1] }, "tagged_vlans"},
		"a VLAN above its parent's MTU":  {func(d *inventory.Device, _ *plan.WantNetwork) { d.Interfaces[2].MTU = 9100 }, "9100"},
		"no gateway fits":                {func(_ *inventory.Device, w *plan.WantNetwork) { w.Gateways = addresses("192.0.2.1", "2001:db8:9::1") }, "192.0.2.1"},
		"no gateway":                     {func(_ *inventory.Device, w *plan.WantNetwork) { w.Gateways = nil }, "gateways"},
		"no name server":                 {func(_ *inventory.Device, w *plan.WantNetwork) { w.DNS = nil }, "dns"},
	} {
		d, w := bonded(), site()
		tc.change(&d, &w)
		n, problems := netconf.Derive(d.Network("", w))
		if said := netconf.Problems(problems).Error(); n != nil || !strings.Contains(said, tc.want) {
			t.Errorf("%s: %v, %q; want no network and a problem of %s", name, n, said, tc.want)
		}
	}
}
