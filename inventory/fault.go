package inventory

import (
	"errors"

	"github.com/cagenut/cagenut/internal/fault"
)

// faults gives the port's errors their codes, and a remedy where the code's own is about BMCs.
var faults = []struct {
	is     error
	code   fault.Code
	remedy string
}{
	{ErrUnreachable, fault.InventoryAway, ""},
	{ErrServer, fault.InventoryAway, ""},
	{ErrDenied, fault.InventoryDenied, ""},
	{ErrNotFound, fault.NotFound, ""},
	{ErrAmbiguous, fault.Invalid, ""},
	{ErrConflict, fault.Conflict, ""},
	{ErrRejected, fault.Rejected, "read what NetBox refused and why; correct it there and retry, or `cagenut op abort` and install again"},
	{ErrMalformed, fault.Malformed, "check that netbox.url is the address that people open, with no login page or proxy in between, and that it is NetBox 4.2 or later; then retry"},
	{ErrInvalid, fault.Invalid, ""},
}

// Fault gives any error its fault: a fault.Error stays as it is, and an error that nobody gave a code is
// Internal. Drivers return errors of this port and never faults.
func Fault(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	for _, t := range faults {
		if errors.Is(err, t.is) {
			out := fault.Wrap(err, t.code, "%v", err)
			if t.remedy != "" {
				out.Remedy = t.remedy
			}
			return out
		}
	}
	return fault.From(err)
}
