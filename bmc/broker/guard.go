package broker

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// Guard is the login budget and the circuit breaker of one BMC. The IPMI driver uses it as well,
// because a BMC counts wrong passwords over all its protocols.
//
// It also remembers which credentials the BMC refused, so that a caller who has more of them than the
// budget comes to each in its turn, instead of spending every pause's try on the first one again.
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
	refused      map[[sha256.Size]byte]time.Time // by digest of user and password
}

// maxRefused bounds what a guard remembers; nobody has so many passwords for one BMC.
const maxRefused = 32

// digestKey makes the digests useless outside this process.
var digestKey = func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails: the program ends when there is no randomness
	return key
}()

func digest(c bmc.Credentials) (d [sha256.Size]byte) {
	h := hmac.New(sha256.New, digestKey)
	fmt.Fprintf(h, "%d/%s/%s", len(c.User), c.User, c.Password)
	copy(d[:], h.Sum(nil))
	return d
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

// AllowLogin answers nil when the password may be sent; bmc.ErrBadCredentials with
// bmc.ErrRefusedBefore when the BMC has refused it before; else bmc.ErrBreakerOpen.
func (g *Guard) AllowLogin(host, op string, c bmc.Credentials) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, known := g.refused[digest(c)]; known {
		return &bmc.Error{Kind: bmc.ErrBadCredentials, Op: op, Host: host, Err: bmc.ErrRefusedBefore,
			Detail: "refused at " + at.UTC().Format(time.RFC3339)}
	}
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
func (g *Guard) LoginOK(c bmc.Credentials) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failedLogins = 0
	delete(g.refused, digest(c))
}

// PasswordSet tells that the credentials are about to be made valid.
func (g *Guard) PasswordSet(c bmc.Credentials) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.refused, digest(c))
}

// ForgetRefused lets these credentials be sent again that the BMC refused before, when the login budget has
// room for at least one of them; false says that nothing was forgotten.
func (g *Guard) ForgetRefused(all ...bmc.Credentials) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failedLogins >= g.limits.FailedLogins && g.clock.Now().Before(g.noLoginTill) {
		return false
	}
	for _, c := range all {
		delete(g.refused, digest(c))
	}
	return true
}

// LoginRefused spends one login of the budget.
func (g *Guard) LoginRefused(c bmc.Credentials) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused == nil || len(g.refused) >= maxRefused {
		g.refused = map[[sha256.Size]byte]time.Time{}
	}
	g.refused[digest(c)] = g.clock.Now()
	g.failedLogins++
	if g.failedLogins >= g.limits.FailedLogins {
		g.noLoginTill = g.clock.Now().Add(g.limits.LoginPause)
	}
}
