package sim_test

import (
	"net/http"
	"runtime"
	"testing"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// A thousand machines in one process: they start, answer, keep state, and stay small.
func TestThousandMachines(t *testing.T) {
	var specs []sim.MachineSpec
	for _, r := range sim.ScaleRacks(sim.Site{Name: "Scale", Slug: "scale01", Status: "active"}, 1000) {
		specs = append(specs, r.Machines()...)
	}
	before := heap()
	box := simtest.StartWith(t, sim.Options{Machines: specs})
	each := (heap() - before) / 1000
	t.Logf("%d bytes of heap for each machine", each)
	if each > 64<<10 {
		t.Errorf("%d bytes of heap for each machine, want at most 64 KiB", each)
	}
	for _, i := range []int{0, 499, 999} {
		m := box.Machines()[i]
		a := login(simtest.Login(t, m), http.StatusCreated)
		if a.Header.Get("X-Auth-Token") == "" {
			t.Errorf("%s gave no token", m.Name())
		}
	}
	if got := len(box.Journal(sim.Query{Effect: sim.EffectSessionOpened})); got != 3 {
		t.Errorf("sessions in the journal: %d, want 3", got)
	}
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc + s.StackInuse)
}
