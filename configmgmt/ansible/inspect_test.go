package ansible

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/configmgmt"
)

const told = `Welcome to srv-101
== os
debian 12
== kernel
6.1.0-28-amd64
== mounts
sysfs /sys sysfs rw 0 0
/dev/mapper/vg-root / ext4 rw,relatime 0 0
/dev/sda1 /boot/efi vfat rw 0 0
== df
Filesystem          1024-blocks    Used Available Capacity Mounted on
/dev/mapper/vg-root    20466256 3145728  16252928      17% /
/dev/sda1                523248    5972    517276       2% /boot/efi
//nas/a b                   100      10        90      10% /mnt/a b
== links
lo 0x9 00:00:00:00:00:00
eth0 0x1003 B4:96:91:00:00:01
eth1 0x1002 b4:96:91:00:00:02
tun0 0x1090
== addresses
1: lo    inet 127.0.0.1/8 scope host lo
2: eth0    inet 10.1.2.3/24 brd 10.1.2.255 scope global eth0
2: eth0    inet6 fe80::1/64 scope link
4: tun0    inet 10.9.0.1 peer 10.9.0.2/32 scope global tun0
== service:ssh.service
active
== service:x
inactive
== reach:10.1.2.1
yes
== reach:10.1.2.9
no
== end
`

func TestFactsOfAHost(t *testing.T) {
	near, far := netip.MustParseAddr("10.1.2.1"), netip.MustParseAddr("10.1.2.9")
	q := configmgmt.Questions{Services: []string{"ssh.service", "x"}, Mounts: true, Links: true, Reach: []netip.Addr{near, far}}
	got, err := parseFacts(told, q)
	if err != nil {
		t.Fatal(err)
	}
	want := configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-28-amd64",
		Services: map[string]string{"ssh.service": configmgmt.Active, "x": "inactive"},
		Mounts:   []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 15872}, {Path: "/boot/efi", Filesystem: "vfat", FreeMiB: 505}},
		Links: []configmgmt.Link{
			{Name: "eth0", MAC: "b4:96:91:00:00:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fe80::1/64")}},
			{Name: "eth1", MAC: "b4:96:91:00:00:02"},
			{Name: "tun0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/32")}},
		},
		Reached: map[netip.Addr]bool{near: true, far: false},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, c := range map[string]struct {
		from, to string
		want     error
	}{
		"a program is missing": {"== end", "== missing\nping\n== end", configmgmt.ErrRejected},
		"cut":                  {"== end", "", configmgmt.ErrMalformed},
		"no kernel":            {"6.1.0-28-amd64", "", configmgmt.ErrMalformed},
		"no state":             {"inactive", "", configmgmt.ErrMalformed},
		"df":                   {"16252928", "many", configmgmt.ErrMalformed},
		"flags":                {"0x1003", "up", configmgmt.ErrMalformed},
		"an address":           {"10.1.2.3/24", "10.1.2/24", configmgmt.ErrMalformed},
	} {
		if _, err := parseFacts(strings.Replace(told, c.from, c.to, 1), q); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestNothingInACommandIsTheShells(t *testing.T) {
	if got, want := remote("echo $1", "a'; reboot; '"), `exec sh -c 'echo $1' cagenut 'a'\''; reboot; '\'''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
