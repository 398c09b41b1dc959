package ansible

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

//go:embed inspect.sh
var inspectScript string

// Inspect asks over one SSH connection, as the account that runs work as, without Ansible: its facts would
// take ten times as long, and have no word for half of this.
func (d *Driver) Inspect(ctx context.Context, t configmgmt.Target, q configmgmt.Questions) (configmgmt.Facts, error) {
	const op = "inspect over SSH"
	shell := []string{"sh", "-s"}
	if d.o.Become && d.o.User != "root" {
		shell = append([]string{"sudo", "-n"}, shell...)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start := time.Now()
	out, err := d.ssh(ctx, op, t, script(q), shell...)
	var e *configmgmt.Error
	if errors.As(err, &e) && e.Status > 0 && e.Status != sshFailed {
		e.Kind = configmgmt.ErrRejected // it got in, and the shell or sudo failed
	}
	if err != nil {
		return configmgmt.Facts{}, err
	}
	f, cannot, err := parse(out.String(), q)
	switch {
	case len(cannot) > 0:
		return configmgmt.Facts{}, &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: op, Host: t.Name, Detail: configmgmt.Words("the host cannot " + strings.Join(cannot, "; "))}
	case err != nil:
		return configmgmt.Facts{}, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: op, Host: t.Name, Err: err}
	}
	if q.Clock {
		within := out.at(clockLine).Sub(start) / 2
		f.Clock.Within, f.Clock.Skew = within, f.Clock.Host.Sub(start.Add(within))
	}
	return f, nil
}

// clockLine begins the answer to what time it is. It comes first, so that nothing else makes it late.
const clockLine = "clock "

// script gives what the host's shell runs: the functions, and one call for each question. It is read to
// its end before it runs, so that no program takes a part of it for its input.
func script(q configmgmt.Questions) string {
	var b strings.Builder
	b.WriteString(inspectScript + "\nmain() {\n")
	if q.Clock {
		b.WriteString("clock\n")
	}
	b.WriteString("system\n")
	for i, name := range q.Services {
		fmt.Fprintf(&b, "service_ %d %s\n", i, quote(name))
	}
	if q.Mounts {
		b.WriteString("mounts\n")
	}
	if q.Links {
		b.WriteString("links\n")
	}
	for _, a := range q.Reach {
		fmt.Fprintf(&b, "reach %s &\n", quote(a.String()))
	}
	b.WriteString("wait\necho end\n}\nmain </dev/null\n")
	return b.String()
}

// quote makes one word of a text for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// parse reads the lines of a host. What a login shell printed of itself is in no form that counts. Cannot
// are the host's reasons for what it did not answer; without one, an answer that lacks is an error.
func parse(text string, q configmgmt.Questions) (f configmgmt.Facts, cannot []string, err error) {
	links, ended := map[string]int{}, false
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		v := strings.Fields(rest)
		var problem error
		switch word {
		case "cannot":
			cannot = append(cannot, rest)
		case "os":
			f.OS = strings.TrimSpace(rest)
		case "kernel":
			f.Kernel = rest
		case "clock":
			f.Clock.Host, problem = instant(rest)
		case "service":
			problem = service(&f, q, v)
		case "mount":
			problem = mount(&f, v)
		case "link":
			problem = link(&f, links, v)
		case "addr":
			problem = addr(&f, links, v)
		case "reach":
			problem = reach(&f, v)
		case "end":
			ended = true
		}
		if problem != nil && err == nil {
			err = fmt.Errorf("line %q: %w", configmgmt.Words(line), problem)
		}
	}
	if err == nil && (!ended || f.OS == "" || f.Kernel == "" || q.Clock == f.Clock.Host.IsZero() || q.Mounts && len(f.Mounts) == 0 ||
		!all(q.Services, f.Services) || !all(q.Reach, f.Reached)) {
		err = fmt.Errorf("a part is missing: %s", configmgmt.Words(text[max(0, len(text)-500):]))
	}
	return f, cannot, err
}

var errForm = errors.New("not in the form that was asked for")

// all tells whether each of what was asked has an answer.
func all[K comparable, V any](asked []K, answers map[K]V) bool {
	for _, k := range asked {
		if _, ok := answers[k]; !ok {
			return false
		}
	}
	return true
}

func instant(s string) (time.Time, error) {
	seconds, err := strconv.ParseFloat(s, 64) // exact to less than a microsecond
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMicro(int64(seconds * 1e6)).UTC(), nil
}

// service reads a service's number among the questions, and the host's word for its state.
func service(f *configmgmt.Facts, q configmgmt.Questions, v []string) error {
	if len(v) < 2 {
		return errForm
	}
	i, err := strconv.Atoi(v[0])
	if err != nil || i < 0 || i >= len(q.Services) {
		return errForm
	}
	if f.Services == nil {
		f.Services = map[string]string{}
	}
	f.Services[q.Services[i]] = strings.Join(v[1:], " ")
	return nil
}

// mount reads type, free blocks, their size, and the path, in which the kernel writes some characters by
// their octal number. Of two mounts on one path the later is seen.
func mount(f *configmgmt.Facts, v []string) error {
	if len(v) != 4 {
		return errForm
	}
	free, err := strconv.ParseInt(v[1], 10, 64)
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(v[2], 10, 64)
	if err != nil {
		return err
	}
	m := configmgmt.Mount{Path: strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(v[3]), Filesystem: v[0],
		FreeMiB: int64(float64(free) * float64(size) / (1 << 20))}
	for i := range f.Mounts {
		if f.Mounts[i].Path == m.Path {
			f.Mounts[i] = m
			return nil
		}
	}
	f.Mounts = append(f.Mounts, m)
	return nil
}

// link reads a line of `ip -o link`: 4: eth0@if5: <BROADCAST,UP> ... link/ether 02:00:00:00:65:01 ...
func link(f *configmgmt.Facts, links map[string]int, v []string) error {
	if len(v) < 3 {
		return errForm
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(v[1], ":"), "@")
	l := configmgmt.Link{Name: name}
	for _, flag := range strings.Split(strings.Trim(v[2], "<>"), ",") {
		if flag == "LOOPBACK" {
			return nil
		}
		l.Up = l.Up || flag == "UP"
	}
	for i := 3; i < len(v)-1; i++ {
		if strings.HasPrefix(v[i], "link/") {
			if mac, err := net.ParseMAC(v[i+1]); err == nil { // a tunnel has none
				l.MAC = mac.String()
			}
			break
		}
	}
	links[name] = len(f.Links)
	f.Links = append(f.Links, l)
	return nil
}

// addr reads a line of `ip -o addr`: 4: eth0 inet 192.0.2.7/24 ...; without a length where there is a peer.
func addr(f *configmgmt.Facts, links map[string]int, v []string) error {
	if len(v) < 4 {
		return errForm
	}
	i, ok := links[v[1]]
	if !ok {
		return nil // loopback, or one that has just come
	}
	ip, bits, short := strings.Cut(v[3], "/")
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	n := a.BitLen()
	if short {
		if n, err = strconv.Atoi(bits); err != nil {
			return err
		}
	}
	f.Links[i].Addresses = append(f.Links[i].Addresses, netip.PrefixFrom(a, n))
	return nil
}

func reach(f *configmgmt.Facts, v []string) error {
	if len(v) != 2 || v[1] != "yes" && v[1] != "no" {
		return errForm
	}
	a, err := netip.ParseAddr(v[0])
	if err != nil {
		return err
	}
	if f.Reached == nil {
		f.Reached = map[netip.Addr]bool{}
	}
	f.Reached[a] = v[1] == "yes"
	return nil
}

// Enrolled gives the fingerprint of the pin.
func (d *Driver) Enrolled(_ context.Context, t configmgmt.Target) (string, error) {
	return d.enrolled("look up enrolment for Ansible", t)
}
