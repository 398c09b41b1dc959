package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/operation"
)

// newSteerCommand makes the verb of one operator's action.
func newSteerCommand(s Streams, action operation.Action, short, flags string) *cobra.Command {
	ask := wire.Command{Action: action}
	var f followFlags
	const example = "op_01JT2Z0W9V6Q4M8K3N5P7R1S2T"
	long := short + ".\nSays to how many machines it applied, and why not to the others."
	if action == operation.Skip {
		long += `

What is skipped is the step that you name with --step, never one that waits by the time the command comes. For
exactly one machine it may be left out: its parked step is read first, and said.`
	}
	c := &cobra.Command{
		Use:   string(action) + " OPERATION (--asset NAME... | --all)",
		Short: short,
		Long:  long,
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
			one := len(ask.Assets) == 1
			if action == operation.Skip && ask.Step == "" && !one {
				return usage("--step is needed for more than one machine: name the step that you mean to leave out")
			}
			cl, err := connect(c)
			if err != nil {
				return err
			}
			if one && ask.Step == "" && (action == operation.Skip || action == operation.Retry) {
				if ask.Step, err = parkedStep(s, c, cl, id, ask); err != nil {
					return err
				}
			}
			ask.ID = newKey()
			got, err := cl.Command(c.Context(), id, ask)
			if err != nil {
				return err
			}
			if f.on() {
				t := newTable(s.Err) // the answer is the operation's end
				commandedTable(t, got)
				t.flush()
			} else if err := s.print(c, got, func(t *table) { commandedTable(t, got) }); err != nil {
				return err
			}
			if got.Applied == 0 {
				return &ExitError{Code: ExitRefused, Err: fmt.Errorf("%s applied to no machine", action)}
			}
			if f.on() {
				return f.run(s, c, cl, id)
			}
			return nil
		},
	}
	fl := c.Flags()
	fl.StringSliceVar(&ask.Assets, "asset", nil, "name, serial or NetBox ID (id:, name: or serial: in front says which); repeatable")
	fl.BoolVar(&ask.All, "all", false, "every machine of the operation")
	fl.StringVar(&ask.Reason, "reason", "", "why; goes into the audit trail")
	fl.StringVar(&ask.Step, "step", "", "only while this step is the current one")
	switch action {
	case operation.Retry:
		fl.StringVar(&ask.AcceptPin, "accept-pin", "", "fingerprint of the BMC certificate that may replace the pinned one; one machine only")
		f.add(c)
	case operation.Skip, operation.Resume:
		f.add(c)
	}
	completeFlag(c, "asset", suggestAssets())
	completeFlag(c, "step", suggestParkedSteps())
	return c
}

// parkedStep reads at which step a machine stands, and says it: that step, and no later one, is what
// the command is for.
func parkedStep(s Streams, c *cobra.Command, cl *client.Client, id operation.ID, ask wire.Command) (string, error) {
	r, err := cl.Run(c.Context(), id, ask.Assets[0])
	if err != nil {
		return "", err
	}
	if r.Step != "" && !r.State.Ended() {
		fmt.Fprintf(s.Err, "%s: step %s of %s\n", ask.Action, clean(r.Step), clean(r.Asset.Name))
	}
	return r.Step, nil
}

// suggestParkedSteps completes the steps at which machines of the operation wait.
func suggestParkedSteps() cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		return suggestions(func(ctx context.Context, cl *client.Client) ([]string, error) {
			if len(args) == 0 {
				return nil, nil
			}
			d, err := cl.Operation(ctx, operation.ID(args[0]))
			if err != nil {
				return nil, err
			}
			waiting := map[string]int{}
			var out []string
			for _, r := range d.Runs {
				if r.State == operation.Waiting {
					if waiting[r.Step]++; waiting[r.Step] == 1 {
						out = append(out, r.Step)
					}
				}
			}
			for i, step := range out {
				out[i] = fmt.Sprintf("%s\t%s", step, count(waiting[step], "machine")+" parked")
			}
			return out, nil
		})(c, args, typed)
	}
}

func commandedTable(t *table, got wire.Commanded) {
	t.line("%s applied to %d of %s", got.Action, got.Applied, count(got.Of, "machine"))
	for _, r := range got.Runs {
		if r.Error != nil {
			t.row("  "+r.Asset.Name, r.State, r.Error.Message, r.Error.Remedy)
		}
	}
}
