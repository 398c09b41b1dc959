package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/operation"
)

// OutboxStart is the kind of an item whose payload is an operation.Start: start its workflow.
const OutboxStart = "start"

const outboxChannel = "cagenut_outbox"

// OutboxItem is one thing to be sent: to Temporal, or a notice to people.
type OutboxItem struct {
	ID        int64
	Kind      string
	Key       string // of the effect: for OutboxStart the workflow ID, for OutboxSignal the run's and the event's
	Operation operation.ID
	Payload   json.RawMessage
	Attempts  int // before this one
}

// Gone is what Relay.Start returns when nobody is left to send an item to: that is success, and why
// stays in the item's row.
type Gone struct{ Why string }

func (g Gone) Error() string { return g.Why }

// Relay sends what stands in the outbox, at least once: Start must treat "it was sent already" under
// the item's key as success. Several relays share the work. An item that fails is tried again later
// and holds up no other.
type Relay struct {
	Store *Store
	// Kinds are the kinds of items that it sends; none: all. What is slow has a relay of its own, and so
	// holds up nothing else.
	Kinds []string
	// Start sends one item. It is called with a deadline of 10 seconds.
	Start func(ctx context.Context, item OutboxItem) error
	// Poll is how often to look when no notification comes; 0: 2 seconds.
	Poll time.Duration
	Log  *slog.Logger // nil: slog.Default
}

const (
	startTimeout = 10 * time.Second
	backoffFirst = 500 * time.Millisecond
	backoffMost  = time.Minute
)

// Run relays until the context ends, and then returns nil. It goes on by itself when PostgreSQL or
// Temporal was away.
func (r *Relay) Run(ctx context.Context) error {
	log := r.Log
	if log == nil {
		log = slog.Default()
	}
	poll := r.Poll
	if poll <= 0 {
		poll = 2 * time.Second
	}
	wake := make(chan struct{}, 1)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		r.listen(ctx, poll, wake)
	}()
	defer func() { <-listening }()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	away := false
	for ctx.Err() == nil {
		sent, err := r.Once(ctx)
		if err != nil && ctx.Err() == nil && !away {
			log.Warn("outbox relay cannot read the outbox", "error", err)
		}
		away = err != nil
		if sent && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
		}
	}
	return nil
}

// listen wakes the relay at notifications. Without a connection there are none, and polling does.
func (r *Relay) listen(ctx context.Context, pause time.Duration, wake chan<- struct{}) {
	for ctx.Err() == nil {
		conn, err := r.Store.pool.Acquire(ctx)
		if err == nil {
			c := conn.Hijack() // a listening connection must not go back to the pool
			_, err = c.Exec(ctx, "listen "+outboxChannel)
			for err == nil {
				// Once before waiting too: what came while nobody listened was not told.
				select {
				case wake <- struct{}{}:
				default:
				}
				_, err = c.WaitForNotification(ctx)
			}
			c.Close(context.WithoutCancel(ctx))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Once sends the oldest item that is due and tells whether there was one. The row stays locked while
// it is sent, so a relay that is killed frees it at once. An error is of reading the outbox; that an
// item could not be sent is noted in its row.
func (r *Relay) Once(ctx context.Context) (bool, error) {
	found := false
	err := pgx.BeginFunc(ctx, r.Store.pool, func(tx pgx.Tx) error {
		var i OutboxItem
		err := tx.QueryRow(ctx, `
			select id, kind, key, operation, payload, attempts from outbox
			where sent is null and next_at <= now() and (cardinality($1::text[]) = 0 or kind = any($1))
			order by next_at, id limit 1 for update skip locked`, nonNil(r.Kinds)).
			Scan(&i.ID, &i.Kind, &i.Key, &i.Operation, &i.Payload, &i.Attempts)
		if noRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		var nobody Gone
		startCtx, cancel := context.WithTimeout(ctx, startTimeout)
		sendErr := r.Start(startCtx, i)
		cancel()
		if sendErr == nil {
			_, err = tx.Exec(ctx, `update outbox set sent = now(), attempts = attempts + 1, last_error = '' where id = $1`, i.ID)
			return err
		}
		if errors.As(sendErr, &nobody) {
			_, err = tx.Exec(ctx, `update outbox set sent = now(), attempts = attempts + 1, last_error = $2 where id = $1`, i.ID, clean(nobody.Why))
			return err
		}
		if errors.Is(sendErr, context.Canceled) && ctx.Err() != nil {
			return ctx.Err()
		}
		_, err = tx.Exec(ctx, `update outbox set attempts = attempts + 1, last_error = $2,
			next_at = clock_timestamp() + $3 where id = $1`, i.ID, clean(sendErr.Error()), backoff(i.Attempts))
		return err
	})
	return found, translate("relay the outbox", err)
}

// backoff doubles from half a second to a minute.
func backoff(attempts int) time.Duration {
	if attempts > 10 {
		return backoffMost
	}
	return min(backoffFirst<<attempts, backoffMost)
}
