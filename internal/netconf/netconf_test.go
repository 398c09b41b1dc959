package netconf

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

func prefixes(in ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(in ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// plain is a machine with one port and IPv4.
func plain() Facts {
	return Facts{
		Name: "srv-101", Domain: "ams01.example.net", DNS: addrs("192.0.2.53"), Gateways: addrs("198.51.100.1"),
		Interfaces: []Interface{
			{Name: "eno1", Type: "25gbase-x-sfp28", MACs: []string{"02:00:00:00:65:01"}, Addresses: prefixes("198.51.100.101/24")},
			{Name: "eno2", Type: "25gbase-x-sfp28", MACs: []string{"02:00:00:00:65:02"}},
			{Name: "idrac", Type: "1000base-t", Mgmt: true, MACs: []string{"02:00:00:00:65:00"}, Addresses: prefixes("192.0.2.101/24")},
		},
	}
}

// bonded is a machine with two ports in a bond, VLANs on it, both families and jumbo frames.
func bonded() Facts {
	return Facts{
		Name: "srv-102", DNSName: "db1.ams01.example.net.", DNS: addrs("192.0.2.53", "2001:db8::53"), Search: []string{"ams01.example.net", "example.net"},
		Gateways: addrs("198.51.100.1", "2001:db8:100::1"),
		Interfaces: []Interface{
			{Name: "Gig-E 1", Type: "25gbase-x-sfp28", MACs: []string{"02-00-00-00-66-01"}, LAG: "bond0", MTU: 9000},
			{Name: "Gig-E 2", Type: "25gbase-x-sfp28", MACs: []string{"02:00:00:00:66:02"}, LAG: "bond0", MTU: 9000},
			{Name: "bond0", Type: "lag", MTU: 9000, Mode: "tagged", Untagged: 10, Tagged: []int{100, 200}},
			{Name: "bond0.100", Type: "virtual", Parent: "bond0", Untagged: 100, MTU: 1500, Addresses: prefixes("198.51.100.102/24", "198.51.100.112/24", "2001:db8:100::102/64")},
			{Name: "storage", Type: "virtual", Parent: "bond0", Tagged: []int{200}, MTU: 9000, Addresses: prefixes("203.0.113.102/25")},
		},
	}
}

func derive(t *testing.T, f Facts) Network {
	t.Helper()
	n, problems := Derive(f)
	if len(problems) > 0 {
		t.Fatalf("Derive: %v", problems)
	}
	return *n
}

func TestDerive(t *testing.T) {
	equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	equalPrefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	want := Network{
		Hostname: "db1", Domain: "ams01.example.net", DNS: addrs("192.0.2.53", "2001:db8::53"), Search: []string{"ams01.example.net", "example.net"},
		Links: []Link{
			{Name: "gig-e-1", Kind: Ethernet, MAC: "02:00:00:00:66:01", MTU: 9000},
			{Name: "gig-e-2", Kind: Ethernet, MAC: "02:00:00:00:66:02", MTU: 9000},
			{Name: "bond0", Kind: Bond, MTU: 9000, Members: []string{"gig-e-1", "gig-e-2"}, Bond: LACP},
			{Name: "bond0.100", Kind: VLAN, MTU: 1500, Parent: "bond0", VLAN: 100, Gateway4: netip.MustParseAddr("198.51.100.1"), Gateway6: netip.MustParseAddr("2001:db8:100::1"),
				Addresses: prefixes("198.51.100.102/24", "198.51.100.112/24", "2001:db8:100::102/64")},
			{Name: "bond0.200", Kind: VLAN, MTU: 9000, Parent: "bond0", VLAN: 200, Addresses: prefixes("203.0.113.102/25")},
		},
	}
	got := derive(t, bonded())
	if diff := cmp.Diff(want, got, equal, equalPrefix); diff != "" {
		t.Errorf("bonded (-want +got):\n%s", diff)
	}
	if a := got.Address(); a != netip.MustParseAddr("198.51.100.102") || got.FQDN() != "db1.ams01.example.net" {
		t.Errorf("address %v of %s", a, got.FQDN())
	}
	one := derive(t, plain())
	if len(one.Links) != 1 || one.FQDN() != "srv-101.ams01.example.net" {
		t.Errorf("plain: %+v: a port that carries nothing and the BMC's are left out", one)
	}
}

func TestDeriveNamesFieldValueAndRemedy(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Facts)
		want   []string // fields
	}{
		"no interfaces":          {func(f *Facts) { f.Interfaces, f.Gateways = nil, nil }, []string{"links", "gateways"}},
		"no default route":       {func(f *Facts) { f.Gateways = nil }, []string{"gateways"}},
		"gateway elsewhere":      {func(f *Facts) { f.Gateways = append(addrs("10.0.0.1"), f.Gateways[1]) }, []string{"gateways[0]"}},
		"gateway is the machine": {func(f *Facts) { f.Gateways[0] = netip.MustParseAddr("198.51.100.112") }, []string{"links.bond0.100.gateway4"}},
		"two gateways":           {func(f *Facts) { f.Gateways = append(f.Gateways, netip.MustParseAddr("203.0.113.1")) }, []string{"gateways[2]"}},
		"no name server":         {func(f *Facts) { f.DNS = nil }, []string{"dns"}},
		"name server twice":      {func(f *Facts) { f.DNS = addrs("192.0.2.53", "192.0.2.53") }, []string{"dns[1]"}},
		"host name":              {func(f *Facts) { f.DNSName = "db_1" }, []string{"hostname"}},
		"domain":                 {func(f *Facts) { f.DNSName = "db1.a b" }, []string{"domain"}},
		"search":                 {func(f *Facts) { f.Search = []string{"x;y"} }, []string{"search[0]"}},
		"no MAC":                 {func(f *Facts) { f.Interfaces[0].MACs = nil }, []string{"links.gig-e-1.mac"}},
		"multicast MAC":          {func(f *Facts) { f.Interfaces[0].MACs = []string{"03:00:00:00:66:01"} }, []string{"links.gig-e-1.mac"}},
		"MAC twice":              {func(f *Facts) { f.Interfaces[0].MACs = f.Interfaces[1].MACs }, []string{"links.gig-e-2.mac"}},
		"names collide":          {func(f *Facts) { f.Interfaces[1].Name = "GIG-E 1!"; f.Interfaces[0].Name = "gig-e-1" }, []string{"links.gig-e-1.name", "links.bond0.members"}},
		"unknown LAG":            {func(f *Facts) { f.Interfaces[0].LAG = "bond9" }, []string{"interfaces.Gig-E 1.lag"}},
		"disabled LAG":           {func(f *Facts) { f.Interfaces = f.Interfaces[:3]; f.Interfaces[2].Disabled = true; f.Gateways = nil }, []string{"interfaces.Gig-E 1.lag", "interfaces.Gig-E 2.lag", "gateways"}},
		"bond without members":   {func(f *Facts) { f.Interfaces = f.Interfaces[2:] }, []string{"links.bond0.members"}},
		"member with address":    {func(f *Facts) { f.Interfaces[0].Addresses = prefixes("10.0.0.2/24") }, []string{"links.gig-e-1.addresses"}},
		"member with VLAN":       {func(f *Facts) { f.Interfaces[4].Parent = "Gig-E 1" }, []string{"links.gig-e-1.vlans"}},
		"member MTU":             {func(f *Facts) { f.Interfaces[0].MTU = 0 }, []string{"links.bond0.mtu"}},
		"VLAN MTU":               {func(f *Facts) { f.Interfaces[4].MTU = 9216 }, []string{"links.bond0.200.mtu"}},
		"MTU too large":          {func(f *Facts) { f.Interfaces[0].MTU = 65536 }, []string{"links.gig-e-1.mtu"}},
		"MTU too small for IPv6": {func(f *Facts) { f.Interfaces[3].MTU = 1000 }, []string{"links.bond0.100.mtu"}},
		"unknown parent":         {func(f *Facts) { f.Interfaces[4].Parent = "bond1" }, []string{"interfaces.storage.parent"}},
		"no VLAN":                {func(f *Facts) { f.Interfaces[4].Tagged = nil }, []string{"interfaces.storage.untagged_vlan"}},
		"VLAN not on the trunk":  {func(f *Facts) { f.Interfaces[2].Tagged = []int{100} }, []string{"interfaces.bond0.tagged_vlans"}},
		"VLAN twice":             {func(f *Facts) { f.Interfaces[4].Tagged = []int{100} }, []string{"links.bond0.100.name", "links.bond0.100.vlan"}},
		"address twice":          {func(f *Facts) { f.Interfaces[4].Addresses = prefixes("198.51.100.102/25") }, []string{"links.bond0.200.addresses"}},
		"subnet's own address":   {func(f *Facts) { f.Interfaces[4].Addresses = prefixes("203.0.113.0/25") }, []string{"links.bond0.200.addresses"}},
		"broadcast address":      {func(f *Facts) { f.Interfaces[4].Addresses = prefixes("203.0.113.127/25") }, []string{"links.bond0.200.addresses"}},
		"link-local address":     {func(f *Facts) { f.Interfaces[4].Addresses = prefixes("fe80::1/64") }, []string{"links.bond0.200.addresses"}},
		"bond mode":              {func(f *Facts) { f.Bond = BondOptions{Mode: "balance-rr", MonitorMs: 100} }, []string{"links.bond0.bond.mode"}},
		"LACP rate":              {func(f *Facts) { f.Bond = BondOptions{Mode: "active-backup", LACPRate: "fast", MonitorMs: 100} }, []string{"links.bond0.bond.lacp_rate"}},
		"hash policy":            {func(f *Facts) { f.Bond = BondOptions{Mode: "802.3ad", HashPolicy: "x", MonitorMs: 100} }, []string{"links.bond0.bond.hash_policy"}},
		"unmonitored bond":       {func(f *Facts) { f.Bond = BondOptions{Mode: "802.3ad"} }, []string{"links.bond0.bond.monitor_ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := bonded()
			tc.change(&f)
			n, problems := Derive(f)
			var got []string
			for _, p := range problems {
				got = append(got, p.Field)
				if p.Remedy == "" {
					t.Errorf("%v has no remedy", p)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || n != nil {
				t.Errorf("fields (-want +got):\n%s\n%v", diff, problems)
			}
		})
	}
}

// Every format, byte for byte: look at every line of the diff, then run with -update.
func TestRenderGolden(t *testing.T) {
	single := bonded() // what kickstart can say
	single.Interfaces = single.Interfaces[:4]
	single.Interfaces[3].Addresses = prefixes("198.51.100.102/24", "2001:db8:100::102/64")
	for name, facts := range map[string]Facts{"plain": plain(), "bonded": bonded()} {
		for _, format := range Formats() {
			facts := facts
			if format == KickstartFormat && name == "bonded" {
				facts = single
			}
			files, err := derive(t, facts).Render(format)
			if err != nil {
				t.Fatalf("%s %s: %v", name, format, err)
			}
			var got strings.Builder
			for _, f := range files {
				got.WriteString("### " + f.Path + "\n" + f.Text)
			}
			golden(t, filepath.Join("testdata", name+"."+string(format)), got.String())
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	n := derive(t, bonded())
	if _, err := n.Render(KickstartFormat); err == nil || !strings.Contains(err.Error(), "one VLAN a device") {
		t.Errorf("two VLANs in kickstart: %v", err)
	}
	n.Links = n.Links[:4]
	if _, err := n.Render(KickstartFormat); err == nil || !strings.Contains(err.Error(), "one address a family") {
		t.Errorf("two addresses in kickstart: %v", err)
	}
	n = derive(t, bonded())
	if _, err := n.Render("wicked"); err == nil {
		t.Error("an unknown format is rendered")
	}
	// What breaks out of a line is no name, and nothing is rendered with it.
	for _, hostile := range []string{"a\nb", "a b", "a;b", "$(id)", `a"b`, "a'b", "{{.}}", "a#b", ""} {
		n := derive(t, bonded())
		n.Links[0].Name = hostile
		for _, f := range Formats() {
			if files, err := n.Render(f); err == nil {
				t.Errorf("%s takes the name %q: %v", f, hostile, files)
			}
		}
	}
}

func TestRenameArgs(t *testing.T) {
	if diff := cmp.Diff([]string{"ifname=gig-e-1:02:00:00:00:66:01", "ifname=gig-e-2:02:00:00:00:66:02"}, derive(t, bonded()).RenameArgs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
