package temporaldev_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/devstack/temporaldev"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/workflows"
)

// The kill test runs this test binary again as a Temporal server or as a worker.
const (
	roleVar    = "TEMPORALDEV_TEST_ROLE"
	fileVar    = "TEMPORALDEV_TEST_FILE"
	portVar    = "TEMPORALDEV_TEST_PORT"
	addressVar = "TEMPORALDEV_TEST_ADDRESS"
	ledgerVar  = "TEMPORALDEV_TEST_LEDGER"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVar) {
	case "server":
		err = serverProcess()
	case "worker":
		err = workerProcess()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serverProcess serves until it is killed or its standard input ends, so that it never outlives the
// test.
func serverProcess() error {
	o := temporaldev.Options{File: os.Getenv(fileVar)}
	for i := range o.Ports {
		port, err := strconv.Atoi(os.Getenv(portVar + strconv.Itoa(i)))
		if err != nil {
			return err
		}
		o.Ports[i] = port
	}
	s, err := temporaldev.Start(context.Background(), o)
	if err != nil {
		return err
	}
	fmt.Println("ready", s.Address())
	untilStdinEnds()
	return s.Stop()
}

func workerProcess() error {
	c, err := dial(context.Background(), os.Getenv(addressVar))
	if err != nil {
		return err
	}
	defer c.Close()
	stop, err := work(c, remote{os.Getenv(ledgerVar)}, hurried(), "", "ams01")
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println("ready")
	untilStdinEnds()
	return nil
}

func untilStdinEnds() {
	buf := make([]byte, 64)
	for {
		if _, err := os.Stdin.Read(buf); err != nil {
			return
		}
	}
}

// hurried is the timing of production, but for how soon a broken thing is noticed.
func hurried() workflows.Timing {
	t := workflows.Standard().Faster(30)
	t.Heartbeat, t.Orphan = 2*time.Second, time.Second
	return t
}

func dial(ctx context.Context, address string, change ...func(*operation.Connection)) (client.Client, error) {
	c := operation.Connection{Address: address, Options: func(o *client.Options) {
		o.Logger = sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
		o.Identity = "cagenut" // recorded histories name no host
	}}
	for _, f := range change {
		f(&c)
	}
	return operation.Dial(ctx, c)
}

// work starts the workers of the sites named; the empty one is the central worker.
func work(c client.Client, to outside, timing workflows.Timing, sites ...string) (stop func(), err error) {
	var workers []worker.Worker
	stop = func() {
		for _, w := range workers {
			w.Stop()
		}
	}
	for _, site := range sites {
		queue := operation.QueueCentral
		if site != "" {
			queue = operation.QueueSite(site)
		}
		w := worker.New(c, queue, worker.Options{
			Interceptors:                     []interceptor.WorkerInterceptor{operation.KeepAlive(500 * time.Millisecond)},
			StickyScheduleToStartTimeout:     time.Second,
			MaxHeartbeatThrottleInterval:     500 * time.Millisecond,
			DefaultHeartbeatThrottleInterval: 500 * time.Millisecond,
			Identity:                         "cagenut",
			DisableRegistrationAliasing:      true,
		})
		w.RegisterActivityWithOptions(steps{to}.Step, activity.RegisterOptions{Name: activities.ActivityStep})
		if site == "" {
			workflows.Register(w, timing)
			w.RegisterActivityWithOptions(to.Claim, activity.RegisterOptions{Name: activities.ActivityClaim})
			w.RegisterActivityWithOptions(to.Record, activity.RegisterOptions{Name: activities.ActivityRecord})
		}
		if err := w.Start(); err != nil {
			stop()
			return nil, err
		}
		workers = append(workers, w)
	}
	return stop, nil
}

// begin starts a server on a file of the test's own; stop it.
func begin(t *testing.T, change ...func(*temporaldev.Options)) *temporaldev.Server {
	t.Helper()
	o := temporaldev.Options{File: filepath.Join(t.TempDir(), "temporal.db"), LogLevel: "fatal"}
	for _, f := range change {
		f(&o)
	}
	s, err := temporaldev.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start is begin, stopped at the test's end.
func start(t *testing.T, change ...func(*temporaldev.Options)) *temporaldev.Server {
	t.Helper()
	s := begin(t, change...)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the server: %v", err)
		}
	})
	return s
}

func connect(t *testing.T, s *temporaldev.Server, change ...func(*operation.Connection)) client.Client {
	t.Helper()
	c, err := dial(t.Context(), s.Address(), change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func working(t *testing.T, c client.Client, to outside, timing workflows.Timing, sites ...string) {
	t.Helper()
	stop, err := work(c, to, timing, sites...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

// until polls for a condition with a deadline.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("after %s still not: %s", limit, what)
		case <-tick.C:
		}
	}
}
