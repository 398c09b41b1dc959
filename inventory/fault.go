package inventory

import (
	"errors"

	"github.com/cagenut/cagenut/internal/fault"
)

// faults gives the port's errors their codes.
var faults = []struct {
	is   error
	code fault.Code
}{
	{ErrNotFound, fault.NotFound},
	{ErrAmbiguous, fault.Invalid},
	{ErrDenied, fault.InventoryDenied},
	{ErrConflict, fault.Conflict},
	{ErrRejected, fault.Rejected},
	{ErrMalformed, fault.Malformed},
	{ErrServer, fault.InventoryAway},
	{ErrUnreachable, fault.InventoryAway},
	{ErrInvalid, fault.Invalid},
}

// Fault gives any error its fault, for who asks the inventory outside a step (the API, the pages): a
// fault.Error stays as it is, and an error that nobody gave a code is Internal. Drivers return errors of
// this port and never faults.
func Fault(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	for _, t := range faults {
		if errors.Is(err, t.is) {
			return fault.Wrap(err, t.code, "%v", err)
		}
	}
	return fault.From(err)
}
