package redfish

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// Task reads a task or its monitor. A task that the BMC no longer knows (404, 410) is Gone.
func (c *Controller) Task(ctx context.Context, ref bmc.TaskRef) (bmc.TaskState, error) {
	if ref.URI == "" {
		return bmc.TaskState{Gone: true, Percent: -1}, nil
	}
	res, err := c.conn.Get(ctx, ref.URI, "")
	var e *bmc.Error
	switch {
	case gone(err):
		return bmc.TaskState{URI: ref.URI, Gone: true, Percent: -1}, nil
	case errors.As(err, &e) && errors.Is(err, bmc.ErrRejected) && e.Status != http.StatusForbidden:
		// A monitor answers with what the operation itself would have answered (DSP0266 13.6).
		return bmc.TaskState{URI: ref.URI, State: "Exception", Done: true, Percent: -1, Messages: texts(e.Detail)}, nil
	case err != nil:
		return bmc.TaskState{}, err
	}
	o, err := decode(res.Body)
	if err != nil || !isTask(o) {
		if res.Status == http.StatusAccepted {
			return bmc.TaskState{URI: ref.URI, State: "Running", Percent: -1}, nil
		}
		if err != nil && len(strings.TrimSpace(string(res.Body))) > 0 {
			return bmc.TaskState{}, c.fail(bmc.ErrMalformed, "GET "+ref.URI, err.Error())
		}
		// A monitor's last answer is the operation's own.
		return bmc.TaskState{URI: ref.URI, State: "Completed", Done: true, OK: true, Percent: 100}, nil
	}
	s := taskState(o)
	s.URI = ref.URI
	return s, nil
}

func texts(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func isTask(o object) bool { return o.has("TaskState") || o.has("JobState") }

// taskState reads a Task (DSP2046), or a Job that stands in a task's place. States that a vendor
// made up are understood by their words: what does not sound like an end is running.
func taskState(o object) bmc.TaskState {
	s := bmc.TaskState{URI: o.id(), Name: o.str("Name"), Target: o.str("Payload", "TargetUri"), State: firstNonEmpty(o.str("TaskState"), o.str("JobState")), Percent: -1}
	if n, ok := o.integer("PercentComplete"); ok {
		s.Percent = n
	}
	for _, m := range o.objs("Messages") {
		if t := firstNonEmpty(m.str("Message"), m.str("MessageId")); t != "" && len(s.Messages) < 20 {
			s.Messages = append(s.Messages, t)
		}
	}
	bad := firstNonEmpty(o.str("TaskStatus"), o.str("JobStatus")) == "Critical"
	switch state := strings.ToLower(s.State); {
	case state == "completed" || state == "completedok":
		s.Done, s.OK = true, !bad
	case state == "cancelling" || state == "stopping":
	case state == "pending" || state == "scheduled" || state == "suspended":
		s.Waits = true
	case strings.Contains(state, "exception"), strings.Contains(state, "fail"), strings.Contains(state, "error"),
		strings.Contains(state, "killed"), strings.Contains(state, "cancel"):
		s.Done = true
	}
	return s
}

// Tasks lists the tasks that the BMC still knows.
func (c *Controller) Tasks(ctx context.Context) ([]bmc.TaskState, error) {
	p, err := c.where(ctx)
	if err != nil {
		return nil, err
	}
	service, err := c.optional(ctx, firstNonEmpty(p.root.link("Tasks"), p.root.link("TaskService")))
	if err != nil {
		return nil, err
	}
	if service.link("Tasks") == "" {
		return nil, c.unsupported("list tasks", "TaskService")
	}
	all, err := c.members(ctx, service, "Tasks")
	if gone(err) {
		return nil, c.unsupported("list tasks", "collection of tasks")
	}
	if err != nil {
		return nil, err
	}
	out := []bmc.TaskState{}
	for _, o := range all {
		out = append(out, taskState(o))
	}
	return out, nil
}
