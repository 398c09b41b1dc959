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
