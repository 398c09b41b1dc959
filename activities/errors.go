package activities

import (
	"cmp"
	"context"
	"errors"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

// translations is the one place where the errors of ports become codes, but for inventory's, which has its
// own for the API and the pages too (inventory.Fault). The first match counts.
var translations = []struct {
	is     error
	code   fault.Code
	remedy string // in place of the code's, which may speak of BMCs
}{
	// A worker that ends gives up what it was doing: another takes the call.
	{context.Canceled, fault.WorkerLost, ""},
	{bmc.ErrClosed, fault.WorkerLost, ""},
	{bmc.ErrPinChanged, fault.PinChanged, ""},
	{bmc.ErrCertificate, fault.Untrusted, ""},
	{bmc.ErrNotAllowed, fault.OutsidePrefixes, ""},
	{bmc.ErrBadCredentials, fault.BadCredentials, ""},
	{bmc.ErrPasswordChange, fault.BadCredentials, ""},
	{bmc.ErrUnsupported, fault.Unsupported, ""},
	{bmc.ErrNotApplied, fault.NotApplied, ""},
	{bmc.ErrBreakerOpen, fault.Busy, ""},
	{bmc.ErrBusy, fault.Busy, ""},
	{bmc.ErrRejected, fault.Rejected, ""},
	{bmc.ErrServer, fault.ServerError, ""},
	{bmc.ErrIncomplete, fault.ServerError, ""},
	{bmc.ErrMalformed, fault.Malformed, ""},
	{bmc.ErrTooLarge, fault.Malformed, ""},
	{bmc.ErrUnreachable, fault.Unreachable, ""},
	{configmgmt.ErrUnreachable, fault.ConfigAway, ""},
	{configmgmt.ErrServer, fault.ConfigAway, ""},
	{configmgmt.ErrProgram, fault.ConfigAway, ""},
	{configmgmt.ErrCertificate, fault.Untrusted, ""},
	{configmgmt.ErrDenied, fault.ConfigDenied, ""},
	{configmgmt.ErrHostAway, fault.HostAway, ""},
	{configmgmt.ErrNotEnrolled, fault.NotEnrolled, ""},
	{configmgmt.ErrFingerprint, fault.KeyMismatch, ""},
	{configmgmt.ErrRender, fault.RenderFailed, ""},
	{configmgmt.ErrNothing, fault.ConfigFailed, ""},
	{configmgmt.ErrMode, fault.ConfigFailed, ""},
	{configmgmt.ErrBusy, fault.Busy, "wait for the other run on the host, or end it; then retry"},
	{configmgmt.ErrRejected, fault.Rejected, "read configuration management's words and mend what they name, then retry"},
	{configmgmt.ErrMalformed, fault.Malformed, askOf},
	{configmgmt.ErrTooLarge, fault.Malformed, askOf},
	{configmgmt.ErrInvalid, fault.Invalid, "correct what is named, in NetBox or the profile: it stands in the plan, so `cagenut op abort` and install again"},
	{context.DeadlineExceeded, fault.Unreachable, ""},
}

// askOf is the remedy for answers of configuration management that make no sense.
const askOf = "check that salt-api, or Ansible, is what answers, and that docs/salt.md or docs/ansible.md names its version; then retry"

// translate gives any error of a port its code. It keeps a fault.Error as it is.
func translate(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	if e := (*inventory.Error)(nil); errors.As(err, &e) {
		return inventory.Fault(err)
	}
	for _, t := range translations {
		if errors.Is(err, t.is) {
			f := fault.Wrap(err, t.code, "%v", err)
			f.Remedy = cmp.Or(t.remedy, f.Remedy)
			return f
		}
	}
	return fault.From(err)
}

// Fail turns an error of a port into what leaves an activity; see operation.AsTemporal.
func Fail(err error) error {
	if err == nil {
		return nil
	}
	return operation.AsTemporal(translate(err))
}
