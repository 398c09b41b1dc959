// Package ansible is the configuration-management driver for Ansible: ansible-runner as a child
// process on the site's worker, tested with ansible-core 2.21 and ansible-runner 2.4.
//
// Words
//
//   - Run folder: Options.Dir/runs/<key>, one for each Request's Key, with an inventory of the one
//     host, the variables, and ansible-runner's artefacts. It is used once: ansible-runner remembers
//     options in its folder, --check among them, and merges events of equal runs.
//   - Mark: an environment variable with the run folder in it, which every process of a run inherits,
//     through new sessions and process groups too (ansible-runner, ansible-core and ssh all make
//     them). What bears the mark is the run: that is how it is found again after a crash, and what
//     Cancel ends, by process ID.
//   - Started: the file that is written once the child process exists. Without it, and without a
//     marked process, the run never was.
//   - Pin: Options.Dir/hosts/<name>.known, the host's key in known_hosts form, made by Enroll alone.
//     ssh looks nowhere else, and a connection without it is refused.
//
// A run survives its worker: the child has a session of its own, its state is on the disk, and Poll
// reads it from there. (Under systemd, KillMode=process lets it live through a restart. Where it is
// killed with the worker, Poll says Lost.)
//
// Whether a run is in check mode is not believed but read from the arguments that ansible-runner
// recorded. Its record of the environment is dropped.
//
// A Driver is safe for concurrent use, also by several processes on one folder: a lock file for each
// host orders them. It needs Linux (/proc).
package ansible

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// Options say where things are. Dir, Project, User and KeyFile are required.
type Options struct {
	Dir     string // of the driver's own state; absolute, without spaces
	Project string // folder with the playbooks and roles
	// Bin is the folder of ansible-runner and ansible-playbook, such as a venv's bin. Empty: as Path says.
	Bin  string
	Path string // of the child processes; empty: the usual folders
	User string // that logs in on the hosts
	// KeyFile is its private SSH key, without a passphrase. Only its path is ever passed on.
	KeyFile     string
	Become      bool   // become root there
	Interpreter string // Python on the hosts; empty: Ansible looks for one
	// Grace is how long a run has to end by itself when it is cancelled. 0: 5 s.
	Grace time.Duration
	// Keep is how long run folders are kept. 0: 7 days.
	Keep time.Duration
}

// Driver is a configmgmt.Driver over ansible-runner.
type Driver struct {
	o Options
}

var _ configmgmt.Driver = (*Driver)(nil)

const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// New makes a driver, and removes run folders that are older than Keep. It starts nothing; Ping tells
// whether the programs are there.
func New(o Options) (*Driver, error) {
	for _, f := range []struct{ name, value string }{{"state folder", o.Dir}, {"project", o.Project}, {"key file", o.KeyFile}} {
		if !filepath.IsAbs(f.value) || strings.ContainsAny(f.value, " \t\n\"'%$\\") {
			return nil, fmt.Errorf("ansible %s %q: want an absolute path without spaces, quotes, %% and $", f.name, f.value)
		}
	}
	if !user.MatchString(o.User) {
		return nil, fmt.Errorf("ansible user %q: want the name of the account on the hosts", o.User)
	}
	o.Dir = filepath.Clean(o.Dir)
	o.Path = cmp.Or(o.Path, usualPath)
	if o.Bin != "" {
		o.Path = o.Bin + ":" + o.Path
	}
	o.Grace, o.Keep = cmp.Or(o.Grace, 5*time.Second), cmp.Or(o.Keep, 7*24*time.Hour)
	d := &Driver{o: o}
	for _, sub := range []string{"runs", "hosts"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("ansible state folder: %w", err)
		}
	}
	if err := d.prune(time.Now().Add(-o.Keep)); err != nil {
		return nil, fmt.Errorf("ansible state folder: %w", err)
	}
	return d, nil
}

// Close does nothing: runs go on.
func (d *Driver) Close() error { return nil }

// prune removes run folders that were started before a time and run no more.
func (d *Driver) prune(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(d.o.Dir, "runs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		i, err := e.Info()
		if err != nil || !i.ModTime().Before(before) {
			continue // gone meanwhile, or young
		}
		f := d.folder(e.Name())
		if len(f.processes()) > 0 {
			continue
		}
		if err := os.RemoveAll(string(f)); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) folder(key string) folder { return folder(filepath.Join(d.o.Dir, "runs", key)) }

// host gives the path of a file about a host.
func (d *Driver) host(name, ending string) string {
	return filepath.Join(d.o.Dir, "hosts", name+ending)
}

// lockLook is how often a lock that another holds is tried.
const lockLook = 20 * time.Millisecond

// lock keeps other starts, enrolments and revocations of a host away until the file is closed. It waits for those
// that are under way, as long as ctx lets it.
func (d *Driver) lock(ctx context.Context, op, name string) (*os.File, error) {
	f, err := os.OpenFile(d.host(name, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, program(op, name, err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, program(op, name, errors.Join(err, f.Close()))
		}
		select {
		case <-ctx.Done():
			return nil, program(op, name, errors.Join(ctx.Err(), f.Close()))
		case <-time.After(lockLook):
		}
	}
}

// find gives the path of a program as the child processes would find it.
func (d *Driver) find(name string) (string, error) {
	for dir := range strings.SplitSeq(d.o.Path, ":") {
		p := filepath.Join(dir, name)
		if i, err := os.Stat(p); err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("no program %s in %s", name, d.o.Path)
}

// command runs a program to its end and gives its output and its exit code.
func (d *Driver) command(ctx context.Context, name string, args ...string) (out, errs string, code int, err error) {
	o, errs, code, err := d.pipe(ctx, "", name, args...)
	if o != nil {
		out = o.String()
	}
	return out, errs, code, err
}

// pipe is command with an input.
func (d *Driver) pipe(ctx context.Context, in, name string, args ...string) (out *output, errs string, code int, err error) {
	path, err := d.find(name)
	if err != nil {
		return nil, "", 0, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	out, e := new(output), new(output)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = strings.NewReader(in), out, e, []string{"PATH=" + d.o.Path, "LANG=C.UTF-8", "HOME=" + d.o.Dir}
	cmd.WaitDelay = time.Second // a grandchild may hold the pipe
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case out.full || e.full:
		err = fmt.Errorf("%s: %w", name, errTooLarge)
	case errors.As(err, &exit):
		err = nil
	}
	return out, e.String(), cmd.ProcessState.ExitCode(), err
}

const maxPrinted = 1 << 20 // bytes of a program

var errTooLarge = fmt.Errorf("more than %d MiB of output", maxPrinted>>20)

// output keeps what a program prints, and when each part of it came.
type output struct {
	text  bytes.Buffer
	parts []part
	full  bool
}

// part is what came at a time, up to an end.
type part struct {
	at  time.Time
	end int
}

func (o *output) Write(p []byte) (int, error) {
	if o.full = o.full || o.text.Len()+len(p) > maxPrinted; o.full {
		return 0, errTooLarge
	}
	n, err := o.text.Write(p)
	o.parts = append(o.parts, part{time.Now(), o.text.Len()})
	return n, err
}

func (o *output) String() string { return o.text.String() }

// at tells when a text came; the zero time when it did not.
func (o *output) at(text string) time.Time {
	if i := strings.Index(o.String(), text); i >= 0 {
		for _, p := range o.parts {
			if p.end > i {
				return p.at
			}
		}
	}
	return time.Time{}
}

// Ping looks for the programs, the project and the key.
func (d *Driver) Ping(ctx context.Context) (configmgmt.Status, error) {
	s := configmgmt.Status{Name: "ansible-runner", User: d.o.User}
	out, _, _, err := d.command(ctx, "ansible-runner", "--version")
	if ctx.Err() != nil {
		return s, program("ping Ansible", "", err)
	}
	if err != nil {
		s.Missing = append(s.Missing, "ansible-runner")
	} else {
		s.Name += " " + strings.TrimSpace(out)
	}
	for _, p := range []string{"ansible-playbook", "ssh", "ssh-keyscan"} {
		if _, err := d.find(p); err != nil {
			s.Missing = append(s.Missing, p)
		}
	}
	if i, err := os.Stat(d.o.Project); err != nil || !i.IsDir() {
		s.Missing = append(s.Missing, "project "+d.o.Project)
	}
	if f, err := os.Open(d.o.KeyFile); err != nil {
		s.Missing = append(s.Missing, "readable key "+d.o.KeyFile)
	} else {
		f.Close()
	}
	return s, nil
}

// program is the error of something on the worker itself, or of a context that ended.
func program(op, host string, err error) error {
	kind := configmgmt.ErrProgram
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		kind = configmgmt.ErrUnreachable // as every driver says it
	}
	return &configmgmt.Error{Kind: kind, Op: op, Host: host, Err: err}
}
