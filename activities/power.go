package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
)

// cycle is a host's way through off and on again, as a handle: off if on, see off, on, see on. Each
// advance does at most one thing, and looks before it does it, so that a crash never cycles twice.
//
// It does not begin, nor switch off, while the BMC installs firmware: a host that loses its power then
// may be lost.
type cycle struct {
	Phase string    `json:"phase"` // "", "off", "on", "done"
	Asked time.Time `json:"asked,omitzero"`
	Since time.Time `json:"since,omitzero"` // when the phase began
	Seen  time.Time `json:"seen,omitzero"`  // when it was last looked at
	Task  string    `json:"task,omitempty"` // URI of the update that waits for this very cycle, if any
	Busy  time.Time `json:"busy,omitzero"`  // since when an update is in the way
}

// host is what a cycle needs of a machine.
type host interface {
	bmc.Power
	Tasks(ctx context.Context) ([]bmc.TaskState, error)
}

// powerDeadline is how long a host may take to be seen off or on. It is asked again after a fifth of
// that: BMCs lose power requests.
const powerDeadline = 5 * time.Minute

// advance does the next bit of a power cycle and tells what it waits for. It is done when the host
// was seen off and then on. A host that was off to begin with is only switched on. The time in which
// nobody looked (a pause, a site that was away) counts for nothing: the host is asked once more.
func (y *cycle) advance(ctx context.Context, power host, now time.Time, deadline time.Duration) (waiting string, err error) {
	state, err := power.PowerState(ctx)
	if err != nil {
		return "", err
	}
	if !y.Seen.IsZero() && now.Sub(y.Seen) > deadline/2 {
		y.Asked, y.Since, y.Busy = time.Time{}, now, time.Time{}
	}
	y.Seen = now
	if y.Phase == "" || y.Phase == "off" && state == bmc.PowerOn && y.due(now, deadline) {
		if waiting, err := y.hold(ctx, power, now, deadline); waiting != "" || err != nil {
			y.Since = now
			return waiting, err
		}
	}
	if y.Phase == "" {
		y.Phase, y.Since = "off", now
	}
	if y.Phase == "off" && state == bmc.PowerOff {
		// Having seen it off is made durable before it is switched on: a crash in between would
		// otherwise find it on and begin again.
		*y = cycle{Phase: "on", Since: now, Seen: now}
		return "power off: seen", nil
	}
	if y.Phase == "on" && state == bmc.PowerOn {
		*y = cycle{Phase: "done", Since: now}
		return "", nil
	}
	if now.Sub(y.Since) > deadline {
		return "", fault.New(fault.NotApplied, "the host's power is %s %s after it was told to go %s", state, deadline, y.Phase)
	}
	action, asking := bmc.PowerActionOff, state == bmc.PowerOn
	if y.Phase == "on" {
		action, asking = bmc.PowerActionOn, state == bmc.PowerOff
	}
	if asking && y.due(now, deadline) {
		if err := power.SetPower(ctx, action); err != nil {
			return "", err
		}
		y.Asked = now
	}
	return "power " + y.Phase + ": the host is " + string(state), nil
}

// due tells whether the host is to be asked (once more).
func (y *cycle) due(now time.Time, deadline time.Duration) bool {
	return y.Asked.IsZero() || now.Sub(y.Asked) > deadline/5
}

// hold tells what a cycle waits for while an update is under way, whoever started it: an attempt that
// parked and was skipped, another operation, a person. One that says that it waits is believed after a
// tenth of the deadline: it waits for the reboot, and some say so briefly before they begin. One that
// runs is given five times the deadline; then a person must look.
func (y *cycle) hold(ctx context.Context, h host, now time.Time, deadline time.Duration) (waiting string, err error) {
	tasks, err := h.Tasks(ctx)
	if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
		return "", err
	}
	found := false
	for _, t := range tasks {
		if t.Done || t.Gone || !isUpdate(t) || t.Waits && t.URI == y.Task {
			continue
		}
		if found = true; y.Busy.IsZero() {
			y.Busy = now
		}
		waited := now.Sub(y.Busy)
		if t.Waits && waited >= deadline/10 {
			continue
		}
		said := strings.TrimSpace(fmt.Sprintf("%s %s (%s)", t.URI, t.Name, t.State))
		if waited > 5*deadline {
			f := fault.New(fault.Deadline, "the host is not rebooted: the BMC's task %s still installs firmware after %s, and a host that loses its power meanwhile may be lost",
				said, 5*deadline)
			f.Remedy = "look at the task on the BMC; when it has ended, or is cancelled there, retry"
			return "", f
		}
		return "not rebooting while firmware is installed: task " + said, nil
	}
	if !found {
		y.Busy = time.Time{}
	}
	return "", nil
}
