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

// The demo's rack: every BMC is where the plan says, and lets its factory account in.
func TestDefaultRackRuns(t *testing.T) {
	rack := sim.DefaultRack()
	box := simtest.StartWith(t, sim.Options{Machines: rack.Machines()})
	planned := rack.Servers()
	off := 0
	for i, m := range box.Machines() {
		if s := m.Spec(); s.Addr != planned[i].OOB.Addr() || s.Serial != planned[i].Serial {
			t.Errorf("%s is %s at %s, planned as %s at %s", s.Name, s.Serial, s.Addr, planned[i].Serial, planned[i].OOB)
		}
		login(simtest.Login(t, m), http.StatusCreated)
		if m.Summary().Power == "Off" {
			off++
		}
		d, known := sim.Describe(planned[i].Flavour)
		if !known || d.Type != planned[i].Type || len(d.Components) != len(sim.Components()) || d.User != m.Spec().User {
			t.Errorf("description of %s: %+v", planned[i].Flavour, d)
		}
	}
	if off == 0 {
		t.Error("no machine is without power")
	}
	if _, known := sim.Describe("vax"); known {
		t.Error("an unknown flavour was described")
	}
}
