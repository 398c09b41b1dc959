package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

func TestANewPinIsAFingerprintForARunThatWaitsWithOne(t *testing.T) {
	hex := strings.Repeat("ab", 32)
	pin := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	changed := fault.New(fault.PinChanged, "the certificate is another one")
	for name, tc := range map[string]struct {
		pin  string
		with *fault.Error
		want fault.Code // "": taken
	}{
		"as openssl prints it":     {"sha256 Fingerprint=" + pin, changed, ""},
		"with its algorithm":       {"SHA256:" + hex, changed, ""},
		"digits":                   {hex, changed, ""},
		"too short":                {"AA", changed, fault.Invalid},
		"no digits":                {strings.Repeat("xy", 32), changed, fault.Invalid},
		"a SHA-1":                  {strings.Repeat("ab", 20), changed, fault.Invalid},
		"waits for something else": {hex, noAnswer, fault.Conflict},
		"runs":                     {hex, nil, fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			a := apitest.Start(t, 1)
			op := a.As(t, operation.Operator)
			id := accept(t, op, names("srv-01"))
			if tc.with != nil {
				a.Store.Move(id, "srv-01", operation.Waiting, "identity", operation.StepParked, tc.with)
			} else {
				a.Store.Move(id, "srv-01", operation.Running, "identity", operation.StepRunning, nil)
			}
			_, err := op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Retry, Assets: []string{"srv-01"}, AcceptPin: tc.pin})
			var want []string
			if tc.want == "" {
				want = []string{pin}
			}
			if tc.want == "" && err != nil || tc.want != "" && code(err) != tc.want {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if diff := cmp.Diff(want, a.Runs.Pins()); diff != "" {
				t.Errorf("pins that runs were told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextOfPeopleIsOneLine(t *testing.T) {
	a := apitest.Start(t, 1)
	admin := a.As(t, operation.Admin)
	id := accept(t, admin, names("srv-01"))
	for _, bad := range []string{"one\ntwo", "red \x1b[31m", "nul\x00", "\u202egnorw"} {
		if _, err := admin.CreateToken(t.Context(), wire.NewToken{Person: "eve" + bad, Role: operation.Viewer}); code(err) != fault.Invalid {
			t.Errorf("person %q: %v", bad, err)
		}
		ask := names("srv-01")
		ask.Ticket += bad
		if _, err := admin.Install(t.Context(), ask, "another-key"); code(err) != fault.Invalid {
			t.Errorf("ticket %q: %v", bad, err)
		}
		if _, err := admin.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Pause, All: true, Reason: bad}); code(err) != fault.Invalid {
			t.Errorf("reason %q: %v", bad, err)
		}
		if _, err := admin.RevealPassword(t.Context(), "srv-01", wire.Reveal{Reason: bad}); code(err) != fault.Invalid {
			t.Errorf("reason of a reveal %q: %v", bad, err)
		}
	}
	_, err := admin.CreateToken(t.Context(), wire.NewToken{Person: "worker", Role: operation.Worker})
	if err == nil || !strings.Contains(err.Error(), "sites: empty: ") {
		t.Errorf("a worker of no site: %v", err)
	}
	_, err = admin.CreateToken(t.Context(), wire.NewToken{Person: strings.Repeat("é", 5000), Role: operation.Viewer})
	if err == nil || len(err.Error()) > 400 {
		t.Errorf("a long name is said back whole: %d bytes", len(err.Error()))
	}
}
