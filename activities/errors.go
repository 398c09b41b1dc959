package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/inventory"
)

// translations is the one place where the errors of ports become codes. The first match counts.
var translations = []struct {
	is   error
	code fault.Code
}{
	{bmc.ErrPinChanged, fault.PinChanged},
	{bmc.ErrCertificate, fault.Untrusted},
	{bmc.ErrNotAllowed, fault.OutsidePrefixes},
	{bmc.ErrBadCredentials, fault.BadCredentials},
	{bmc.ErrPasswordChange, fault.BadCredentials},
	{bmc.ErrUnsupported, fault.Unsupported},
	{bmc.ErrNotApplied, fault.NotApplied},
	{bmc.ErrBreakerOpen, fault.Busy},
	{bmc.ErrBusy, fault.Busy},
	{bmc.ErrRejected, fault.Rejected},
	{bmc.ErrServer, fault.ServerError},
	{bmc.ErrIncomplete, fault.ServerError},
	{bmc.ErrMalformed, fault.Malformed},
	{bmc.ErrTooLarge, fault.Malformed},
	{bmc.ErrUnreachable, fault.Unreachable},
	{inventory.ErrUnreachable, fault.InventoryAway},
	{inventory.ErrServer, fault.InventoryAway},
	{inventory.ErrDenied, fault.InventoryDenied},
	{inventory.ErrNotFound, fault.NotFound},
	{inventory.ErrAmbiguous, fault.Invalid},
	{inventory.ErrConflict, fault.Conflict},
	{inventory.ErrRejected, fault.Rejected},
	{inventory.ErrMalformed, fault.Malformed},
	{inventory.ErrInvalid, fault.Invalid},
	{context.DeadlineExceeded, fault.Unreachable},
}

// translate gives any error of a port its code. It keeps a fault.Error as it is.
func translate(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	for _, t := range translations {
		if errors.Is(err, t.is) {
			return fault.Wrap(err, t.code, "%v", err)
		}
	}
	return fault.From(err)
}

// Fail turns an error into what leaves an activity: a Temporal application error whose type is the
// fault's code and whose details are the fault. Only faults of class retry may be retried.
func Fail(err error) error {
	if err == nil {
		return nil
	}
	f := translate(err)
	return temporal.NewApplicationErrorWithOptions(f.Message, string(f.Code), temporal.ApplicationErrorOptions{
		NonRetryable: f.Class() != fault.Retry,
		Cause:        f.Unwrap(),
		Details:      []any{f},
	})
}

// FaultOf reads back what Fail made, on the workflow's side. An error that no activity of ours
// made (a time-out, a panic) gives false.
func FaultOf(err error) (*fault.Error, bool) {
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || !app.HasDetails() {
		return nil, false
	}
	var f fault.Error
	if app.Details(&f) != nil || f.Code == "" {
		return nil, false
	}
	return &f, true
}
