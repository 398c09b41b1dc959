package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cagenut/cagenut/internal/fault"
)

type pgconnTag = pgconn.CommandTag

// SQLSTATEs that our own triggers raise (migrations).
const (
	stateIllegalLifecycle = "CG001"
	stateIllegalState     = "CG002"
	stateAppendOnly       = "CG003"
)

// translate gives an error its fault code: the one place where what PostgreSQL and pgx say is
// judged. what names the call and its argument. An error that has a code already keeps it.
func translate(what string, err error) error { return translateAt(what, err, nil) }

// translateAt is translate for a caller that knows where PostgreSQL should be: what ran out of time
// says so by itself only when it was the connecting that did.
func translateAt(what string, err error, to *pgconn.Config) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, context.Canceled) {
		return fault.Wrap(err, fault.StoreAway, "%s: cancelled", what)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		if isAway(err) {
			return fault.Wrap(err, fault.StoreAway, "%s: PostgreSQL does not answer%s", what, whereAndWhy(err, to))
		}
		return fault.Wrap(err, fault.Internal, "%s: %v", what, err)
	}
	switch {
	case strings.HasPrefix(pg.Code, "08"), // connection exceptions
		strings.HasPrefix(pg.Code, "57P"),      // shutting down, terminated by an administrator
		strings.HasPrefix(pg.Code, "53"),       // out of connections, memory, disk
		strings.HasPrefix(pg.Code, "28"),       // PostgreSQL refuses the login
		pg.Code == "3D000",                     // no such database
		pg.Code == "25006",                     // read-only: a standby took the address
		pg.Code == "25P03",                     // idle in a transaction for too long
		pg.Code == "55P03", pg.Code == "57014": // lock or statement time-out
		return fault.Wrap(err, fault.StoreAway, "%s: PostgreSQL%s says: %s", what, refusedAt(err), pg.Message)
	case isContention(err):
		return fault.Wrap(err, fault.StoreAway, "%s: PostgreSQL is too busy: %s", what, pg.Message)
	case pg.Code == stateIllegalLifecycle:
		return fault.Wrap(err, fault.IllegalMove, "%s: %s", what, pg.Message)
	case pg.Code == stateIllegalState:
		return fault.Wrap(err, fault.Conflict, "%s: %s", what, pg.Message)
	case pg.Code == "23505": // unique violation
		return fault.Wrap(err, fault.Conflict, "%s: it is there already (%s)", what, pg.ConstraintName)
	case pg.Code == "42P01" || pg.Code == "42703": // no such table or column
		e := fault.Wrap(err, fault.StoreAway, "%s: the database lacks what this version needs: %s", what, pg.Message)
		e.Remedy = "run `cagenut migrate`"
		return e
	}
	return fault.Wrap(err, fault.Internal, "%s: PostgreSQL says: %s (%s)", what, pg.Message, pg.Code)
}

func isAway(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed") ||
		strings.Contains(err.Error(), "closed pool")
}

// isContention tells of failures after which the same transaction may succeed at once.
func isContention(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// isUnique tells whether err is a violation of the named unique index.
func isUnique(err error, index string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == index
}
