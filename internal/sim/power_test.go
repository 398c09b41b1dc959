package sim_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// timed starts machines at Speed 1 with a clock that the test moves.
func timed(t *testing.T, specs ...sim.MachineSpec) (*sim.Box, *clock) {
	c := newClock()
	return simtest.StartWith(t, sim.Options{Machines: specs, Clock: c.Now, Speed: 1}), c
}

// effects lists the effects of a machine, with their details, but for sessions.
func effects(b *sim.Box, m *sim.Machine) []string {
	m.Summary() // lets happen what is due
	var out []string
	for _, e := range b.Journal(sim.Query{Machine: m.Name(), Kind: sim.KindEffect}) {
		s := e.Effect
		if e.Detail != "" {
			s += " " + e.Detail
		}
		out = append(out, s)
	}
	return out
}

func resetTo(c *simtest.Client, want int, kind string) {
	c.T.Helper()
	system := c.Get("/redfish/v1/Systems")
	path := simtest.At(system, "Members", 0, "@odata.id").(string)
	c.Do(want, "POST", path+"/Actions/ComputerSystem.Reset", map[string]any{"ResetType": kind})
}

func TestPowerTakesTime(t *testing.T) {
	s := ready(sim.FlavourBase)
	s.Off = true
	box, clock := timed(t, s)
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	seen := func() string {
		b := c.Get("/redfish/v1/Systems/1")
		return b["PowerState"].(string) + " " + simtest.At(b, "BootProgress", "LastState").(string)
	}
	var states []string
	look := func(d time.Duration) {
		clock.Advance(d)
		states = append(states, seen())
	}
	look(0)
	resetTo(c, http.StatusNoContent, "On")
	look(0)
	look(300 * time.Millisecond)
	look(150 * time.Millisecond)
	look(time.Second)
	resetTo(c, http.StatusNoContent, "On") // already so
	resetTo(c, http.StatusNoContent, "GracefulShutdown")
	look(0)
	look(500 * time.Millisecond)
	want := []string{
		"Off None", "PoweringOn None", "On None", "On PrimaryProcessorInitializationStarted", "On OSRunning",
		"PoweringOff OSRunning", "Off None",
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"power-on", "boot Hdd", "power-off"}, effects(box, m)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestPowerCycleAndRestart(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourBase))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	resetTo(c, http.StatusNoContent, "PowerCycle")
	clock.Advance(5 * time.Second)
	resetTo(c, http.StatusNoContent, "ForceRestart")
	clock.Advance(5 * time.Second)
	want := []string{"power-off", "power-on", "boot Hdd", "host-reboot ForceRestart", "boot Hdd"}
	if diff := cmp.Diff(want, effects(box, m)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	resetTo(c, http.StatusNoContent, "ForceOff")
	clock.Advance(5 * time.Second)
	resetTo(c, http.StatusConflict, "PowerCycle")
	resetTo(c, http.StatusBadRequest, "Explode")
}

func TestFlavoursHideTransitionsAndRefuseTheSameState(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourDell))
	c := simtest.Login(t, box.Machines()[0])
	resetTo(c, http.StatusConflict, "On")
	resetTo(c, http.StatusNoContent, "ForceOff")
	if p := c.Get("/redfish/v1/Systems/System.Embedded.1")["PowerState"]; p != "On" {
		t.Errorf("while powering off: %v, want On", p)
	}
	clock.Advance(time.Second)
	if p := c.Get("/redfish/v1/Systems/System.Embedded.1")["PowerState"]; p != "Off" {
		t.Errorf("after powering off: %v, want Off", p)
	}
}

func TestBootOverrideCountsOnce(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourBase))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	const media = "/redfish/v1/Systems/1/VirtualMedia/CD1"
	c.Do(http.StatusNoContent, "POST", media+"/Actions/VirtualMedia.InsertMedia", map[string]any{"Image": "http://u:p@192.0.2.1/debian.iso?token=x"})
	c.Do(http.StatusOK, "PATCH", "/redfish/v1/Systems/1", map[string]any{"Boot": map[string]any{
		"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once",
	}})
	for range 2 {
		resetTo(c, http.StatusNoContent, "ForceRestart")
		clock.Advance(5 * time.Second)
	}
	c.Do(http.StatusNoContent, "POST", media+"/Actions/VirtualMedia.EjectMedia", map[string]any{})
	var boots []string
	for _, e := range box.Journal(sim.Query{Effect: sim.EffectBoot}) {
		boots = append(boots, e.Detail)
	}
	if diff := cmp.Diff([]string{"Cd http://192.0.2.1/debian.iso", "Hdd"}, boots); diff != "" {
		t.Errorf("boots (-want +got):\n%s", diff)
	}
	if e := simtest.At(c.Get("/redfish/v1/Systems/1"), "Boot", "BootSourceOverrideEnabled"); e != "Disabled" {
		t.Errorf("override after the boot: %v", e)
	}
}

func TestPowerLoss(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourBase))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/MultipartUpload", multipartImage(t, sim.ComponentBIOS, "9.9.9"), "Content-Type", multipartType)
	if err := m.PowerLoss(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Try("GET", "/redfish/v1", nil); err == nil {
		t.Error("the BMC answered while it restarts")
	}
	clock.Advance(2 * time.Second)
	if p := c.Get("/redfish/v1/Systems/1")["PowerState"]; p != "Off" {
		t.Errorf("power: got %v, want Off", p)
	}
	resetTo(c, http.StatusNoContent, "On")
	clock.Advance(5 * time.Second)
	if v := m.Summary().Firmware[sim.ComponentBIOS]; v != "1.2.0" {
		t.Errorf("a flash survived the loss of power: %s", v)
	}
	if got := effects(box, m); slices.Contains(got, "flash bios=9.9.9") {
		t.Errorf("effects: %v", got)
	}
}
