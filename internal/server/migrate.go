package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
)

// Kinds lists every step that this program can do, as kind/version.
func Kinds() []string {
	return slices.Concat((&activities.Central{}).Kinds(), (&activities.Site{}).Kinds())
}

// migrateWait is how long Temporal may take to know a new namespace everywhere.
const migrateWait = 2 * time.Minute

// MigrateStore brings PostgreSQL to what this program needs, and lists the migrations that ran. It
// refuses, and changes nothing, while an operation that has not ended needs a step that this program
// lacks.
func MigrateStore(ctx context.Context, c *config.Config) ([]string, error) {
	url, err := c.DatabaseURL()
	if err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	var planned bool // an empty database has no steps
	if err := store.Pool().QueryRow(ctx, `select to_regclass('step') is not null and to_regclass('run') is not null`).Scan(&planned); err != nil {
		return nil, fmt.Errorf("look for the table of steps: %w", err)
	}
	if planned {
		if err := store.CheckSteps(ctx, Kinds()); err != nil {
			return nil, err
		}
	}
	return store.Migrate(ctx)
}

// MigrateTemporal makes Temporal's namespace and search attributes where they are missing.
func MigrateTemporal(ctx context.Context, c *config.Config) error {
	conn, err := Temporal(c, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, migrateWait)
	defer cancel()
	return operation.EnsureNamespace(ctx, conn, operation.Retention)
}

// serveUntil serves HTTP until the context ends. A BMC on a slow link takes long for a file, so only
// the header has a deadline.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	web := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { web.Close() })
	defer stop()
	if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("HTTP server on %s: %w", l.Addr(), err)
	}
	return nil
}
