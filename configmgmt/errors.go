package configmgmt

import (
	"errors"
	"fmt"
)

// The ways in which configuration management fails. Test with errors.Is.
var (
	ErrUnreachable = errors.New("configuration management unreachable")                           // no answer from salt-api, or the context ended
	ErrServer      = errors.New("configuration management answered with a server error")          // 5xx, or it failed by itself
	ErrCertificate = errors.New("certificate of configuration management not trusted")            // chain not from the given CA
	ErrDenied      = errors.New("configuration management refused the login or the permission")   // 401, 403, SSH key refused
	ErrHostAway    = errors.New("host does not answer configuration management")                  // minion or SSH silent
	ErrNotEnrolled = errors.New("host is not enrolled in configuration management")               // no key yet, or not accepted
	ErrFingerprint = errors.New("key of the host is not the one that it phoned home")             // somebody else's, or an old one
	ErrRender      = errors.New("configuration does not render or compile")                       // nothing was run
	ErrBusy        = errors.New("another run works on the host")                                  // nothing was run; try later
	ErrNothing     = errors.New("nothing applies to the host")                                    // no state, no play matched it
	ErrMode        = errors.New("run is not in the mode that was asked for")                      // test instead of real, or the reverse
	ErrRejected    = errors.New("configuration management rejected the request")                  // in its own words
	ErrMalformed   = errors.New("answer of configuration management is malformed")                // not JSON, wrong type, HTML page
	ErrTooLarge    = errors.New("answer of configuration management is too large")                // over the bound
	ErrProgram     = errors.New("program of configuration management is missing or cannot start") // ansible-runner, ssh
	ErrInvalid     = errors.New("configuration management cannot be asked that")                  // a mistake of the caller
)

// Error is what every driver returns.
type Error struct {
	Kind   error  // one of the sentinels above
	Op     string // the call and its argument
	Host   string // the target, "" when the call has none
	Status int    // HTTP status or exit code, 0 when there was no answer
	Detail string // configuration management's own words, bounded and scrubbed, and the remedy
	// Over tells that the run has ended without doing anything more: only a new attempt can help.
	Over bool
	Err  error // cause
}

// Error names the call, the host and the reason.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %v", e.Op, e.Kind)
	if e.Host != "" {
		s = e.Host + ": " + s
	}
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

// Over tells whether an error ended the run of a Handle, so that polling it again is pointless.
func Over(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Over
}
