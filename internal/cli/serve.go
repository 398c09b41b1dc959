package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/server"
)

// asFault finds a fault in an error, nil when there is none.
func asFault(err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return nil
}

func newServeCommand(s Streams) *cobra.Command {
	var f configFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the API, the relay to Temporal and the sealer of the audit chain",
		Long: `Runs until it is told to end (SIGTERM, Ctrl-C). Needs PostgreSQL (migrated), NetBox's address and token, and the
keys; Temporal may be away for a while. Several can run side by side. Logs go to standard error.`,
		Example: `  cagenut serve --config /etc/cagenut/cagenut.yaml
  cagenut serve --listen 127.0.0.1:7780 --database-url postgres:///cagenut`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			return server.Serve(c.Context(), cfg, s.options(cfg))
		},
	}
	f.add(c, map[string]string{"api.listen": "listen: host:port of the API", "database.url": "database-url: PostgreSQL",
		"temporal.host": "temporal-host: host:port of Temporal"})
	return c
}

func newWorkerCommand(s Streams) *cobra.Command {
	var f configFlags
	var site string
	var hurry int
	c := &cobra.Command{
		Use:   "worker [--site SLUG]",
		Short: "Run the central worker, or with --site the worker beside a site's BMCs",
		Long: `Without --site: all workflows, and what touches PostgreSQL and NetBox. With --site: what touches that site's BMCs,
and the files that they fetch; such a worker knows Temporal and the API (worker.url, worker.token_file), never
PostgreSQL or NetBox. Runs until it is told to end, and then logs out of every BMC.`,
		Example: `  cagenut worker --config /etc/cagenut/cagenut.yaml
  cagenut worker --site ams01 --config /etc/cagenut/ams01.yaml`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			o := s.options(cfg)
			o.Faster = hurry
			return server.Worker(c.Context(), cfg, site, o)
		},
	}
	c.Flags().IntVar(&hurry, "hurry", 1, "divide every wait for broken things by this; for tests and the demo, the same for all workers")
	if err := c.Flags().MarkHidden("hurry"); err != nil {
		panic(err) // the flag stands in the line above
	}
	c.Flags().StringVar(&site, "site", "", "NetBox slug of the site to work for")
	f.add(c, map[string]string{"database.url": "database-url: PostgreSQL (central worker)", "temporal.host": "temporal-host: host:port of Temporal"})
	return c
}

// options are what serve and worker share: logs go to standard error.
func (s Streams) options(cfg *config.Config) server.Options {
	return server.Options{Log: server.NewLog(cfg.Log, s.Err), Metrics: server.NewMetrics()}
}

func newMigrateCommand(s Streams) *cobra.Command {
	var f configFlags
	var databaseOnly bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring PostgreSQL and Temporal to this program's version",
		Long: `Runs the migrations that are missing and makes Temporal's namespace and search attributes. It refuses when an
operation that has not ended needs a step that this program lacks. Running it again changes nothing.`,
		Example: `  cagenut migrate --config /etc/cagenut/cagenut.yaml
  cagenut migrate --database-url postgres:///cagenut --database-only`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			return s.migrate(c, cfg, databaseOnly)
		},
	}
	c.Flags().BoolVar(&databaseOnly, "database-only", false, "leave Temporal alone")
	f.add(c, map[string]string{"database.url": "database-url: PostgreSQL", "temporal.host": "temporal-host: host:port of Temporal"})
	return c
}

func (s Streams) migrate(c *cobra.Command, cfg *config.Config, databaseOnly bool) error {
	ctx := c.Context()
	if err := cfg.Need("cagenut migrate", "database.url"); err != nil {
		return err
	}
	ran, err := server.MigrateStore(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "PostgreSQL: ran %s: %s\n", count(len(ran), "migration"), list(ran, "nothing was missing"))
	answer := struct {
		Migrations []string `json:"migrations"` // that were run
		Namespace  string   `json:"namespace,omitempty"`
	}{Migrations: append([]string{}, ran...)}
	if !databaseOnly {
		if err := server.MigrateTemporal(ctx, cfg); err != nil {
			return err
		}
		fmt.Fprintf(s.Err, "Temporal: namespace %s and its search attributes are there\n", cfg.Temporal.Namespace)
		answer.Namespace = cfg.Temporal.Namespace
	}
	if format(c) == "table" {
		return nil
	}
	return s.print(c, answer, nil)
}

// firstToken makes a token in PostgreSQL directly: whoever can write there needs no other permission.
func firstToken(ctx context.Context, databaseURL string, ask wire.NewToken) (wire.CreatedToken, error) {
	store, err := postgres.Open(ctx, databaseURL)
	if err != nil {
		return wire.CreatedToken{}, err
	}
	defer store.Close()
	if err := store.CheckVersion(ctx); err != nil {
		return wire.CreatedToken{}, err
	}
	now := time.Now()
	var expires time.Time
	if ask.Days > 0 {
		expires = now.AddDate(0, 0, ask.Days)
	}
	const by = "database"
	t, secret, err := api.NewToken(ask.Person, ask.Role, ask.Sites, by, now, expires)
	if err != nil {
		return wire.CreatedToken{}, err
	}
	if err := store.Audit(ctx, operation.AuditEntry{At: now.UTC(), Actor: by, Action: "token.create", Subject: t.ID,
		Detail: fmt.Sprintf("%s, %s, sites %q", t.Person, t.Role, t.Sites)}); err != nil {
		return wire.CreatedToken{}, err
	}
	return wire.CreatedToken{Token: t, Secret: secret}, store.CreateToken(ctx, t, api.Sum(secret))
}
