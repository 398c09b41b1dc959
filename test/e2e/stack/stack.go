//go:build e2e

// Package stack runs the whole product for end-to-end tests as an operator would: bin/cagenut and
// bin/cagenut-dev (made by `make build`) in processes of their own, each of which a test can kill.
//
// Words
//
//   - Proc: one process: postgres, temporal, box, serve, worker, site.
//   - Stack: a folder of cagenut-dev with all processes over it.
//
// A Stack is used by one test; its methods may be called from several goroutines. Everything ends
// with the test, and the logs of a failed one are shown.
package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/cagenut/cagenut/internal/devstack"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simclient"
)

// The processes.
const (
	Postgres = "postgres"
	Temporal = "temporal"
	Box      = "box"
	Serve    = "serve"
	Worker   = "worker"
	Site     = "site"
)

// Options are how a stack is made.
type Options struct {
	Racks   []sim.Rack // of one site; none: sim.DefaultRack
	Speed   float64    // of the box; 0: 50
	Latency float64
	Hurry   int // 0: 20
	// Profiles are further profiles, by file name.
	Profiles map[string]string
	// TemporalStore is where Temporal keeps its own; empty: SQLite.
	TemporalStore string
	// Config changes what a program (Serve, Worker, Site) reads at its start: the configuration that cagenut-dev
	// wrote, decoded from YAML. nil: it stays so.
	Config func(program string, c map[string]any)
	// MinionsURL is where the minions of the box's hosts are run, as saltlab does; empty: in the box's Salt.
	MinionsURL string
}

// Stack is a running product.
type Stack struct {
	t     testing.TB
	o     Options
	dir   string
	bin   string
	inner *devstack.Stack
	mu    sync.Mutex
	procs map[string]*proc
}

type proc struct {
	cmd   *exec.Cmd
	ended chan struct{}
	log   string
}

// Start runs everything and returns when machines can be accepted.
func Start(t testing.TB, o Options) *Stack {
	t.Helper()
	bin := Binaries(t)
	dir := Folder(t)
	if o.Speed == 0 {
		o.Speed = 50
	}
	if o.Hurry == 0 {
		o.Hurry = 20
	}
	d := devstack.Options{Dir: dir, Speed: o.Speed, Latency: o.Latency, Faster: o.Hurry, TemporalStore: o.TemporalStore, MinionsURL: o.MinionsURL}
	if len(o.Racks) > 0 {
		d.Rack, d.More = o.Racks[0], o.Racks[1:]
	}
	inner, err := devstack.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range o.Profiles {
		if err := os.WriteFile(filepath.Join(dir, "conf", "profiles", name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &Stack{t: t, o: o, dir: dir, bin: bin, inner: inner, procs: map[string]*proc{}}
	t.Cleanup(s.end)
	for _, name := range []string{Postgres, Temporal, Box} {
		s.Start(name)
	}
	s.dev("init", "--prepare")
	for _, name := range []string{Serve, Worker, Site} {
		s.Start(name)
	}
	s.dev("init", "--seed")
	return s
}

// configuration writes what a program reads, where the test has it differ from what cagenut-dev wrote, and
// names its file.
func (s *Stack) configuration(program string) string {
	file := s.inner.ConfigFile()
	if s.o.Config == nil {
		return file
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var c map[string]any
	if err = yaml.Unmarshal(raw, &c); err == nil {
		s.o.Config(program, c)
		raw, err = yaml.Marshal(c)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	file = filepath.Join(filepath.Dir(file), program+".yaml") // paths in it are relative to its folder
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// Folder makes a folder for a stack, which is removed when the test passed. PostgreSQL's user must be
// able to enter it: t.TempDir is closed to others.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cagenut-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	return dir
}

// Binaries is the folder of the programs that `make build` made.
func Binaries(t testing.TB) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("where is the repository: %v", err)
	}
	bin := filepath.Join(strings.TrimSpace(string(root)), "bin")
	for _, name := range []string{"cagenut", "cagenut-dev"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%v: run `make build` first", err)
		}
	}
	return bin
}

// args is the command line of a process.
func (s *Stack) args(name string) []string {
	switch name {
	case Postgres, Temporal, Box:
		return []string{"cagenut-dev", "part", name, "--dir", s.dir}
	}
	conf := []string{"--config", s.configuration(name)}
	hurry := append(conf, "--hurry", strconv.Itoa(s.o.Hurry))
	switch name {
	case Serve:
		return append([]string{"cagenut", "serve"}, conf...)
	case Worker:
		return append([]string{"cagenut", "worker"}, hurry...)
	case Site:
		return append([]string{"cagenut", "worker", "--site", s.inner.Rack().Site.Slug}, hurry...)
	}
	s.t.Fatalf("no process %q", name)
	return nil
}

// Start starts a process and waits until it can be used.
func (s *Stack) Start(name string) {
	s.t.Helper()
	args := s.args(name)
	log := filepath.Join(s.dir, name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	from, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(s.bin, args[0]), args[1:]...) //nolint:noctx // the test ends it, at times after its context
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p := &proc{cmd: cmd, ended: make(chan struct{}), log: log}
	go func() {
		_ = cmd.Wait()
		_ = file.Close()
		close(p.ended)
	}()
	s.mu.Lock()
	s.procs[name] = p
	s.mu.Unlock()
	mark := map[string]string{Serve: `"msg":"serving"`, Worker: `"msg":"working"`, Site: `"msg":"working"`}[name]
	if mark == "" {
		mark = "ready\n"
	}
	s.until(time.Minute+time.Duration(len(s.inner.Servers()))*100*time.Millisecond, name+" is up", func() error {
		select {
		case <-p.ended:
			return stop{fmt.Errorf("%s ended at once:\n%s", name, tailOf(log))}
		default:
		}
		raw, err := os.ReadFile(log)
		if err == nil && !bytes.Contains(raw[min(int(from), len(raw)):], []byte(mark)) {
			err = errors.New("it has not said so")
		}
		return err
	})
}

// Kill ends a process with SIGKILL and waits until it is gone. Of Postgres it is the server itself:
// what runs it would otherwise have it shut down in order.
func (s *Stack) Kill(name string) {
	s.t.Helper()
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if name == Postgres {
		s.killServer()
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("kill %s: %v", name, err)
	}
	<-p.ended
}

// killServer kills PostgreSQL's postmaster.
func (s *Stack) killServer() {
	s.t.Helper()
	pid, err := s.postmaster()
	if err != nil {
		s.t.Fatalf("kill PostgreSQL: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatalf("kill PostgreSQL, process %d: %v", pid, err)
	}
}

// postmaster is PostgreSQL's process number: the first line of its PID file.
func (s *Stack) postmaster() (int, error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, "postgres", "pgdata", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0, fmt.Errorf("postmaster.pid: %w", err)
	}
	return pid, nil
}

// Restart kills a process and starts it again.
func (s *Stack) Restart(name string) {
	s.t.Helper()
	s.Kill(name)
	s.Start(name)
}

func (s *Stack) end() {
	if s.t.Failed() {
		for name, p := range s.procs {
			s.t.Logf("--- %s\n%s", name, tailOf(p.log))
		}
		s.t.Logf("the stack's folder is kept: %s", s.dir)
	}
	for _, name := range []string{Site, Worker, Serve, Box, Temporal, Postgres} {
		p := s.procs[name]
		if p == nil {
			continue
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(45 * time.Second):
			s.t.Errorf("%s did not end within 45 s of SIGTERM", name)
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	}
}

func tailOf(log string) string {
	raw, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-6000):])
}

func (s *Stack) dev(args ...string) {
	s.t.Helper()
	out, err := exec.CommandContext(context.Background(), filepath.Join(s.bin, "cagenut-dev"), append(args, "--dir", s.dir)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("cagenut-dev %v: %v\n%s", args, err, out)
	}
}

// CLI runs cagenut as the administrator and gives its output and exit code.
func (s *Stack) CLI(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, "cagenut"), append(args, "--url", s.inner.API(), "--token-file", s.inner.AdminToken())...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("cagenut %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Accept asks for machines up to hardware and gives the operation.
func (s *Stack) Accept(names ...string) operation.ID {
	s.t.Helper()
	return s.Install(append([]string{"--until", "hardware"}, names...)...)
}

// Install asks for machines up to active and gives the operation.
func (s *Stack) Install(names ...string) operation.ID {
	s.t.Helper()
	out, errs, code := s.CLI(append([]string{"install", "--site", s.inner.Rack().Site.Slug, "--window", "100",
		"--reason", "e2e", "--ticket", "E2E-1", "-o", "json"}, names...)...)
	var got struct{ ID operation.ID }
	if code != 0 || json.Unmarshal([]byte(out), &got) != nil {
		s.t.Fatalf("install %v: exit %d\n%s%s", names, code, out, errs)
	}
	return got.ID
}

// Operation reads an operation with its runs.
func (s *Stack) Operation(id operation.ID) operation.Detail {
	s.t.Helper()
	var d operation.Detail
	s.until(30*time.Second, "the API tells of "+string(id), func() error {
		out, errs, code := s.CLI("op", "show", string(id), "-o", "json")
		if code != 0 {
			return fmt.Errorf("exit %d: %s", code, errs)
		}
		return json.Unmarshal([]byte(out), &d)
	})
	return d
}

// Until waits until cond gives nil, and fails the test with its last error after the limit.
func (s *Stack) Until(limit time.Duration, what string, cond func() error) {
	s.t.Helper()
	s.until(limit, what, cond)
}

// stop is an error that waiting does not mend.
type stop struct{ error }

// Stop makes an error that ends Until at once.
func Stop(err error) error { return stop{err} }

func (s *Stack) until(limit time.Duration, what string, cond func() error) {
	s.t.Helper()
	Wait(s.t, limit, what, cond)
}

// Wait waits until cond gives nil, and fails the test with its last error after the limit.
func Wait(t testing.TB, limit time.Duration, what string, cond func() error) {
	t.Helper()
	deadline := time.After(limit)
	for {
		began := time.Now()
		err := cond()
		if err == nil {
			return
		}
		var final stop
		if errors.As(err, &final) {
			t.Fatal(final.error)
		}
		select {
		case <-time.After(min(max(4*time.Since(began), 50*time.Millisecond), time.Second)): // looking is not to be what it waits for
		case <-deadline:
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
	}
}

// Box is the admin API of the box: journal, faults, holds.
func (s *Stack) Box() *simclient.Client { return simclient.New(s.inner.BoxAdmin()) }

// Rack is the first rack of the box.
func (s *Stack) Rack() sim.Rack { return s.inner.Rack() }

// Inner is the stack's folder: addresses and tokens.
func (s *Stack) Inner() *devstack.Stack { return s.inner }
