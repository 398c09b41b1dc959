//go:build e2e

package bmc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// The profiles ask for what these BMCs can do, and are otherwise what somebody would write for such a
// machine.
const (
	ipmiProfile = `
name: server-ipmi
version: 1
match: {device_types: [simvendor-sv-1000], roles: [server]}
bmc: {protocol: ipmi, account: admin}
hardware: {}
`
	sushyProfile = `
name: server-sushy
version: 1
match: {device_types: [sushy-fake], roles: [server]}
bmc: {protocol: redfish, account: admin}
hardware: {}
`
)

// foreign is a machine that somebody else's software imitates.
type foreign struct {
	name   string
	device sim.PlannedDevice
	login  string // line of the manifest
	// skip are the steps that its BMC cannot carry, with the code for which they park; a person leaves
	// them out.
	skip map[string]string
	// wants is how each step is to end.
	wants map[string]operation.StepState
}

// TestOperations accepts machines whose BMCs nobody here wrote: what the profile says that they cannot
// carry is not applicable in the plan, what only shows while it is done parks and is skipped, and
// everything else is done.
func TestOperations(t *testing.T) {
	rack := sim.NewRack(sim.DefaultRack().Site, 9, 901, []string{sim.FlavourBase, sim.FlavourBase})
	var servers []*sim.PlannedDevice
	for i := range rack.Devices {
		if d := &rack.Devices[i]; d.Flavour != "" {
			d.Flavour = "" // the box does not run it
			servers = append(servers, d)
		}
	}
	const na, so, done, skipped = operation.StepNotApplicable, operation.StepAlready, operation.StepDone, operation.StepSkipped
	over := func(i int, serial string, kind sim.DeviceType, login string) foreign {
		d := servers[i]
		d.Serial, d.Type = serial, kind
		return foreign{name: d.Name, device: *d, login: login}
	}
	ipmi := over(0, ipmiSerial, sim.DeviceType{Manufacturer: "SimVendor", ManufacturerSlug: "simvendor", Model: "SV-1000", Slug: "simvendor-sv-1000", Height: 1},
		ipmiSerial+",,admin,"+ipmiPassword)
	ipmi.wants = map[string]operation.StepState{"preflight": so, "identity": so, "stage": done, "bmc-credentials": done,
		"bmc-settings": na, "firmware": na, "bios": na, "hardware": so}
	servers[1].Interfaces[1].MAC = sushyMAC
	servers[1].Interfaces = servers[1].Interfaces[:2] // it has one
	sushy := over(1, sushySerial, sim.DeviceType{Manufacturer: "Contoso", ManufacturerSlug: "contoso", Model: "Fake", Slug: "sushy-fake", Height: 1},
		sushySerial+",,admin,"+sushyPassword)
	sushy.skip = map[string]string{"bmc-credentials": "unsupported"} // it has no AccountService
	sushy.wants = map[string]operation.StepState{"preflight": so, "identity": so, "stage": done, "bmc-credentials": skipped,
		"bmc-settings": na, "firmware": na, "bios": na, "hardware": so}

	s := stack.Start(t, stack.Options{Racks: append(stack.Fleet(sim.FlavourBase), rack),
		Profiles: map[string]string{"ipmi.yaml": ipmiProfile, "sushy.yaml": sushyProfile}})
	startIPMI(t, ipmi.device.OOB.Addr().String(), "623") // the port of all IPMI; the address is ours alone
	startSushy(t, sushy.device.OOB.Addr().String(), strconv.Itoa(s.Inner().BMCPort()))
	manifest := filepath.Join(t.TempDir(), "manifest.csv")
	if err := os.WriteFile(manifest, []byte("serial,mac,user,password\n"+ipmi.login+"\n"+sushy.login+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, said, code := s.CLI("bmc", "import", manifest); code != 0 {
		t.Fatalf("bmc import: exit %d\n%s%s", code, out, said)
	}
	for _, f := range []foreign{ipmi, sushy} {
		t.Run(f.device.Type.Slug, func(t *testing.T) { f.accept(t, s) })
	}
}

func (f foreign) accept(t *testing.T, s *stack.Stack) {
	f.planned(t, s)
	began := time.Now()
	id := s.Accept(f.name)
	for {
		run := f.still(t, s, id)
		if run.State == operation.Done {
			break
		}
		if run.Error == nil || f.skip[run.Step] != string(run.Error.Code) {
			t.Fatalf("it is %s in %s: %v", run.State, run.Step, run.Error)
		}
		t.Logf("%s parks: %s", run.Step, run.Error.Message)
		if out, said, code := s.CLI("op", "skip", string(id), "--asset", f.name, "--step", run.Step, "--reason", "this BMC cannot do it"); code != 0 {
			t.Fatalf("skip: exit %d\n%s%s", code, out, said)
		}
	}
	got := map[string]operation.StepState{}
	for _, step := range s.Operation(id).Runs[0].Steps {
		got[step.Name] = step.State
		t.Logf("%-16s %-14s %s", step.Name, step.State, step.Summary)
	}
	if diff := cmp.Diff(f.wants, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if status := s.Devices()[f.name].Status.Value; status != "staged" {
		t.Errorf("it is %q in NetBox, want staged", status)
	}
	t.Logf("staged after %.0f s", time.Since(began).Seconds())
}

// planned asserts what the plan says of the steps that the profile rules out, with the reason.
func (f foreign) planned(t *testing.T, s *stack.Stack) {
	t.Helper()
	out, said, code := s.CLI("install", "--site", s.Rack().Site.Slug, "--until", "hardware", "--reason", "e2e", "--ticket", "E2E-B", "--dry-run", "-o", "json", f.name)
	var answer struct{ Plan plan.Plan }
	if code != 0 {
		t.Fatalf("the plan: exit %d\n%s%s", code, out, said)
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Plan.Targets) != 1 {
		t.Fatalf("the plan: %v\n%s", err, out)
	}
	for _, step := range answer.Plan.Targets[0].Steps {
		if want := f.wants[step.Name] == operation.StepNotApplicable; want != (step.NotApplicable != "") {
			t.Errorf("the plan says of %s that it is not applicable: %q, want %v", step.Name, step.NotApplicable, want)
		}
		if step.NotApplicable != "" && len(step.Writes) > 0 {
			t.Errorf("%s is not applicable and writes %v", step.Name, step.Writes)
		}
	}
}

// still waits until the run is done or waits for a person at a step that it did not wait at before.
func (f foreign) still(t *testing.T, s *stack.Stack, id operation.ID) operation.Run {
	t.Helper()
	var run operation.Run
	s.Until(3*time.Minute, f.name+" stands still", func() error {
		d := s.Operation(id)
		run = d.Runs[0]
		if strings.HasPrefix(string(d.State), "fail") {
			return stack.Stop(fmt.Errorf("the operation %s", d.State))
		}
		if run.State != operation.Done && run.State != operation.Waiting {
			return errors.New(string(run.State) + " in " + run.Step)
		}
		return nil
	})
	return run
}
