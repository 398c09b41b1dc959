package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// stages are those of an install, for completion; the server judges what is asked for. Without one it is
// the last.
var stages = []string{"hardware", "addresses", "os", plan.UntilActive}

type installFlags struct {
	rack, site, file, until, reason, ticket, key, hash string
	window                                             int
	dryRun                                             bool
	follow                                             followFlags
}

func newInstallCommand(s Streams) *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install [NAME...]",
		Short: "Take planned machines through an install",
		Long: `Plans an install for machines that are planned or staged in NetBox, and starts it. It ends when they are active: their
disks erased, the operating system installed, configured and checked. With --until hardware it ends when the hardware is
proved and the machines are staged, with --until addresses when they also have their primary addresses and DNS names in
NetBox, with --until os when their operating system has booted. A stage whose steps the server's version cannot carry out
yet is refused.

Machines are given by name (or as id:101 or serial:7CX1234), by --rack or by --file, never all by omission. When anything stands against
any of them, all of it is listed and nothing is started. An active machine is never touched.`,
		Example: `  cagenut install srv-101 srv-102 --reason "rack r12" --ticket DC-42 --watch
  cagenut install srv-101 srv-102 --until hardware --reason "rack r12" --ticket DC-42
  cagenut install --rack r12 --site ams01 --until hardware --dry-run
  cagenut install --file targets.txt --until hardware --reason "new row" --ticket DC-43 --watch
  netbox-query | cagenut install --file - --until hardware --reason "new row" --ticket DC-43 --wait`,
		Args: argCount(0, -1, "names of machines"),
		RunE: func(c *cobra.Command, args []string) error { return f.run(s, c, args) },
	}
	fl := c.Flags()
	fl.StringVar(&f.rack, "rack", "", "the planned and staged devices of this rack")
	fl.StringVar(&f.site, "site", "", "slug of the site, where names or racks are not unique")
	fl.StringVar(&f.file, "file", "", "file with one name (or id:101, serial:7CX1234) a line, # begins a comment; - for standard input")
	fl.StringVar(&f.until, "until", "", "last stage: hardware, addresses, os or active (default: active)")
	fl.StringVar(&f.reason, "reason", "", "why; goes into the audit trail and NetBox's changelog")
	fl.StringVar(&f.ticket, "ticket", "", "the ticket that this belongs to")
	fl.IntVar(&f.window, "window", 0, "machines at once, 1 to 500 (default: the site's own)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "only print the plan: steps, every allowed write, hash")
	fl.StringVar(&f.hash, "plan-hash", "", "start only if the plan still has this hash (from --dry-run)")
	fl.StringVar(&f.key, "idempotency-key", "", "start at most once for this key; repeat a request whose answer was lost with it")
	f.follow.add(c)
	complete(c, "until", stages...)
	c.ValidArgsFunction = suggestAssets()
	return c
}

func (f *installFlags) run(s Streams, c *cobra.Command, args []string) error {
	ask, err := f.question(s.In, args)
	if err != nil {
		return err
	}
	if err := f.follow.check(f.dryRun); err != nil {
		return err
	}
	cl, err := connect(c)
	if err != nil {
		return err
	}
	if f.key == "" {
		f.key = newKey()
	}
	got, err := cl.Install(c.Context(), ask, f.key)
	if err != nil {
		if e := fault.From(err); wire.Exit(e.Code) == ExitAway && !f.dryRun {
			e.Remedy += "; then ask again with --idempotency-key " + f.key + ": it starts at most once"
		}
		return err
	}
	if n := len(got.LeftOut); n > 0 {
		names := make([]string, n)
		for i, d := range got.LeftOut {
			names[i] = d.Subject + " (" + d.Seen + ")"
		}
		fmt.Fprintf(s.Err, "left out of rack %s: %s\n", f.rack, strings.Join(names, ", "))
	}
	if f.dryRun {
		return s.print(c, got, func(t *table) { planTable(t, got.Plan, got.Window) })
	}
	if !f.follow.on() {
		return s.print(c, got, func(t *table) {
			word := "accepted"
			if !got.Created {
				word = "accepted before, with this key"
			}
			t.line("%s  %s: %s, plan %s", got.ID, word, count(len(got.Plan.Targets), "machine"), got.Plan.Hash[:12])
			t.line("cagenut op watch %s  shows it live", got.ID)
		})
	}
	fmt.Fprintf(s.Err, "%s accepted: %s, plan %s\n", got.ID, count(len(got.Plan.Targets), "machine"), got.Plan.Hash[:12])
	return f.follow.run(s, c, cl, got.ID)
}

// question makes the request from flags and arguments. Whatever is missing is said at once.
func (f *installFlags) question(in io.Reader, args []string) (wire.Install, error) {
	ask := wire.Install{Targets: wire.Targets{Names: args, Rack: f.rack, Site: f.site}, Until: f.until, Reason: f.reason, Ticket: f.ticket,
		Window: f.window, DryRun: f.dryRun, PlanHash: f.hash}
	if f.file != "" {
		names, err := readTargets(f.file, in)
		if err != nil {
			return ask, err
		}
		ask.Names = append(slices.Clone(args), names...)
	}
	var wrong []string
	switch {
	case len(ask.Names) == 0 && f.rack == "":
		wrong = append(wrong, "name machines, or use --rack or --file: empty is not all")
	case len(ask.Names) > 0 && f.rack != "":
		wrong = append(wrong, "use names or --rack, not both")
	}
	if !f.dryRun {
		if strings.TrimSpace(f.reason) == "" {
			wrong = append(wrong, "--reason is needed: it goes into the audit trail and NetBox's changelog")
		}
		if strings.TrimSpace(f.ticket) == "" {
			wrong = append(wrong, "--ticket is needed: the ticket that this belongs to, e.g. DC-42")
		}
	}
	if len(wrong) > 0 {
		return ask, usage("%s", strings.Join(wrong, "\n         "))
	}
	return ask, nil
}

// maxTargetsFile is more than 5,000 names can fill.
const maxTargetsFile = 4 << 20

// readTargets reads one name a line. # begins a comment; a line with two words is a mistake, not two
// machines.
func readTargets(file string, in io.Reader) ([]string, error) {
	r := in
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, usage("--file: %v", err)
		}
		defer opened.Close()
		r = opened
	}
	var names []string
	lines := bufio.NewScanner(io.LimitReader(r, maxTargetsFile))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		switch len(words) {
		case 0:
		case 1:
			names = append(names, words[0])
		default:
			return nil, usage("--file %s, line %d: %q: write one name a line", file, n, strings.TrimSpace(text))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, usage("--file %s: %v", file, err)
	}
	if len(names) == 0 {
		return nil, usage("--file %s names no machine: empty is not all", file)
	}
	return names, nil
}

// planTable prints a plan as a person approves it: each machine with its steps and every write.
// Machines with the same steps but for their names are still listed one by one: that is what is
// approved.
func planTable(t *table, p plan.Plan, window int) {
	t.line("%s until %s: %s, %d at once", p.Kind, p.Until, count(len(p.Targets), "machine"), window)
	t.line("capacity: %s", p.Capacity)
	t.line("hash: %s", p.Hash)
	for _, target := range p.Targets {
		t.line("")
		t.line("%s  serial %s  %s %s  profile %s  BMC %s %s as %s", target.Asset.Name, target.Asset.Serial, target.Asset.Site,
			target.Asset.Rack, target.Profile, target.BMC.Protocol, target.BMC.Address, target.BMC.Account)
		for i, step := range target.Steps {
			if step.NotApplicable != "" {
				t.row(fmt.Sprintf("  %d", i+1), step.Name, "not applicable: "+step.NotApplicable)
				continue
			}
			t.row(fmt.Sprintf("  %d", i+1), step.Name, step.Title, traits(step), "at most "+step.Deadline().Round(time.Second).String())
		}
		t.flush()
		writes := 0
		for _, step := range target.Steps {
			for _, w := range step.Writes {
				if writes == 0 {
					t.line("  may write:")
				}
				writes++
				t.row("    "+step.Name, w.System, w.Object, w.Field+":", w.Before+" -> "+w.After)
			}
		}
		if writes == 0 {
			t.line("  may write: nothing")
		}
	}
}

func traits(s plan.Step) string {
	out := []string{string(s.Undo)}
	if s.Destructive {
		out = append(out, "DESTRUCTIVE")
	}
	if s.Unskippable {
		out = append(out, "unskippable")
	}
	return strings.Join(out, ", ")
}
