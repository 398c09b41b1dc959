package postgres

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// sealBatch is how many rows one transaction chains.
const sealBatch = 1000

// auditRow is a row of the audit log.
type auditRow struct {
	id                                          int64
	at                                          time.Time
	actor, action, subject, op, request, detail string
	asset                                       int64
	seq                                         int64
	prev, hash                                  []byte
}

const auditColumns = `id, at, actor, action, subject, operation, asset, request, detail`

func (r *auditRow) into() []any {
	return []any{&r.id, &r.at, &r.actor, &r.action, &r.subject, &r.op, &r.asset, &r.request, &r.detail}
}

// chained gives the hash of a row at a place of the chain: SHA-256(prev || canonical row). The
// canonical row is a JSON array of strings in a fixed order.
func (r *auditRow) chained(seq int64, prev []byte) []byte {
	canonical, err := json.Marshal([]string{"cagenut audit row 1", strconv.FormatInt(seq, 10), strconv.FormatInt(r.id, 10),
		r.at.UTC().Format(time.RFC3339Nano), r.actor, r.action, r.subject, r.op, strconv.FormatInt(r.asset, 10), r.request, r.detail})
	if err != nil {
		panic(err) // strings always have a JSON form
	}
	h := sha256.New()
	h.Write(prev)
	h.Write(canonical)
	return h.Sum(nil)
}

// genesis stands before the first row.
func genesis() []byte { return make([]byte, sha256.Size) }

// Sealer chains the rows of the audit log and signs the head. Of several sealers one works at a
// time.
type Sealer struct {
	Store  *Store
	Keeper *AuditKeeper
	Every  time.Duration // 0: one second
	Log    *slog.Logger  // nil: slog.Default
}

// Run seals until the context ends, then seals once more what is there, and returns nil. It goes on
// by itself when PostgreSQL was away.
func (s *Sealer) Run(ctx context.Context) error {
	every, log := s.Every, s.Log
	if every <= 0 {
		every = time.Second
	}
	if log == nil {
		log = slog.Default()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := ""
	for {
		for n := sealBatch; n == sealBatch; { // a full batch: there may be more
			var err error
			if n, err = s.Once(ctx); err != nil && ctx.Err() == nil && err.Error() != failing {
				log.Error("the audit log cannot be sealed", "error", err)
				failing = err.Error()
			} else if err == nil {
				failing = ""
			}
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if _, err := s.Once(last); err != nil {
				log.Warn("the audit log was not sealed at the end; the next start does it", "error", err)
			}
			return nil
		case <-tick.C:
		}
	}
}

// Once chains at most 1,000 rows, signs the new head and says how many rows there were. A chain that
// no longer holds what the last head signed is fault.Conflict: then nothing is sealed over it.
// Killed between the two, the next call signs what was chained.
func (s *Sealer) Once(ctx context.Context) (int, error) {
	var seq int64
	var hash []byte
	rows := 0
	err := s.Store.inTx(ctx, "seal the audit log", func(tx pgx.Tx) error {
		seq, hash, rows = 0, genesis(), 0
		var mine bool
		if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1)`, lockSealer).Scan(&mine); err != nil || !mine {
			return err
		}
		err := tx.QueryRow(ctx, `select seq, hash from audit where seq is not null order by seq desc limit 1`).Scan(&seq, &hash)
		if err != nil && !noRows(err) {
			return err
		}
		if err := s.checkHead(ctx, tx, seq); err != nil {
			return err
		}
		fresh, err := tx.Query(ctx, `select `+auditColumns+` from audit where seq is null order by id limit $1 for update`, sealBatch)
		if err != nil {
			return err
		}
		var ids, seqs []int64
		var prevs, hashes [][]byte
		var r auditRow
		if _, err := pgx.ForEachRow(fresh, r.into(), func() error {
			prev := hash
			seq++
			hash = r.chained(seq, prev)
			ids, seqs, prevs, hashes = append(ids, r.id), append(seqs, seq), append(prevs, prev), append(hashes, hash)
			return nil
		}); err != nil {
			return err
		}
		rows = len(ids)
		if rows == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, `update audit a set seq = s.seq, prev = s.prev, hash = s.hash
			from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[]) s (id, seq, prev, hash) where a.id = s.id`, ids, seqs, prevs, hashes)
		return err
	})
	if err != nil || seq == 0 {
		return 0, err
	}
	return rows, s.Keeper.add(seq, hash, time.Now())
}

// checkHead refuses to go on from a chain that is not the one that was signed. The first head is
// signed before the first row is chained, so that a chain without a head is one whose head was lost.
func (s *Sealer) checkHead(ctx context.Context, tx pgx.Tx, seq int64) error {
	head, there, err := s.Keeper.last()
	switch {
	case err != nil:
		return err
	case !there && seq == 0:
		return s.Keeper.add(0, genesis(), time.Now())
	case !there:
		e := fault.New(fault.Conflict, "the audit chain has %d rows, and its signed head %s is missing", seq, s.Keeper.path)
		e.Remedy = "restore the head file from a back-up; without one, `cagenut audit-log accept-restore` on the server begins a new one and says so in the chain"
		return e
	case head.Seq == 0:
		return nil
	}
	var hash []byte
	err = tx.QueryRow(ctx, `select hash from audit where seq = $1`, head.Seq).Scan(&hash)
	if err != nil && !noRows(err) {
		return err
	}
	if hex.EncodeToString(hash) != head.Hash {
		e := fault.New(fault.Conflict, "the audit chain does not hold row %d as it was signed on %s", head.Seq, head.At.Format(time.RFC3339))
		e.Remedy = "run `cagenut audit-log verify`: rows were changed or deleted; if an older database was restored on purpose, " +
			"`cagenut audit-log accept-restore` on the server goes on from it"
		return e
	}
	return nil
}

// VerifyAudit recomputes the whole chain and compares it with the signed heads of the keeper that
// UseAudit gave.
func (s *Store) VerifyAudit(ctx context.Context) (operation.AuditReport, error) {
	k := s.audit.Load()
	if k == nil {
		e := fault.New(fault.Unsupported, "this server has no audit key, so the audit log is not signed")
		e.Remedy = "set audit.key_file and audit.head_file"
		return operation.AuditReport{}, e
	}
	// Heads first: rows that are sealed meanwhile lie behind them.
	heads, err := k.Heads()
	if err != nil {
		return operation.AuditReport{}, err
	}
	return s.VerifyAuditHeads(ctx, heads, k.Public())
}

// UseAudit gives the store the key and the heads with which VerifyAudit works.
func (s *Store) UseAudit(k *AuditKeeper) { s.audit.Store(k) }

// maxProblems bounds a report: who has changed one row may have changed a million.
const maxProblems = 50

// VerifyAuditHeads recomputes the whole chain and compares it with heads. It finds rows that were
// changed, deleted (also at the end, up to the newest head), inserted or put into another order. It
// reads rows one by one, in one snapshot.
func (s *Store) VerifyAuditHeads(ctx context.Context, heads []Head, key ed25519.PublicKey) (operation.AuditReport, error) {
	v := verifier{want: map[int64]Head{}, prev: genesis(), report: operation.AuditReport{Problems: []string{}}}
	if len(heads) == 0 {
		v.problem("there is no signed head: the end of the chain cannot be proved")
	}
	for _, h := range heads {
		if !h.signedBy(key) {
			v.problem("head %d of %s is not signed with this key", h.Seq, h.At.Format(time.RFC3339))
			continue
		}
		v.expect(h)
	}
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `select count(*) from audit where seq is null`).Scan(&v.report.Unsealed); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select `+auditColumns+`, seq, prev, hash from audit where seq is not null order by seq`)
		if err != nil {
			return err
		}
		var r auditRow
		_, err = pgx.ForEachRow(rows, append(r.into(), &r.seq, &r.prev, &r.hash), func() error {
			v.row(&r)
			return nil
		})
		return err
	})
	if err != nil {
		return operation.AuditReport{}, translate("verify the audit log", err)
	}
	return v.end(), nil
}

// verifier follows the chain row by row.
type verifier struct {
	want   map[int64]Head // signed heads by row
	newest Head
	seq    int64 // of the row before
	prev   []byte
	more   int // problems beyond maxProblems
	report operation.AuditReport
}

func (v *verifier) problem(format string, args ...any) {
	if len(v.report.Problems) == maxProblems {
		v.more++
		return
	}
	v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
}

// expect takes in a signed head, in the order in which they were signed. What a restore lost is not
// expected any more.
func (v *verifier) expect(h Head) {
	if h.Lost != nil {
		maps.DeleteFunc(v.want, func(seq int64, _ Head) bool { return seq >= h.Lost.From })
	}
	v.want[h.Seq] = h
	if h.Seq >= v.newest.Seq || h.Lost != nil {
		v.newest = h
	}
}

func (v *verifier) row(r *auditRow) {
	v.report.Rows++
	switch {
	case r.seq == v.seq+2:
		v.problem("row %d is missing", v.seq+1)
	case r.seq > v.seq+2:
		v.problem("rows %d to %d are missing", v.seq+1, r.seq-1)
	case !bytes.Equal(r.prev, v.prev):
		v.problem("row %d does not follow row %d: a row was changed, inserted or put elsewhere", r.seq, r.seq-1)
	}
	if !bytes.Equal(r.hash, r.chained(r.seq, r.prev)) {
		v.problem("row %d (%s by %s on %s) is not as it was sealed", r.seq, r.action, r.actor, r.at.UTC().Format(time.RFC3339))
	}
	if h, signed := v.want[r.seq]; signed && h.Hash != hex.EncodeToString(r.hash) {
		v.problem("row %d is not the one that was signed on %s", r.seq, h.At.Format(time.RFC3339))
	}
	if r.action == actionRestore {
		v.report.Restores = append(v.report.Restores, fmt.Sprintf("row %d, %s by %s: %s", r.seq, r.at.UTC().Format(time.RFC3339), r.actor, r.detail))
	}
	v.seq, v.prev = r.seq, bytes.Clone(r.hash)
}

func (v *verifier) end() operation.AuditReport {
	if v.newest.Seq > v.seq {
		v.problem("the chain ends at row %d, but row %d was signed on %s: the end was cut off",
			v.seq, v.newest.Seq, v.newest.At.Format(time.RFC3339))
	}
	if v.more > 0 {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf("and %d more", v.more))
	}
	if v.seq > 0 {
		v.report.Head = hex.EncodeToString(v.prev)
	}
	v.report.SignedAt = v.newest.At
	return v.report
}
