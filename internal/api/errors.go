package api

import (
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/inventory"
)

// translate gives any error its fault: of the ports that the API asks itself, only the inventory's have
// errors of their own.
func translate(err error) *fault.Error { return inventory.Fault(err) }

// invalid is Invalid for a field: it names the field, the value and what to do.
func invalid(field string, value any, remedy string) *fault.Error {
	e := fault.New(fault.Invalid, "%s: %#v: %s", field, value, remedy)
	e.Remedy = remedy
	return e
}
