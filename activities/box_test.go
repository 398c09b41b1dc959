package activities_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/drivers"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
	"github.com/cagenut/cagenut/workflows"
)

// keyring keeps the passwords of a test.
type keyring struct {
	mu               sync.Mutex
	user             string
	factory          map[string]string
	current, pending map[string]string
}

func (k *keyring) Candidates(_ context.Context, a asset.Ref, _ string) ([]activities.Candidate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []activities.Candidate
	for _, from := range []struct {
		source activities.CandidateSource
		keys   map[string]string
	}{{activities.SourceCurrent, k.current}, {activities.SourcePending, k.pending}, {activities.SourceFactory, k.factory}} {
		if p := from.keys[a.Serial]; p != "" {
			out = append(out, activities.Candidate{Source: from.source, Credentials: bmc.Credentials{User: k.user, Password: p}})
		}
	}
	return out, nil
}

func (k *keyring) Propose(_ context.Context, a asset.Ref, _ string, length int) (activities.Candidate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending[a.Serial] == "" {
		k.pending[a.Serial] = strings.Repeat("Aa1b2C3d4E", 2)[:length]
	}
	return activities.Candidate{Source: activities.SourcePending, Credentials: bmc.Credentials{User: k.user, Password: k.pending[a.Serial]}}, nil
}

func (k *keyring) Promote(_ context.Context, a asset.Ref, _ string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pending[a.Serial]; p != "" {
		k.current[a.Serial] = p
		delete(k.pending, a.Serial)
	}
	return nil
}

// shelf serves firmware images by SHA-256.
type shelf struct {
	url   string
	files map[string][]byte
}

func (s *shelf) URL(_ context.Context, sum, name, _ string) (string, error) {
	return s.url + "/" + sum + "/" + name, nil
}

func (s *shelf) Open(_ context.Context, sum string) (io.ReadCloser, int64, error) {
	data, ok := s.files[sum]
	if !ok {
		return nil, 0, fault.New(fault.BadImage, "no image %s", sum)
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{files: map[string][]byte{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := s.files[strings.Split(r.URL.Path, "/")[1]]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// image makes the image that a profile's file name means: <type>-<component>-<version>.box.
func (s *shelf) image(slug string) func(string) (plan.Image, error) {
	return func(file string) (plan.Image, error) {
		rest := strings.TrimSuffix(strings.TrimPrefix(file, slug+"-"), ".box")
		component, version, ok := strings.Cut(rest, "-")
		if !ok {
			return plan.Image{}, fmt.Errorf("not a file of the box: %q", file)
		}
		data := sim.FirmwareImage(component, strings.ReplaceAll(version, "_", " "))
		sum := sha256.Sum256(data)
		key := hex.EncodeToString(sum[:])
		s.files[key] = data
		return plan.Image{File: file, SHA256: key, Size: int64(len(data))}, nil
	}
}

// rig is one machine of the box with all that its steps need.
type rig struct {
	t       *testing.T
	box     *sim.Box
	machine *sim.Machine
	site    *activities.Site
	target  plan.Target
	known   operation.Known
	keys    *keyring
	writes  []string // as the executor records them: step, field and value
}

// newRig starts one planned server of a flavour and composes its install with the box's profile.
func newRig(t *testing.T, flavour string) *rig {
	t.Helper()
	rack := sim.NewRack(sim.Site{Name: "Amsterdam 1", Slug: "ams01"}, 12, 101, []string{flavour})
	spec := rack.Machines()[0]
	spec.Addr = netip.Addr{} // a free one, tests run side by side
	box := simtest.StartWith(t, sim.Options{Machines: []sim.MachineSpec{spec}, Speed: 200})
	m := box.Machines()[0]
	profiles, err := config.LoadProfiles("../internal/devstack/profiles")
	if err != nil {
		t.Fatal(err)
	}
	device := rack.Servers()[0]
	prof, err := profile.Find(profiles, profile.Subject{Type: device.Type.Slug, Role: device.Role.Slug, Site: "ams01"})
	if err != nil {
		t.Fatal(err)
	}
	facts := plan.Facts{
		Asset:  asset.Ref{ID: 101, Name: device.Name, Serial: device.Serial, Site: "ams01", Rack: "r12"},
		Status: asset.Planned, Type: device.Type.Slug, Role: device.Role.Slug, OOB: device.OOB,
	}
	for _, i := range device.Interfaces {
		facts.Interfaces = append(facts.Interfaces, plan.Port{Name: i.Name, Mgmt: i.Mgmt, MACs: []string{i.MAC}})
	}
	images := newShelf(t)
	target, problems := workflows.Install(facts, prof, workflows.Resources{Image: images.image(device.Type.Slug)}, workflows.UntilHardware)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	target.BMC.Address = strings.TrimPrefix(m.URL(), "https://")
	opener := drivers.New(drivers.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, StateDir: t.TempDir()})
	t.Cleanup(func() {
		if err := opener.Close(context.Background()); err != nil {
			t.Errorf("log out: %v", err)
		}
	})
	keys := &keyring{user: m.Spec().User, factory: map[string]string{device.Serial: m.Spec().Password}, current: map[string]string{}, pending: map[string]string{}}
	return &rig{t: t, box: box, machine: m, target: target, keys: keys, site: &activities.Site{
		BMCs: opener, Secrets: keys, Images: images, Clock: time.Now, Poll: 5 * time.Millisecond, Faster: 20,
		Endpoint: func(_ asset.Ref, b plan.BMC) bmc.Endpoint {
			return bmc.Endpoint{Protocol: bmc.Protocol(b.Protocol), Address: b.Address}
		},
	}}
}

// run drives one step as the executor does. lose tells for each call whether its result is lost, as
// when the worker is killed after the effect: the same call is then made again.
func (r *rig) run(name string, lose func(call int) bool) (*activities.Done, error) {
	r.t.Helper()
	i := 0
	for i < len(r.target.Steps) && r.target.Steps[i].Name != name {
		i++
	}
	if i == len(r.target.Steps) {
		r.t.Fatalf("the plan has no step %q", name)
	}
	c := activities.Call{Operation: "op_test", Asset: r.target.Asset, BMC: r.target.BMC, Step: r.target.Steps[i], Known: r.known, Attempt: 1, Round: 1}
	deadline := time.Now().Add(60 * time.Second)
	for n := 0; ; n++ {
		if time.Now().After(deadline) {
			r.t.Fatalf("step %s: no end after %d calls; handle %s", name, n, c.Handle)
		}
		result, err := r.site.Step(context.Background(), c)
		if lose != nil && lose(n) {
			continue
		}
		if err != nil {
			f, ours := operation.FaultOf(err)
			if !ours {
				return nil, err
			}
			if f.Class() == fault.Retry {
				<-time.After(r.site.Poll)
				continue
			}
			return nil, f
		}
		if result.Done != nil {
			r.record(name, result.Done.Writes, result.Done.Learned)
			return result.Done, nil
		}
		r.record(name, result.Again.Writes, result.Again.Learned)
		c.Handle, c.Known = result.Again.Handle, r.known
		<-time.After(result.Again.After)
	}
}

// record keeps what an answer says was written and learned.
func (r *rig) record(step string, writes []plan.Write, learned *operation.Known) {
	for _, w := range writes {
		r.writes = append(r.writes, fmt.Sprintf("%s: %s %s = %s", step, w.Object, w.Field, w.After))
	}
	if learned != nil && learned.Pin != "" {
		r.known.Pin = learned.Pin
	}
}

// accept drives all steps of the site.
func (r *rig) accept(lose func(call int) bool) {
	r.t.Helper()
	for _, step := range siteSteps {
		if _, err := r.run(step, lose); err != nil {
			r.t.Fatalf("step %s: %v%s", step, err, details(err))
		}
	}
}

var siteSteps = []string{"identity", "bmc-credentials", "bmc-settings", "firmware", "bios", "hardware"}

func (r *rig) effects(kinds ...string) map[string]int {
	out := map[string]int{}
	for _, e := range r.box.Journal(sim.Query{}) {
		if e.Kind != sim.KindEffect {
			continue
		}
		for _, k := range kinds {
			if e.Effect == k {
				out[strings.TrimSpace(k+" "+e.Detail)]++
			}
		}
	}
	return out
}

// Every flavour is accepted with the box's own profile; accepting it again sends no request that
// changes anything but sessions.
func TestAcceptEveryFlavourTwice(t *testing.T) {
	for _, flavour := range sim.Flavours() {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, flavour)
			for _, step := range siteSteps {
				done, err := r.run(step, nil)
				if err != nil {
					t.Fatalf("step %s: %v%s", step, err, details(err))
				}
				t.Logf("%-16s changed=%-5v %s", step, done.Changed, done.Summary)
			}
			last := int64(0)
			for _, e := range r.box.Journal(sim.Query{}) {
				last = e.Seq
			}
			for _, step := range siteSteps {
				done, err := r.run(step, nil)
				if err != nil {
					t.Fatalf("again: step %s: %v%s", step, err, details(err))
				}
				if done.Changed {
					t.Errorf("again: step %s changed %v", step, done.Writes)
				}
			}
			for _, e := range r.box.Journal(sim.Query{}) {
				if e.Seq > last && e.Kind == sim.KindRequest && !strings.Contains(e.Path, "SessionService/Sessions") {
					t.Errorf("again: %s %s", e.Method, e.Path)
				}
			}
		})
	}
}

// Whichever call's result is lost, nothing that was meant once happens twice, and every write is
// recorded once: also where a demand for a password, a certificate that goes with the host name, or
// settings that apply at once come in between.
func TestALostResultDoesNothingTwice(t *testing.T) {
	for _, flavour := range sim.Flavours() {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			want := newRig(t, flavour)
			want.accept(nil)
			once := want.effects(sim.EffectPowerOn, sim.EffectPowerOff, sim.EffectFlash, sim.EffectPasswordChanged)
			for _, first := range []int{0, 1, 2, 3} {
				t.Run(fmt.Sprintf("every fourth from %d", first), func(t *testing.T) {
					r := newRig(t, flavour)
					r.accept(func(n int) bool { return n%4 == first })
					if d := cmp.Diff(once, r.effects(sim.EffectPowerOn, sim.EffectPowerOff, sim.EffectFlash, sim.EffectPasswordChanged)); d != "" {
						t.Errorf("effects (-once +lost):\n%s", d)
					}
					if d := cmp.Diff(want.writes, r.writes); d != "" {
						t.Errorf("recorded writes (-once +lost):\n%s", d)
					}
				})
			}
		})
	}
}

func TestWrongSerialStopsBeforeAnythingIsChanged(t *testing.T) {
	r := newRig(t, sim.FlavourDell)
	r.keys.factory["OTHER"] = r.keys.factory[r.target.Asset.Serial]
	r.target.Asset.Serial = "OTHER"
	for i, s := range r.target.Steps {
		if s.Name == "identity" {
			r.target.Steps[i].Want = plan.Encode(plan.WantIdentity{Serial: "OTHER"})
		}
	}
	_, err := r.run("identity", nil)
	if f := fault.From(err); f == nil || f.Code != fault.IdentityMismatch || !strings.Contains(f.Message, `"OTHER"`) ||
		!strings.Contains(f.Message, r.machine.Spec().Serial) {
		t.Errorf("got %v; want an identity mismatch that names both serials", err)
	}
	for _, e := range r.box.Journal(sim.Query{}) {
		if e.Kind == sim.KindRequest && !strings.Contains(e.Path, "SessionService/Sessions") {
			t.Errorf("%s %s", e.Method, e.Path)
		}
	}
}

func details(err error) string {
	var f *fault.Error
	if !errors.As(err, &f) {
		return ""
	}
	var b strings.Builder
	for _, d := range f.Details {
		fmt.Fprintf(&b, "\n  %s: want %s, seen %s %s", d.Subject, d.Expected, d.Seen, d.Remedy)
	}
	return b.String()
}

// The host is rebooted for an image only after the BMC has written it, also where the BMC's task then
// waits for the reboot (the dell flavour).
func TestTheHostIsRebootedAfterTheFlash(t *testing.T) {
	for flavour, want := range map[string][]string{
		sim.FlavourBase: {"flash bmc=2.12.1", "flash bios=1.4.2", "power-off", "power-on", "flash nic=22.36.4", "power-off", "power-on"},
		sim.FlavourDell: {"flash bios=1.8.2", "power-off", "power-on"},
	} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, flavour)
			for _, step := range siteSteps[:4] {
				if _, err := r.run(step, nil); err != nil {
					t.Fatalf("step %s: %v%s", step, err, details(err))
				}
			}
			var got []string
			for _, e := range r.box.Journal(sim.Query{}) {
				switch e.Effect {
				case sim.EffectFlash:
					got = append(got, e.Effect+" "+e.Detail)
				case sim.EffectPowerOff, sim.EffectPowerOn:
					got = append(got, e.Effect)
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("effects (-want +got):\n%s", d)
			}
		})
	}
}
