package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/drivers"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/firmware"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/version"
	"github.com/cagenut/cagenut/workflows"
)

const (
	// stopWait is how long what runs may take to end: one call of a step takes about 30 seconds.
	stopWait = 35 * time.Second
	// A BMC has eight sessions or so: one that nobody needed for sessionIdle is given back.
	sessionIdle, sessionLook = time.Minute, 20 * time.Second
)

// Worker runs the central worker, or a site's when site is not empty.
func Worker(ctx context.Context, c *config.Config, site string, o Options) error {
	if listen := c.Telemetry.MetricsListen; listen != "" && o.Metrics != nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "telemetry.metrics_listen: %v", err)
		}
		var g *errgroup.Group
		g, ctx = errgroup.WithContext(ctx)
		ctx, stop := context.WithCancel(ctx)
		o.pulse = &pulse{}
		g.Go(func() error { return serveUntil(ctx, l, workerHandler(o.Metrics, o.pulse)) })
		g.Go(func() error {
			defer stop()
			return runOne(ctx, c, site, o)
		})
		return g.Wait()
	}
	return runOne(ctx, c, site, o)
}

func runOne(ctx context.Context, c *config.Config, site string, o Options) error {
	if site != "" {
		return siteWorker(ctx, c, site, o)
	}
	return centralWorker(ctx, c, o)
}

// centralWorker runs all workflows, and the steps that touch PostgreSQL and NetBox.
func centralWorker(ctx context.Context, c *config.Config, o Options) error {
	if err := c.Need("cagenut worker", "database.url", "netbox.url"); err != nil {
		return err
	}
	inv, err := Inventory(c, o.Metrics)
	if err != nil {
		return err
	}
	store, err := OpenStore(ctx, c)
	if err != nil {
		return err
	}
	defer store.Close()
	store.UseNotices(notices(c))
	central := &activities.Central{Store: o.Metrics.store(store), Inventory: inv, Notices: store, Page: page(c)}
	return runWorker(ctx, c, o, operation.Heartbeat{Queue: operation.QueueCentral, Steps: central.Kinds()},
		func(ctx context.Context, h operation.Heartbeat) error {
			_, err := store.SaveHeartbeat(ctx, h)
			return err
		},
		func(w worker.Worker) {
			workflows.Register(w, workflows.Standard().Faster(o.Faster))
			central.Register(w)
		})
}

// siteWorker runs the steps that touch the BMCs of one site, serves them firmware, and serves machines
// what they boot.
func siteWorker(ctx context.Context, c *config.Config, slug string, o Options) error {
	if err := c.Need("cagenut worker --site", "worker.url", "worker.token_file"); err != nil {
		return err
	}
	site, ok := c.Sites[slug]
	if !ok {
		return fault.New(fault.Invalid, "--site %q is not among the configured sites %v; add it under sites in %s", slug, c.SiteNames(), c.File())
	}
	door, err := APIClient(c.Worker)
	if err != nil {
		return err
	}
	state := filepath.Join(c.StateDir, "site-"+slug)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fault.Wrap(err, fault.Invalid, "state_dir: %v", err)
	}
	images, err := firmware.NewMirror(filepath.Join(state, "firmware"), int64(c.Firmware.MaxMiB)<<20, door, site.ServeURL)
	if err != nil {
		return err
	}
	set, err := Templates(c)
	if err != nil {
		return err
	}
	configs, err := newSiteConfigs(slug, site, state)
	if err != nil {
		return err
	}
	defer func() {
		if err := configs.Close(); err != nil {
			o.Log.Warn("connections to configuration management could not be closed", "error", err)
		}
	}()
	endpoint, err := endpoints(site)
	if err != nil {
		return err
	}
	opener := drivers.New(drivers.Options{Allow: site.Prefixes(), StateDir: filepath.Join(state, "sessions"), Observe: o.Metrics.bmc(slug)})
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
		defer cancel()
		if err := opener.Close(last); err != nil {
			o.Log.Warn("not every BMC session could be closed; the next login to that BMC does it", "error", err)
		}
	}()
	turns := &stagger{every: site.Stagger() / time.Duration(max(o.Faster, 1)), clock: time.Now}
	acts := &activities.Site{BMCs: opener, Secrets: siteSecrets{door}, Images: images, Boots: siteBoots{door}, Configs: configs,
		PowerOn: turns.wait, Endpoint: endpoint, Clock: time.Now, Process: rand.Text(),
		Poll: 5 * time.Second / time.Duration(max(o.Faster, 1)), Faster: o.Faster}
	g, ctx := errgroup.WithContext(ctx)
	if site.Serve != "" {
		handler, err := siteHandler(images.Handler(), door, set, site.ServeURL, o.Log)
		if err != nil {
			return err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", site.Serve)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "sites.%s.serve: %v", slug, err)
		}
		g.Go(func() error { return serveUntil(ctx, l, handler) })
	}
	g.Go(func() error {
		if err := opener.CleanUp(ctx); err != nil && ctx.Err() == nil {
			o.Log.Warn("BMC sessions of before the last end could not be given back; the next login to that BMC does it", "error", err)
		}
		return nil
	})
	g.Go(func() error {
		every(ctx, sessionLook, o.Log, "giving back BMC sessions", func(ctx context.Context) error {
			return opener.CloseIdle(ctx, sessionIdle)
		})
		return nil
	})
	g.Go(func() error {
		about := operation.Heartbeat{Site: slug, Queue: operation.QueueSite(slug), Steps: acts.Kinds(), Serve: site.ServeURL}
		return runWorker(ctx, c, o, about, func(ctx context.Context, h operation.Heartbeat) error {
			_, err := door.Heartbeat(ctx, h)
			return err
		}, func(w worker.Worker) { acts.Register(w) })
	})
	return g.Wait()
}

// endpoints completes a plan's BMC address with the site's port and CA.
func endpoints(site config.Site) (func(asset.Ref, plan.BMC) bmc.Endpoint, error) {
	ca := ""
	if site.BMCCAFile != "" {
		pem, err := os.ReadFile(site.BMCCAFile)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "bmc_ca_file: %v", err)
		}
		ca = string(pem)
	}
	return func(a asset.Ref, b plan.BMC) bmc.Endpoint {
		e := bmc.Endpoint{Protocol: bmc.Protocol(b.Protocol), Address: b.Address, CA: ca,
			System: b.System, Serial: a.Serial, OldCiphers: b.OldCiphers}
		if _, err := netip.ParseAddr(b.Address); err == nil && site.BMCPort != 0 && e.Protocol == bmc.Redfish {
			e.Address = net.JoinHostPort(b.Address, strconv.Itoa(site.BMCPort))
		}
		return e
	}, nil
}

// runWorker polls one queue until ctx ends, with a heartbeat beside it, and then lets running
// activities finish.
func runWorker(ctx context.Context, c *config.Config, o Options, about operation.Heartbeat,
	beat func(context.Context, operation.Heartbeat) error, register func(worker.Worker)) error {
	conn, err := Temporal(c, o.Log)
	if err != nil {
		return err
	}
	stopTracing, err := traceConnection(ctx, &conn, c.Telemetry.OTLP, "cagenut-worker", o.Log)
	if err != nil {
		return err
	}
	defer stopTracing()
	d := NewDialer(conn, o.Log)
	defer d.Close()
	t, err := d.Wait(ctx)
	if err != nil {
		return nil // the end came before Temporal did
	}
	about.Worker, about.Version = workerName()+"/"+about.Queue, version.String() // one process may run several
	fatal := make(chan error, 1)
	w := worker.New(t, about.Queue, worker.Options{
		MaxConcurrentActivityExecutionSize: c.Worker.Activities,
		DisableWorkflowWorker:              about.Site != "",
		WorkflowTaskPollerBehavior:         operation.Pollers(),
		WorkerStopTimeout:                  stopWait,
		// The SDK would keep heartbeats back for up to a minute, and a cancel reaches an activity with
		// the answer to one.
		MaxHeartbeatThrottleInterval: operation.Beat,
		Interceptors:                 []interceptor.WorkerInterceptor{operation.KeepAlive(operation.Beat), o.Metrics.worker(about.Queue)},
		Identity:                     about.Worker + "@" + about.Queue,
		OnFatalError: func(err error) {
			select {
			case fatal <- err:
			default: // one is enough to end
			}
		},
	})
	register(w)
	if err := w.Start(); err != nil {
		return fault.Wrap(err, fault.EngineAway, "worker of queue %s: %v", about.Queue, err)
	}
	defer w.Stop()
	o.Log.Info("working", "queue", about.Queue, "worker", about.Worker, "version", about.Version)
	o.ready(about.Queue)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		every(ctx, config.HeartbeatEvery, o.Log, "heartbeat", func(ctx context.Context) error {
			about.Clock = time.Now().UTC()
			err := beat(ctx, about)
			if err == nil {
				if _, err := t.CheckHealth(ctx, &client.CheckHealthRequest{}); err == nil {
					o.pulse.beat()
				}
			}
			return err
		})
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-fatal:
			return fmt.Errorf("worker of queue %s: %w", about.Queue, err)
		}
	})
	return g.Wait()
}

// every calls f at once and then again after each interval, until ctx ends; after a failure sooner.
// Failures are logged when they begin and when they end, not in between.
func every(ctx context.Context, interval time.Duration, log *slog.Logger, what string, f func(context.Context) error) {
	failing := false
	for {
		one, cancel := context.WithTimeout(ctx, interval)
		err := f(one)
		cancel()
		wait := interval
		switch {
		case err != nil:
			wait = min(interval, time.Second) // what it waits for may just be starting
			if ctx.Err() == nil && !failing {
				log.Warn(what+" failed; trying on", "error", err)
				failing = true
			}
		case failing:
			log.Info(what + " works again")
			failing = false
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// workerName tells a worker from all others.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}
