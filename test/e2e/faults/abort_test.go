//go:build e2e

package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// TestAbortEndsTheRun aborts an install while Salt works on the machine: the run is ended and told of, and is
// not in the way of the next install, which finds the system that is there.
func TestAbortEndsTheRun(t *testing.T) {
	s := stack.Start(t, stack.Options{Racks: stack.Fleet(sim.FlavourBase), Hurry: hurry})
	name := s.Names()[0]
	minion := name + "." + s.Rack().Site.Slug + ".example.net"
	if _, err := s.Box().AddFault(t.Context(), sim.Fault{Machine: sim.Salt, Path: strings.ReplaceAll(submits, "MINION", minion),
		Action: sim.ActMinionHolds, Skip: 1, Count: 1}); err != nil { // the test run is the first
		t.Fatal(err)
	}
	id := s.Install(name)
	run := func(id operation.ID) operation.Run { return s.Operation(id).Runs[0] }
	s.Until(wholeRun, "the real run", func() error {
		r := run(id)
		i := slices.IndexFunc(r.Steps, func(s operation.Step) bool { return s.Name == "configure" })
		switch {
		case r.State.Ended() || r.State == operation.Waiting:
			return stack.Stop(fmt.Errorf("%s in %s: %w", r.State, r.Step, r.Error))
		case i < 0 || r.Steps[i].Progress == nil || !strings.HasPrefix(r.Steps[i].Progress.Text, "real run: under way"):
			return fmt.Errorf("%s in %s", r.State, r.Step)
		}
		return nil
	})
	if out, said, code := s.CLI("op", "abort", string(id), "--all", "--reason", "wrong role"); code != 0 {
		t.Fatalf("abort: exit %d\n%s%s", code, out, said)
	}
	s.Until(time.Minute, "the abort", func() error {
		if r := run(id); r.State != operation.Aborted {
			return fmt.Errorf("the run is %s in %s", r.State, r.Step)
		}
		return nil
	})
	left := run(id).Left
	if !slices.ContainsFunc(left, func(l string) bool {
		return strings.Contains(l, "real run ") && strings.Contains(l, minion+" was told to end, and works no more")
	}) {
		t.Errorf("left: %q; want the run that was ended among it", left)
	}
	again := s.Install(name)
	s.Done(again, wholeRun)
	i := slices.IndexFunc(run(again).Steps, func(s operation.Step) bool { return s.Name == "os-install" })
	if step := run(again).Steps[i]; step.State != operation.StepAlready {
		t.Errorf("the system that was there was installed again: %s, %s", step.State, step.Summary)
	}
}
