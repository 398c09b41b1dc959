//go:build e2e

package kills

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// hurry is less than in other tests: a killed worker is noticed after as long as in production, and
// what waits for it must not give up before.
const hurry = 4

// wave is how many machines are held at once.
const wave = 10

// TestEveryCall kills the site's worker at every mutating call of an acceptance, before its effect
// and after it, each on a machine of its own. What the calls are is learnt from a machine that is
// accepted undisturbed.
func TestEveryCall(t *testing.T) {
	for _, flavour := range []string{sim.FlavourBase} { // another costs three minutes more
		t.Run(flavour, func(t *testing.T) { everyCall(t, flavour) })
	}
}

// killed is one kill point and the machine that it was tried on.
type killed struct {
	machine, phase string
	at             point
}

func everyCall(t *testing.T, flavour string) {
	began := time.Now()
	hit, kills := 0, 0
	// Each phase has a rack of its own: an acceptance has more calls than half a rack has machines.
	for _, phase := range []string{sim.Before, sim.After} {
		t.Run(phase, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Rack: rackOf(40, flavour), Hurry: hurry})
			names, off := namesOf(s), beganOff(t, s)
			// A machine that is off at first is spared a call, and could wait for one that never comes.
			names = slices.DeleteFunc(names, func(n string) bool { return off[n] })
			clean, names := names[0], names[1:]
			done(t, s, s.Install(clean), 2*time.Minute)
			journal := journalOf(t, s, clean)
			points, want := pointsOf(journal), effects(journal, off[clean])
			if len(points) == 0 || len(want) == 0 || len(points) > len(names) {
				t.Fatalf("an acceptance with %d calls and the effects %v, and %d machines to kill at", len(points), want, len(names))
			}
			all := make([]killed, len(points))
			for i, p := range points {
				all[i] = killed{machine: names[i], phase: phase, at: p}
			}
			var ops []operation.ID
			for some := range slices.Chunk(all, wave) {
				id, n := killAt(t, s, some)
				ops = append(ops, id)
				kills += n
			}
			for _, id := range ops {
				done(t, s, id, 4*time.Minute)
			}
			report(t, s, all, off, want)
			sessions(t, s)
			hit += len(all)
		})
	}
	t.Logf("%s: %d kill points hit by %d kills of the worker in %.0f s", flavour, hit, kills, time.Since(began).Seconds())
}

// patience is how long an answer is held while others of the wave are waited for: less than the 30
// seconds after which the product gives one request up.
const patience = 15 * time.Second

// killAt starts machines and holds each at its point. When all are held, or the first has been for
// long enough, it kills the worker that waits for their answers, and so on until every point was
// hit. It gives the operation and how many kills that took.
func killAt(t *testing.T, s *stack.Stack, some []killed) (id operation.ID, kills int) {
	t.Helper()
	left := map[string]killed{} // by rule
	var names []string
	for _, k := range some {
		rule, err := s.Box().AddFault(t.Context(), k.at.hold(k.machine, k.phase))
		if err != nil {
			t.Fatal(err)
		}
		left[rule.ID] = k
		names = append(names, k.machine)
	}
	id = s.Install(names...)
	for ; len(left) > 0; kills++ {
		var first time.Time
		var holds []sim.Hold
		s.Until(2*time.Minute, "the wave is held", func() (err error) {
			if holds, err = s.Box().Holds(t.Context()); err != nil {
				return err
			}
			if first.IsZero() && len(holds) > 0 {
				first = time.Now()
			}
			if len(holds) == len(left) || !first.IsZero() && time.Since(first) > patience {
				return nil
			}
			return fmt.Errorf("%d of %v are held", len(holds), slices.Collect(maps.Values(left)))
		})
		s.Kill(stack.Site)
		s.Until(10*time.Second, "the box sees that its client is gone", func() error {
			holds, err := s.Box().Holds(t.Context())
			if err == nil && len(holds) > 0 {
				err = fmt.Errorf("%d requests are still held", len(holds))
			}
			return err
		})
		rules, err := s.Box().Faults(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			if r.Fired > 0 { // it held its request until the kill
				delete(left, r.ID)
			}
		}
		s.Start(stack.Site)
	}
	return id, kills
}

// report prints what every kill led to and fails the test for effects that a clean run has not.
func report(t *testing.T, s *stack.Stack, all []killed, off map[string]bool, want map[string]int) {
	t.Helper()
	status := statuses(t, s)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tCALL\tKILLED\tNETBOX\tEFFECTS")
	for _, k := range all {
		said := "as in a clean run"
		if diff := cmp.Diff(want, effects(journalOf(t, s, k.machine), off[k.machine])); diff != "" {
			said = "OTHERS"
			t.Errorf("%s, killed %s %s: effects (-clean +killed):\n%s", k.machine, k.phase, k.at, diff)
		}
		if status[k.machine] != "staged" {
			t.Errorf("%s, killed %s %s, is %q in NetBox", k.machine, k.phase, k.at, status[k.machine])
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.machine, k.at, k.phase, status[k.machine], said)
	}
	_ = w.Flush() // into memory
	t.Logf("\n%s", table.String())
}

// sessions asserts that no BMC was ever near being locked by our sessions.
func sessions(t *testing.T, s *stack.Stack) {
	t.Helper()
	list, err := s.Box().Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, b := range list {
		most = max(most, b.Max)
		if b.Max >= b.Limit {
			t.Errorf("the BMC of %s had %d sessions at once; its limit is %d", b.Machine, b.Max, b.Limit)
		}
	}
	t.Logf("most sessions that a BMC ever had at once: %d", most)
}

// done waits until an operation is done with every machine.
func done(t *testing.T, s *stack.Stack, id operation.ID, limit time.Duration) {
	t.Helper()
	s.Until(limit, "operation "+string(id)+" is done", func() error {
		d := s.Operation(id)
		if d.State == operation.Done {
			return nil
		}
		var open []string
		for _, r := range d.Runs {
			if r.State != operation.Done {
				why := ""
				if r.Error != nil {
					why = ": " + r.Error.Message
				}
				open = append(open, fmt.Sprintf("%s is %s in %s%s", r.Asset.Name, r.State, r.Step, why))
			}
		}
		return fmt.Errorf("%s; %s", d.State, strings.Join(open, "; "))
	})
}

// beganOff tells which machines are switched off; some of a new rack are.
func beganOff(t *testing.T, s *stack.Stack) map[string]bool {
	t.Helper()
	list, err := s.Box().Machines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range list {
		out[m.Name] = m.Power == "Off"
	}
	return out
}

func journalOf(t *testing.T, s *stack.Stack, machine string) []sim.Entry {
	t.Helper()
	out, err := s.Box().Journal(t.Context(), sim.Query{Machine: machine})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// statuses are what NetBox has of the machines.
func statuses(t *testing.T, s *stack.Stack) map[string]string {
	t.Helper()
	base, token := s.Inner().NetBox()
	var page struct {
		Results []struct {
			Name   string
			Status struct{ Value string }
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	query := url.Values{"limit": {"100"}, "role": {"server"}}
	if err := s.NetBox(ctx, base, token, "dcim/devices/?"+query.Encode(), &page); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range page.Results {
		out[d.Name] = d.Status.Value
	}
	return out
}

// rackOf makes a rack of n machines of the flavours in turn.
func rackOf(n int, flavours ...string) sim.Rack {
	list := make([]string, n)
	for i := range list {
		list[i] = flavours[i%len(flavours)]
	}
	return sim.NewRack(sim.DefaultRack().Site, 12, 101, list)
}

func namesOf(s *stack.Stack) []string {
	var out []string
	for _, d := range s.Rack().Servers() {
		out = append(out, d.Name)
	}
	return out
}
