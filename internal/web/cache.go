package web

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/inventory"
)

// What NetBox hears of us: a wall screen that looks every few seconds at a rack costs it one reading
// of that rack in freshFor, and however many pages are open, at most inventoryAtOnce readings at once.
const (
	freshFor         = 30 * time.Second
	pastFor          = 2 * time.Second // how long a value counts although a run of ours has ended since
	sorryFor         = 5 * time.Second // how long a failure is not tried again
	staleFor         = time.Hour       // how old a value may be when NetBox is away
	inventoryAtOnce  = 4
	inventoryTimeout = 8 * time.Second
	maxRemembered    = 500 // values; NetBox's own pages are bounded
)

// remembered is an Inventory with a short memory.
type remembered struct {
	inv   Inventory
	clock func() time.Time
	slots chan struct{}
	mu    sync.Mutex
	by    map[string]*memory
}

// memory is one value, or the wish for one: ready is closed when it is there.
type memory struct {
	ready chan struct{}
	value any
	err   error
	at    time.Time
	old   *memory // the last good one, for when NetBox is away
}

func newRemembered(inv Inventory, clock func() time.Time) *remembered {
	return &remembered{inv: inv, clock: clock, slots: make(chan struct{}, inventoryAtOnce), by: map[string]*memory{}}
}

// recall gives the value of a key as it was after since, when something of ours may have changed it. stale is
// the age of a value that is given because NetBox is away; zero: it is fresh.
func recall[T any](ctx context.Context, r *remembered, key string, since time.Time, read func(context.Context) (T, error)) (v T, stale time.Duration, err error) {
	m := r.want(key, since, func(ctx context.Context) (any, error) { return read(ctx) })
	select {
	case <-m.ready:
	case <-ctx.Done():
		return v, 0, fault.Wrap(ctx.Err(), fault.InventoryAway, "NetBox takes too long")
	}
	if m.err == nil {
		return m.value.(T), 0, nil
	}
	away := translate(m.err).Code
	if m.old != nil && (away == fault.InventoryAway || away == fault.InventoryDenied) {
		if age := r.clock().Sub(m.old.at); age < staleFor {
			return m.old.value.(T), max(age, time.Second), nil
		}
	}
	return v, 0, m.err
}

// want finds a memory that is fresh or on its way, or begins one. The reading outlives the request
// that wants it, since others may wait for it too.
func (r *remembered) want(key string, since time.Time, read func(context.Context) (any, error)) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	old := r.by[key]
	if old != nil {
		select {
		case <-old.ready:
			age := now.Sub(old.at)
			past := old.at.Before(since) && age >= pastFor
			if old.err == nil && age < freshFor && !past || old.err != nil && age < sorryFor {
				return old
			}
		default:
			return old
		}
	}
	if len(r.by) >= maxRemembered {
		for k, m := range r.by {
			if now.Sub(m.at) > freshFor {
				delete(r.by, k)
			}
		}
		if len(r.by) >= maxRemembered { // all in use at once: forget rather than grow
			clear(r.by)
		}
	}
	m := &memory{ready: make(chan struct{}), at: now}
	if old != nil {
		m.old = old
		if old.err != nil {
			m.old = old.old
		} else {
			old.old = nil // one is enough
		}
	}
	r.by[key] = m
	go func() {
		defer close(m.ready)
		defer func() {
			if p := recover(); p != nil {
				m.err = fmt.Errorf("panic while reading the inventory: %v", p)
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), inventoryTimeout)
		defer cancel()
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-ctx.Done():
			m.err = fault.Wrap(ctx.Err(), fault.InventoryAway, "NetBox is slow: %d readings are under way", inventoryAtOnce)
			return
		}
		m.value, m.err = read(ctx)
		if m.err != nil && errors.Is(m.err, context.DeadlineExceeded) {
			m.err = fault.Wrap(m.err, fault.InventoryAway, "NetBox did not answer within %s", inventoryTimeout)
		}
	}()
	return m
}

// rack gives a rack as it was after since.
func (r *remembered) rack(ctx context.Context, site, name string, since time.Time) (inventory.Rack, time.Duration, error) {
	return recall(ctx, r, "rack\x00"+site+"\x00"+name, since, func(ctx context.Context) (inventory.Rack, error) { return r.inv.Rack(ctx, site, name) })
}

// device gives a device with its interfaces, as it was after since.
func (r *remembered) device(ctx context.Context, id asset.ID, since time.Time) (inventory.Device, time.Duration, error) {
	return recall(ctx, r, "device\x00"+id.String(), since, func(ctx context.Context) (inventory.Device, error) {
		found, err := r.inv.Describe(ctx, []asset.ID{id})
		if err != nil {
			return inventory.Device{}, err
		}
		if len(found) != 1 {
			return inventory.Device{}, fault.New(fault.NotFound, "NetBox has no device %s", id)
		}
		return found[0], nil
	})
}

// find gives the devices that a person means by a name or a serial.
func (r *remembered) find(ctx context.Context, word string) ([]inventory.Device, error) {
	found, _, err := recall(ctx, r, "find\x00"+word, time.Time{}, func(ctx context.Context) ([]inventory.Device, error) {
		for _, q := range []inventory.Query{{Names: []string{word}}, {Serials: []string{word}}} {
			found, err := r.inv.Find(ctx, q)
			if errors.Is(err, inventory.ErrNotFound) || err == nil && len(found) == 0 {
				continue
			}
			return found, err
		}
		return nil, nil
	})
	return found, err
}
