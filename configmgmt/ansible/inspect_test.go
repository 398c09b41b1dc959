package ansible

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/configmgmt"
)

// TestParse reads what hosts print.
func TestParse(t *testing.T) {
	const system = "os debian 12\nkernel 6.1.0-18-amd64\n"
	questions := configmgmt.Questions{Services: []string{"ssh", "cron.service"}, Mounts: true, Links: true, Clock: true,
		Reach: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}}
	for _, test := range []struct {
		name, text string
		q          configmgmt.Questions
		want       configmgmt.Facts
		cannot     []string
		err        string
	}{
		{name: "everything", q: questions, text: "Welcome to srv-101\nclock 1764230400.250000000\n" + system + `service 1 not active
service 0 active
mount ext4 262144 4096 /
mount tmpfs 1 4096 /srv
mount xfs 512 1024 /srv
mount ext4 300 1048576 /srv/my\040data\134x
link 1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue \    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
link 2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 \    link/ether 02:00:00:00:65:0A brd ff:ff:ff:ff:ff:ff
link 3: eth0.100@eth0: <BROADCAST,MULTICAST> mtu 1500 \    link/ether 02:00:00:00:65:0a brd ff:ff:ff:ff:ff:ff
link 4: wg0: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 \    link/none
addr 1: lo    inet 127.0.0.1/8 scope host lo\       valid_lft forever
addr 2: eth0    inet 192.0.2.7/25 brd 192.0.2.127 scope global eth0\       valid_lft forever
addr 2: eth0    inet6 2001:db8::7/64 scope global \       valid_lft forever
addr 4: wg0    inet 198.51.100.9 peer 198.51.100.10/32 scope global wg0\       valid_lft forever
reach 2001:db8::1 no
reach 127.0.0.1 yes
end
`, want: configmgmt.Facts{
			OS: "debian 12", Kernel: "6.1.0-18-amd64", Services: map[string]string{"ssh": "active", "cron.service": "not active"},
			Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 1024}, {Path: "/srv", Filesystem: "xfs"}, {Path: `/srv/my data\x`, Filesystem: "ext4", FreeMiB: 300}},
			Links: []configmgmt.Link{
				{Name: "eth0", MAC: "02:00:00:00:65:0a", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/25"), netip.MustParsePrefix("2001:db8::7/64")}},
				{Name: "eth0.100", MAC: "02:00:00:00:65:0a"},
				{Name: "wg0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}},
			},
			Reached: map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): true, netip.MustParseAddr("2001:db8::1"): false},
			Clock:   configmgmt.Clock{Host: time.Date(2025, 11, 27, 8, 0, 0, 250_000_000, time.UTC)},
		}},
		{name: "nothing asked", text: system + "end\n", want: configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-18-amd64"}},
		{name: "no version", text: "os arch \nkernel 6.1\nend\n", want: configmgmt.Facts{OS: "arch", Kernel: "6.1"}},
		{name: "it cannot", q: configmgmt.Questions{Links: true}, text: system + "cannot list network links: install iproute2\nend\n", want: configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-18-amd64"},
			cannot: []string{"list network links: install iproute2"}},
		{name: "cut", text: system, err: "a part is missing"},
		{name: "no system", text: "kernel 6.1\nend\n", err: "a part is missing"},
		{name: "no service", q: configmgmt.Questions{Services: []string{"ssh"}}, text: system + "end\n", err: "a part is missing"},
		{name: "no mounts", q: configmgmt.Questions{Mounts: true}, text: system + "end\n", err: "a part is missing"},
		{name: "no clock", q: configmgmt.Questions{Clock: true}, text: system + "end\n", err: "a part is missing"},
		{name: "no ping", q: questions, text: system + "reach 127.0.0.1 yes\nend\n", err: "a part is missing"},
		{name: "a clock of seconds", q: configmgmt.Questions{Clock: true}, text: "clock 1764230400.%N\n" + system + "end\n", err: `line "clock 1764230400.%N"`},
		{name: "systemd is silent", q: configmgmt.Questions{Services: []string{"ssh"}}, text: system + "service 0 \nend\n", err: `line "service 0"`},
		{name: "a service that nobody asked for", text: system + "service 0 active\nend\n", err: `line "service 0 active"`},
		{name: "a mount without a size", text: system + "mount ext4 ? ? /\nend\n", err: `line "mount ext4 ? ? /"`},
		{name: "an address without an end", text: system + "link 2: eth0: <UP>\naddr 2: eth0 inet 192.0.2\nend\n", err: `line "addr 2: eth0 inet 192.0.2"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, cannot, err := parse(test.text, test.q)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want one that says %q", err, test.err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
			if !slices.Equal(cannot, test.cannot) {
				t.Errorf("cannot %q, want %q", cannot, test.cannot)
			}
		})
	}
}

// TestScript runs what is sent in a real shell: a name is a word, whatever it holds.
func TestScript(t *testing.T) {
	odd := `a'; echo injected; $(echo injected) "` + "`echo injected`\n--x"
	cmd := exec.CommandContext(t.Context(), "sh", "-s")
	cmd.Stdin = strings.NewReader(script(configmgmt.Questions{Services: []string{odd}}))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "injected") {
			t.Errorf("the shell ran a part of a name:\n%s", out)
		}
	}
	if f, cannot, err := parse(string(out), configmgmt.Questions{}); len(cannot) == 0 && f.OS == "" || strings.Count(string(out), "\nend\n") != 1 {
		t.Errorf("%s\n%v", out, err)
	}
}

// TestOutput holds that what a program prints is bounded, and known by its time.
func TestOutput(t *testing.T) {
	var o output
	if _, err := o.Write([]byte("Welcome\nclo")); err != nil {
		t.Fatal(err)
	}
	first := time.Now()
	if _, err := o.Write([]byte("ck 1\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Write([]byte("later\n")); err != nil {
		t.Fatal(err)
	}
	if at := o.at("1\n"); at.Before(first) || o.at("later").Before(at) || !o.at("never").IsZero() {
		t.Errorf("times %+v", o.parts)
	}
	if _, err := o.Write(make([]byte, maxPrinted)); err == nil || !o.full {
		t.Error("it took more than the bound")
	}
}
