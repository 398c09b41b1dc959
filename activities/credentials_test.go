package activities_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
)

// A BMC may demand another password from the account that has the pending one already: somebody set it so
// after the change. It is given a new one in the same step, and the pending one is not lost meanwhile.
func TestThePendingPasswordMustBeChangedToo(t *testing.T) {
	for name, lose := range map[string]func(int) bool{
		"all answers arrive":    nil,
		"the first is lost":     func(n int) bool { return n == 0 },
		"the change's is lost":  func(n int) bool { return n == 1 },
		"every second is lost":  func(n int) bool { return n%2 == 0 },
		"every second, shifted": func(n int) bool { return n%2 == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sim.FlavourOpenBMC)
			serial := r.target.Asset.Serial
			r.keys.pending[serial] = r.keys.factory[serial]
			delete(r.keys.factory, serial)
			old := r.keys.pending[serial]
			if _, err := r.run("identity", lose); err != nil {
				t.Fatalf("%v%s", err, details(err))
			}
			if now := r.keys.current[serial]; now == "" || now == old || r.keys.pending[serial] != "" {
				t.Errorf("current %q, pending %q; want another than %q, and none pending", now, r.keys.pending[serial], old)
			}
			once := map[string]int{sim.EffectPasswordChanged + " " + r.target.BMC.Account: 1}
			if d := cmp.Diff(once, r.effects(sim.EffectPasswordChanged)); d != "" {
				t.Errorf("changes (-want +got):\n%s", d)
			}
			if len(r.writes) != 1 {
				t.Errorf("recorded %v, want one write", r.writes)
			}
		})
	}
}
