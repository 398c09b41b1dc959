package sim_test

import (
	"testing"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simclient"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// Reads count too, which the journal does not have.
func TestRequestsAreCounted(t *testing.T) {
	box := simtest.StartWith(t, sim.Options{Machines: []sim.MachineSpec{ready(sim.FlavourBase)}})
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	counted := func() int {
		all, err := simclient.New(box.AdminURL()).Requests(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[m.Name()]
	}
	before := counted()
	c.Get("/redfish/v1")
	c.Get("/redfish/v1/Systems")
	if got := counted() - before; got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
}
