package cli

import (
	"testing"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

func TestCaughtUpWaitsForTheOperationsOwnEnd(t *testing.T) {
	ended := operation.Detail{Runs: []operation.Run{{Asset: asset.Ref{ID: 1}, State: operation.Aborted}}}
	ended.State = operation.Aborted
	waiting := operation.Detail{Runs: []operation.Run{{Asset: asset.Ref{ID: 1}, State: operation.Waiting}}}
	waiting.State = operation.Waiting
	for name, tc := range map[string]struct {
		d     operation.Detail
		shown map[asset.ID]operation.State
		want  bool
	}{
		"runs told, end not told": {ended, map[asset.ID]operation.State{0: operation.Waiting, 1: operation.Aborted}, false},
		"end told, a run not":     {ended, map[asset.ID]operation.State{0: operation.Aborted, 1: operation.Running}, false},
		"all told":                {ended, map[asset.ID]operation.State{0: operation.Aborted, 1: operation.Aborted}, true},
		"waiting has no end":      {waiting, map[asset.ID]operation.State{0: operation.Queued, 1: operation.Waiting}, true},
	} {
		if got := caughtUp(tc.d, tc.shown); got != tc.want {
			t.Errorf("%s: caughtUp = %v, want %v", name, got, tc.want)
		}
	}
}

func TestCurrentNamesTheStepThatWasAborted(t *testing.T) {
	r := operation.Run{State: operation.Aborted, Left: []string{"a password"}, Steps: []operation.Step{
		{Name: "preflight", State: operation.StepDone},
		{Name: "stage", State: operation.StepAborted, Progress: &operation.Progress{Text: "old news"}},
		{Name: "bios", State: operation.StepAborted},
	}}
	n, step := current(r)
	if n != "2/3 stage" {
		t.Errorf("current = %q, want 2/3 stage", n)
	}
	if got := says(r, step); got != "left: a password" {
		t.Errorf("says = %q, want what is left", got)
	}
}

func TestIsSettledWhenNothingHappensWithoutAPerson(t *testing.T) {
	const (
		queued, running, paused, waiting, away, done = operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away, operation.Done
	)
	for name, tc := range map[string]struct {
		runs   []operation.State
		window int
		held   bool
		unseen []operation.State // in sites that the caller does not see
		want   bool
		exit   int
	}{
		"not started":                    {runs: []operation.State{queued, queued}, window: 1},
		"works":                          {runs: []operation.State{running, waiting}, window: 2},
		"site away":                      {runs: []operation.State{away, waiting}, window: 2},
		"all wait":                       {runs: []operation.State{waiting, done}, window: 2, want: true, exit: ExitWaiting},
		"window full of parked ones":     {runs: []operation.State{waiting, waiting, queued}, window: 2, want: true, exit: ExitWaiting},
		"room in the window":             {runs: []operation.State{waiting, done, queued}, window: 2},
		"paused":                         {runs: []operation.State{paused, paused}, window: 2, want: true, exit: ExitWaiting},
		"one paused, the next may start": {runs: []operation.State{paused, queued}, window: 2},
		"paused as a whole":              {runs: []operation.State{paused, done, queued}, window: 9, held: true, want: true, exit: ExitWaiting},
		"held before anything began":     {runs: []operation.State{queued, done}, window: 9, held: true, want: true, exit: ExitWaiting},
		"behind another site's":          {runs: []operation.State{queued}, window: 1, unseen: []operation.State{running}},
		"behind another site's parked":   {runs: []operation.State{queued}, window: 1, unseen: []operation.State{waiting}, want: true, exit: ExitWaiting},
		"no window told":                 {runs: []operation.State{waiting, queued}, want: true, exit: ExitWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			d := operation.Detail{Summary: operation.Summary{Window: tc.window, Held: tc.held, Counts: map[operation.State]int{}}}
			for i, s := range tc.runs {
				d.Runs = append(d.Runs, operation.Run{Asset: asset.Ref{ID: asset.ID(i + 1)}, State: s})
				d.Counts[s]++
			}
			for _, s := range tc.unseen {
				d.Counts[s]++
			}
			d.State = operation.Combine(d.Counts)
			if got := isSettled(d); got != tc.want {
				t.Fatalf("isSettled = %v, want %v", got, tc.want)
			}
			if tc.want && exitCode(outcome(d)) != tc.exit {
				t.Errorf("exit code %d (%v), want %d", exitCode(outcome(d)), outcome(d), tc.exit)
			}
		})
	}
}
