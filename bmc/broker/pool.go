package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

const maxSessions = 2

// host is the broker of one BMC: what all its Conns share.
type host struct {
	guard   *Guard
	journal *journal
	slots   chan struct{} // a token for each request that may be in flight

	login chan struct{} // full while a session is opened

	mu     sync.Mutex
	inUse  map[int]bool // journal numbers of sessions that Conns use
	conns  int
	capNow int
}

func (h *host) use(n int, inUse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if inUse {
		h.inUse[n] = true
	} else {
		delete(h.inUse, n)
	}
}

func (h *host) count(d int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns += d
}

func (h *host) used() map[int]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.inUse)
}

func newHost(t target, g *Guard) (*host, error) {
	j, err := openJournal(t.StateDir, t.host)
	if err != nil {
		return nil, err
	}
	h := &host{
		guard: g, journal: j, slots: make(chan struct{}, t.Limits.InFlight),
		login: make(chan struct{}, 1), inUse: map[int]bool{}, capNow: t.Limits.InFlight,
	}
	for range t.Limits.InFlight {
		h.slots <- struct{}{}
	}
	return h, nil
}

// Pool holds one broker for each BMC address and keeps logins for the next caller.
type Pool struct {
	mu     sync.Mutex
	hosts  map[string]*host
	guards map[string]*Guard // outlive the hosts
	idle   map[poolKey]*link
	closed bool
}

// poolKey is what makes two Conns interchangeable.
type poolKey struct {
	host, pin, ca string
	user, pass    string
	tls           string
	explicit      bool
}

// NewPool makes an empty pool.
func NewPool() *Pool {
	return &Pool{hosts: map[string]*host{}, guards: map[string]*Guard{}, idle: map[poolKey]*link{}}
}

// Dial gives a Conn, logged in: a kept one when one with the same endpoint and credentials is free,
// else a new one. Close gives it back to the pool. See the function Dial for the errors.
func (p *Pool) Dial(ctx context.Context, cfg Config) (*Conn, error) {
	t, err := cfg.check()
	if err != nil {
		return nil, err
	}
	key := keyOf(t)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, &bmc.Error{Kind: bmc.ErrClosed, Op: "dial", Host: t.host}
	}
	if l := p.idle[key]; l != nil {
		delete(p.idle, key)
		p.mu.Unlock()
		return p.lend(key, l), nil
	}
	h, err := p.hostOf(t)
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	h.count(1)
	// Another login that nobody uses makes room: a BMC gets a second session only while both work.
	var spare []*link
	for k, l := range p.idle {
		if k.host == t.host {
			spare = append(spare, l)
			delete(p.idle, k)
		}
	}
	p.mu.Unlock()
	for _, l := range spare {
		// A failure (its certificate is not the BMC's any more, say) leaves its session in the journal,
		// where the login below finds it and gives it back.
		_ = p.end(ctx, l)
	}
	l := newLink(t, h)
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, p.end(ctx, l))
	}
	return p.lend(key, l), nil
}

// hostOf gives the BMC's broker. The caller holds p.mu.
func (p *Pool) hostOf(t target) (*host, error) {
	if h := p.hosts[t.host]; h != nil {
		return h, nil
	}
	h, err := newHost(t, p.guard(t.host, t.Limits, t.Clock))
	if err == nil {
		p.hosts[t.host] = h
	}
	return h, err
}

func (p *Pool) lend(key poolKey, l *link) *Conn {
	return &Conn{link: l, release: func(ctx context.Context) error { return p.putBack(ctx, key, l) }}
}

// end logs a link out. The broker stays, so that budgets and the breaker outlive a login; its file is
// closed with the pool.
func (p *Pool) end(ctx context.Context, l *link) error {
	err := l.logout(ctx)
	l.host.count(-1)
	return err
}

func keyOf(t target) poolKey {
	return poolKey{host: t.host, pin: t.pin, ca: t.Endpoint.CA, user: t.Credentials.User, pass: t.Credentials.Password,
		tls: fmt.Sprint(t.TLS), explicit: t.Explicit}
}

func (p *Pool) putBack(ctx context.Context, key poolKey, l *link) error {
	p.mu.Lock()
	if !p.closed && p.idle[key] == nil && l.reusable() {
		l.idleSince = l.t.Clock.Now()
		p.idle[key] = l
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	err := p.end(ctx, l)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		err = errors.Join(err, p.closeUnused())
	}
	return err
}

// CloseIdle logs out Conns that nobody used for the given time.
func (p *Pool) CloseIdle(ctx context.Context, unused time.Duration) error {
	p.mu.Lock()
	var old []*link
	for k, l := range p.idle {
		if l.t.Clock.Now().Sub(l.idleSince) >= unused {
			old = append(old, l)
			delete(p.idle, k)
		}
	}
	p.mu.Unlock()
	return p.endAll(ctx, old)
}

// Guard gives the guard of the BMC at an address as in bmc.Endpoint, so that a driver of another
// protocol shares its login budget.
func (p *Pool) Guard(address string, limits Limits, clock Clock) (*Guard, error) {
	_, host, err := SplitAddress(address, "443")
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.guard(host, limits, clock), nil
}

func (p *Pool) guard(host string, limits Limits, clock Clock) *Guard {
	g := p.guards[host]
	if g == nil {
		g = NewGuard(limits, clock)
		p.guards[host] = g
	}
	return g
}

// Close logs out all kept Conns and closes the journals. Conns in use log out when they are closed.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	all := slices.Collect(maps.Values(p.idle))
	clear(p.idle)
	p.mu.Unlock()
	err := p.endAll(ctx, all)
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(err, p.closeUnused())
}

// closeUnused closes the journals of brokers without Conns. The caller holds p.mu.
func (p *Pool) closeUnused() error {
	var errs []error
	for name, h := range p.hosts {
		h.mu.Lock()
		inUse := h.conns
		h.mu.Unlock()
		if inUse == 0 {
			errs = append(errs, h.journal.close())
			delete(p.hosts, name)
		}
	}
	return errors.Join(errs...)
}

func (p *Pool) endAll(ctx context.Context, links []*link) error {
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 16)
	for i, l := range links {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			errs[i] = p.end(ctx, l)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Dial logs in to one BMC with a broker of its own: for a process that talks to it once. Workers use
// a Pool.
//
// The errors are bmc's: ErrNotAllowed, ErrUnreachable, ErrPinChanged, ErrCertificate,
// ErrBadCredentials, ErrBusy (no session free), ErrBreakerOpen. A BMC that demands a new password
// is dialled with success: see PasswordChange.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	t, err := cfg.check()
	if err != nil {
		return nil, err
	}
	h, err := newHost(t, NewGuard(t.Limits, t.Clock))
	if err != nil {
		return nil, err
	}
	l := newLink(t, h)
	release := func(ctx context.Context) error { return errors.Join(l.logout(ctx), h.journal.close()) }
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, release(ctx))
	}
	return &Conn{link: l, release: release}, nil
}
