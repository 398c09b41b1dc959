package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// AbortUnsent aborts queued runs of an operation that no workflow was started for, and gives those that
// it aborted: none when the outbox has been sent, for then the operation's workflow is told. When all
// runs have ended so, the outbox row is marked as sent and nothing is ever started. A workflow that
// began all the same, because the answer of Temporal was lost, finds the runs aborted at its claim and
// touches nothing. The audit rows are those of the command.
func (s *Store) AbortUnsent(ctx context.Context, id operation.ID, assets []asset.ID, by operation.Command, at time.Time) ([]asset.ID, error) {
	var out []asset.ID
	what := "abort what has not been started of " + string(id)
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		out = nil
		// A relay holds the row while it sends, longer than other locks are waited for; afterwards it is
		// sent, or still ours.
		if _, err := tx.Exec(ctx, `set local lock_timeout = '15s'`); err != nil {
			return err
		}
		var row int64
		err := tx.QueryRow(ctx, `select id from outbox where operation = $1 and kind = $2 and sent is null for update`, id, OutboxStart).Scan(&row)
		if noRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select asset, seq, state, step, name, serial, site, rack from run
			where operation = $1 and asset = any($2) and state = 'queued' order by asset for update`, id, assets)
		if err != nil {
			return err
		}
		runs, err := pgx.CollectRows(rows, scanRunRow)
		if err != nil || len(runs) == 0 {
			return err
		}
		b := &pgx.Batch{}
		for _, run := range runs {
			t := operation.Transition{Operation: id, Asset: run.ID, Seq: run.seq + 1, At: at, State: operation.Aborted,
				Actor: by.Actor, Action: operation.Abort, Reason: by.Reason}
			if err := queueEndedRun(b, what, run, t); err != nil {
				return err
			}
			out = append(out, run.ID)
		}
		s.queueEnd(b, operation.Transition{Operation: id, At: at})
		b.Queue(`update outbox set sent = now(), last_error = 'aborted before it was sent'
			where id = $1 and exists (select from operation where id = $2 and ended is not null)`, row, id)
		return send(ctx, tx, b)
	})
	return out, err
}

// AbortLost ends a run whose workflow Temporal does not have any more: PostgreSQL or Temporal was
// restored from an older state. What it was doing is not known, and that is what it says. A run that is
// queued, or has ended meanwhile, is left alone, and false is the answer.
func (s *Store) AbortLost(ctx context.Context, id operation.ID, a asset.ID, by operation.Command, at time.Time) (bool, error) {
	done := false
	what := fmt.Sprintf("abort the lost run of asset %s in %s", a, id)
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		done = false
		rows, err := tx.Query(ctx, `select asset, seq, state, step, name, serial, site, rack from run
			where operation = $1 and asset = $2 and state in ('running', 'paused', 'waiting', 'waiting-for-site') for update`, id, a)
		if err != nil {
			return err
		}
		runs, err := pgx.CollectRows(rows, scanRunRow)
		if err != nil || len(runs) == 0 {
			return err
		}
		run := runs[0]
		b := &pgx.Batch{}
		t := operation.Transition{Operation: id, Asset: a, Seq: run.seq + 1, At: at, State: operation.Aborted, Actor: by.Actor, Action: operation.Abort,
			Reason: by.Reason, Left: []string{"its workflow was lost during step " + run.step + ": what it did after that is not recorded, and nothing was taken back"}}
		if err := queueEndedRun(b, what, run, t); err != nil {
			return err
		}
		s.queueEnd(b, t)
		done = true
		return send(ctx, tx, b)
	})
	return done, err
}

func scanRunRow(row pgx.CollectableRow) (r runRow, err error) {
	err = row.Scan(&r.ID, &r.seq, &r.state, &r.step, &r.Name, &r.Serial, &r.Site, &r.Rack)
	return r, err
}

// queueEndedRun ends a run and those of its steps that have not ended.
func queueEndedRun(b *pgx.Batch, what string, run runRow, t operation.Transition) error {
	b.Queue(`update step set state = $3, ended = $4 where operation = $1 and asset = $2 and state = any($5)`,
		t.Operation, t.Asset, operation.StepAborted, t.At, []string{string(operation.StepPending), string(operation.StepRunning), string(operation.StepParked)})
	return queueTransition(b, what, run, t)
}

// Hold notes whether the whole operation is paused: then no queued run is started.
func (s *Store) Hold(ctx context.Context, id operation.ID, held bool) error {
	_, err := s.pool.Exec(ctx, `update operation set held = $2 where id = $1 and held <> $2`, id, held)
	return translate("hold "+string(id), err)
}

// AuditOnce adds a row to the audit log unless one with the same actor, action, operation, asset and
// detail is there. It makes no event. Two at the same moment may both add theirs: that is one row too
// many, not one too few.
func (s *Store) AuditOnce(ctx context.Context, e operation.AuditEntry) error {
	if e.Actor == "" || e.Action == "" || e.At.IsZero() {
		return fault.New(fault.Invalid, "audit row: needs an actor, an action and a time, has %q, %q, %s", e.Actor, e.Action, e.At)
	}
	return s.inTx(ctx, "audit "+e.Action, func(tx pgx.Tx) error {
		var there bool
		err := tx.QueryRow(ctx, `select exists (select from audit where operation = $1 and asset = $2 and action = $3 and actor = $4 and detail = $5)`,
			e.Operation, e.Asset, clean(e.Action), clean(e.Actor), clean(e.Detail)).Scan(&there)
		if err != nil || there {
			return err
		}
		b := &pgx.Batch{}
		queueAudit(b, e, e.Asset)
		return send(ctx, tx, b)
	})
}

// AuditLog gives rows of the audit log. The newest come first; with Chain, what follows a place of the
// chain, in its order.
func (s *Store) AuditLog(ctx context.Context, f operation.AuditFilter) ([]operation.AuditEntry, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	order := `id desc`
	if f.Chain {
		order = `seq`
	}
	rows, err := s.pool.Query(ctx, `select at, actor, action, subject, operation, asset, request, detail, coalesce(seq, 0) from audit
		where ($1 = '' or operation = $1) and ($2 = '' or actor = $2) and ($3::timestamptz is null or at >= $3) and (not $6 or seq > $4)
		order by `+order+` limit $5`, f.Operation, clean(f.Actor), nullTime(f.Since), f.After, min(limit, 10000), f.Chain)
	if err != nil {
		return nil, translate("audit log", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e operation.AuditEntry, err error) {
		err = row.Scan(&e.At, &e.Actor, &e.Action, &e.Subject, &e.Operation, &e.Asset, &e.Request, &e.Detail, &e.Seq)
		e.At = e.At.UTC()
		return e, err
	})
	if out == nil {
		out = []operation.AuditEntry{}
	}
	return out, translate("audit log", err)
}

// RemoveFirmware takes a file out of the catalogue, unless an open operation's plan needs it: then that
// operation is named. A file that is not there is fault.NotFound.
func (s *Store) RemoveFirmware(ctx context.Context, sha256 string) error {
	what := "remove firmware file " + sha256
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		var name string
		err := tx.QueryRow(ctx, `select name from firmware_file where sha256 = $1 for update`, sha256).Scan(&name)
		if noRows(err) {
			e := fault.New(fault.NotFound, "no firmware file has the SHA-256 %s", sha256)
			e.Remedy = "`cagenut firmware list` shows them"
			return e
		}
		if err != nil {
			return err
		}
		// A plan names files in what its steps want, by SHA-256.
		var holder operation.ID
		err = tx.QueryRow(ctx, `select operation from run where state not in ('done', 'aborted', 'failed')
			and strpos(lower(target::text), lower($1)) > 0 order by operation limit 1`, sha256).Scan(&holder)
		if err == nil {
			e := fault.New(fault.Locked, "the plan of operation %s needs %s", holder, name)
			e.Holder = string(holder)
			return e
		}
		if !noRows(err) {
			return err
		}
		_, err = tx.Exec(ctx, `delete from firmware_file where sha256 = $1`, sha256)
		return err
	})
}
