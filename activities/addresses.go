package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// network reads the machine's record again, now that it has its addresses, and derives its network.
func (a *Central) network(ctx context.Context, c Call, want plan.WantAddresses) (*netconf.Network, error) {
	devices, err := a.Inventory.Describe(ctx, []asset.ID{c.Asset.ID})
	if err != nil {
		return nil, err
	}
	if len(devices) != 1 {
		return nil, fault.New(fault.NotFound, "%s (NetBox device %s) is no longer in NetBox", c.Asset.Name, c.Asset.ID)
	}
	network, problems := netconf.Derive(devices[0].Network(want.DNSName, *want.Network))
	if len(problems) == 0 {
		return network, nil
	}
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	f := fault.New(fault.Incomplete, "the network of %s cannot be derived from its NetBox record: %s", c.Asset.Name, strings.Join(said, "; "))
	f.Remedy = "correct the named fields of its interfaces in NetBox (gateways and dns: in the site's configuration, then install again), then retry"
	return nil, f
}

// families parts pools by address family, in the order in which the families come.
func families(pools []string) ([][]netip.Prefix, error) {
	var out [][]netip.Prefix
	for _, text := range pools {
		pool, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "step addresses: pool %q: %v", text, err)
		}
		i := slices.IndexFunc(out, func(some []netip.Prefix) bool { return some[0].Addr().Is4() == pool.Addr().Is4() })
		if i < 0 {
			out = append(out, nil)
			i = len(out) - 1
		}
		out[i] = append(out[i], pool)
	}
	return out, nil
}

// addresses gives the machine a primary address of each family that has pools, and its DNS name, or takes back what this
// operation took when the step is undone. It needs no handle: what is made carries the operation's ID,
// so a call that is repeated finds it.
func (a *Central) addresses(ctx context.Context, c Call) (Result, error) {
	want, err := plan.Decode[plan.WantAddresses](c.Step)
	if err != nil {
		return Result{}, err
	}
	device, err := a.planned(ctx, c)
	if err != nil {
		return Result{}, err
	}
	if c.Undo {
		writes, err := a.Inventory.Release(ctx, c.Asset.ID, string(c.Operation))
		if err != nil {
			return Result{}, err
		}
		return Result{Done: &Done{Changed: len(writes) > 0, Writes: writes, Summary: fmt.Sprintf("%d values given back", len(writes))}}, nil
	}
	done := &Done{}
	var addresses []string
	read := &device
	families, err := families(want.Pools)
	if err != nil {
		return Result{}, err
	}
	var gateways []netip.Addr
	if want.Network != nil {
		gateways = want.Network.Gateways
	}
	for _, pools := range families {
		address, writes, err := a.Inventory.Allocate(ctx, inventory.Allocation{
			Device: c.Asset.ID, Interface: want.Interface, Pools: pools, Avoid: gateways, DNSName: want.DNSName, Operation: string(c.Operation), Read: read,
		})
		read = nil // it may have changed the device
		done.Writes = append(done.Writes, writes...)
		if err != nil {
			// What was written is found again, and told, by the call that succeeds.
			return Result{}, err
		}
		addresses = append(addresses, address.String())
	}
	done.Changed = len(done.Writes) > 0
	done.Summary = strings.Join(addresses, ", ")
	if want.DNSName != "" {
		done.Summary += " as " + want.DNSName
	}
	proof := map[string]any{"interface": want.Interface, "addresses": addresses, "dns_name": want.DNSName}
	if want.Network != nil {
		network, err := a.network(ctx, c, want)
		if err != nil {
			return Result{}, err
		}
		proof["network"] = network
		done.Learned = &operation.Known{Network: network}
	}
	data, err := json.Marshal(proof)
	if err != nil {
		return Result{}, fmt.Errorf("addresses: encode: %w", err)
	}
	done.Evidence = []operation.Evidence{{Kind: "addresses", Title: "Addresses as NetBox has them", Data: data}}
	return Result{Done: done}, nil
}
