package operation

import (
	"errors"

	"go.temporal.io/sdk/temporal"

	"github.com/cagenut/cagenut/internal/fault"
)

// AsTemporal turns a fault into the error that crosses Temporal: an application error whose type is
// the fault's code and whose details are the fault. Temporal itself never retries one: the executor
// decides from the class.
func AsTemporal(f *fault.Error) error {
	return temporal.NewApplicationErrorWithOptions(f.Message, string(f.Code), temporal.ApplicationErrorOptions{
		NonRetryable: f.Class() != fault.Retry,
		Cause:        f.Unwrap(),
		Details:      []any{f},
	})
}

// FaultOf reads back a fault that crossed Temporal. An error that is none of ours (a time-out, a
// panic, a lost connection) gives false.
func FaultOf(err error) (*fault.Error, bool) {
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || !app.HasDetails() {
		return nil, false
	}
	// A pointer to a pointer: a local activity's details never leave the process and keep their type.
	var f *fault.Error
	err = app.Details(&f)
	return f, err == nil && f != nil && f.Code != ""
}
