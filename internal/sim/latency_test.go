package sim_test

import (
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

func TestAnswersTakeTheirTime(t *testing.T) {
	box := simtest.StartWith(t, sim.Options{Machines: []sim.MachineSpec{ready(sim.FlavourBase)}, Latency: 0.5})
	c := simtest.Login(t, box.Machines()[0])
	c.Get("/redfish/v1") // connects
	start := time.Now()
	c.Get("/redfish/v1")
	if d := time.Since(start); d < 25*time.Millisecond { // half of half of the flavour's 100 ms
		t.Errorf("an answer took %v", d)
	}
}

// Real BMCs serve one or two requests at once; the others wait.
func TestServedAtOnce(t *testing.T) {
	box := simtest.StartWith(t, sim.Options{Machines: []sim.MachineSpec{ready(sim.FlavourBase)}, AtOnce: 1})
	const delay = 60 * time.Millisecond
	if _, err := box.AddFault(sim.Fault{Action: sim.ActLatency, DelayMS: int(delay.Milliseconds()), Count: -1}); err != nil {
		t.Fatal(err)
	}
	c := simtest.Login(t, box.Machines()[0])
	start := time.Now()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := c.Try("GET", "/redfish/v1", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(start); d < 3*delay {
		t.Errorf("three answers one after another took %v, want at least %v", d, 3*delay)
	}
}
