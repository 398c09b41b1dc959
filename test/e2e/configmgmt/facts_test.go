//go:build e2e

package configmgmt_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cagenut/cagenut/configmgmt"
)

// thisMachine gives what the hosts of both drivers are, which is this machine, as the kernel tells Go.
func thisMachine(t *testing.T) configmgmt.Facts {
	t.Helper()
	release, err := exec.CommandContext(t.Context(), "sh", "-c", ". /etc/os-release && echo $ID $VERSION_ID").Output() // as the phone-home script does
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	f := configmgmt.Facts{OS: strings.TrimSpace(string(release)), Kernel: strings.TrimSpace(string(kernel)), Mounts: []configmgmt.Mount{root(t)},
		Reached: map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): true, netip.MustParseAddr("240.0.0.1"): false}} // the latter is nobody's
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range links {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		l := configmgmt.Link{Name: i.Name, MAC: i.HardwareAddr.String(), Up: i.Flags&net.FlagUp != 0}
		addresses, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses {
			l.Addresses = append(l.Addresses, netip.MustParsePrefix(a.String()))
		}
		f.Links = append(f.Links, l)
	}
	return f
}

// root is the file system of /.
func root(t *testing.T) configmgmt.Mount {
	t.Helper()
	m := configmgmt.Mount{Path: "/"}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if v := strings.Fields(line); v[1] == "/" {
			m.Filesystem = v[2]
		}
	}
	var s syscall.Statfs_t
	if err := syscall.Statfs("/", &s); err != nil {
		t.Fatal(err)
	}
	m.FreeMiB = int64(s.Bavail) * s.Bsize >> 20
	return m
}
