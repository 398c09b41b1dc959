package sim_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simclient"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// A machine that lost its power in the middle boots its disk from then on, also over the network, until
// an operator's retry opens another record: that one installs, with another token.
func TestARetryInstallsAHostThatWasLost(t *testing.T) {
	s := newSite(t)
	m := s.machine("debian-bios-plain")
	s.open(operation.ForInstall, m)
	if _, err := s.box.AddFault(sim.Fault{Action: sim.ActHostLost, Path: "^installed$"}); err != nil {
		t.Fatal(err)
	}
	s.powerOn("Pxe", "")
	s.until("its power is lost", func() bool { return s.has(sim.EffectPowerLoss) && !s.m.Summary().Away })
	s.powerOn("Pxe", "")
	s.until("it is sent to its disk", func() bool { return s.count(sim.EffectNetBoot) == 2 })
	if got := s.did(); !slices.Contains(got, "network-boot local") || s.count(sim.EffectErase) != 1 {
		t.Fatalf("did %q", got)
	}
	simtest.Login(t, s.m).Do(http.StatusNoContent, "POST", system+"/Actions/ComputerSystem.Reset", object{"ResetType": "ForceOff"})
	s.until("it is off", func() bool { return s.m.Summary().Power == "Off" })
	second, _ := s.open(operation.ForInstall, m)
	s.powerOn("Pxe", "")
	s.until("the second attempt is heard", func() bool {
		b, err := s.api.Store.BootByMAC(t.Context(), m.BootMAC, s.api.Clock.Now())
		return err == nil && b.ID == second.ID && slices.Contains(b.Stages, "first-boot")
	})
	s.until("the system is up", func() bool { on, is := s.m.OnDisk(); return is && !on.Pending })
	if s.count(sim.EffectErase) != 2 || s.count(sim.EffectWrite) != 2 {
		t.Errorf("did %q", s.did())
	}
}

// kill -9 of the box's process while its host cannot make itself heard, and again right after the
// system was written: it goes on, and what it did to the disk it does not do again.
func TestHostOutlivesAKill(t *testing.T) {
	s := newSite(t)
	if err := s.box.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv(bootURL, s.url)
	dir := t.TempDir()
	b := startChild(t, dir)
	inside, err := sim.New(sim.Options{Dir: t.TempDir(), Machines: killed()}) // only to know its disks and MACs
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	s.m = inside.Machines()[0]
	s.open(operation.ForInstall, s.machine("debian-bios-plain"))
	count := func(effect string) int {
		list, err := simclient.New(b.Admin).Journal(t.Context(), sim.Query{Machine: s.m.Name(), Effect: effect})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	c := b.login(t, 0)
	c.Do(http.StatusOK, "PATCH", "/redfish/v1/AccountService/Accounts/1", object{"Password": "Another1Secret"})
	c.Password = "Another1Secret"
	c.Do(http.StatusOK, "PATCH", system, object{"Boot": object{"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"}})
	c.Do(http.StatusNoContent, "POST", system+"/Actions/ComputerSystem.Reset", object{"ResetType": "ForceRestart"})
	simtest.Eventually(t, "early is heard", func() bool { _, body := s.stages("early"); return body != "" })
	s.api.Store.Break(errors.New("PostgreSQL is away"))
	simtest.Eventually(t, "the disk is erased", func() bool { return count(sim.EffectErase) == 1 })
	b.kill()
	b = startChild(t, dir)
	s.api.Store.Break(nil)
	simtest.Eventually(t, "the system is written", func() bool { return count(sim.EffectWrite) == 1 })
	b.kill()
	b = startChild(t, dir)
	simtest.Eventually(t, "the system is up", func() bool { return count(sim.EffectOSUp) == 1 })
	if erased, written, asked := count(sim.EffectErase), count(sim.EffectWrite), count(sim.EffectNetBoot); erased != 1 || written != 1 || asked != 1 {
		t.Errorf("erased %d, written %d, asked %d times", erased, written, asked)
	}
	got, _ := s.stages("")
	if diff := cmp.Diff([]string{"asked", "fetched", "early", "partitioned", "installed", "first-boot"}, got); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
}
