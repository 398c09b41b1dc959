package temporaldev_test

import (
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/internal/operation"
)

// A worker that has much to do still begins what is new.
func TestBusyWorkerBeginsWhatIsNew(t *testing.T) {
	c := connect(t, start(t))
	w := worker.New(c, "busy", worker.Options{WorkflowTaskPollerBehavior: operation.Pollers()})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		for ctx.Err() == nil {
			for range 300 { // nothing that a history would not hold
				if err := workflow.Sleep(ctx, time.Millisecond); err != nil {
					return err
				}
			}
		}
		return nil
	}, workflow.RegisterOptions{Name: "busy"})
	w.RegisterWorkflowWithOptions(func(workflow.Context) error { return nil }, workflow.RegisterOptions{Name: "new"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range 100 {
		if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: fmt.Sprintf("busy/%d", i), TaskQueue: "busy"}, "busy"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		began := time.Now()
		run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: fmt.Sprintf("new/%d", i), TaskQueue: "busy"}, "new")
		if err == nil {
			err = run.Get(t.Context(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("workflow %d took %s", i, took)
		} else {
			t.Log(took)
		}
	}
}
