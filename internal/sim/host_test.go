package sim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/boot"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
	"github.com/cagenut/cagenut/templates"
)

// site is a box whose one machine, asset 101, an operation holds, with the boot service of its site
// over the real API, whose store is in memory.
type site struct {
	t       *testing.T
	dir     string
	api     *apitest.API
	url     string
	op      operation.ID
	box     *sim.Box
	m       *sim.Machine
	attempt int
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), api: apitest.Start(t, 1)}
	accepted, err := s.api.As(t, operation.Admin).Install(t.Context(), wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "hardware", Reason: "r", Ticket: "t"}, "key-of-this-site")
	if err != nil {
		t.Fatal(err)
	}
	s.op = accepted.ID
	set, err := templates.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	var server *boot.Server
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { server.ServeHTTP(w, r) }))
	t.Cleanup(web.Close)
	s.url = web.URL
	server, err = boot.New(boot.Options{API: s.api.As(t, operation.Worker, "ams01"), Templates: set, Base: s.url,
		Clock: func() time.Time { s.api.Clock.Move(time.Millisecond); return s.api.Clock.Now() },
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)), Keep: time.Nanosecond, PerSecond: 1e6, Burst: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

func (s *site) start() {
	s.t.Helper()
	spec := ready(sim.FlavourBase)
	spec.Off = true
	s.box = simtest.StartWith(s.t, sim.Options{Dir: s.dir, Machines: []sim.MachineSpec{spec}, Speed: 200, BootURL: s.url})
	s.m = s.box.Machines()[0]
}

// machine is a sample's machine on the box's.
func (s *site) machine(sample string) templates.Machine {
	s.t.Helper()
	i := slices.IndexFunc(templates.Samples(), func(x templates.Sample) bool { return x.Name == sample })
	m := templates.Samples()[i].Machine
	m.Operation, m.Firmware = string(s.op), "uefi"
	m.BootMAC, _ = asset.NormalMAC(s.m.Spec().MACs[1])
	if len(m.Disks) > 0 {
		m.Disks = slices.Clone(s.m.Disks()[:m.OS.Layout.Disks()])
	}
	return m
}

// open opens a record for the machine and gives its token.
func (s *site) open(p operation.Purpose, m templates.Machine) (operation.BootRecord, string) {
	s.t.Helper()
	raw, err := m.Record()
	if err != nil {
		s.t.Fatal(err)
	}
	token, sum, err := operation.NewBootToken()
	if err != nil {
		s.t.Fatal(err)
	}
	s.attempt++
	now := s.api.Clock.Now()
	b, _, err := s.api.Store.OpenBoot(s.t.Context(), operation.BootOpen{Operation: s.op, Asset: 101, Purpose: p, Attempt: s.attempt, TokenSum: sum,
		MACs: s.m.Spec().MACs[1:], Serial: s.m.Spec().Serial, Machine: raw, At: now, Expires: now.Add(time.Hour)})
	if err != nil {
		s.t.Fatal(err)
	}
	return b, token
}

// powerOn switches the machine on, with a boot override for once.
func (s *site) powerOn(target, uri string) {
	s.t.Helper()
	c := simtest.Login(s.t, s.m)
	o := object{"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": "Once"}
	if uri != "" {
		o["HttpBootUri"] = uri
	}
	if target != "" {
		c.Do(http.StatusOK, "PATCH", system, object{"Boot": o})
	}
	c.Do(http.StatusNoContent, "POST", system+"/Actions/ComputerSystem.Reset", object{"ResetType": "On"})
}

// did lists what the host did to the machine.
func (s *site) did() []string {
	var out []string
	for _, e := range s.box.Journal(sim.Query{Kind: sim.KindEffect}) {
		switch e.Effect {
		case sim.EffectNetBoot, sim.EffectErase, sim.EffectWrite, sim.EffectOSUp, sim.EffectHostStopped, sim.EffectHostReboot, sim.EffectBoot,
			sim.EffectPowerOff, sim.EffectPowerLoss, sim.EffectAgent:
			out = append(out, strings.TrimSpace(e.Effect+" "+strings.ReplaceAll(e.Detail, string(s.op), "op")))
		}
	}
	return out
}

func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the host is at %q and did\n%s", s.m.Summary().Host, strings.Join(s.did(), "\n"))
		}
	}()
	simtest.Eventually(s.t, what, ok)
}

func (s *site) has(effect string) bool { return s.count(effect) > 0 }

func (s *site) count(effect string) int {
	return len(s.box.Journal(sim.Query{Effect: effect}))
}

// stages lists what was heard of the machine, and gives the body of the last of a stage.
func (s *site) stages(stage string) (all []string, body string) {
	s.t.Helper()
	events, err := s.api.Store.BootEvents(s.t.Context(), s.op, 101)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range events {
		all = append(all, e.Stage)
		if e.Stage == stage {
			body = string(e.Body)
		}
	}
	return all, body
}

func TestHostRunsTheAgent(t *testing.T) {
	s := newSite(t)
	b, _ := s.open(operation.ForAgent, s.machine("image-uefi"))
	disk := s.m.Disks()[0]
	queue := func(kind string, args any) {
		t.Helper()
		raw, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.api.Store.QueueCommand(t.Context(), operation.AgentCommand{ID: "c-" + kind, Boot: b.ID, Kind: kind, Args: raw}); err != nil {
			t.Fatal(err)
		}
	}
	queue(operation.AgentReport, nil)
	queue(operation.AgentBurnIn, operation.BurnInArgs{Minutes: 5})
	queue(operation.AgentDiskLayout, operation.DiskArgs{Disks: []string{disk.Path}})
	queue("defragment", nil)
	s.powerOn("Pxe", "")
	s.until("the last command has its answer", func() bool {
		c, _ := s.api.Store.Command("c-defragment")
		return c.State.Ended()
	})
	queue(operation.AgentStop, nil)
	s.until("the machine is off", func() bool { return s.m.Summary().Power == "Off" })
	want := []string{"boot Pxe", "network-boot agent", "agent-command report c-report", "agent-command burn-in c-burn-in",
		"agent-command disk-layout c-disk-layout", "erase " + disk.Path, "agent-command defragment c-defragment", "agent-command stop c-stop", "power-off"}
	if diff := cmp.Diff(want, s.did()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	got, _ := s.stages("")
	if diff := cmp.Diff([]string{"asked", "agent-claimed", "report", "burn-in", "disk-layout", "defragment-failed", "stop"}, got); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	c, _ := s.api.Store.Command("c-report")
	var report operation.HardwareReport
	if err := json.Unmarshal(c.Result, &report); err != nil {
		t.Fatal(err)
	}
	if report.Firmware != "uefi" || report.CPUs != 2 || report.Cores == 0 || report.MemoryMiB != 16*32*1024 || len(report.Ports) != 2 {
		t.Errorf("report %+v", report)
	}
	if diff := cmp.Diff(s.m.Disks(), report.Disks); diff != "" {
		t.Errorf("disks (-want +got)\n%s", diff)
	}
	if burn, _ := s.api.Store.Command("c-burn-in"); burn.Progress == nil || burn.Progress.Percent != 100 {
		t.Errorf("burn-in told no progress: %+v", burn)
	}
}

func TestHostInstalls(t *testing.T) {
	for _, c := range []struct {
		sample, os string
		off        bool
		salt       bool
	}{
		{"debian-bios-plain", "debian 12", false, false}, {"debian-uefi-raid-lvm", "debian 12", false, true}, {"ubuntu-uefi-plain", "ubuntu 24.04", false, false},
		{"ubuntu-bios-raid-lvm", "ubuntu 24.04", true, false}, {"rhel-bios-plain", "rocky 9", false, false}, {"rhel-uefi-raid-lvm", "rocky 9", true, true},
	} {
		t.Run(c.sample, func(t *testing.T) {
			s := newSite(t)
			m := s.machine(c.sample)
			_, token := s.open(operation.ForInstall, m)
			target, uri, booted := "Pxe", "", "boot Pxe"
			if c.off { // by HTTP boot with the token, too
				target, uri, booted = "UefiHttp", s.url+"/boot/"+token+"/installer.ipxe", "boot UefiHttp "+s.url+"/boot/(token)/installer.ipxe"
			}
			s.powerOn(target, uri)
			want := []string{booted, "network-boot installer", "erase " + paths(m.Disks), "write os=" + c.os}
			if c.off {
				s.until("it is installed and off", func() bool { return s.m.Summary().Power == "Off" })
				want = append(want, "power-off")
				s.powerOn("", "")
			} else {
				want = append(want, "host-reboot by the host")
			}
			s.until("the system is up", func() bool { return s.has(sim.EffectOSUp) })
			if diff := cmp.Diff(append(want, "boot Hdd", "os-up "+c.os), s.did()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			got, body := s.stages("first-boot")
			if diff := cmp.Diff([]string{"asked", "fetched", "early", "partitioned", "installed", "first-boot"}, got); diff != "" {
				t.Errorf("stages (-want +got)\n%s", diff)
			}
			on, _ := s.m.OnDisk()
			for _, want := range []string{"stage=first-boot\n", "ssh_host_key=" + on.HostKey + "\n", "os=" + c.os + "\n", "product_serial=" + s.m.Spec().Serial + "\n"} {
				if !strings.Contains(body, want) {
					t.Errorf("first-boot lacks %q: %s", want, body)
				}
			}
			if strings.Contains(body, "salt_minion_fingerprint="+on.MinionKey) != c.salt || c.salt != (on.MinionKey != "") {
				t.Errorf("Salt: %v, %q: %s", c.salt, on.MinionKey, body)
			}
			if on.Pending || on.Base != "" || on.Operation != string(s.op) {
				t.Errorf("on disk: %+v", on)
			}
			// Once more over the network, as with net first: the disk is booted, and nothing is written.
			simtest.Login(t, s.m).Do(http.StatusNoContent, "POST", system+"/Actions/ComputerSystem.Reset", object{"ResetType": "ForceOff"})
			s.until("it is off", func() bool { return s.m.Summary().Power == "Off" })
			s.powerOn("Pxe", "")
			s.until("the system is up again", func() bool { return s.count(sim.EffectOSUp) == 2 })
			if did := s.did(); s.count(sim.EffectErase) != 1 || s.count(sim.EffectWrite) != 1 || !slices.Contains(did, "network-boot local") {
				t.Errorf("did %q", did)
			}
		})
	}
}

func paths(disks []profile.Disk) string {
	var out []string
	for _, d := range disks {
		out = append(out, d.Path)
	}
	return strings.Join(out, " ")
}

func TestHostComesUpFromAnImage(t *testing.T) {
	s := newSite(t)
	b, _ := s.open(operation.ForAgent, s.machine("image-uefi"))
	args, err := json.Marshal(operation.ImageArgs{Disks: []string{s.m.Disks()[0].Path}, SHA256: "5ba3", OS: "debian 12"})
	if err != nil {
		t.Fatal(err)
	}
	for id, kind := range []string{operation.AgentWriteImage, operation.AgentReboot} { // one after the other
		if _, err := s.api.Store.QueueCommand(t.Context(), operation.AgentCommand{ID: fmt.Sprint(id), Boot: b.ID, Kind: kind, Args: args}); err != nil {
			t.Fatal(err)
		}
	}
	s.powerOn("Pxe", "")
	s.until("the system is up", func() bool { return s.has(sim.EffectOSUp) })
	got, body := s.stages("first-boot")
	if diff := cmp.Diff([]string{"asked", "agent-claimed", "write-image", "reboot", "fetched", "installed", "first-boot"}, got); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	if on, _ := s.m.OnDisk(); on.Image != "5ba3" || !strings.Contains(body, "salt_minion_fingerprint="+on.MinionKey) {
		t.Errorf("%+v: %s", on, body)
	}
	if s.count(sim.EffectWrite) != 1 {
		t.Errorf("did %q", s.did())
	}
}

func TestHostFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault  sim.Fault
		end    string // the effect at which it ends
		did    []string
		stages []string
	}{
		"no DHCP": {sim.Fault{Action: sim.ActNoDHCP}, "network-boot", []string{"network-boot no DHCP answer"}, nil},
		"no phone-home": {sim.Fault{Action: sim.ActNoPhoneHome}, "host-stopped",
			[]string{"network-boot installer", "host-stopped the kernel is up and says nothing"}, []string{"asked"}},
		"the installer hangs": {sim.Fault{Action: sim.ActHostHang, Path: "^partitioned$"}, "host-stopped",
			[]string{"network-boot installer", "erase DISK", "host-stopped hangs at partitioned"}, []string{"asked", "fetched", "early"}},
		"the installer fails": {sim.Fault{Action: sim.ActHostFails, Path: "^partitioned$"}, "host-stopped",
			[]string{"network-boot installer", "host-stopped a rule of the box"}, []string{"asked", "fetched", "early", "failed"}},
		"another machine": {sim.Fault{Action: sim.ActWrongMAC, Path: "^early$"}, "host-stopped",
			[]string{"network-boot installer", "host-stopped stage early is not heard: refused: HTTP 409"}, []string{"asked", "fetched", "refused"}},
		"a used token": {sim.Fault{Action: sim.ActUsedToken}, "host-stopped",
			[]string{"network-boot installer", "host-stopped the installer has no answers: preseed.cfg: refused: HTTP 404"}, []string{"asked"}},
		"lost in the middle": {sim.Fault{Action: sim.ActHostLost, Path: "^installed$"}, "power-loss",
			[]string{"network-boot installer", "erase DISK", "write os=debian 12", "power-loss", "power-off"}, []string{"asked", "fetched", "early", "partitioned"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			m := s.machine("debian-bios-plain")
			s.open(operation.ForInstall, m)
			if _, err := s.box.AddFault(c.fault); err != nil {
				t.Fatal(err)
			}
			s.powerOn("Pxe", "")
			s.until(c.end, func() bool { return s.has(c.end) })
			got := s.did()[1:]
			if len(got) != len(c.did) {
				t.Fatalf("did %q, want %q", got, c.did)
			}
			for i, want := range c.did {
				if !strings.HasPrefix(got[i], strings.ReplaceAll(want, "DISK", m.Disks[0].Path)) {
					t.Errorf("did %q, want %q", got[i], want)
				}
			}
			if stages, _ := s.stages(""); !slices.Equal(stages, c.stages) {
				t.Errorf("stages %q, want %q", stages, c.stages)
			}
			if f := s.box.Faults()[0]; f.Fired != 1 {
				t.Errorf("the rule fired %d times", f.Fired)
			}
		})
	}
}

// A machine that is not what the record says stops by itself, before anything is written.
func TestHostStopsBeforeItsDisk(t *testing.T) {
	s := newSite(t)
	m := s.machine("debian-bios-plain")
	m.Disks[0].Path = "/dev/disk/by-id/ata-Not_Here"
	s.open(operation.ForInstall, m)
	s.powerOn("Pxe", "")
	s.until("it stopped", func() bool { return s.has(sim.EffectHostStopped) })
	_, body := s.stages("failed")
	if !strings.Contains(body, "reason=disk /dev/disk/by-id/ata-Not_Here is not here\n") || s.has(sim.EffectErase) {
		t.Errorf("%s\ndid %q", body, s.did())
	}
}

// The box is ended in the middle of an install, while the API is away, and goes on where it was: the
// disk is erased once and written once.
func TestHostOutlivesItsBox(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	s := newSite(t)
	s.open(operation.ForInstall, s.machine("debian-bios-plain"))
	s.powerOn("Pxe", "")
	s.until("early is heard", func() bool { _, body := s.stages("early"); return body != "" })
	s.api.Store.Break(errors.New("PostgreSQL is away"))
	s.until("it came to where it cannot be heard", func() bool { return s.has(sim.EffectErase) })
	if err := s.box.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.api.Store.Break(nil)
	s.until("the system is up", func() bool { return s.has(sim.EffectOSUp) })
	if s.count(sim.EffectErase) != 1 || s.count(sim.EffectWrite) != 1 || s.count(sim.EffectNetBoot) != 1 {
		t.Errorf("did %q", s.did())
	}
	got, _ := s.stages("")
	if diff := cmp.Diff([]string{"asked", "fetched", "early", "partitioned", "installed", "first-boot"}, got); diff != "" {
		t.Errorf("stages (-want +got)\n%s", diff)
	}
	if err := s.box.Close(); err != nil {
		t.Fatal(err)
	}
	if err := goleak.Find(leaks, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1")); err != nil {
		t.Error(err)
	}
}

// A host that hangs goes on when somebody resets it.
func TestAResetHelpsAHost(t *testing.T) {
	s := newSite(t)
	s.open(operation.ForInstall, s.machine("debian-bios-plain"))
	if _, err := s.box.AddFault(sim.Fault{Action: sim.ActHostHang, Path: "early"}); err != nil {
		t.Fatal(err)
	}
	s.powerOn("Pxe", "")
	s.until("it hangs", func() bool { return s.has(sim.EffectHostStopped) })
	if got := s.m.Summary().Host; got != "hangs at early" {
		t.Errorf("shown as %q", got)
	}
	c := simtest.Login(t, s.m)
	c.Do(http.StatusOK, "PATCH", system, object{"Boot": object{"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"}})
	c.Do(http.StatusNoContent, "POST", system+"/Actions/ComputerSystem.Reset", object{"ResetType": "ForceRestart"})
	s.until("the system is up", func() bool { return s.has(sim.EffectOSUp) })
}
