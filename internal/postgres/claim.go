package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

var _ activities.Store = (*Store)(nil)

// Claim moves a run from queued to running for one workflow run, and gives its part of the plan.
// The same workflow run may claim again. Another one's claim, also of a run that has ended, is
// fault.Locked; a run that was aborted before it was claimed is fault.Aborted. A plan that is not the
// one that was approved (approved.go) is fault.OutsidePlan: the run ends as failed and nothing is done.
func (s *Store) Claim(ctx context.Context, c activities.ClaimRequest) (activities.Claim, error) {
	what := fmt.Sprintf("claim asset %s for %s", c.Asset, c.Operation)
	if c.RunID == "" {
		return activities.Claim{}, fault.New(fault.Invalid, "%s: run ID is empty", what)
	}
	var out activities.Claim
	var changed *fault.Error
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		out, changed = activities.Claim{}, nil
		var state operation.State
		var holder, target string
		err := tx.QueryRow(ctx, `
			select r.state, r.run_id, r.seq, r.target::text, o.plan_hash
			from run r join operation o on o.id = r.operation
			where r.operation = $1 and r.asset = $2 for update of r`, c.Operation, c.Asset).
			Scan(&state, &holder, &out.LastSeq, &target, &out.Hash)
		if noRows(err) {
			return fault.New(fault.NotFound, "%s: that operation has no such asset", what)
		}
		if err != nil {
			return err
		}
		switch {
		case holder == c.RunID:
		case state == operation.Aborted && holder == "":
			return fault.New(fault.Aborted, "%s: it was aborted before it began", what)
		case state != operation.Queued:
			e := fault.New(fault.Locked, "%s: workflow run %s has claimed it (%s)", what, holder, state)
			e.Holder = string(c.Operation)
			return e
		}
		if changed, err = s.approved(ctx, tx, what, c.Operation, c.Asset, out.Hash, target); err != nil {
			return err
		}
		if changed != nil {
			return s.refuseRun(ctx, tx, c, changed)
		}
		if err := json.Unmarshal([]byte(target), &out.Target); err != nil {
			return fault.Wrap(err, fault.Internal, "%s: its part of the plan: %v", what, err)
		}
		if out.Known, err = knownOf(ctx, tx, out.Target.Asset); err != nil || holder == c.RunID {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`update run set state = 'running', run_id = $3, started = now(), updated = now()
			where operation = $1 and asset = $2`, c.Operation, c.Asset, c.RunID)
		a := out.Target.Asset
		if err := queueEvent(b, a.Site, 0, operation.Event{At: time.Now().UTC(), Operation: c.Operation, Asset: a.ID, Name: a.Name,
			Kind: "transition", State: operation.Running, Text: "begun"}); err != nil {
			return err
		}
		return send(ctx, tx, b)
	})
	if err == nil && changed != nil {
		err = changed
	}
	if err != nil {
		return activities.Claim{}, err
	}
	return out, nil
}

// knownOf gives what is known of an asset. What was learned about a machine with another
// serial is not about this one: somebody put a new machine behind the same NetBox device.
func knownOf(ctx context.Context, q querier, a asset.Ref) (operation.Known, error) {
	var k operation.Known
	err := q.QueryRow(ctx, `select serial, pin, secret, quirks, network, disks, installed from asset_known where asset = $1`, a.ID).
		Scan(&k.Serial, &k.Pin, &k.Secret, &k.Quirks, &k.Network, &k.Disks, &k.Installed)
	if noRows(err) || (err == nil && k.Serial != "" && !asset.SameSerial(k.Serial, a.Serial)) {
		return operation.Known{}, nil
	}
	return k, err
}
