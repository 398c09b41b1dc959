package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestEveryCodeHasAClassAndARemedy(t *testing.T) {
	for _, c := range Codes() {
		switch ClassOf(c) {
		case Retry, Wait, Refuse, Lost:
		default:
			t.Errorf("%s: class %q", c, ClassOf(c))
		}
		if Remedy(c) == "" {
			t.Errorf("%s has no remedy", c)
		}
	}
	if got := ClassOf("never heard of"); got != Wait {
		t.Errorf("an unknown code is %s: it must wait for a person", got)
	}
}

// A plan is frozen: where NetBox or the profile may be wrong, a retry alone leads in a circle.
func TestRemediesOfWhatStandsInThePlan(t *testing.T) {
	for _, c := range []Code{Conflict, Incomplete, NoProfile, IdentityMismatch, DuplicateSerial, BadCredentials, NoSecret, Unsupported,
		Rejected, OutsidePrefixes, Downgrade, NotConverged, Differs, OutsidePlan, Drift, RenderFailed, ConfigFailed, CheckFailed} {
		if r := Remedy(c); !strings.Contains(r, "`cagenut op abort`") || !strings.Contains(r, "install again") {
			t.Errorf("%s: %q does not say that the operation is aborted and planned anew", c, r)
		}
	}
	if r := Remedy(BadCredentials); !strings.Contains(r, "serial") {
		t.Errorf("bad_credentials: %q does not say that passwords go by serial", r)
	}
}

func TestFrom(t *testing.T) {
	cause := errors.New("socket closed")
	f := Wrap(cause, Unreachable, "no answer")
	if got := From(fmt.Errorf("step: %w", f)); got != f {
		t.Errorf("got %v", got)
	}
	if !errors.Is(f, cause) {
		t.Error("the cause is lost")
	}
	if got := From(cause); got.Code != Internal || From(nil) != nil {
		t.Errorf("got %v", got)
	}
}
