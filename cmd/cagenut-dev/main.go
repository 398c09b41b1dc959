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
	"github.com/cagenut/cagenut/internal/devstack/temporaldev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	root := cli.New(s)
	root.Use = "cagenut-dev"
	root.AddCommand(devstack.Commands(s, engine)...)
	code := cli.Run(ctx, s, root, os.Args[1:])
	stop()
	os.Exit(code)
}

// engine runs the Temporal server of a stack.
func engine(ctx context.Context, o devstack.EngineOptions) (stop func() error, err error) {
	t := temporaldev.Options{File: o.File, Ports: o.Ports, LogFile: o.LogFile}
	if u := o.Database; u != nil {
		password, _ := u.User.Password()
		t.Postgres = &temporaldev.Postgres{Address: u.Host, User: u.User.Username(), Password: password, Database: "temporal"}
	}
	server, err := temporaldev.Start(ctx, t)
	if err != nil {
		return nil, err
	}
	return server.Stop, nil
}
