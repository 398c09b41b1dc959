//go:build e2e

package kills

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/devstack"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// TestEveryProcess kills every process once while machines of all flavours are accepted, and again while
// they are installed: the product's programs, PostgreSQL, Temporal, and the box itself, whose BMCs then all
// forget their connections at once, and whose hosts go on. The site's worker and serve are the boot
// service: they go while machines boot. Half of the rack is installed undisturbed before, to compare with.
func TestEveryProcess(t *testing.T) {
	t.Parallel() // most of its time is waiting
	killProcesses(t, "", []string{stack.Postgres, stack.Temporal, stack.Box, stack.Worker, stack.Serve, stack.Site},
		[]string{stack.Site, stack.Serve, stack.Postgres, stack.Box, stack.Site, stack.Temporal, stack.Worker, stack.Serve})
}

// TestOnPostgres is the same with Temporal's own tables on PostgreSQL, as in production: when that is
// killed, everything stands still at once.
func TestOnPostgres(t *testing.T) {
	t.Parallel()
	killProcesses(t, devstack.StorePostgres, []string{stack.Postgres}, []string{stack.Postgres, stack.Postgres})
}

// clean is what undisturbed counted.
var clean struct {
	sync.Mutex
	done []map[string]int
}

// undisturbed installs a machine of each flavour that nobody disturbs and counts what was done to each, once
// for all tests.
func undisturbed(s *stack.Stack, names []string) []map[string]int {
	clean.Lock()
	defer clean.Unlock()
	if clean.done == nil {
		off := s.BeganOff()
		s.Done(s.Install(names...), 4*time.Minute)
		for _, name := range names {
			clean.done = append(clean.done, done(s, name, off[name]))
		}
	}
	return clean.done
}

// asUndisturbed holds that machines are active, and that no more and no less was done to each than to the
// undisturbed one of its flavour.
func asUndisturbed(t *testing.T, s *stack.Stack, names []string, off map[string]bool, want []map[string]int) {
	t.Helper()
	devices := s.Devices()
	for i, name := range names {
		if diff := cmp.Diff(want[i], done(s, name, off[name])); diff != "" {
			t.Errorf("%s: effects (-clean +disturbed):\n%s", name, diff)
		}
		if status := devices[name].Status.Value; status != "active" {
			t.Errorf("%s is %q in NetBox", name, status)
		}
	}
	sessions(t, s)
}

// killProcesses kills some while machines are accepted, and some while they are installed.
func killProcesses(t *testing.T, store string, accepted, installed []string) {
	began := time.Now()
	flavours := sim.Flavours()
	rack := stack.Fleet(slices.Concat(flavours, flavours)...)
	s := stack.Start(t, stack.Options{Racks: rack, Hurry: hurry, TemporalStore: store})
	names, off := s.Names(), s.BeganOff()
	want, names := undisturbed(s, names[:len(flavours)]), names[len(flavours):]
	id := s.Install(names...)
	seen := int64(0)
	if all, err := s.Box().Journal(t.Context(), sim.Query{}); err != nil {
		t.Fatal(err)
	} else if len(all) > 0 {
		seen = all[len(all)-1].Seq
	}
	kill := func(name, what string, least int, counts func(sim.Entry) bool) {
		s.Until(3*time.Minute, "the machines go on before "+name+" is killed", func() error {
			news, err := s.Box().Journal(t.Context(), sim.Query{Since: seen})
			if err != nil {
				return err
			}
			n := 0
			for _, e := range news {
				if counts(e) {
					n++
				}
			}
			if n < least {
				return fmt.Errorf("%d %s", n, what)
			}
			seen = news[len(news)-1].Seq
			return nil
		})
		if d := s.Operation(id); !d.Ended.IsZero() {
			t.Fatalf("the operation was %s before %s was killed", d.State, name)
		}
		s.Restart(name)
		t.Logf("%s killed and started again after %.0f s", name, time.Since(began).Seconds())
	}
	for _, name := range accepted {
		kill(name, "requests", 15, func(e sim.Entry) bool { return e.Kind == sim.KindRequest })
	}
	for _, name := range installed {
		kill(name, "effects of hosts", 4, func(e sim.Entry) bool { return slices.Contains(ofHosts, e.Effect) })
	}
	s.Done(id, 6*time.Minute)
	asUndisturbed(t, s, names, off, want)
	t.Logf("%d kills, %d machines active in %.0f s", len(accepted)+len(installed), len(names), time.Since(began).Seconds())
}

// TestEveryNetBoxWrite kills the central worker at every write to NetBox, before its effect and after it: the
// status that says staged, the machine's address, that it is the primary one, the status that says active,
// and the note in its journal. Each is there once.
func TestEveryNetBoxWrite(t *testing.T) {
	t.Parallel()
	began := time.Now()
	phases := []string{sim.Before, sim.After}
	s := stack.Start(t, stack.Options{Racks: stack.Fleet(slices.Repeat([]string{sim.FlavourBase}, 6)...), Hurry: hurry})
	names, devices := s.Names(), s.Devices()
	left := map[string]sim.Fault{}
	hold := func(f sim.Fault) {
		f.Machine, f.Action = sim.NetBox, sim.ActHold
		rule, err := s.Box().AddFault(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		left[rule.ID] = rule
	}
	for i, name := range names {
		hold(sim.Fault{Method: http.MethodPatch, Path: "^/api/dcim/devices/" + devices[name].ID.String() + "/", Phase: phases[i%2], Skip: i / 2})
	}
	for _, path := range []string{"^/api/ipam/prefixes/[0-9]+/available-ips/", "^/api/extras/journal-entries/"} {
		for i, phase := range phases { // of whichever machine comes first, and of another one
			hold(sim.Fault{Method: http.MethodPost, Path: path, Phase: phase, Skip: i})
		}
	}
	points, kills := len(left), 0
	id := s.Install(names...)
	for len(left) > 0 {
		var first time.Time
		s.Until(3*time.Minute, "NetBox holds writes", func() error {
			holds, err := s.Box().Holds(t.Context())
			if err == nil && len(holds) > 0 && first.IsZero() {
				first = time.Now()
			}
			if err == nil && len(holds) < len(left) && (first.IsZero() || time.Since(first) < 5*time.Second) {
				err = fmt.Errorf("%d of %v are held", len(holds), left)
			}
			return err
		})
		kills++
		s.Restart(stack.Worker)
		rules, err := s.Box().Faults(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			if r.Fired > 0 {
				delete(left, r.ID)
			}
		}
	}
	s.Done(id, 4*time.Minute)
	now := s.Devices()
	base, token := s.Inner().NetBox()
	for _, name := range names {
		device := devices[name].ID
		if status := now[name].Status.Value; status != "active" {
			t.Errorf("%s is %q in NetBox", name, status)
		}
		if rows := s.Changelog(device); len(rows) != 3 || !strings.Contains(rows[0].Message, string(id)) {
			t.Errorf("%s has these rows in the changelog, want three of %s: %+v", name, id, rows)
		}
		for path, want := range map[string]int{"ipam/ip-addresses/?device_id=" + device.String(): 2, "extras/journal-entries/?assigned_object_id=" + device.String(): 1} {
			var page struct{ Count int }
			if err := s.NetBox(t.Context(), base, token, path, &page); err != nil {
				t.Fatal(err)
			}
			if page.Count != want {
				t.Errorf("%s: %s has %d rows, want %d", name, path, page.Count, want)
			}
		}
	}
	t.Logf("%d kill points hit by %d kills of the central worker in %.0f s", points, kills, time.Since(began).Seconds())
}
