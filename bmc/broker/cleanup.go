package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cagenut/cagenut/bmc"
)

// CleanUp gives back the sessions that an earlier process left behind in cfg.StateDir, each with its own
// token, so that no password is needed and no login is spent. Endpoint and credentials of cfg do not
// matter; its prefixes do. Each BMC must show the certificate that it showed when the session was opened.
//
// What cannot be given back stays in the journal and counts against the sessions that we may hold: the
// next login to that BMC sees to it. Logins made meanwhile wait, so that there are never more.
func (p *Pool) CleanUp(ctx context.Context, cfg Config) error {
	addresses, err := leftBehind(cfg.StateDir)
	if err != nil {
		return fmt.Errorf("session journals in %s: %w", cfg.StateDir, err)
	}
	errs := make([]error, len(addresses))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 8)
	for i, address := range addresses {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			if err := p.cleanUp(ctx, cfg, address); err != nil {
				errs[i] = fmt.Errorf("sessions left on %s: %w", address, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *Pool) cleanUp(ctx context.Context, cfg Config, address string) error {
	cfg.Endpoint, cfg.Credentials = bmc.Endpoint{Address: address}, bmc.Credentials{}
	t, err := cfg.check()
	if err != nil {
		return err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return &bmc.Error{Kind: bmc.ErrClosed, Op: "give back sessions", Host: address}
	}
	h, err := p.hostOf(t)
	if err != nil {
		p.mu.Unlock()
		return err
	}
	h.count(1)
	p.mu.Unlock()
	defer h.count(-1)
	select {
	case h.login <- struct{}{}:
		defer func() { <-h.login }()
	case <-ctx.Done():
		return &bmc.Error{Kind: bmc.ErrIncomplete, Op: "give back sessions", Host: address, Err: ctx.Err()}
	}
	var errs []error
	for _, s := range h.journal.others(h.used()) {
		if s.uri == "" || s.key.Token == "" || s.key.Pin == "" {
			continue // its answer was lost: only a login can look for it
		}
		errs = append(errs, h.giveBack(ctx, t, s))
	}
	return errors.Join(errs...)
}

func (h *host) giveBack(ctx context.Context, t target, s session) error {
	ctx, cancel := context.WithTimeout(ctx, t.Limits.LogoutTimeout)
	defer cancel()
	t.pin, t.cas, t.TLS = s.key.Pin, nil, s.key.TLS
	l := newLink(t, h)
	defer l.transport.CloseIdleConnections()
	_, err := l.dropByItself(ctx, s)
	return err
}
