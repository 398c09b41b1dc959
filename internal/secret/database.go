package secret

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cagenut/cagenut/internal/fault"
)

// Database keeps records in PostgreSQL (table secret), each sealed with AES-256-GCM by a key that is
// kept outside of it.
type Database struct {
	Pool *pgxpool.Pool
	Ring *Ring
}

// Get reads and opens a record.
func (d *Database) Get(ctx context.Context, ref string) (Record, error) {
	r, _, err := d.get(ctx, d.Pool, ref)
	return r, err
}

type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (d *Database) get(ctx context.Context, q queryer, ref string) (Record, bool, error) {
	var keyID string
	var sealed []byte
	err := q.QueryRow(ctx, `select key_id, sealed from secret where ref = $1`, ref).Scan(&keyID, &sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, away("read secret "+ref, err)
	}
	plain, err := d.Ring.open(ref, keyID, sealed)
	if err != nil {
		return Record{}, false, err
	}
	var r Record
	if err := json.Unmarshal(plain, &r); err != nil {
		return Record{}, false, fault.New(fault.Internal, "secret %s: its content is not a record", ref)
	}
	return r, true, nil
}

// Update changes a record in one transaction. A lock on the reference makes others wait, also while
// there is no row yet.
func (d *Database) Update(ctx context.Context, ref string, change func(Record) (Record, error)) error {
	err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 7))`, ref); err != nil {
			return err
		}
		old, _, err := d.get(ctx, tx, ref)
		if err != nil {
			return err
		}
		next, err := change(old.clone())
		if err != nil || reflect.DeepEqual(old, next) {
			return err
		}
		plain, err := json.Marshal(next)
		if err != nil {
			return fault.New(fault.Internal, "secret %s: cannot be encoded", ref)
		}
		keyID, sealed, err := d.Ring.seal(ref, plain)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `insert into secret (ref, key_id, sealed, version, updated) values ($1, $2, $3, 1, now())
			on conflict (ref) do update set key_id = excluded.key_id, sealed = excluded.sealed,
				version = secret.version + 1, updated = excluded.updated`, ref, keyID, sealed)
		return err
	})
	return away("change secret "+ref, err)
}

// Has looks for the rows, without opening them.
func (d *Database) Has(ctx context.Context, refs []string) (map[string]bool, error) {
	rows, err := d.Pool.Query(ctx, `select ref from secret where ref = any($1)`, refs)
	if err != nil {
		return nil, away("look for secrets", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, away("look for secrets", err)
	}
	out := make(map[string]bool, len(refs))
	for _, ref := range found {
		out[ref] = true
	}
	return out, nil
}

// Rotate seals every record that an older key sealed with the ring's first key and says how many
// there were. It may be repeated; afterwards the older keys are not needed any more.
func (d *Database) Rotate(ctx context.Context) (int, error) {
	rows, err := d.Pool.Query(ctx, `select ref from secret where key_id <> $1 order by ref`, d.Ring.first)
	if err != nil {
		return 0, away("rotate the secrets key", err)
	}
	refs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, away("rotate the secrets key", err)
	}
	for i, ref := range refs {
		err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) error {
			var keyID string
			var sealed []byte
			if err := tx.QueryRow(ctx, `select key_id, sealed from secret where ref = $1 for update`, ref).Scan(&keyID, &sealed); err != nil {
				return err
			}
			keyID, sealed, err := d.Ring.rewrap(ref, keyID, sealed)
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `update secret set key_id = $2, sealed = $3 where ref = $1`, ref, keyID, sealed)
			return err
		})
		if err != nil {
			return i, away("rotate the key of secret "+ref, err)
		}
	}
	return len(refs), nil
}

// away gives errors of PostgreSQL their code; those that have one keep it.
func away(what string, err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return fault.Wrap(err, fault.StoreAway, "%s: PostgreSQL does not answer or refuses", what)
}
