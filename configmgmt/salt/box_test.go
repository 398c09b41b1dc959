package salt_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/configmgmttest"
	"github.com/cagenut/cagenut/configmgmt/salt"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

const password = "box-shared-secret"

// files are the SLS files of the suite's kinds.
var files = map[string]saltsim.SLS{
	"clean":   {States: []saltsim.State{{ID: "there", Module: "file", Func: "exists", Name: "/"}}},
	"change":  {States: []saltsim.State{{ID: "motd", Module: "file", Func: "managed", Name: "/etc/motd", Changes: true}}},
	"slow":    {Hold: true, States: []saltsim.State{{ID: "mark", Module: "cmd", Func: "run", Always: true}}},
	"render":  {Render: "Jinja variable 'nothing' is undefined; line 1"},
	"nothing": {},
	"daemons": {States: []saltsim.State{
		{ID: "sshd", Module: "service", Func: "running", Name: "sshd.service"},
		{ID: "never-applied", Module: "service", Func: "running", Changes: true},
	}},
	"fail": {States: []saltsim.State{
		{ID: "service", Module: "service", Func: "running", Needs: "root"},
		{ID: "root", Module: "pkg", Func: "installed", Fail: configmgmttest.Words},
	}},
}

// facts are what the host of the box says of itself.
func facts() configmgmt.Facts {
	return configmgmt.Facts{
		OS: "ubuntu 24.04", Kernel: "6.8.0-31-generic",
		Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 41_000}, {Path: "/srv/my data", Filesystem: "xfs", FreeMiB: 7}},
		Links: []configmgmt.Link{
			{Name: "eth0", MAC: "02:00:00:00:65:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/25"), netip.MustParsePrefix("2001:db8::7/64")}},
			{Name: "eth1", MAC: "02:00:00:00:65:02"}, {Name: "tun0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}},
		},
		Reached: map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): true, netip.MustParseAddr("192.0.2.1"): false, netip.MustParseAddr("2001:db8::1"): true},
	}
}

// world is the box's Salt behind salt-api's port, with one host.
type world struct {
	*saltsim.Server
	faults sim.Faults
	url    string
	key    atomic.Int64
}

func start(t *testing.T) *world {
	t.Helper()
	// Everything that a test starts ends with it. The check runs last.
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	w := &world{}
	server, err := saltsim.Open(saltsim.Options{User: "cagenut", Password: password, Files: files, Dir: t.TempDir(), Faults: &w.faults,
		Facts: func(string) (configmgmt.Facts, bool) { return facts(), true }})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		web.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Server, w.url = server, web.URL
	w.Start(t)
	return w
}

func (w *world) open(t *testing.T) configmgmt.Driver {
	t.Helper()
	d, err := salt.New(salt.Options{URL: w.url, User: "cagenut", Password: password, Settle: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) pem() string { return saltsim.Key(fmt.Sprint("srv-101 ", w.key.Load())) }

func (w *world) Target() configmgmt.Target { return configmgmt.Target{Name: "srv-101"} }

func (w *world) Fingerprint(*testing.T) string { return saltsim.Fingerprint(w.pem()) }

func (w *world) Rekey(t *testing.T) {
	w.Stop(t)
	w.key.Add(1)
	w.Start(t)
}

func (w *world) minion(t *testing.T) saltsim.Minion {
	t.Helper()
	m, ok := w.Minion("srv-101")
	if !ok {
		t.Fatal("no such minion")
	}
	return m
}

func (w *world) Changed(t *testing.T) bool { return w.minion(t).Applied["change/motd"] }

func (w *world) Marks(t *testing.T) int { return w.minion(t).Marks["slow/mark"] }

func (w *world) Release(t *testing.T) { w.must(t, w.Free("srv-101")) }
func (w *world) Hold(t *testing.T)    { w.must(t, w.Server.Hold("srv-101")) }
func (w *world) Stop(t *testing.T)    { w.must(t, w.Server.Stop("srv-101")) }
func (w *world) Start(t *testing.T)   { w.must(t, w.Server.Start("srv-101", w.pem())) }

// spoil adds a rule of the box's Salt.
func (w *world) spoil(t *testing.T, f sim.Fault) {
	t.Helper()
	f.Machine = sim.Salt
	_, err := w.faults.Add(f)
	w.must(t, err)
}

func (w *world) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) harness() configmgmttest.Harness {
	return configmgmttest.Harness{
		Open: w.open, Host: w,
		Spec: func(k configmgmttest.Kind) configmgmt.Spec {
			return configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{string(k)}}}
		},
		Facts: func(*testing.T) configmgmt.Facts {
			f := facts()
			f.Services = map[string]string{"sshd": configmgmt.Active, "sshd.service": configmgmt.Active, "never-applied": "not active"}
			return f
		},
		Lose: func(t *testing.T, _ configmgmt.Handle) { w.Stop(t); w.Start(t) },
	}
}

// TestConformanceOnTheBox runs the suite against the box's Salt.
func TestConformanceOnTheBox(t *testing.T) { configmgmttest.Run(t, start(t).harness()) }
