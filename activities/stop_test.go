package activities

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// follow calls configure until its handle is in a phase, with or without a run.
func follow(t *testing.T, a *Site, c Call, phase string, accepted bool) Call {
	t.Helper()
	for range 20 {
		r, err := a.Step(t.Context(), c)
		if err != nil || r.Again == nil {
			t.Fatalf("configure: %+v, %v", r, err)
		}
		c.Handle = r.Again.Handle
		var h configureHandle
		if err := json.Unmarshal(c.Handle, &h); err != nil {
			t.Fatal(err)
		}
		if h.Phase == phase && (h.Run != nil) == accepted {
			return c
		}
	}
	t.Fatalf("configure does not come to phase %s", phase)
	return c
}

func TestStopEndsWhatConfigureStarted(t *testing.T) {
	for name, tc := range map[string]struct {
		reach func(t *testing.T, a *Site, d *Scripted) Call
		says  []string
		ended int // runs
	}{
		"before any run": {func(t *testing.T, a *Site, _ *Scripted) Call {
			return follow(t, a, configureCall(), phaseReach, false)
		}, nil, 0},
		"a real run": {func(t *testing.T, a *Site, _ *Scripted) Call {
			return follow(t, a, configureCall(), phaseReal, true)
		}, []string{"real run ", " on srv-1.example.net was told to end", "the minion does not know the job"}, 1},
		"a test run": {func(t *testing.T, a *Site, _ *Scripted) Call {
			return follow(t, a, configureCall(), phaseTest, true)
		}, []string{"test run ", "was told to end"}, 1},
		"a run whose answer was lost": {func(t *testing.T, a *Site, _ *Scripted) Call {
			c := follow(t, a, configureCall(), phaseReal, false)
			if _, err := a.Step(t.Context(), c); err != nil { // it starts, and its handle comes to nobody
				t.Fatal(err)
			}
			return c
		}, []string{"real run ", "whether it was accepted is not known, and nothing of it works"}, 1},
		"the run of the attempt before": {func(t *testing.T, a *Site, _ *Scripted) Call {
			c := follow(t, a, configureCall(), phaseReal, true)
			c.Attempt, c.Last, c.Handle = 2, c.Handle, nil
			return follow(t, a, c, phaseReach, false)
		}, []string{"real run ", "was told to end"}, 1},
		"a run that has ended": {func(t *testing.T, a *Site, d *Scripted) Call {
			c := follow(t, a, configureCall(), phaseReal, true)
			for _, run := range d.runs {
				run.polls = 3
			}
			return c
		}, []string{"had ended: 12 states or tasks, 3 changed"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Scripted{shows: ownKey, changes: 3}
			now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
			a := &Site{Configs: d, Clock: func() time.Time { return now }}
			c := tc.reach(t, a, d)
			c.Step.Kind = plan.KindStop
			for range 2 { // the second is after the loss of the first's answer
				r, err := a.Step(t.Context(), c)
				if err != nil || r.Done == nil || r.Done.Changed != (len(tc.says) > 0) {
					t.Fatalf("got %+v, %v", r.Done, err)
				}
				for _, want := range tc.says {
					if !strings.Contains(r.Done.Summary, want) {
						t.Errorf("summary %q, want %q in it", r.Done.Summary, want)
					}
				}
				if len(tc.says) == 0 && r.Done.Summary != "" {
					t.Errorf("summary %q of nothing", r.Done.Summary)
				}
			}
			ended := 0
			for _, run := range d.runs {
				if run.cancelled {
					ended++
				}
			}
			if ended != tc.ended {
				t.Errorf("%d runs were ended, want %d", ended, tc.ended)
			}
		})
	}
}

func TestStopSaysWhatItCouldNotEnd(t *testing.T) {
	d := &Scripted{shows: ownKey, changes: 3}
	a := &Site{Configs: d, Clock: time.Now}
	c := follow(t, a, configureCall(), phaseReal, true)
	c.Step.Kind = plan.KindStop
	d.broken = refusal(configmgmt.ErrHostAway, false)
	_, err := a.Step(t.Context(), c)
	if f, ours := operation.FaultOf(err); !ours || f.Code != fault.HostAway || !strings.Contains(f.Message, "in its own words") {
		t.Errorf("got %v", err)
	}
}
