package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/operation"
)

func newOpCommand(s Streams) *cobra.Command {
	return group("op", "Operations: see and steer them",
		newOpListCommand(s), newOpShowCommand(s), newOpEvidenceCommand(s), newOpPlanCommand(s), newOpWatchCommand(s),
		newSteerCommand(s, operation.Pause, "Let runs stop after what they are doing now", ""),
		newSteerCommand(s, operation.Resume, "Let paused runs go on", ""),
		newSteerCommand(s, operation.Retry, "Do the parked step of runs again, from its beginning", ""),
		newSteerCommand(s, operation.Skip, "Leave the parked step of runs out; needs --reason", ` --step bios --reason "no such part"`),
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

func detailTable(t *table, d operation.Detail, now time.Time) {
	t.row("operation", d.ID)
	t.row("what", fmt.Sprintf("%s until %s, %s, %d at once", d.Kind, d.Until, count(d.Assets, "machine"), d.Window))
	t.row("state", fmt.Sprintf("%s (%s)", d.State, tallyOf(d)))
	t.row("by", fmt.Sprintf("%s: %s (%s)", d.Actor, d.Reason, d.Ticket))
	if d.Held && !d.State.Ended() {
		t.row("held", "paused as a whole: no queued machine is started until `cagenut op resume "+string(d.ID)+" --all`")
	}
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
