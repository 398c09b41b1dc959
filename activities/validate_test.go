package activities_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

var allChecks = profile.Checks{Services: []string{"ssh.service"}, Mounts: []profile.MountCheck{{Path: "/"}, {Path: "/var/log", Filesystem: "xfs", MinFreeMiB: 1024}},
	Network: true, MaxClockSkewMs: 100, Kernel: "6.1.", TCP: []profile.TCPCheck{{Port: 22}},
	HTTP: []profile.HTTPCheck{{URL: "http://{name}:9100/metrics", Contains: "node_"}}}

var hostNetwork = netconf.Network{Hostname: "srv-01", Domain: "example.net", Links: []netconf.Link{
	{Name: "eth0", Kind: netconf.Ethernet, MAC: "B4:96:91:00:00:01"},
	{Name: "eth1", Kind: netconf.Ethernet, MAC: "B4:96:91:00:00:02"},
	{Name: "bond0", Kind: netconf.Bond, Members: []string{"eth0", "eth1"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24")}, Gateway4: netip.MustParseAddr("10.1.2.1")},
}}

// goodHost is a host on which all checks hold.
func goodHost() *oneHost {
	h := newHost()
	h.facts = configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-28-amd64", Services: map[string]string{"ssh.service": configmgmt.Active},
		Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 1}, {Path: "/var/log", Filesystem: "xfs", FreeMiB: 2000}},
		Links: []configmgmt.Link{ // members of a bond show its MAC
			{Name: "bond0", MAC: "b4:96:91:00:00:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fe80::1/64")}},
			{Name: "ens1f0", MAC: "b4:96:91:00:00:01", Up: true}, {Name: "ens1f1", MAC: "b4:96:91:00:00:02", Up: true}},
		Reached: map[netip.Addr]bool{netip.MustParseAddr("10.1.2.1"): true},
		Clock:   configmgmt.Clock{Host: time.Now(), Skew: -20 * time.Millisecond, Within: 30 * time.Millisecond}}
	return h
}

// validating checks a host whose port 9100 serves page, and whose other ports accept connections.
func validating(t *testing.T, h *oneHost, page http.HandlerFunc) *hosted {
	s := newHosted(t, h, plan.KindValidate, plan.WantValidate{System: system, Checks: allChecks})
	s.call.Known.Network = &hostNetwork
	web := httptest.NewServer(page)
	t.Cleanup(web.Close)
	s.site.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, _ := net.SplitHostPort(address); host != "10.1.2.3" {
			t.Errorf("dialled %s, which is not the machine", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, web.Listener.Addr().String())
	}
	return s
}

func metrics(w http.ResponseWriter, r *http.Request) {
	if r.Host != "srv-01.example.net:9100" || r.URL.Path != "/metrics" {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = w.Write([]byte("node_load1 0.1\n"))
}

func TestValidate(t *testing.T) {
	h := goodHost()
	s := validating(t, h, metrics)
	done, err := s.do(true)
	if err != nil || done.Changed || done.Summary != "11 checks hold" {
		t.Fatalf("%+v, %v", done, err)
	}
	var said []struct{ Check string }
	if err := json.Unmarshal(done.Evidence[0].Data, &said); err != nil || len(said) != 11 {
		t.Errorf("evidence %s, %v", done.Evidence[0].Data, err)
	}
	want := configmgmt.Questions{Services: []string{"ssh.service"}, Mounts: true, Links: true, Clock: true, Reach: []netip.Addr{netip.MustParseAddr("10.1.2.1")}}
	if diff := cmp.Diff(want, h.q, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

// Each check that does not hold is told with what was seen, after some minutes, and not before.
func TestValidateFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*oneHost)
		page  http.HandlerFunc
		item  fault.Item
	}{
		{"a service", func(h *oneHost) { h.facts.Services["ssh.service"] = "failed" }, nil, fault.Item{Subject: "service ssh.service", Expected: "active", Seen: "failed"}},
		{"no mount", func(h *oneHost) { h.facts.Mounts = h.facts.Mounts[1:] }, nil, fault.Item{Subject: "mount /", Expected: "mounted", Seen: "not mounted"}},
		{"a file system", func(h *oneHost) { h.facts.Mounts[1].Filesystem = "ext4" }, nil,
			fault.Item{Subject: "mount /var/log", Expected: "mounted, xfs, at least 1024 MiB free", Seen: "mounted, ext4, 2000 MiB free"}},
		{"no room", func(h *oneHost) { h.facts.Mounts[1].FreeMiB = 1000 }, nil,
			fault.Item{Subject: "mount /var/log", Expected: "mounted, xfs, at least 1024 MiB free", Seen: "mounted, xfs, 1000 MiB free"}},
		{"a port is down", func(h *oneHost) { h.facts.Links[2].Up = false }, nil, fault.Item{Subject: "link eth1", Expected: "up", Seen: "down"}},
		{"no bond", func(h *oneHost) { h.facts.Links = h.facts.Links[1:] }, nil, fault.Item{Subject: "link bond0", Expected: "up with 10.1.2.3/24", Seen: "no such link"}},
		{"an address", func(h *oneHost) { h.facts.Links[0].Addresses = h.facts.Links[0].Addresses[1:] }, nil,
			fault.Item{Subject: "link bond0", Expected: "up with 10.1.2.3/24", Seen: "up with fe80::1/64"}},
		{"the gateway", func(h *oneHost) { clear(h.facts.Reached) }, nil, fault.Item{Subject: "gateway 10.1.2.1", Expected: "answers", Seen: "no answer"}},
		{"the clock", func(h *oneHost) { h.facts.Clock.Skew = 90 * time.Millisecond }, nil, fault.Item{Subject: "clock", Expected: "at most 100ms off", Seen: "90ms off, known to 30ms"}},
		{"the kernel", func(h *oneHost) { h.facts.Kernel = "6.10.1" }, nil, fault.Item{Subject: "kernel", Expected: "6.1....", Seen: "6.10.1"}},
		{"a status", nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
			fault.Item{Subject: "HTTP http://{name}:9100/metrics", Expected: `status 200, with "node_"`, Seen: "status 503"}},
		{"a redirect", nil, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, fault.Item{Subject: "HTTP http://{name}:9100/metrics", Expected: `status 200, with "node_"`, Seen: "status 302"}},
		{"another page", nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("It works!")) },
			fault.Item{Subject: "HTTP http://{name}:9100/metrics", Expected: `status 200, with "node_"`, Seen: "the page does not have it"}},
	} {
		h := goodHost()
		if c.spoil != nil {
			c.spoil(h)
		}
		page := c.page
		if page == nil {
			page = metrics
		}
		_, err := validating(t, h, page).do(false)
		f := fault.From(err)
		if f.Code != fault.CheckFailed || !strings.Contains(f.Message, "1 of 11 checks") || !strings.Contains(f.Message, "waited for 5m") {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff([]fault.Item{c.item}, f.Details); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// What is on its way is waited for, and a host that is away too.
func TestValidateWaits(t *testing.T) {
	h := goodHost()
	h.fail["Inspect"] = slices.Repeat([]error{failed(configmgmt.ErrHostAway)}, 3)
	tries := 0
	s := validating(t, h, func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		metrics(w, r)
	})
	if done, err := s.do(false); err != nil || tries != 3 {
		t.Errorf("%+v, %v, after %d looks", done, err, tries)
	}
}
