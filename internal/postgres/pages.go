package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// What pages read: every query of this file has a limit, and none gives the evidence of a list, so
// that an operation of 5,000 runs costs a page no more than one of five.

// open is the predicate of the index run_lock, which holds the runs that have not ended.
const open = `r.state not in ('done', 'aborted', 'failed')`

// pageColumns leaves out the plan, which is the larger part of a run.
const pageColumns = `r.operation, r.asset, r.name, r.serial, r.site, r.rack, r.profile, r.state, r.step, r.seq, r.error, r.left_over,
	r.started, r.updated, r.ended`

// maxRunRows is how many runs a list has at most.
const maxRunRows = 500

// OperationHead gives an operation without its runs.
func (s *Store) OperationHead(ctx context.Context, id operation.ID) (operation.Detail, error) {
	what := "operation " + string(id)
	rows, err := s.pool.Query(ctx, `select `+summaryColumns+` from operation o where o.id = $1`, id)
	if err != nil {
		return operation.Detail{}, translate(what, err)
	}
	var d operation.Detail
	d.Summary, err = pgx.CollectExactlyOneRow(rows, scanSummary)
	if noRows(err) {
		return operation.Detail{}, fault.New(fault.NotFound, "there is no operation %s", id)
	}
	if err == nil && d.State == operation.Queued {
		d.Error, err = s.startError(ctx, id)
	}
	return d, translate(what, err)
}

// urgency orders runs in a list: what wants a person first, what is done last.
const urgency = `array_position(array['waiting', 'waiting-for-site', 'paused', 'failed', 'running', 'aborted', 'queued', 'done'], r.state)`

// ListRuns gives runs: those of an operation what wants a person first, then by name; those of an
// asset or of all operations newest first. more tells that the limit cut the list.
func (s *Store) ListRuns(ctx context.Context, f operation.RunFilter) (out []operation.RunRow, more bool, err error) {
	from, order := `run r`, urgency+`, r.name, r.asset`
	switch {
	case f.Operation != "":
	case f.Asset != 0:
		order = `r.operation desc`
	case f.Failed:
		from = `(select id from operation where failed > 0 order by id desc limit 50) failing join run r on r.operation = failing.id and r.state = 'failed'`
		order = `r.ended desc nulls last, r.name`
	case len(f.States) > 0 && !slices.ContainsFunc(f.States, operation.State.Ended):
		order = `r.updated desc nulls last, r.name`
	default:
		return nil, false, fault.New(fault.Invalid, "list runs: the filter names no operation, no asset and no state that is live: empty is not all")
	}
	states := make([]string, len(f.States))
	live := len(states) > 0
	for i, st := range f.States {
		states[i] = string(st)
		live = live && !st.Ended()
	}
	where := `($1 = '' or r.operation = $1) and ($2 = 0::bigint or r.asset = $2) and (cardinality($3::text[]) = 0 or r.state = any($3))
		and ($4 = '' or r.step = $4) and ($5 = '' or r.rack = $5) and ($6 = '' or starts_with(lower(r.name), lower($6)))
		and ($7 = '' or r.site = $7) and (cardinality($8::text[]) = 0 or r.site = any($8))`
	if live {
		where += ` and ` + open
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, maxRunRows)
	rows, err := s.pool.Query(ctx, `
		with page as (select `+pageColumns+`, row_number() over (order by `+order+`) as place from `+from+` where `+where+`
			order by place limit $9 offset $10)
		select `+pageColumns+`, o.kind, o.actor,
			t.name, t.kind, t.title, t.state, t.attempt, t.round, t.unskippable, t.progress, t.percent, t.error, t.summary, t.started, t.ended,
			n.behind, n.total
		from page r join operation o on o.id = r.operation
			left join step t on t.operation = r.operation and t.asset = r.asset and t.name = r.step
			left join lateral (select count(*) as total,
				count(*) filter (where c.state in ('done', 'already-so', 'skipped', 'aborted', 'not-applicable')) as behind
				from step c where c.operation = r.operation and c.asset = r.asset) n on true
		order by r.place`,
		f.Operation, f.Asset, states, f.Step, f.Rack, f.Name, f.Site, nonNil(f.Sites), limit+1, max(0, f.Skip))
	if err != nil {
		return nil, false, translate("list runs", err)
	}
	if out, err = pgx.CollectRows(rows, scanListed); err != nil {
		return nil, false, translate("list runs", err)
	}
	if len(out) > limit {
		return out[:limit], true, nil
	}
	return out, false, nil
}

func scanListed(row pgx.CollectableRow) (r operation.RunRow, err error) {
	var started, updated, ended, began, finished *time.Time
	var st operation.Step
	var name, kind, title, state, summary, progress *string
	var attempt, round, percent *int
	var unskippable *bool
	err = row.Scan(&r.Operation, &r.Asset.ID, &r.Asset.Name, &r.Asset.Serial, &r.Asset.Site, &r.Asset.Rack, &r.Profile,
		&r.State, &r.Step, &r.Seq, &r.Error, &r.Left, &started, &updated, &ended, &r.Kind, &r.Actor,
		&name, &kind, &title, &state, &attempt, &round, &unskippable, &progress, &percent, &st.Error, &summary, &began, &finished,
		&r.Behind, &r.Of)
	if err != nil {
		return r, err
	}
	r.Started, r.Updated, r.Ended = timeOf(started), timeOf(updated), timeOf(ended)
	if name == nil {
		return r, nil
	}
	st.Name, st.Kind, st.Title, st.State, st.Attempt, st.Round = *name, *kind, *title, operation.StepState(*state), *attempt, *round
	st.Unskippable, st.Summary, st.Started, st.Ended = *unskippable, *summary, timeOf(began), timeOf(finished)
	if progress != nil && percent != nil {
		st.Progress = &operation.Progress{Text: *progress, Percent: *percent}
	}
	r.Current = &st
	return r, nil
}

// LiveRuns counts the runs that have not ended. id narrows it to one operation; empty: all.
func (s *Store) LiveRuns(ctx context.Context, id operation.ID, sites []string) ([]operation.Live, error) {
	rows, err := s.pool.Query(ctx, `
		select r.operation, r.site, r.state, r.step, count(*), min(r.updated) from run r
		where `+open+` and ($1 = '' or r.operation = $1) and (cardinality($2::text[]) = 0 or r.site = any($2))
		group by r.operation, r.site, r.state, r.step order by r.operation desc, r.site, r.state, r.step limit 5000`, id, nonNil(sites))
	if err != nil {
		return nil, translate("count live runs", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l operation.Live, err error) {
		var since *time.Time
		err = row.Scan(&l.Operation, &l.Site, &l.State, &l.Step, &l.Runs, &since)
		l.Since = timeOf(since)
		return l, err
	})
	return out, translate("count live runs", err)
}

// RackLoads gives the racks of a site (empty: of all) in which the newest 5,000 runs were, with how the
// newest run of each asset stands.
func (s *Store) RackLoads(ctx context.Context, site string, sites []string) ([]operation.RackLoad, error) {
	rows, err := s.pool.Query(ctx, `
		with recent as (select r.site, r.rack, r.asset, r.state, r.operation from run r
				where ($1 = '' or r.site = $1) and (cardinality($2::text[]) = 0 or r.site = any($2)) order by r.operation desc limit 5000),
			newest as (select distinct on (asset) site, rack, state from recent order by asset, operation desc)
		select site, rack, state, count(*) from newest where rack <> '' group by site, rack, state order by site, rack, state limit 2000`,
		site, nonNil(sites))
	if err != nil {
		return nil, translate("count runs by rack", err)
	}
	var out []operation.RackLoad
	var at, rack string
	var state operation.State
	var n int
	_, err = pgx.ForEachRow(rows, []any{&at, &rack, &state, &n}, func() error {
		if len(out) == 0 || out[len(out)-1].Site != at || out[len(out)-1].Rack != rack {
			out = append(out, operation.RackLoad{Site: at, Rack: rack, Counts: map[operation.State]int{}})
		}
		out[len(out)-1].Counts[state] = n
		return nil
	})
	return out, translate("count runs by rack", err)
}

// NewestRuns gives the newest run of each of those assets that have one, without steps.
func (s *Store) NewestRuns(ctx context.Context, ids []asset.ID) (map[asset.ID]operation.Run, error) {
	if len(ids) > 1000 {
		return nil, fault.New(fault.Invalid, "newest runs: %d assets at once, at most 1000", len(ids))
	}
	rows, err := s.pool.Query(ctx, `
		select r.operation, r.asset, r.name, r.serial, r.site, r.rack, r.profile, r.state, r.step, r.error, r.started, r.updated, r.ended
		from unnest($1::bigint[]) a (id) cross join lateral (select operation, asset, name, serial, site, rack, profile, state, step, error, started, updated, ended
			from run where asset = a.id order by operation desc limit 1) r`, ids)
	if err != nil {
		return nil, translate("newest runs", err)
	}
	out := map[asset.ID]operation.Run{}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r operation.Run, err error) {
		var started, updated, ended *time.Time
		err = row.Scan(&r.Operation, &r.Asset.ID, &r.Asset.Name, &r.Asset.Serial, &r.Asset.Site, &r.Asset.Rack, &r.Profile,
			&r.State, &r.Step, &r.Error, &started, &updated, &ended)
		r.Started, r.Updated, r.Ended = timeOf(started), timeOf(updated), timeOf(ended)
		return r, err
	})
	for _, r := range list {
		out[r.Asset.ID] = r
	}
	return out, translate("newest runs", err)
}

// StatusMoves gives the newest changes of an asset's status, newest first, at most 50.
func (s *Store) StatusMoves(ctx context.Context, id asset.ID) ([]operation.StatusMove, error) {
	what := "status of asset " + id.String()
	rows, err := s.pool.Query(ctx, `select from_status, to_status, cause, operation, at from asset_move where asset = $1 order by id desc limit 50`, id)
	if err != nil {
		return nil, translate(what, err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m operation.StatusMove, err error) {
		err = row.Scan(&m.From, &m.To, &m.Cause, &m.Operation, &m.At)
		m.At = m.At.UTC()
		return m, err
	})
	return out, translate(what, err)
}

// maxProof is how large a piece of evidence LatestProof reads, in bytes.
const maxProof = 4 << 20

// LatestProof gives the newest evidence of a kind about an asset, from its newest 50 runs; fault.NotFound
// without any. Data over 4 MiB is left out.
func (s *Store) LatestProof(ctx context.Context, id asset.ID, kind string) (operation.Proof, error) {
	what := fmt.Sprintf("%s evidence of asset %s", kind, id)
	var p operation.Proof
	var data *string
	err := s.pool.QueryRow(ctx, `
		select e.operation, e.step, e.kind, e.title, e.at,
			case when b.data is null then case when octet_length(e.data::text) <= $3 then e.data::text end
				when octet_length(b.data) <= $3 then convert_from(b.data, 'UTF8') end
		from (select operation from run where asset = $1 order by operation desc limit 50) r
			join evidence e on e.operation = r.operation and e.asset = $1 and e.kind = $2
			left join evidence_blob b on b.sha256 = e.blob
		order by e.id desc limit 1`, id, kind, maxProof).Scan(&p.Operation, &p.Step, &p.Kind, &p.Title, &p.At, &data)
	if noRows(err) {
		return p, fault.New(fault.NotFound, "there is no %s", what)
	}
	if data != nil {
		p.Data = json.RawMessage(*data)
	}
	p.At = p.At.UTC()
	return p, translate(what, err)
}

// LatestEvents gives the newest events, newest first. EventFilter.After is not used; Limit 0: 50.
func (s *Store) LatestEvents(ctx context.Context, f operation.EventFilter) ([]operation.Event, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	rows, err := s.pool.Query(ctx, `
		select coalesce(e.seq, 0), e.body from event e
		where e.seq is not null and ($1 = '' or e.operation = $1)
			and (cardinality($2::text[]) = 0 or case when e.site <> '' then e.site = any($2)
				else exists (select from operation o where o.id = e.operation and o.sites && $2) end)
		order by e.seq desc limit $3`, f.Operation, nonNil(f.Sites), min(limit, 500))
	if err != nil {
		return nil, translate("latest events", err)
	}
	out, err := collectEvents(rows)
	return out, translate("latest events", err)
}

// Backlog tells what the relay and the sealer have not done yet.
func (s *Store) Backlog(ctx context.Context) (operation.Backlog, error) {
	var b operation.Backlog
	var unsent, row *time.Time
	var last *string
	err := s.pool.QueryRow(ctx, `
		select o.n, o.oldest, o.last, a.n, a.oldest
		from (select count(*) as n, min(created) as oldest, (array_agg(last_error order by id desc))[1] as last from outbox where sent is null and kind <> 'notice') o,
			(select count(*) as n, min(at) as oldest from (select at from audit where seq is null order by id limit 10000) u) a`).
		Scan(&b.Unsent, &unsent, &last, &b.Unsealed, &row)
	b.OldestUnsent, b.OldestRow = timeOf(unsent), timeOf(row)
	if last != nil {
		b.LastError = *last
	}
	return b, translate("backlog", err)
}
