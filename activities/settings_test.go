package activities_test

import (
	"net/http"
	"testing"

	"github.com/cagenut/cagenut/internal/sim"
)

// A BMC that restarts just when its settings are written loses the write: its old values are not
// what it makes of them, and they are written again.
func TestSettingsThatWereLostAreWrittenAgain(t *testing.T) {
	for _, phase := range []string{sim.Before, sim.After} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, sim.FlavourBase)
			for _, step := range []string{"identity", "bmc-credentials"} {
				if _, err := r.run(step, nil); err != nil {
					t.Fatalf("step %s: %v", step, err)
				}
			}
			if _, err := r.box.AddFault(sim.Fault{Method: http.MethodPatch, Phase: phase, Action: sim.ActReset, Count: 2}); err != nil {
				t.Fatal(err)
			}
			done, err := r.run("bmc-settings", nil)
			if err != nil {
				t.Fatalf("%v%s", err, details(err))
			}
			if !done.Changed || len(done.Writes) == 0 {
				t.Errorf("done without writes: %+v", done)
			}
			if fired := r.box.Faults()[0].Fired; fired != 2 {
				t.Errorf("%d writes were lost, want 2", fired)
			}
		})
	}
}
