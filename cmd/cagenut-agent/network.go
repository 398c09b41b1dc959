package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// network is the machine's port to the boot service.
type network struct {
	log *slog.Logger
	mac string // of the port that it booted from; empty: the first that gets an address
}

// up brings all ports up and gets an address on one. It tries for ever: without it there is nothing to
// do. It gives the names of the ports, and keeps the address by itself.
func (n *network) up(ctx context.Context) []string {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo) // nothing here needs it
	}
	for told := 0; ; told++ {
		ports := n.ports()
		for _, p := range ports {
			if lease := n.ask(ctx, p, told); lease != nil {
				names := []string{}
				for _, p := range n.ports() {
					names = append(names, p.Attrs().Name)
				}
				go n.keep(ctx, p, lease)
				return names
			}
		}
		if told%30 == 0 {
			n.log.Warn("no address yet", "ports", len(ports), "boot port", n.mac)
		}
		time.Sleep(time.Second)
	}
}

// ports are the ports that are hardware, all up.
func (n *network) ports() []netlink.Link {
	links, err := netlink.LinkList()
	if err != nil {
		n.log.Error("the kernel does not list its ports", "error", err)
	}
	var out []netlink.Link
	for _, l := range links {
		if _, err := os.Stat(filepath.Join("/sys/class/net", l.Attrs().Name, "device")); err != nil {
			continue
		}
		if err := netlink.LinkSetUp(l); err != nil {
			n.log.Warn("port", "name", l.Attrs().Name, "error", err)
			continue
		}
		out = append(out, l)
	}
	return out
}

// ask asks for an address on a port that has a link and is the right one; nil: it got none.
func (n *network) ask(ctx context.Context, l netlink.Link, told int) *nclient4.Lease {
	at := l.Attrs()
	carrier, err := os.ReadFile(filepath.Join("/sys/class/net", at.Name, "carrier"))
	if err != nil || strings.TrimSpace(string(carrier)) != "1" || n.mac != "" && at.HardwareAddr.String() != n.mac {
		return nil
	}
	lease, err := n.lease(ctx, l, nil)
	if err != nil {
		if told%10 == 0 {
			n.log.Warn("DHCP", "port", at.Name, "error", err)
		}
		return nil
	}
	return lease
}

// lease gets or renews an address, and sets it.
func (n *network) lease(ctx context.Context, l netlink.Link, old *nclient4.Lease) (*nclient4.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c, err := nclient4.New(l.Attrs().Name, nclient4.WithTimeout(4*time.Second), nclient4.WithRetry(3))
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	var lease *nclient4.Lease
	if old != nil {
		lease, err = c.Renew(ctx, old)
	}
	if old == nil || err != nil {
		lease, err = c.Request(ctx, dhcpv4.WithOption(dhcpv4.OptClassIdentifier("cagenut-agent")))
	}
	if err != nil {
		return nil, err
	}
	return lease, n.set(l, lease.ACK)
}

// set gives the port what it was given.
func (n *network) set(l netlink.Link, ack *dhcpv4.DHCPv4) error {
	mask := ack.SubnetMask()
	if mask == nil {
		mask = ack.YourIPAddr.DefaultMask()
	}
	addr := &net.IPNet{IP: ack.YourIPAddr, Mask: mask}
	if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: addr}); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	if routers := ack.Router(); len(routers) > 0 {
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: routers[0]}); err != nil {
			return fmt.Errorf("gateway %s: %w", routers[0], err)
		}
	}
	var names strings.Builder
	for _, s := range ack.DNS() {
		fmt.Fprintf(&names, "nameserver %s\n", s)
	}
	if d := ack.DomainName(); d != "" {
		fmt.Fprintf(&names, "search %s\n", d)
	}
	if err := os.WriteFile("/etc/resolv.conf", []byte(names.String()), 0o644); err != nil { //nolint:gosec // anybody may read it
		return err
	}
	n.log.Info("address", "port", l.Attrs().Name, "address", addr, "gateway", ack.Router(), "dns", ack.DNS())
	return nil
}

// keep renews the address at half its time, and goes on trying when nobody answers.
func (n *network) keep(ctx context.Context, l netlink.Link, lease *nclient4.Lease) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(lease.ACK.IPAddressLeaseTime(time.Hour)/2, 30*time.Second)):
		}
		got, err := n.lease(ctx, l, lease)
		if err != nil {
			n.log.Warn("the address could not be renewed", "error", err)
			continue
		}
		lease = got
	}
}
