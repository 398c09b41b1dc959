package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// keptPlans is how many verified plans a process remembers.
const keptPlans = 16

// plans are the plans that this process has verified. The hash is over the whole plan, and each of
// its machines is claimed alone: computing it for each of 5,000 claims would read 5,000 times 5,000
// targets. So a plan is verified once, and what a claim then reads is compared with what was verified.
type plans struct {
	mu    sync.Mutex
	known map[operation.ID]verified
	order []operation.ID // the oldest first

	verifying sync.Mutex // a window of runs begins at once: one of them verifies
}

// verified is a plan that was what its hash says.
type verified struct {
	hash    string
	targets map[asset.ID][sha256.Size]byte // of their JSON as PostgreSQL gives it
}

func (p *plans) get(id operation.ID, hash string) (verified, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, ok := p.known[id]
	return v, ok && v.hash == hash
}

func (p *plans) put(id operation.ID, v verified) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[operation.ID]verified{}
	}
	if _, there := p.known[id]; !there {
		p.order = append(p.order, id)
	}
	p.known[id] = v
	for len(p.order) > keptPlans {
		delete(p.known, p.order[0])
		p.order = p.order[1:]
	}
}

// approved tells why a run may not be carried out; nil when its target is the one of the plan that was
// asked for and approved: the stored plan has the hash that the operation, an approval and the
// request's row in the audit log name. Whoever can change all four leaves a broken audit chain.
func (s *Store) approved(ctx context.Context, tx pgx.Tx, what string, id operation.ID, a asset.ID, hash, target string) (*fault.Error, error) {
	refuse := func(format string, args ...any) *fault.Error {
		f := fault.New(fault.OutsidePlan, "%s: %s", what, fmt.Sprintf(format, args...))
		f.Remedy = "nothing was done. Somebody changed the database: run `cagenut audit-log verify` and find out who; then make a new plan"
		return f
	}
	var approvals, asked int
	err := tx.QueryRow(ctx, `select (select count(*) from approval where operation = $1 and plan_hash = $2),
			(select count(*) from audit where operation = $1 and action = 'operation.create' and detail::jsonb ->> 'plan_hash' = $2)`, id, hash).
		Scan(&approvals, &asked)
	if err != nil {
		return nil, err
	}
	switch {
	case approvals == 0:
		return refuse("nobody approved the plan with hash %s", hash), nil
	case asked == 0:
		return refuse("the audit log has no request for the plan with hash %s", hash), nil
	}
	v, ok := s.plans.get(id, hash)
	if !ok {
		s.plans.verifying.Lock()
		defer s.plans.verifying.Unlock()
		v, ok = s.plans.get(id, hash)
	}
	if !ok {
		v, err = verify(ctx, tx, id, hash)
		if err != nil || v.targets == nil {
			return refuse("the stored plan does not have the approved hash %s", hash), err
		}
		s.plans.put(id, v)
	}
	if v.targets[a] != sha256.Sum256([]byte(target)) {
		return refuse("its part of the plan is not the one that was approved"), nil
	}
	return nil, nil
}

// verify reads a stored plan and computes its hash anew. Without targets, it has another.
func verify(ctx context.Context, tx pgx.Tx, id operation.ID, hash string) (verified, error) {
	p := plan.Plan{Hash: hash}
	if err := tx.QueryRow(ctx, `select schema, kind, until, capacity from operation where id = $1`, id).
		Scan(&p.Schema, &p.Kind, &p.Until, &p.Capacity); err != nil {
		return verified{}, err
	}
	rows, err := tx.Query(ctx, `select asset, target::text from run where operation = $1 order by ordinal`, id)
	if err != nil {
		return verified{}, err
	}
	v := verified{hash: hash, targets: map[asset.ID][sha256.Size]byte{}}
	var a asset.ID
	var text string
	_, err = pgx.ForEachRow(rows, []any{&a, &text}, func() error {
		var t plan.Target
		if err := json.Unmarshal([]byte(text), &t); err != nil || t.Asset.ID != a {
			return nil //nolint:nilerr // without its sum it is refused, and the plan's hash is another
		}
		p.Targets = append(p.Targets, t)
		v.targets[a] = sha256.Sum256([]byte(text))
		return nil
	})
	if err != nil {
		return verified{}, err
	}
	if p.Verify() != nil {
		v = verified{} // approves no target
	}
	return v, nil
}

// refuseRun ends a run that has done nothing yet of a plan that was changed, so that it holds its machine no longer.
func (s *Store) refuseRun(ctx context.Context, tx pgx.Tx, c activities.ClaimRequest, f *fault.Error) error {
	run := runRow{Ref: asset.Ref{ID: c.Asset}}
	err := tx.QueryRow(ctx, `select seq, state, step, name, serial, site, rack from run where operation = $1 and asset = $2`, c.Operation, c.Asset).
		Scan(&run.seq, &run.state, &run.step, &run.Name, &run.Serial, &run.Site, &run.Rack)
	if err != nil {
		return err
	}
	if run.state.Ended() {
		return nil
	}
	b := &pgx.Batch{}
	t := operation.Transition{Operation: c.Operation, Asset: c.Asset, Seq: run.seq + 1, At: time.Now().UTC(), State: operation.Failed, Error: f}
	if err := queueTransition(b, "refuse a changed plan", run, t); err != nil {
		return err
	}
	s.queueEnd(b, t)
	return send(ctx, tx, b)
}
