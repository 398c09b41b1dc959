//go:build e2e

package configmgmt_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/ansible"
	"github.com/cagenut/cagenut/configmgmt/configmgmttest"
)

// playbooks are the playbooks of the suite's kinds. %DIR% is the host's folder.
var playbooks = map[configmgmttest.Kind]string{
	configmgmttest.Clean: `
- hosts: all
  gather_facts: false
  tasks:
    - name: there
      ansible.builtin.stat: {path: /etc}
`,
	configmgmttest.Change: `
- hosts: servers
  gather_facts: false
  tasks:
    - name: motd
      ansible.builtin.copy: {dest: %DIR%/changed, content: "{{ text }}"}
`,
	configmgmttest.Slow: `
- hosts: all
  gather_facts: false
  tasks:
    - name: mark
      ansible.builtin.shell: 'echo run >> marks; echo $$ > pid; while [ ! -e release ]; do sleep 0.1; done'
      args: {chdir: %DIR%}
`,
	configmgmttest.Fail: `
- hosts: all
  gather_facts: false
  tasks:
    - name: this one may fail
      ansible.builtin.command: "false"
      ignore_errors: true
    - name: root
      ansible.builtin.fail: {msg: ` + configmgmttest.Words + `}
    - name: service
      ansible.builtin.debug: {msg: never comes}
`,
	configmgmttest.Render: `
- hosts: all
  tasks:
    - no.such.module: {}
`,
	configmgmttest.Nothing: `
- hosts: others
  tasks:
    - ansible.builtin.debug: {msg: not here}
`,
}

// sshHost is a real sshd on loopback as the suite's host.
type sshHost struct {
	dir, port string
	worker    string // the driver's folder
	options   ansible.Options
	sshd      *exec.Cmd
}

func startSSH(t *testing.T) *sshHost {
	t.Helper()
	bin := venv(t, "ansible")
	dir := t.TempDir()
	h := &sshHost{dir: dir, worker: filepath.Join(dir, "worker"), port: freePort(t)}
	for _, d := range []string{"worker", "project", "host"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for kind, text := range playbooks {
		h.write(t, "project/"+string(kind)+".yml", strings.ReplaceAll(text, "%DIR%", dir+"/host"))
	}
	// What the project says of connections must not count.
	h.write(t, "project/group_vars/all.yml", "ansible_ssh_common_args: -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null\nansible_host_key_checking: false\n")
	h.write(t, "project/ansible.cfg", "[defaults]\nhost_key_checking = False\n[ssh_connection]\npipelining = True\n")
	keygen(t, filepath.Join(dir, "user"))
	keygen(t, filepath.Join(dir, "hostkey"))
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	h.write(t, "sshd_config", fmt.Sprintf(`ListenAddress 127.0.0.1:%s
HostKey %[2]s/hostkey
AuthorizedKeysFile %[2]s/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
`, h.port, dir))
	h.options = ansible.Options{Dir: h.worker, Project: filepath.Join(dir, "project"), Bin: bin, User: me.Username,
		KeyFile: filepath.Join(dir, "user"), Interpreter: filepath.Join(bin, "python"), Grace: 10 * time.Second}
	if me.Uid == "0" { // sshd started by root insists on its folder
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		h.Stop(t)
		for _, pid := range h.processes(t, "") { // what a test that failed left behind
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	h.Start(t)
	return h
}

func (h *sshHost) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func keygen(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s; scripts/install-e2e.sh installs openssh-client", err, out)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (h *sshHost) Target() configmgmt.Target {
	return configmgmt.Target{Name: "srv-101", Address: "127.0.0.1:" + h.port}
}

// Fingerprint asks OpenSSH itself.
func (h *sshHost) Fingerprint(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-lf", filepath.Join(h.dir, "hostkey.pub")).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))[1]
}

func (h *sshHost) Rekey(t *testing.T) {
	t.Helper()
	h.Stop(t)
	remove(t, filepath.Join(h.dir, "hostkey"))
	remove(t, filepath.Join(h.dir, "hostkey.pub"))
	keygen(t, filepath.Join(h.dir, "hostkey"))
	h.Start(t)
}

func (h *sshHost) Changed(t *testing.T) bool { return exists(t, h.dir+"/host/changed") }
func (h *sshHost) Marks(t *testing.T) int    { return marks(t, h.dir+"/host/marks") }
func (h *sshHost) Release(t *testing.T)      { h.write(t, "host/release", "") }
func (h *sshHost) Hold(t *testing.T)         { remove(t, h.dir+"/host/release") }

func (h *sshHost) Stop(t *testing.T) {
	t.Helper()
	if h.sshd == nil {
		return
	}
	_ = syscall.Kill(-h.sshd.Process.Pid, syscall.SIGKILL)
	_ = h.sshd.Wait()
	h.sshd = nil
}

func (h *sshHost) Start(t *testing.T) {
	t.Helper()
	if h.sshd != nil {
		return
	}
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // not on everybody's PATH; sshd wants to be called by its whole path
	}
	var out bytes.Buffer
	h.sshd = exec.Command(path, "-D", "-e", "-f", filepath.Join(h.dir, "sshd_config"))
	h.sshd.Stdout, h.sshd.Stderr = &out, &out
	h.sshd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := h.sshd.Start(); err != nil {
		h.sshd = nil
		t.Fatalf("sshd: %v; scripts/install-e2e.sh installs openssh-server", err)
	}
	until(t, "sshd", func() error {
		c, err := net.DialTimeout("tcp4", "127.0.0.1:"+h.port, time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func until(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("waited for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func (h *sshHost) open(t *testing.T) configmgmt.Driver {
	t.Helper()
	d, err := ansible.New(h.options)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// processes gives the processes of a run, or of all for "", by the mark that they bear.
func (h *sshHost) processes(t *testing.T, job string) []int {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, path := range environs {
		env, err := os.ReadFile(path)
		if err != nil || !slices.ContainsFunc(strings.Split(string(env), "\x00"), func(v string) bool {
			run, ok := strings.CutPrefix(v, "CAGENUT_RUN="+h.worker+"/runs/")
			return ok && (job == "" || run == job)
		}) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

func ansibleHarness(h *sshHost) configmgmttest.Harness {
	return configmgmttest.Harness{
		Open: h.open, Host: h, Facts: thisMachine, Within: 3 * time.Minute, Every: 100 * time.Millisecond,
		Spec: func(k configmgmttest.Kind) configmgmt.Spec {
			return configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: string(k) + ".yml", Groups: []string{"servers"}, Vars: map[string]any{"text": "hello"}}}
		},
		// The machine of the worker loses power.
		Lose: func(t *testing.T, run configmgmt.Handle) {
			pids := h.processes(t, run.Job)
			if len(pids) == 0 {
				t.Fatal("the run has no processes")
			}
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			until(t, "the end of the run's processes", func() error {
				if left := h.processes(t, run.Job); len(left) > 0 {
					return fmt.Errorf("%v are there", left)
				}
				return nil
			})
		},
	}
}

// TestAnsible runs the suite against real Ansible and a real sshd, and then what the fakes cannot show.
func TestAnsible(t *testing.T) {
	h := startSSH(t)
	t.Run("Suite", func(t *testing.T) { configmgmttest.Run(t, ansibleHarness(h)) })

	d := h.open(t)
	if err := d.Enroll(t.Context(), h.Target(), h.Fingerprint(t)); err != nil {
		t.Fatal(err)
	}
	request := func(t *testing.T, k configmgmttest.Kind) configmgmt.Request {
		return configmgmt.Request{Operation: "op_01K3Z5T9Q4W8R2YB6N7M1XCVDE", Step: t.Name(), Attempt: 1, Target: h.Target(), Spec: ansibleHarness(h).Spec(k)}
	}
	t.Run("CancelEndsTheHostsSide", func(t *testing.T) {
		h.Hold(t)
		remove(t, h.dir+"/host/pid")
		run := apply(t, d, request(t, configmgmttest.Slow), 1)
		pid := 0
		until(t, "the task on the host", func() error {
			b, err := os.ReadFile(h.dir + "/host/pid")
			if err == nil {
				pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
			}
			return err
		})
		if err := d.Cancel(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if left := h.processes(t, run.Job); len(left) > 0 {
			t.Errorf("processes %v of the run are left", left)
		}
		until(t, "the end of the task on the host", func() error {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("process %d is there: %w", pid, errors.Join(err, errors.New("not gone")))
			}
			return nil
		})
	})
	t.Run("Record", func(t *testing.T) {
		for _, test := range []bool{true, false} {
			start := d.Apply
			if test {
				start = d.Plan
			}
			run, err := start(t.Context(), request(t, configmgmttest.Clean))
			if err != nil {
				t.Fatal(err)
			}
			_ = ended(t, d, run)
			b, err := os.ReadFile(filepath.Join(h.worker, "runs", run.Job, "artifacts/run/command"))
			if err != nil || strings.Contains(string(b), "--check") != test || strings.Contains(string(b), "AWX_") {
				t.Errorf("recorded %s, %v; want --check %t, and no environment", b, err, test)
			}
		}
	})
	t.Run("AnotherHostAnswers", func(t *testing.T) {
		h.Rekey(t) // the project's own settings would let it pass
		run := apply(t, d, request(t, configmgmttest.Clean), 1)
		until(t, "the end of run "+run.Job, func() error {
			r, err := d.Poll(t.Context(), run)
			if err == nil && r.State == configmgmt.Running {
				return errors.New("it still runs")
			}
			if !errors.Is(err, configmgmt.ErrFingerprint) {
				t.Fatalf("Poll = %+v, %v; want %v", r, err, configmgmt.ErrFingerprint)
			}
			return nil
		})
	})
}
