package inventorytest

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// fields are what writes tell, as object kind and field.
func fields(writes []plan.Write) []string {
	var out []string
	for _, w := range writes {
		kind, _, _ := strings.Cut(w.Object, " ")
		out = append(out, kind+" "+w.Field)
	}
	return out
}

// testAllocate holds that an address is taken once, named, made the primary one, found again, and taken
// back by the operation that took it and by no other.
func testAllocate(t *testing.T, h Harness, w world) {
	d := one(t, h, w, w.server(2).Name)
	ask := inventory.Allocation{Device: d.ID, Interface: "eth0", Pools: w.pools(1), DNSName: d.Name + ".example.net", Operation: "op_addr"}
	read, err := h.Source.Device(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	before := h.Requests()
	ask.Read = &read
	got, writes, err := h.Source.Allocate(t.Context(), ask)
	ask.Read = nil
	if err != nil {
		t.Fatal(err)
	}
	if used := h.Requests() - before; used > 6 {
		t.Errorf("%d requests, want at most 6", used)
	}
	if pool := ask.Pools[0]; !pool.Contains(got.Addr()) || got.Bits() != pool.Bits() {
		t.Errorf("address %s is none of %s", got, pool)
	}
	if diff := cmp.Diff([]string{"ip-address address", "ip-address dns_name", "device primary_ip4"}, fields(writes)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	described := func() inventory.Device {
		t.Helper()
		all, err := h.Source.Describe(t.Context(), []asset.ID{d.ID})
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	now := described()
	i := slices.IndexFunc(now.Interfaces, func(i inventory.Interface) bool { return i.Name == "eth0" })
	if now.PrimaryIP4 != got || !slices.Contains(now.Interfaces[i].Addresses, got) {
		t.Errorf("primary address %s, of eth0 %v; want %s", now.PrimaryIP4, now.Interfaces[i].Addresses, got)
	}
	// A call whose answer was lost, before or after the device was told: the address is found, not a
	// second taken, and what the operation wrote is told.
	for _, lost := range []string{"the last answer", "the one before the device was told"} {
		again, writes, err := h.Source.Allocate(t.Context(), ask)
		if err != nil || again != got {
			t.Errorf("lost %s: %s, %v; want %s", lost, again, err, got)
		}
		if diff := cmp.Diff([]string{"ip-address address", "ip-address dns_name", "device primary_ip4"}, fields(writes)); diff != "" {
			t.Errorf("lost %s: writes (-want +got):\n%s", lost, diff)
		}
		h.Edit(t, d.ID, map[string]any{"primary_ip4": nil})
	}
	if _, _, err := h.Source.Allocate(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	next := ask
	next.Operation = "op_next"
	if again, writes, err := h.Source.Allocate(t.Context(), next); err != nil || again != got || len(writes) != 0 {
		t.Errorf("by another operation: %s, %v, %v; want %s and no write", again, fields(writes), err, got)
	}

	if writes, err := h.Source.Release(t.Context(), d.ID, "op_other"); err != nil || len(writes) != 0 {
		t.Errorf("another operation's release: %v, %v; want nothing done", fields(writes), err)
	}
	writes, err = h.Source.Release(t.Context(), d.ID, ask.Operation)
	if diff := cmp.Diff([]plan.Write{
		{System: "netbox", Object: "ip-address " + got.String(), Field: "address", Before: got.String()},
		{System: "netbox", Object: "device " + d.Name, Field: "primary_ip4", Before: got.String()},
	}, writes); diff != "" || err != nil {
		t.Errorf("released: %v (-want +got):\n%s", err, diff)
	}
	if now := described(); now.PrimaryIP4.IsValid() {
		t.Errorf("primary address %s after the release", now.PrimaryIP4)
	}
	if writes, err := h.Source.Release(t.Context(), d.ID, ask.Operation); err != nil || len(writes) != 0 {
		t.Errorf("released again: %v, %v; want nothing done", writes, err)
	}
}

// pools are prefixes of the first rack.
func (w world) pools(numbers ...int) (out []netip.Prefix) {
	for _, i := range numbers {
		out = append(out, w.first.Prefixes[i].Prefix)
	}
	return out
}

// testAllocateNext holds that an address comes from the first pool that has one, that a gateway is never
// taken, nor kept, and that pools without an address are named.
func testAllocateNext(t *testing.T, h Harness, w world) {
	small := w.first.Prefixes[2].Prefix // with two addresses: one is the gateway
	gateway, other := small.Addr().Next(), small.Addr().Next().Next()
	ask := func(server int, pools ...int) (netip.Prefix, error) {
		d := one(t, h, w, w.server(server).Name)
		got, _, err := h.Source.Allocate(t.Context(), inventory.Allocation{Device: d.ID, Interface: "eth0", Pools: w.pools(pools...), Avoid: []netip.Addr{gateway},
			DNSName: d.Name + ".example.net", Operation: "op_next"})
		t.Cleanup(func() {
			if _, err := h.Source.Release(context.WithoutCancel(t.Context()), d.ID, "op_next"); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			return got, err
		}
		all, err := h.Source.Describe(t.Context(), []asset.ID{d.ID})
		if err != nil {
			return got, err
		}
		for _, i := range all[0].Interfaces {
			if !i.Mgmt && len(i.Addresses) > 0 {
				if diff := cmp.Diff([]netip.Prefix{got}, i.Addresses, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
					t.Errorf("%s has other addresses than it was given (-want +got):\n%s", d.Name, diff)
				}
			}
		}
		return got, nil
	}
	if got, err := ask(2, 2, 1); err != nil || got.Addr() != other {
		t.Errorf("first: %s, %v; want %s: %s is the gateway", got, err, other, gateway)
	}
	if got, err := ask(3, 2, 1); err != nil || !w.pools(1)[0].Contains(got.Addr()) {
		t.Errorf("second: %s, %v; want one of %s: nothing but the gateway is left of %s", got, err, w.pools(1)[0], small)
	}
	_, err := ask(4, 2)
	if e := kind(t, err, inventory.ErrRejected); !strings.Contains(e.Error(), small.String()) {
		t.Errorf("a full pool: %v; want its name", e)
	}
}

func testAllocateRefuses(t *testing.T, h Harness, w world) {
	d := one(t, h, w, w.server(3).Name)
	good := inventory.Allocation{Device: d.ID, Interface: "eth0", Pools: w.pools(1), DNSName: "a.example.net", Operation: "op_no"}
	for name, tc := range map[string]struct {
		change func(*inventory.Allocation)
		want   error
	}{
		"no operation":      {func(a *inventory.Allocation) { a.Operation = "" }, inventory.ErrInvalid},
		"no interface":      {func(a *inventory.Allocation) { a.Interface = "" }, inventory.ErrInvalid},
		"a name in capital": {func(a *inventory.Allocation) { a.DNSName = "A.example.net" }, inventory.ErrInvalid},
		"no pool":           {func(a *inventory.Allocation) { a.Pools = nil }, inventory.ErrInvalid},
		"an address": {func(a *inventory.Allocation) {
			a.Pools = []netip.Prefix{netip.PrefixFrom(a.Pools[0].Addr().Next(), 25)}
		}, inventory.ErrInvalid},
		"two families":      {func(a *inventory.Allocation) { a.Pools = append(w.pools(1), netip.MustParsePrefix("2001:db8::/64")) }, inventory.ErrInvalid},
		"no such interface": {func(a *inventory.Allocation) { a.Interface = "eth77" }, inventory.ErrNotFound},
		"the BMC's":         {func(a *inventory.Allocation) { a.Interface = "bmc" }, inventory.ErrNotFound},
		"another pool":      {func(a *inventory.Allocation) { a.Pools = w.pools(0) }, inventory.ErrNotFound},
		"no such device":    {func(a *inventory.Allocation) { a.Device = 1 << 30 }, inventory.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			ask := good
			tc.change(&ask)
			_, writes, err := h.Source.Allocate(t.Context(), ask)
			_ = kind(t, err, tc.want)
			if len(writes) != 0 {
				t.Errorf("wrote %v", writes)
			}
		})
	}
	all, err := h.Source.Describe(t.Context(), []asset.ID{d.ID})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(netip.Prefix{}, all[0].PrimaryIP4, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("primary address (-want +got):\n%s", diff)
	}
	// A name that somebody gave stays.
	if _, _, err := h.Source.Allocate(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	other := good
	other.DNSName, other.Operation = "b.example.net", "op_other"
	_, writes, err := h.Source.Allocate(t.Context(), other)
	if e := kind(t, err, inventory.ErrConflict); !strings.Contains(e.Error(), "a.example.net") || len(writes) != 0 {
		t.Errorf("another name: %v, wrote %v; want the name that stands, and no write", e, writes)
	}
	if _, err := h.Source.Release(t.Context(), d.ID, good.Operation); err != nil {
		t.Error(err)
	}
}
