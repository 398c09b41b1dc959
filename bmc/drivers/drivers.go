// Package drivers opens BMCs by protocol: the one place that knows all drivers. A worker has one
// Opener, and through its pool one broker for each BMC.
//
// An Opener is safe for concurrent use.
package drivers

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/ipmi"
	"github.com/cagenut/cagenut/bmc/quirks"
	"github.com/cagenut/cagenut/bmc/redfish"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// Opener opens BMCs. It implements activities.BMCs.
type Opener struct {
	pool     *broker.Pool
	allow    []netip.Prefix
	stateDir string
	limits   broker.Limits
	observe  func(broker.Observation)

	mu     sync.Mutex
	caches map[string]cache // by address: an unchanged machine is read cheaply
}

// Options are what all BMCs of a worker share.
type Options struct {
	Allow    []netip.Prefix // the out-of-band prefixes: no other address is dialled
	StateDir string         // where sessions are journalled, so that a crash leaks none
	Limits   broker.Limits
	Observe  func(broker.Observation) // for metrics; may be nil
}

// New makes an Opener.
func New(o Options) *Opener {
	return &Opener{
		pool: broker.NewPool(), allow: o.Allow, stateDir: o.StateDir, limits: o.Limits, observe: o.Observe,
		caches: map[string]cache{},
	}
}

// Open logs in. The errors are those of broker.Dial and of the drivers.
func (o *Opener) Open(ctx context.Context, e bmc.Endpoint, c bmc.Credentials) (bmc.Controller, error) {
	switch e.Protocol {
	case bmc.Redfish:
		cfg := broker.Config{
			Endpoint: e, Credentials: c, Allow: o.allow, StateDir: o.stateDir, Limits: o.limits, Observe: o.observe,
		}
		if e.OldCiphers {
			cfg.TLS.CipherSuites = quirks.OldCipherSuites()
		}
		conn, err := o.pool.Dial(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return redfish.New(conn, redfish.Options{System: e.System, Serial: e.Serial, Cache: o.cache(e, conn.Fingerprint())}), nil
	case bmc.IPMI:
		guard, err := o.pool.Guard(e.Address, o.limits, nil)
		if err != nil {
			return nil, err
		}
		return ipmi.Open(ctx, ipmi.Config{Endpoint: e, Credentials: c, Allow: o.allow, Guard: guard})
	}
	return nil, fmt.Errorf("BMC %s: there is no driver for protocol %q", e.Address, e.Protocol)
}

// cache holds what was read of one machine, which its certificate tells from another at the address.
type cache struct {
	fingerprint string
	*reader.Cache
}

// cache gives the answers of earlier readings. At first contact nothing is known of the machine.
func (o *Opener) cache(e bmc.Endpoint, fingerprint string) *reader.Cache {
	if e.Pin == "" || fingerprint == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.caches[e.Address]
	if c.Cache == nil || c.fingerprint != fingerprint {
		c = cache{fingerprint, reader.NewCache()}
		o.caches[e.Address] = c
	}
	return c.Cache
}

// CleanUp gives back the sessions that an earlier process of this worker left on BMCs. It may run beside
// everything else. What it cannot give back, the next login to that BMC does.
func (o *Opener) CleanUp(ctx context.Context) error {
	return o.pool.CleanUp(ctx, broker.Config{Allow: o.allow, StateDir: o.stateDir, Limits: o.limits, Observe: o.observe})
}

// ForgetRefused lets the BMC be asked again with these credentials that it refused before, unless too many were
// refused just now.
func (o *Opener) ForgetRefused(e bmc.Endpoint, all []bmc.Credentials) bool {
	guard, err := o.pool.Guard(e.Address, o.limits, nil)
	return err == nil && guard.ForgetRefused(all...)
}

// CloseIdle logs out of BMCs that nobody used for the given time.
func (o *Opener) CloseIdle(ctx context.Context, unused time.Duration) error {
	return o.pool.CloseIdle(ctx, unused)
}

// Close logs out of every BMC.
func (o *Opener) Close(ctx context.Context) error { return o.pool.Close(ctx) }
