package activities

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// registry is an inventory that gives the first address of every pool, and fails at the nth.
type registry struct {
	inventory.Source
	serial   string
	failAt   int
	asked    []inventory.Allocation
	released []string
	ports    []inventory.Interface // of Describe
}

func (r *registry) Describe(context.Context, []asset.ID) ([]inventory.Device, error) {
	return []inventory.Device{{ID: 1, Name: "srv-1", Serial: r.serial, PrimaryIP4: netip.MustParsePrefix("10.1.2.1/24"), Interfaces: r.ports}}, nil
}

func (r *registry) Device(context.Context, asset.ID) (inventory.Device, error) {
	return inventory.Device{ID: 1, Name: "srv-1", Serial: r.serial}, nil
}

func (r *registry) Allocate(_ context.Context, a inventory.Allocation) (netip.Prefix, []plan.Write, error) {
	r.asked = append(r.asked, a)
	if len(r.asked) == r.failAt {
		return netip.Prefix{}, nil, &inventory.Error{Kind: inventory.ErrRejected, Op: "allocate", Detail: "no address is left"}
	}
	address := netip.PrefixFrom(a.Pools[0].Addr().Next(), a.Pools[0].Bits())
	return address, []plan.Write{{System: "netbox", Object: "ip-address " + address.String(), Field: "address", After: address.String()}}, nil
}

func (r *registry) Release(_ context.Context, _ asset.ID, operation string) ([]plan.Write, error) {
	r.released = append(r.released, operation)
	return []plan.Write{{System: "netbox", Object: "ip-address 10.1.2.1/24", Field: "address", Before: "10.1.2.1/24"}}, nil
}

func TestAddresses(t *testing.T) {
	const op = "op_01JD0000000000000000000000"
	want := plan.WantAddresses{Interface: "eth0", Pools: []string{"10.1.2.0/24", "2001:db8::/64", "10.1.3.0/24"}, DNSName: "srv-1.example.net"}
	call := Call{Operation: op, Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1"}, Step: plan.Step{Kind: plan.KindAddresses, Version: 1, Want: plan.Encode(want)}}

	r := &registry{serial: "SN1"}
	got, err := (&Central{Inventory: r}).Step(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if got.Done == nil || !got.Done.Changed || len(got.Done.Writes) != 2 || got.Done.Summary != "10.1.2.1/24, 2001:db8::1/64 as srv-1.example.net" {
		t.Errorf("done %+v", got.Done)
	}
	asked := inventory.Allocation{Device: 1, Interface: "eth0", Pools: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("10.1.3.0/24")}, DNSName: "srv-1.example.net", Operation: op,
		Read: &inventory.Device{ID: 1, Name: "srv-1", Serial: "SN1"}}
	six := asked
	six.Pools, six.Read = []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")}, nil // the device is not as it was read
	if diff := cmp.Diff([]inventory.Allocation{asked, six}, r.asked, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}

	undo := call
	undo.Undo = true
	if got, err := (&Central{Inventory: r}).Step(t.Context(), undo); err != nil || !got.Done.Changed || len(got.Done.Writes) != 1 {
		t.Errorf("undone: %+v, %v", got.Done, err)
	}
	if diff := cmp.Diff([]string{op}, r.released); diff != "" {
		t.Errorf("released for (-want +got):\n%s", diff)
	}

	for name, tc := range map[string]struct {
		r    *registry
		want fault.Code
	}{
		"another machine now":  {&registry{serial: "SN2"}, fault.Drift},
		"no address is left":   {&registry{serial: "SN1", failAt: 1}, fault.Rejected},
		"none of the other IP": {&registry{serial: "SN1", failAt: 2}, fault.Rejected},
	} {
		_, err := (&Central{Inventory: tc.r}).Step(t.Context(), call)
		if f, ours := operation.FaultOf(err); !ours || f.Code != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
		if tc.want == fault.Drift && len(tc.r.asked) > 0 {
			t.Errorf("%s: asked for %v", name, tc.r.asked)
		}
	}
	bad := call
	bad.Step.Want = plan.Encode(plan.WantAddresses{Interface: "eth0", Pools: []string{"10.1.2"}})
	if _, err := (&Central{Inventory: &registry{serial: "SN1"}}).Step(t.Context(), bad); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a pool that is none: %v", err)
	}
}

// With the addresses, the machine's network is known; a record that gives none says what is wrong.
func TestAddressesNetwork(t *testing.T) {
	want := plan.WantAddresses{Interface: "eth0", Pools: []string{"10.1.2.0/24"}, Network: &plan.WantNetwork{Domain: "example.net",
		Gateways: []netip.Addr{netip.MustParseAddr("10.9.9.1"), netip.MustParseAddr("10.1.2.254")}, DNS: []netip.Addr{netip.MustParseAddr("10.0.0.53")}}}
	call := Call{Operation: "op_1", Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1"}, Step: plan.Step{Kind: plan.KindAddresses, Version: 1, Want: plan.Encode(want)}}
	eth0 := inventory.Interface{Name: "eth0", Type: "1000base-t", Enabled: true, MACs: []string{"02:00:00:00:00:01"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.1/24")}}

	got, err := (&Central{Inventory: &registry{serial: "SN1", ports: []inventory.Interface{eth0}}}).Step(t.Context(), call)
	if err != nil || got.Done.Learned == nil || got.Done.Learned.Network == nil {
		t.Fatalf("done %+v, %v; want a network that was learned", got.Done, err)
	}
	n := *got.Done.Learned.Network
	if n.FQDN() != "srv-1.example.net" || len(n.Links) != 1 || n.Links[0].Gateway4 != netip.MustParseAddr("10.1.2.254") {
		t.Errorf("network %+v", n)
	}
	var proof struct{ Network *netconf.Network }
	if err := json.Unmarshal(got.Done.Evidence[0].Data, &proof); err != nil || proof.Network == nil {
		t.Errorf("evidence %s, %v; want the network in it", got.Done.Evidence[0].Data, err)
	} else if diff := cmp.Diff(n, *proof.Network, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("network in the evidence (-learned +evidence):\n%s", diff)
	}

	noMAC := eth0
	noMAC.MACs = nil
	_, err = (&Central{Inventory: &registry{serial: "SN1", ports: []inventory.Interface{noMAC}}}).Step(t.Context(), call)
	if f, ours := operation.FaultOf(err); !ours || f.Code != fault.Incomplete || !strings.Contains(f.Message, "eth0.mac") || !strings.Contains(f.Message, "MAC address") {
		t.Errorf("without a MAC: %v; want record_incomplete with interface, value and remedy", err)
	}
}
