//go:build e2e

package kills

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
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
	killProcesses(t, "", []string{stack.Postgres, stack.Temporal, stack.Box, stack.Worker, stack.Serve, stack.Site},
		[]string{stack.Site, stack.Serve, stack.Postgres, stack.Box, stack.Site, stack.Temporal, stack.Worker, stack.Serve})
}

// TestOnPostgres is the same with Temporal's own tables on PostgreSQL, as in production: when that is
// killed, everything stands still at once.
func TestOnPostgres(t *testing.T) {
	killProcesses(t, devstack.StorePostgres, []string{stack.Postgres}, []string{stack.Postgres, stack.Postgres})
}

// killProcesses kills some while machines are accepted, and some while they are installed.
func killProcesses(t *testing.T, store string, accepted, installed []string) {
	began := time.Now()
	flavours := sim.Flavours()
	rack := stack.Fleet(slices.Concat(flavours, flavours)...)
	s := stack.Start(t, stack.Options{Racks: rack, Hurry: hurry, TemporalStore: store})
	names, off := s.Names(), s.BeganOff()
	clean, names := names[:len(flavours)], names[len(flavours):]
	s.Done(s.Whole(clean...), 4*time.Minute)
	want := map[string]map[string]int{}
	for i, name := range clean {
		want[flavours[i]] = done(s, name, off[name])
	}
	id := s.Whole(names...)
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
	devices := s.Devices()
	for i, name := range names {
		if diff := cmp.Diff(want[flavours[i]], done(s, name, off[name])); diff != "" {
			t.Errorf("%s (%s): effects (-clean +killed):\n%s", name, flavours[i], diff)
		}
		if status := devices[name].Status.Value; status != "active" {
			t.Errorf("%s (%s) is %q in NetBox", name, flavours[i], status)
		}
	}
	sessions(t, s)
	t.Logf("%d kills, %d machines active in %.0f s", len(accepted)+len(installed), len(names), time.Since(began).Seconds())
}

// TestNetBoxPatch kills the central worker around the one write to NetBox, before its effect and after
// it: the machine is staged, and NetBox's changelog tells of it once.
func TestNetBoxPatch(t *testing.T) {
	began := time.Now()
	phases := []string{sim.Before, sim.After}
	s := stack.Start(t, stack.Options{Racks: stack.Fleet(slices.Repeat([]string{sim.FlavourBase}, len(phases))...), Hurry: hurry})
	names, devices := s.Names(), s.Devices()
	for i, phase := range phases {
		path := "^/api/dcim/devices/" + devices[names[i]].ID.String() + "/"
		rule := sim.Fault{Machine: sim.NetBox, Method: http.MethodPatch, Path: path, Phase: phase, Action: sim.ActHold}
		if _, err := s.Box().AddFault(t.Context(), rule); err != nil {
			t.Fatal(err)
		}
	}
	id := s.Install(names...)
	s.Until(time.Minute, "NetBox holds both writes", func() error {
		holds, err := s.Box().Holds(t.Context())
		if err == nil && len(holds) < len(phases) {
			err = fmt.Errorf("%d are held", len(holds))
		}
		return err
	})
	for i, status := range []string{"planned", "staged"} {
		if got := s.Devices()[names[i]].Status.Value; got != status {
			t.Errorf("held %s its effect, the write left %s %q, want %q", phases[i], names[i], got, status)
		}
	}
	s.Restart(stack.Worker)
	s.Done(id, 2*time.Minute)
	devices = s.Devices()
	for i, name := range names {
		if got := devices[name].Status.Value; got != "staged" {
			t.Errorf("killed %s NetBox's write, %s is %q", phases[i], name, got)
		}
		if rows := s.Changelog(devices[name].ID); len(rows) != 1 || !strings.Contains(rows[0].Message, string(id)) {
			t.Errorf("killed %s NetBox's write, %s has these rows in the changelog, want one of %s: %+v", phases[i], name, id, rows)
		}
		t.Logf("%s: central worker killed %s its PATCH, %s in NetBox", name, phases[i], devices[name].Status.Value)
	}
	t.Logf("2 kill points hit by 1 kill of the central worker in %.0f s", time.Since(began).Seconds())
}
