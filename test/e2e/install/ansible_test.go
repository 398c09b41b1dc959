//go:build e2e

package install

import (
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cagenut/cagenut/internal/sim"
)

// The machine of Ansible is one of the base flavour with a role of its own.
var (
	ansibleType, _ = sim.DeviceTypeOf(sim.FlavourBase)
	ansibleRole    = sim.Role{Name: "Server of Ansible", Slug: "server-ansible"}
)

func ansibleRack() sim.Rack {
	rack := sim.NewRack(sim.DefaultRack().Site, 13, 113, []string{sim.FlavourBase})
	for i := range rack.Devices {
		if d := &rack.Devices[i]; d.Flavour != "" {
			d.Role = ansibleRole
		} else {
			d.Interfaces = d.Interfaces[:1] // of a switch, the one that is used: each takes its time in NetBox
		}
	}
	return rack
}

// playbook is what makes the machine what it is for.
const playbook = `
- hosts: all
  gather_facts: false
  tasks:
    - name: motd
      ansible.builtin.copy: {dest: %s, content: "{{ text }}"}
`

// ansible is the site's Ansible, its machine, and what will run on that.
type ansible struct {
	whole    *testing.T // sshd ends with it
	dir, bin string
	machine  sim.PlannedDevice
}

func newAnsible(t *testing.T, machine sim.PlannedDevice) ansible {
	t.Helper()
	a := ansible{whole: t, dir: t.TempDir(), bin: venv(t, "ansible"), machine: machine}
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", a.path("user")).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s; scripts/install-e2e.sh installs openssh-client", err, out)
	}
	a.file(t, "project/site.yml", fmt.Sprintf(playbook, a.path("motd")))
	return a
}

func (a ansible) path(name string) string { return filepath.Join(a.dir, name) }

func (a ansible) file(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(a.path(name)), 0o700), os.WriteFile(a.path(name), []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// configuration is the site's block of configuration.
func (a ansible) configuration() map[string]any {
	public, _ := os.ReadFile(a.path("user.pub")) // made with the other half
	return map[string]any{"project": a.path("project"), "key_file": a.path("user"), "public_key": strings.TrimSpace(string(public)),
		"bin": a.bin, "interpreter": filepath.Join(a.bin, "python")}
}

// sshd runs the host's sshd at its addresses, with the key that the installed system made.
func (a ansible) sshd(t *testing.T, on *sim.OnDisk) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(sim.HostKey(a.machine.Serial, on.Operation), "")
	if err != nil {
		t.Fatal(err)
	}
	a.file(t, "hostkey", string(pem.EncodeToMemory(block)))
	config := fmt.Sprintf(`HostKey %[1]s/hostkey
AuthorizedKeysFile %[1]s/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
`, a.dir)
	for _, address := range on.Addresses {
		host, _, _ := strings.Cut(address, "/")
		config += "ListenAddress " + host + ":22\n"
	}
	a.file(t, "sshd_config", config)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd started by root insists on it
		t.Fatal(err)
	}
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // not on everybody's PATH; sshd wants to be called by its whole path
	}
	log, err := os.Create(a.path("sshd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(path, "-D", "-e", "-f", a.path("sshd_config"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("sshd: %v; scripts/install-e2e.sh installs openssh-server", err)
	}
	a.whole.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if a.whole.Failed() {
			said, _ := os.ReadFile(a.path("sshd.log"))
			a.whole.Logf("sshd said:\n%s", said)
		}
	})
}

// ansibleUp waits until the machine of Ansible has come up, and runs what it would run.
func (w world) ansibleUp(t *testing.T) {
	t.Helper()
	var on *sim.OnDisk
	w.Until(10*time.Minute, "the system of "+w.ansible.machine.Name, func() error {
		m, err := w.Box().Machine(t.Context(), w.ansible.machine.Name)
		if err == nil {
			if on = m.Installed; on == nil || on.Pending {
				err = errors.New("it is not up")
			}
		}
		return err
	})
	if err := comeUp(w.ansible.machine, on); err != nil {
		t.Fatal(err)
	}
	w.ansible.sshd(t, on)
}

// made holds that the machine has what the playbook makes.
func (a ansible) made(t *testing.T) {
	t.Helper()
	if got, err := os.ReadFile(a.path("motd")); err != nil || string(got) != "hello" {
		t.Errorf("the playbook made %q, %v; want hello", got, err)
	}
}
