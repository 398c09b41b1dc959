package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// lone is a BMC with what its tests give it, and a clock that only they move. It notes what it is told
// with the minute at which it was.
type lone struct {
	bmc.Controller
	now   time.Time
	told  []string
	power bmc.PowerState

	firmware func(l *lone) []bmc.FirmwareComponent
	tasks    func(l *lone) []bmc.TaskState
	task     func(l *lone) (bmc.TaskState, error)
	given    bmc.TaskRef // by StartUpdate
	pushed   time.Time
	booted   time.Time

	bios     bmc.BIOSState
	showBIOS func(l *lone) bmc.BIOSState // nil: bios
	setBIOS  func(l *lone, attrs bmc.Attributes) error
	manager  bmc.ManagerSettings
	lacks    []string

	inventory *bmc.Inventory
	last      firmwareHandle // of the attempt before
	restarts  time.Time      // of the site's worker; zero: none
}

func (l *lone) note(text string) {
	l.told = append(l.told, fmt.Sprintf("%02.0f min: %s", l.now.Sub(start).Minutes(), text))
}

func (l *lone) Close(context.Context) error { return nil }
func (l *lone) Identify(context.Context) (bmc.Identity, error) {
	return bmc.Identity{Serial: "SN1"}, nil
}
func (l *lone) PowerState(context.Context) (bmc.PowerState, error) { return l.power, nil }
func (l *lone) SetPower(_ context.Context, a bmc.PowerAction) error {
	l.note("power " + string(a))
	l.power = bmc.PowerOn
	if a == bmc.PowerActionOff {
		l.power, l.booted = bmc.PowerOff, l.now
	}
	return nil
}
func (l *lone) Read(context.Context, bmc.Scope) (*bmc.Inventory, error) { return l.inventory, nil }
func (l *lone) BootProgress(context.Context) (string, error)            { return "", nil }
func (l *lone) Firmware(context.Context) ([]bmc.FirmwareComponent, error) {
	return l.firmware(l), nil
}
func (l *lone) Tasks(context.Context) ([]bmc.TaskState, error) {
	if l.tasks == nil {
		return nil, nil
	}
	return l.tasks(l), nil
}
func (l *lone) Task(context.Context, bmc.TaskRef) (bmc.TaskState, error) { return l.task(l) }
func (l *lone) StartUpdate(context.Context, bmc.FirmwareUpdate) (bmc.TaskRef, error) {
	l.note("push")
	l.pushed = l.now
	return l.given, nil
}
func (l *lone) BIOS(context.Context) (bmc.BIOSState, error) {
	if l.showBIOS != nil {
		return l.showBIOS(l), nil
	}
	return l.bios, nil
}
func (l *lone) SetBIOS(_ context.Context, attrs bmc.Attributes) error {
	return l.setBIOS(l, attrs)
}
func (l *lone) ManagerSettings(context.Context) (bmc.ManagerSettings, []string, error) {
	return l.manager, l.lacks, nil
}
func (l *lone) SetManagerSettings(_ context.Context, s bmc.ManagerSettings) error {
	l.note("settings")
	l.manager = s
	return nil
}

// What the step needs beside the BMC.
func (l *lone) Open(context.Context, bmc.Endpoint, bmc.Credentials) (bmc.Controller, error) {
	return l, nil
}

type oneSecret struct{ Secrets }

func (oneSecret) Candidates(context.Context, asset.Ref, string) ([]Candidate, error) {
	return []Candidate{{Source: SourceCurrent}}, nil
}

type oneImage struct{}

// ForgetRefused refuses: this BMC takes the only password that there is.
func (*lone) ForgetRefused(bmc.Endpoint, []bmc.Credentials) bool { return false }

func (oneImage) URL(context.Context, string, string, string) (string, error) {
	return "http://x/y", nil
}
func (oneImage) Open(context.Context, string) (io.ReadCloser, int64, error) {
	return nil, 0, errors.New("not pushed here")
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// carry drives a step as the executor does, on the test's clock, for six hours at most.
func (l *lone) carry(t *testing.T, kind string, want any) (done *Done, writes []string, err error) {
	t.Helper()
	if l.now.IsZero() {
		l.now, l.power = start, bmc.PowerOn
	}
	site := &Site{BMCs: l, Secrets: oneSecret{}, Images: oneImage{}, Poll: 10 * time.Second, Clock: func() time.Time { return l.now },
		Endpoint: func(asset.Ref, plan.BMC) bmc.Endpoint { return bmc.Endpoint{} }}
	c := Call{Asset: asset.Ref{Name: "srv-1", Serial: "SN1"}, Known: operation.Known{Pin: "P"}, BMC: plan.BMC{Protocol: string(bmc.Redfish)},
		Step: plan.Step{Kind: kind, Version: 1, Want: plan.Encode(want)}}
	if l.last.Phase != "" {
		c.Last = plan.Encode(l.last)
	}
	for end := l.now.Add(6 * time.Hour); l.now.Before(end); {
		if site.Process = "first"; !l.restarts.IsZero() && !l.now.Before(l.restarts) {
			site.Process = "second"
		}
		r, err := site.Step(t.Context(), c)
		if err != nil {
			f, ours := operation.FaultOf(err)
			if !ours {
				t.Fatal(err)
			}
			return nil, writes, f
		}
		var told []plan.Write
		if r.Done != nil {
			told = r.Done.Writes
		} else {
			told = r.Again.Writes
		}
		for _, w := range told {
			writes = append(writes, w.Field+"="+w.After)
		}
		if r.Done != nil {
			return r.Done, writes, nil
		}
		c.Handle = r.Again.Handle
		l.now = l.now.Add(max(r.Again.After, time.Second))
	}
	t.Fatalf("no end; handle %s; told %v", c.Handle, l.told)
	return nil, nil, nil
}

// versions gives a BIOS that shows 1.0 until the time given has passed, and then 2.0.
func versions(ready func(l *lone) bool) func(*lone) []bmc.FirmwareComponent {
	return func(l *lone) []bmc.FirmwareComponent {
		v := "1.0"
		if ready(l) {
			v = "2.0"
		}
		return []bmc.FirmwareComponent{{ID: "BIOS", Name: "BIOS", Version: v}}
	}
}

func rebooted(l *lone) bool { return !l.booted.IsZero() && l.power == bmc.PowerOn }

func after(since func(l *lone) time.Time, d time.Duration) func(l *lone) bool {
	return func(l *lone) bool { return !since(l).IsZero() && l.now.Sub(since(l)) >= d }
}

func pushed(l *lone) time.Time { return l.pushed }

func biosImage(reboot string) plan.WantFirmware {
	return plan.WantFirmware{Components: []plan.Image{{Component: "BIOS", Version: "2.0", Reboot: reboot}}}
}

// The host is never switched off while its firmware may still be written: not where the BMC gives no
// task, nor for one answer that the task is not there.
func TestTheHostStaysOnWhileItsFirmwareIsWritten(t *testing.T) {
	running := bmc.TaskState{URI: "/t/1", State: "Running", Percent: -1}
	gone := bmc.TaskState{URI: "/t/1", Gone: true}
	ended := bmc.TaskState{URI: "/t/1", State: "Completed", Done: true, OK: true}
	for name, tc := range map[string]struct {
		bmc    lone
		reboot string
		want   []string
	}{
		"no task, the version shows after the reboot": {
			bmc:    lone{firmware: versions(rebooted)},
			reboot: "host", want: []string{"00 min: push", "15 min: power off", "16 min: power on"},
		},
		"no task, the version shows when it is written": {
			bmc:    lone{firmware: versions(after(pushed, 3*time.Minute))},
			reboot: "host", want: []string{"00 min: push", "03 min: power off", "03 min: power on"},
		},
		"no task, nor a reboot": {
			bmc:    lone{firmware: versions(after(pushed, 20*time.Minute))},
			reboot: "none", want: []string{"00 min: push"},
		},
		"a task that a starting BMC has not read yet": {
			bmc: lone{given: bmc.TaskRef{URI: "/t/1"}, firmware: versions(rebooted), task: func(l *lone) (bmc.TaskState, error) {
				switch d := l.now.Sub(l.pushed); {
				case d > 3*time.Minute && d < 4*time.Minute:
					return bmc.TaskState{}, &bmc.Error{Kind: bmc.ErrUnreachable}
				case d >= 4*time.Minute && d < 5*time.Minute:
					return gone, nil
				case d < 9*time.Minute:
					return running, nil
				}
				return ended, nil
			}},
			reboot: "host", want: []string{"00 min: push", "09 min: power off", "09 min: power on"},
		},
		"a task that the BMC forgot": {
			bmc: lone{given: bmc.TaskRef{URI: "/t/1"}, firmware: versions(rebooted), task: func(l *lone) (bmc.TaskState, error) {
				if l.now.Sub(l.pushed) < 5*time.Minute {
					return running, nil
				}
				return gone, nil
			}},
			reboot: "host", want: []string{"00 min: push", "07 min: power off", "07 min: power on"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := tc.bmc
			done, writes, err := l.carry(t, plan.KindFirmware, biosImage(tc.reboot))
			if err != nil {
				t.Fatalf("%v; told %v", err, l.told)
			}
			if d := cmp.Diff(tc.want, l.told); d != "" {
				t.Errorf("what the BMC was told (-want +got):\n%s", d)
			}
			if d := cmp.Diff([]string{"BIOS=2.0"}, writes); d != "" || !done.Changed {
				t.Errorf("changed %t, writes (-want +got):\n%s", done.Changed, d)
			}
		})
	}
}

// A retry, or another operation, finds an update under way. It is followed: no image is handed over
// beside it. When it turns out to have been another component's, ours comes after it.
func TestAnUpdateUnderWayIsFollowed(t *testing.T) {
	under := func(name string, minutes time.Duration) func(l *lone) []bmc.TaskState {
		return func(l *lone) []bmc.TaskState {
			old := bmc.TaskState{URI: "/t/0", Name: "Firmware update", State: "Completed", Done: true, OK: true}
			now := bmc.TaskState{URI: "/t/1", Name: name, State: "Running"}
			if l.now.Sub(start) >= minutes*time.Minute {
				now.State, now.Done, now.OK = "Completed", true, true
			}
			return []bmc.TaskState{old, now}
		}
	}
	for name, tc := range map[string]struct {
		tasks    func(l *lone) []bmc.TaskState
		firmware func(l *lone) []bmc.FirmwareComponent
		want     []string
		writes   []string
	}{
		"ours": {
			tasks: under("Firmware update", 7), want: nil,
			firmware: versions(func(l *lone) bool { return l.now.Sub(start) >= 8*time.Minute }),
		},
		"another's": {
			tasks: under("Firmware update", 7), want: []string{"22 min: push"}, writes: []string{"BIOS=2.0"},
			firmware: versions(after(pushed, time.Minute)),
		},
		"no update": {
			tasks: under("Export of the log", 90), want: []string{"00 min: push"}, writes: []string{"BIOS=2.0"},
			firmware: versions(after(pushed, time.Minute)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lone{tasks: tc.tasks, firmware: tc.firmware, given: bmc.TaskRef{URI: "/t/2"}}
			l.task = func(l *lone) (bmc.TaskState, error) {
				if l.pushed.IsZero() {
					return tc.tasks(l)[1], nil
				}
				return bmc.TaskState{Gone: true}, nil
			}
			_, writes, err := l.carry(t, plan.KindFirmware, biosImage("none"))
			if err != nil {
				t.Fatalf("%v; told %v", err, l.told)
			}
			if d := cmp.Diff(tc.want, l.told); d != "" {
				t.Errorf("what the BMC was told (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.writes, writes); d != "" {
				t.Errorf("writes (-want +got):\n%s", d)
			}
		})
	}
}

// A retry follows the task of the attempt before by its address: many BMCs give it no name that says
// what it does. One that waits for the reboot gets it; one that failed is handed over again.
func TestARetryFollowsItsOwnTask(t *testing.T) {
	running := bmc.TaskState{State: "Running", Name: "Task 0"}
	staged := bmc.TaskState{State: "Completed", Done: true, OK: true}
	failed := bmc.TaskState{State: "Exception", Done: true}
	for name, tc := range map[string]struct {
		first  bmc.TaskState
		reboot string
		want   []string
	}{
		"running":  {running, "none", nil},
		"staged":   {staged, "host", []string{"00 min: power off", "00 min: power on"}},
		"failed":   {failed, "none", []string{"00 min: push"}},
		"rebooted": {staged, "none", []string{"00 min: push"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lone{given: bmc.TaskRef{URI: "/t/2"}}
			image := biosImage(tc.reboot)
			l.last = firmwareHandle{Phase: "task", Image: image.Components[0], Task: bmc.TaskRef{URI: "/t/1"}}
			l.task = func(l *lone) (bmc.TaskState, error) {
				if l.pushed.IsZero() && l.now.Sub(start) < 5*time.Minute {
					return tc.first, nil
				}
				return staged, nil
			}
			l.firmware = versions(func(l *lone) bool {
				return rebooted(l) || !l.pushed.IsZero() || tc.first.State == "Running" && l.now.Sub(start) >= 5*time.Minute
			})
			if _, _, err := l.carry(t, plan.KindFirmware, image); err != nil {
				t.Fatalf("%v; told %v", err, l.told)
			}
			if d := cmp.Diff(tc.want, l.told); d != "" {
				t.Errorf("what the BMC was told (-want +got):\n%s", d)
			}
		})
	}
}

// What was handed over is recorded although the step fails after it.
func TestAnImageThatFailsIsRecorded(t *testing.T) {
	l := &lone{given: bmc.TaskRef{URI: "/t/1"}, firmware: versions(rebooted), task: func(*lone) (bmc.TaskState, error) {
		return bmc.TaskState{State: "Exception", Done: true, Messages: []string{"bad signature"}}, nil
	}}
	_, writes, err := l.carry(t, plan.KindFirmware, biosImage("none"))
	if f := fault.From(err); f == nil || f.Code != fault.TaskFailed || !strings.Contains(f.Message, "bad signature") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]string{"BIOS=2.0"}, writes); d != "" {
		t.Errorf("writes (-want +got):\n%s", d)
	}
}

// A download that the end of our own worker cut is no fault of the BMC's: the image is handed over once
// more, and no more than once.
func TestAnImageWhoseServerEndedIsHandedOverAnew(t *testing.T) {
	for name, c := range map[string]struct {
		restarts, works time.Duration // after the start
		want            fault.Code
		told            []string
	}{
		"the worker ended":        {20 * time.Second, time.Minute, "", []string{"00 min: push", "01 min: push"}},
		"it ended, and it fails":  {20 * time.Second, 9 * time.Hour, fault.TaskFailed, []string{"00 min: push", "01 min: push"}},
		"the worker was there":    {9 * time.Hour, time.Minute, fault.TaskFailed, []string{"00 min: push"}},
		"it ended before it gave": {0, time.Minute, fault.TaskFailed, []string{"00 min: push"}},
	} {
		l := &lone{given: bmc.TaskRef{URI: "/t/1"}, restarts: start.Add(c.restarts)}
		good := func(l *lone) bool { return l.pushed.Sub(start) > c.works/2 }
		l.firmware = versions(good)
		l.task = func(l *lone) (bmc.TaskState, error) {
			if good(l) {
				return bmc.TaskState{State: "Completed", Done: true, OK: true}, nil
			}
			if l.now.Sub(l.pushed) < 40*time.Second {
				return bmc.TaskState{State: "Running"}, nil
			}
			return bmc.TaskState{State: "Exception", Done: true, Messages: []string{"could not be downloaded"}}, nil
		}
		_, _, err := l.carry(t, plan.KindFirmware, biosImage("none"))
		if f := fault.From(err); c.want == "" && err != nil || c.want != "" && (f == nil || f.Code != c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if d := cmp.Diff(c.told, l.told); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// A BMC that has just started lists its components one after the other.
func TestComponentsThatAreNotYetListedAreWaitedFor(t *testing.T) {
	l := &lone{given: bmc.TaskRef{URI: "/t/1"}, task: func(*lone) (bmc.TaskState, error) {
		return bmc.TaskState{State: "Completed", Done: true, OK: true}, nil
	}}
	bios := bmc.FirmwareComponent{ID: "BIOS", Version: "1.0"}
	nic := bmc.FirmwareComponent{ID: "NIC", Version: "5"}
	l.firmware = func(l *lone) []bmc.FirmwareComponent {
		switch d := l.now.Sub(l.pushed); {
		case l.pushed.IsZero():
			return []bmc.FirmwareComponent{bios, nic}
		case d < time.Minute:
			return nil
		case d < 2*time.Minute:
			return []bmc.FirmwareComponent{{ID: "BIOS", Version: "2.0"}}
		}
		return []bmc.FirmwareComponent{{ID: "BIOS", Version: "2.0"}, nic}
	}
	want := biosImage("none")
	want.Components = append(want.Components, plan.Image{Component: "NIC", Version: "5"})
	if _, _, err := l.carry(t, plan.KindFirmware, want); err != nil {
		t.Errorf("%v%s", err, fmt.Sprint(fault.From(err).Details))
	}
}
