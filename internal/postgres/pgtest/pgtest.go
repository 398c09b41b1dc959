// Package pgtest gives each test a PostgreSQL database of its own: migrated, empty, and gone after
// the test. A test never skips for want of PostgreSQL.
//
// The server is the one that CAGENUT_TEST_DATABASE_URL names (its user must be allowed to create
// databases), else a private one, started once for a test binary and ended with it, even when the
// binary is killed (package pgdev). The migrations run once, into a template database; each test
// gets a clone. All functions may be called from parallel tests.
package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/devstack/pgdev"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/migrations"
)

// EnvURL names the server to use instead of a private one.
const EnvURL = "CAGENUT_TEST_DATABASE_URL"

// server is what all tests of a binary share: the maintenance URL and the name of the template.
type server struct{ admin, template string }

var shared = sync.OnceValues(func() (server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a download may be needed
	defer cancel()
	admin := os.Getenv(EnvURL)
	if admin == "" {
		var err error
		if admin, err = private(ctx); err != nil {
			return server{}, err
		}
	}
	template, err := makeTemplate(ctx, admin)
	return server{admin, template}, err
})

func private(ctx context.Context) (string, error) {
	if err := pgdev.RemoveStale(ctx, filepath.Join(os.TempDir(), "cagenut-pgtest-*")); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "cagenut-pgtest-")
	if err != nil {
		return "", err
	}
	s, err := pgdev.Start(ctx, pgdev.Options{DataDir: dir, Ephemeral: true})
	if err != nil {
		return "", err
	}
	return s.URL(), nil
}

// New gives a store over a database of the test's own.
func New(t testing.TB) *postgres.Store {
	t.Helper()
	return open(t, URL(t))
}

// Open gives another store over the same database, as another process would have.
func Open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	return open(t, url)
}

// URL gives the URL of a migrated database of the test's own. Its user is a superuser on the private
// server.
func URL(t testing.TB) string {
	t.Helper()
	s := get(t)
	return create(t, s.admin, s.template)
}

// EmptyURL gives the URL of a database without any table.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, get(t).admin, "template0")
}

func get(t testing.TB) server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("pgtest: no PostgreSQL to test with: %v", err)
	}
	return s
}

func open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func create(t testing.TB, admin, template string) string {
	t.Helper()
	name := fmt.Sprintf("cagenut_test_%d_%s", time.Now().Unix(), strings.ToLower(rand.Text()[:12]))
	if err := execute(t.Context(), admin, `create database `+name+` template `+template); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := execute(ctx, admin, `drop database if exists `+name+` with (force)`); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return onDatabase(admin, name)
}

// makeTemplate makes the migrated database that tests are cloned from, unless another test binary
// on the same server has made it. It is built under another name, so that a kill leaves no half.
func makeTemplate(ctx context.Context, admin string) (string, error) {
	sum, err := migrationSum()
	if err != nil {
		return "", err
	}
	name := "cagenut_template_" + sum
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(7036874417766)`); err != nil {
		return "", err
	}
	if err := dropOld(ctx, conn); err != nil {
		return "", err
	}
	var there bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&there); err != nil || there {
		return name, err
	}
	building := name + "_building"
	for _, sql := range []string{`drop database if exists ` + building + ` with (force)`, `create database ` + building + ` template template0`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", fmt.Errorf("%s: %w", sql, err)
		}
	}
	s, err := postgres.Open(ctx, onDatabase(admin, building))
	if err != nil {
		return "", err
	}
	_, err = s.Migrate(ctx)
	s.Close()
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, `alter database `+building+` rename to `+name)
	return name, err
}

// dropOld removes databases of tests that were killed.
func dropOld(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `select datname from pg_database where datname like 'cagenut\_test\_%'`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		stamp, _, _ := strings.Cut(strings.TrimPrefix(name, "cagenut_test_"), "_")
		made, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || time.Since(time.Unix(made, 0)) < time.Hour {
			continue
		}
		if _, err := conn.Exec(ctx, `drop database if exists `+name+` with (force)`); err != nil {
			return err
		}
	}
	return nil
}

func migrationSum() (string, error) {
	h := sha256.New()
	names, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		raw, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(raw), raw)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// onDatabase gives the same server's URL for another database.
func onDatabase(admin, name string) string {
	u, err := url.Parse(admin)
	if err != nil || u.Scheme == "" {
		return admin + " dbname=" + name // keyword form: the last one counts
	}
	u.Path = "/" + name
	return u.String()
}
