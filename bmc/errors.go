package bmc

import (
	"errors"
	"fmt"
)

// The ways in which talking to a BMC fails. Test with errors.Is.
var (
	ErrUnreachable    = errors.New("BMC unreachable")                                     // dial, reset or time-out before an answer
	ErrBadCredentials = errors.New("BMC refused the credentials")                         // 401, 403 at login, RAKP failure
	ErrPasswordChange = errors.New("BMC demands a new password first")                    // DSP0266 PasswordChangeRequired
	ErrPinChanged     = errors.New("BMC certificate changed")                             // not the pinned one
	ErrCertificate    = errors.New("BMC certificate not trusted")                         // chain not from the given CA
	ErrNotAllowed     = errors.New("address not allowed")                                 // outside the out-of-band prefixes, off-host link
	ErrUnsupported    = errors.New("BMC does not support this")                           // 404/405/501 or no such action
	ErrRejected       = errors.New("BMC rejected the request")                            // other 4xx, with the BMC's own words
	ErrBusy           = errors.New("BMC is busy")                                         // 429, 503, session limit
	ErrServer         = errors.New("BMC answered with a server error")                    // 5xx
	ErrMalformed      = errors.New("BMC answer is malformed")                             // not JSON, wrong type, HTML page
	ErrTooLarge       = errors.New("BMC answer is too large")                             // body, collection or depth over the bound
	ErrNotApplied     = errors.New("BMC accepted the write but the value did not change") // the read-back shows the old value
	ErrIncomplete     = errors.New("BMC reading ended early")                             // deadline or request budget used up
	ErrBreakerOpen    = errors.New("BMC failed repeatedly; not tried")                    // circuit breaker or login budget
	ErrRefusedBefore  = errors.New("refused before; not sent again")                      // cause of an ErrBadCredentials for which nothing was sent
	ErrClosed         = errors.New("the worker ends; its connections are closed")         // the pool is closed
)

// Error is what every driver returns.
type Error struct {
	Kind   error  // one of the sentinels above
	Op     string // the call and its argument, e.g. "GET /redfish/v1/Systems/1"
	Host   string
	Status int    // HTTP status or IPMI completion code, 0 when there was no answer
	Detail string // the BMC's own words, bounded and free of secrets
	Err    error  // cause
}

// Error names the call, the host and the reason.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Host, e.Op, e.Kind)
	if e.Status != 0 {
		s += fmt.Sprintf(" (%d)", e.Status)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the kind and the cause to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}
