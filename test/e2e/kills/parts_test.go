//go:build e2e

package kills

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// TestEveryProcess kills every process once while machines of all flavours are accepted: the product's
// programs, PostgreSQL, Temporal, and the box itself, whose BMCs then all forget their connections
// at once. Half of the rack is accepted undisturbed before, to compare with.
func TestEveryProcess(t *testing.T) {
	began := time.Now()
	flavours := sim.Flavours()
	s := stack.Start(t, stack.Options{Rack: rackOf(2*len(flavours), flavours...), Hurry: hurry})
	names, off := namesOf(s), beganOff(t, s)
	clean, names := names[:len(flavours)], names[len(flavours):]
	done(t, s, s.Install(clean...), 2*time.Minute)
	want := map[string]map[string]int{}
	for i, name := range clean {
		want[flavours[i]] = effects(journalOf(t, s, name), off[name])
	}
	id := s.Install(names...)
	var seen int64
	for _, name := range []string{stack.Postgres, stack.Temporal, stack.Box, stack.Worker, stack.Serve, stack.Site} {
		s.Until(2*time.Minute, "the machines go on before "+name+" is killed", func() error {
			news, err := s.Box().Journal(t.Context(), sim.Query{Kind: sim.KindRequest, Since: seen})
			if err == nil && len(news) < 15 {
				err = fmt.Errorf("%d requests", len(news))
			}
			if err == nil {
				seen = news[len(news)-1].Seq
			}
			return err
		})
		if d := s.Operation(id); !d.Ended.IsZero() {
			t.Fatalf("the operation was %s before %s was killed", d.State, name)
		}
		s.Restart(name)
		t.Logf("%s killed and started again after %.0f s", name, time.Since(began).Seconds())
	}
	done(t, s, id, 4*time.Minute)
	status := statuses(t, s)
	for i, name := range names {
		if diff := cmp.Diff(want[flavours[i]], effects(journalOf(t, s, name), off[name])); diff != "" {
			t.Errorf("%s (%s): effects (-clean +killed):\n%s", name, flavours[i], diff)
		}
		if status[name] != "staged" {
			t.Errorf("%s (%s) is %q in NetBox", name, flavours[i], status[name])
		}
	}
	sessions(t, s)
	t.Logf("6 processes killed, %d machines staged in %.0f s", len(names), time.Since(began).Seconds())
}
