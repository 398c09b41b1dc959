package operation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/internal/operation"
)

// An activity that says nothing is heartbeaten for, and the goroutine ends with it.
func TestKeepAlive(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{operation.KeepAlive(time.Millisecond)}})
	beat := make(chan struct{}, 100)
	env.SetOnActivityHeartbeatListener(func(*activity.Info, converter.EncodedValues) {
		select {
		case beat <- struct{}{}:
		default:
		}
	})
	silent := func(ctx context.Context) error {
		deadline := time.NewTimer(10 * time.Second)
		defer deadline.Stop()
		select {
		case <-beat:
			return nil
		case <-deadline.C:
			return errors.New("no heartbeat within 10 s")
		}
	}
	env.RegisterActivity(silent)
	if _, err := env.ExecuteActivity(silent); err != nil {
		t.Error(err)
	}
}
