package workflows

import (
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// Policy is how the executor treats the calls of a step. A failure of class retry is tried again,
// with a pause that doubles from First to Most, until Limit has passed since the first failure in a
// row; then the step parks.
type Policy struct {
	Call  time.Duration // one call, from its start on a worker to its end
	First time.Duration
	Most  time.Duration
	Limit time.Duration
}

// The names of policies, as plans carry them. A name is never reused for something else.
const (
	PolicyNetBox   = "netbox"
	PolicyBMCRead  = "bmc-read"
	PolicyBMCWrite = "bmc-write"
	PolicyFirmware = "firmware"
	PolicyHuman    = "human"
	PolicyBoot     = "boot"
	PolicyConfig   = "config"
)

// Timing holds every number of the executor that is not in a plan.
type Timing struct {
	Policies map[string]Policy

	// SiteStart is how long a call may lie in a site's queue before the site counts as away. Site
	// workers poll without pause, so a minute is far beyond a healthy site under full load, and
	// short enough to be shown while the engineer still looks.
	SiteStart time.Duration
	// SiteLimit is how long a site may be away before a person is asked: a worker's reboot or a
	// link's flap passes by itself in that time, a broken site does not.
	SiteLimit time.Duration
	// Heartbeat is how long a worker may be silent within a call. Workers beat every few seconds by
	// operation.KeepAlive, so this is how soon a killed worker's call is given to another.
	Heartbeat time.Duration
	// Orphan is the least pause after a call was lost. A worker that lives after all is told to stop the
	// call by the answer to its next heartbeat (operation.Beat), so that two never work at one step.
	Orphan time.Duration
	// Store is one attempt at PostgreSQL, StoreFirst and StoreMost the pauses between attempts:
	// there is no limit, since a transition must not be lost.
	Store, StoreFirst, StoreMost time.Duration
	// StoreSeldom is the pause after StoreLong without success. A try costs half a dozen events of a
	// history that ends at 51,200: at this pace a run outlives an outage of weeks.
	StoreLong, StoreSeldom time.Duration
	// Show is the least time between two recorded progress percentages: people cannot read faster,
	// and each costs a row.
	Show time.Duration
	// Held is how long the start of a run waits for the run before it on the same machine to be gone.
	// That takes moments; a minute covers a central worker that restarts in between.
	Held time.Duration
	// Adopt is how often an operation that continued as new looks after runs that it cannot see.
	Adopt time.Duration
	// Divide divides the deadlines of plans; 1 but for tests.
	Divide int
}

// Standard is the timing of production.
func Standard() Timing {
	return Timing{
		Policies: map[string]Policy{
			// NetBox answers in under a second, pages of a big site in some; its restart, upgrade or
			// failover takes minutes, and nothing is half done meanwhile.
			PolicyNetBox: {Call: time.Minute, First: time.Second, Most: 30 * time.Second, Limit: 30 * time.Minute},
			// A complete reading of a slow BMC takes about a minute. A BMC that restarts by itself is
			// back within five minutes; ten means that somebody should look.
			PolicyBMCRead: {Call: 2 * time.Minute, First: 2 * time.Second, Most: 30 * time.Second, Limit: 10 * time.Minute},
			// Settings restart the network of some BMCs, and the call reads back afterwards.
			PolicyBMCWrite: {Call: 2 * time.Minute, First: 5 * time.Second, Most: 30 * time.Second, Limit: 10 * time.Minute},
			// A push of 200 MB over a 10 Mbit/s management link takes three minutes; a BMC that flashes
			// itself may be silent for twenty.
			PolicyFirmware: {Call: 10 * time.Minute, First: 10 * time.Second, Most: 30 * time.Second, Limit: 30 * time.Minute},
			// The BMC and our own API in one call. An API that is away costs nothing: the machine goes on.
			PolicyBoot: {Call: 2 * time.Minute, First: 2 * time.Second, Most: 30 * time.Second, Limit: 15 * time.Minute},
			// A master or a host that restarts is back within minutes; a run goes on without us.
			PolicyConfig: {Call: 2 * time.Minute, First: 2 * time.Second, Most: 30 * time.Second, Limit: 15 * time.Minute},
			// A work order makes no calls; the numbers serve its probe, if it ever has one.
			PolicyHuman: {Call: time.Minute, First: 5 * time.Second, Most: 30 * time.Second, Limit: 10 * time.Minute},
		},
		SiteStart:  time.Minute,
		SiteLimit:  30 * time.Minute,
		Heartbeat:  20 * time.Second,
		Orphan:     6 * time.Second,
		Store:      10 * time.Second,
		StoreFirst: 500 * time.Millisecond,
		StoreMost:  15 * time.Second,
		StoreLong:  time.Hour, StoreSeldom: 5 * time.Minute,
		Show:   2 * time.Second,
		Held:   time.Minute,
		Adopt:  15 * time.Minute,
		Divide: 1,
	}
}

// Faster gives the timing with every wait for something that is broken divided by n, so that a test
// sees in seconds how production ends in minutes. What a healthy call needs (Call, Store, Heartbeat)
// stays as it is. One namespace must keep one n: histories hold the timers.
func (t Timing) Faster(n int) Timing {
	if n <= 1 {
		return t
	}
	d := time.Duration(n)
	policies := make(map[string]Policy, len(t.Policies))
	for name, p := range t.Policies {
		policies[name] = Policy{Call: p.Call, First: p.First / d, Most: p.Most / d, Limit: p.Limit / d}
	}
	t.Policies = policies
	t.SiteStart, t.SiteLimit, t.Held = t.SiteStart/d, t.SiteLimit/d, t.Held/d
	t.StoreFirst, t.StoreMost, t.StoreSeldom = t.StoreFirst/d, t.StoreMost/d, t.StoreSeldom/d
	t.Divide *= n
	return t
}

func (t Timing) policy(s plan.Step) (Policy, *fault.Error) {
	p, ok := t.Policies[s.Policy]
	if !ok {
		return Policy{}, fault.New(fault.UnknownStep, "step %s asks for policy %q, which this worker does not know", s.Name, s.Policy)
	}
	return p, nil
}

func (t Timing) deadline(s plan.Step) time.Duration {
	return s.Deadline() / time.Duration(max(t.Divide, 1))
}

// pace is the pause before the next call of a step that has run for elapsed and asks for after. A
// step that takes long is looked at less often: it changes slowly, a BMC is fragile, and a history
// ends at 51,200 events, of which a call costs about a dozen. A step that again and again asks to be
// called at once gets a second's pause.
func pace(after, elapsed time.Duration, atOnce int) time.Duration {
	least := time.Duration(0)
	switch {
	case elapsed > time.Hour:
		least = 30 * time.Second
	case elapsed > 10*time.Minute:
		least = 10 * time.Second
	case atOnce > 20:
		least = time.Second
	}
	if after <= 0 && atOnce <= 20 {
		return 0 // a change of phase, not a wait
	}
	return max(after, least)
}
