// Package cli is the command layer of cagenut: it builds the command tree, reads flags and
// environment, talks to the API (never to Temporal or PostgreSQL, but for serve, worker and
// migrate) and turns outcomes into exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Streams are where a command reads and writes. Results go to Out, everything else to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// The exit codes, the same for every command.
const (
	ExitOK      = 0
	ExitFailure = 1 // the command itself failed
	ExitUsage   = 2
	ExitRefused = 3
	ExitLocked  = 4 // held by another operation
	ExitWaiting = 5 // waiting for a person
	ExitFailed  = 6 // the operation failed or was aborted
	ExitAway    = 7 // the control plane cannot be reached
)

// ExitError ends the program with a code. Its message is printed to Err.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// Main runs the command tree and returns the exit code.
func Main(ctx context.Context, s Streams, args []string) int {
	root := New(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintln(s.Err, "cagenut:", err)
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	return ExitFailure
}

// New builds the command tree.
func New(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "cagenut",
		Short:         "Provision, audit, repair and decommission data-center hardware",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &ExitError{Code: ExitUsage, Err: fmt.Errorf("%w\nSee '%s --help'.", err, c.CommandPath())}
	})
	root.PersistentFlags().StringP("output", "o", "table", "output format: table, json or yaml")
	root.AddCommand(newBMCCommand(s))
	return root
}
