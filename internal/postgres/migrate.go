package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/migrations"
)

// migration is one numbered SQL file.
type migration struct {
	version int
	name    string // file name
	sql     string
	sum     string
}

// readMigrations gives the files of a folder by version, which must be 1, 2, 3 without gaps.
func readMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []migration
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(out)+1 {
			return nil, fmt.Errorf("migration %s: want number %04d", name, len(out)+1)
		}
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(raw)
		out = append(out, migration{version, name, string(raw), hex.EncodeToString(sum[:])})
	}
	return out, nil
}

// The advisory locks, in a number space of our own.
const (
	lockMigrate int64 = 0x6361676e_0001 // "cagn"
	lockEvents  int64 = 0x6361676e_0002
	lockSealer  int64 = 0x6361676e_0003
)

// Migrate brings the database to this program's version and returns the names of the files that it
// applied. Several at once wait for each other. A database that is newer than the program, or whose
// applied files differ from the program's, is fault.Conflict, and nothing is changed.
func (s *Store) Migrate(ctx context.Context) ([]string, error) {
	return s.migrate(ctx, migrations.Files)
}

func (s *Store) migrate(ctx context.Context, files fs.FS) ([]string, error) {
	all, err := readMigrations(files)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "migrate: %v", err)
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, translate("migrate", err)
	}
	// The connection is closed afterwards and not reused: that ends its lock and settings for sure.
	c := conn.Hijack()
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.Exec(ctx, `set statement_timeout = 0; set lock_timeout = '60s'`); err != nil {
		return nil, translate("migrate", err)
	}
	if _, err := c.Exec(ctx, `select pg_advisory_lock($1)`, lockMigrate); err != nil {
		return nil, translate("migrate: wait for another migration", err)
	}
	if _, err := c.Exec(ctx, `create table if not exists schema_version (
		version int primary key, name text not null, sha256 text not null,
		applied timestamptz not null default now())`); err != nil {
		return nil, translate("migrate", err)
	}
	done, err := appliedVersions(ctx, c)
	if err != nil {
		return nil, translate("migrate", err)
	}
	if err := compareVersions(all, done); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range all[len(done):] {
		err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, m.sql); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `insert into schema_version (version, name, sha256) values ($1, $2, $3)`,
				m.version, m.name, m.sum)
			return err
		})
		if err != nil {
			return names, translate("migrate: "+m.name, err)
		}
		names = append(names, m.name)
	}
	return names, nil
}

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func appliedVersions(ctx context.Context, q querier) ([]migration, error) {
	rows, err := q.Query(ctx, `select version, name, sha256 from schema_version order by version`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (m migration, err error) {
		err = r.Scan(&m.version, &m.name, &m.sum)
		return m, err
	})
}

func compareVersions(known, applied []migration) error {
	if len(applied) > len(known) {
		e := fault.New(fault.Conflict, "the database has version %d (%s), this program knows %d: it is too old for this database",
			len(applied), applied[len(applied)-1].name, len(known))
		e.Remedy = "use the newer cagenut, or restore the database from before the upgrade"
		return e
	}
	for i, a := range applied {
		if k := known[i]; a.version != k.version || a.sum != k.sum {
			e := fault.New(fault.Conflict, "migration %s was applied with other content than this program's %s", a.name, k.name)
			e.Remedy = "use the program that made this database, or begin with an empty one"
			return e
		}
	}
	return nil
}

// CheckVersion returns nil when the database is at this program's version. Else it is
// fault.Conflict with what to do.
func (s *Store) CheckVersion(ctx context.Context) error {
	known, err := readMigrations(migrations.Files)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "database version: %v", err)
	}
	applied, err := appliedVersions(ctx, s.pool)
	if err != nil {
		return translate("database version", err)
	}
	if err := compareVersions(known, applied); err != nil {
		return err
	}
	if len(applied) < len(known) {
		e := fault.New(fault.Conflict, "the database has version %d, this program needs %d", len(applied), len(known))
		e.Remedy = "run `cagenut migrate`"
		return e
	}
	return nil
}

// CheckSteps refuses, as fault.Conflict, a program that lacks a step kind which an operation that
// has not ended still needs. known lists kind/version, e.g. bios/1.
func (s *Store) CheckSteps(ctx context.Context, known []string) error {
	rows, err := s.pool.Query(ctx, `
		select t.kind || '/' || t.version, min(t.operation)
		from step t join run r using (operation, asset)
		where r.state not in ('done', 'aborted', 'failed') and t.state in ('pending', 'running', 'parked')
		group by 1 order by 1`)
	if err != nil {
		return translate("steps in use", err)
	}
	var missing []fault.Item
	var kind, op string
	_, err = pgx.ForEachRow(rows, []any{&kind, &op}, func() error {
		if !slices.Contains(known, kind) {
			missing = append(missing, fault.Item{Subject: kind, Seen: "needed by " + op, Remedy: "let it end, or abort it"})
		}
		return nil
	})
	if err != nil {
		return translate("steps in use", err)
	}
	if len(missing) > 0 {
		e := fault.New(fault.Conflict, "operations that have not ended need %d step kinds that this program lacks, first %s (%s)",
			len(missing), missing[0].Subject, missing[0].Seen)
		e.Remedy, e.Details = "let those operations end, or abort them, before upgrading", missing
		return e
	}
	return nil
}
