package activities_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/drivers"
	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/boot"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
	"github.com/cagenut/cagenut/templates"
)

// booter is one machine of the box that an operation holds, with the boot service of its site over the
// real API, whose store is in memory.
type booter struct {
	*rig
	op      operation.ID
	known   operation.Known
	configs *activities.Scripted
	attempt int
	last    json.RawMessage
}

type boots struct{ api *client.Client }

func (b boots) Open(ctx context.Context, o operation.BootOpen) (operation.BootRecord, error) {
	return b.api.BootOpen(ctx, o)
}

func (b boots) State(ctx context.Context, op operation.ID, a asset.ID, step string, attempt int) (operation.BootState, error) {
	return b.api.BootState(ctx, op, a, step, attempt)
}

func (b boots) Close(ctx context.Context, boot int64) error { return b.api.BootClose(ctx, boot) }

func (b boots) Command(ctx context.Context, c operation.AgentCommand) (operation.AgentCommand, error) {
	return b.api.AgentCommand(ctx, c)
}

// newBooter composes the steps of a sample of the templates for one machine.
func newBooter(t *testing.T, sample string, change func(*sim.MachineSpec, *templates.Machine)) *booter {
	t.Helper()
	api := apitest.Start(t, 1)
	accepted, err := api.As(t, operation.Admin).Install(t.Context(), wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "hardware", Reason: "r", Ticket: "t"}, "key-of-this-test")
	if err != nil {
		t.Fatal(err)
	}
	set, err := templates.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	worker := api.As(t, operation.Worker, "ams01")
	var server *boot.Server
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { server.ServeHTTP(w, r) }))
	t.Cleanup(web.Close)
	server, err = boot.New(boot.Options{API: worker, Templates: set, Base: web.URL, Clock: api.Clock.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Keep: time.Nanosecond, PerSecond: 1e6, Burst: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() { // the API's clock is its own
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				api.Clock.Move(5 * time.Millisecond)
			}
		}
	}()
	i := slices.IndexFunc(templates.Samples(), func(x templates.Sample) bool { return x.Name == sample })
	m := templates.Samples()[i].Machine
	spec := sim.MachineSpec{Flavour: sim.FlavourBase, PasswordSet: true}
	m.Firmware = "uefi"
	if change != nil {
		change(&spec, &m)
	}
	box := simtest.StartWith(t, sim.Options{Machines: []sim.MachineSpec{spec}, Speed: 200, BootURL: web.URL})
	machine := box.Machines()[0]
	m.BootMAC, _ = asset.NormalMAC(machine.Spec().MACs[1])
	opener := drivers.New(drivers.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, StateDir: t.TempDir()})
	t.Cleanup(func() {
		if err := opener.Close(context.Background()); err != nil {
			t.Errorf("log out: %v", err)
		}
	})
	keys := &keyring{user: machine.Spec().User, factory: map[string]string{machine.Spec().Serial: machine.Spec().Password}, current: map[string]string{}, pending: map[string]string{}}
	configs := &activities.Scripted{Key: "of the system before"}
	b := &booter{op: accepted.ID, attempt: 1, configs: configs, rig: &rig{t: t, box: box, machine: machine, site: &activities.Site{
		BMCs: opener, Secrets: keys, Boots: boots{worker}, Configs: configs, Clock: time.Now, Poll: 5 * time.Millisecond, Faster: 200,
		Endpoint: func(_ asset.Ref, b plan.BMC) bmc.Endpoint {
			return bmc.Endpoint{Protocol: bmc.Protocol(b.Protocol), Address: b.Address}
		},
	}}}
	b.target = plan.Target{Asset: asset.Ref{ID: 101, Name: "srv-01", Serial: machine.Spec().Serial, Site: "ams01", Rack: "r12"},
		BMC: plan.BMC{Protocol: "redfish", Address: strings.TrimPrefix(machine.URL(), "https://"), Account: machine.Spec().User}}
	network := m.Network
	b.known = operation.Known{Network: &network}
	ctrl, err := opener.Open(t.Context(), bmc.Endpoint{Protocol: bmc.Redfish, Address: b.target.BMC.Address}, bmc.Credentials{User: machine.Spec().User, Password: machine.Spec().Password})
	if err != nil {
		t.Fatal(err)
	}
	id, err := ctrl.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.known.Pin = id.Fingerprint
	if err := ctrl.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.steps(m)
	return b
}

// steps composes the steps as a plan has them.
func (b *booter) steps(m templates.Machine) {
	hints := profile.RootDisk{Serial: b.machine.Disks()[0].Serial}
	m.Network, m.Disks, m.Operation = templates.Machine{}.Network, nil, ""
	raw, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	system := plan.System{Digest: "d1", Host: "srv-01", Driver: m.Config.Driver}
	way := plan.WantBoot{Way: "pxe", Firmware: m.Firmware, MAC: m.BootMAC}
	os := plan.WantOS{System: system, Boot: way, OS: m.OS, Machine: raw}
	if m.OS.MethodOrDefault() == profile.WriteImage {
		os.ImageURL, os.ImageSHA256 = "http://images.example.net/debian", strings.Repeat("ab", 32)
	}
	for kind, want := range map[string]any{
		plan.KindAgent:  plan.WantAgent{System: system, Boot: way, Root: hints, Disks: m.OS.Layout.Disks(), Machine: raw},
		plan.KindBurnIn: plan.WantBurnIn{System: system, Boot: way, BurnIn: profile.BurnIn{CPUMinutes: 5}},
		plan.KindDisks:  plan.WantDisks{System: system, Boot: way},
		plan.KindOS:     os,
	} {
		b.target.Steps = append(b.target.Steps, plan.Step{Name: kind, Kind: kind, Version: 1, DeadlineSec: 3600, Want: plan.Encode(want)})
	}
}

// do drives a step as the executor does; with twice every call is made again with its old handle, as after
// the loss of a worker between effect and answer.
func (b *booter) do(kind string, twice bool) (*activities.Done, error) {
	b.t.Helper()
	i := slices.IndexFunc(b.target.Steps, func(s plan.Step) bool { return s.Kind == kind })
	c := activities.Call{Operation: b.op, Asset: b.target.Asset, BMC: b.target.BMC, Step: b.target.Steps[i], Known: b.known, Attempt: b.attempt, Round: 1, Last: b.last}
	deadline := time.Now().Add(60 * time.Second)
	for {
		if time.Now().After(deadline) {
			b.t.Fatalf("step %s: no end; handle %s; the host did %v", kind, c.Handle, b.effects(hostDid...))
		}
		result, err := b.site.Step(b.t.Context(), c)
		if twice {
			result, err = b.site.Step(b.t.Context(), c)
		}
		if err != nil {
			f, ours := operation.FaultOf(err)
			if ours && f.Class() == fault.Retry {
				<-time.After(b.site.Poll)
				continue
			}
			b.last = c.Handle
			return nil, f
		}
		var learned *operation.Known
		var writes []plan.Write
		if result.Done != nil {
			learned, writes = result.Done.Learned, result.Done.Writes
		} else {
			learned, writes = result.Again.Learned, result.Again.Writes
			c.Handle = result.Again.Handle
		}
		b.record(kind, writes, nil)
		if learned != nil {
			b.known = b.known.Merge(*learned)
		}
		c.Known = b.known
		if result.Done != nil {
			b.last = nil
			return result.Done, nil
		}
		<-time.After(min(result.Again.After, 10*time.Millisecond))
	}
}

// hostDid are the effects that count.
var hostDid = []string{sim.EffectNetBoot, sim.EffectErase, sim.EffectWrite, sim.EffectAgent, sim.EffectOSUp}

// counts are effects by kind.
func (b *booter) counts() map[string]int {
	out := map[string]int{}
	for _, e := range b.box.Journal(sim.Query{Kind: sim.KindEffect}) {
		if slices.Contains(hostDid, e.Effect) {
			out[e.Effect]++
		}
	}
	return out
}

var bootSteps = []string{plan.KindAgent, plan.KindBurnIn, plan.KindDisks, plan.KindOS}

func TestAMachineGetsItsSystem(t *testing.T) {
	// The agent reports, burns in and erases; the installer partitions once more.
	installer := map[string]int{sim.EffectNetBoot: 2, sim.EffectAgent: 3, sim.EffectErase: 2, sim.EffectWrite: 1, sim.EffectOSUp: 1}
	image := map[string]int{sim.EffectNetBoot: 1, sim.EffectAgent: 5, sim.EffectErase: 1, sim.EffectWrite: 1, sim.EffectOSUp: 1}
	for _, c := range []struct {
		name, sample string
		off          bool
		want         map[string]int
	}{
		{"preseed", "debian-bios-lvm", false, installer},
		{"autoinstall, off when done", "ubuntu-uefi-plain", true, installer},
		{"kickstart", "rhel-bios-plain", false, installer},
		{"image", "image-uefi", false, image},
	} {
		for _, twice := range []bool{false, true} {
			t.Run(map[bool]string{false: c.name, true: c.name + ", every call twice"}[twice], func(t *testing.T) {
				t.Parallel()
				b := newBooter(t, c.sample, func(_ *sim.MachineSpec, m *templates.Machine) {
					if m.OS.After = ""; c.off {
						m.OS.After = "poweroff"
					}
				})
				for _, kind := range bootSteps {
					if _, err := b.do(kind, twice); err != nil {
						t.Fatalf("%s: %v; the host did %v", kind, err, b.effects(hostDid...))
					}
				}
				is := b.known.Installed
				if is == nil || !is.Is("d1", b.op) || is.OS == "" || is.Fingerprint == "" && b.driver() != "" {
					t.Errorf("known to be installed: %+v", is)
				}
				forgotten := slices.DeleteFunc(slices.Clone(b.writes), func(w string) bool { return !strings.HasSuffix(w, "key = forgotten") })
				if has := b.driver() != ""; has != (len(forgotten) == 1) || has != (b.configs.Key == "") {
					t.Errorf("key %q, told %q", b.configs.Key, forgotten)
				}
				simtest.Eventually(t, "the system to be up", func() bool { return b.counts()[sim.EffectOSUp] == 1 })
				if diff := cmp.Diff(c.want, b.counts()); diff != "" {
					t.Errorf("what the host did (-want +got):\n%s", diff)
				}
				done, err := b.do(plan.KindOS, false)
				if err != nil || done.Changed {
					t.Errorf("once more: %+v, %v; want already so", done, err)
				}
			})
		}
	}
}

func (b *booter) driver() string {
	i := slices.IndexFunc(b.target.Steps, func(s plan.Step) bool { return s.Kind == plan.KindOS })
	want, err := plan.Decode[plan.WantOS](b.target.Steps[i])
	if err != nil {
		b.t.Fatal(err)
	}
	return want.System.Driver
}

// Every fault of a booting machine parks with its own reason, and a retry without it goes on.
func TestBootFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		step   string // that parks
		action string
		path   string
		want   fault.Code
	}{
		{"no DHCP", plan.KindAgent, sim.ActNoDHCP, "dhcp", fault.NoDHCP},
		{"kernel says nothing", plan.KindAgent, sim.ActNoPhoneHome, "kernel", fault.NoPhoneHome},
		{"used token", plan.KindAgent, sim.ActUsedToken, "kernel", fault.NoPhoneHome},
		{"another machine claims", plan.KindAgent, sim.ActWrongMAC, "agent-claim", fault.WrongMachine},
		{"agent hangs in its report", plan.KindAgent, sim.ActHostHang, "^report", fault.AgentFailed},
		{"agent hangs under load", plan.KindBurnIn, sim.ActHostHang, "burn-in", fault.AgentFailed},
		{"agent loses its power while erasing", plan.KindDisks, sim.ActHostLost, "disk-layout", fault.AgentFailed},
		{"installer hangs", plan.KindOS, sim.ActHostHang, "partitioned", fault.InstallerHangs},
		{"installer reports for another", plan.KindOS, sim.ActWrongMAC, "early", fault.WrongMachine},
		{"no DHCP for the installer", plan.KindOS, sim.ActNoDHCP, "dhcp", fault.NoDHCP},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBooter(t, "debian-bios-lvm", nil)
			for _, kind := range bootSteps {
				if kind != c.step {
					if _, err := b.do(kind, false); err != nil {
						t.Fatalf("%s: %v", kind, err)
					}
					continue
				}
				rule, err := b.box.AddFault(sim.Fault{Machine: b.machine.Spec().Name, Action: c.action, Path: c.path, Count: 1})
				if err != nil {
					t.Fatal(err)
				}
				_, err = b.do(kind, false)
				f, _ := operation.FaultOf(operation.AsTemporal(fault.From(err)))
				if f == nil || f.Code != c.want {
					t.Fatalf("%s: %v, want %s; the host did %v", kind, err, c.want, b.effects(hostDid...))
				}
				b.box.RemoveFault(rule.ID)
				b.attempt = 2
				if _, err := b.do(kind, false); err != nil {
					t.Fatalf("%s, once more: %v; the host did %v", kind, err, b.effects(hostDid...))
				}
				b.attempt = 1
			}
		})
	}
}

func TestABurnInThatFails(t *testing.T) {
	t.Parallel()
	b := newBooter(t, "debian-bios-lvm", func(s *sim.MachineSpec, _ *templates.Machine) { s.Failed = []string{"DIMM 3"} })
	if _, err := b.do(plan.KindAgent, false); err != nil {
		t.Fatal(err)
	}
	_, err := b.do(plan.KindBurnIn, false)
	if f := fault.From(err); f.Code != fault.BurnInFailed || !strings.Contains(f.Message, "DIMM 3") {
		t.Errorf("got %v", err)
	}
}

func TestAnOverrideThatTheBMCKeepsIsTakenBack(t *testing.T) {
	t.Parallel()
	b := newBooter(t, "debian-bios-lvm", nil)
	if _, err := b.box.AddFault(sim.Fault{Machine: b.machine.Spec().Name, Action: sim.ActKeepsBoot, Path: "override", Count: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do(plan.KindAgent, false); err != nil {
		t.Fatal(err)
	}
	want := []string{"agent: host boot override = pxe, once", "agent: host boot override = none"}
	if diff := cmp.Diff(want, b.writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}
