// Command benchexecutor measures what the executor costs: a plan of no-op steps, with projection,
// evidence and audit on, beside bare activities on the same Temporal in the same run. It fails when
// the executor does fewer than -least of the activities that go through without it.
//
// Both sides do the same number of activities, one after another in each workflow, with as many
// workflows at once. Pairs alternate, since machines are noisy, and the medians are compared.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/devstack/pgdev"
	"github.com/cagenut/cagenut/internal/devstack/temporaldev"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/workflows"
)

// bareWorkflow is a workflow of activities and nothing else.
const bareWorkflow = "bare"

type options struct {
	machines, steps, window, pairs int
	least                          float64
}

func main() {
	var o options
	flag.IntVar(&o.machines, "machines", 100, "workflows a measurement")
	flag.IntVar(&o.steps, "steps", 12, "activities in each")
	flag.IntVar(&o.window, "window", 20, "workflows at once")
	flag.IntVar(&o.pairs, "pairs", 3, "pairs of measurements")
	flag.Float64Var(&o.least, "least", 0.6, "least ratio of the rates; below it the program fails")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchexecutor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "benchexecutor")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user must get to its own folder
		return err
	}
	pg, err := pgdev.Start(ctx, pgdev.Options{DataDir: filepath.Join(dir, "postgres")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Stop()) }()
	store, err := postgres.Open(ctx, pg.URL())
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	server, err := temporaldev.Start(ctx, temporaldev.Options{File: filepath.Join(dir, "temporal.sqlite"), LogLevel: "fatal"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	c, err := operation.Dial(ctx, operation.Connection{Address: server.Address(), Options: func(o *client.Options) {
		o.Logger = sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	}})
	if err != nil {
		return err
	}
	defer c.Close()
	done := &atomic.Int64{}
	w := worker.New(c, operation.QueueCentral, worker.Options{
		MaxHeartbeatThrottleInterval: operation.Beat,
		Interceptors:                 []interceptor.WorkerInterceptor{operation.KeepAlive(operation.Beat)},
	})
	workflows.Register(w, workflows.Standard())
	central := &activities.Central{Store: store}
	w.RegisterActivityWithOptions(central.Claim, activity.RegisterOptions{Name: activities.ActivityClaim})
	w.RegisterActivityWithOptions(central.Record, activity.RegisterOptions{Name: activities.ActivityRecord})
	w.RegisterActivityWithOptions(noop{done}.Step, activity.RegisterOptions{Name: activities.ActivityStep})
	w.RegisterWorkflowWithOptions(bare, workflow.RegisterOptions{Name: bareWorkflow})
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	stopSealer, err := seal(ctx, store, dir)
	if err != nil {
		return err
	}
	defer stopSealer()

	fmt.Printf("%d workflows of %d activities, %d at once\n\npair    bare/s    executor/s    ratio\n", o.machines, o.steps, o.window)
	var rates [2][]float64
	next := asset.ID(1)
	for pair := range o.pairs + 1 {
		var rate [2]float64
		for side, measure := range []func() error{
			func() error { return bareRound(ctx, c, o, pair) },
			func() error {
				defer func() { next += asset.ID(o.machines) }()
				return executorRound(ctx, c, store, o, next)
			},
		} {
			done.Store(0)
			began := time.Now()
			if err := measure(); err != nil {
				return err
			}
			if n := done.Load(); n != int64(o.machines*o.steps) {
				return fmt.Errorf("%d activities were done, %d were asked for", n, o.machines*o.steps)
			}
			rate[side] = float64(o.machines*o.steps) / time.Since(began).Seconds()
		}
		if pair == 0 {
			continue // caches fill, connections open
		}
		rates[0], rates[1] = append(rates[0], rate[0]), append(rates[1], rate[1])
		fmt.Printf("%4d  %8.0f  %12.0f  %7.2f\n", pair, rate[0], rate[1], rate[1]/rate[0])
	}
	ratio := median(rates[1]) / median(rates[0])
	fmt.Printf("\nratio of the medians %.2f (at least %.2f)\n", ratio, o.least)
	if ratio < o.least {
		return fmt.Errorf("the executor does %.2f of the bare rate, at least %.2f is promised", ratio, o.least)
	}
	return nil
}

// seal runs the audit sealer beside it, as `cagenut serve` does.
func seal(ctx context.Context, store *postgres.Store, dir string) (stop func(), err error) {
	key := filepath.Join(dir, "audit.key")
	if err := os.WriteFile(key, []byte("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"), 0o600); err != nil {
		return nil, err
	}
	keeper, err := postgres.NewAuditKeeper(key, filepath.Join(dir, "audit-head.json"))
	if err != nil {
		return nil, err
	}
	store.UseAudit(keeper)
	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		return (&postgres.Sealer{Store: store, Keeper: keeper, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	})
	return func() { cancel(); _ = g.Wait() }, nil
}

// noop is a step that does nothing, and says so with evidence.
type noop struct{ done *atomic.Int64 }

func (n noop) Step(_ context.Context, c activities.Call) (activities.Result, error) {
	n.done.Add(1)
	data := json.RawMessage(fmt.Sprintf(`{"asset": %q, "step": %q}`, c.Asset.Name, c.Step.Name))
	return activities.Result{Done: &activities.Done{Summary: "nothing to do", Evidence: []operation.Evidence{{
		Kind: "noop", Title: "Nothing", Data: data,
	}}}}, nil
}

// bare does activities one after another, with the options that the executor gives its own.
func bare(ctx workflow.Context, steps int) error {
	timing := workflows.Standard()
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: operation.QueueCentral, StartToCloseTimeout: timing.Policies[workflows.PolicyNetBox].Call,
		HeartbeatTimeout: timing.Heartbeat, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	for i := range steps {
		var r activities.Result
		call := activities.Call{Step: step(i)}
		if err := workflow.ExecuteActivity(ctx, activities.ActivityStep, call).Get(ctx, &r); err != nil {
			return err
		}
	}
	return nil
}

func bareRound(ctx context.Context, c client.Client, o options, round int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.window)
	for i := range o.machines {
		g.Go(func() error {
			run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
				ID: fmt.Sprintf("bare/%d/%d", round, i), TaskQueue: operation.QueueCentral,
			}, bareWorkflow, o.steps)
			if err != nil {
				return err
			}
			return run.Get(ctx, nil)
		})
	}
	return g.Wait()
}

func step(i int) plan.Step {
	return plan.Step{
		Name: fmt.Sprintf("noop-%d", i+1), Kind: "noop", Version: 1, Title: "Do nothing", Mode: plan.Act, Place: plan.Central,
		Undo: plan.ReadOnly, DeadlineSec: 600, Policy: workflows.PolicyNetBox, Writes: []plan.Write{}, Evidence: []string{"noop"},
	}
}

// executorRound carries out one operation over new assets.
func executorRound(ctx context.Context, c client.Client, store *postgres.Store, o options, first asset.ID) error {
	p := plan.Plan{Kind: workflows.KindInstall, Until: workflows.UntilHardware, Capacity: "none"}
	begin := operation.Start{Operation: operation.NewID(time.Now()), Window: o.window}
	for i := range o.machines {
		id := first + asset.ID(i)
		t := plan.Target{
			Asset:   asset.Ref{ID: id, Name: fmt.Sprintf("srv-%d", id), Serial: fmt.Sprintf("SN%d", id), Site: "ams01", Rack: "r12"},
			Profile: "noop@1", Status: asset.Planned, Reads: []plan.Read{},
			BMC: plan.BMC{Protocol: "redfish", Address: "192.0.2.1", Account: "root"},
		}
		for s := range o.steps {
			t.Steps = append(t.Steps, step(s))
		}
		p.Targets = append(p.Targets, t)
		begin.Assets = append(begin.Assets, id)
	}
	sealed, err := plan.Seal(p)
	if err != nil {
		return err
	}
	if _, _, err := store.CreateOperation(ctx, operation.Request{ID: begin.Operation, Digest: string(begin.Operation), Actor: "bench",
		Reason: "bench", Window: o.window, Plan: sealed, At: time.Now()}); err != nil {
		return err
	}
	if err := operation.NewClient(c).Start(ctx, begin); err != nil {
		return err
	}
	var tally operation.Tally
	if err := c.GetWorkflow(ctx, operation.WorkflowID(begin.Operation), "").Get(ctx, &tally); err != nil {
		return err
	}
	if tally.Done != o.machines {
		return fmt.Errorf("%d of %d runs are done: %+v", tally.Done, o.machines, tally)
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
