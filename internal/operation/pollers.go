package operation

import "go.temporal.io/sdk/worker"

// Pollers have workflow tasks polled from a worker's own queue and from the shared one at all times. The SDK's
// plain pollers leave the shared one alone while the own one has a backlog: a worker with much to do would
// begin no run, and an operation that fell out of its own queue would not hear of a pause or an abort.
func Pollers() worker.PollerBehavior {
	return worker.NewPollerBehaviorAutoscaling(worker.PollerBehaviorAutoscalingOptions{
		InitialNumberOfPollers: 2, MinimumNumberOfPollers: 2, MaximumNumberOfPollers: 8,
	})
}
