package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// eventsOf tells a transition as events: one for each step that changed, or one for the run.
func eventsOf(run runRow, t operation.Transition) []operation.Event {
	base := operation.Event{At: t.At, Operation: t.Operation, Asset: t.Asset, Name: run.Name, Kind: "transition",
		State: t.State, Step: t.Step, Actor: t.Actor, Action: t.Action, Reason: t.Reason, Error: t.Error}
	var out []operation.Event
	for _, c := range t.Steps {
		e := base
		e.Step, e.StepState, e.Progress = c.Step, c.State, c.Progress
		if c.Error != nil {
			e.Error = c.Error
		}
		e.Text = stepText(c)
		out = append(out, e)
	}
	if len(out) == 0 || (t.State.Ended() && t.State != run.state) {
		base.Text = string(t.State)
		if t.Action != "" {
			base.Text = fmt.Sprintf("%s by %s", t.Action, t.Actor)
		}
		if t.Error != nil {
			base.Text = t.Error.Message
		}
		out = append(out, base)
	}
	return out
}

func stepText(c operation.StepChange) string {
	switch {
	case c.Error != nil:
		return c.Error.Message
	case c.Summary != "":
		return c.Summary
	case c.Progress != nil && c.Progress.Text != "":
		return c.Progress.Text
	}
	return string(c.State)
}

// queueEvent adds an event without its number; see Events. site is empty for an event about the
// whole operation.
func queueEvent(b *pgx.Batch, site string, runSeq int64, e operation.Event) error {
	body, err := jsonOf(e)
	if err != nil {
		return err
	}
	b.Queue(`insert into event (at, operation, asset, run_seq, site, body) values ($1, $2, $3, $4, $5, $6)`,
		e.At, e.Operation, e.Asset, runSeq, site, body)
	return nil
}

// Events gives events in the order of Seq. Everything that was committed before the call has its
// number; numbers have no gaps, so a reader that goes on after the last one misses nothing.
func (s *Store) Events(ctx context.Context, f operation.EventFilter) ([]operation.Event, error) {
	if err := s.numberEvents(ctx); err != nil {
		return nil, err
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 500
	}
	rows, err := s.pool.Query(ctx, `
		select e.seq, e.body from event e
		where e.seq > $1 and ($2 = '' or e.operation = $2)
			and (cardinality($3::text[]) = 0 or case when e.site <> '' then e.site = any($3)
				else exists (select from operation o where o.id = e.operation and o.sites && $3) end)
		order by e.seq limit $4`, f.After, f.Operation, nonNil(f.Sites), limit)
	if err != nil {
		return nil, translate("events", err)
	}
	out, err := collectEvents(rows)
	return out, translate("events", err)
}

// collectEvents reads rows of seq and body.
func collectEvents(rows pgx.Rows) ([]operation.Event, error) {
	out := []operation.Event{}
	var seq int64
	var body []byte
	_, err := pgx.ForEachRow(rows, []any{&seq, &body}, func() error {
		var e operation.Event
		if err := json.Unmarshal(body, &e); err != nil {
			return fault.Wrap(err, fault.Internal, "event %d: %v", seq, err)
		}
		e.Seq = seq
		out = append(out, e)
		return nil
	})
	return out, err
}

// LastEvent gives the number of the last event that was committed before the call; 0: there is none.
func (s *Store) LastEvent(ctx context.Context) (int64, error) {
	if err := s.numberEvents(ctx); err != nil {
		return 0, err
	}
	var last int64
	err := s.pool.QueryRow(ctx, `select coalesce(max(seq), 0) from event`).Scan(&last)
	return last, translate("last event", err)
}

// numberEvents gives every committed event its number. Transactions commit out of the order in
// which they inserted; giving the numbers afterwards, one caller at a time, makes them an order that
// readers can follow. Readers do it themselves, so nobody has to run for it.
func (s *Store) numberEvents(ctx context.Context) error {
	var some bool
	if err := s.pool.QueryRow(ctx, `select exists (select from event where seq is null)`).Scan(&some); err != nil || !some {
		return translate("number events", err)
	}
	return s.inTx(ctx, "number events", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, lockEvents); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			with last as (select coalesce(max(seq), 0) as n from event),
			     fresh as (select id, row_number() over (order by id) as n from event where seq is null)
			update event e set seq = last.n + fresh.n from last, fresh where e.id = fresh.id`)
		return err
	})
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
