//go:build e2e

// Package configmgmt_test runs the conformance suite of configuration-management drivers against real
// Salt and real Ansible, and what the box cannot show.
package configmgmt_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/configmgmt/configmgmttest"
	"github.com/cagenut/cagenut/configmgmt/salt"
	"github.com/cagenut/cagenut/test/e2e/saltlab"
)

// venv gives the folder of the programs of salt or ansible.
func venv(t *testing.T, what string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../scripts/configmgmt-venv.sh", what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("configmgmt-venv.sh %s: %v", what, err)
	}
	return strings.TrimSpace(string(out))
}

// marks counts the lines of a file that may not be there.
func marks(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// states are the SLS files of the suite's kinds. %DIR% is the folder of the hosts.
var states = map[configmgmttest.Kind]string{
	configmgmttest.Clean: `
there:
  file.exists:
    - name: /etc
`,
	configmgmttest.Change: `
motd:
  file.managed:
    - name: %DIR%/{{ grains.id }}/changed
    - contents: hello
`,
	configmgmttest.Slow: `
mark:
  cmd.run:
    - name: echo run >> marks; while [ ! -e release ]; do sleep 0.1; done
    - cwd: %DIR%/{{ grains.id }}
`,
	configmgmttest.Fail: `
service:
  test.succeed_without_changes:
    - require:
      - test: root
root:
  test.fail_without_changes:
    - comment: ` + configmgmttest.Words + `
`,
	configmgmttest.Render:  "x: {{ nothing.here }}\n",
	configmgmttest.Nothing: "{}\n",
}

// minion is a minion of a lab as the suite's host.
type minion struct {
	*saltlab.Lab
	id          string
	fingerprint string
}

func (m *minion) Target() configmgmt.Target     { return configmgmt.Target{Name: m.id} }
func (m *minion) Fingerprint(*testing.T) string { return m.fingerprint }
func (m *minion) Rekey(t *testing.T)            { m.fingerprint = m.Minion(t, m.id) }
func (m *minion) Changed(t *testing.T) bool     { return exists(t, m.Host(m.id, "changed")) }
func (m *minion) Marks(t *testing.T) int        { return marks(t, m.Host(m.id, "marks")) }
func (m *minion) Release(t *testing.T)          { m.File(t, "hosts/"+m.id+"/release", "") }
func (m *minion) Hold(t *testing.T)             { remove(t, m.Host(m.id, "release")) }
func (m *minion) Stop(t *testing.T)             { m.StopMinion(t, m.id) }
func (m *minion) Start(t *testing.T)            { m.StartMinion(t, m.id) }
func (m *minion) open(t *testing.T) configmgmt.Driver {
	t.Helper()
	d, err := salt.New(salt.Options{URL: m.URL, User: saltlab.User, Password: m.Password, RootCAs: m.Roots, Settle: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func startSalt(t *testing.T) *minion {
	t.Helper()
	lab := saltlab.Start(t, venv(t, "salt"), nil)
	for kind, text := range states {
		lab.File(t, "srv/salt/"+string(kind)+".sls", strings.ReplaceAll(text, "%DIR%", lab.Dir+"/hosts"))
	}
	m := &minion{Lab: lab, id: "srv-101"}
	m.Rekey(t)
	return m
}

func saltHarness(m *minion) configmgmttest.Harness {
	return configmgmttest.Harness{
		Open: m.open, Host: m,
		Spec: func(k configmgmttest.Kind) configmgmt.Spec {
			return configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{string(k)}}}
		},
		Lose: func(t *testing.T, _ configmgmt.Handle) { m.Stop(t); m.Start(t) },
	}
}

// TestSalt runs the suite against a real Salt, with the account that docs/salt.md describes.
func TestSalt(t *testing.T) {
	m := startSalt(t)
	configmgmttest.Run(t, saltHarness(m))
}
