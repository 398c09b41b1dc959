package activities

import (
	"context"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
)

// cycle is a host's way through off and on again, as a handle: off if on, see off, on, see on. Each
// advance does at most one thing, and looks before it does it, so that a crash never cycles twice.
type cycle struct {
	Phase string    `json:"phase"` // "", "off", "on", "done"
	Asked time.Time `json:"asked,omitzero"`
	Since time.Time `json:"since,omitzero"` // when the phase began
	Seen  time.Time `json:"seen,omitzero"`  // when it was last looked at
}

// powerDeadline is how long a host may take to be seen off or on. It is asked again after a fifth of
// that: BMCs lose power requests.
const powerDeadline = 5 * time.Minute

// advance does the next bit of a power cycle and tells what it waits for. It is done when the host
// was seen off and then on. A host that was off to begin with is only switched on. The time in which
// nobody looked (a pause, a site that was away) counts for nothing: the host is asked once more.
func (y *cycle) advance(ctx context.Context, power bmc.Power, now time.Time, deadline time.Duration) (waiting string, err error) {
	state, err := power.PowerState(ctx)
	if err != nil {
		return "", err
	}
	if y.Phase == "" {
		y.Phase, y.Since = "off", now
	}
	if !y.Seen.IsZero() && now.Sub(y.Seen) > deadline/2 {
		y.Asked, y.Since = time.Time{}, now
	}
	y.Seen = now
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
	if asking && (y.Asked.IsZero() || now.Sub(y.Asked) > deadline/5) {
		if err := power.SetPower(ctx, action); err != nil {
			return "", err
		}
		y.Asked = now
	}
	return "power " + y.Phase + ": the host is " + string(state), nil
}
