package ansible

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/atomicfile"
)

var (
	user     = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	hostname = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)
)

// connectTimeout is how long ssh waits for a host, in seconds.
const connectTimeout = "10"

// address splits where a target listens into host and port.
func address(op string, t configmgmt.Target) (host, port string, err error) {
	host, port = t.Address, "22"
	if h, p, err := net.SplitHostPort(t.Address); err == nil {
		host, port = h, p
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostname.MatchString(host) {
		return "", "", &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Host: t.Name, Detail: fmt.Sprintf("address %q: want a name or an IP address, with :port if it is not 22", t.Address)}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Host: t.Name, Detail: fmt.Sprintf("port %q: want 1 to 65535", port)}
	}
	return host, port, nil
}

// sshArgs pin the host's key, and keep every other configuration of ssh out.
func (d *Driver) sshArgs(name string) []string {
	return []string{"-F", "none",
		"-o", "UserKnownHostsFile=" + d.host(name, ".known"), "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias=" + name, "-o", "UpdateHostKeys=no",
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=" + connectTimeout,
		"-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
		// No shared connection: its process would outlive the run.
		"-o", "ControlMaster=no", "-o", "ControlPath=none"}
}

// fingerprint is OpenSSH's, of a key in its base64 form.
func fingerprint(key string) string {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// pinned gives the fingerprint that was enrolled for a name; "" when none was.
func (d *Driver) pinned(name string) (string, error) {
	b, err := os.ReadFile(d.host(name, ".known"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	f := strings.Fields(string(b))
	if len(f) != 3 || fingerprint(f[2]) == "" {
		return "", fmt.Errorf("%s: not one line of known_hosts", d.host(name, ".known"))
	}
	return fingerprint(f[2]), nil
}

// enrolled gives the fingerprint of a target's pin.
func (d *Driver) enrolled(op string, t configmgmt.Target) (string, error) {
	if err := t.Check(op); err != nil {
		return "", err
	}
	pin, err := d.pinned(t.Name)
	if err != nil {
		return "", program(op, t.Name, err)
	}
	if pin == "" {
		return "", &configmgmt.Error{Kind: configmgmt.ErrNotEnrolled, Op: op, Host: t.Name, Detail: "its SSH host key was not enrolled on this worker"}
	}
	return pin, nil
}

// Enroll pins the SSH host key of a target if it is the one that the host phoned home.
func (d *Driver) Enroll(ctx context.Context, t configmgmt.Target, phoned string) error {
	const op = "enroll for Ansible"
	if err := t.Check(op); err != nil {
		return err
	}
	host, port, err := address(op, t)
	if err != nil {
		return err
	}
	want := "SHA256:" + strings.TrimRight(strings.TrimPrefix(strings.TrimSpace(phoned), "SHA256:"), "=")
	if raw, err := base64.RawStdEncoding.DecodeString(want[len("SHA256:"):]); err != nil || len(raw) != sha256.Size {
		return &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Host: t.Name, Detail: fmt.Sprintf("fingerprint %q: want SHA256:..., as `ssh-keygen -lf` prints it", phoned)}
	}
	lock, err := d.lock(ctx, op, t.Name)
	if err != nil {
		return err
	}
	defer lock.Close()
	pin, err := d.pinned(t.Name)
	if err != nil {
		return program(op, t.Name, err)
	}
	if pin == want {
		return nil
	}
	if pin != "" {
		return &configmgmt.Error{Kind: configmgmt.ErrFingerprint, Op: op, Host: t.Name,
			Detail: fmt.Sprintf("the host phoned home %s; enrolled is %s. If the host was installed again, revoke its old key first", want, pin)}
	}
	// Exit codes differ between versions of OpenSSH: what counts is whether a key came.
	out, errs, _, err := d.command(ctx, "ssh-keyscan", "-T", "5", "-p", port, host)
	if err != nil {
		return program(op, t.Name, err)
	}
	var seen []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		fp := fingerprint(f[2])
		if fp != want {
			seen = append(seen, f[1]+" "+fp)
			continue
		}
		if err := atomicfile.Write(d.host(t.Name, ".known"), []byte(t.Name+" "+f[1]+" "+f[2]+"\n")); err != nil {
			return program(op, t.Name, err)
		}
		return nil
	}
	if len(seen) == 0 {
		return &configmgmt.Error{Kind: configmgmt.ErrHostAway, Op: op, Host: t.Name, Detail: configmgmt.Words("no SSH host key at " + net.JoinHostPort(host, port) + " " + errs)}
	}
	return &configmgmt.Error{Kind: configmgmt.ErrFingerprint, Op: op, Host: t.Name,
		Detail: fmt.Sprintf("the host phoned home %s; at %s answers %s. Find out which host uses this address", want, net.JoinHostPort(host, port), strings.Join(seen, ", "))}
}

// Revoke forgets the pin of a target.
func (d *Driver) Revoke(ctx context.Context, t configmgmt.Target) error {
	const op = "revoke for Ansible"
	if err := t.Check(op); err != nil {
		return err
	}
	lock, err := d.lock(ctx, op, t.Name)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Remove(d.host(t.Name, ".known")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return program(op, t.Name, err)
	}
	return nil
}

// Reach logs in over SSH and does nothing there.
func (d *Driver) Reach(ctx context.Context, t configmgmt.Target) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := d.ssh(ctx, "reach over SSH", t, "", "true")
	return err
}

// sshFailed is the exit code of ssh itself; any other is that of what it ran.
const sshFailed = 255

// ssh runs a command on a target that is enrolled, with an input, and gives what it printed.
func (d *Driver) ssh(ctx context.Context, op string, t configmgmt.Target, in string, command ...string) (*output, error) {
	if _, err := d.enrolled(op, t); err != nil {
		return nil, err
	}
	host, port, err := address(op, t)
	if err != nil {
		return nil, err
	}
	args := append(d.sshArgs(t.Name), "-i", d.o.KeyFile, "-p", port, "-l", d.o.User, "--", host)
	out, errs, code, err := d.pipe(ctx, in, "ssh", append(args, command...)...)
	switch {
	case ctx.Err() != nil:
		return nil, &configmgmt.Error{Kind: configmgmt.ErrHostAway, Op: op, Host: t.Name, Err: err}
	case errors.Is(err, errTooLarge):
		return nil, &configmgmt.Error{Kind: configmgmt.ErrTooLarge, Op: op, Host: t.Name, Err: err}
	case err != nil:
		return nil, program(op, t.Name, err)
	case code != 0:
		return nil, &configmgmt.Error{Kind: refusedBy(errs), Op: op, Host: t.Name, Status: code, Detail: configmgmt.Words(errs)}
	}
	return out, nil
}

// refusedBy tells why ssh did not get in, by its own words: it has one exit code for everything.
func refusedBy(words string) error {
	switch {
	case strings.Contains(words, "Host key verification failed"), strings.Contains(words, "REMOTE HOST IDENTIFICATION HAS CHANGED"):
		return configmgmt.ErrFingerprint
	case strings.Contains(words, "Permission denied"):
		return configmgmt.ErrDenied
	}
	return configmgmt.ErrHostAway
}
