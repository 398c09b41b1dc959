package api

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/inventory"
)

// translate gives any error its fault: of the ports that the API asks itself, only the inventory's have
// errors of their own.
func translate(err error) *fault.Error { return inventory.Fault(err) }

// invalid is Invalid for a field: it names the field, the value and what to do.
func invalid(field string, value any, remedy string) *fault.Error {
	e := fault.New(fault.Invalid, "%s: %s: %s", field, echo(value), remedy)
	e.Remedy = remedy
	return e
}

// mostEchoed bounds what is said back of a wrong value: it is there to be recognised.
const mostEchoed = 80

// echo writes a value that was sent, as the sender knows it.
func echo(value any) string {
	var text string
	switch v := value.(type) {
	case string:
		text = strconv.Quote(v)
	case []string:
		if text = "empty"; len(v) > 0 {
			text = fmt.Sprintf("%q", v)
		}
	default:
		text = fmt.Sprint(v)
	}
	if runes := []rune(text); len(runes) > mostEchoed {
		text = string(runes[:mostEchoed-1]) + "…"
	}
	return text
}

// oneLine refuses text that would not stay one line in a log or on a screen: a newline or an escape
// in a name or a reason forges lines of the audit trail for whoever reads it.
func oneLine(field, text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	}) {
		return invalid(field, text, "write one line, without control characters")
	}
	return nil
}
