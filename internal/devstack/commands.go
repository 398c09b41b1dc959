package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/cli"
)

// Commands are the verbs that cagenut-dev has beside those of cagenut.
func Commands(s cli.Streams, e Engine) []*cobra.Command {
	return []*cobra.Command{newUp(s, e), newDemo(s, e), newPart(s, e), newInit(s)}
}

// flags are how a stack is made. They count when the folder is new; a restart keeps what it began
// with.
type flags struct{ o Options }

func (f *flags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.o.Dir, "dir", "", "folder that keeps everything (default: /var/lib/cagenut-dev for root, else in your home)")
	fl.Float64Var(&f.o.Speed, "speed", 0, "how much faster than real machines the box's are (default 20)")
	fl.Float64Var(&f.o.Latency, "latency", 0, "how slow the box's BMCs answer: 1 as real ones, 0 at once")
	fl.IntVar(&f.o.Faster, "hurry", 0, "divide every wait for broken things by this (default 10)")
	fl.StringVar(&f.o.TemporalStore, "temporal-store", "", "where Temporal keeps its own: sqlite, or postgres as in production (default sqlite)")
}

// open opens the stack; log is where the programs' logs go, in the stack's folder.
func (f *flags) open(toFile bool) (*Stack, func() error, error) {
	if f.o.Dir == "" {
		dir, err := DefaultDir()
		if err != nil {
			return nil, nil, err
		}
		f.o.Dir = dir
	}
	done := func() error { return nil }
	out := os.Stderr
	if toFile {
		if err := os.MkdirAll(f.o.Dir, 0o755); err != nil {
			return nil, nil, fmt.Errorf("make the stack's folder: %w", err)
		}
		file, err := os.OpenFile(f.o.Dir+"/cagenut-dev.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, err
		}
		out, done = file, file.Close
	}
	f.o.Log, f.o.Said = slog.New(slog.NewJSONHandler(out, nil)), out
	s, err := Open(f.o)
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return s, done, nil
}

func newUp(s cli.Streams, e Engine) *cobra.Command {
	f := flags{o: Options{Engine: e}}
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine until Ctrl-C",
		Example: `  cagenut-dev up
  cagenut-dev up --dir ./stack --latency 1`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			stack, done, err := f.open(true)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Err, "starting; what everything logs is in %s\n", stack.logFile())
			err = stack.Up(c.Context(), func() {
				stack.announce(c.Context(), s.Err)
				stack.welcome(s)
			})
			return errors.Join(err, stack.withdraw(), done())
		},
	}
	f.add(c)
	return c
}

func (s *Stack) welcome(out cli.Streams) {
	url, token := s.NetBox()
	found, command := "cagenut finds it and its token by itself", "cagenut"
	if !s.announced { // a line that is copied must not reach another stack
		found, command = "CAGENUT_DATA="+s.dir+" makes cagenut use it", "CAGENUT_DATA="+quoted([]string{s.dir})+" cagenut"
	}
	fmt.Fprintf(out.Err, `
The API is at %s; %s. Open that address in a browser to watch.
The box's NetBox is at %s/api/ (token %s), its faults and journal at %s.
  %s install --rack %s --site %s --reason "try it" --ticket DEMO-1 --watch
`, s.API(), found, url, token, s.BoxAdmin(), command, s.rack.Name, s.rack.Site.Slug)
}

// ask runs a command of the product and decodes its JSON answer.
func (s *Stack) ask(ctx context.Context, into any, args ...string) error {
	out := &buffer{}
	if err := s.commandTo(ctx, out, s.asAdmin(args...)...); err != nil {
		return err
	}
	return json.Unmarshal(out.data, into)
}

type buffer struct{ data []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// newPart runs one part in a process of its own, which a test can kill.
func newPart(s cli.Streams, e Engine) *cobra.Command {
	f := flags{o: Options{Engine: e}}
	c := &cobra.Command{
		Use:       "part {postgres|temporal|box}",
		Short:     "Run one part of a stack in this process",
		Example:   "  cagenut-dev part temporal --dir ./stack",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{string(PartPostgres), string(PartTemporal), string(PartBox)},
		RunE: func(c *cobra.Command, args []string) error {
			stack, done, err := f.open(false)
			if err != nil {
				return err
			}
			err = stack.RunPart(c.Context(), Part(args[0]), func() { fmt.Fprintln(s.Out, "ready") })
			return errors.Join(err, done())
		},
	}
	f.add(c)
	return c
}

// newInit makes a stack's folder and, with its parts up, what the programs need.
func newInit(s cli.Streams) *cobra.Command {
	var f flags
	var prepare, seed bool
	c := &cobra.Command{
		Use:     "init",
		Short:   "Make a stack's folder; --prepare and --seed do what its running parts need",
		Example: "  cagenut-dev init --dir ./stack",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			stack, done, err := f.open(false)
			if err != nil {
				return err
			}
			if prepare {
				err = stack.Prepare(c.Context())
			}
			if err == nil && seed {
				err = stack.Seed(c.Context())
			}
			if err == nil {
				fmt.Fprintln(s.Out, stack.ConfigFile())
			}
			return errors.Join(err, done())
		},
	}
	c.Flags().BoolVar(&prepare, "prepare", false, "migrations, tokens and NetBox's account (the parts are up)")
	c.Flags().BoolVar(&seed, "seed", false, "factory passwords and firmware files (serve is up)")
	f.add(c)
	return c
}
