package temporaldev

import (
	"errors"
	"fmt"
	"os"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql" // drivers register themselves
	_ "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/tools/common/schema"
	sqltool "go.temporal.io/server/tools/sql"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cagenut/cagenut/internal/operation"
)

const (
	clusterName = "active"
	// shards is fixed for the life of a store. One cripples PostgreSQL; 4 to 16 measure alike.
	shards = 4
)

// Postgres says where the databases are.
type Postgres struct {
	Address  string // host:port
	User     string // may create databases
	Password string
	Database string // the visibility database has _visibility after it
	Conns    int    // at most; 0: 20
}

// stores are the two stores of a server.
type stores struct{ main, visibility *config.SQL }

// prepare makes the stores and brings their schema to this server's version.
func (o Options) prepare(logger log.Logger) (stores, error) {
	if o.Postgres != nil {
		return o.Postgres.prepare(logger)
	}
	if _, err := os.Stat(o.File); errors.Is(err, os.ErrNotExist) {
		if err := o.newFile(); err != nil {
			return stores{}, err
		}
	} else if err != nil {
		return stores{}, fmt.Errorf("temporaldev: store %s: %w", o.File, err)
	}
	c := sqlite(o.File)
	return stores{main: c, visibility: c}, nil
}

// newFile makes an SQLite store beside its place and renames it, so that a kill never leaves half a
// schema. The namespace is made in it too: through a running server it would take seconds until all
// its parts know it.
func (o Options) newFile() error {
	fresh := o.File + ".new"
	for _, leftover := range []string{fresh, fresh + "-journal"} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("temporaldev: remove what an earlier start left: %w", err)
		}
	}
	c := sqlite(fresh)
	c.ConnectAttributes["journal_mode"] = "delete" // all in the one file that is renamed
	if err := sqliteschema.SetupSchema(c); err != nil {
		return fmt.Errorf("temporaldev: schema of %s: %w", fresh, err)
	}
	attributes := map[string]enumspb.IndexedValueType{}
	for _, key := range operation.SearchAttributes() {
		attributes[key.GetName()] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
	}
	namespace, err := sqliteschema.NewNamespaceConfig(clusterName, o.Namespace, false, attributes)
	if err != nil {
		return fmt.Errorf("temporaldev: namespace %s: %w", o.Namespace, err)
	}
	namespace.Detail.Config.Retention = durationpb.New(o.Retention)
	if err := sqliteschema.CreateNamespaces(c, namespace); err != nil {
		return fmt.Errorf("temporaldev: namespace %s in %s: %w", o.Namespace, fresh, err)
	}
	if err := os.Rename(fresh, o.File); err != nil {
		return fmt.Errorf("temporaldev: put the new store in its place: %w", err)
	}
	return nil
}

func sqlite(file string) *config.SQL {
	return &config.SQL{PluginName: "sqlite", DatabaseName: file, ConnectAttributes: map[string]string{
		"mode": "rwc", "busy_timeout": "10000", "journal_mode": "wal", "synchronous": "normal",
	}}
}

func (p *Postgres) prepare(logger log.Logger) (stores, error) {
	s := stores{main: p.config(p.Database), visibility: p.config(p.Database + "_visibility")}
	if err := migrate(s.main, "postgresql/v12/temporal", logger); err != nil {
		return stores{}, err
	}
	if err := migrate(s.visibility, "postgresql/v12/visibility", logger); err != nil {
		return stores{}, err
	}
	return s, nil
}

func (p *Postgres) config(database string) *config.SQL {
	conns := p.Conns
	if conns == 0 {
		conns = 20
	}
	return &config.SQL{
		PluginName: "postgres12_pgx", DatabaseName: database, ConnectAddr: p.Address, ConnectProtocol: "tcp",
		User: p.User, Password: p.Password, MaxConns: conns, MaxIdleConns: conns, MaxConnLifetime: time.Hour,
	}
}

// migrate makes a database where it is missing and brings its schema to the version compiled in.
func migrate(c *config.SQL, schemaName string, logger log.Logger) error {
	admin := *c
	if err := sqltool.DoCreateDatabase(&admin, "postgres", logger); err != nil {
		return fmt.Errorf("temporaldev: make database %s at %s: %w", c.DatabaseName, c.ConnectAddr, err)
	}
	db, err := sqltool.NewConnection(c, logger)
	if err != nil {
		return fmt.Errorf("temporaldev: open database %s at %s: %w", c.DatabaseName, c.ConnectAddr, err)
	}
	defer db.Close()
	if _, err := db.ReadSchemaVersion(); err != nil { // a fresh database has no version table
		if err := schema.NewSetupSchemaTask(db, &schema.SetupConfig{InitialVersion: "0.0"}, logger).Run(); err != nil {
			return fmt.Errorf("temporaldev: schema of %s: %w", c.DatabaseName, err)
		}
	}
	update := &schema.UpdateConfig{DBName: c.DatabaseName, SchemaName: schemaName}
	if err := schema.NewUpdateSchemaTask(db, update, logger).Run(); err != nil {
		return fmt.Errorf("temporaldev: schema of %s: %w", c.DatabaseName, err)
	}
	return nil
}
