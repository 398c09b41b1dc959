package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	temporal "go.temporal.io/sdk/client"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// dialAgain is the pause between tries to reach Temporal.
const dialAgain = 5 * time.Second

// Dialer connects to Temporal in the background, so that the API can be read while Temporal is away.
type Dialer struct {
	dial   func(ctx context.Context) (temporal.Client, error)
	log    *slog.Logger
	client atomic.Pointer[temporal.Client]
}

// NewDialer makes a Dialer for a connection.
func NewDialer(c operation.Connection, l *slog.Logger) *Dialer {
	return &Dialer{log: l, dial: func(ctx context.Context) (temporal.Client, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return operation.Dial(ctx, c)
	}}
}

// Close closes the connection, if there is one.
func (d *Dialer) Close() {
	if c := d.client.Load(); c != nil {
		(*c).Close()
	}
}

// Wait gives the client as soon as there is one, or the context's error.
func (d *Dialer) Wait(ctx context.Context) (temporal.Client, error) {
	said := ""
	for {
		if c := d.client.Load(); c != nil {
			return *c, nil
		}
		t, err := d.dial(ctx)
		if err == nil {
			d.client.Store(&t)
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err.Error() != said {
			said = err.Error()
			d.log.Error("Temporal cannot be reached; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(dialAgain):
		}
	}
}

// operations starts and steers; EngineAway while there is no connection.
func (d *Dialer) operations() (*operation.Client, error) {
	c := d.client.Load()
	if c == nil {
		return nil, fault.New(fault.EngineAway, "Temporal cannot be reached")
	}
	return operation.NewClient(*c), nil
}

// Command passes an operator's command on; it is api.Steerer.
func (d *Dialer) Command(ctx context.Context, id asset.ID, a operation.Action, c operation.Command) (operation.Reply, error) {
	o, err := d.operations()
	if err != nil {
		return operation.Reply{}, err
	}
	return o.Command(ctx, id, a, c)
}

// Check tells whether Temporal answers.
func (d *Dialer) Check(ctx context.Context) (string, error) {
	c := d.client.Load()
	if c == nil {
		return "", fmt.Errorf("cannot be reached. What to do: check temporal.host, and run `cagenut migrate` once")
	}
	if _, err := (*c).CheckHealth(ctx, &temporal.CheckHealthRequest{}); err != nil {
		return "", fmt.Errorf("does not answer: %w", err)
	}
	return "answers", nil
}
