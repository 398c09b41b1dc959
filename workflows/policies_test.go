package workflows_test

import (
	"testing"
	"time"

	"github.com/cagenut/cagenut/workflows"
)

// What Faster divides and what it leaves: a test may hurry what is broken, never what is healthy.
func TestFaster(t *testing.T) {
	slow, fast := workflows.Standard(), workflows.Standard().Faster(60)
	for name, p := range slow.Policies {
		f := fast.Policies[name]
		if f.Call != p.Call || f.Limit != p.Limit/60 || f.First != p.First/60 || f.Most != p.Most/60 {
			t.Errorf("%s: %+v became %+v", name, p, f)
		}
	}
	if fast.Heartbeat != slow.Heartbeat || fast.Store != slow.Store {
		t.Errorf("heartbeat %s, store %s: a healthy worker may need them", fast.Heartbeat, fast.Store)
	}
	if fast.SiteStart != time.Second || fast.SiteLimit != 30*time.Second || fast.Divide != 60 {
		t.Errorf("site %s of %s, deadlines by %d", fast.SiteStart, fast.SiteLimit, fast.Divide)
	}
}

// A policy that cannot be carried out is found here, not in the middle of a flash.
func TestPoliciesAreSound(t *testing.T) {
	timing := workflows.Standard()
	for name, p := range timing.Policies {
		if p.Call <= timing.Heartbeat || p.First <= 0 || p.Most < p.First || p.Limit <= p.Most {
			t.Errorf("%s: %+v with heartbeat %s", name, p, timing.Heartbeat)
		}
	}
	if timing.SiteLimit < 2*timing.SiteStart {
		t.Errorf("a site counts as away after %s and is given up after %s", timing.SiteStart, timing.SiteLimit)
	}
}
