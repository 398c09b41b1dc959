package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// queueAudit adds a row to the audit log, unchained, in the transaction of what it records.
func queueAudit(b *pgx.Batch, e operation.AuditEntry, id asset.ID) {
	b.Queue(`insert into audit (at, actor, action, subject, operation, asset, request, detail)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		e.At, clean(e.Actor), clean(e.Action), clean(e.Subject), e.Operation, id, clean(e.Request), clean(e.Detail))
}

// Audit adds a row to the audit log. What an operator does to an operation is an event too, so that
// those who watch it see who did what.
func (s *Store) Audit(ctx context.Context, e operation.AuditEntry) error {
	if e.Actor == "" || e.Action == "" || e.At.IsZero() {
		return fault.New(fault.Invalid, "audit row: needs an actor, an action and a time, has %q, %q, %s", e.Actor, e.Action, e.At)
	}
	return s.inTx(ctx, "audit "+e.Action, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		queueAudit(b, e, e.Asset)
		if e.Operation != "" {
			b.Queue(`insert into event (at, operation, asset, run_seq, site, body)
				select $2, id, 0, 0, '', jsonb_build_object('at', $2::timestamptz, 'operation', id, 'kind', 'command', 'state', state,
					'actor', $3::text, 'text', $4::text)
				from operation where id = $1`, e.Operation, e.At, clean(e.Actor),
				clean(fmt.Sprintf("%s: %s %s", e.Actor, e.Action, e.Subject)))
		}
		return send(ctx, tx, b)
	})
}
