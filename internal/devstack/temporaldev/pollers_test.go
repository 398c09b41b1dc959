package temporaldev_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/cagenut/cagenut/internal/operation"
)

// A worker that cannot fetch its work as fast as it comes still begins what is new. With the SDK's plain pollers
// new workflows wait until the others have ended.
func TestBusyWorkerBeginsWhatIsNew(t *testing.T) {
	c := connect(t, start(t), func(to *operation.Connection) {
		quiet := to.Options
		to.Options = func(o *client.Options) {
			if quiet != nil {
				quiet(o)
			}
			o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, farAway)
		}
	})
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
	const most = 15 * time.Second
	for i := range 5 {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), most)
		defer cancel()
		run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: fmt.Sprintf("new/%d", i), TaskQueue: "busy"}, "new")
		if err == nil {
			err = run.Get(ctx, nil)
		}
		if err != nil {
			t.Fatalf("workflow %d has not been done after %s: %v", i, time.Since(began), err)
		}
	}
}

// farAway makes the answer to each poll for workflow tasks take long, so that a queue has a backlog.
var farAway = grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	if strings.HasSuffix(method, "/PollWorkflowTaskQueue") {
		time.Sleep(50 * time.Millisecond)
	}
	return err
})
