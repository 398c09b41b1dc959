package salt

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// Enrolled gives the fingerprint of the accepted key.
func (d *Driver) Enrolled(ctx context.Context, t configmgmt.Target) (string, error) {
	const op = "look up in Salt"
	if err := t.Check(op); err != nil {
		return "", err
	}
	keys, err := d.keys(ctx, t.Name)
	if err != nil {
		return "", err
	}
	if keys[accepted] == "" {
		return "", &configmgmt.Error{Kind: configmgmt.ErrNotEnrolled, Op: op, Host: t.Name, Detail: "the master has no accepted key of this minion"}
	}
	return keys[accepted], nil
}

// Inspect asks the minion, one function for each question.
func (d *Driver) Inspect(ctx context.Context, t configmgmt.Target, q configmgmt.Questions) (configmgmt.Facts, error) {
	if err := t.Check("inspect over Salt"); err != nil {
		return configmgmt.Facts{}, err
	}
	f, err := d.system(ctx, t)
	if err == nil && len(q.Services) > 0 {
		f.Services, err = d.services(ctx, t, q.Services)
	}
	if err == nil && q.Mounts {
		f.Mounts, err = d.mounts(ctx, t)
	}
	if err == nil && q.Links {
		f.Links, err = d.links(ctx, t)
	}
	if err == nil && len(q.Reach) > 0 {
		f.Reached, err = d.reached(ctx, t, q.Reach)
	}
	if err == nil && q.Clock {
		f.Clock, err = d.clock(ctx, t)
	}
	if err != nil {
		return configmgmt.Facts{}, err
	}
	return f, nil
}

// fact calls a function that a minion answers at once, and reads its answer into out.
func (d *Driver) fact(ctx context.Context, t configmgmt.Target, out any, fun string, args ...any) error {
	raw, err := d.minion(ctx, t.Name, fun, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return odd(t, fun, string(raw), err)
	}
	return nil
}

func odd(t configmgmt.Target, fun, answer string, err error) error {
	return &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "salt-api local " + fun, Host: t.Name, Detail: brief(answer), Err: err}
}

// osIDs are systems whose os-release calls itself otherwise than Salt's grain os in small letters.
var osIDs = map[string]string{"redhat": "rhel", "centos stream": "centos", "oel": "ol"}

// system reads grains: file.read would tell the same, and is a permission to read every file.
func (d *Driver) system(ctx context.Context, t configmgmt.Target) (configmgmt.Facts, error) {
	var g struct {
		OS      string `json:"os"`
		Release string `json:"osrelease"`
		Kernel  string `json:"kernelrelease"`
	}
	if err := d.fact(ctx, t, &g, "grains.item", "os", "osrelease", "kernelrelease"); err != nil {
		return configmgmt.Facts{}, err
	}
	if g.OS == "" || g.Kernel == "" {
		return configmgmt.Facts{}, odd(t, "grains.item", fmt.Sprintf("grains os %q, kernelrelease %q", g.OS, g.Kernel), nil)
	}
	id := strings.ToLower(g.OS)
	return configmgmt.Facts{OS: strings.TrimSpace(cmp.Or(osIDs[id], id) + " " + g.Release), Kernel: g.Kernel}, nil
}

func (d *Driver) services(ctx context.Context, t configmgmt.Target, units []string) (map[string]string, error) {
	out := map[string]string{}
	for _, unit := range units {
		var runs bool
		if err := d.fact(ctx, t, &runs, "service.status", unit); err != nil {
			return nil, err
		}
		out[unit] = "not running"
		if runs {
			out[unit] = configmgmt.Active
		}
	}
	return out, nil
}

func (d *Driver) mounts(ctx context.Context, t configmgmt.Target) ([]configmgmt.Mount, error) {
	var kinds map[string]struct {
		FSType string `json:"fstype"`
	}
	if err := d.fact(ctx, t, &kinds, "mount.active"); err != nil {
		return nil, err
	}
	var usage map[string]struct {
		Available string `json:"available"` // KiB
	}
	if err := d.fact(ctx, t, &usage, "disk.usage"); err != nil {
		return nil, err
	}
	var out []configmgmt.Mount
	for _, path := range slices.Sorted(maps.Keys(usage)) {
		kib, err := strconv.ParseInt(usage[path].Available, 10, 64)
		if err != nil {
			return nil, odd(t, "disk.usage", fmt.Sprintf("%s: available %q", path, usage[path].Available), err)
		}
		if kinds[path].FSType != "" { // else it was mounted between the two questions
			out = append(out, configmgmt.Mount{Path: path, Filesystem: kinds[path].FSType, FreeMiB: kib / 1024})
		}
	}
	return out, nil
}

func (d *Driver) links(ctx context.Context, t configmgmt.Target) ([]configmgmt.Link, error) {
	var found map[string]struct {
		MAC  string `json:"hwaddr"`
		Up   bool   `json:"up"`
		Inet []struct {
			Address string `json:"address"`
			Netmask string `json:"netmask"`
		} `json:"inet"`
		Inet6 []struct {
			Address string `json:"address"`
			Bits    string `json:"prefixlen"`
		} `json:"inet6"`
	}
	if err := d.fact(ctx, t, &found, "network.interfaces"); err != nil {
		return nil, err
	}
	var out []configmgmt.Link
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if name == "lo" {
			continue
		}
		i := found[name]
		l := configmgmt.Link{Name: name, MAC: strings.ToLower(i.MAC), Up: i.Up}
		var texts []string
		for _, a := range i.Inet {
			bits, _ := net.IPMask(net.ParseIP(a.Netmask).To4()).Size()
			texts = append(texts, a.Address+"/"+strconv.Itoa(bits))
		}
		for _, a := range i.Inet6 {
			texts = append(texts, a.Address+"/"+a.Bits)
		}
		for _, text := range texts {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, odd(t, "network.interfaces", name+": "+text, err)
			}
			l.Addresses = append(l.Addresses, p)
		}
		out = append(out, l)
	}
	return out, nil
}

// pingTimeout is how many seconds ping waits for an answer. Salt sends four packets, a second apart.
const pingTimeout = 2

func (d *Driver) reached(ctx context.Context, t configmgmt.Target, addresses []netip.Addr) (map[netip.Addr]bool, error) {
	out := map[netip.Addr]bool{}
	for _, a := range addresses {
		var answers bool
		if err := d.fact(ctx, t, &answers, "network.ping", a.String(), pingTimeout, true); err != nil {
			return nil, err
		}
		out[a] = answers
	}
	return out, nil
}

// clock asks for the time. The answer's way is unknown, and so is half of what asking took.
func (d *Driver) clock(ctx context.Context, t configmgmt.Target) (configmgmt.Clock, error) {
	var text string
	began := time.Now()
	if err := d.fact(ctx, t, &text, "status.time", "%s.%f"); err != nil {
		return configmgmt.Clock{}, err
	}
	took := time.Since(began)
	sec, frac, ok := strings.Cut(text, ".")
	s, err := strconv.ParseInt(sec, 10, 64)
	micro, ferr := strconv.ParseInt(frac, 10, 64)
	if !ok || err != nil || ferr != nil || len(frac) != 6 {
		return configmgmt.Clock{}, odd(t, "status.time", text, nil)
	}
	host := time.Unix(s, micro*1000).UTC()
	return configmgmt.Clock{Host: host, Skew: host.Sub(began.Add(took / 2)), Within: took / 2}, nil
}
