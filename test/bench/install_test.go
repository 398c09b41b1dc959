//go:build e2e

// Package bench measures what an install costs, over the product's programs in processes of their own:
// `make bench-install`. docs/performance.md says what the figures mean.
package bench

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// What is promised.
const (
	mostNetBox = 25.0 // requests a machine
	mostGrowth = 1.2  // CPU a machine, beside that of the first size
)

var (
	sizes  = flag.String("n", "100", "sizes: how many machines in one operation, e.g. \"100 1000 5000\"")
	window = flag.Int("window", 300, "machines at once")
	speed  = flag.Float64("speed", 20, "of the box")
	store  = flag.String("temporal-store", "", "sqlite or postgres")
	limit  = flag.Duration("limit", 2*time.Hour, "for one operation")
)

// The product: what a site would run. The box stands for its hardware and NetBox.
var product = []string{stack.Temporal, stack.Serve, stack.Worker, stack.Site, stack.Postgres}

// result is what one size cost.
type result struct {
	machines int
	planned  time.Duration // until the operation was accepted
	took     time.Duration // from there until every machine was active
	cpu      map[string]time.Duration
	memory   map[string]int64
	requests map[string]float64 // a machine
	slowest  time.Duration      // machine, from its start to its end
	median   time.Duration
	temporal cost
}

func (r result) each(d time.Duration) float64 { return d.Seconds() / float64(r.machines) }

func (r result) productCPU() (sum time.Duration) {
	for _, name := range product {
		sum += r.cpu[name]
	}
	return sum
}

func TestInstall(t *testing.T) {
	var all []result
	for _, word := range strings.Fields(*sizes) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			t.Fatalf("-n %q: use numbers of machines", *sizes)
		}
		t.Run(word, func(t *testing.T) {
			r := install(t, n)
			r.print()
			all = append(all, r)
		})
	}
	for _, r := range all[min(1, len(all)):] {
		growth := r.each(r.productCPU()) / all[0].each(all[0].productCPU())
		fmt.Printf("\nCPU a machine, %d beside %d: %.2f (at most %.2f)\n", r.machines, all[0].machines, growth, mostGrowth)
		if growth > mostGrowth {
			t.Errorf("a machine of %d costs %.2f times the CPU of one of %d, at most %.2f is promised", r.machines, growth, all[0].machines, mostGrowth)
		}
	}
}

// install takes n machines from planned to active in one operation.
func install(t *testing.T, n int) result {
	began := time.Now()
	s := stack.Start(t, stack.Options{
		Racks: sim.ScaleRacks(sim.DefaultRack().Site, n), Speed: *speed, Hurry: 1, TemporalStore: *store,
	})
	fmt.Printf("%d machines are planned in the box's NetBox after %.0f s\n", n, time.Since(began).Seconds())
	list := filepath.Join(t.TempDir(), "targets")
	if err := os.WriteFile(list, []byte(strings.Join(s.Names(), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := result{machines: n, cpu: map[string]time.Duration{}, memory: map[string]int64{}}
	asked, err := s.Box().Requests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]time.Duration{}
	look := func(into map[string]time.Duration) {
		for _, name := range stack.Processes() {
			u, err := s.Usage(name)
			if err != nil {
				t.Fatalf("what %s uses: %v", name, err)
			}
			into[name] = u.CPU
			r.memory[name] = max(r.memory[name], u.Memory)
		}
	}
	look(before)
	began = time.Now()
	out, errs, code := s.CLI("install", "--file", list, "--site", s.Rack().Site.Slug, "--window", strconv.Itoa(*window),
		"--reason", "bench", "--ticket", "BENCH-1", "-o", "json")
	var got struct{ ID operation.ID }
	if code != 0 || json.Unmarshal([]byte(out), &got) != nil {
		t.Fatalf("install: exit %d\n%s%s", code, out, errs)
	}
	r.planned = time.Since(began)
	began = time.Now()
	said := time.Now()
	s.Until(*limit, "operation "+string(got.ID)+" is done", func() error {
		time.Sleep(time.Second) //nolint:forbidigo // looking costs too, and is counted
		look(r.cpu)
		o := summary(t, s, got.ID)
		if time.Since(said) > 15*time.Second {
			said = time.Now()
			fmt.Printf("  %4.0f s: %v\n", time.Since(began).Seconds(), o.Counts)
		}
		switch {
		case o.State == operation.Done:
			return nil
		case o.Counts[operation.Running]+o.Counts[operation.Queued]+o.Counts[operation.Away] == 0 ||
			o.State == operation.Failed || o.State == operation.Aborted:
			return stack.Stop(errors.New(stuck(s.Operation(got.ID))))
		}
		return fmt.Errorf("%v", o.Counts)
	})
	look(r.cpu)
	r.took = time.Since(began)
	for name := range r.cpu {
		r.cpu[name] -= before[name]
	}
	now, err := s.Box().Requests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.requests = perMachine(asked, now, n)
	r.check(t, s, got.ID)
	if r.temporal, err = temporalCost(t.Context(), s.Inner().Temporal(), got.ID, n); err != nil {
		t.Fatal(err)
	}
	return r
}

// summary reads how far an operation is, at the least cost.
func summary(t *testing.T, s *stack.Stack, id operation.ID) operation.Summary {
	t.Helper()
	out, errs, code := s.CLI("op", "list", "-o", "json")
	var list []operation.Summary
	if code != 0 || json.Unmarshal([]byte(out), &list) != nil {
		t.Fatalf("op list: exit %d\n%s%s", code, out, errs)
	}
	for _, o := range list {
		if o.ID == id {
			return o
		}
	}
	t.Fatalf("op list does not show %s", id)
	return operation.Summary{}
}

// stuck says which machines do not go on, and why.
func stuck(d operation.Detail) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s: %v", d.ID, d.State, d.Counts)
	for _, r := range d.Runs {
		if r.State != operation.Done {
			fmt.Fprintf(&b, "\n%s is %s in %s: %v", r.Asset.Name, r.State, r.Step, r.Error)
		}
	}
	return b.String()
}

// perMachine gives what was asked between two counts of requests, by who was asked.
func perMachine(before, after map[string]int, n int) map[string]float64 {
	out := map[string]float64{}
	for who, count := range after {
		kind := "bmc"
		if who == sim.NetBox {
			kind = who
		}
		out[kind] += float64(count-before[who]) / float64(n)
	}
	return out
}

// check holds what became of the machines against what was asked for.
func (r *result) check(t *testing.T, s *stack.Stack, id operation.ID) {
	var times []time.Duration
	for _, run := range s.Operation(id).Runs {
		times = append(times, run.Ended.Sub(run.Started))
	}
	if len(times) != r.machines {
		t.Fatalf("the operation has %d runs, want %d", len(times), r.machines)
	}
	slices.Sort(times)
	r.median, r.slowest = times[len(times)/2], times[len(times)-1]
	active := 0
	for _, d := range s.Devices() {
		if d.Status.Value == "active" {
			active++
		}
	}
	if active != r.machines {
		t.Errorf("%d of %d machines are active in NetBox", active, r.machines)
	}
	if got := r.requests[sim.NetBox]; got > mostNetBox {
		t.Errorf("%.1f requests to NetBox a machine, at most %.0f are promised", got, mostNetBox)
	}
	errs, err := warnings(s.Inner().Dir())
	if err != nil {
		t.Fatal(err)
	}
	for text, count := range errs {
		fmt.Printf("  logged %d times: %s\n", count, text)
	}
}

// warnings counts the warnings and errors that the programs logged, by program and message.
func warnings(dir string) (map[string]int, error) {
	out := map[string]int{}
	for _, name := range []string{stack.Serve, stack.Worker, stack.Site} {
		raw, err := os.ReadFile(filepath.Join(dir, name+".log"))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			var l struct{ Level, Msg string }
			if json.Unmarshal([]byte(line), &l) == nil && (l.Level == "WARN" || l.Level == "ERROR") {
				out[name+" "+l.Level+" "+l.Msg]++
			}
		}
	}
	return out, nil
}

func (r result) print() {
	rate := float64(r.machines) / r.took.Minutes()
	fmt.Printf("\n%d machines, %d at once: accepted after %.1f s, active after %.0f s, %.0f machines/min; one took %.1f s (median), %.1f s (most)\n",
		r.machines, *window, r.planned.Seconds(), r.took.Seconds(), rate, r.median.Seconds(), r.slowest.Seconds())
	fmt.Printf("requests a machine: NetBox %.1f (at most %.0f), BMC %.0f\n", r.requests[sim.NetBox], mostNetBox, r.requests["bmc"])
	fmt.Printf("Temporal a machine: %s\n", r.temporal)
	fmt.Printf("%-10s %14s %12s\n", "process", "CPU s/machine", "peak MB")
	for _, name := range stack.Processes() {
		fmt.Printf("%-10s %14.3f %12d\n", name, r.each(r.cpu[name]), r.memory[name]>>20)
	}
	fmt.Printf("%-10s %14.3f\n", "product", r.each(r.productCPU()))
}
