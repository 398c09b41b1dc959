package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/operation"
)

func newOpCommand(s Streams) *cobra.Command {
	return group("op", "Operations: see and steer them",
		newOpListCommand(s), newOpShowCommand(s), newOpPlanCommand(s), newOpWatchCommand(s),
		newSteerCommand(s, operation.Pause, "Let runs stop after what they are doing now", ""),
		newSteerCommand(s, operation.Resume, "Let paused runs go on", ""),
		newSteerCommand(s, operation.Retry, "Do the parked step of runs again, from its beginning", ""),
		newSteerCommand(s, operation.Skip, "Leave the parked step of runs out; needs --reason", ` --reason "no such part"`),
		newSteerCommand(s, operation.Abort, "End runs: bookkeeping is undone, what is left behind is said", ` --reason "wrong rack"`),
	)
}

func newOpListCommand(s Streams) *cobra.Command {
	var f operation.Filter
	var states []string
	c := &cobra.Command{
		Use:   "list",
		Short: "List operations, newest first",
		Example: `  cagenut op list
  cagenut op list --state waiting --site ams01
  cagenut op list --limit 500 -o json`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			for _, st := range states {
				f.States = append(f.States, operation.State(st))
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			got, err := cl.Operations(c.Context(), f)
			if err != nil {
				return err
			}
			return s.print(c, got, func(t *table) {
				t.row("OPERATION", "STATE", "WHAT", "MACHINES", "BY", "TICKET", "CREATED (UTC)", "REASON")
				for _, o := range got {
					t.row(o.ID, o.State, o.Kind+" "+o.Until, o.Assets, o.Actor, o.Ticket, stamp(o.Created), o.Reason)
				}
			})
		},
	}
	c.Flags().StringSliceVar(&states, "state", nil, "only these: queued, running, paused, waiting, waiting-for-site, done, aborted, failed")
	c.Flags().StringVar(&f.Site, "site", "", "only with machines of this site")
	c.Flags().StringVar(&f.Actor, "by", "", "only of this person")
	c.Flags().IntVar(&f.Limit, "limit", 50, "at most so many, 1 to 500")
	complete(c, "state", "queued", "running", "paused", "waiting", "waiting-for-site", "done", "aborted", "failed")
	return c
}

func newOpShowCommand(s Streams) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "show OPERATION",
		Short: "Show an operation: its runs, or with --asset one run with its steps and evidence",
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
			d, err := cl.Operation(c.Context(), id)
			if err != nil {
				return err
			}
			if name == "" {
				return s.print(c, d, func(t *table) { detailTable(t, d, time.Now()) })
			}
			i := slices.IndexFunc(d.Runs, func(r operation.Run) bool {
				return strings.EqualFold(r.Asset.Name, name) || strings.EqualFold(r.Asset.Serial, name) || r.Asset.ID.String() == name
			})
			if i < 0 {
				return usage("--asset %q: operation %s has no such machine", name, id)
			}
			return s.print(c, d.Runs[i], func(t *table) { runTable(t, d.Runs[i], time.Now()) })
		},
	}
	c.Flags().StringVar(&name, "asset", "", "name, serial or NetBox ID of one machine")
	completeFlag(c, "asset", suggestAssets())
	return c
}

func newOpPlanCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:               "plan OPERATION",
		Short:             "Show the frozen plan of an operation",
		Example:           "  cagenut op plan op_01JT2Z0W9V6Q4M8K3N5P7R1S2T\n  cagenut op plan op_01JT2Z0W9V6Q4M8K3N5P7R1S2T -o json",
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
			d, err := cl.Operation(c.Context(), id)
			if err != nil {
				return err
			}
			p, err := cl.Plan(c.Context(), id)
			if err != nil {
				return err
			}
			if err := p.Verify(); err != nil {
				return err
			}
			return s.print(c, p, func(t *table) { planTable(t, p, d.Window) })
		},
	}
}

func newOpWatchCommand(s Streams) *cobra.Command {
	f := followFlags{watch: true}
	c := &cobra.Command{
		Use:   "watch OPERATION",
		Short: "Show an operation's progress until nothing more happens without a person",
		Long: `On a terminal a table is redrawn; in a pipe there is one line a change, from the operation's beginning;
with -o json one JSON object a line. Ctrl-C ends the watching, not the operation.`,
		Example: `  cagenut op watch op_01JT2Z0W9V6Q4M8K3N5P7R1S2T
  cagenut op watch op_01JT2Z0W9V6Q4M8K3N5P7R1S2T -o json | jq .text`,
		Args:              argCount(1, 1, "one operation's ID"),
		ValidArgsFunction: suggestOperations(operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			return f.run(s, c, cl, id)
		},
	}
	c.Flags().DurationVar(&f.patience, "patience", time.Minute, "how long the control plane may be away")
	return c
}

// newSteerCommand makes the verb of one operator's action.
func newSteerCommand(s Streams, action operation.Action, short, flags string) *cobra.Command {
	ask := wire.Command{Action: action}
	const example = "op_01JT2Z0W9V6Q4M8K3N5P7R1S2T"
	c := &cobra.Command{
		Use:   string(action) + " OPERATION (--asset NAME... | --all)",
		Short: short,
		Long:  short + ".\nSays to how many machines it applied, and why not to the others.",
		Example: fmt.Sprintf("  cagenut op %s %s --asset srv-101%s\n  cagenut op %s %s --all%s",
			action, example, flags, action, example, flags),
		Args:              argCount(1, 1, "one operation's ID"),
		ValidArgsFunction: suggestOperations(operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			if ask.All == (len(ask.Assets) > 0) {
				return usage("name machines with --asset, or use --all: empty is not all")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			ask.ID = newKey()
			got, err := cl.Command(c.Context(), id, ask)
			if err != nil {
				return err
			}
			if err := s.print(c, got, func(t *table) { commandedTable(t, got) }); err != nil {
				return err
			}
			if got.Applied == 0 {
				return &ExitError{Code: ExitRefused, Err: fmt.Errorf("%s applied to no machine", action)}
			}
			return nil
		},
	}
	fl := c.Flags()
	fl.StringSliceVar(&ask.Assets, "asset", nil, "name, serial or NetBox ID; repeatable")
	fl.BoolVar(&ask.All, "all", false, "every machine of the operation")
	fl.StringVar(&ask.Reason, "reason", "", "why; goes into the audit trail")
	fl.StringVar(&ask.Step, "step", "", "only while this step is the current one")
	if action == operation.Retry {
		fl.StringVar(&ask.AcceptPin, "accept-pin", "", "fingerprint of the BMC certificate that may replace the pinned one; one machine only")
	}
	completeFlag(c, "asset", suggestAssets())
	return c
}

func commandedTable(t *table, got wire.Commanded) {
	t.line("%s applied to %d of %s", got.Action, got.Applied, count(got.Of, "machine"))
	for _, r := range got.Runs {
		if r.Error != nil {
			t.row("  "+r.Asset.Name, r.State, r.Error.Message, r.Error.Remedy)
		}
	}
}

func detailTable(t *table, d operation.Detail, now time.Time) {
	t.row("operation", d.ID)
	t.row("what", fmt.Sprintf("%s until %s, %s, %d at once", d.Kind, d.Until, count(d.Assets, "machine"), d.Window))
	t.row("state", fmt.Sprintf("%s (%s)", d.State, tallyOf(d)))
	t.row("by", fmt.Sprintf("%s: %s (%s)", d.Actor, d.Reason, d.Ticket))
	t.row("plan", d.Hash)
	t.row("times (UTC)", fmt.Sprintf("created %s, started %s, ended %s", stamp(d.Created), stamp(d.Started), stamp(d.Ended)))
	if d.Error != nil {
		t.row("trouble", d.Error.Message)
		t.row("what to do", d.Error.Remedy)
	}
	t.line("")
	t.row("MACHINE", "STATE", "STEP", "FOR", "WHAT")
	for _, r := range d.Runs {
		n, step := current(r)
		t.row(r.Asset.Name, r.State, n, span(r.Started, r.Ended, now), says(r, step))
	}
}

// runTable shows one run with everything that a person needs to decide: what was expected, what was
// seen, what to do, and which evidence there is.
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
		if s.Error == nil {
			continue
		}
		t.line("")
		t.line("%s: %s", s.Name, s.Error.Message)
		for _, d := range s.Error.Details {
			t.row("  "+d.Subject, "want "+orDash(d.Expected), "is "+orDash(d.Seen), d.Remedy)
		}
		t.line("what to do: %s", s.Error.Remedy)
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
	for _, s := range r.Steps {
		for _, e := range s.Evidence {
			t.row("evidence", s.Name, e.Kind, e.Title, fmt.Sprintf("%d bytes", len(e.Data)))
		}
	}
	t.flush()
}
