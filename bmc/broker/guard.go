package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// Guard is the login budget and the circuit breaker of one BMC. The IPMI driver uses it as well,
// because a BMC counts wrong passwords over all its protocols.
type Guard struct {
	limits Limits
	clock  Clock

	mu           sync.Mutex
	failedLogins int
	noLoginTill  time.Time
	fails        int
	closedTill   time.Time
	lastFailure  string
	probing      bool
}

// NewGuard makes a guard; zero limits take the defaults and a nil clock is the machine's.
func NewGuard(l Limits, clock Clock) *Guard {
	if clock == nil {
		clock = systemClock{}
	}
	return &Guard{limits: l.withDefaults(), clock: clock}
}

// AllowRequest answers nil when a request may be sent. While the breaker is open it answers
// bmc.ErrBreakerOpen; when its pause is over, one request is let through to try.
func (g *Guard) AllowRequest(host, op string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fails < g.limits.BreakerFails {
		return nil
	}
	if now := g.clock.Now(); now.Before(g.closedTill) || g.probing {
		return &bmc.Error{Kind: bmc.ErrBreakerOpen, Op: op, Host: host,
			Detail: fmt.Sprintf("%d requests in a row had no answer (%s); tried again at %s", g.fails, g.lastFailure, g.closedTill.UTC().Format(time.RFC3339))}
	}
	g.probing = true
	return nil
}

// Answered tells that the BMC gave an answer, whatever it was.
func (g *Guard) Answered() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fails, g.probing = 0, false
}

// Failed tells that there was no answer, or one that says that the service is down.
func (g *Guard) Failed(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fails++
	g.probing = false
	g.lastFailure = why
	if g.fails >= g.limits.BreakerFails {
		g.closedTill = g.clock.Now().Add(g.limits.BreakerPause)
	}
}

// Abandoned tells that a request was given up by its caller: nothing was learned.
func (g *Guard) Abandoned() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
}

// AllowLogin answers nil when the password may be sent, else bmc.ErrBreakerOpen.
func (g *Guard) AllowLogin(host, op string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failedLogins < g.limits.FailedLogins {
		return nil
	}
	if g.clock.Now().Before(g.noLoginTill) {
		return &bmc.Error{Kind: bmc.ErrBreakerOpen, Op: op, Host: host,
			Detail: fmt.Sprintf("%d logins in a row were refused; tried again at %s, so that the account is not locked",
				g.failedLogins, g.noLoginTill.UTC().Format(time.RFC3339))}
	}
	// One more try; it restarts the pause if it fails.
	g.failedLogins = g.limits.FailedLogins - 1
	return nil
}

// LoginOK resets the login budget.
func (g *Guard) LoginOK() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failedLogins = 0
}

// LoginRefused spends one login of the budget.
func (g *Guard) LoginRefused() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failedLogins++
	if g.failedLogins >= g.limits.FailedLogins {
		g.noLoginTill = g.clock.Now().Add(g.limits.LoginPause)
	}
}
