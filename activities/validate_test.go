package activities

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// dialled leads every connection to a server on loopback, and keeps where it was meant to go.
type dialled struct {
	mu    sync.Mutex
	where []string
}

func (d *dialled) to(target string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d.mu.Lock()
		d.where = append(d.where, address)
		d.mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, network, target)
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// bonded is a network with all kinds of links.
func bonded() *netconf.Network {
	return &netconf.Network{Hostname: "srv-1", Links: []netconf.Link{
		{Name: "eno1", Kind: netconf.Ethernet, MAC: "02:00:00:00:00:01"},
		{Name: "eno2", Kind: netconf.Ethernet, MAC: "02:00:00:00:00:02"},
		{Name: "eno3", Kind: netconf.Ethernet, MAC: "02:00:00:00:00:03", Addresses: prefixes("198.51.100.7/24")},
		{Name: "bond0", Kind: netconf.Bond, Members: []string{"eno1", "eno2"}, Addresses: prefixes("192.0.2.11/24", "2001:db8::11/64"), Gateway4: netip.MustParseAddr("192.0.2.1")},
		{Name: "bond0.42", Kind: netconf.VLAN, Parent: "bond0", VLAN: 42, Addresses: prefixes("203.0.113.5/26")},
	}}
}

// good are the facts of a host with that network, whose kernel has names of its own for the ports, and whose
// ports show the bond's MAC address.
func good() configmgmt.Facts {
	return configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-9-amd64", Services: map[string]string{"ssh.service": "active", "node_exporter": "active"},
		Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 9000}, {Path: "/var/log", Filesystem: "xfs", FreeMiB: 2000}},
		Links: []configmgmt.Link{
			{Name: "ens1", MAC: "02:00:00:00:00:01", Up: true},
			{Name: "ens2", MAC: "02:00:00:00:00:01", Up: true},
			{Name: "ens3", MAC: "02:00:00:00:00:03", Up: true, Addresses: prefixes("198.51.100.7/24", "fe80::3/64")},
			{Name: "bond0", MAC: "02:00:00:00:00:01", Up: true, Addresses: prefixes("192.0.2.11/24", "2001:db8::11/64")},
			{Name: "bond0.42", MAC: "02:00:00:00:00:01", Up: true, Addresses: prefixes("203.0.113.5/26")},
		},
		Reached: map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true},
		Clock:   configmgmt.Clock{Host: time.Now(), Skew: -40 * time.Millisecond, Within: 30 * time.Millisecond}}
}

func allChecks() profile.Checks {
	return profile.Checks{Services: []string{"ssh.service", "node_exporter"}, Network: true, MaxClockSkewMs: 100, Kernel: "6.1.",
		Mounts: []profile.MountCheck{{Path: "/"}, {Path: "/var/log", Filesystem: "xfs", MinFreeMiB: 1024}},
		TCP:    []profile.TCPCheck{{Port: 22}}, HTTP: []profile.HTTPCheck{{URL: "http://{address}:9100/metrics", Contains: "node_"}, {URL: "http://{name}/moved", Status: 302}}}
}

func validateCall(k profile.Checks) Call {
	c := configCall(plan.KindValidate, plan.WantValidate{System: saltSystem, Checks: k})
	c.Known.Network = bonded()
	return c
}

// pages is the machine's web server.
func pages(t *testing.T) string {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			_, _ = w.Write([]byte("node_load1 0.1\n"))
		case "/moved":
			http.Redirect(w, r, "http://elsewhere.example.net/", http.StatusFound)
		case "/long":
			_, _ = w.Write([]byte(strings.Repeat("x", probeReads) + "end"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	return web.Listener.Addr().String()
}

func TestValidate(t *testing.T) {
	d, seen := &Scripted{facts: good(), away: 20}, &dialled{}
	got, _, f := walk(t, &Site{Configs: d, Dial: seen.to(pages(t))}, validateCall(allChecks()))
	if f != nil {
		t.Fatalf("%v %+v", f, f.Details)
	}
	if got.done.Changed || got.done.Summary != "13 checks hold" || len(got.evidence) != 1 || !strings.Contains(string(got.evidence[0].Data), `"check":"clock"`) {
		t.Errorf("done %+v", got.done)
	}
	// One question with all that is asked, and only the machine itself is dialled, by its address.
	if q := d.asked; len(q.Services) != 2 || !q.Mounts || !q.Links || !q.Clock || len(q.Reach) != 1 || q.Reach[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("asked %+v", q)
	}
	slices.Sort(seen.where)
	same(t, "dialled", []string{"192.0.2.11:22", "192.0.2.11:80", "192.0.2.11:9100"}, slices.Compact(seen.where))
}

// What does not hold is looked at for a while, and then is all said at once.
func TestChecksThatDoNotHold(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*configmgmt.Facts)
		checks func(*profile.Checks)
		want   []string // subjects, with what was seen
	}{
		"a service":                {func(f *configmgmt.Facts) { f.Services["node_exporter"] = "failed" }, nil, []string{"service node_exporter: failed"}},
		"a service nobody knows":   {func(f *configmgmt.Facts) { delete(f.Services, "ssh.service") }, nil, []string{"service ssh.service: not known"}},
		"a mount":                  {func(f *configmgmt.Facts) { f.Mounts = f.Mounts[:1] }, nil, []string{"mount /var/log: not mounted"}},
		"another file system":      {func(f *configmgmt.Facts) { f.Mounts[1].Filesystem = "ext4" }, nil, []string{"mount /var/log: ext4, 2000 MiB free"}},
		"a full file system":       {func(f *configmgmt.Facts) { f.Mounts[1].FreeMiB = 1023 }, nil, []string{"mount /var/log: xfs, 1023 MiB free"}},
		"a port is down":           {func(f *configmgmt.Facts) { f.Links[2].Up = false }, nil, []string{"link eno3: down, 198.51.100.7/24, fe80::3/64"}},
		"a port is another":        {func(f *configmgmt.Facts) { f.Links[2].MAC = "02:00:00:00:00:09" }, nil, []string{"link eno3: not there"}},
		"a port of the bond":       {func(f *configmgmt.Facts) { f.Links[1].Up = false }, nil, []string{"link bond0: up, 192.0.2.11/24, 2001:db8::11/64, 1 ports up"}},
		"an address":               {func(f *configmgmt.Facts) { f.Links[3].Addresses = f.Links[3].Addresses[:1] }, nil, []string{"link bond0: up, 192.0.2.11/24, 2 ports up"}},
		"another prefix length":    {func(f *configmgmt.Facts) { f.Links[4].Addresses = prefixes("203.0.113.5/24") }, nil, []string{"link bond0.42: up, 203.0.113.5/24"}},
		"a gateway":                {func(f *configmgmt.Facts) { f.Reached = nil }, nil, []string{"gateway 192.0.2.1: does not answer"}},
		"the clock":                {func(f *configmgmt.Facts) { f.Clock.Skew = time.Second }, nil, []string{"clock: 1s off, give or take 30ms"}},
		"a clock that may be off":  {func(f *configmgmt.Facts) { f.Clock.Within = 200 * time.Millisecond }, nil, []string{"clock: -40ms off, give or take 200ms"}},
		"a clock that is not told": {func(f *configmgmt.Facts) { f.Clock = configmgmt.Clock{} }, nil, []string{"clock: 0s off, give or take 0s"}},
		"the kernel":               {func(f *configmgmt.Facts) { f.Kernel = "5.10.0" }, nil, []string{"kernel: 5.10.0"}},
		"a page":                   {nil, func(k *profile.Checks) { k.HTTP[0].URL = "http://{address}/none" }, []string{"page http://192.0.2.11/none: 404"}},
		"what a page holds": {nil, func(k *profile.Checks) { k.HTTP[0].Contains = "gpu_" },
			[]string{`page http://192.0.2.11:9100/metrics: 200, without "gpu_" in its first 15 bytes`}},
		"a redirect is not followed": {nil, func(k *profile.Checks) { k.HTTP[1].Status = 200 }, []string{`page http://srv-1.example.net/moved: 302, to "http://elsewhere.example.net/"`}},
		"a page is read to its bound": {nil, func(k *profile.Checks) { k.HTTP[0].URL, k.HTTP[0].Contains = "http://{name}/long", "end" },
			[]string{`page http://srv-1.example.net/long: 200, without "end" in its first 65536 bytes`}},
		"several": {func(f *configmgmt.Facts) { f.Kernel, f.Reached = "5.10.0", nil }, nil, []string{"gateway 192.0.2.1: does not answer", "kernel: 5.10.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, k := &Scripted{facts: good()}, allChecks()
			if tc.change != nil {
				tc.change(&d.facts)
			}
			if tc.checks != nil {
				tc.checks(&k)
			}
			a := &Site{Configs: d, Dial: (&dialled{}).to(pages(t))}
			got, c, f := walk(t, a, validateCall(k))
			if f == nil || f.Code != fault.CheckFailed || got.took < checkPatience || got.took > 2*checkPatience {
				t.Fatalf("got %v after %s", f, got.took)
			}
			var said []string
			for _, x := range f.Details {
				said = append(said, x.Subject+": "+x.Seen)
				if x.Expected == "" || x.Remedy == "" {
					t.Errorf("%+v", x)
				}
			}
			same(t, "details", tc.want, said)
			d.facts = good()
			c.Step.Want = plan.Encode(plan.WantValidate{System: saltSystem, Checks: allChecks()})
			if _, _, f := walk(t, a, *c); f != nil {
				t.Errorf("retry: %v", f)
			}
		})
	}
}

func TestValidateFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		world Scripted
		want  fault.Code
	}{
		"away":         {Scripted{broken: refusal(configmgmt.ErrServer, false)}, fault.ConfigAway},
		"host away":    {Scripted{away: forever}, fault.HostAway},
		"not enrolled": {Scripted{broken: refusal(configmgmt.ErrNotEnrolled, false)}, fault.NotEnrolled},
		"cannot tell":  {Scripted{broken: refusal(configmgmt.ErrRejected, false)}, fault.Rejected},
	} {
		d := &tc.world
		a := &Site{Configs: d, Dial: (&dialled{}).to(pages(t))}
		_, c, f := walk(t, a, validateCall(allChecks()))
		if f == nil || f.Code != tc.want {
			t.Errorf("%s: %v", name, f)
			continue
		}
		*d = Scripted{facts: good()}
		if _, _, f := walk(t, a, *c); f != nil {
			t.Errorf("%s, retry: %v", name, f)
		}
	}
	c := validateCall(allChecks())
	c.Known.Network = nil
	if _, _, f := walk(t, &Site{Configs: &Scripted{facts: good()}}, c); f == nil || f.Code != fault.Incomplete {
		t.Errorf("no network: %v", f)
	}
}

// A port that is closed, and one that is silent, are said each in its own words.
func TestProbeOfWhatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := prober{dial: (&dialled{}).to(closed), address: netip.MustParseAddr("2001:db8::1")}
	if seen, ok := p.tcp(t.Context(), 22); ok || !strings.Contains(seen, "refused") {
		t.Errorf("closed: %q", seen)
	}
	p.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if seen, ok := p.http(ctx, "https://[2001:db8::1]/", 200, ""); ok || !strings.Contains(seen, "no answer") {
		t.Errorf("silent: %q", seen)
	}
}
