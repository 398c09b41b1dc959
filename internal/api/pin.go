package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// parsePin brings the fingerprint of a certificate into the one form in which pins are kept and compared:
// SHA-256, upper case, with colons. Case, colons, spaces and the words that openssl prints before it do
// not matter.
func parsePin(text string) (string, *fault.Error) {
	digits := text[strings.LastIndex(text, "=")+1:]
	digits = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(digits)), "sha256:")
	raw, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(digits))
	if err != nil || len(raw) != sha256.Size {
		return "", invalid("accept_pin", text, "give the 64 hex digits that `openssl x509 -noout -fingerprint -sha256` prints of the BMC's new certificate")
	}
	parts := make([]string, len(raw))
	for i, b := range raw {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":"), nil
}

// pinWaits refuses a new pin for a run that does not wait because of one: it would be trusted for a
// machine whose certificate nobody has questioned, or cost a try for nothing.
func pinWaits(r operation.Run) *fault.Error {
	code := fault.Code("")
	if i := slices.IndexFunc(r.Steps, func(s operation.Step) bool { return s.Name == r.Step }); i >= 0 && r.Steps[i].Error != nil {
		code = r.Steps[i].Error.Code
	} else if r.Error != nil {
		code = r.Error.Code
	}
	if r.State == operation.Waiting && code == fault.PinChanged {
		return nil
	}
	why := string(r.State)
	if code != "" {
		why += " with " + string(code)
	}
	e := fault.New(fault.Conflict, "accept_pin: %s is %s; it does not wait with %s", r.Asset.Name, why, fault.PinChanged)
	e.Remedy = "retry without a new certificate; nothing was done"
	return e
}
