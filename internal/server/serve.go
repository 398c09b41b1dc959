package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/firmware"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/internal/secret"
	"github.com/cagenut/cagenut/internal/version"
	"github.com/cagenut/cagenut/internal/web"
	"github.com/cagenut/cagenut/inventory"
)

// drain is how long open requests may last after the end was asked for.
const drain = 10 * time.Second

// Serve runs the API with the pages beside it, the outbox relay and the audit sealer.
func Serve(ctx context.Context, c *config.Config, o Options) error {
	if err := c.Need("cagenut serve", "database.url", "netbox.url", "secrets.key_file", "firmware.dir", "audit.key_file"); err != nil {
		return err
	}
	inv, err := Inventory(c, o.Metrics)
	if err != nil {
		return err
	}
	conn, err := Temporal(c, o.Log)
	if err != nil {
		return err
	}
	stopTracing, err := traceConnection(ctx, &conn, c.Telemetry.OTLP, "cagenut-serve", o.Log)
	if err != nil {
		return err
	}
	defer stopTracing()
	audit, err := postgres.NewAuditKeeper(c.Audit.KeyFile, c.Audit.HeadFile)
	if err != nil {
		return err
	}
	files, err := firmware.Open(c.Firmware.Dir, int64(c.Firmware.MaxMiB)<<20)
	if err != nil {
		return err
	}
	store, err := OpenStore(ctx, c)
	if err != nil {
		return err
	}
	defer store.Close()
	store.UseAudit(audit)
	store.UseNotices(notices(c))
	people, err := sender(c)
	if err != nil {
		return err
	}
	keeper, err := Keeper(c, store, inv)
	if err != nil {
		return err
	}
	d := NewDialer(conn, o.Log)
	defer d.Close()
	ao := api.Options{Store: store, Steerer: d, Inventory: inv, Secrets: secret.ForAPI(keeper), Firmware: files}
	if err := apiOptions(&ao, c, o, d); err != nil {
		return err
	}
	handler, err := api.New(ao)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.API.Listen)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "api.listen: %v", err)
	}
	server := handler.HTTPServer(c.API.Listen)
	if server.Handler, err = withPages(handler, l, web.Options{Store: store, Inventory: inv, Sites: ao.Sites, Version: ao.Version,
		Log: o.Log, Observe: ao.Observe}); err != nil {
		return errors.Join(err, l.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return listen(ctx, server, l, c.API.TLS) })
	g.Go(func() error {
		if _, err := d.Wait(ctx); err != nil {
			return nil //nolint:nilerr // the end came before Temporal did
		}
		relay := &postgres.Relay{Store: store, Log: o.Log, Kinds: []string{postgres.OutboxStart, postgres.OutboxSignal}, Start: func(ctx context.Context, item postgres.OutboxItem) error {
			return startFromOutbox(ctx, d, item)
		}}
		return relay.Run(ctx)
	})
	g.Go(func() error { return noticeRelay(store, people, o.Log, time.Now).Run(ctx) })
	g.Go(func() error { return (&postgres.Sealer{Store: store, Keeper: audit, Log: o.Log}).Run(ctx) })
	o.Log.Info("serving", "address", l.Addr().String(), "version", version.String(), "sites", c.SiteNames())
	o.ready(l.Addr().String())
	return g.Wait()
}

// apiOptions fills in what the configuration says.
func apiOptions(a *api.Options, c *config.Config, o Options, d *Dialer) error {
	a.Setup = inventory.SetupOptions{User: c.NetBox.User, WebhookURL: c.NetBox.WebhookURL}
	if c.NetBox.WebhookKeyFile != "" {
		var err error
		if a.Setup.WebhookKey, err = config.ReadSecretFile("netbox.webhook_key_file", c.NetBox.WebhookKeyFile); err != nil {
			return err
		}
	}
	temporal := config.Check{Name: "Temporal", Target: c.Temporal.Host, Run: d.Check}
	plans, err := planner(c)
	if err != nil {
		return err
	}
	a.Planner = plans
	a.Profiles = func() ([]profile.Profile, error) { return config.LoadProfiles(c.Profiles) }
	a.Sites, a.Window = c.SiteNames(), c.WindowFor
	a.RackWindow = func(site string) int { return c.Sites[site].RackWindow }
	a.Domain = func(site string) string { return c.Sites[site].Domain }
	a.OOBPrefixes = func(site string) []netip.Prefix { return c.Sites[site].Prefixes() }
	a.Ready, a.Doctor = []config.Check{temporal}, []config.Check{temporal}
	a.Metrics, a.Observe = o.Metrics.Handler(), o.Metrics.api()
	a.Version, a.MaxFirmware, a.Log = version.String(), int64(c.Firmware.MaxMiB)<<20, o.Log
	return nil
}

// listen serves HTTP until the context ends, and then lets what is open come to its end.
func listen(ctx context.Context, web *http.Server, l net.Listener, c config.ServerTLS) error {
	// Streams of events end with the program, not after their own patience.
	base, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	web.BaseContext = func(net.Listener) context.Context { return base }
	ended := make(chan error, 1)
	go func() {
		if c.CertFile != "" {
			ended <- web.ServeTLS(l, c.CertFile, c.KeyFile)
		} else {
			ended <- web.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("API on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	hangUp()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := web.Shutdown(last); err != nil {
		return errors.Join(fmt.Errorf("API on %s: requests were cut off: %w", l.Addr(), err), web.Close())
	}
	return nil
}

// startFromOutbox starts what an outbox row asks for, or tells a run what one says. Running already,
// and having been told already, are success.
func startFromOutbox(ctx context.Context, d *Dialer, item postgres.OutboxItem) error {
	if item.Kind == postgres.OutboxSignal {
		return signalFromOutbox(ctx, d, item)
	}
	if item.Kind != postgres.OutboxStart {
		return fault.New(fault.Internal, "outbox item %d has kind %q, which this version does not know", item.ID, item.Kind)
	}
	var in operation.Start
	if err := json.Unmarshal(item.Payload, &in); err != nil {
		return fault.Wrap(err, fault.Internal, "outbox item %d: %v", item.ID, err)
	}
	c, err := d.operations()
	if err != nil {
		return err
	}
	return c.Start(ctx, in)
}
