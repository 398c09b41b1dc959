// Command cagenut is the service, the site worker and the engineer's tool in one program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/cagenut/cagenut/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
