package webtest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// Records is a NetBox in memory. Its fields may be set until it is used.
type Records struct {
	Racks   []inventory.Rack
	Devices []inventory.Device

	mu    sync.Mutex
	down  error
	asked int
	gate  chan struct{}
}

// Break makes every call fail with err, until Break(nil).
func (r *Records) Break(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

// Asked is how often it was asked.
func (r *Records) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// Hold makes every call wait until release is called.
func (r *Records) Hold() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gate := make(chan struct{})
	r.gate = gate
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.gate = nil
		close(gate)
	}
}

func (r *Records) ask(ctx context.Context) error {
	r.mu.Lock()
	r.asked++
	gate, down := r.gate, r.down
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return down
}

// Rack gives one of Racks.
func (r *Records) Rack(ctx context.Context, site, name string) (inventory.Rack, error) {
	if err := r.ask(ctx); err != nil {
		return inventory.Rack{}, err
	}
	for _, k := range r.Racks {
		if k.Site.Slug == site && k.Name == name {
			return k, nil
		}
	}
	return inventory.Rack{}, &inventory.Error{Kind: inventory.ErrNotFound, Op: "read rack", Names: []string{name}}
}

// Describe gives devices by ID.
func (r *Records) Describe(ctx context.Context, ids []asset.ID) ([]inventory.Device, error) {
	return r.choose(ctx, func(d inventory.Device) bool { return slices.Contains(ids, d.ID) })
}

// Find gives devices by name or serial.
func (r *Records) Find(ctx context.Context, q inventory.Query) ([]inventory.Device, error) {
	fold := func(list []string, v string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, v) })
	}
	return r.choose(ctx, func(d inventory.Device) bool { return fold(q.Names, d.Name) || fold(q.Serials, d.Serial) })
}

func (r *Records) choose(ctx context.Context, want func(inventory.Device) bool) ([]inventory.Device, error) {
	if err := r.ask(ctx); err != nil {
		return nil, err
	}
	var out []inventory.Device
	for _, d := range r.Devices {
		if want(d) {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		return nil, &inventory.Error{Kind: inventory.ErrNotFound, Op: "find devices"}
	}
	return out, nil
}
