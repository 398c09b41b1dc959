//go:build e2e

package validator

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// failure is something that the validator holds against a BMC. Property is a JSON pointer in the
// resource.
type failure struct {
	Flavour  string `json:"flavour"`
	URI      string `json:"uri"`
	Property string `json:"property"`
	Quirk    string `json:"quirk,omitempty"` // what real BMCs do that the failure imitates
}

// TestFlavours holds the validator's findings against testdata/failures.json. The base flavour may
// not stand there; what stands there must be found.
func TestFlavours(t *testing.T) {
	command, schemas := setup(t)
	raw, err := os.ReadFile(filepath.Join("testdata", "failures.json"))
	if err != nil {
		t.Fatal(err)
	}
	var known []failure
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatalf("testdata/failures.json: %v", err)
	}
	for _, flavour := range sim.Flavours() {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel() // the validator is one slow process
			want := []failure{}
			for _, f := range known {
				if f.Quirk == "" || f.Flavour == sim.FlavourBase {
					t.Errorf("testdata/failures.json: %+v: name the quirk that it imitates; %s has none", f, sim.FlavourBase)
				}
				if f.Flavour == flavour {
					f.Quirk = ""
					want = append(want, f)
				}
			}
			box := simtest.Start(t, sim.MachineSpec{Flavour: flavour, PasswordSet: true})
			makeBusy(t, box)
			got, checked := judge(t, command, schemas, box.Machines()[0])
			if checked < 90 {
				t.Errorf("the validator read only %d resources", checked)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("failures (-listed +found):\n%s", diff)
			}
		})
	}
}

// makeBusy makes what a BMC has only while it works: a task, and a log with more than one kind of
// entry.
func makeBusy(t *testing.T, box *sim.Box) {
	t.Helper()
	if _, err := box.AddFault(sim.Fault{Action: sim.ActStuckTask, Path: "SimpleUpdate$"}); err != nil {
		t.Fatal(err)
	}
	m := box.Machines()[0]
	if err := m.PowerLoss(); err != nil {
		t.Fatal(err)
	}
	c := simtest.Login(t, m)
	simtest.Eventually(t, "the BMC is back", func() bool {
		_, err := c.Try("GET", "/redfish/v1", nil)
		return err == nil
	})
	c.Do(202, "POST", "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate", map[string]any{"ImageURI": "http://127.0.0.1/x"})
}

func setup(t *testing.T) (command, schemas string) {
	t.Helper()
	cmd := exec.Command("./setup.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 2 {
		t.Fatalf("setup.sh: %v: %q", err, out)
	}
	return lines[0], lines[1]
}

var (
	resourceLine = regexp.MustCompile(` - Validating (/\S+)\.\.\.$`)
	failLine     = regexp.MustCompile(` - ERROR - FAIL - (/\S*) \(`)
)

// judge runs the validator on a machine, and gives the failures in the order of URIs and the number
// of resources that it read.
func judge(t *testing.T, command, schemas string, m *sim.Machine) ([]failure, int) {
	t.Helper()
	logs := t.TempDir()
	s := m.Spec()
	cmd := exec.Command(command, "-r", m.URL(), "-u", s.User, "-p", s.Password, "--authtype", "Session",
		"--schema_directory", schemas, "--skipschema", "--logdir", logs)
	// A bundle named by these would be used instead of the validator's own choice not to verify.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "REQUESTS_CA_BUNDLE=") || strings.HasPrefix(v, "CURL_CA_BUNDLE=")
	})
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("validator: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(logs, "*", "*Debug*.log"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the validator left no log (%v):\n%s", err, tail(out))
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, uri, checked := []failure{}, "", 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if g := resourceLine.FindStringSubmatch(lines.Text()); g != nil {
			uri = g[1]
			checked++
		} else if g := failLine.FindStringSubmatch(lines.Text()); g != nil {
			found = append(found, failure{Flavour: s.Flavour, URI: uri, Property: g[1]})
		} else if strings.Contains(lines.Text(), " - ERROR - ") {
			t.Errorf("the validator said: %s", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if (exit != nil) != (len(found) > 0) {
		t.Fatalf("the validator ended with %v, but its log has %d failures:\n%s", exit, len(found), tail(out))
	}
	slices.SortFunc(found, func(a, b failure) int {
		return strings.Compare(a.URI+" "+a.Property, b.URI+" "+b.Property)
	})
	return found, checked
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }
