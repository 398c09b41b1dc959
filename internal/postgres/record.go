package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// inlineLimit is the size up to which evidence stands in its row. Larger evidence is kept by its
// SHA-256, and the row says {"sha256": ..., "size": ...}.
const inlineLimit = 32 << 10

// runRow is what Record needs of a run before it.
type runRow struct {
	asset.Ref
	seq   int64
	state operation.State
	step  string
}

// Record applies a transition once: a Seq that is not newer than the run's last one is ignored.
// Everything that the transition tells, its events and its audit row are one transaction. When the
// run ends, its lock on the asset is free; when the operation's last run ends, the operation ends.
// operation.SeqLost is ignored by a run that has ended. An illegal change of state is fault.Conflict, an unknown step fault.Invalid; then nothing is kept.
func (s *Store) Record(ctx context.Context, t operation.Transition) error {
	what := fmt.Sprintf("record transition %d of asset %s in %s", t.Seq, t.Asset, t.Operation)
	if t.Seq <= 0 || t.State == "" || t.At.IsZero() {
		return fault.New(fault.Invalid, "%s: needs a sequence number, a state and a time", what)
	}
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		run := runRow{Ref: asset.Ref{ID: t.Asset}}
		err := tx.QueryRow(ctx, `select seq, state, step, name, serial, site, rack from run
			where operation = $1 and asset = $2 for update`, t.Operation, t.Asset).
			Scan(&run.seq, &run.state, &run.step, &run.Name, &run.Serial, &run.Site, &run.Rack)
		if noRows(err) {
			return fault.New(fault.NotFound, "%s: that operation has no such asset", what)
		}
		if err != nil || t.Seq <= run.seq || t.Seq == operation.SeqLost && run.state.Ended() {
			return err
		}
		b := &pgx.Batch{}
		queue := queueTransition
		if t.Seq == operation.SeqLost { // nobody is left to tell what became of the steps
			queue = queueEndedRun
		}
		if err := queue(b, what, run, t); err != nil {
			return err
		}
		if t.Learned != nil {
			if err := queueLearned(ctx, tx, b, run, t); err != nil {
				return err
			}
		}
		if t.State == operation.Waiting && run.state != operation.Waiting {
			if err := s.queueWaiting(b, run, t); err != nil {
				return err
			}
		}
		if t.State.Ended() {
			s.queueEnd(b, t)
		}
		return send(ctx, tx, b)
	})
}

// queueEnd tells of the operation's end when the run was its last. It runs after the trigger has given
// the operation its state.
func (s *Store) queueEnd(b *pgx.Batch, t operation.Transition) {
	b.Queue(`insert into event (at, operation, asset, run_seq, site, body)
		select $2, id, 0, 0, '', jsonb_build_object('at', $2::timestamptz, 'operation', id, 'kind', 'ended', 'state', state,
			'text', 'ended: ' || done || ' done, ' || aborted || ' aborted, ' || failed || ' failed')
		from operation where id = $1 and ended is not null`, t.Operation, t.At)
	s.queueEnded(b, t)
}

func queueTransition(b *pgx.Batch, what string, run runRow, t operation.Transition) error {
	failure, err := jsonOf(t.Error)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "%s: error: %v", what, err)
	}
	left := make([]string, len(t.Left))
	for i := range t.Left {
		left[i] = clean(t.Left[i])
	}
	b.Queue(`update run set seq = $3, state = $4, step = $5, error = $6, left_over = $7, updated = $8,
			ended = case when $9 then $8::timestamptz end
		where operation = $1 and asset = $2`,
		t.Operation, t.Asset, t.Seq, t.State, t.Step, failure, left, t.At, t.State.Ended())
	digests := make(map[string][]proof)
	for _, c := range t.Steps {
		proofs, err := queueStep(b, what, t, c)
		if err != nil {
			return err
		}
		digests[c.Step] = append(digests[c.Step], proofs...)
	}
	for _, e := range eventsOf(run, t) {
		if err := queueEvent(b, run.Site, t.Seq, e); err != nil {
			return fault.Wrap(err, fault.Invalid, "%s: event: %v", what, err)
		}
	}
	if !worthAuditing(run, t) {
		return nil
	}
	detail, err := auditDetail(t, digests)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "%s: audit row: %v", what, err)
	}
	entry := operation.AuditEntry{At: t.At, Actor: "cagenut", Action: "run.transition", Subject: run.Name,
		Operation: t.Operation, Detail: detail}
	if t.Actor != "" {
		entry.Actor, entry.Action = t.Actor, "run."+string(t.Action)
	}
	queueAudit(b, entry, t.Asset)
	return nil
}

// proof names a piece of evidence in the audit chain.
type proof struct {
	Kind   string `json:"kind"`
	Title  string `json:"title"`
	Digest string `json:"digest"` // SHA-256 of the canonical JSON
}

func queueStep(b *pgx.Batch, what string, t operation.Transition, c operation.StepChange) ([]proof, error) {
	failure, err := jsonOf(c.Error)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%s: step %s: error: %v", what, c.Step, err)
	}
	var text *string
	var percent *int
	if c.Progress != nil {
		cleaned := clean(c.Progress.Text)
		text, percent = &cleaned, &c.Progress.Percent
	}
	queueOne(b, fault.New(fault.Invalid, "%s: the run has no step %q", what, c.Step),
		`update step set state = $4, attempt = greatest(attempt, $5), round = $6, progress = $7, percent = $8, error = $9,
			summary = $10, started = case when $4 = 'pending' then started else coalesce(started, $11) end,
			ended = case when $12 then $11::timestamptz end
		where operation = $1 and asset = $2 and name = $3`,
		t.Operation, t.Asset, c.Step, c.State, c.Attempt, c.Round, text, percent, failure, clean(c.Summary), t.At, c.State.Ended())
	if c.Attempt > 0 {
		b.Queue(`insert into step_attempt (operation, asset, step, attempt, state, rounds, error, summary, started, ended)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $10 then $9::timestamptz end)
			on conflict (operation, asset, step, attempt) do update set state = excluded.state,
				rounds = greatest(step_attempt.rounds, excluded.rounds), error = excluded.error,
				summary = excluded.summary, ended = excluded.ended`,
			t.Operation, t.Asset, c.Step, c.Attempt, c.State, c.Round, failure, clean(c.Summary), t.At,
			c.State.Ended() || c.State == operation.StepParked)
	}
	for _, w := range c.Writes {
		b.Queue(`insert into step_write (operation, asset, step, attempt, system, object, field, before_value, after_value, at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, t.Operation, t.Asset, c.Step, c.Attempt,
			clean(w.System), clean(w.Object), clean(w.Field), clean(w.Before), clean(w.After), t.At)
		if w.System == "netbox" && w.Field == "status" {
			queueMove(b, t, w)
		}
	}
	var proofs []proof
	for _, e := range c.Evidence {
		p, err := queueEvidence(b, t, c, e)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "%s: step %s: evidence %q: %v", what, c.Step, e.Kind, err)
		}
		proofs = append(proofs, p)
	}
	return proofs, nil
}

// queueMove notes a status that we changed in NetBox: from what was seen there, by a legal move.
func queueMove(b *pgx.Batch, t operation.Transition, w plan.Write) {
	if w.Before != plan.Unknown {
		// Unless NetBox's webhook has told of our own write before this.
		b.Queue(`insert into asset_status (asset, status, cause, operation, at) values ($1, $2, 'observed', $3, $4)
			on conflict (asset) do update set status = excluded.status, cause = excluded.cause,
				operation = excluded.operation, at = excluded.at
			where asset_status.status not in (excluded.status, $5)`, t.Asset, clean(w.Before), t.Operation, t.At, clean(w.After))
	}
	b.Queue(`insert into asset_status (asset, status, cause, operation, at) values ($1, $2, 'moved', $3, $4)
		on conflict (asset) do update set status = excluded.status, cause = excluded.cause,
			operation = excluded.operation, at = excluded.at`, t.Asset, clean(w.After), t.Operation, t.At)
}

func queueEvidence(b *pgx.Batch, t operation.Transition, c operation.StepChange, e operation.Evidence) (proof, error) {
	data, err := cleanJSON(e.Data)
	if err != nil {
		return proof{}, err
	}
	digest, err := plan.Digest(json.RawMessage(data))
	if err != nil {
		return proof{}, err
	}
	var blob *string
	if len(data) > inlineLimit {
		sum := sha256.Sum256(data)
		name := hex.EncodeToString(sum[:])
		blob = &name
		b.Queue(`insert into evidence_blob (sha256, data) values ($1, $2) on conflict do nothing`, name, data)
		if data, err = json.Marshal(map[string]any{"sha256": name, "size": len(data)}); err != nil {
			return proof{}, err
		}
	}
	b.Queue(`insert into evidence (operation, asset, step, attempt, kind, title, data, digest, at, blob)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		t.Operation, t.Asset, c.Step, c.Attempt, clean(e.Kind), clean(e.Title), data, digest, t.At, blob)
	return proof{e.Kind, e.Title, digest}, nil
}

// EvidenceBlob gives evidence that was too large for its row, by its SHA-256 in hex: that of a machine
// in one of sites, or of any when there are none. What is not what its name says is fault.Internal.
func (s *Store) EvidenceBlob(ctx context.Context, name string, sites []string) (json.RawMessage, error) {
	var data []byte
	err := s.pool.QueryRow(ctx, `select data from evidence_blob b where sha256 = $1 and exists (
			select from evidence e join run r using (operation, asset)
			where e.blob = b.sha256 and (cardinality($2::text[]) = 0 or r.site = any($2)))`, name, nonNil(sites)).Scan(&data)
	if noRows(err) {
		return nil, fault.New(fault.NotFound, "there is no evidence with SHA-256 %s", name)
	}
	if err != nil {
		return nil, translate("evidence "+name, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != name {
		return nil, fault.New(fault.Internal, "evidence %s has another SHA-256: it was changed in the database", name)
	}
	return data, nil
}

// worthAuditing tells whether a transition changed anything but how far a step is.
func worthAuditing(run runRow, t operation.Transition) bool {
	if t.State != run.state || t.Step != run.step || t.Actor != "" || t.Error != nil || len(t.Left) > 0 {
		return true
	}
	for _, c := range t.Steps {
		if c.State != operation.StepRunning || c.Error != nil || len(c.Writes) > 0 || len(c.Evidence) > 0 {
			return true
		}
	}
	return false
}

func auditDetail(t operation.Transition, proofs map[string][]proof) (string, error) {
	type step struct {
		Step     string              `json:"step"`
		State    operation.StepState `json:"state"`
		Attempt  int                 `json:"attempt"`
		Summary  string              `json:"summary,omitempty"`
		Error    *fault.Error        `json:"error,omitempty"`
		Writes   []plan.Write        `json:"writes,omitempty"`
		Evidence []proof             `json:"evidence,omitempty"`
	}
	d := struct {
		Seq    int64            `json:"seq"`
		State  operation.State  `json:"state"`
		Step   string           `json:"step,omitempty"`
		Action operation.Action `json:"action,omitempty"`
		Reason string           `json:"reason,omitempty"`
		Error  *fault.Error     `json:"error,omitempty"`
		Left   []string         `json:"left,omitempty"`
		Steps  []step           `json:"steps,omitempty"`
	}{t.Seq, t.State, t.Step, t.Action, t.Reason, t.Error, t.Left, nil}
	for _, c := range t.Steps {
		d.Steps = append(d.Steps, step{c.Step, c.State, c.Attempt, c.Summary, c.Error, c.Writes, proofs[c.Step]})
	}
	raw, err := json.Marshal(d)
	return string(raw), err
}

// queueLearned keeps what was learned about the asset; fields that are empty stay as they
// were, unless the machine is another one by its serial. A change of pin is an audit row.
func queueLearned(ctx context.Context, tx pgx.Tx, b *pgx.Batch, run runRow, t operation.Transition) error {
	old, err := knownOf(ctx, tx, run.Ref)
	if err != nil {
		return err
	}
	now, l := old, *t.Learned
	if l.Serial != "" && old.Serial != "" && !asset.SameSerial(l.Serial, old.Serial) {
		now = operation.Known{}
	}
	l.Serial, l.Pin, l.Secret = clean(l.Serial), clean(l.Pin), clean(l.Secret)
	now = now.Merge(l)
	if now.Serial == "" {
		now.Serial = run.Serial
	}
	quirks := now.Quirks
	if quirks == nil {
		quirks = []string{}
	}
	b.Queue(`insert into asset_known (asset, serial, pin, secret, quirks, network, disks, installed, operation, updated)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		on conflict (asset) do update set serial = excluded.serial, pin = excluded.pin, secret = excluded.secret,
			quirks = excluded.quirks, network = excluded.network, disks = excluded.disks, installed = excluded.installed,
			operation = excluded.operation, updated = excluded.updated`,
		t.Asset, now.Serial, now.Pin, now.Secret, quirks, now.Network, now.Disks, now.Installed, t.Operation, t.At)
	if now.Pin == old.Pin {
		return nil
	}
	detail, err := json.Marshal(map[string]string{"serial": now.Serial, "before": old.Pin, "after": now.Pin, "step": t.Step})
	if err != nil {
		return err
	}
	actor := t.Actor
	if actor == "" {
		actor = "cagenut"
	}
	queueAudit(b, operation.AuditEntry{At: t.At, Actor: actor, Action: "bmc.pin", Subject: run.Name,
		Operation: t.Operation, Detail: string(detail)}, t.Asset)
	return nil
}

// Known gives what is known of an asset's BMC; the zero value when nothing is.
func (s *Store) Known(ctx context.Context, a asset.Ref) (operation.Known, error) {
	k, err := knownOf(ctx, s.pool, a)
	return k, translate("known of asset "+a.ID.String(), err)
}
