package activities

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// A BMC that takes one attribute and fails at the next leaves one write, and it is recorded before
// the step fails.
func TestBIOSTellsWhatArrived(t *testing.T) {
	l := &lone{bios: bmc.BIOSState{Current: bmc.Attributes{"A": "off", "B": "off"}, Pending: bmc.Attributes{}}}
	l.setBIOS = func(l *lone, attrs bmc.Attributes) error {
		l.bios.Pending = maps.Clone(attrs)
		delete(l.bios.Pending, "B")
		return &bmc.Error{Kind: bmc.ErrNotApplied, Op: "set BIOS attributes"}
	}
	_, writes, err := l.carry(t, plan.KindBIOS, plan.WantBIOS{Attributes: map[string]any{"A": "on", "B": "on"}})
	if f := fault.From(err); f == nil || f.Code != fault.NotApplied {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff([]string{"A=on"}, writes); d != "" {
		t.Errorf("writes (-want +got):\n%s", d)
	}
}

// A boot mode that nothing known sets does not pass in silence; one that is there already does.
func TestBootModeWithoutAnAttribute(t *testing.T) {
	for mode, want := range map[string]fault.Code{"uefi": "", "legacy": fault.Unsupported, "": fault.Unsupported} {
		l := &lone{bios: bmc.BIOSState{Current: bmc.Attributes{}, BootMode: mode}}
		_, _, err := l.carry(t, plan.KindBIOS, plan.WantBIOS{BootMode: "uefi"})
		var code fault.Code
		if err != nil {
			f := fault.From(err)
			code = f.Code
			if mode != "" && !strings.Contains(f.Message, mode) || len(f.Details) != 1 || f.Details[0].Remedy == "" {
				t.Errorf("%q: the message does not say what was seen and what to do: %q %v", mode, f.Message, f.Details)
			}
		}
		if code != want {
			t.Errorf("%q: %v, want %q", mode, err, want)
		}
	}
}

// Attributes that a BMC shows none of during POST are waited for, not taken for reached.
func TestBIOSWaitsForAttributesThatAreNotShown(t *testing.T) {
	l := &lone{bios: bmc.BIOSState{Current: bmc.Attributes{"A": "off"}, Pending: bmc.Attributes{}}}
	l.setBIOS = func(l *lone, attrs bmc.Attributes) error { l.bios.Pending = attrs; return nil }
	l.showBIOS = func(l *lone) bmc.BIOSState {
		switch {
		case l.booted.IsZero():
			return l.bios
		case l.now.Sub(l.booted) < 3*time.Minute:
			return bmc.BIOSState{}
		}
		return bmc.BIOSState{Current: bmc.Attributes{"A": "on"}}
	}
	done, writes, err := l.carry(t, plan.KindBIOS, plan.WantBIOS{Attributes: map[string]any{"A": "on"}})
	if err != nil || !done.Changed {
		t.Fatalf("done %+v, %v", done, err)
	}
	if d := cmp.Diff([]string{"A=on"}, writes); d != "" {
		t.Errorf("writes (-want +got):\n%s", d)
	}
	if l.now.Sub(l.booted) < 3*time.Minute {
		t.Errorf("done %s after the boot, before POST has ended", l.now.Sub(l.booted))
	}
}

// What the profile sets and the BMC does not have stops the step after everything else is set.
func TestSettingsThatTheBMCDoesNotOffer(t *testing.T) {
	l := &lone{lacks: []string{"hostname", "time_zone"}}
	_, writes, err := l.carry(t, plan.KindSettings, plan.WantSettings{Hostname: "srv-1-oob", Syslog: "logs:514"})
	f := fault.From(err)
	if f == nil || f.Code != fault.Unsupported {
		t.Fatalf("got %v", err)
	}
	if d := cmp.Diff([]fault.Item{{Subject: "hostname", Expected: "srv-1-oob", Seen: "not offered by this BMC"}}, f.Details); d != "" {
		t.Errorf("details (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"syslog=logs:514"}, writes); d != "" {
		t.Errorf("writes (-want +got):\n%s", d)
	}
}

// A pause, or a site that is away, is no time in which a host fails to obey: it is asked once more.
func TestCycleAsksAgainAfterAPause(t *testing.T) {
	p := &slowPower{state: bmc.PowerOn}
	y, now := cycle{}, start
	if _, err := y.advance(context.Background(), ignoring{p}, now, powerDeadline); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if _, err := y.advance(context.Background(), p, now, powerDeadline); err != nil {
		t.Fatalf("after a pause: %v", err)
	}
	if d := cmp.Diff([]bmc.PowerAction{bmc.PowerActionOff}, p.asked); d != "" {
		t.Errorf("asked after the pause (-want +got):\n%s", d)
	}
}
