package inventory_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/inventory"
)

func TestFault(t *testing.T) {
	own := fault.New(fault.Locked, "held")
	for _, tt := range []struct {
		err  error
		code fault.Code
	}{
		{inventory.ErrNotFound, fault.NotFound}, {inventory.ErrAmbiguous, fault.Invalid}, {inventory.ErrDenied, fault.InventoryDenied},
		{inventory.ErrConflict, fault.Conflict}, {inventory.ErrRejected, fault.Rejected}, {inventory.ErrMalformed, fault.Malformed},
		{inventory.ErrServer, fault.InventoryAway}, {inventory.ErrUnreachable, fault.InventoryAway}, {inventory.ErrInvalid, fault.Invalid},
		{errors.New("something else"), fault.Internal}, {own, fault.Locked},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("read: %w", tt.err), &inventory.Error{Kind: tt.err, Op: "find devices"}} {
			if f := inventory.Fault(err); f.Code != tt.code || !errors.Is(f, tt.err) {
				t.Errorf("%v is %s, want %s with the cause", err, f.Code, tt.code)
			}
		}
	}
	if f := inventory.Fault(nil); f != nil {
		t.Errorf("no error is %v", f)
	}
}
