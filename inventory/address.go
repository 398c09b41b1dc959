package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
)

// Allocation asks for a device's primary address of one family.
type Allocation struct {
	Device    asset.ID
	Interface string // of the device, not mgmt_only; it carries the address
	// Pools are of the device's PrimaryPool and of one address family, which is the address's. It comes from the
	// first that has one left.
	Pools     []netip.Prefix
	Avoid     []netip.Addr // never taken, though free in NetBox: gateways
	DNSName   string       // in small letters, fully qualified, without a dot at its end
	Operation string       // operation ID: what is made carries it, so that a repeated call finds it
	Read      *Device      // as in StatusChange
}

// Is4 tells that it is an IPv4 address that is asked for. There must be a pool.
func (a Allocation) Is4() bool { return a.Pools[0].Addr().Is4() }

// In tells that an address is of one of the pools, and none to avoid.
func (a Allocation) In(address netip.Addr) bool {
	return slices.ContainsFunc(a.Pools, func(p netip.Prefix) bool { return p.Contains(address) }) && !slices.Contains(a.Avoid, address)
}

// Validate tells what cannot be asked for.
func (a Allocation) Validate() error {
	bad := func(field, value, remedy string) error {
		return &Error{Kind: ErrInvalid, Op: fmt.Sprintf("allocate an address for device %s", a.Device), Detail: fmt.Sprintf("%s %q: %s", field, value, remedy)}
	}
	switch {
	case a.Device <= 0:
		return bad("device", a.Device.String(), "name a device by its ID")
	case a.Interface == "":
		return bad("interface", "", "name the interface that is to carry the address")
	case len(a.Pools) == 0:
		return bad("pools", "", "name the prefixes to take the address from")
	case a.DNSName != strings.ToLower(a.DNSName) || strings.HasSuffix(a.DNSName, ".") || strings.ContainsAny(a.DNSName, " /:@"):
		return bad("DNS name", a.DNSName, "use small letters, fully qualified, without a dot at its end")
	case a.Operation == "":
		return bad("operation", "", "name the operation: without it a repeated call would take a second address")
	}
	for _, p := range a.Pools {
		switch {
		case !p.IsValid() || p != p.Masked():
			return bad("pool", p.String(), "name a prefix such as 10.1.2.0/24")
		case p.Addr().Is4() != a.Is4():
			return bad("pool", p.String(), "name prefixes of one address family; another family is another allocation")
		}
	}
	return nil
}
