//go:build e2e

package kills

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// What an operation says that it wrote, and what the box's journal says that was written, are put into
// the same words here: one line for each value, such as "BIOS SrIov=true". Power cycles are no values
// and in neither.

// fields are the BMC's settings, by the first word of the journal's detail.
var fields = map[string]string{
	"hostname": "hostname", "ntp": "ntp_servers", "ntp-enabled": "ntp_enabled", "dns": "dns_servers",
	"syslog": "syslog", "destination": "syslog", "clock": "clock",
}

// happened tells from the journal, and from what Salt did, what was really written to a machine.
func happened(journal []sim.Entry, salt []string) []string {
	var out []string
	for _, what := range salt {
		if what != "test run" {
			out = append(out, "salt "+what)
		}
	}
	for _, e := range journal {
		switch e.Effect {
		case sim.EffectPasswordChanged:
			out = append(out, "password of "+e.Detail)
		case sim.EffectErase:
			out = append(out, "disk erased")
		case sim.EffectWrite:
			out = append(out, "disk written")
		case sim.EffectFlash:
			out = append(out, "firmware "+e.Detail) // component=version
		case sim.EffectBIOSApplied:
			last := -1 // values may have spaces in them
			for _, word := range strings.Fields(e.Detail) {
				if strings.Contains(word, "=") {
					out = append(out, "BIOS "+word)
					last = len(out) - 1
				} else if last >= 0 {
					out[last] += " " + word
				}
			}
		case sim.EffectSettings:
			word, _, _ := strings.Cut(e.Detail, "=")
			if field := fields[word]; field != "" {
				out = append(out, "setting "+field)
			}
		}
	}
	return tidy(out)
}

// recorded tells the same from what `op show` says of the machine's run.
func recorded(run operation.Run, flavour string) []string {
	about, _ := sim.Describe(flavour)
	var out []string
	for _, step := range run.Steps {
		for _, w := range step.Writes {
			switch {
			case w.System == "host" && w.Object == "root disk" && strings.HasPrefix(w.After, "erased: "):
				out = append(out, "disk erased")
			case w.System == "host" && w.Object == "root disk":
				out = append(out, "disk written")
			case w.System == "salt" && w.Field == "key":
				word, _, _ := strings.Cut(w.After, ":") // accepted, or forgotten
				out = append(out, "salt "+map[string]string{"accepted": "accept", "forgotten": "delete"}[word])
			case w.System == "salt":
				out = append(out, "salt real run")
			case w.System != "bmc":
			case w.Field == "password":
				out = append(out, "password of "+strings.TrimPrefix(w.Object, "account "))
			case w.Object == "firmware":
				component := w.Field // as the BMC calls it, by its ID or its name
				for _, c := range about.Components {
					if w.Field == c.ID || w.Field == c.Name {
						component = c.Image
					}
				}
				out = append(out, "firmware "+component+"="+w.After)
			case w.Object == "BIOS":
				out = append(out, "BIOS "+w.Field+"="+w.After)
			case w.Object == "manager":
				out = append(out, "setting "+w.Field)
			}
		}
	}
	return tidy(out)
}

// tidy sorts. Several requests may make one setting, so a line that comes again counts once: what is
// done twice is found by effects.
func tidy(lines []string) []string {
	slices.Sort(lines)
	return slices.Compact(lines)
}

// told holds what the operation says that it wrote to a machine against what happened to it, and what
// it says of NetBox against NetBox's changelog. It gives what the table says.
func told(t *testing.T, s *stack.Stack, run operation.Run, flavour, what string, rows []stack.Row) string {
	t.Helper()
	said := "all told"
	did, tells := happened(s.Journal(run.Asset.Name), s.Salt(run.Asset.Name)), recorded(run, flavour)
	// A clock that is to be set may be right before that: the time servers that the operation gave have
	// set it. Then it was written after all, only not by a request.
	const clock = "setting clock"
	if slices.Contains(did, "setting ntp_servers") && !slices.Contains(did, clock) {
		tells = slices.DeleteFunc(tells, func(line string) bool { return line == clock })
	}
	if diff := cmp.Diff(did, tells); diff != "" {
		said = "NOT AS DONE"
		t.Errorf("%s (%s), %s: writes (-happened +told by op show):\n%s", run.Asset.Name, flavour, what, diff)
	}
	statuses := 0
	for _, step := range run.Steps {
		for _, w := range step.Writes {
			if w.System == "netbox" && w.Field == "status" {
				statuses++
			}
		}
	}
	if statuses != 2 || len(rows) != 3 { // staged, its primary address, active
		said = "NOT AS DONE"
		t.Errorf("%s (%s), %s: op show tells of %d changes of the status, NetBox's changelog has %d rows; want two and three", run.Asset.Name, flavour, what, statuses, len(rows))
	}
	return said
}
