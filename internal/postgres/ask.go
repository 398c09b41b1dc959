package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// maxReadAgain is how often CreateOperation looks again when a machine was held a moment ago and
// its holder has ended meanwhile.
const maxReadAgain = 3

// CreateOperation stores a request, its queued runs and steps, its approval, its audit row and its
// outbox row in one transaction, or nothing. A request whose ID or whose actor's key is there
// already gives that operation and false; the same key with another question is fault.Invalid. A
// machine that another operation holds is fault.Locked, with that operation as the holder and every
// held machine in the details.
func (s *Store) CreateOperation(ctx context.Context, r operation.Request) (operation.ID, bool, error) {
	if err := checkRequest(r); err != nil {
		return "", false, err
	}
	what := fmt.Sprintf("create operation %s", r.ID)
	for attempt := 1; ; attempt++ {
		id, created, err := s.tryCreate(ctx, what, r)
		if fault.From(err) == nil || fault.From(err).Code != fault.Locked {
			return id, created, err
		}
		locked, lookErr := s.lockedBy(ctx, r.Plan)
		if lookErr != nil {
			return "", false, lookErr
		}
		if locked != nil || attempt == maxReadAgain {
			if locked == nil {
				locked = fault.From(err)
			}
			return "", false, locked
		}
	}
}

func checkRequest(r operation.Request) error {
	if _, err := operation.ParseID(string(r.ID)); err != nil {
		return fault.Wrap(err, fault.Invalid, "create operation: %v", err)
	}
	if err := r.Plan.Verify(); err != nil {
		return fault.Wrap(err, fault.Invalid, "create operation %s: %v", r.ID, err)
	}
	switch {
	case len(r.Plan.Targets) == 0:
		return fault.New(fault.Invalid, "create operation %s: the plan has no targets: empty is not all", r.ID)
	case r.Actor == "":
		return fault.New(fault.Invalid, "create operation %s: actor is empty", r.ID)
	case r.Window <= 0:
		return fault.New(fault.Invalid, "create operation %s: window is %d, want at least 1 run at once", r.ID, r.Window)
	case r.At.IsZero():
		return fault.New(fault.Invalid, "create operation %s: time is empty", r.ID)
	}
	return nil
}

func (s *Store) tryCreate(ctx context.Context, what string, r operation.Request) (id operation.ID, created bool, err error) {
	err = s.inTx(ctx, what, func(tx pgx.Tx) error {
		id, created = r.ID, true
		tag, err := tx.Exec(ctx, `
			insert into operation (id, kind, until, capacity, schema, plan_hash, actor, reason, ticket,
				run_window, key, digest, sites, created, queued)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
			on conflict do nothing`,
			r.ID, r.Plan.Kind, r.Plan.Until, r.Plan.Capacity, r.Plan.Schema, r.Plan.Hash, clean(r.Actor), clean(r.Reason),
			clean(r.Ticket), r.Window, r.Key, r.Digest, sitesOf(r.Plan), r.At, len(r.Plan.Targets))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			created = false
			id, err = sameRequest(ctx, tx, r)
			return err
		}
		b := &pgx.Batch{}
		if err := queueRuns(b, r); err != nil {
			return err
		}
		b.Queue(`insert into approval (operation, plan_hash, actor, kind, at) values ($1, $2, $3, 'request', $4)`,
			r.ID, r.Plan.Hash, clean(r.Actor), r.At)
		assets := make([]asset.ID, len(r.Plan.Targets))
		for i, t := range r.Plan.Targets {
			assets[i] = t.Asset.ID
		}
		start, err := jsonOf(operation.Start{Operation: r.ID, Assets: assets, Window: r.Window, Racks: r.Racks})
		if err != nil {
			return err
		}
		b.Queue(`insert into outbox (kind, key, operation, payload, created, next_at) values ($1, $2, $3, $4, $5, $5)`,
			OutboxStart, operation.WorkflowID(r.ID), r.ID, start, r.At)
		if err := queueEvent(b, "", 0, operation.Event{At: r.At, Operation: r.ID, Kind: "requested", State: operation.Queued,
			Text: fmt.Sprintf("%s of %d asked for: %s", r.Plan.Kind, len(assets), r.Reason), Actor: r.Actor, Reason: r.Reason}); err != nil {
			return err
		}
		detail, err := json.Marshal(map[string]any{"kind": r.Plan.Kind, "until": r.Plan.Until, "plan_hash": r.Plan.Hash,
			"assets": assets, "reason": r.Reason, "ticket": r.Ticket, "window": r.Window})
		if err != nil {
			return err
		}
		queueAudit(b, operation.AuditEntry{At: r.At, Actor: r.Actor, Action: "operation.create", Subject: string(r.ID),
			Operation: r.ID, Detail: string(detail)}, 0)
		// Asking is rare (people do it), so the instance-wide lock that NOTIFY takes costs nothing.
		b.Queue(`select pg_notify($1, '')`, outboxChannel)
		return lockedError(r, send(ctx, tx, b))
	})
	return id, created, err
}

// lockedError names the violation of the lock; who holds the machine is looked up afterwards.
func lockedError(r operation.Request, err error) error {
	if isUnique(err, "run_lock") {
		return fault.Wrap(err, fault.Locked, "create operation %s: a machine is held by another operation", r.ID)
	}
	return err
}

// sameRequest finds what a repeated request made the first time.
func sameRequest(ctx context.Context, tx pgx.Tx, r operation.Request) (operation.ID, error) {
	var id operation.ID
	var digest, hash string
	err := tx.QueryRow(ctx, `select id, digest, plan_hash from operation
		where id = $1 or (actor = $2 and key = $3 and key <> '') order by id = $1 desc limit 1`,
		r.ID, clean(r.Actor), r.Key).Scan(&id, &digest, &hash)
	if err != nil {
		return "", err
	}
	if digest != r.Digest || (id == r.ID && hash != r.Plan.Hash) {
		e := fault.New(fault.Invalid, "idempotency key %q was used by %s for another request, operation %s", r.Key, r.Actor, id)
		e.Remedy = "use a new key for a new request"
		return "", e
	}
	return id, nil
}

func sitesOf(p plan.Plan) []string {
	sites := make([]string, 0, 1)
	for _, t := range p.Targets {
		sites = append(sites, t.Asset.Site)
	}
	slices.Sort(sites)
	return slices.Compact(sites)
}

// queueRuns inserts runs, steps and the status that planning saw. Runs go in the order of asset ID:
// two requests for the same machines then wait for each other instead of deadlocking.
func queueRuns(b *pgx.Batch, r operation.Request) error {
	type indexed struct {
		ordinal int
		plan.Target
	}
	targets := make([]indexed, len(r.Plan.Targets))
	for i, t := range r.Plan.Targets {
		targets[i] = indexed{i, t}
	}
	slices.SortFunc(targets, func(a, b indexed) int { return int(a.Asset.ID - b.Asset.ID) })
	for _, t := range targets {
		raw, err := jsonOf(t.Target)
		if err != nil {
			return err
		}
		a := t.Asset
		b.Queue(`insert into run (operation, asset, ordinal, name, serial, site, rack, profile, target)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			r.ID, a.ID, t.ordinal, a.Name, a.Serial, a.Site, a.Rack, t.Profile, raw)
		n := len(t.Steps)
		names, kinds, titles, states := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		versions, unskippable, reasons := make([]int, n), make([]bool, n), make([]string, n)
		for i, st := range t.Steps {
			names[i], kinds[i], titles[i], states[i] = st.Name, st.Kind, st.Title, string(operation.StepPending)
			versions[i], unskippable[i], reasons[i] = st.Version, st.Unskippable, st.NotApplicable
			if st.NotApplicable != "" {
				states[i] = string(operation.StepNotApplicable)
			}
		}
		b.Queue(`insert into step (operation, asset, ordinal, name, kind, version, title, unskippable, state, summary)
			select $1, $2, s.ordinality, s.name, s.kind, s.version, s.title, s.unskippable, s.state, s.summary
			from unnest($3::text[], $4::text[], $5::int[], $6::text[], $7::bool[], $8::text[], $9::text[])
				with ordinality s (name, kind, version, title, unskippable, state, summary, ordinality)`,
			r.ID, a.ID, names, kinds, versions, titles, unskippable, states, reasons)
		queueObserved(b, a.ID, t.Status, r.ID, r.At)
	}
	return nil
}

// ObserveStatus keeps the status in which a device was seen in NetBox, unless it is the last one seen.
func (s *Store) ObserveStatus(ctx context.Context, id asset.ID, status asset.Status, at time.Time) error {
	what := fmt.Sprintf("observe status %s of asset %s", status, id)
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		queueObserved(b, id, status, "", at)
		return send(ctx, tx, b)
	})
}

// queueObserved notes a status that was read in NetBox.
func queueObserved(b *pgx.Batch, id asset.ID, status asset.Status, op operation.ID, at time.Time) {
	if status == "" {
		return
	}
	b.Queue(`insert into asset_status (asset, status, cause, operation, at) values ($1, $2, 'observed', $3, $4)
		on conflict (asset) do update set status = excluded.status, cause = excluded.cause,
			operation = excluded.operation, at = excluded.at
		where asset_status.status <> excluded.status`, id, clean(string(status)), op, at)
}

// lockedBy gives fault.Locked with all machines of a plan that are held, nil when none is.
func (s *Store) lockedBy(ctx context.Context, p plan.Plan) (*fault.Error, error) {
	ids := make([]asset.ID, len(p.Targets))
	for i, t := range p.Targets {
		ids[i] = t.Asset.ID
	}
	holders, err := s.CurrentHolders(ctx, ids)
	if err != nil || len(holders) == 0 {
		return nil, err
	}
	var names []string
	var e *fault.Error
	operations := map[operation.ID]bool{}
	for _, t := range p.Targets { // the plan's order
		h, held := holders[t.Asset.ID]
		if !held {
			continue
		}
		if e == nil {
			e = fault.New(fault.Locked, "")
			e.Holder = string(h.Operation)
		}
		names = append(names, t.Asset.Name)
		operations[h.Operation] = true
		e.Details = append(e.Details, fault.Item{Subject: t.Asset.Name, Expected: "free", Seen: h.Told().Says(), Remedy: h.Told().Remedy()})
	}
	verb, by := "is", "operation "+e.Holder
	if len(names) > 1 {
		verb = "are"
	} else {
		e.Remedy = e.Details[0].Remedy
	}
	if n := len(operations); n > 1 {
		by = fmt.Sprintf("%d operations", n)
	}
	e.Message = fmt.Sprintf("%s %s held by %s", strings.Join(names, ", "), verb, by)
	return e, nil
}

// OperationByKey finds the operation that an actor created with a key; fault.NotFound without one.
func (s *Store) OperationByKey(ctx context.Context, actor, key string) (id operation.ID, digest string, err error) {
	err = s.pool.QueryRow(ctx, `select id, digest from operation where actor = $1 and key = $2 and key <> ''`,
		clean(actor), key).Scan(&id, &digest)
	if noRows(err) {
		return "", "", fault.New(fault.NotFound, "%s made no operation with idempotency key %q", actor, key)
	}
	return id, digest, translate("operation by key", err)
}

// CurrentHolders gives the holders of those assets that are held.
func (s *Store) CurrentHolders(ctx context.Context, ids []asset.ID) (map[asset.ID]operation.Holder, error) {
	rows, err := s.pool.Query(ctx, `
		select r.operation, r.asset, r.name, r.serial, r.site, r.rack, r.state, o.actor, r.step, coalesce(r.target #>> '{bmc,account}', '')
		from run r join operation o on o.id = r.operation
		where r.asset = any($1) and r.state not in ('done', 'aborted', 'failed')`, ids)
	if err != nil {
		return nil, translate("holders", err)
	}
	out := map[asset.ID]operation.Holder{}
	var h operation.Holder
	_, err = pgx.ForEachRow(rows, []any{&h.Operation, &h.Asset.ID, &h.Asset.Name, &h.Asset.Serial, &h.Asset.Site,
		&h.Asset.Rack, &h.State, &h.Actor, &h.Step, &h.Account}, func() error {
		out[h.Asset.ID] = h
		return nil
	})
	return out, translate("holders", err)
}
