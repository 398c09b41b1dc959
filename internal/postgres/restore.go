package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
)

// actionRestore is the action of the row that says in the chain itself what a restore lost.
const actionRestore = "audit.restore"

// Restored is what AcceptRestore found and did.
type Restored struct {
	Seq      int64     `json:"seq"`       // the row that records it
	Kept     int64     `json:"kept"`      // rows of the chain before it
	LostFrom int64     `json:"lost_from"` // first and last row that were signed and are gone
	LostTo   int64     `json:"lost_to"`   // 0: the head file was lost too, and it is not known
	SignedAt time.Time `json:"signed_at,omitzero"`
}

// AcceptRestore lets the audit chain go on from a database that is older than its signed head: it adds
// a row that says which rows were lost, who accepted that and why, chains it and signs it as the new
// head. It refuses (fault.Conflict) a database that holds its head, for then nothing was lost, and one
// that is not an older copy of the same chain: every row is recomputed and every signed head that the
// database is old enough for must be in it. Killed at any line it may be repeated.
func (s *Store) AcceptRestore(ctx context.Context, k *AuditKeeper, actor, reason string) (Restored, error) {
	if strings.TrimSpace(actor) == "" || strings.TrimSpace(reason) == "" {
		return Restored{}, fault.New(fault.Invalid, "accept a restored database: say who accepts it (have %q) and why (have %q)", actor, reason)
	}
	heads, err := k.Heads()
	if err != nil {
		return Restored{}, err
	}
	last, there, err := k.last()
	if err != nil {
		return Restored{}, err
	}
	var out Restored
	var head Head
	err = s.inTx(ctx, "accept a restored database", func(tx pgx.Tx) error {
		// Sealers of other processes stand back, or are waited for.
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0; set local lock_timeout = 0`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, lockSealer); err != nil {
			return err
		}
		v, err := olderCopy(ctx, tx, heads)
		if err != nil {
			return err
		}
		switch {
		case there && last.Seq <= v.seq:
			return nothingLost("the chain has %d rows and holds the newest signed one, %d", v.seq, last.Seq)
		case !there && v.seq == 0:
			return nothingLost("the audit chain has not begun")
		}
		lost := Lost{From: v.seq + 1, To: last.Seq, Hash: last.Hash}
		out = Restored{Seq: v.seq + 1, Kept: v.seq, LostFrom: lost.From, LostTo: lost.To, SignedAt: last.At}
		detail, err := json.Marshal(map[string]any{"reason": reason, "lost_from": lost.From, "lost_to": lost.To, "lost_hash": lost.Hash, "signed_at": last.At})
		if err != nil {
			return err
		}
		r := auditRow{actor: clean(actor), action: actionRestore, subject: "audit chain", detail: clean(string(detail))}
		// PostgreSQL keeps microseconds; what is hashed is what it gives back.
		err = tx.QueryRow(ctx, `insert into audit (at, actor, action, subject, operation, asset, request, detail)
			values (clock_timestamp(), $1, $2, $3, '', 0, '', $4) returning id, at`, r.actor, r.action, r.subject, r.detail).Scan(&r.id, &r.at)
		if err != nil {
			return err
		}
		hash := r.chained(out.Seq, v.prev)
		if _, err := tx.Exec(ctx, `update audit set seq = $2, prev = $3, hash = $4 where id = $1`, r.id, out.Seq, v.prev, hash); err != nil {
			return err
		}
		head = Head{Seq: out.Seq, Hash: hex.EncodeToString(hash), At: time.Now().UTC(), Lost: &lost}
		return nil
	})
	if err != nil {
		return Restored{}, err
	}
	return out, k.append(head)
}

func nothingLost(format string, args ...any) *fault.Error {
	e := fault.New(fault.Conflict, "nothing was lost: "+format, args...)
	e.Remedy = "there is nothing to accept: start `cagenut serve`"
	return e
}

// olderCopy recomputes the chain and refuses one that is not what the heads signed, as far as it goes.
func olderCopy(ctx context.Context, tx pgx.Tx, heads []Head) (verifier, error) {
	var seq int64
	if err := tx.QueryRow(ctx, `select coalesce(max(seq), 0) from audit`).Scan(&seq); err != nil {
		return verifier{}, err
	}
	v := verifier{want: map[int64]Head{}, prev: genesis()}
	for _, h := range heads {
		v.expect(h)
	}
	for s := range v.want {
		if s > seq { // that is what was lost
			delete(v.want, s)
		}
	}
	rows, err := tx.Query(ctx, `select `+auditColumns+`, seq, prev, hash from audit where seq is not null order by seq`)
	if err != nil {
		return v, err
	}
	var r auditRow
	if _, err := pgx.ForEachRow(rows, append(r.into(), &r.seq, &r.prev, &r.hash), func() error {
		v.row(&r)
		return nil
	}); err != nil {
		return v, err
	}
	if n := len(v.report.Problems); n > 0 {
		e := fault.New(fault.Conflict, "this database is not an older copy of the chain that was signed: %s", v.report.Problems[0])
		if n > 1 {
			e.Message += fmt.Sprintf(", and %d more", n-1+v.more)
		}
		e.Remedy = "restore a whole back-up; keep this database and the head file as they are"
		return v, e
	}
	return v, nil
}
