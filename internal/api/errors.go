package api

import (
	"errors"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/inventory"
)

// inventoryFaults gives the port's errors their codes where the API itself asks the inventory.
var inventoryFaults = []struct {
	is   error
	code fault.Code
}{
	{inventory.ErrNotFound, fault.NotFound},
	{inventory.ErrAmbiguous, fault.Invalid},
	{inventory.ErrDenied, fault.InventoryDenied},
	{inventory.ErrConflict, fault.Conflict},
	{inventory.ErrRejected, fault.Rejected},
	{inventory.ErrMalformed, fault.Malformed},
	{inventory.ErrServer, fault.InventoryAway},
	{inventory.ErrUnreachable, fault.InventoryAway},
	{inventory.ErrInvalid, fault.Invalid},
}

// translate gives any error its fault. An error that nobody gave a code is Internal.
func translate(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	for _, t := range inventoryFaults {
		if errors.Is(err, t.is) {
			return fault.Wrap(err, t.code, "%v", err)
		}
	}
	return fault.From(err)
}

// invalid is Invalid for a field: it names the field, the value and what to do.
func invalid(field string, value any, remedy string) *fault.Error {
	e := fault.New(fault.Invalid, "%s: %#v: %s", field, value, remedy)
	e.Remedy = remedy
	return e
}
