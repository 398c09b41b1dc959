package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// OutboxNotice is the kind of an item whose payload is a NoticeItem: tell people something.
const OutboxNotice = "notice"

// Notices switches notices on: who is told of what. Without it the store keeps none.
type Notices struct {
	Targets []NoticeTarget
	Page    func(operation.ID) string // where people see an operation; nil: nowhere
}

// NoticeTarget is one who is told.
type NoticeTarget struct {
	Name  string // never changes for the same one: it is in the item's key
	Kinds []operation.NoticeKind
}

// NoticeItem is a notice for one target: one that cannot be reached has nobody else told twice.
type NoticeItem struct {
	To     string           `json:"to"`
	Notice operation.Notice `json:"notice"`
}

// UseNotices says who is told, from now on.
func (s *Store) UseNotices(n Notices) { s.notes.Store(&n) }

// Notify queues a notice for all who are told of its kind, once by its Key. The relay sends it.
func (s *Store) Notify(ctx context.Context, n operation.Notice) error {
	what := "notice " + n.Key()
	if n.Kind == "" || n.Operation == "" || n.Text == "" || n.At.IsZero() {
		return fault.New(fault.Invalid, "%s: needs a kind, an operation, a text and a time", what)
	}
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		if err := s.queueNotice(b, n); err != nil {
			return err
		}
		return send(ctx, tx, b)
	})
}

// told lists who is told of a kind.
func (s *Store) told(kind operation.NoticeKind) (names []string, page func(operation.ID) string) {
	page = func(operation.ID) string { return "" }
	n := s.notes.Load()
	if n == nil {
		return nil, page
	}
	for _, t := range n.Targets {
		if slices.Contains(t.Kinds, kind) {
			names = append(names, t.Name)
		}
	}
	if n.Page != nil {
		page = n.Page
	}
	return names, page
}

func (s *Store) queueNotice(b *pgx.Batch, n operation.Notice) error {
	names, page := s.told(n.Kind)
	if n.Page == "" {
		n.Page = page(n.Operation)
	}
	for _, to := range names {
		payload, err := jsonOf(NoticeItem{To: to, Notice: n})
		if err != nil {
			return err
		}
		b.Queue(`insert into outbox (kind, key, operation, payload, created, next_at) values ($1, $2, $3, $4, $5, $5)
			on conflict (key) do nothing`, OutboxNotice, noticeKey(n, to), n.Operation, payload, n.At)
	}
	if len(names) > 0 {
		b.Queue(`select pg_notify($1, '')`, outboxChannel)
	}
	return nil
}

func noticeKey(n operation.Notice, to string) string { return n.Key() + "/to/" + to }

// queueWaiting tells that a run has begun to wait for a person.
func (s *Store) queueWaiting(b *pgx.Batch, run runRow, t operation.Transition) error {
	text := run.Name + " waits for a person"
	if t.Step != "" {
		text += " at step " + t.Step
	}
	if t.Error != nil {
		text += ": " + t.Error.Message
	}
	return s.queueNotice(b, operation.Notice{Kind: operation.NoticeWaiting, Operation: t.Operation, Asset: run.Ref, Text: text, At: t.At})
}

// queueEnded tells that the operation has ended, when it has: as queueEnd, after the trigger.
func (s *Store) queueEnded(b *pgx.Batch, t operation.Transition) {
	names, page := s.told(operation.NoticeEnded)
	for _, to := range names {
		n := operation.Notice{Kind: operation.NoticeEnded, Operation: t.Operation}
		b.Queue(`insert into outbox (kind, key, operation, payload, created, next_at)
			select $3, $4, id, jsonb_build_object('to', $5::text, 'notice', jsonb_build_object('kind', $6::text, 'operation', id,
				'text', id || ' ended: ' || done || ' done, ' || aborted || ' aborted, ' || failed || ' failed',
				'page', $7::text, 'at', $2::timestamptz)), $2, $2
			from operation where id = $1 and ended is not null on conflict (key) do nothing`,
			t.Operation, t.At, OutboxNotice, noticeKey(n, to), to, n.Kind, page(t.Operation))
	}
	if len(names) > 0 {
		b.Queue(`select pg_notify($1, '')`, outboxChannel)
	}
}
