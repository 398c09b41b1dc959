package inventory

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
)

// Allocation asks for a device's primary address of one family.
type Allocation struct {
	Device    asset.ID
	Interface string       // of the device, not mgmt_only; it carries the address
	Pool      netip.Prefix // one of the device's PrimaryPool; its family is the address's
	DNSName   string       // in small letters, fully qualified, without a dot at its end
	Operation string       // operation ID: what is made carries it, so that a repeated call finds it
	Read      *Device      // as in StatusChange
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
	case !a.Pool.IsValid() || a.Pool != a.Pool.Masked():
		return bad("pool", a.Pool.String(), "name a prefix such as 10.1.2.0/24")
	case a.DNSName != strings.ToLower(a.DNSName) || strings.HasSuffix(a.DNSName, ".") || strings.ContainsAny(a.DNSName, " /:@"):
		return bad("DNS name", a.DNSName, "use small letters, fully qualified, without a dot at its end")
	case a.Operation == "":
		return bad("operation", "", "name the operation: without it a repeated call would take a second address")
	}
	return nil
}
