// Package webtest holds what tests of the pages put behind their ports: Memory is a store without
// PostgreSQL, Records is a NetBox without NetBox. Both can be broken, both count what they are asked,
// and both are safe for concurrent use. Scene fills them with a night in a data center.
package webtest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// Memory is a store in memory. Its fields may be set until it is used.
type Memory struct {
	Operations []operation.Detail // newest first
	Beats      []operation.Heartbeat
	Moves      []operation.StatusMove
	Proofs     map[asset.ID]operation.Proof
	Systems    map[asset.ID]*operation.Installed
	Behind     operation.Backlog

	mu     sync.Mutex
	events []operation.Event
	down   error
	most   int // rows that one call gave at most
}

// Break makes every call fail with err, until Break(nil).
func (m *Memory) Break(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// Most is how many rows the largest answer had.
func (m *Memory) Most() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}

// Happen adds an event.
func (m *Memory) Happen(e operation.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Seq = int64(len(m.events) + 1)
	m.events = append(m.events, e)
}

// Change changes an operation under the lock, and tells of it.
func (m *Memory) Change(id operation.ID, a asset.ID, change func(*operation.Run), e operation.Event) {
	m.mu.Lock()
	for i := range m.Operations {
		d := &m.Operations[i]
		for j := range d.Runs {
			if d.ID == id && d.Runs[j].Asset.ID == a {
				change(&d.Runs[j])
			}
		}
		Count(d)
	}
	m.mu.Unlock()
	e.Operation, e.Asset = id, a
	m.Happen(e)
}

// Count sets an operation's numbers from its runs.
func Count(d *operation.Detail) {
	d.Counts = map[operation.State]int{}
	d.Assets, d.Sites = len(d.Runs), nil
	for _, r := range d.Runs {
		d.Counts[r.State]++
		if !slices.Contains(d.Sites, r.Asset.Site) {
			d.Sites = append(d.Sites, r.Asset.Site)
		}
	}
	d.State = operation.Combine(d.Counts)
}

func (m *Memory) lock() (unlock func(), err error) {
	m.mu.Lock()
	return m.mu.Unlock, m.down
}

func sees(sites []string, site string) bool { return len(sites) == 0 || slices.Contains(sites, site) }

// ListOperations lists as the store does.
func (m *Memory) ListOperations(_ context.Context, f operation.Filter) (out []operation.Summary, err error) {
	unlock, err := m.lock()
	defer unlock()
	for _, d := range m.Operations {
		if (len(f.States) > 0 && !slices.Contains(f.States, d.State)) || (f.Site != "" && !slices.Contains(d.Sites, f.Site)) ||
			(f.Actor != "" && f.Actor != d.Actor) || (f.Before != "" && d.ID >= f.Before) ||
			(len(f.Sites) > 0 && !slices.ContainsFunc(d.Sites, func(s string) bool { return sees(f.Sites, s) })) || len(out) == cmp.Or(f.Limit, 50) {
			continue
		}
		out = append(out, d.Summary)
	}
	m.most = max(m.most, len(out))
	return out, err
}

func (m *Memory) operation(id operation.ID) (operation.Detail, error) {
	for _, d := range m.Operations {
		if d.ID == id {
			return d, nil
		}
	}
	return operation.Detail{}, fault.New(fault.NotFound, "there is no operation %s", id)
}

// OperationHead gives an operation without its runs.
func (m *Memory) OperationHead(_ context.Context, id operation.ID) (operation.Detail, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.Detail{}, err
	}
	d, err := m.operation(id)
	d.Runs = nil
	return d, err
}

// ListRuns lists as the store does, in the order of urgency.
func (m *Memory) ListRuns(_ context.Context, f operation.RunFilter) (out []operation.RunRow, more bool, err error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return nil, false, err
	}
	for _, d := range m.Operations {
		for _, r := range d.Runs {
			if (f.Operation != "" && d.ID != f.Operation) || (f.Asset != 0 && r.Asset.ID != f.Asset) || !sees(f.Sites, r.Asset.Site) ||
				(len(f.States) > 0 && !slices.Contains(f.States, r.State)) || (f.Failed && r.State != operation.Failed) ||
				(f.Step != "" && r.Step != f.Step) || !strings.HasPrefix(strings.ToLower(r.Asset.Name), strings.ToLower(f.Name)) {
				continue
			}
			row := operation.RunRow{Run: r, Kind: d.Kind, Actor: d.Actor, Of: len(r.Steps)}
			for i, s := range r.Steps {
				if s.Name == r.Step {
					row.Current = &r.Steps[i]
				}
				if s.State.Ended() {
					row.Behind++
				}
			}
			row.Steps = nil
			out = append(out, row)
		}
	}
	order := []operation.State{operation.Waiting, operation.Away, operation.Paused, operation.Failed, operation.Running, operation.Aborted, operation.Queued, operation.Done}
	if f.Operation != "" {
		slices.SortStableFunc(out, func(a, b operation.RunRow) int {
			return cmp.Or(slices.Index(order, a.State)-slices.Index(order, b.State), cmp.Compare(a.Asset.Name, b.Asset.Name))
		})
	}
	out = out[min(f.Skip, len(out)):]
	limit := cmp.Or(f.Limit, 100)
	more = len(out) > limit
	out = out[:min(len(out), limit)]
	m.most = max(m.most, len(out))
	return out, more, nil
}

// GetRun gives one run.
func (m *Memory) GetRun(_ context.Context, id operation.ID, a asset.ID) (operation.Run, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.Run{}, err
	}
	d, err := m.operation(id)
	for _, r := range d.Runs {
		if r.Asset.ID == a {
			return r, err
		}
	}
	return operation.Run{}, cmp.Or(err, error(fault.New(fault.NotFound, "operation %s has no asset %s", id, a)))
}

// LiveRuns counts what has not ended.
func (m *Memory) LiveRuns(_ context.Context, id operation.ID, sites []string) (out []operation.Live, err error) {
	unlock, err := m.lock()
	defer unlock()
	for _, d := range m.Operations {
		for _, r := range d.Runs {
			if r.State.Ended() || (id != "" && d.ID != id) || !sees(sites, r.Asset.Site) {
				continue
			}
			i := slices.IndexFunc(out, func(l operation.Live) bool {
				return l.Operation == d.ID && l.Site == r.Asset.Site && l.State == r.State && l.Step == r.Step
			})
			if i < 0 {
				out = append(out, operation.Live{Operation: d.ID, Site: r.Asset.Site, State: r.State, Step: r.Step, Since: r.Updated})
				i = len(out) - 1
			}
			out[i].Runs++
			if r.Updated.Before(out[i].Since) {
				out[i].Since = r.Updated
			}
		}
	}
	return out, err
}

// RackLoads counts by rack.
func (m *Memory) RackLoads(_ context.Context, site string, sites []string) (out []operation.RackLoad, err error) {
	unlock, err := m.lock()
	defer unlock()
	seen := map[asset.ID]bool{}
	for _, d := range m.Operations {
		for _, r := range d.Runs {
			if seen[r.Asset.ID] || (site != "" && r.Asset.Site != site) || !sees(sites, r.Asset.Site) {
				continue
			}
			seen[r.Asset.ID] = true
			i := slices.IndexFunc(out, func(l operation.RackLoad) bool { return l.Site == r.Asset.Site && l.Rack == r.Asset.Rack })
			if i < 0 {
				out = append(out, operation.RackLoad{Site: r.Asset.Site, Rack: r.Asset.Rack, Counts: map[operation.State]int{}})
				i = len(out) - 1
			}
			out[i].Counts[r.State]++
		}
	}
	slices.SortFunc(out, func(a, b operation.RackLoad) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Rack, b.Rack))
	})
	return out, err
}

// NewestRuns gives the newest run of each.
func (m *Memory) NewestRuns(_ context.Context, ids []asset.ID) (map[asset.ID]operation.Run, error) {
	unlock, err := m.lock()
	defer unlock()
	out := map[asset.ID]operation.Run{}
	for _, d := range slices.Backward(m.Operations) {
		for _, r := range d.Runs {
			if slices.Contains(ids, r.Asset.ID) {
				out[r.Asset.ID] = r
			}
		}
	}
	return out, err
}

// StatusMoves gives all moves, whatever the asset.
func (m *Memory) StatusMoves(context.Context, asset.ID) ([]operation.StatusMove, error) {
	unlock, err := m.lock()
	defer unlock()
	return m.Moves, err
}

// Known gives Systems' of the asset.
func (m *Memory) Known(_ context.Context, a asset.Ref) (operation.Known, error) {
	unlock, err := m.lock()
	defer unlock()
	return operation.Known{Installed: m.Systems[a.ID]}, err
}

// LatestProof gives what Proofs holds.
func (m *Memory) LatestProof(_ context.Context, id asset.ID, kind string) (operation.Proof, error) {
	unlock, err := m.lock()
	defer unlock()
	p, ok := m.Proofs[id]
	if err == nil && !ok {
		err = fault.New(fault.NotFound, "there is no %s evidence of asset %s", kind, id)
	}
	return p, err
}

func (m *Memory) chosen(f operation.EventFilter) (out []operation.Event) {
	for _, e := range m.events {
		if e.Seq > f.After && (f.Operation == "" || f.Operation == e.Operation) {
			out = append(out, e)
		}
	}
	return out
}

// LatestEvents gives the newest first.
func (m *Memory) LatestEvents(_ context.Context, f operation.EventFilter) ([]operation.Event, error) {
	unlock, err := m.lock()
	defer unlock()
	out := m.chosen(f)
	slices.Reverse(out)
	return out[:min(len(out), cmp.Or(f.Limit, 50))], err
}

// Events gives them in order.
func (m *Memory) Events(_ context.Context, f operation.EventFilter) ([]operation.Event, error) {
	unlock, err := m.lock()
	defer unlock()
	out := m.chosen(f)
	return out[:min(len(out), cmp.Or(f.Limit, 500))], err
}

// LastEvent is the newest number.
func (m *Memory) LastEvent(context.Context) (int64, error) {
	unlock, err := m.lock()
	defer unlock()
	return int64(len(m.events)), err
}

// Heartbeats lists them.
func (m *Memory) Heartbeats(context.Context) ([]operation.Heartbeat, error) {
	unlock, err := m.lock()
	defer unlock()
	return m.Beats, err
}

// Backlog gives what Behind says.
func (m *Memory) Backlog(context.Context) (operation.Backlog, error) {
	unlock, err := m.lock()
	defer unlock()
	return m.Behind, err
}
