package ansible

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// inspectScript answers questions on a host: a line "== <section>", then what belongs to it.
//
//go:embed inspect.sh
var inspectScript string

const (
	inspectTimeout = 60 * time.Second // of all questions; a ping that nobody answers takes 2 s
	maxInspect     = 1 << 20          // bytes of all answers
	clockAsks      = 3                // the quickest answer counts
)

// Enrolled gives the fingerprint of the pinned key.
func (d *Driver) Enrolled(_ context.Context, t configmgmt.Target) (string, error) {
	const op = "look up for Ansible"
	if err := t.Check(op); err != nil {
		return "", err
	}
	if err := d.enrolled(op, t.Name); err != nil {
		return "", err
	}
	pin, err := d.pinned(t.Name)
	if err != nil {
		return "", program(op, t.Name, err)
	}
	return pin, nil
}

// Inspect asks over SSH, with what is on every host: Ansible's own facts take seconds and a run folder.
func (d *Driver) Inspect(ctx context.Context, t configmgmt.Target, q configmgmt.Questions) (configmgmt.Facts, error) {
	const op = "inspect over SSH"
	if err := t.Check(op); err != nil {
		return configmgmt.Facts{}, err
	}
	if err := d.enrolled(op, t.Name); err != nil {
		return configmgmt.Facts{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	out, err := d.ssh(ctx, op, t, remote(inspectScript, asked(q)...))
	if err != nil {
		return configmgmt.Facts{}, err
	}
	if len(out) > maxInspect {
		return configmgmt.Facts{}, &configmgmt.Error{Kind: configmgmt.ErrTooLarge, Op: op, Host: t.Name, Detail: fmt.Sprintf("%d bytes, at most %d", len(out), maxInspect)}
	}
	f, err := parseFacts(out, q)
	if err == nil && q.Clock {
		f.Clock, err = d.clock(ctx, op, t)
	}
	var e *configmgmt.Error
	if errors.As(err, &e) {
		e.Op, e.Host = op, t.Name
	}
	if err != nil {
		return configmgmt.Facts{}, err
	}
	return f, nil
}

// asked are the questions as the script takes them.
func asked(q configmgmt.Questions) []string {
	var out []string
	if q.Mounts {
		out = append(out, "mounts")
	}
	if q.Links {
		out = append(out, "links")
	}
	for _, s := range q.Services {
		out = append(out, "service:"+s)
	}
	for _, a := range q.Reach {
		out = append(out, "reach:"+a.String())
	}
	return out
}

// remote makes a command for the login shell of a host, whichever it is.
func remote(script string, args ...string) string {
	words := []string{"exec", "sh", "-c", quote(script), "cagenut"}
	for _, a := range args {
		words = append(words, quote(a))
	}
	return strings.Join(words, " ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ssh runs a command on a host.
func (d *Driver) ssh(ctx context.Context, op string, t configmgmt.Target, command string) (string, error) {
	args, err := d.login(op, t, command)
	if err != nil {
		return "", err
	}
	out, errs, code, err := d.command(ctx, "ssh", args...)
	if err != nil {
		kind := configmgmt.ErrProgram
		if ctx.Err() != nil {
			kind = configmgmt.ErrHostAway
		}
		return "", &configmgmt.Error{Kind: kind, Op: op, Host: t.Name, Err: err}
	}
	if code == sshFailed {
		return "", &configmgmt.Error{Kind: refusedBy(errs), Op: op, Host: t.Name, Status: code, Detail: configmgmt.Words(errs)}
	}
	if code != 0 {
		return "", &configmgmt.Error{Kind: configmgmt.ErrRejected, Op: op, Host: t.Name, Status: code, Detail: configmgmt.Words(errs)}
	}
	return out, nil
}

// sshFailed is ssh's exit code when it did not get in.
const sshFailed = 255

// login are the arguments of ssh for a command on a host.
func (d *Driver) login(op string, t configmgmt.Target, command string) ([]string, error) {
	host, port, err := address(op, t)
	if err != nil {
		return nil, err
	}
	return append(d.sshArgs(t.Name), "-i", d.o.KeyFile, "-p", port, "-l", d.o.User, "--", host, command), nil
}

func malformed(detail string, err error) error {
	return &configmgmt.Error{Kind: configmgmt.ErrMalformed, Detail: configmgmt.Words(detail), Err: err}
}

// parseFacts reads what the script says. Every question must have its answer.
func parseFacts(out string, q configmgmt.Questions) (configmgmt.Facts, error) {
	sections := map[string][]string{}
	at := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			at = name
			sections[at] = []string{}
		} else if at != "" { // before it, a login shell may say what it likes
			sections[at] = append(sections[at], line)
		}
	}
	if missing := sections["missing"]; len(missing) > 0 {
		return configmgmt.Facts{}, &configmgmt.Error{Kind: configmgmt.ErrRejected, Detail: "the host has no program " + missing[0] + ": install it (Debian: iproute2, iputils-ping)"}
	}
	if _, whole := sections["end"]; !whole {
		return configmgmt.Facts{}, malformed("the answer is cut: "+out, nil)
	}
	one := func(name string) string {
		if s := sections[name]; len(s) > 0 {
			return strings.TrimSpace(s[0])
		}
		return ""
	}
	f := configmgmt.Facts{OS: one("os"), Kernel: one("kernel")}
	if f.OS == "" || f.Kernel == "" {
		return f, malformed(fmt.Sprintf("system %q, kernel %q", f.OS, f.Kernel), nil)
	}
	for _, s := range q.Services {
		if f.Services == nil {
			f.Services = map[string]string{}
		}
		f.Services[s] = one("service:" + s)
		if f.Services[s] == "" {
			return f, malformed("no state of service "+s, nil)
		}
	}
	for _, a := range q.Reach {
		if f.Reached == nil {
			f.Reached = map[netip.Addr]bool{}
		}
		f.Reached[a] = one("reach:"+a.String()) == "yes"
	}
	var err error
	if q.Mounts {
		f.Mounts, err = parseMounts(sections["mounts"], sections["df"])
	}
	if err == nil && q.Links {
		f.Links, err = parseLinks(sections["links"], sections["addresses"])
	}
	return f, err
}

// parseMounts reads /proc/mounts and `df -P -k`.
func parseMounts(mounts, df []string) ([]configmgmt.Mount, error) {
	kinds := map[string]string{}
	for _, line := range mounts {
		if f := strings.Fields(line); len(f) > 2 {
			kinds[f[1]] = f[2]
		}
	}
	var out []configmgmt.Mount
	for _, line := range df[min(1, len(df)):] { // below the heading
		f := strings.Fields(line)
		if len(f) < 6 || kinds[f[5]] == "" {
			continue // a path with spaces, or one that was mounted between the two
		}
		kib, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return nil, malformed("df: "+line, err)
		}
		out = append(out, configmgmt.Mount{Path: f[5], Filesystem: kinds[f[5]], FreeMiB: kib / 1024})
	}
	return out, nil
}

// parseLinks reads lines of name, flags and MAC, which a tunnel lacks, and `ip -o addr`.
func parseLinks(links, addresses []string) ([]configmgmt.Link, error) {
	var out []configmgmt.Link
	for _, line := range links {
		f := append(strings.Fields(line), "", "")
		flags, err := strconv.ParseUint(f[1], 0, 32)
		if err != nil {
			return nil, malformed("link: "+line, err)
		}
		if f[0] != "lo" {
			out = append(out, configmgmt.Link{Name: f[0], MAC: strings.ToLower(f[2]), Up: flags&1 != 0}) // IFF_UP
		}
	}
	for _, line := range addresses {
		f := strings.Fields(line)
		if len(f) < 4 || f[2] != "inet" && f[2] != "inet6" {
			continue
		}
		name, _, _ := strings.Cut(f[1], "@")
		i := slices.IndexFunc(out, func(l configmgmt.Link) bool { return l.Name == name })
		p, err := netip.ParsePrefix(f[3])
		if err != nil && !strings.Contains(f[3], "/") { // a point-to-point link says its own address alone
			var a netip.Addr
			if a, err = netip.ParseAddr(f[3]); err == nil {
				p = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			return nil, malformed("address: "+line, err)
		}
		if i >= 0 {
			out[i].Addresses = append(out[i].Addresses, p)
		}
	}
	return out, nil
}

// clock asks for the time over a connection that stands, so that only the way there and back counts.
func (d *Driver) clock(ctx context.Context, op string, t configmgmt.Target) (configmgmt.Clock, error) {
	args, err := d.login(op, t, remote("while read -r line; do date +%s.%N; done"))
	if err != nil {
		return configmgmt.Clock{}, err
	}
	path, err := d.find("ssh")
	if err != nil {
		return configmgmt.Clock{}, program(op, t.Name, err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.WaitDelay = d.env(), time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return configmgmt.Clock{}, program(op, t.Name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return configmgmt.Clock{}, program(op, t.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return configmgmt.Clock{}, program(op, t.Name, err)
	}
	best, err := askClock(in.Write, bufio.NewScanner(out))
	if cerr := in.Close(); err == nil {
		err = cerr
	}
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return best, &configmgmt.Error{Kind: configmgmt.ErrHostAway, Op: op, Host: t.Name, Detail: "the connection ended while the clock was asked", Err: err}
	}
	return best, nil
}

// askClock asks some times. The first ask also waits for the connection.
func askClock(write func([]byte) (int, error), answers *bufio.Scanner) (best configmgmt.Clock, err error) {
	for range 1 + clockAsks {
		began := time.Now()
		if _, err := write([]byte("\n")); err != nil {
			return best, err
		}
		if !answers.Scan() {
			return best, errors.Join(errors.New("no answer"), answers.Err())
		}
		took := time.Since(began)
		sec, frac, _ := strings.Cut(answers.Text(), ".")
		s, err := strconv.ParseInt(sec, 10, 64)
		nano, ferr := strconv.ParseInt(frac, 10, 64)
		if err != nil || ferr != nil || len(frac) != 9 {
			return best, malformed("clock: "+answers.Text(), nil)
		}
		host := time.Unix(s, nano).UTC()
		if c := (configmgmt.Clock{Host: host, Skew: host.Sub(began.Add(took / 2)), Within: took / 2}); best.Host.IsZero() || c.Within < best.Within {
			best = c
		}
	}
	return best, nil
}
