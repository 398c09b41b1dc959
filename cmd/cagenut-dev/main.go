// Command cagenut-dev is all of Cagenut on one machine: every verb of cagenut, and those that run
// the embedded Temporal, a real PostgreSQL and a data center in a box. It is never deployed.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cagenut/cagenut/internal/cli"
	"github.com/cagenut/cagenut/internal/devstack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	root := cli.New(s)
	root.Use = "cagenut-dev"
	root.AddCommand(devstack.Commands(s)...)
	code := cli.Run(ctx, s, root, os.Args[1:])
	stop()
	os.Exit(code)
}
