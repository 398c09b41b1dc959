package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

func newOpShowCommand(s Streams) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "show OPERATION",
		Short: "Show an operation: its runs, or with --asset one run with its steps and evidence",
		Long: `With --asset: what was expected, what was seen, what the BMC said of it (power, boot progress, the event log's
tail), what earlier attempts ended with, and what to do.`,
		Example: `  cagenut op show op_01JT2Z0W9V6Q4M8K3N5P7R1S2T
  cagenut op show op_01JT2Z0W9V6Q4M8K3N5P7R1S2T --asset srv-101
  cagenut op show op_01JT2Z0W9V6Q4M8K3N5P7R1S2T -o json`,
		Args:              argCount(1, 1, "one operation's ID"),
		ValidArgsFunction: suggestOperations(),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			if name != "" {
				r, err := cl.Run(c.Context(), id, name)
				if err != nil {
					return err
				}
				return s.print(c, r, func(t *table) { runTable(t, r, time.Now()) })
			}
			d, err := cl.Operation(c.Context(), id)
			if err != nil {
				return err
			}
			return s.print(c, d, func(t *table) { detailTable(t, d, time.Now()) })
		},
	}
	c.Flags().StringVar(&name, "asset", "", "name, serial or NetBox ID of one machine")
	completeFlag(c, "asset", suggestAssets())
	return c
}

// runTable shows one run with everything that a person needs to decide: what was expected, what was
// seen, what the machine says, what was tried before, what to do, and which evidence there is.
func runTable(t *table, r operation.Run, now time.Time) {
	t.line("%s  serial %s  %s %s  profile %s  %s", r.Asset.Name, r.Asset.Serial, r.Asset.Site, r.Asset.Rack, r.Profile, r.State)
	t.row("STEP", "STATE", "TRY", "FOR", "WHAT")
	for _, s := range r.Steps {
		what := s.Summary
		switch {
		case s.Error != nil:
			what = s.Error.Message
		case what == "" && s.Progress != nil:
			what = s.Progress.Text
		case what == "":
			what = s.Title
		}
		t.row(s.Name, s.State, s.Attempt, span(s.Started, s.Ended, now), what)
	}
	t.flush()
	for _, s := range r.Steps {
		if s.Error != nil {
			troubleTable(t, r, s, now)
		}
	}
	if r.Error != nil && !slices.ContainsFunc(r.Steps, func(s operation.Step) bool { return s.Error != nil }) {
		t.line("")
		t.line("%s", r.Error.Message)
		t.line("what to do: %s", r.Error.Remedy)
	}
	for _, left := range r.Left {
		t.line("left: %s", left)
	}
	for _, s := range r.Steps {
		for _, w := range s.Writes {
			t.row("wrote", s.Name, w.System, w.Object, w.Field+":", w.Before+" -> "+w.After)
		}
	}
	t.flush()
	some := false
	for _, s := range r.Steps {
		for _, e := range s.Evidence {
			some = true
			t.row("evidence", s.Name, fmt.Sprintf("try %d", e.Attempt), e.Kind, e.Title, fmt.Sprintf("%d bytes", sizeOf(e)))
		}
	}
	if some {
		t.line("cagenut op evidence %s --asset %s  prints it", r.Operation, r.Asset.Name)
	}
}

// troubleTable shows why a step does not go on, and how a person can make it.
func troubleTable(t *table, r operation.Run, s operation.Step, now time.Time) {
	t.line("")
	t.line("%s: %s", s.Name, s.Error.Message)
	for _, d := range s.Error.Details {
		t.row("  "+d.Subject, "want "+orDash(d.Expected), "is "+orDash(d.Seen), d.Remedy)
	}
	t.flush()
	for i := len(s.Evidence) - 1; i >= 0; i-- { // the newest look at the machine
		if s.Evidence[i].Kind == "diagnosis" {
			diagnosisTable(t, s.Evidence[i])
			break
		}
	}
	for _, a := range s.Attempts {
		if a.Number == s.Attempt {
			continue
		}
		what := a.Summary
		if a.Error != nil {
			what = a.Error.Message
		}
		t.row(fmt.Sprintf("  try %d", a.Number), stamp(a.Started), span(a.Started, a.Ended, now), what)
	}
	t.flush()
	t.line("what to do: %s", s.Error.Remedy)
	if r.State != operation.Waiting || r.Step != s.Name {
		return
	}
	retry := fmt.Sprintf("cagenut op retry %s --asset %s", r.Operation, r.Asset.Name)
	if s.Error.Code == fault.PinChanged { // without it the next try parks as this one did
		retry += " --accept-pin FINGERPRINT"
	}
	t.row("  go on:", retry)
	if !s.Unskippable {
		t.row("  leave it out:", fmt.Sprintf("cagenut op skip %s --asset %s --step %s --reason ...", r.Operation, r.Asset.Name, s.Name))
	}
	t.row("  give up:", fmt.Sprintf("cagenut op abort %s --asset %s --reason ...", r.Operation, r.Asset.Name))
	t.flush()
}

// shownEvents is how many events of the BMC's log stand on the screen; all are in the evidence.
const shownEvents = 8

// diagnosis is what activities/site.go leaves when a step has parked.
type diagnosis struct {
	Power  string      `json:"power"`
	Boot   string      `json:"boot_progress"`
	Events []bmc.Event `json:"events"`
	Unread []string    `json:"unread"`
}

// diagnosisTable shows what the BMC told when the step parked.
func diagnosisTable(t *table, e operation.Evidence) {
	var d diagnosis
	if e.Blob != "" || json.Unmarshal(e.Data, &d) != nil {
		return // the list of evidence names it
	}
	t.line("  the BMC at %s: power %s, boot progress %s", stamp(e.At), orDash(d.Power), orDash(d.Boot))
	for i, ev := range d.Events { // the newest first
		if i == shownEvents {
			t.line("    ... and %d older", len(d.Events)-i)
			break
		}
		t.row("    "+orDash(ev.Time), orDash(ev.Severity), strings.TrimSpace(ev.Code+" "+ev.Message))
	}
	t.flush()
	if len(d.Events) == 0 {
		t.line("    its event log is empty, or could not be read")
	}
	for _, u := range d.Unread {
		t.line("    could not be read: %s", u)
	}
}

// sizeOf gives the bytes of evidence, also of what is kept apart.
func sizeOf(e operation.Evidence) int {
	var ref struct {
		Size int `json:"size"`
	}
	if e.Blob != "" && json.Unmarshal(e.Data, &ref) == nil {
		return ref.Size
	}
	return len(e.Data)
}
