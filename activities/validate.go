package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

const (
	// checkLook is the pause between two looks at checks that do not hold.
	checkLook = 10 * time.Second
	// checkPatience is how long a service may take to start.
	checkPatience = 5 * time.Minute
)

// checked is one check as it was found.
type checked struct {
	Check    string `json:"check"`
	Expected string `json:"expected"`
	Seen     string `json:"seen"`
	OK       bool   `json:"ok"`
	remedy   string
}

// validate holds that the machine does what it is for: it asks the machine, and looks from outside. It
// changes nothing. What does not hold is looked at again for a while.
func (a *Site) validate(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantValidate, lookHandle](c)
	if err != nil {
		return Result{}, err
	}
	k := want.Checks
	network := c.Known.Network
	if (k.Network || len(k.TCP) > 0 || len(k.HTTP) > 0) && (network == nil || !network.Address().IsValid()) {
		return Result{}, fault.New(fault.Incomplete, "the network of %s is not known: the addresses step has derived none", c.Asset.Name)
	}
	var found []checked
	if q, asks := questions(k, network); asks {
		d, err := a.Configs.Driver(want.System.Driver)
		if err != nil {
			return Result{}, err
		}
		facts, err := d.Inspect(ctx, configTarget(c, want.System), q)
		if errors.Is(err, configmgmt.ErrHostAway) {
			return a.patient(err, checkPatience, &h.Watch, &h)
		}
		if err != nil {
			return Result{}, err
		}
		found = onHost(k, network, facts)
	}
	found = append(found, a.fromOutside(ctx, k, want.System.Host, network)...)
	var bad []fault.Item
	for _, f := range found {
		if !f.OK {
			bad = append(bad, fault.Item{Subject: f.Check, Expected: f.Expected, Seen: f.Seen, Remedy: f.remedy})
		}
	}
	if len(bad) == 0 {
		done := &Done{Summary: fmt.Sprintf("%d checks hold", len(found))}
		done.Evidence, err = proof("checks", "The profile's checks, as they were found", found)
		return Result{Done: done}, err
	}
	text := fmt.Sprintf("%d of %d checks do not hold: %s is %s, not %s", len(bad), len(found), bad[0].Subject, bad[0].Seen, bad[0].Expected)
	if waited := h.Watch.look(string(fault.CheckFailed), a.Clock(), a.patience(configCounts)); waited > a.patience(checkPatience) {
		f := fault.New(fault.CheckFailed, "%s: %s (for %s)", c.Asset.Name, text, waited.Round(time.Second))
		f.Details = bad
		return Result{}, f
	}
	return again(a.patience(checkLook), h, "%s; looking again", text)
}

// questions are what the checks ask the machine itself; false: nothing.
func questions(k profile.Checks, n *netconf.Network) (configmgmt.Questions, bool) {
	q := configmgmt.Questions{Services: k.Services, Mounts: len(k.Mounts) > 0, Links: k.Network, Clock: k.MaxClockSkewMs > 0}
	if k.Network {
		q.Reach = gateways(*n)
	}
	return q, len(q.Services) > 0 || q.Mounts || q.Links || q.Clock || k.Kernel != ""
}

func gateways(n netconf.Network) []netip.Addr {
	var out []netip.Addr
	for _, l := range n.Links {
		for _, g := range []netip.Addr{l.Gateway4, l.Gateway6} {
			if g.IsValid() {
				out = append(out, g)
			}
		}
	}
	return out
}

// onHost judges what the machine says of itself.
func onHost(k profile.Checks, n *netconf.Network, f configmgmt.Facts) []checked {
	var out []checked
	hold := func(ok bool, check, expected, seen, remedy string) {
		out = append(out, checked{Check: check, Expected: expected, Seen: seen, OK: ok, remedy: remedy})
	}
	for _, s := range k.Services {
		state := cmp.Or(f.Services[s], "not known")
		hold(state == configmgmt.Active, "service "+s, configmgmt.Active, state, "look at `journalctl -u "+s+"` on the machine")
	}
	for _, m := range k.Mounts {
		expected, seen := cmp.Or(m.Filesystem, "a file system"), "not mounted"
		if m.MinFreeMiB > 0 {
			expected += fmt.Sprintf(", at least %d MiB free", m.MinFreeMiB)
		}
		i := slices.IndexFunc(f.Mounts, func(x configmgmt.Mount) bool { return x.Path == m.Path })
		ok := i >= 0
		if ok {
			is := f.Mounts[i]
			seen = fmt.Sprintf("%s, %d MiB free", is.Filesystem, is.FreeMiB)
			ok = (m.Filesystem == "" || is.Filesystem == m.Filesystem) && is.FreeMiB >= int64(m.MinFreeMiB)
		}
		hold(ok, "mount "+m.Path, expected, seen, "look at `findmnt "+m.Path+"` on the machine, and at the profile's os.layout")
	}
	if k.Network {
		out = append(out, links(*n, f.Links)...)
		for _, g := range gateways(*n) {
			hold(f.Reached[g], "gateway "+g.String(), "answers", answers(f.Reached[g]), "look at the cable, the switch port's VLAN and the router")
		}
	}
	if limit := time.Duration(k.MaxClockSkewMs) * time.Millisecond; limit > 0 {
		// What asking took may hide so much: only a clock that is good in the worst case is good.
		skew, within := f.Clock.Skew, f.Clock.Within
		remedy := "look at `timedatectl` on the machine, and at its time servers"
		if skew.Abs() <= limit {
			remedy = "asking takes too long to tell: look at the load of configuration management and the network to it"
		}
		hold(!f.Clock.Host.IsZero() && skew.Abs()+within <= limit, "clock", fmt.Sprintf("at most %s off", limit),
			fmt.Sprintf("%s off, give or take %s", skew.Round(time.Millisecond), within.Round(time.Millisecond)), remedy)
	}
	if k.Kernel != "" {
		hold(strings.HasPrefix(f.Kernel, k.Kernel), "kernel", k.Kernel+"...", f.Kernel, "install that kernel and boot it")
	}
	return out
}

func answers(ok bool) string { return map[bool]string{true: "answers", false: "does not answer"}[ok] }

// links judges every link of the machine's network. A port is found by its MAC address, for the kernel calls
// it what it likes, a bond and a VLAN by name. The ports of a bond are counted: they show its MAC address.
func links(n netconf.Network, seen []configmgmt.Link) []checked {
	var out []checked
	named := func(l configmgmt.Link) bool { // a bond or VLAN of ours, which shows the MAC address of its port
		is, ok := n.Link(l.Name)
		return ok && is.Kind != netconf.Ethernet
	}
	for _, l := range n.Links {
		if l.Kind == netconf.Ethernet && slices.ContainsFunc(n.Links, func(b netconf.Link) bool { return slices.Contains(b.Members, l.Name) }) {
			continue
		}
		i := slices.IndexFunc(seen, func(s configmgmt.Link) bool {
			if l.Kind == netconf.Ethernet {
				return !named(s) && sameMAC(s.MAC, l.MAC)
			}
			return s.Name == l.Name
		})
		expected, is := []string{"up"}, "not there"
		for _, p := range l.Addresses {
			expected = append(expected, p.String())
		}
		ok := i >= 0
		if ok {
			s := seen[i]
			state := map[bool]string{true: "up", false: "down"}[s.Up]
			ok = s.Up
			for _, p := range l.Addresses {
				ok = ok && slices.Contains(s.Addresses, p)
			}
			for _, p := range s.Addresses {
				state += ", " + p.String()
			}
			is = state
		}
		if l.Kind == netconf.Bond {
			up := portsUp(n, l, seen, i, named)
			expected = append(expected, fmt.Sprintf("%d ports up", len(l.Members)))
			is, ok = is+fmt.Sprintf(", %d ports up", up), ok && up >= len(l.Members)
		}
		out = append(out, checked{Check: "link " + l.Name, Expected: strings.Join(expected, ", "), Seen: is, OK: ok,
			remedy: "look at `ip address` on the machine, the cables and the switch ports"})
	}
	return out
}

// portsUp counts the ports of a bond, which is seen[at], that are up.
func portsUp(n netconf.Network, bond netconf.Link, seen []configmgmt.Link, at int, named func(configmgmt.Link) bool) int {
	var macs []string
	if at >= 0 {
		macs = append(macs, seen[at].MAC)
	}
	for _, name := range bond.Members {
		if m, ok := n.Link(name); ok {
			macs = append(macs, m.MAC)
		}
	}
	up := 0
	for _, s := range seen {
		if s.Up && !named(s) && slices.ContainsFunc(macs, func(mac string) bool { return sameMAC(mac, s.MAC) }) {
			up++
		}
	}
	return up
}

func sameMAC(x, y string) bool {
	x, okX := asset.NormalMAC(x)
	y, okY := asset.NormalMAC(y)
	return okX && okY && x == y
}

// fromOutside looks at the machine's ports and pages, all at once: each may take its time to be silent.
func (a *Site) fromOutside(ctx context.Context, k profile.Checks, name string, n *netconf.Network) []checked {
	out := make([]checked, len(k.TCP)+len(k.HTTP))
	if len(out) == 0 {
		return nil
	}
	p := prober{dial: a.Dial, address: n.Address()}
	var wait sync.WaitGroup
	for i, t := range k.TCP {
		wait.Go(func() {
			seen, ok := p.tcp(ctx, t.Port)
			out[i] = checked{Check: "TCP port " + strconv.Itoa(t.Port), Expected: "accepts connections", Seen: seen, OK: ok,
				remedy: "look at `ss -lnt` and the firewall on the machine"}
		})
	}
	for i, h := range k.HTTP {
		wait.Go(func() {
			seen, ok := p.http(ctx, h.For(name, p.address), cmp.Or(h.Status, 200), h.Contains)
			expected := strconv.Itoa(cmp.Or(h.Status, 200))
			if h.Contains != "" {
				expected += fmt.Sprintf(", with %q", h.Contains)
			}
			out[len(k.TCP)+i] = checked{Check: "page " + h.For(name, p.address), Expected: expected, Seen: seen, OK: ok,
				remedy: "look at the service's log on the machine"}
		})
	}
	wait.Wait()
	return out
}
