package operation

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
)

// KeepAlive is a worker interceptor that heartbeats for every activity while it runs, so that the
// executor learns within its Heartbeat time-out that a worker was killed. Every worker must carry
// it: without it each call that takes longer than that time-out counts as lost.
//
// It tells that the process lives, not that the activity gets on: for that there is the time-out of
// the call.
func KeepAlive(every time.Duration) interceptor.WorkerInterceptor {
	return &keepAlive{every: every}
}

// Beat is how often workers heartbeat; several fit into the executor's time-out.
const Beat = 5 * time.Second

type keepAlive struct {
	interceptor.WorkerInterceptorBase
	every time.Duration
}

func (k *keepAlive) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &keepAliveInbound{every: k.every}
	i.Next = next
	return i
}

type keepAliveInbound struct {
	interceptor.ActivityInboundInterceptorBase
	every time.Duration
}

// ExecuteActivity runs the activity with a goroutine beside it that ends with it.
func (i *keepAliveInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if activity.GetInfo(ctx).IsLocalActivity {
		return i.Next.ExecuteActivity(ctx, in)
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(i.every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	defer func() { close(done); <-stopped }()
	return i.Next.ExecuteActivity(ctx, in)
}
