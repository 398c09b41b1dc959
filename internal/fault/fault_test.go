package fault

import (
	"errors"
	"fmt"
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
