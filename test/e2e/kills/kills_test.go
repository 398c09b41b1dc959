//go:build e2e

package kills

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// everything asks for every call of every flavour. Without it other flavours than base are killed
// only at those calls that base has not.
var everything = flag.Bool("all", false, "kill at every call of every flavour, not only at those that base has not")

// hurry is less than in other tests: a killed worker is noticed after as long as in production, and
// what waits for it must not give up before.
const hurry = 3

// wave is how many machines are held at once.
const wave = 24

// breed is machines that get the same calls.
type breed struct {
	flavour string
	skewed  bool // the BMC's clock is wrong from the factory
}

func (b breed) String() string {
	if b.skewed {
		return b.flavour + ", clock wrong"
	}
	return b.flavour
}

func breeds(flavours []string) []breed {
	var out []breed
	for _, f := range flavours {
		out = append(out, breed{f, false}, breed{f, true})
	}
	return out
}

// killed is one kill point and the machine that it was tried on.
type killed struct {
	breed          breed
	machine, phase string
	at             point
	late           time.Duration // how far into an install the call comes
}

// TestEveryCall kills the site's worker at every mutating call of an install, to a BMC, to the API and to
// Salt, before its effect and after it, each on a machine of its own. The worker is the boot service too:
// what machines and agents tell is among its calls to the API. What the calls are is learnt from a machine
// of each breed that is installed undisturbed.
func TestEveryCall(t *testing.T) {
	if *everything {
		for _, flavour := range sim.Flavours() {
			t.Run(flavour, func(t *testing.T) { everyCall(t, flavour) })
		}
		return
	}
	others := slices.DeleteFunc(sim.Flavours(), func(f string) bool { return f == sim.FlavourBase })
	everyCall(t, append([]string{sim.FlavourBase}, others...)...)
}

// everyCall kills at every call of the first flavour, and at those calls of the others that it has not.
func everyCall(t *testing.T, flavours ...string) {
	began := time.Now()
	g := newGate()
	s := stack.Start(t, stack.Options{Racks: stack.Fleet(population(flavours)...), Hurry: hurry, Config: g.option(t)})
	g.knows(s)
	breeds := breeds(flavours)
	pool, off := pools(t, s)
	clean := map[breed]string{}
	var first []string
	for _, b := range breeds {
		clean[b] = pool.take(t, b)
		first = append(first, clean[b])
	}
	undisturbed := s.Install(first...)
	s.Done(undisturbed, 4*time.Minute)

	known := map[string]map[string]bool{} // patterns of the calls that were seen, by flavour
	want := map[breed]map[string]int{}
	var all []killed
	calls := map[breed]int{}
	for _, b := range breeds {
		journal := s.Journal(clean[b])
		points := append(pointsOf(journal), pointsOf(g.calls(clean[b]))...)
		if want[b] = done(s, clean[b], false); len(points) == 0 || len(want[b]) == 0 {
			t.Fatalf("an install of %s has %d calls and the effects %v", b, len(points), want[b])
		}
		fresh := map[string]bool{}
		for _, p := range points {
			if p.impatient() {
				continue
			}
			fresh[p.pattern()] = true
			if known[b.flavour][p.pattern()] || known[flavours[0]][p.pattern()] {
				continue
			}
			calls[b]++
			for _, phase := range []string{sim.Before, sim.After} {
				all = append(all, killed{breed: b, machine: pool.take(t, b), phase: phase, at: p, late: p.at.Sub(journal[0].Time)})
			}
		}
		if known[b.flavour] == nil {
			known[b.flavour] = map[string]bool{}
		}
		maps.Copy(known[b.flavour], fresh)
	}
	t.Logf("%3.0f s: %d points", time.Since(began).Seconds(), len(all))
	// Machines of a wave are to reach their points at about the same time.
	slices.SortStableFunc(all, func(a, b killed) int { return cmp.Compare(a.late, b.late) })
	kills := 0
	var ops []operation.ID
	missed := map[string]bool{} // machines that were done without their kill
	for some := range slices.Chunk(all, wave) {
		id, n := killAt(t, s, g, some, missed)
		ops = append(ops, id)
		kills += n
		t.Logf("%3.0f s: %d points, kills: %d", time.Since(began).Seconds(), len(some), n)
	}
	for _, id := range ops {
		s.Done(id, 4*time.Minute)
	}
	if len(missed) > mostMissed {
		t.Errorf("%d machines were done without their kill, more than %d: %v", len(missed), mostMissed, slices.Sorted(maps.Keys(missed)))
	}
	all = slices.DeleteFunc(all, func(k killed) bool { return missed[k.machine] })
	report(t, s, all, off, want, runsOf(s, append(ops, undisturbed)))
	runs := runsOf(s, []operation.ID{undisturbed})
	for _, b := range breeds {
		run := runs[clean[b]]
		told(t, s, run, b.flavour, "undisturbed", s.Changelog(run.Asset.ID))
	}
	sessions(t, s)
	for _, b := range breeds {
		t.Logf("%-24s %2d calls, each once before and once after its effect", b, calls[b])
	}
	t.Logf("%d kill points hit by %d kills of the worker in %.0f s", len(all), kills, time.Since(began).Seconds())
}

// population is how many machines of each flavour there are: enough for all that may be killed. Every
// third has a wrong clock, every sixth is off.
func population(flavours []string) []string {
	out := slices.Repeat(flavours[:1], 360)
	for _, f := range flavours[1:] {
		out = append(out, slices.Repeat([]string{f}, 30)...)
	}
	return out
}

// machines are what is left to be used, by breed.
type machines map[breed][]string

// pools sorts the machines by breed. One that is off at first is spared a call, and could wait for one
// that never comes: it is in none.
func pools(t *testing.T, s *stack.Stack) (machines, map[string]bool) {
	t.Helper()
	off, out := s.BeganOff(), machines{}
	var racks [][]sim.MachineSpec
	for _, r := range s.Inner().Racks() {
		racks = append(racks, r.Machines())
	}
	for i := range racks[0] { // from one rack after another: each works on few machines at once
		for _, r := range racks {
			if i >= len(r) {
				continue
			}
			if b := (breed{r[i].Flavour, r[i].ClockSkew != 0}); !off[r[i].Name] {
				out[b] = append(out[b], r[i].Name)
			}
		}
	}
	return out, off
}

func (m machines) take(t *testing.T, b breed) string {
	t.Helper()
	if len(m[b]) == 0 {
		t.Fatalf("no machine is left of %s: population makes too few", b)
	}
	name := m[b][0]
	m[b] = m[b][1:]
	return name
}

// patience is how long an answer is held while others of the wave are waited for: less than the 30 seconds
// after which the product gives one request up.
func patience(h sim.Hold) time.Duration {
	if h.Method == toAPI && urgent.MatchString(h.Path) {
		return 2 * time.Second
	}
	return 10 * time.Second
}

// urgent are calls whose answer is soon waited for no more. A machine that boots gets one within five seconds,
// whatever the API says. A result that reached the API lets the run go on, which boots the machine, and the agent
// that waits is gone.
var urgent = regexp.MustCompile(`^(boot/(lookup|event (asked|fetched))|agent/result)`)

// mostMissed is how many points may not be hit. On a loaded machine one was seen that wrote BIOS settings
// five times where the undisturbed one had written them six; why is not established. Each is told.
const mostMissed = 4

// holder keeps answers back.
type holder interface {
	AddFault(context.Context, sim.Fault) (sim.Fault, error)
}

func holderOf(s *stack.Stack, g *gate, p point) holder {
	if p.gated() {
		return g
	}
	return s.Box()
}

// killAt starts machines and holds each at its point. When all are held, or the first has been for long enough, it
// kills the worker that waits for their answers, and so on until every point was hit. It gives the operation and how
// many kills that took. A machine that ended without its kill is put into missed: it made its call less often, or
// nobody waited any more for the answer of a call that had its effect.
func killAt(t *testing.T, s *stack.Stack, g *gate, some []killed, missed map[string]bool) (id operation.ID, kills int) {
	t.Helper()
	left := map[string]killed{} // by rule
	var names []string
	for _, k := range some {
		rule, err := holderOf(s, g, k.at).AddFault(t.Context(), k.at.hold(k.machine, k.phase))
		if err != nil {
			t.Fatal(err)
		}
		left[rule.ID] = k
		names = append(names, k.machine)
	}
	id = s.Install(names...)
	for len(left) > 0 {
		s.Until(3*time.Minute, "the wave is held", func() error {
			holds, err := s.Box().Holds(t.Context())
			if err != nil {
				return err
			}
			gated, err := g.Holds(t.Context())
			if err != nil {
				return err
			}
			holds = append(holds, gated...)
			if len(holds) == 0 {
				runs := runsOf(s, []operation.ID{id})
				maps.DeleteFunc(left, func(_ string, k killed) bool {
					first := k.at.Nth == 0 && k.phase == sim.Before // it is always made, and held
					gone := !first && runs[k.machine].State == operation.Done
					if gone {
						missed[k.machine] = true
						t.Logf("%s (%s) was done without a kill %s %s", k.machine, k.breed, k.phase, k.at)
					}
					return gone
				})
			}
			if len(holds) == len(left) || slices.ContainsFunc(holds, func(h sim.Hold) bool { return time.Since(h.Since) > patience(h) }) {
				return nil
			}
			return fmt.Errorf("%d of %v are held", len(holds), slices.Collect(maps.Values(left)))
		})
		if len(left) == 0 {
			break
		}
		kills++
		g.kill(t, s)
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
		gated, err := g.Faults(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range append(rules, gated...) {
			if r.Fired > 0 { // it held its request until the kill
				delete(left, r.ID)
			}
		}
		s.Start(stack.Site)
	}
	return id, kills
}

// runsOf are the runs of operations by machine.
func runsOf(s *stack.Stack, ops []operation.ID) map[string]operation.Run {
	out := map[string]operation.Run{}
	for _, id := range ops {
		for _, r := range s.Operation(id).Runs {
			out[r.Asset.Name] = r
		}
	}
	return out
}

// report prints what every kill led to and fails the test for effects that a clean run has not.
func report(t *testing.T, s *stack.Stack, all []killed, off map[string]bool, want map[breed]map[string]int, runs map[string]operation.Run) {
	t.Helper()
	devices := s.Devices()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tFLAVOUR\tCALL\tKILLED\tNETBOX\tEFFECTS\tTOLD")
	for _, k := range all {
		said := "as in a clean run"
		if diff := gocmp.Diff(want[k.breed], done(s, k.machine, off[k.machine])); diff != "" {
			said = "OTHERS"
			t.Errorf("%s (%s), killed %s %s: effects (-clean +killed):\n%s", k.machine, k.breed, k.phase, k.at, diff)
		}
		status := devices[k.machine].Status.Value
		if status != "active" {
			t.Errorf("%s (%s), killed %s %s, is %q in NetBox", k.machine, k.breed, k.phase, k.at, status)
		}
		run := runs[k.machine]
		tells := told(t, s, run, k.breed.flavour, "killed "+k.phase+" "+k.at.String(), s.Changelog(run.Asset.ID))
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.machine, k.breed, k.at, k.phase, status, said, tells)
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
