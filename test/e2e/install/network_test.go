//go:build e2e

package install

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cagenut/cagenut/internal/devstack"
	"github.com/cagenut/cagenut/internal/sim"
)

// inside is the environment variable that names NetBox's folder to a process that has its own network.
const inside = "INSTALL_E2E_NETBOX"

// again runs this program in a network namespace of its own, after all that is to be downloaded, and ends
// NetBox however that ended.
func again() int {
	if os.Geteuid() != 0 {
		return fail(errors.New("this test makes a network namespace with the ports of its machines, and must run as root"))
	}
	dir, err := os.MkdirTemp("", "cagenut-netbox")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	for _, args := range [][]string{{script, dir, "fetch"}, {venvs, "salt"}, {venvs, "ansible"}} {
		c := exec.Command(args[0], args[1:]...)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return fail(fmt.Errorf("%v: %w", args, err))
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	defer command(dir, "stop")
	c := exec.Command(self, os.Args[1:]...)
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), inside+"="+dir), os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fail(fmt.Errorf("a network namespace (CLONE_NEWNET, needs CAP_SYS_ADMIN): %w", err))
	}
	return c.ProcessState.ExitCode()
}

// ip gives commands to iproute2.
func ip(commands string) error {
	c := exec.Command("ip", "-batch", "-")
	c.Stdin = strings.NewReader(commands)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s in:\n%s", err, out, commands)
	}
	return nil
}

// plugIn makes the links of all machines, up and without addresses, and the gateways of their networks.
// The two ports of a machine are the ends of one cable: to themselves they look like any.
func plugIn(t *testing.T, racks ...sim.Rack) {
	t.Helper()
	var b strings.Builder
	for _, rack := range racks {
		for _, p := range rack.Prefixes {
			if p.Role == "primary" {
				fmt.Fprintf(&b, "addr add %s/32 dev lo\n", devstack.Gateway(p.Prefix))
			}
		}
		for _, d := range rack.Servers() {
			var macs []string
			for _, i := range d.Interfaces {
				if !i.Mgmt {
					macs = append(macs, i.MAC)
				}
			}
			if len(macs) != 2 {
				t.Fatalf("%s has %d ports, want 2", d.Name, len(macs))
			}
			x, y := link(macs[0]), link(macs[1])
			fmt.Fprintf(&b, "link add %s address %s type veth peer name %s address %s\nlink set %s up\nlink set %s up\n", x, macs[0], y, macs[1], x, y)
		}
	}
	if err := ip(b.String()); err != nil {
		t.Fatal(err)
	}
}

// link is what a port is called, by its MAC address.
func link(mac string) string { return "enx" + strings.ToLower(strings.ReplaceAll(mac, ":", "")) }

// comeUp gives a host the addresses that it found in its answers, at the port that these name. An image's
// cloud-init needs no such name: it is the first port, as the box's own Salt has it.
func comeUp(d sim.PlannedDevice, on *sim.OnDisk) error {
	port := on.BootMAC
	if i := slices.IndexFunc(d.Interfaces, func(i sim.PlannedInterface) bool { return !i.Mgmt }); port == "" && i >= 0 {
		port = d.Interfaces[i].MAC
	}
	if len(on.Addresses) == 0 {
		return fmt.Errorf("%s found no addresses: %+v", d.Name, on)
	}
	var b strings.Builder
	for _, a := range on.Addresses {
		fmt.Fprintf(&b, "addr replace %s dev %s\n", a, link(port))
	}
	return ip(b.String())
}
