// Package devstack runs all of Cagenut on one machine, for the demo, for development and for kill
// tests: a real PostgreSQL, an embedded Temporal, and a data center in a box with its NetBox. The
// rest is the product itself: `cagenut migrate`, `serve` and both workers, over a configuration file
// like anybody's. Nothing that is deployed imports this package.
//
// Words
//
//   - Stack: one folder with everything in it (layout.go). Starting it again goes on where it was,
//     whatever ended it.
//   - Part: one of postgres, temporal, box. Each can run in a process of its own, so that a test can
//     kill one of them; Up runs them all in this process, and the product's programs beside them.
//   - Seed: what a person would do once: NetBox's account for Cagenut, the first tokens, the factory
//     passwords, the firmware files. It is done with the product's own commands and is idempotent.
//
// One Stack is used by one process at a time; its methods are called from one goroutine, and their
// parts run until the context ends.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/internal/atomicfile"
	"github.com/cagenut/cagenut/internal/devstack/pgdev"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/internal/sim/netboxsim"
)

// Part is a part that can run in a process of its own.
type Part string

// The parts, in the order in which they start.
const (
	PartPostgres Part = "postgres"
	PartTemporal Part = "temporal"
	PartBox      Part = "box"
)

// Parts lists the parts in the order in which they start.
func Parts() []Part { return []Part{PartPostgres, PartTemporal, PartBox} }

// RunPart runs one part until ctx ends. ready is called when it can be used.
func (s *Stack) RunPart(ctx context.Context, p Part, ready func()) error {
	switch p {
	case PartPostgres:
		return s.postgres(ctx, ready)
	case PartTemporal:
		return s.temporal(ctx, ready)
	case PartBox:
		return s.box(ctx, ready)
	}
	return fmt.Errorf("unknown part %q: use one of %v", p, Parts())
}

func (s *Stack) postgres(ctx context.Context, ready func()) error {
	o := pgdev.Options{DataDir: s.path("postgres")}
	if s.set.TemporalStore == StorePostgres {
		o.TCP, o.Port = true, s.set.PostgresPort // Temporal's driver knows no sockets, and keeps one address
	}
	pg, err := pgdev.Start(ctx, o)
	if err != nil {
		return err
	}
	if o.TCP {
		if err := atomicfile.Write(s.path("conf", "temporal-database-url"), []byte(pg.TCPURL()+"\n")); err != nil {
			return errors.Join(err, pg.Stop())
		}
	}
	if err := atomicfile.Write(s.path("conf", "database-url"), []byte(pg.URL()+"\n")); err != nil {
		return errors.Join(err, pg.Stop())
	}
	ready()
	select {
	case <-ctx.Done():
		return pg.Stop()
	case <-pg.Exited():
		return errors.New("PostgreSQL ended by itself; its log is in " + s.path("postgres"))
	}
}

func (s *Stack) temporal(ctx context.Context, ready func()) error {
	if s.engine == nil {
		return errors.New("this program has no Temporal server in it: run part temporal with cagenut-dev")
	}
	o := EngineOptions{Ports: s.set.TemporalPorts, LogFile: s.logFile()}
	if s.set.TemporalStore == StorePostgres {
		var err error
		if o.Database, err = s.temporalDatabase(); err != nil {
			return err
		}
	} else {
		o.File = s.path("temporal.sqlite")
	}
	stop, err := s.engine(ctx, o)
	if err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return stop()
}

// temporalDatabase is where Temporal keeps its own, in the cluster that has our tables too.
func (s *Stack) temporalDatabase() (*url.URL, error) {
	raw, err := os.ReadFile(s.path("conf", "temporal-database-url"))
	if err != nil {
		return nil, fmt.Errorf("database of Temporal: %w; start part %s first", err, PartPostgres)
	}
	u, err := url.Parse(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("database of Temporal: %w", err)
	}
	return u, nil
}

// box runs the BMCs and the NetBox of the box, and plans its racks there.
func (s *Stack) box(ctx context.Context, ready func()) error {
	rules := &sim.Faults{}
	nb, err := netboxsim.Open(netboxsim.Options{Dir: s.path("netbox"), AdminToken: s.set.NetBoxAdmin, Faults: rules})
	if err != nil {
		return err
	}
	defer nb.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.set.NetBox)
	if err != nil {
		return fmt.Errorf("the box's NetBox: %w", err)
	}
	srv := &http.Server{Handler: nb, ReadHeaderTimeout: 10 * time.Second}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	var box atomic.Pointer[sim.Box]
	salt, serveSalt, err := s.salt(ctx, rules, box.Load)
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	g.Go(serveSalt)
	var hosts sim.Minions = minions{salt}
	if s.set.MinionsURL != "" {
		hosts = elsewhere{s.set.MinionsURL}
	}
	var machines []sim.MachineSpec
	for _, rack := range s.Racks() {
		if err := netboxload.LoadRack(ctx, "http://"+s.set.NetBox, s.set.NetBoxAdmin, rack); err != nil {
			return errors.Join(err, srv.Close())
		}
		machines = append(machines, rack.Machines()...)
	}
	g.Go(func() error {
		return sim.Run(ctx, sim.Options{
			Dir: s.path("box"), Machines: machines, Port: s.set.BMCPort, Admin: s.set.BoxAdmin,
			Speed: s.set.Speed, Latency: s.set.Latency, Logger: s.log, Faults: rules,
			BootURL: "http://" + s.set.Serve, Minions: hosts,
		}, func(b *sim.Box) {
			box.Store(b)
			ready()
		})
	})
	return g.Wait()
}

// Up runs everything in this process until ctx ends. ready is called when machines can be accepted.
// The programs end before the parts that they need.
func (s *Stack) Up(ctx context.Context, ready func()) error {
	parts, stopParts := context.WithCancel(context.WithoutCancel(ctx))
	defer stopParts()
	programs, stopPrograms := context.WithCancel(ctx)
	defer stopPrograms()
	var under, over errgroup.Group
	failed := make(chan error, 1)
	run := func(g *errgroup.Group, name string, f func() error) {
		g.Go(func() error {
			if err := f(); err != nil {
				select {
				case failed <- fmt.Errorf("%s: %w", name, err):
				default: // the first failure is the one to tell
				}
				stopPrograms()
			}
			return nil
		})
	}
	begin := func() error {
		for _, p := range Parts() {
			up := make(chan struct{})
			run(&under, string(p), func() error { return s.RunPart(parts, p, func() { close(up) }) })
			select {
			case <-up:
				s.log.Info("up", "part", p)
			case <-programs.Done():
				return nil
			}
			if p == PartPostgres { // from here on this process alone has the folder
				if err := s.checkPorts(programs); err != nil {
					return err
				}
			}
		}
		if err := s.Prepare(programs); err != nil {
			return err
		}
		for _, args := range s.Programs() {
			run(&over, args[0], func() error { return s.command(programs, args...) })
		}
		if err := s.Seed(programs); err != nil {
			return err
		}
		ready()
		return nil
	}
	err := begin()
	if err == nil {
		<-programs.Done()
	}
	stopPrograms()
	_ = over.Wait() // failures go through failed
	stopParts()
	_ = under.Wait()
	select {
	case first := <-failed:
		return first
	default:
	}
	if err != nil && ctx.Err() != nil {
		return nil // the end came while it was starting
	}
	return err
}

// Options are how a stack is made.
type Options struct {
	Dir     string
	Rack    sim.Rack   // zero: sim.DefaultRack
	More    []sim.Rack // further racks of its site
	Speed   float64    // of the box; 0: 20
	Latency float64    // of the box's BMCs, 1: as real ones
	Faster  int        // hurries the product's waits, see workflows.Timing.Faster; 0: 10
	// Engine runs part temporal; nil: this process does not. It is a parameter so that what only looks
	// at a stack, such as a test, does not have a Temporal server linked in.
	Engine Engine
	// MinionsURL is where the minions of the box's hosts are run (see Minion); empty: in the box's Salt.
	MinionsURL string
	// TemporalStore is where Temporal keeps its own: StoreSQLite (where empty) or StorePostgres.
	TemporalStore string
	Log           *slog.Logger
	Said          io.Writer // what the product's programs log; nil: nowhere
}

// Engine starts a Temporal server with our namespace, and gives what stops it.
type Engine func(context.Context, EngineOptions) (stop func() error, err error)

// EngineOptions say what an Engine runs on: a file, or a PostgreSQL in which its user may make databases.
type EngineOptions struct {
	File     string
	Database *url.URL
	Ports    [4]int
	LogFile  string // for what the server itself logs: a stop alone makes it tell of errors with stack traces
}

// Where Temporal keeps its own.
const (
	StoreSQLite   = "sqlite"   // a file
	StorePostgres = "postgres" // databases of the cluster that has our tables, as in production
)

// DefaultDir is where a stack lives when nobody says: for root outside of root's home, where
// PostgreSQL's user may go. CAGENUT_DATA says it, to cagenut as well as to cagenut-dev.
func DefaultDir() (string, error) {
	if dir := os.Getenv("CAGENUT_DATA"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/cagenut-dev", nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir + "/cagenut-dev", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where to keep the demo: %w; name a folder with --dir", err)
	}
	return home + "/.local/share/cagenut-dev", nil
}
