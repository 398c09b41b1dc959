package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// forgetful is a store that keeps nothing.
type forgetful struct{ activities.Store }

func (forgetful) Record(context.Context, operation.Transition) error { return nil }

// Steps are counted once, with the vendor, and their time is measured; what is added to a parked step
// later is not another parking.
func TestStepsAreMeasured(t *testing.T) {
	m := NewMetrics()
	s := m.store(forgetful{})
	parked := operation.StepChange{Step: "bios", State: operation.StepParked, Error: fault.New(fault.Deadline, "late"), Took: 90 * time.Second}
	evidence := parked
	evidence.Took = 0
	for _, c := range []operation.StepChange{
		{Step: "bios", State: operation.StepRunning}, parked, evidence,
		{Step: "bios", State: operation.StepDone, Took: time.Second}, {Step: "hardware", State: operation.StepAborted},
	} {
		if err := s.Record(t.Context(), operation.Transition{Vendor: "dell", Steps: []operation.StepChange{c}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := testutil.CollectAndCompare(m.steps, strings.NewReader(`
# HELP cagenut_steps_total Steps that a run has left behind, or that parked, by outcome.
# TYPE cagenut_steps_total counter
cagenut_steps_total{outcome="aborted",step="hardware",vendor="dell"} 1
cagenut_steps_total{outcome="done",step="bios",vendor="dell"} 1
cagenut_steps_total{outcome="parked",step="bios",vendor="dell"} 1
`)); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(m.parked.WithLabelValues("bios", "deadline", "dell")); got != 1 {
		t.Errorf("parked %v times, want once", got)
	}
	if got := testutil.CollectAndCount(m.stepTime); got != 2 {
		t.Errorf("%d series of step times, want those of parked and of done", got)
	}
}
