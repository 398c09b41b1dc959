package activities

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// validateHandle is where the step is.
type validateHandle struct {
	Watch watch `json:"watch,omitzero"`
}

// check is one check and what came of it.
type check struct {
	Check    string `json:"check"`
	Expected string `json:"expected"`
	Seen     string `json:"seen"`
	OK       bool   `json:"ok"`
}

// validate proves the profile's checks, all of them at each look. What does not hold yet may be on its
// way: it is looked at again for some minutes.
func (a *Site) validate(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantValidate, validateHandle](c)
	if err != nil {
		return Result{}, err
	}
	if c.Known.Network == nil {
		return Result{}, fault.New(fault.Incomplete, "the network of %s is not known: the addresses step has derived none", c.Asset.Name)
	}
	all, err := a.onHost(ctx, c, want)
	if errors.Is(err, configmgmt.ErrHostAway) {
		return a.wait(&h.Watch, &h, "waiting for the host to answer", hostAnswers, err)
	}
	if err != nil {
		return Result{}, err
	}
	all = append(all, a.fromOutside(ctx, *c.Known.Network, want.Checks)...)
	f := fault.New(fault.CheckFailed, "")
	for _, k := range all {
		if !k.OK {
			f.Details = append(f.Details, fault.Item{Subject: k.Check, Expected: k.Expected, Seen: k.Seen})
		}
	}
	if n := len(f.Details); n > 0 {
		first := f.Details[0]
		f.Message = fmt.Sprintf("%d of %d checks of %s do not hold; the first is %s: expected %s, seen %s", n, len(all), c.Asset.Name, first.Subject, first.Expected, first.Seen)
		return a.wait(&h.Watch, &h, fmt.Sprintf("%d of %d checks hold", len(all)-n, len(all)), hostSettles, f)
	}
	done := &Done{Summary: fmt.Sprintf("%d checks hold", len(all))}
	done.Evidence, err = proof("checks", "The profile's checks, and what was seen", all)
	return Result{Done: done}, err
}

// onHost makes the checks that are made on the machine, through configuration management.
func (a *Site) onHost(ctx context.Context, c Call, want plan.WantValidate) ([]check, error) {
	k, network := want.Checks, *c.Known.Network
	q := configmgmt.Questions{Services: k.Services, Mounts: len(k.Mounts) > 0, Links: k.Network, Clock: k.MaxClockSkewMs > 0}
	if k.Network {
		for _, l := range network.Links {
			for _, gateway := range []netip.Addr{l.Gateway4, l.Gateway6} {
				if gateway.IsValid() {
					q.Reach = append(q.Reach, gateway)
				}
			}
		}
	}
	if len(q.Services) == 0 && !q.Mounts && !q.Links && !q.Clock && k.Kernel == "" {
		return nil, nil
	}
	driver, host, err := a.hostOf(c, want.System)
	if err != nil {
		return nil, err
	}
	f, err := driver.Inspect(ctx, host, q)
	if err != nil {
		return nil, err
	}
	return judgeHost(k, network, q, f), nil
}

// judgeHost compares what a host tells with what the profile asks for.
func judgeHost(k profile.Checks, network netconf.Network, q configmgmt.Questions, f configmgmt.Facts) []check {
	var out []check
	is := func(ok bool, name, expected, seen string) { out = append(out, check{name, expected, seen, ok}) }
	for _, s := range k.Services {
		is(f.Services[s] == configmgmt.Active, "service "+s, configmgmt.Active, f.Services[s])
	}
	for _, m := range k.Mounts {
		expected, seen, ok := "mounted", "not mounted", false
		if m.Filesystem != "" {
			expected += ", " + m.Filesystem
		}
		if m.MinFreeMiB > 0 {
			expected += fmt.Sprintf(", at least %d MiB free", m.MinFreeMiB)
		}
		if i := slices.IndexFunc(f.Mounts, func(is configmgmt.Mount) bool { return is.Path == m.Path }); i >= 0 {
			on := f.Mounts[i]
			seen = fmt.Sprintf("mounted, %s, %d MiB free", on.Filesystem, on.FreeMiB)
			ok = (m.Filesystem == "" || m.Filesystem == on.Filesystem) && on.FreeMiB >= int64(m.MinFreeMiB)
		}
		is(ok, "mount "+m.Path, expected, seen)
	}
	if k.Network {
		for _, l := range network.Links {
			expected, seen, ok := judgeLink(l, f.Links)
			is(ok, "link "+l.Name, expected, seen)
		}
		for _, gateway := range q.Reach {
			is(f.Reached[gateway], "gateway "+gateway.String(), "answers", map[bool]string{true: "answers", false: "no answer"}[f.Reached[gateway]])
		}
	}
	if limit := time.Duration(k.MaxClockSkewMs) * time.Millisecond; limit > 0 {
		// The true difference is somewhere within: only when all of it is inside, it holds.
		is(f.Clock.Skew.Abs()+f.Clock.Within <= limit, "clock", "at most "+limit.String()+" off",
			fmt.Sprintf("%s off, known to %s", f.Clock.Skew.Abs().Round(time.Millisecond), f.Clock.Within.Round(time.Millisecond)))
	}
	if k.Kernel != "" {
		is(strings.HasPrefix(f.Kernel, k.Kernel), "kernel", k.Kernel+"...", f.Kernel)
	}
	return out
}

// judgeLink finds a link on the host, a port by its MAC and any other by its name, and compares it.
func judgeLink(want netconf.Link, links []configmgmt.Link) (expected, seen string, ok bool) {
	expected = "up"
	if len(want.Addresses) > 0 {
		expected += " with " + listed(want.Addresses)
	}
	seen = "no such link"
	for _, l := range links {
		is := l.Name == want.Name
		if want.Kind == netconf.Ethernet { // a bond has the MAC of a member, and speaks for it
			is = strings.EqualFold(l.MAC, want.MAC)
		}
		if !is {
			continue
		}
		seen = map[bool]string{true: "up", false: "down"}[l.Up]
		if len(l.Addresses) > 0 {
			seen += " with " + listed(l.Addresses)
		}
		if l.Up && !slices.ContainsFunc(want.Addresses, func(a netip.Prefix) bool { return !slices.Contains(l.Addresses, a) }) {
			return expected, seen, true
		}
	}
	return expected, seen, false
}

func listed(addresses []netip.Prefix) string {
	out := make([]string, len(addresses))
	for i, a := range addresses {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}

// fromOutside makes the checks that any neighbour of the machine could make.
func (a *Site) fromOutside(ctx context.Context, network netconf.Network, k profile.Checks) []check {
	var out []check
	for _, t := range k.TCP {
		err := a.tryTCP(ctx, network.Address(), t.Port)
		out = append(out, probed("TCP port "+strconv.Itoa(t.Port), "accepts connections", err))
	}
	for _, t := range k.HTTP {
		err := a.tryHTTP(ctx, network, t)
		expected := "status " + strconv.Itoa(statusOf(t))
		if t.Contains != "" {
			expected += fmt.Sprintf(", with %q", t.Contains)
		}
		out = append(out, probed("HTTP "+t.URL, expected, err))
	}
	return out
}

func probed(name, expected string, err error) check {
	if err != nil {
		return check{name, expected, err.Error(), false}
	}
	return check{name, expected, expected, true}
}
