package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

// drawn is where a device is drawn, in units from the top.
type drawn struct {
	Name  string
	Y, H  float64
	Where string
	Back  bool
}

func TestPlace(t *testing.T) {
	dev := func(name string, position, height float64, face string, deep bool) inventory.RackDevice {
		return inventory.RackDevice{ID: 1, Name: name, Position: position, Height: height, Face: face, FullDepth: deep}
	}
	for _, tt := range []struct {
		name        string
		rack        inventory.Rack
		device      inventory.RackDevice
		front, rear []drawn
		why         string
	}{
		{"the lowest unit", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 1, 1, "front", false), []drawn{{"a", 41, 1, "U1", false}}, nil, ""},
		{"the highest unit, from behind", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 42, 1, "rear", false), nil, []drawn{{"a", 0, 1, "U42", false}}, ""},
		{"two units, as deep as the rack", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 10, 2, "front", true),
			[]drawn{{"a", 31, 2, "U10–U11", false}}, []drawn{{"a", 31, 2, "U10–U11", true}}, ""},
		{"half a unit, in the upper half", inventory.Rack{Height: 10, Lowest: 1}, dev("a", 4.5, 0.5, "front", false), []drawn{{"a", 6, 0.5, "U4.5", false}}, nil, ""},
		{"one and a half", inventory.Rack{Height: 10, Lowest: 1}, dev("a", 4, 1.5, "front", false), []drawn{{"a", 5.5, 1.5, "U4", false}}, nil, ""},
		{"numbered from the top", inventory.Rack{Height: 12, Lowest: 1, Descending: true}, dev("a", 2, 2, "front", false), []drawn{{"a", 1, 2, "U2–U3", false}}, nil, ""},
		{"first unit is 0", inventory.Rack{Height: 4, Lowest: 0}, dev("a", 1, 1, "front", false), []drawn{{"a", 3, 1, "U1", false}}, nil, ""},
		{"first unit is 21", inventory.Rack{Height: 4, Lowest: 21}, dev("a", 24, 1, "front", false), []drawn{{"a", 0, 1, "U24", false}}, nil, ""},
		{"no position", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 0, 1, "front", false), nil, nil, "no position"},
		{"takes no unit", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 0, 0, "", false), nil, nil, "takes no unit"},
		{"no height", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 3, 0, "front", false), nil, nil, "no height"},
		{"no face", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 3, 1, "", false), nil, nil, "no face"},
		{"above the rack", inventory.Rack{Height: 42, Lowest: 1}, dev("a", 42, 2, "front", false), nil, nil, "do not fit"},
		{"below the rack", inventory.Rack{Height: 4, Lowest: 21}, dev("a", 20, 1, "front", false), nil, nil, "do not fit"},
		{"an absurd rack", inventory.Rack{Height: 1 << 30, Lowest: 1}, dev("a", 101, 1, "front", false), nil, nil, "do not fit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			front, rear, rest := place(tt.rack, []deviceState{{RackDevice: tt.device}})
			boxes := func(e elevation) (out []drawn) {
				for _, b := range e.Boxes {
					out = append(out, drawn{b.Device.Name, (b.Y - 1) / unitHeight, (b.H + 2) / unitHeight, b.Where, b.Back})
				}
				return out
			}
			if diff := cmp.Diff(tt.front, boxes(front)); diff != "" {
				t.Errorf("front (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.rear, boxes(rear)); diff != "" {
				t.Errorf("rear (-want +got):\n%s", diff)
			}
			switch {
			case tt.why == "" && len(rest) > 0:
				t.Errorf("not drawn: %+v", rest)
			case tt.why != "" && (len(rest) != 1 || !strings.Contains(rest[0].Why, tt.why)):
				t.Errorf("not drawn: %+v, want for %q", rest, tt.why)
			}
			if len(front.Units) > maxUnits || (tt.rack.Descending && front.Units[0].Number != tt.rack.Lowest) {
				t.Errorf("%d units from %d", len(front.Units), front.Units[0].Number)
			}
		})
	}
}

func TestStateOfADevice(t *testing.T) {
	run := func(s operation.State) *operation.Run { return &operation.Run{State: s, Step: "bios"} }
	for _, tt := range []struct {
		d           deviceState
		class, says string
	}{
		{deviceState{RackDevice: inventory.RackDevice{Status: asset.Active}}, "nb-active", "active"},
		{deviceState{RackDevice: inventory.RackDevice{Status: "quarantine"}}, "nb-other", "quarantine"},
		{deviceState{RackDevice: inventory.RackDevice{Status: asset.Planned}, Run: run(operation.Waiting)}, "waiting", "waits: bios"},
		{deviceState{RackDevice: inventory.RackDevice{Status: asset.Planned}, Run: run(operation.Running)}, "running", "runs: bios"},
		{deviceState{RackDevice: inventory.RackDevice{Status: asset.Planned}, Run: run(operation.Away)}, "waiting-for-site", "site away"},
		{deviceState{RackDevice: inventory.RackDevice{Status: asset.Staged}, Run: run(operation.Done)}, "nb-staged", "staged"},
	} {
		if got := tt.d.Class() + " " + tt.d.Says(); got != tt.class+" "+tt.says {
			t.Errorf("%+v is %q, want %q", tt.d, got, tt.class+" "+tt.says)
		}
	}
}

func TestWords(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "just now", 3 * time.Second: "3 s ago", 90 * time.Second: "1 min ago", 5 * time.Hour: "5 h ago", 72 * time.Hour: "3 days ago", -time.Hour: "just now"} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("ago(%s) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 1500 * time.Millisecond: "1.5 s", 12 * time.Second: "12 s", 80 * time.Second: "1 min 20 s", 3*time.Hour + 5*time.Minute: "3 h 5 min"} {
		if got := span(now, now.Add(d), now); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
	if got := span(now.Add(-time.Minute), time.Time{}, now); got != "1 min 0 s" {
		t.Errorf("what has not ended took %q", got)
	}
	if got := cut(5, "äöüßabc"); got != "äöüß…" {
		t.Errorf("cut = %q", got)
	}
	long := pretty(json.RawMessage(`"` + strings.Repeat("ä", maxJSON) + `"`))
	if len(long) > maxJSON+100 || !strings.Contains(long, "more bytes; the API has all of it") {
		t.Errorf("%d bytes of evidence, ending with %q", len(long), long[len(long)-60:])
	}
	if got := pretty(json.RawMessage(`not JSON`)); got != "not JSON" {
		t.Errorf("what is not JSON: %q", got)
	}
}

func TestBar(t *testing.T) {
	got := bar(map[operation.State]int{operation.Done: 4999, operation.Waiting: 1})
	if got.Label != "4999 done, 1 waits for a person" || len(got.Parts) != 2 || got.Parts[1].W < 5 {
		t.Errorf("one of 5,000 that waits must be seen: %+v", got)
	}
	if end := got.Parts[1].X + got.Parts[1].W; end < 999.9 || end > 1000.1 {
		t.Errorf("the bar ends at %g of 1000", end)
	}
	if got := bar(nil); got.Label != "nothing" || len(got.Parts) != 0 {
		t.Errorf("an empty bar: %+v", got)
	}
}
