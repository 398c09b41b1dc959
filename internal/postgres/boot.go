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

// OutboxSignal is the kind of an item whose payload is an operation.Signal: tell a run of an event.
const OutboxSignal = "signal"

// The most that one boot record keeps. A machine that boots again and again makes tokens, and one
// that is not what it should be makes refusals.
const (
	maxBootTokens  = 64
	maxBootEvents  = 500
	maxBootRefused = 50
)

const bootRow = `select b.id, b.operation, b.asset, r.name, r.serial, r.site, r.rack, b.step, b.purpose, b.attempt, b.macs, b.serial, b.uuid,
	b.machine, b.stages, b.opened, b.expires, b.revoked, b.claimed, r.state
	from boot_record b join run r on r.operation = b.operation and r.asset = b.asset `

func scanBoot(row pgx.Row) (operation.BootRecord, error) {
	var b operation.BootRecord
	var revoked *time.Time
	a := &b.Asset
	err := row.Scan(&b.ID, &b.Operation, &a.ID, &a.Name, &a.Serial, &a.Site, &a.Rack, &b.Step, &b.Purpose, &b.Attempt, &b.MACs, &b.Serial, &b.UUID,
		&b.Machine, &b.Stages, &b.Opened, &b.Expires, &revoked, &b.Claimed, &b.Run)
	b.Opened, b.Expires, b.Revoked = b.Opened.UTC(), b.Expires.UTC(), timeOf(revoked)
	if len(b.Stages) == 0 {
		b.Stages = nil
	}
	return b, err
}

// OpenBoot opens a boot record for a run that has not ended, and closes what else was open for the
// asset. It is harmless to repeat for the same operation, asset, step, purpose and attempt: the record is
// as it was first opened and created is false; another token, which the caller made because it never
// learned what became of the first, is then good too. A record that was closed is fault.BootUsed.
func (s *Store) OpenBoot(ctx context.Context, o operation.BootOpen) (record operation.BootRecord, created bool, err error) {
	what := fmt.Sprintf("open the boot record of asset %s in %s, attempt %d", o.Asset, o.Operation, o.Attempt)
	macs, err := checkOpen(what, o)
	if err != nil {
		return operation.BootRecord{}, false, err
	}
	machine, err := cleanJSON(o.Machine)
	if err != nil {
		return operation.BootRecord{}, false, fault.Wrap(err, fault.Invalid, "%s: machine: %v", what, err)
	}
	err = s.inTx(ctx, what, func(tx pgx.Tx) error {
		created = false
		var run struct {
			state      operation.State
			name, site string
		}
		// The run's row is what openers, and the end of the run, wait for each other on.
		err := tx.QueryRow(ctx, `select state, name, site from run where operation = $1 and asset = $2 for update`, o.Operation, o.Asset).
			Scan(&run.state, &run.name, &run.site)
		if noRows(err) {
			return fault.New(fault.NotFound, "%s: that operation has no such asset", what)
		}
		if err != nil {
			return err
		}
		record, err = scanBoot(tx.QueryRow(ctx, bootRow+`where b.operation = $1 and b.asset = $2 and b.step = $3 and b.purpose = $4 and b.attempt = $5`,
			o.Operation, o.Asset, o.Step, o.Purpose, o.Attempt))
		switch {
		case err == nil:
			if err := record.Live(o.At); err != nil {
				return err
			}
			return addToken(ctx, tx, record.ID, o.TokenSum, o.At)
		case !noRows(err):
			return err
		case run.state.Ended():
			return fault.New(fault.Conflict, "%s: the run is %s", what, run.state)
		}
		if _, err := tx.Exec(ctx, `update boot_record set revoked = $2 where asset = $1 and revoked is null`, o.Asset, o.At); err != nil {
			return err
		}
		var id int64
		err = tx.QueryRow(ctx, `insert into boot_record (operation, asset, step, purpose, attempt, macs, serial, uuid, machine, opened, expires)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) returning id`,
			o.Operation, o.Asset, o.Step, o.Purpose, o.Attempt, macs, clean(o.Serial), clean(o.UUID), machine, o.At, o.Expires).Scan(&id)
		if err != nil {
			return err
		}
		if err := addToken(ctx, tx, id, o.TokenSum, o.At); err != nil {
			return err
		}
		b := &pgx.Batch{}
		queueAudit(b, operation.AuditEntry{At: o.At, Actor: "cagenut", Action: "boot.open", Subject: run.name, Operation: o.Operation,
			Detail: fmt.Sprintf("%s, attempt %d, until %s", o.Purpose, o.Attempt, o.Expires.UTC().Format(time.RFC3339))}, o.Asset)
		if err := send(ctx, tx, b); err != nil {
			return err
		}
		created = true
		record, err = scanBoot(tx.QueryRow(ctx, bootRow+`where b.id = $1`, id))
		return err
	})
	if err != nil {
		return operation.BootRecord{}, false, err
	}
	return record, created, nil
}

func checkOpen(what string, o operation.BootOpen) (macs []string, err error) {
	for _, s := range o.MACs {
		mac, ok := asset.NormalMAC(s)
		if !ok {
			return nil, fault.New(fault.Invalid, "%s: MAC %q is none", what, s)
		}
		if !slices.Contains(macs, mac) {
			macs = append(macs, mac)
		}
	}
	var machine struct{ Boot struct{ Base string } }
	switch _, ok := o.TokenSum.Bytes(); {
	case len(macs) == 0:
		return nil, fault.New(fault.Invalid, "%s: no MAC: any machine would do", what)
	case !ok:
		return nil, fault.New(fault.Invalid, "%s: what is kept of a token is its SHA-256", what)
	case o.Purpose != operation.ForAgent && o.Purpose != operation.ForInstall:
		return nil, fault.New(fault.Invalid, "%s: purpose %q: use agent or install", what, o.Purpose)
	case o.Attempt <= 0 || o.At.IsZero() || !o.Expires.After(o.At):
		return nil, fault.New(fault.Invalid, "%s: needs an attempt, a time, and a later one at which it expires", what)
	case json.Unmarshal(o.Machine, &machine) != nil:
		return nil, fault.New(fault.Invalid, "%s: machine is not JSON of a machine", what)
	case machine.Boot.Base != "":
		return nil, fault.New(fault.Invalid, "%s: machine holds its one-time URL, which is kept nowhere", what)
	}
	return macs, nil
}

// CloseBoot closes a record, and with it its tokens. What is closed already stays as it was.
func (s *Store) CloseBoot(ctx context.Context, id int64, at time.Time) error {
	what := fmt.Sprintf("close boot record %d", id)
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		record, err := lockBoot(ctx, tx, what, id)
		if err != nil || !record.Revoked.IsZero() {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`update boot_record set revoked = $2 where id = $1`, id, at)
		queueAudit(b, operation.AuditEntry{At: at, Actor: "cagenut", Action: "boot.close", Subject: record.Asset.Name, Operation: record.Operation,
			Detail: string(record.Purpose)}, record.Asset.ID)
		return send(ctx, tx, b)
	})
}

// lockBoot reads a record that is about to change.
func lockBoot(ctx context.Context, tx pgx.Tx, what string, id int64) (operation.BootRecord, error) {
	record, err := scanBoot(tx.QueryRow(ctx, bootRow+`where b.id = $1 for update of b`, id))
	if noRows(err) {
		return record, fault.New(fault.NotFound, "%s: there is no such record", what)
	}
	return record, err
}

// GetBoot gives a record, open or not; fault.NotFound without one.
func (s *Store) GetBoot(ctx context.Context, id int64) (operation.BootRecord, error) {
	record, err := scanBoot(s.pool.QueryRow(ctx, bootRow+`where b.id = $1`, id))
	if noRows(err) {
		return record, fault.New(fault.NotFound, "there is no boot record %d", id)
	}
	return record, translate(fmt.Sprintf("boot record %d", id), err)
}

// BootState gives the newest record that a step's attempt opened, or the newest of the operation when
// step is empty, with what its machine told; fault.NotFound without one.
func (s *Store) BootState(ctx context.Context, op operation.ID, a asset.ID, step string, attempt int) (operation.BootState, error) {
	record, err := scanBoot(s.pool.QueryRow(ctx, bootRow+`where b.operation = $1 and b.asset = $2 and ($3 = '' or b.step = $3 and b.attempt = $4)
		order by b.id desc limit 1`, op, a, step, attempt))
	if noRows(err) {
		if step == "" {
			return operation.BootState{}, fault.New(fault.NotFound, "%s opened no boot record for asset %s", op, a)
		}
		return operation.BootState{}, fault.New(fault.NotFound, "step %s of %s opened no boot record in attempt %d for asset %s", step, op, attempt, a)
	}
	if err != nil {
		return operation.BootState{}, translate("boot record of "+string(op), err)
	}
	events, err := s.bootEvents(ctx, `where b.id = $1`, record.ID)
	return operation.BootState{Record: record, Events: events}, err
}

// BootByToken gives the record of a token, open or not: BootRecord.Live tells which. An unknown
// token is fault.NotFound.
func (s *Store) BootByToken(ctx context.Context, sum operation.BootSum) (operation.BootRecord, error) {
	raw, ok := sum.Bytes()
	if !ok {
		return operation.BootRecord{}, fault.New(fault.Invalid, "a token is looked up by its SHA-256")
	}
	record, err := scanBoot(s.pool.QueryRow(ctx, bootRow+`join boot_token t on t.boot = b.id where t.sum = $1`, raw))
	if noRows(err) {
		return record, fault.New(fault.NotFound, "nobody made this one-time token")
	}
	return record, translate("boot record by token", err)
}

// BootByMAC gives the open record of the machine with a MAC, whose operation holds the asset;
// fault.NotFound when there is none, fault.Conflict when several machines have the MAC.
func (s *Store) BootByMAC(ctx context.Context, mac string, now time.Time) (operation.BootRecord, error) {
	normal, ok := asset.NormalMAC(mac)
	if !ok {
		return operation.BootRecord{}, fault.New(fault.Invalid, "%q is no MAC address", mac)
	}
	rows, err := s.pool.Query(ctx, bootRow+`where b.macs @> array[$1] and b.revoked is null and b.expires > $2
		and r.state not in ('done', 'aborted', 'failed') order by b.id limit 2`, normal, now)
	if err != nil {
		return operation.BootRecord{}, translate("boot record by MAC", err)
	}
	records, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (operation.BootRecord, error) { return scanBoot(row) })
	switch {
	case err != nil:
		return operation.BootRecord{}, translate("boot record by MAC", err)
	case len(records) == 0:
		return operation.BootRecord{}, fault.New(fault.NotFound, "no operation boots a machine with MAC %s", normal)
	case len(records) > 1:
		e := fault.New(fault.Conflict, "%s and %s both have MAC %s", records[0].Asset.Name, records[1].Asset.Name, normal)
		e.Remedy = "correct the MAC of one of them in NetBox, then `cagenut op retry`"
		return operation.BootRecord{}, e
	}
	return records[0], nil
}

// AddBootToken makes another token good for an open record: the boot service makes one for a machine
// that is known by its MAC alone.
func (s *Store) AddBootToken(ctx context.Context, id int64, sum operation.BootSum, at time.Time) error {
	what := fmt.Sprintf("add a token to boot record %d", id)
	if _, ok := sum.Bytes(); !ok {
		return fault.New(fault.Invalid, "%s: what is kept of a token is its SHA-256", what)
	}
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		record, err := lockBoot(ctx, tx, what, id)
		if err == nil {
			err = record.Live(at)
		}
		if err != nil {
			return err
		}
		return addToken(ctx, tx, id, sum, at)
	})
}

func addToken(ctx context.Context, tx pgx.Tx, id int64, sum operation.BootSum, at time.Time) error {
	raw, _ := sum.Bytes()
	var n int
	var owner *int64
	err := tx.QueryRow(ctx, `select (select count(*) from boot_token where boot = $1), (select boot from boot_token where sum = $2)`, id, raw).Scan(&n, &owner)
	switch {
	case err != nil:
		return err
	case owner != nil && *owner == id:
		return nil
	case owner != nil:
		return fault.New(fault.Conflict, "the token belongs to another boot record")
	case n >= maxBootTokens:
		e := fault.New(fault.Conflict, "boot record %d has %d one-time tokens: something boots again and again", id, n)
		e.Remedy = "look at the machine's console, then `cagenut op retry`"
		return e
	}
	_, err = tx.Exec(ctx, `insert into boot_token (sum, boot, at) values ($1, $2, $3)`, raw, id, at)
	return err
}

// SaveEvent keeps what a machine reported, and in the same transaction what tells its run. An event
// that is known already (the same stage and body) is success, also when the record was closed since:
// its first answer may have been lost. A machine that is not the record's is fault.WrongMachine and
// noted as an event; events of our own stages are not compared.
func (s *Store) SaveEvent(ctx context.Context, e operation.BootEvent) (operation.Heard, error) {
	what := fmt.Sprintf("event %s of boot record %d", e.Stage, e.Boot)
	switch {
	case !operation.ValidStage(e.Stage):
		return operation.Heard{}, fault.New(fault.Invalid, "%s: stage %q: use small letters, digits and -", what, e.Stage)
	case len(e.Body) > operation.MaxStageBody || e.At.IsZero():
		return operation.Heard{}, fault.New(fault.Invalid, "%s: needs a time and at most %d bytes, has %d", what, operation.MaxStageBody, len(e.Body))
	}
	var heard operation.Heard
	var refused error
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		refused = nil
		record, err := lockBoot(ctx, tx, what, e.Boot)
		if err != nil {
			return err
		}
		heard = operation.Heard{Digest: operation.DigestOf(e.Stage, e.Body), Repeated: true}
		err = tx.QueryRow(ctx, `select id from boot_event where boot = $1 and digest = $2`, e.Boot, heard.Digest).Scan(&heard.Sequence)
		if !noRows(err) {
			return err
		}
		heard.Repeated = false
		if err := record.Live(e.At); err != nil {
			return err
		}
		if !operation.OwnStage(e.Stage) {
			if refused = record.Prove(operation.IdentityOf(e.Body)); refused != nil {
				return noteRefused(ctx, tx, record, e, refused)
			}
		}
		heard.Sequence, err = addEvent(ctx, tx, record, e)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return operation.Heard{}, err
	}
	return heard, nil
}

// noteRefused keeps that something was refused; more of the same is only answered.
func noteRefused(ctx context.Context, tx pgx.Tx, record operation.BootRecord, e operation.BootEvent, why error) error {
	body := fmt.Sprintf("stage=%s\nreason=%s\nfrom=%s\n", e.Stage, why, e.From)
	var n int
	var known bool
	err := tx.QueryRow(ctx, `select count(*), coalesce(bool_or(digest = $3), false) from boot_event where boot = $1 and stage = $2`,
		record.ID, operation.StageRefused, operation.DigestOf(operation.StageRefused, []byte(body))).Scan(&n, &known)
	if err != nil || known || n >= maxBootRefused {
		return err
	}
	_, err = addEvent(ctx, tx, record, operation.BootEvent{Stage: operation.StageRefused, Body: []byte(body), From: e.From, At: e.At})
	return err
}

// toldAs is how the stages of our own are told to people.
var toldAs = map[string]string{
	operation.StageAsked:   "asked over the network what to boot, and was told",
	operation.StageFetched: "its installer runs, and has its answers",
	operation.StageClaimed: "its agent runs",
	operation.StageRefused: "a report was refused",
}

// addEvent inserts an event that is not known yet, with all that follows from it.
func addEvent(ctx context.Context, tx pgx.Tx, record operation.BootRecord, e operation.BootEvent) (int64, error) {
	digest := operation.DigestOf(e.Stage, e.Body)
	var n int
	var sequence int64
	if err := tx.QueryRow(ctx, `select count(*) from boot_event where boot = $1`, record.ID).Scan(&n); err != nil {
		return 0, err
	}
	if n >= maxBootEvents {
		return 0, fault.New(fault.Conflict, "boot record %d has %d events: the machine reports without end", record.ID, n)
	}
	err := tx.QueryRow(ctx, `insert into boot_event (boot, stage, digest, body, sender, at) values ($1, $2, $3, $4, $5, $6) returning id`,
		record.ID, e.Stage, digest, e.Body, clean(e.From), e.At).Scan(&sequence)
	if err != nil {
		return 0, err
	}
	b := &pgx.Batch{}
	b.Queue(`update boot_record set stages = stages || $2::text where id = $1 and not stages @> array[$2::text]`, record.ID, e.Stage)
	payload, err := jsonOf(operation.Signal{Asset: record.Asset.ID,
		Reached: operation.Reached{Operation: record.Operation, Sequence: sequence, Stage: e.Stage, Digest: digest}})
	if err != nil {
		return 0, err
	}
	b.Queue(`insert into outbox (kind, key, operation, payload, created, next_at) values ($1, $2, $3, $4, $5, $5)`,
		OutboxSignal, fmt.Sprintf("signal/%s/%s/%d", record.Operation, record.Asset.ID, sequence), record.Operation, payload, e.At)
	text, ok := toldAs[e.Stage]
	if !ok {
		text = "reported " + e.Stage
	}
	if r := operation.ParseReport(e.Body)["reason"]; len(r) > 0 {
		text += ": " + r[0]
	}
	if err := queueEvent(b, record.Asset.Site, 0, operation.Event{At: e.At, Operation: record.Operation, Asset: record.Asset.ID,
		Name: record.Asset.Name, Kind: "boot", State: record.Run, Text: text}); err != nil {
		return 0, err
	}
	b.Queue(`select pg_notify($1, '')`, outboxChannel) // a machine reports five times in an install
	return sequence, send(ctx, tx, b)
}

// BootEvents gives what the machine of a run reported, oldest first, over all its records.
func (s *Store) BootEvents(ctx context.Context, op operation.ID, a asset.ID) ([]operation.BootEvent, error) {
	return s.bootEvents(ctx, `where b.operation = $1 and b.asset = $2`, op, a)
}

func (s *Store) bootEvents(ctx context.Context, where string, args ...any) ([]operation.BootEvent, error) {
	rows, err := s.pool.Query(ctx, `select e.boot, e.id, e.stage, e.digest, e.body, e.sender, e.at
		from boot_event e join boot_record b on b.id = e.boot `+where+` order by e.id`, args...)
	if err != nil {
		return nil, translate("events of machines", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (operation.BootEvent, error) {
		var e operation.BootEvent
		err := row.Scan(&e.Boot, &e.Sequence, &e.Stage, &e.Digest, &e.Body, &e.From, &e.At)
		e.At = e.At.UTC()
		return e, err
	})
	return out, translate("events of machines", err)
}
