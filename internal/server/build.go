package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	temporal "go.temporal.io/sdk/client"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/secret"
	"github.com/cagenut/cagenut/internal/version"
	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox"
)

// Options are what all programs share beside the configuration.
type Options struct {
	Log     *slog.Logger
	Metrics *Metrics // nil: none
	// Faster hurries every wait for broken things, for tests; see workflows.Timing.Faster. All
	// programs of one Temporal namespace must have the same.
	Faster int
	// Ready, when set, is called once when the program does its work: Serve with its address, a worker
	// with its queue.
	Ready func(where string)

	pulse *pulse // of a worker that tells its readiness
}

func (o Options) ready(where string) {
	if o.Ready != nil {
		o.Ready(where)
	}
}

// NewLog makes the logger that the configuration asks for.
func NewLog(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config.Load has checked it; an unset one means info
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// OpenStore opens PostgreSQL and refuses a database of another version than this program's.
func OpenStore(ctx context.Context, c *config.Config) (*postgres.Store, error) {
	url, err := c.DatabaseURL()
	if err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	if err := store.CheckVersion(ctx); err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// Temporal says how to reach Temporal. A nil logger is silent.
func Temporal(c *config.Config, l *slog.Logger) (operation.Connection, error) {
	conn := operation.Connection{Address: c.Temporal.Host, Namespace: c.Temporal.Namespace}
	var err error
	if c.Temporal.CodecKeyFile != "" {
		if conn.Key, err = config.ReadKeyFile("temporal.codec_key_file", c.Temporal.CodecKeyFile, 32); err != nil {
			return conn, err
		}
	}
	var t *tls.Config
	if c.Temporal.TLS.Enabled {
		if t, err = clientTLS("temporal.tls", c.Temporal.TLS); err != nil {
			return conn, err
		}
	}
	conn.Options = func(o *temporal.Options) {
		o.ConnectionOptions.TLS = t
		if l == nil {
			l = slog.New(slog.DiscardHandler)
		}
		o.Logger = temporalLog{l}
	}
	return conn, nil
}

func clientTLS(key string, c config.ClientTLS) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	var err error
	if t.RootCAs, err = roots(key+".ca_file", c.CAFile); err != nil {
		return nil, err
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, config.Problems{{Key: key + ".cert_file", Value: c.CertFile, Reason: err.Error(), Remedy: "name a PEM certificate and its key"}}
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// roots reads a CA file; nil, the system's, when there is none.
func roots(key, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("no PEM certificate is in it")
	}
	if err != nil {
		return nil, config.Problems{{Key: key, Value: file, Reason: err.Error(), Remedy: "name a PEM file with the CA's certificate"}}
	}
	return pool, nil
}

// Inventory makes the NetBox client.
func Inventory(c *config.Config, m *Metrics) (inventory.Source, error) {
	token, err := config.ReadSecretFile("netbox.token_file", c.NetBox.TokenFile)
	if err != nil {
		return nil, err
	}
	ca, err := roots("netbox.ca_file", c.NetBox.CAFile)
	if err != nil {
		return nil, err
	}
	return netbox.New(netbox.Options{URL: c.NetBox.URL, Token: token, RootCAs: ca, Observe: m.netbox()})
}

// Keeper makes the keeper of passwords over the configured driver.
func Keeper(c *config.Config, store *postgres.Store, inv inventory.Source) (*secret.Keeper, error) {
	k := &secret.Keeper{MACs: newMACs(inv).of}
	switch c.Secrets.Driver {
	case "file":
		d, err := secret.NewFile(c.Secrets.Dir)
		if err != nil {
			return nil, err
		}
		k.Driver = d
	case "env":
		k.Driver = secret.Env{Lookup: os.LookupEnv}
	default:
		ring, err := secret.ReadRing(c.Secrets.KeyFile)
		if err != nil {
			return nil, err
		}
		k.Driver = &secret.Database{Pool: store.Pool(), Ring: ring}
	}
	return k, nil
}

// APIClient makes the client with which a site's worker reaches the API.
func APIClient(c config.Worker) (*client.Client, error) {
	token, err := config.ReadSecretFile("worker.token_file", c.TokenFile)
	if err != nil {
		return nil, err
	}
	ca, err := roots("worker.ca_file", c.CAFile)
	if err != nil {
		return nil, err
	}
	return client.New(c.URL, token, "cagenut-worker/"+version.String(), client.WithRoots(ca))
}

// temporalLog gives the SDK our logger. The SDK's warnings about a task that is tried again are what
// a healthy restart looks like, so they are kept for debugging.
type temporalLog struct{ log *slog.Logger }

func (l temporalLog) Debug(msg string, kv ...any) { l.log.Debug(msg, kv...) }
func (l temporalLog) Info(msg string, kv ...any)  { l.log.Debug(msg, kv...) }
func (l temporalLog) Warn(msg string, kv ...any)  { l.log.Debug(msg, kv...) }
func (l temporalLog) Error(msg string, kv ...any) { l.log.Warn(msg, kv...) }

// macs gives the MACs of management interfaces, and remembers them for a while: a step asks for its
// password at every call, and NetBox need not hear of each.
type macs struct {
	inv  inventory.Source
	seen *expiring[asset.ID, []string]
}

func newMACs(inv inventory.Source) *macs {
	return &macs{inv: inv, seen: newExpiring[asset.ID, []string](10 * time.Minute)}
}

func (m *macs) of(ctx context.Context, a asset.Ref) ([]string, error) {
	return m.seen.get(a.ID, func() ([]string, error) {
		out, err := m.inv.ManagementMACs(ctx, a.ID)
		if err != nil {
			return nil, fmt.Errorf("MACs of %s: %w", a.Name, err)
		}
		return out, nil
	})
}
