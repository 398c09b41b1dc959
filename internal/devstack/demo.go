package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/cli"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

func newDemo(s cli.Streams, e Engine) *cobra.Command {
	f := flags{o: Options{Engine: e}}
	var hold bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Install a rack of 12 simulated servers before your eyes",
		Long: `Starts everything on this machine, installs rack r12 of the box, from planned to active, with live progress, and ends
with a table. Killed in the middle and started again, it goes on where it was; run once more, it finds everything
already so. --hold leaves everything running.`,
		Example: `  cagenut-dev demo
  cagenut-dev demo --hold`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			stack, done, err := f.open(true)
			if err != nil {
				return err
			}
			return errors.Join(stack.demo(c.Context(), s, hold), stack.withdraw(), done())
		},
	}
	c.Flags().BoolVar(&hold, "hold", false, "leave everything running afterwards")
	f.add(c)
	return c
}

// demo runs everything and, beside it, what an engineer would type.
func (s *Stack) demo(ctx context.Context, out cli.Streams, hold bool) error {
	fmt.Fprintf(out.Err, "starting PostgreSQL, Temporal and a data center in a box in %s\n", s.dir)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	began := time.Now()
	go func() { ended <- s.Up(ctx, func() { close(ready) }) }()
	select {
	case err := <-ended:
		return err
	case <-ready:
	}
	took := time.Since(began).Seconds()
	s.announce(ctx, out.Err)
	err := s.sayReady(ctx, out, took)
	if err == nil {
		err = s.installRack(ctx, out)
	}
	if err == nil && hold {
		s.welcome(out)
		return <-ended
	}
	stop()
	return errors.Join(err, <-ended)
}

// sayReady says what there is, with the states that an earlier demo may have left.
func (s *Stack) sayReady(ctx context.Context, out cli.Streams, seconds float64) error {
	_, devices, err := s.devices(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // somebody ended the demo, which is no failure
		}
		return err
	}
	fmt.Fprintf(out.Err, "ready after %.1f s: rack %s of site %s has %d servers in NetBox: %s\n", seconds,
		s.rack.Name, s.rack.Site.Slug, len(devices), byStatus(devices))
	return nil
}

// byStatus counts devices, e.g. "8 planned, 4 staged".
func byStatus(devices []inventory.Device) string {
	counts := map[string]int{}
	for _, d := range devices {
		counts[string(d.Status)]++
	}
	var out []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%d %s", counts[status], status))
	}
	return strings.Join(out, ", ")
}

// installRack goes on with the operation that an ended demo left, or begins one.
func (s *Stack) installRack(ctx context.Context, out cli.Streams) error {
	list, err := s.operations(ctx)
	if err != nil {
		return err
	}
	open, err := s.openOperation(list)
	if err != nil {
		return err
	}
	args := s.asAdmin("op", "watch", open)
	if open == "" {
		if err := s.Replan(ctx); err != nil {
			return err
		}
		args = s.asAdmin("install", "--rack", s.rack.Name, "--site", s.rack.Site.Slug,
			"--reason", s.demoReason(), "--ticket", "DEMO-1", "--watch")
		fmt.Fprintf(out.Err, "$ cagenut %s\n", quoted(args[:len(args)-4]))
	} else {
		fmt.Fprintf(out.Err, "going on with %s\n", open)
	}
	last := &stopped{ctx: ctx, next: out.Err, operation: open}
	code := cli.Main(ctx, cli.Streams{In: out.In, Out: out.Out, Err: last}, args)
	if ctx.Err() != nil {
		fmt.Fprintln(out.Err, last)
		return nil //nolint:nilerr // somebody ended the demo, which is no failure
	}
	if err := s.summary(ctx, out); err != nil {
		return err
	}
	if code != cli.ExitOK {
		return &cli.ExitError{Code: code, Err: fmt.Errorf("the rack was not installed; `cagenut op list` and %s tell more", s.logFile())}
	}
	return nil
}

// summary prints a table of the newest operation's machines, times and outcomes.
func (s *Stack) summary(ctx context.Context, out cli.Streams) error {
	list, err := s.operations(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	var d operation.Detail
	if err := s.ask(ctx, &d, "op", "show", list[0].ID, "-o", "json"); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nMACHINE\tTYPE\tOUTCOME\tTIME\tCHANGED")
	for _, r := range d.Runs {
		changed := 0
		for _, step := range r.Steps {
			changed += len(step.Writes)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.Profile, "server-"), "@")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d values\n", r.Asset.Name, kind, r.State, lasted(r.Started, r.Ended), changed)
	}
	fmt.Fprintf(w, "%s\t\t%s\t%s\t\n", d.ID, d.State, lasted(d.Created, d.Ended))
	return w.Flush()
}

// lasted writes how long something took. What waits for a person has no end, and what is queued no
// beginning.
func lasted(began, ended time.Time) string {
	switch {
	case began.IsZero():
		return "not begun"
	case ended.IsZero():
		return "not ended"
	}
	return fmt.Sprintf("%.1f s", ended.Sub(began).Seconds())
}

// stopped passes on what a command says until ctx ends. What it says then is that the operation goes
// on, which is not so when everything stops with it; its String tells what is so.
type stopped struct {
	ctx       context.Context //nolint:containedctx // of the one call that writes
	next      io.Writer
	operation string
}

var operationID = regexp.MustCompile(`op_[0-9A-Za-z]+`)

func (s *stopped) Write(p []byte) (int, error) {
	if id := operationID.Find(p); id != nil {
		s.operation = string(id)
	}
	if s.ctx.Err() != nil {
		return len(p), nil //nolint:nilerr // what is said after the stop is a half truth
	}
	return s.next.Write(p)
}

func (s *stopped) String() string {
	if s.operation == "" {
		return "stopped"
	}
	return "stopped; start it again: it goes on with " + s.operation
}

type listed struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

func (s *Stack) operations(ctx context.Context) (list []listed, err error) {
	err = s.ask(ctx, &list, "op", "list", "-o", "json")
	return list, err
}

// demoReason is how a demo knows its own operations again.
func (s *Stack) demoReason() string { return "demo: install rack " + s.rack.Name }

// openOperation gives the demo's newest operation that has not ended; empty when there is none. One of
// somebody else is an error: a demo that began its own would plan machines anew under it.
func (s *Stack) openOperation(list []listed) (string, error) {
	other := ""
	for _, o := range list {
		switch {
		case o.State == "done" || o.State == "aborted" || o.State == "failed":
		case o.Reason == s.demoReason():
			return o.ID, nil
		case other == "":
			other = o.ID
		}
	}
	if other != "" {
		return "", fmt.Errorf("operation %s is open in this stack and is not the demo's: end it first, with `cagenut-dev up --dir %s` and `cagenut op abort %s`", other, s.dir, other)
	}
	return "", nil
}

// quoted writes arguments as one types them.
func quoted(args []string) string {
	out := ""
	for i, a := range args {
		if i > 0 {
			out += " "
		}
		for _, r := range a {
			if r == ' ' || r == ':' {
				a = fmt.Sprintf("%q", a)
				break
			}
		}
		out += a
	}
	return out
}
