//go:build e2e

package bench

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/cagenut/cagenut/internal/operation"
)

// sample is how many runs' histories are read.
const sample = 25

// The kinds of actions.
const (
	activity = "activities"
	local    = "local activities"
	timer    = "timers"
	signal   = "signals"
	other    = "others"
)

// cost is what a machine costs Temporal: its own workflow, and its share of the operation's.
type cost struct {
	actions map[string]float64 // by kind
	events  float64            // of a run's history
	bytes   float64
	longest int64   // history of a run, in events
	share   float64 // of the events of the operation's own histories
	renewed int     // how often the operation continued as new
}

func (c cost) String() string {
	sum := 0.0
	for _, n := range c.actions {
		sum += n
	}
	return fmt.Sprintf("%.0f actions (%.1f %s, %.1f %s, %.1f %s, %.1f %s, %.1f %s); %.0f events (at most %d) and %.0f KB of history, "+
		"and %.1f events of the operation's, which continued as new %d times", sum, c.actions[activity], activity, c.actions[local], local,
		c.actions[timer], timer, c.actions[signal], signal, c.actions[other], other, c.events, c.longest, c.bytes/1024, c.share, c.renewed)
}

// temporalCost reads what an operation of n machines left in Temporal. Heartbeats leave no trace there.
func temporalCost(ctx context.Context, address string, id operation.ID, n int) (out cost, err error) {
	c, err := operation.Dial(ctx, operation.Connection{Address: address, Options: func(o *client.Options) {
		o.Logger = sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	}})
	if err != nil {
		return out, err
	}
	defer c.Close()
	if err := c.GetWorkflow(ctx, operation.WorkflowID(id), "").Get(ctx, nil); err != nil {
		return out, err
	}
	var runs, own []*workflowpb.WorkflowExecutionInfo
	for try := 0; len(runs) < n || len(own) == 0; try++ {
		if try == 60 {
			return out, fmt.Errorf("temporal lists %d ended runs of %d", len(runs), n)
		}
		time.Sleep(500 * time.Millisecond) //nolint:forbidigo // its list comes late, and nothing tells when
		if runs, own, err = list(ctx, c, id); err != nil {
			return out, err
		}
	}
	out.actions = map[string]float64{}
	for i, w := range runs {
		out.events += float64(w.HistoryLength) / float64(n)
		out.bytes += float64(w.HistorySizeBytes) / float64(n)
		out.longest = max(out.longest, w.HistoryLength)
		if i*sample/n == (i-1)*sample/n && i > 0 && n > sample {
			continue
		}
		if err := out.count(ctx, c, w, 1/float64(min(n, sample))); err != nil {
			return out, err
		}
	}
	for _, w := range own {
		out.share += float64(w.HistoryLength) / float64(n)
		if err := out.count(ctx, c, w, 1/float64(n)); err != nil {
			return out, err
		}
	}
	out.renewed = len(own) - 1
	return out, nil
}

// list gives the ended workflows of an operation: those of its machines, and its own.
func list(ctx context.Context, c client.Client, id operation.ID) (runs, own []*workflowpb.WorkflowExecutionInfo, err error) {
	var token []byte
	for {
		page, err := c.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:    fmt.Sprintf("%s = '%s' AND ExecutionStatus != 'Running'", operation.SearchOperation.GetName(), id),
			PageSize: 1000, NextPageToken: token,
		})
		if err != nil {
			return nil, nil, err
		}
		for _, w := range page.Executions {
			if w.Type.Name == operation.WorkflowAsset {
				runs = append(runs, w)
			} else {
				own = append(own, w)
			}
		}
		if token = page.NextPageToken; len(token) == 0 {
			return runs, own, nil
		}
	}
}

// count adds the actions of one workflow, as Temporal Cloud bills them (docs.temporal.io/cloud/actions).
func (c *cost) count(ctx context.Context, t client.Client, w *workflowpb.WorkflowExecutionInfo, weight float64) error {
	events := t.GetWorkflowHistory(ctx, w.Execution.WorkflowId, w.Execution.RunId, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	task := int64(0) // whose local activities were counted: all of one task are one action
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return err
		}
		if m := e.GetMarkerRecordedEventAttributes(); m != nil {
			if m.MarkerName == "LocalActivity" && m.WorkflowTaskCompletedEventId != task {
				task = m.WorkflowTaskCompletedEventId
				c.actions[local] += weight
			}
			continue
		}
		kind, n := actionsOf(e)
		c.actions[kind] += weight * float64(n)
	}
	return nil
}

// actionsOf gives how many actions an event stands for.
func actionsOf(e *historypb.HistoryEvent) (kind string, n int) {
	switch e.EventType {
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED: // the first try and every other are one each
		return activity, int(e.GetActivityTaskStartedEventAttributes().Attempt)
	case enumspb.EVENT_TYPE_TIMER_STARTED:
		return timer, 1
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
		return signal, 1
	case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
		enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
		return other, 1
	}
	return other, 0
}
