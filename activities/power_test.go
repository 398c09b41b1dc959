package activities

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// An update may be under way when the BIOS step comes to its reboot: the firmware step parked and was
// skipped, or the machine was being flashed when somebody installed it. The host keeps its power until
// that update has ended, and a person is told which it is when it does not end.
func TestBIOSDoesNotRebootWhileFirmwareIsInstalled(t *testing.T) {
	until := func(minutes time.Duration, running bmc.TaskState) func(l *lone) []bmc.TaskState {
		return func(l *lone) []bmc.TaskState {
			now := running
			if l.now.Sub(start) >= minutes*time.Minute {
				now.State, now.Done, now.OK, now.Waits = "Completed", true, true, false
			}
			return []bmc.TaskState{{URI: "/t/0", Name: "Firmware update", State: "Completed", Done: true, OK: true}, now}
		}
	}
	for name, tc := range map[string]struct {
		tasks func(l *lone) []bmc.TaskState
		power bmc.PowerState
		want  []string
		fault string
	}{
		"an update":                   {tasks: until(7, bmc.TaskState{URI: "/t/1", Name: "Firmware update", State: "Running"}), want: []string{"07 min: power off", "07 min: power on"}},
		"one without a name":          {tasks: until(7, bmc.TaskState{URI: "/t/1", Name: "Task 0", Target: "/redfish/v1/UpdateService/update", State: "Running"}), want: []string{"07 min: power off", "07 min: power on"}},
		"of a host that is off":       {tasks: until(7, bmc.TaskState{URI: "/t/1", Name: "Firmware update", State: "Running"}), power: bmc.PowerOff, want: []string{"07 min: power on"}},
		"one that waits for a reboot": {tasks: until(90, bmc.TaskState{URI: "/t/1", Name: "Firmware update", State: "Pending", Waits: true}), want: []string{"01 min: power off", "01 min: power on"}},
		"no update":                   {tasks: until(90, bmc.TaskState{URI: "/t/1", Name: "Export of the log", State: "Running"}), want: []string{"00 min: power off", "00 min: power on"}},
		"one that never ends":         {tasks: until(400, bmc.TaskState{URI: "/t/1", Name: "Firmware update", State: "Running"}), fault: "/t/1 Firmware update (Running)"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lone{tasks: tc.tasks, bios: bmc.BIOSState{Current: bmc.Attributes{"A": "off"}, Pending: bmc.Attributes{}}}
			l.now, l.power = start, bmc.PowerOn
			if tc.power != "" {
				l.power = tc.power
			}
			l.setBIOS = func(l *lone, attrs bmc.Attributes) error { l.bios.Pending = maps.Clone(attrs); return nil }
			l.showBIOS = func(l *lone) bmc.BIOSState {
				if l.power == bmc.PowerOn && (tc.power == bmc.PowerOff || !l.booted.IsZero()) {
					return bmc.BIOSState{Current: bmc.Attributes{"A": "on"}}
				}
				return l.bios
			}
			_, _, err := l.carry(t, plan.KindBIOS, plan.WantBIOS{Attributes: map[string]any{"A": "on"}})
			if d := cmp.Diff(tc.want, l.told); d != "" {
				t.Errorf("what the BMC was told (-want +got):\n%s", d)
			}
			if tc.fault == "" && err != nil {
				t.Fatal(err)
			}
			if f := fault.From(err); tc.fault != "" && (f == nil || f.Class() != fault.Wait || !strings.Contains(f.Message, tc.fault) || !strings.Contains(f.Remedy, "on the BMC")) {
				t.Errorf("got %+v, want it parked and %q named", f, tc.fault)
			}
		})
	}
}

// Nor does the reboot for an image come while the BMC writes another.
func TestFirmwareDoesNotRebootWhileAnotherImageIsInstalled(t *testing.T) {
	ended := bmc.TaskState{URI: "/t/1", Name: "Firmware update", State: "Completed", Done: true, OK: true}
	l := &lone{given: bmc.TaskRef{URI: "/t/1"}, firmware: versions(rebooted), task: func(*lone) (bmc.TaskState, error) { return ended, nil }}
	l.tasks = func(l *lone) []bmc.TaskState {
		if other := (bmc.TaskState{URI: "/t/9", Name: "Firmware update", State: "Running"}); !l.pushed.IsZero() && l.now.Sub(start) < 9*time.Minute {
			return []bmc.TaskState{ended, other}
		}
		return nil
	}
	if _, _, err := l.carry(t, plan.KindFirmware, biosImage("host")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"00 min: push", "09 min: power off", "09 min: power on"}, l.told); d != "" {
		t.Errorf("what the BMC was told (-want +got):\n%s", d)
	}
}
