package salt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/configmgmt"
)

// The files that a host is asked for, and no others: the account of docs/salt.md may read just these.
// Grains would not do, for they have the system's ID in a form of Salt's own.
const (
	releaseFile = "/etc/os-release"
	kernelFile  = "/proc/sys/kernel/osrelease"
)

// remedies are what helps on a host that cannot answer a function.
var remedies = map[string]string{
	"file.read":          "the host must have the file, and its minion run as root",
	"service.status":     "Salt must know the host's kind of init; systemd is one",
	"mount.active":       "the minion must be able to read /proc/self/mounts",
	"disk.usage":         "`df -P` on the host must end well; a mount that is stale or closed to root spoils it",
	"network.interfaces": "install iproute2 on the host",
	"status.time":        "it is part of Salt: bring the minion to the version of the master",
	"network.ping":       "install iputils-ping on the host",
}

// notActive is what Salt knows of a service that does not run; a service that is not there is so too.
const notActive = "not active"

// Inspect asks the minion, with one call for each thing that is asked.
func (d *Driver) Inspect(ctx context.Context, t configmgmt.Target, q configmgmt.Questions) (configmgmt.Facts, error) {
	var f configmgmt.Facts
	err := t.Check("inspect over Salt")
	ask := func(asked bool, fill func(context.Context, string, *configmgmt.Facts) error) {
		if err == nil && asked {
			err = fill(ctx, t.Name, &f)
		}
	}
	ask(true, d.system)
	ask(q.Clock, d.clock)
	ask(q.Mounts, d.mounts)
	ask(q.Links, d.links)
	for _, name := range q.Services {
		ask(true, d.service(name))
	}
	ask(len(q.Reach) > 0, d.reached(q.Reach))
	if err != nil {
		return configmgmt.Facts{}, err
	}
	return f, nil
}

// fact asks a minion for one thing.
func (d *Driver) fact(ctx context.Context, id string, out any, fun string, args ...any) error {
	raw, err := d.minion(ctx, id, fun, args...)
	var e *configmgmt.Error
	if errors.As(err, &e) && errors.Is(e.Kind, configmgmt.ErrRejected) {
		e.Detail += " Remedy: " + remedies[fun] + "."
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return odd(id, fun, raw, err)
	}
	return nil
}

// odd is the error of an answer that came well and is not what it should be. A text in place of
// anything else is what the minion has to say.
func odd(id, fun string, raw json.RawMessage, err error) error {
	e := &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "salt-api local " + fun + " " + id, Host: id, Detail: brief(string(raw)), Err: err}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
		e.Kind, e.Err = configmgmt.ErrRejected, nil
		e.Detail += " Remedy: " + remedies[fun] + "."
	}
	return e
}

func (d *Driver) system(ctx context.Context, id string, f *configmgmt.Facts) error {
	var release, kernel string
	if err := d.fact(ctx, id, &release, "file.read", releaseFile); err != nil {
		return err
	}
	if err := d.fact(ctx, id, &kernel, "file.read", kernelFile); err != nil {
		return err
	}
	f.OS, f.Kernel = system(release), strings.TrimSpace(kernel)
	if f.OS == "" || f.Kernel == "" || strings.ContainsAny(f.Kernel, " \n") {
		return &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "inspect over Salt", Host: id, Detail: brief(fmt.Sprintf("%s says %q, %s says %q", releaseFile, release, kernelFile, kernel))}
	}
	return nil
}

// system gives ID and VERSION_ID of an os-release file: assignments as of a shell, with or without quotes.
func system(release string) string {
	values := map[string]string{}
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		values[key] = value // of two, the later, as a shell does
	}
	return strings.TrimSpace(values["ID"] + " " + values["VERSION_ID"])
}

// clockAsks is how often the time is asked for at most, and clockClose how well it must be known to be asked
// no more: an ask may wait for others, or log in first, and all of that counts as not knowing.
const (
	clockAsks  = 4
	clockClose = 50 * time.Millisecond
)

func (d *Driver) clock(ctx context.Context, id string, f *configmgmt.Facts) error {
	for range clockAsks {
		c, err := d.askClock(ctx, id)
		if err != nil {
			return err
		}
		if f.Clock.Host.IsZero() || c.Within < f.Clock.Within {
			f.Clock = c
		}
		if f.Clock.Within <= clockClose {
			return nil
		}
	}
	return nil
}

func (d *Driver) askClock(ctx context.Context, id string) (configmgmt.Clock, error) {
	var text string
	start := time.Now()
	if err := d.fact(ctx, id, &text, "status.time", "%s.%f"); err != nil {
		return configmgmt.Clock{}, err
	}
	within := time.Since(start) / 2
	seconds, err := strconv.ParseFloat(text, 64) // exact to less than a microsecond
	if err != nil || seconds <= 0 {
		return configmgmt.Clock{}, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "salt-api local status.time " + id, Host: id, Detail: brief(text), Err: err}
	}
	host := time.UnixMicro(int64(seconds * 1e6)).UTC()
	return configmgmt.Clock{Host: host, Skew: host.Sub(start.Add(within)), Within: within}, nil
}

// mounts joins what is mounted with what df says. df tells each device once; the second place where
// one is mounted has the same free space. What has no device and no size, such as /proc, is left out.
func (d *Driver) mounts(ctx context.Context, id string, f *configmgmt.Facts) error {
	var active map[string]struct{ Device, Fstype string }
	if err := d.fact(ctx, id, &active, "mount.active"); err != nil {
		return err
	}
	var usage map[string]struct{ Filesystem, Available string }
	if err := d.fact(ctx, id, &usage, "disk.usage"); err != nil {
		return err
	}
	byDevice := map[string]string{}
	for _, u := range usage {
		if strings.HasPrefix(u.Filesystem, "/") {
			byDevice[u.Filesystem] = u.Available
		}
	}
	for _, path := range slices.Sorted(maps.Keys(active)) {
		m := active[path]
		free, ok := byDevice[m.Device]
		if u, own := usage[path]; own {
			free, ok = u.Available, true
		}
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(free, 10, 64)
		if err != nil || m.Fstype == "" {
			return &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "inspect over Salt", Host: id, Detail: brief(fmt.Sprintf("mount %q of type %q has %q KiB free", path, m.Fstype, free)), Err: err}
		}
		f.Mounts = append(f.Mounts, configmgmt.Mount{Path: path, Filesystem: m.Fstype, FreeMiB: kib / 1024})
	}
	if len(f.Mounts) == 0 {
		return &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: "salt-api local disk.usage " + id, Host: id, Detail: "no file system has a size. Remedy: " + remedies["disk.usage"] + "."}
	}
	return nil
}

// address is one of a link as network.interfaces has it. IPv4 has a mask, IPv6 a length, which is a
// text or a number.
type address struct {
	Address   string
	Netmask   string
	Prefixlen json.Number
}

func (d *Driver) links(ctx context.Context, id string, f *configmgmt.Facts) error {
	const fun = "network.interfaces"
	var found map[string]struct {
		Hwaddr                 string
		Up                     bool
		Inet, Inet6, Secondary []address
	}
	if err := d.fact(ctx, id, &found, fun); err != nil {
		return err
	}
	if len(found) == 0 { // not even lo: there is no program to ask
		return &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: "salt-api local " + fun + " " + id, Host: id, Detail: "no interfaces. Remedy: " + remedies[fun] + "."}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		i := found[name]
		if name == "lo" {
			continue
		}
		l := configmgmt.Link{Name: name, Up: i.Up}
		if mac, err := net.ParseMAC(i.Hwaddr); err == nil { // a tunnel has none
			l.MAC = mac.String()
		}
		for _, a := range slices.Concat(i.Inet, i.Inet6, i.Secondary) {
			p, err := a.prefix()
			if err != nil {
				return &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: "salt-api local " + fun + " " + id, Host: id, Detail: brief(fmt.Sprintf("%s has %+v", name, a)), Err: err}
			}
			l.Addresses = append(l.Addresses, p)
		}
		f.Links = append(f.Links, l)
	}
	return nil
}

func (a address) prefix() (netip.Prefix, error) {
	ip, err := netip.ParseAddr(a.Address)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Prefixlen != "" {
		return netip.ParsePrefix(a.Address + "/" + a.Prefixlen.String())
	}
	mask, err := netip.ParseAddr(a.Netmask)
	if err != nil {
		return netip.Prefix{}, err
	}
	bits, width := net.IPMask(mask.AsSlice()).Size()
	if width != ip.BitLen() {
		return netip.Prefix{}, fmt.Errorf("mask %s of address %s", a.Netmask, a.Address)
	}
	return netip.PrefixFrom(ip, bits), nil
}

// service gives the question for one service. Salt knows only whether it runs. Where there is no
// systemd, .service is not a part of any name.
func (d *Driver) service(name string) func(context.Context, string, *configmgmt.Facts) error {
	return func(ctx context.Context, id string, f *configmgmt.Facts) error {
		var runs bool
		if err := d.fact(ctx, id, &runs, "service.status", strings.TrimSuffix(name, ".service")); err != nil {
			return err
		}
		if f.Services == nil {
			f.Services = map[string]string{}
		}
		f.Services[name] = map[bool]string{true: configmgmt.Active, false: notActive}[runs]
		return nil
	}
}

// reached gives the question for addresses. Each takes seconds, so that some are asked at once.
func (d *Driver) reached(addresses []netip.Addr) func(context.Context, string, *configmgmt.Facts) error {
	return func(ctx context.Context, id string, f *configmgmt.Facts) error {
		f.Reached = map[netip.Addr]bool{}
		var mu sync.Mutex
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(inFlight / 2)
		for _, a := range addresses {
			g.Go(func() error {
				ok, err := d.pings(ctx, id, a)
				mu.Lock()
				defer mu.Unlock()
				f.Reached[a] = ok
				return err
			})
		}
		return g.Wait()
	}
}

// pings tells whether a host reaches an address. The minion's code is that of ping: 1 when nothing came
// back, 2 when nothing could be sent.
func (d *Driver) pings(ctx context.Context, id string, a netip.Addr) (bool, error) {
	const fun = "network.ping"
	// Written out in full, since Salt reads arguments as YAML, where 1:2:3:4:5:6:7:8 is a number.
	c := local(id, fun, a.StringExpanded())
	c.Kwarg = map[string]any{"timeout": 1, "return_boolean": true}
	raw, code, err := d.ask(ctx, c)
	if err != nil {
		return false, err
	}
	var ok bool
	if err := json.Unmarshal(raw, &ok); err != nil {
		return false, odd(id, fun, raw, err)
	}
	if code > 2 || ok != (code == 0) {
		return false, &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: c.op(), Host: id, Status: code, Detail: fmt.Sprintf("ping ended with code %d and the answer %t. Remedy: %s.", code, ok, remedies[fun])}
	}
	return ok, nil
}

// Enrolled gives the fingerprint of the accepted key.
func (d *Driver) Enrolled(ctx context.Context, t configmgmt.Target) (string, error) {
	const op = "look up enrolment in Salt"
	if err := t.Check(op); err != nil {
		return "", err
	}
	keys, err := d.keys(ctx, t.Name)
	if err != nil {
		return "", err
	}
	if keys[accepted] == "" {
		return "", notEnrolled(op, t.Name)
	}
	return keys[accepted], nil
}
