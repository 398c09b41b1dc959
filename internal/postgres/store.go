// Package postgres is the store: who asked, who approved, what happened and what proves it. All
// that the API and the pages show is read from here; Temporal holds only what is in flight.
//
// Words
//
//   - Ask (ask.go): a request becomes an operation with its runs, steps, approval, outbox row and
//     audit row in one transaction, or nothing.
//   - Lock: an asset has at most one run that has not ended, by a partial unique index.
//   - Claim (claim.go): a workflow run takes a queued run; the same workflow run may repeat it. What it
//     takes must be what was approved (approved.go).
//   - Projection (record.go): a transition is applied once, by its sequence number, together with
//     its events, evidence and audit row.
//   - Outbox (outbox.go): what is to be sent to Temporal is written with its cause and sent at
//     least once, under a key that makes sending twice harmless.
//   - Audit chain (audit.go, seal.go): rows are inserted unchained, one sealer chains them, and the
//     signed head is kept outside of the database.
//   - The state machines and the lifecycle stand in SQL too and are checked by triggers; tests prove
//     them equal to the tables in Go.
//
// Every write is one transaction that is harmless to repeat, so a lost connection never leaves half
// of it, and a caller that does not know whether it was committed asks again. Errors carry a fault
// code (errors.go). A Store is safe for concurrent use.
package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cagenut/cagenut/internal/fault"
)

// Store is Cagenut's memory in one PostgreSQL database.
type Store struct {
	pool  *pgxpool.Pool
	audit atomic.Pointer[AuditKeeper] // nil: this process cannot verify the audit chain
	notes atomic.Pointer[Notices]     // nil: nobody is told anything
	plans plans                       // that this process has verified
}

// The limits of one connection. A transaction of ours takes milliseconds; what lasts longer hangs,
// and an answer is better than a hang.
const (
	connectTimeout   = 5 * time.Second
	statementTimeout = "20s"
	lockTimeout      = "10s"
	idleInTxTimeout  = "30s" // a relay holds a row while it talks to Temporal, at most startTimeout
)

// Open connects to a database, which Migrate may still have to fill. url is a PostgreSQL URL or
// keyword string; pool_max_conns in it sets the number of connections (20 when not given).
func Open(ctx context.Context, url string) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx hides the password in its message.
		return nil, fault.Wrap(err, fault.Invalid, "database URL: %v", err)
	}
	explicit, err := pgx.ParseConfig(url)
	if err == nil && explicit.RuntimeParams["pool_max_conns"] == "" {
		cfg.MaxConns = 20
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.HealthCheckPeriod = 15 * time.Second
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	for name, value := range map[string]string{
		"application_name":                    "cagenut",
		"timezone":                            "UTC",
		"statement_timeout":                   statementTimeout,
		"lock_timeout":                        lockTimeout,
		"idle_in_transaction_session_timeout": idleInTxTimeout,
	} {
		if cfg.ConnConfig.RuntimeParams[name] == "" {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "database URL: %v", err)
	}
	s := &Store{pool: pool}
	if err := s.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Close closes all connections, waiting for those in use.
func (s *Store) Close() { s.pool.Close() }

// Pool gives the connections to the drivers that keep their own tables here (internal/secret).
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Ping tells whether PostgreSQL answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return translateAt("reach PostgreSQL", s.pool.Ping(ctx), &s.pool.Config().ConnConfig.Config)
}

// inTx runs fn in a transaction. Deadlocks and serialisation failures, after which PostgreSQL has
// undone everything, are tried again at once. fn must have no effect outside of the transaction.
// what names the call for errors.
func (s *Store) inTx(ctx context.Context, what string, fn func(tx pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := pgx.BeginFunc(ctx, s.pool, fn)
		if err == nil || attempt == 5 || !isContention(err) {
			return translate(what, err)
		}
	}
}

// queueOne adds a statement that must change exactly one row; missing is the error when it does not.
func queueOne(b *pgx.Batch, missing error, sql string, args ...any) {
	b.Queue(sql, args...).Exec(func(tag pgconnTag) error {
		if tag.RowsAffected() != 1 {
			return missing
		}
		return nil
	})
}

// send runs a batch and returns its first error.
func send(ctx context.Context, tx pgx.Tx, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, b).Close()
}

// jsonOf encodes a value for a jsonb column; a nil pointer is NULL.
func jsonOf(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if string(raw) == "null" {
		return nil, nil
	}
	return cleanJSON(raw)
}

// timeOf reads a nullable time: NULL is the zero time.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// nullTime writes the zero time as NULL.
func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// noRows tells whether a query found nothing.
func noRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
