//go:build e2e

// Package saltlab runs a real Salt on loopback for end-to-end tests: a master, salt-api over TLS, and
// any number of minions, from PyPI, without systemd and without touching the system.
//
// Words
//
//   - Lab: the folder of one Salt, with its processes. It lies under /tmp, because Salt's unix sockets
//     have long names and their paths may have 107 bytes.
//   - Minion: one agent with a folder of its own. Its key is made by us, so that its fingerprint is
//     known as the host would phone it home.
//
// The account that Cagenut gets has what docs/salt.md asks for, and no more. Everything ends with the
// test, by process ID; the logs of a failed one are shown. A Lab's methods are for one goroutine.
package saltlab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// User is the account of Cagenut on salt-api.
const User = "cagenut"

// Lab is a running Salt.
type Lab struct {
	Dir      string
	URL      string
	Password string
	Roots    *x509.CertPool // of salt-api's certificate
	bin      string
	publish  string // ports
	ret      string
	procs    map[string]*proc
}

var errStill = errors.New("not gone")

// proc is a process with all that it started.
type proc struct {
	cmd *exec.Cmd
	log string
}

// Start starts a master and salt-api with the given SLS files, by name. venv is the folder of Salt's
// programs, as test/e2e/scripts/configmgmt-venv.sh prints it.
func Start(t *testing.T, venv string, files map[string]string) *Lab {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "salt")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{Dir: dir, bin: venv, Password: secret(t), procs: map[string]*proc{}}
	t.Cleanup(func() {
		for name := range l.procs {
			l.end(t, name, syscall.SIGKILL)
		}
		os.RemoveAll(dir)
	})
	for name, text := range files {
		l.File(t, "srv/salt/"+strings.ReplaceAll(name, ".", "/")+".sls", text)
	}
	l.mkdir(t, "srv/pillar")
	ports := freePorts(t, 3)
	l.publish, l.ret = ports[0], ports[1]
	l.URL = "https://127.0.0.1:" + ports[2]
	l.certificate(t)
	l.File(t, "etc/master", fmt.Sprintf(masterConfig, dir, l.publish, l.ret, l.Password, User, ports[2]))
	l.run(t, "master", "salt-master", "-c", filepath.Join(dir, "etc"), "-l", "warning")
	l.wait(t, "master", func() error {
		if _, err := os.Stat(filepath.Join(dir, "m/s/workers.ipc")); err != nil { // its sign of readiness
			return err
		}
		return dial(l.ret)
	})
	l.StartAPI(t)
	return l
}

// StartAPI starts salt-api, and StopAPI kills it.
func (l *Lab) StartAPI(t *testing.T) {
	t.Helper()
	l.run(t, "api", "salt-api", "-c", filepath.Join(l.Dir, "etc"), "-l", "warning")
	_, port, _ := strings.Cut(strings.TrimPrefix(l.URL, "https://"), ":")
	l.wait(t, "api", func() error { return dial(port) })
}

// StopAPI kills salt-api.
func (l *Lab) StopAPI(t *testing.T) {
	t.Helper()
	l.end(t, "api", syscall.SIGKILL)
}

// Minion makes a minion with a fresh key, and starts it. One that runs under this ID is ended first.
func (l *Lab) Minion(t *testing.T, id string) (fingerprint string) {
	t.Helper()
	fingerprint = l.NewMinion(t, id)
	l.StartMinion(t, id)
	return fingerprint
}

// NewMinion makes a minion with a fresh key. One that runs under this ID is ended first.
func (l *Lab) NewMinion(t *testing.T, id string) (fingerprint string) {
	t.Helper()
	l.StopMinion(t, id)
	root := "n/" + id + "/root"
	if err := os.RemoveAll(filepath.Join(l.Dir, root)); err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	l.File(t, root+"/pki/minion.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	l.File(t, root+"/pki/minion.pub", text)
	l.File(t, "n/"+id+"/etc/minion", fmt.Sprintf(minionConfig, id, filepath.Join(l.Dir, root), l.ret, l.publish))
	l.mkdir(t, "n/"+id+"/etc/minion.d")
	l.mkdir(t, "hosts/"+id)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	sum := sha256.Sum256([]byte(strings.Join(lines[1:len(lines)-1], "\n") + "\n"))
	return hex.EncodeToString(sum[:])
}

// StartMinion starts a minion that was stopped, or that ended by itself because it was refused.
func (l *Lab) StartMinion(t *testing.T, id string) {
	t.Helper()
	l.StopMinion(t, id)
	l.run(t, id, "salt-minion", "-c", filepath.Join(l.Dir, "n", id, "etc"), "-l", "warning")
}

// StopMinion kills a minion, in the middle of whatever it does.
func (l *Lab) StopMinion(t *testing.T, id string) {
	t.Helper()
	l.end(t, id, syscall.SIGKILL)
}

// Host gives the path of a file that the states of a minion use.
func (l *Lab) Host(id, name string) string { return filepath.Join(l.Dir, "hosts", id, name) }

// Key gives what the minion's own key.finger prints, as the phone-home script on a host sends it.
func (l *Lab) Key(t *testing.T, id string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(l.bin, "salt-call"), "-c", filepath.Join(l.Dir, "n", id, "etc"),
		"--local", "key.finger").Output()
	if err != nil {
		t.Fatalf("salt-call: %v", err)
	}
	return string(out)
}

// File writes a file of the lab.
func (l *Lab) File(t *testing.T, name, text string) {
	t.Helper()
	l.mkdir(t, filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (l *Lab) mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(l.Dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (l *Lab) run(t *testing.T, name, program string, args ...string) {
	t.Helper()
	l.mkdir(t, "log")
	// The lab outlives no test, and cleaning up must not hang on the test's context.
	p := &proc{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(l.bin, program), args...), log: filepath.Join(l.Dir, "log", name+".out")}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// Its own process group: what it forks ends with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	l.procs[name] = p
}

// end ends a process with its group, and waits until all of it is gone: a minion that finds another
// still running ends at once.
func (l *Lab) end(t *testing.T, name string, signal syscall.Signal) {
	p := l.procs[name]
	if p == nil {
		return
	}
	delete(l.procs, name)
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, signal)
	_ = p.cmd.Wait()
	poll(t, "the end of "+name, func() error {
		if err := syscall.Kill(group, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("its group is still there: %w", errors.Join(err, errStill))
		}
		return nil
	})
	if t.Failed() {
		text, _ := os.ReadFile(p.log)
		t.Logf("%s said:\n%s", name, text[max(0, len(text)-3000):])
	}
}

func (l *Lab) wait(t *testing.T, name string, ready func() error) {
	t.Helper()
	if poll(t, name+" to be ready", ready); t.Failed() {
		t.FailNow()
	}
}

// poll tries again until there is no error, for a minute.
func poll(t *testing.T, what string, ready func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("waited for %s: %v", what, err)
			return
		case <-tick.C:
		}
	}
}

func dial(port string) error {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp4", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	return c.Close()
}

// freePorts gives ports that nothing listened on a moment ago.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are held until all are found
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, port)
	}
	return out
}

func secret(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "%x", raw)
	return b.String()
}
