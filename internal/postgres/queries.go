package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// proofLimit is the number of runs up to which GetOperation gives writes and evidence too.
const proofLimit = 100

const summaryColumns = `o.id, o.kind, o.until, o.state, o.actor, o.reason, o.ticket, o.plan_hash, o.run_window, o.sites,
	o.created, o.started, o.ended, o.queued, o.running, o.paused, o.waiting, o.away, o.done, o.aborted, o.failed, o.held`

func scanSummary(row pgx.CollectableRow) (operation.Summary, error) {
	var s operation.Summary
	var started, ended *time.Time
	states := []operation.State{operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away,
		operation.Done, operation.Aborted, operation.Failed}
	n := make([]int, len(states))
	into := []any{&s.ID, &s.Kind, &s.Until, &s.State, &s.Actor, &s.Reason, &s.Ticket, &s.Hash, &s.Window, &s.Sites,
		&s.Created, &started, &ended}
	for i := range n {
		into = append(into, &n[i])
	}
	into = append(into, &s.Held)
	if err := row.Scan(into...); err != nil {
		return s, err
	}
	s.Created, s.Started, s.Ended = s.Created.UTC(), timeOf(started), timeOf(ended)
	s.Counts = map[operation.State]int{}
	for i, state := range states {
		if n[i] > 0 {
			s.Counts[state] = n[i]
			s.Assets += n[i]
		}
	}
	return s, nil
}

// ListOperations gives operations, newest first.
func (s *Store) ListOperations(ctx context.Context, f operation.Filter) ([]operation.Summary, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	states := make([]string, len(f.States))
	for i, st := range f.States {
		states[i] = string(st)
	}
	rows, err := s.pool.Query(ctx, `select `+summaryColumns+` from operation o
		where (cardinality($1::text[]) = 0 or o.state = any($1))
			and ($2 = '' or o.sites @> array[$2::text])
			and (cardinality($3::text[]) = 0 or o.sites && $3)
			and ($4 = 0::bigint or exists (select from run r where r.operation = o.id and r.asset = $4))
			and ($5 = '' or o.actor = $5)
			and ($6 = '' or o.id < $6)
		order by o.id desc limit $7`,
		states, f.Site, nonNil(f.Sites), f.Asset, f.Actor, f.Before, min(limit, 500))
	if err != nil {
		return nil, translate("list operations", err)
	}
	out, err := pgx.CollectRows(rows, scanSummary)
	if out == nil {
		out = []operation.Summary{}
	}
	return out, translate("list operations", err)
}

// GetOperation gives an operation with its runs, by asset name, and their steps. Writes, evidence and
// attempts are with the steps of an operation of at most 100 runs; GetRun gives them for any run.
func (s *Store) GetOperation(ctx context.Context, id operation.ID) (operation.Detail, error) {
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
	if err != nil {
		return operation.Detail{}, translate(what, err)
	}
	if d.Error, err = s.startError(ctx, id); err != nil {
		return operation.Detail{}, translate(what, err)
	}
	d.Runs, err = s.runs(ctx, runQuery{where: `r.operation = $1`, order: `r.name, r.asset`, args: []any{id}, proof: d.Assets <= proofLimit})
	return d, translate(what, err)
}

// startError tells why a queued operation has not been started; nil when nothing is known.
func (s *Store) startError(ctx context.Context, id operation.ID) (*fault.Error, error) {
	var last string
	err := s.pool.QueryRow(ctx, `select last_error from outbox where operation = $1 and kind = 'start' and sent is null and last_error <> ''
		order by id limit 1`, id).Scan(&last)
	if noRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return fault.New(fault.EngineAway, "not started yet: %s", last), nil
}

// GetRun gives one run with its steps, writes, evidence and attempts.
func (s *Store) GetRun(ctx context.Context, id operation.ID, a asset.ID) (operation.Run, error) {
	what := fmt.Sprintf("run of asset %s in %s", a, id)
	runs, err := s.runs(ctx, runQuery{where: `r.operation = $1 and r.asset = $2`, order: `r.asset`, args: []any{id, a}, proof: true})
	if err != nil {
		return operation.Run{}, translate(what, err)
	}
	if len(runs) == 0 {
		return operation.Run{}, fault.New(fault.NotFound, "operation %s has no asset %s", id, a)
	}
	return runs[0], nil
}

// AssetHistory gives the runs of an asset with their steps, newest first, at most limit (0: 20).
func (s *Store) AssetHistory(ctx context.Context, id asset.ID, limit int) ([]operation.Run, error) {
	if limit <= 0 {
		limit = 20
	}
	runs, err := s.runs(ctx, runQuery{where: `r.asset = $1`, order: `r.operation desc`, limit: min(limit, proofLimit), args: []any{id}, proof: true})
	return runs, translate("history of asset "+id.String(), err)
}

// runQuery selects runs. where and order are written in this package; values go into args.
type runQuery struct {
	where, order string
	limit        int // 0: all
	args         []any
	proof        bool // with writes, evidence and attempts
}

type runKey struct {
	op operation.ID
	id asset.ID
}

func (s *Store) runs(ctx context.Context, q runQuery) ([]operation.Run, error) {
	sql := `select r.operation, r.asset, r.name, r.serial, r.site, r.rack, r.profile, r.state, r.step, r.seq, r.error, r.left_over,
		r.started, r.updated, r.ended from run r where ` + q.where + ` order by ` + q.order
	if q.limit > 0 {
		sql += fmt.Sprintf(` limit %d`, q.limit)
	}
	rows, err := s.pool.Query(ctx, sql, q.args...)
	if err != nil {
		return nil, err
	}
	runs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r operation.Run, err error) {
		var started, updated, ended *time.Time
		err = row.Scan(&r.Operation, &r.Asset.ID, &r.Asset.Name, &r.Asset.Serial, &r.Asset.Site, &r.Asset.Rack, &r.Profile,
			&r.State, &r.Step, &r.Seq, &r.Error, &r.Left, &started, &updated, &ended)
		r.Started, r.Updated, r.Ended = timeOf(started), timeOf(updated), timeOf(ended)
		if len(r.Left) == 0 {
			r.Left = nil
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	if runs == nil {
		runs = []operation.Run{}
	}
	return runs, s.addSteps(ctx, runs, q.proof)
}

// addSteps fills in the steps of runs: three queries, however many runs there are.
func (s *Store) addSteps(ctx context.Context, runs []operation.Run, proof bool) error {
	if len(runs) == 0 {
		return nil
	}
	index := map[runKey]int{}
	ops, ids := make([]string, len(runs)), make([]int64, len(runs))
	for i, r := range runs {
		index[runKey{r.Operation, r.Asset.ID}] = i
		ops[i], ids[i] = string(r.Operation), int64(r.Asset.ID)
	}
	const these = `join unnest($1::text[], $2::bigint[]) k (operation, asset) using (operation, asset)`
	rows, err := s.pool.Query(ctx, `select t.operation, t.asset, t.name, t.kind, t.title, t.state, t.attempt, t.round, t.unskippable,
		t.progress, t.percent, t.error, t.summary, t.started, t.ended from step t `+these+` order by t.operation, t.asset, t.ordinal`, ops, ids)
	if err != nil {
		return err
	}
	steps := map[runKey]map[string]int{}
	var k runKey
	for rows.Next() {
		var st operation.Step
		var text *string
		var percent *int
		var started, ended *time.Time
		if err := rows.Scan(&k.op, &k.id, &st.Name, &st.Kind, &st.Title, &st.State, &st.Attempt, &st.Round, &st.Unskippable,
			&text, &percent, &st.Error, &st.Summary, &started, &ended); err != nil {
			return err
		}
		if text != nil && percent != nil {
			st.Progress = &operation.Progress{Text: *text, Percent: *percent}
		}
		st.Started, st.Ended = timeOf(started), timeOf(ended)
		r := &runs[index[k]]
		if steps[k] == nil {
			steps[k] = map[string]int{}
		}
		steps[k][st.Name] = len(r.Steps)
		r.Steps = append(r.Steps, st)
	}
	if err := rows.Err(); err != nil || !proof {
		return err
	}
	find := func(name string) *operation.Step { return &runs[index[k]].Steps[steps[k][name]] }

	var name string
	var w plan.Write
	rows, err = s.pool.Query(ctx, `select w.operation, w.asset, w.step, w.system, w.object, w.field, w.before_value, w.after_value
		from step_write w `+these+` order by w.id`, ops, ids)
	if err != nil {
		return err
	}
	if _, err := pgx.ForEachRow(rows, []any{&k.op, &k.id, &name, &w.System, &w.Object, &w.Field, &w.Before, &w.After}, func() error {
		st := find(name)
		st.Writes = append(st.Writes, w)
		return nil
	}); err != nil {
		return err
	}
	var e operation.Evidence
	rows, err = s.pool.Query(ctx, `select e.operation, e.asset, e.step, e.kind, e.title, e.data::text, e.attempt, e.at, e.digest, coalesce(e.blob, '')
		from evidence e `+these+` order by e.id`, ops, ids)
	if err != nil {
		return err
	}
	var data string
	if _, err = pgx.ForEachRow(rows, []any{&k.op, &k.id, &name, &e.Kind, &e.Title, &data, &e.Attempt, &e.At, &e.Digest, &e.Blob}, func() error {
		e.Data, e.At = json.RawMessage(data), e.At.UTC()
		st := find(name)
		st.Evidence = append(st.Evidence, e)
		return nil
	}); err != nil {
		return err
	}
	rows, err = s.pool.Query(ctx, `select a.operation, a.asset, a.step, a.attempt, a.state, a.rounds, a.error, a.summary, a.started, a.ended
		from step_attempt a `+these+` order by a.attempt`, ops, ids)
	if err != nil {
		return err
	}
	for rows.Next() {
		var a operation.Attempt // new each time: its error is a pointer
		var ended *time.Time
		if err := rows.Scan(&k.op, &k.id, &name, &a.Number, &a.State, &a.Rounds, &a.Error, &a.Summary, &a.Started, &ended); err != nil {
			rows.Close()
			return err
		}
		a.Started, a.Ended = a.Started.UTC(), timeOf(ended)
		st := find(name)
		st.Attempts = append(st.Attempts, a)
	}
	return rows.Err()
}

// GetPlan gives the plan of an operation as it was accepted. A plan that is not what its hash says
// is fault.Internal: somebody changed it in the database.
func (s *Store) GetPlan(ctx context.Context, id operation.ID) (plan.Plan, error) {
	what := "plan of " + string(id)
	var p plan.Plan
	err := s.pool.QueryRow(ctx, `select schema, kind, until, capacity, plan_hash from operation where id = $1`, id).
		Scan(&p.Schema, &p.Kind, &p.Until, &p.Capacity, &p.Hash)
	if noRows(err) {
		return plan.Plan{}, fault.New(fault.NotFound, "there is no operation %s", id)
	}
	if err != nil {
		return plan.Plan{}, translate(what, err)
	}
	rows, err := s.pool.Query(ctx, `select target from run where operation = $1 order by ordinal`, id)
	if err != nil {
		return plan.Plan{}, translate(what, err)
	}
	if p.Targets, err = pgx.CollectRows(rows, pgx.RowTo[plan.Target]); err != nil {
		return plan.Plan{}, translate(what, err)
	}
	if err := p.Verify(); err != nil {
		return plan.Plan{}, fault.Wrap(err, fault.Internal, "%s: %v", what, err)
	}
	return p, nil
}

// InstallHistories gives what our own records tell of those assets that have a past with us.
func (s *Store) InstallHistories(ctx context.Context, ids []asset.ID) (map[asset.ID]operation.InstallHistory, error) {
	rows, err := s.pool.Query(ctx, `
		select a.id, active.at is not null, exists (
			select from run r join operation o on o.id = r.operation
			where r.asset = a.id and o.kind = 'install' and r.started is not null and active.at is null),
			(select max(m.at) from asset_move m where m.asset = a.id and m.to_status = 'staged' and m.cause = 'moved')
		from unnest($1::bigint[]) a (id)
		left join lateral (select max(m.id) as at from asset_move m where m.asset = a.id and m.to_status = 'active') active on true`, ids)
	if err != nil {
		return nil, translate("install histories", err)
	}
	out := map[asset.ID]operation.InstallHistory{}
	var id asset.ID
	var h operation.InstallHistory
	var staged *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &h.EverActive, &h.InstallBegan, &staged}, func() error {
		h.Staged = time.Time{}
		if staged != nil {
			h.Staged = staged.UTC()
		}
		if h != (operation.InstallHistory{}) {
			out[id] = h
		}
		return nil
	})
	return out, translate("install histories", err)
}
