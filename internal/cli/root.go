// Package cli is the command layer of cagenut: it builds the command tree, reads flags and
// environment, talks to the API (never to Temporal or PostgreSQL, but for serve, worker and
// migrate) and turns outcomes into exit codes.
//
// Words
//
//   - Verb: one command, a function new…Command that returns it. New hangs them all on the tree.
//   - Answer: what a command found. print (output.go) writes it as a table, JSON or YAML to Out;
//     everything else that is said goes to Err, so that a pipe gets answers only.
//   - Exit code: the same for every command, made from the fault's code in one place (Main).
//   - Follow: wait for an operation, with or without showing its progress (follow.go).
//
// A command runs in one goroutine, but for follow, whose second one reads events.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
)

// Streams are where a command reads and writes. Results go to Out, everything else to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// The exit codes, the same for every command.
const (
	ExitOK      = wire.ExitOK
	ExitFailure = wire.ExitFailure // the command itself failed
	ExitUsage   = wire.ExitUsage
	ExitRefused = wire.ExitRefused
	ExitLocked  = wire.ExitLocked  // held by another operation
	ExitWaiting = wire.ExitWaiting // waiting for a person
	ExitFailed  = wire.ExitFailed  // the operation failed or was aborted
	ExitAway    = wire.ExitAway    // the control plane cannot be reached
)

// ExitError ends the program with a code. Its message is printed to Err.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// Main runs the command tree and returns the exit code.
func Main(ctx context.Context, s Streams, args []string) int { return Run(ctx, s, New(s), args) }

// Run is Main for a tree to which more was added.
func Run(ctx context.Context, s Streams, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	complain(s.Err, err)
	return exitCode(err)
}

// exitCode maps any error of a command.
func exitCode(err error) int {
	var exit *ExitError
	var f *fault.Error
	var problems config.Problems
	switch {
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &f):
		return wire.Exit(f.Code)
	case errors.As(err, &problems), strings.HasPrefix(err.Error(), "unknown command "):
		return ExitUsage
	}
	return ExitFailure
}

// mostDetails bounds what a person has to scroll through; -o json of a dry run has all.
const mostDetails = 100

// complain says what went wrong, with every gap, and what to do.
func complain(w io.Writer, err error) {
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			line = "cagenut: " + clean(line)
		}
		fmt.Fprintln(w, plain(line))
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		return
	}
	for i, d := range f.Details {
		if i == mostDetails {
			fmt.Fprintf(w, "  ... and %d more\n", len(f.Details)-i)
			break
		}
		line := "  " + clean(d.Subject) + ":"
		if d.Expected != "" && d.Seen != "" {
			line += fmt.Sprintf(" want %s, is %s", clean(d.Expected), clean(d.Seen))
		} else {
			line += " " + clean(d.Expected+d.Seen)
		}
		if d.Remedy != "" && d.Remedy != f.Remedy {
			line += "; " + clean(d.Remedy)
		}
		fmt.Fprintln(w, line)
	}
	if f.Remedy != "" && !strings.HasSuffix(f.Message, f.Remedy) { // what is said once is enough
		fmt.Fprintln(w, "what to do:", clean(f.Remedy))
	}
}

// New builds the command tree.
func New(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "cagenut",
		Short: "Provision, audit, repair and decommission data-center hardware",
		Long: `Cagenut takes data-center hardware from racked to in service, keeps it honest while it is there, and
takes it out again.

Exit codes: 0 done, 1 the command failed, 2 usage, 3 refused, 4 locked by another operation,
5 waiting for a person, 6 the operation failed or was aborted, 7 the control plane is away.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := checkFlags(c); err != nil {
				return err
			}
			return checkOutput(c)
		},
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &ExitError{Code: ExitUsage, Err: fmt.Errorf("%w\nsee '%s --help'", err, c.CommandPath())}
	})
	fl := root.PersistentFlags()
	fl.StringP("output", "o", "table", "output format: table, json or yaml")
	fl.String("url", "", "address of the API (default: CAGENUT_URL, else what cagenut login kept)")
	fl.String("token-file", "", "file with the API token (default: CAGENUT_TOKEN, else what cagenut login kept)")
	fl.String("ca-file", "", "PEM file of the CA that signed the API's certificate (default: CAGENUT_CA_FILE)")
	complete(root, "output", "table", "json", "yaml")

	bmc := newBMCCommand(s)
	bmc.AddCommand(newBMCImportCommand(s), newBMCPasswordCommand(s))
	asGroup(bmc)
	root.AddCommand(
		newInstallCommand(s),
		newOpCommand(s),
		newAssetCommand(s),
		newProfileCommand(s),
		newSiteCommand(s),
		bmc,
		newFirmwareCommand(s),
		newSecretsCommand(s),
		newNetBoxCommand(s),
		newTokenCommand(s),
		newLoginCommand(s),
		newDoctorCommand(s),
		newAuditLogCommand(s),
		newConfigCommand(s),
		newServeCommand(s),
		newWorkerCommand(s),
		newMigrateCommand(s),
		newVersionCommand(s),
		newCompletionCommand(s),
	)
	return root
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(commands...)
	asGroup(c)
	return c
}

// asGroup lets a command show its help, and refuse a verb that it lacks instead of ignoring it.
func asGroup(c *cobra.Command) {
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		var names []string
		for _, sub := range c.Commands() {
			names = append(names, sub.Name())
		}
		return usage("unknown command %q for %q: use one of %s", args[0], c.CommandPath(), strings.Join(names, ", "))
	}
}

// argCount wants some arguments, and says what they are when there are others.
func argCount(low, high int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < low || high >= 0 && len(args) > high {
			return usage("%s takes %s; got %d arguments\nsee '%s --help'", c.CommandPath(), what, len(args), c.CommandPath())
		}
		if slices.Contains(args, "") { // an unset variable of somebody's script
			return usage("%s takes %s; argument %d is empty", c.CommandPath(), what, slices.Index(args, "")+1)
		}
		return nil
	}
}

func checkOutput(c *cobra.Command) error {
	if o := format(c); !slices.Contains([]string{"table", "json", "yaml"}, o) {
		return usage("--output %q: use one of table, json, yaml", o)
	}
	return nil
}

// format is the output format that was asked for.
func format(c *cobra.Command) string {
	f := c.Flag("output")
	if f == nil || f.Value.String() == "" {
		return "table"
	}
	return f.Value.String()
}
