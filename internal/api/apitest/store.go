// Package apitest starts the real API over HTTP with fakes behind its ports, for tests of the API, its
// client and the command line. The fakes keep everything in memory and are named by what they do:
// MemoryStore remembers, Fleet is a rack of machines, Runs carries out commands on the store's runs,
// Safe keeps passwords. All are safe for concurrent use.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// MemoryStore is a store without PostgreSQL.
type MemoryStore struct {
	mu         sync.Mutex
	operations map[operation.ID]*stored
	order      []operation.ID
	events     []operation.Event
	tokens     map[[32]byte]operation.Token
	beats      map[string]operation.Heartbeat
	firmware   []operation.FirmwareFile
	audit      []operation.AuditEntry
	histories  map[asset.ID]operation.InstallHistory
	known      map[asset.ID]operation.Known
	blobs      map[string]json.RawMessage
	down       error
	boots      boots
	auditDown  error

	// Clock is the store's own.
	Clock func() time.Time
	// Sent tells whether the outbox was relayed: then nothing is aborted before its start.
	Sent bool
}

type stored struct {
	request operation.Request
	detail  operation.Detail
}

// NewMemoryStore makes an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{operations: map[operation.ID]*stored{}, tokens: map[[32]byte]operation.Token{},
		beats: map[string]operation.Heartbeat{}, histories: map[asset.ID]operation.InstallHistory{},
		blobs: map[string]json.RawMessage{}, Clock: time.Now, Sent: true}
}

// Break makes every call fail with err, until Break(nil).
func (m *MemoryStore) Break(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// lock locks and tells whether the store works.
func (m *MemoryStore) lock() (unlock func(), err error) {
	m.mu.Lock()
	return m.mu.Unlock, m.down
}

// CreateOperation stores a request.
func (m *MemoryStore) CreateOperation(_ context.Context, r operation.Request) (operation.ID, bool, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return "", false, err
	}
	for _, s := range m.operations {
		if s.request.Actor == r.Actor && s.request.Key == r.Key {
			return s.request.ID, false, nil
		}
	}
	d := operation.Detail{Summary: operation.Summary{ID: r.ID, Kind: r.Plan.Kind, Until: r.Plan.Until, State: operation.Queued, Actor: r.Actor,
		Reason: r.Reason, Ticket: r.Ticket, Hash: r.Plan.Hash, Window: r.Window, Assets: len(r.Plan.Targets), Created: r.At}}
	for _, t := range r.Plan.Targets {
		if h, held := m.holder(t.Asset.ID); held {
			e := fault.New(fault.Locked, "%s is held by operation %s", t.Asset.Name, h.Operation)
			e.Holder = string(h.Operation)
			return "", false, e
		}
		run := operation.Run{Operation: r.ID, Asset: t.Asset, Profile: t.Profile, State: operation.Queued}
		for _, s := range t.Steps {
			run.Steps = append(run.Steps, operation.Step{Name: s.Name, Kind: s.Kind, Title: s.Title, State: operation.StepPending})
		}
		d.Runs = append(d.Runs, run)
		if !slices.Contains(d.Sites, t.Asset.Site) {
			d.Sites = append(d.Sites, t.Asset.Site)
		}
	}
	m.operations[r.ID] = &stored{r, d}
	m.order = append([]operation.ID{r.ID}, m.order...)
	m.append(operation.Event{At: r.At, Operation: r.ID, Kind: "requested", State: operation.Queued, Text: "requested by " + r.Actor, Actor: r.Actor})
	return r.ID, true, nil
}

func (m *MemoryStore) append(e operation.Event) {
	e.Seq = int64(len(m.events) + 1)
	m.events = append(m.events, e)
}

// Move puts a run into a state and step, as a transition would.
func (m *MemoryStore) Move(id operation.ID, name string, state operation.State, step string, stepState operation.StepState, f *fault.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.operations[id]
	for i := range s.detail.Runs {
		r := &s.detail.Runs[i]
		if r.Asset.Name != name {
			continue
		}
		r.State, r.Step, r.Error = state, step, f
		for j := range r.Steps {
			if r.Steps[j].Name == step {
				r.Steps[j].State, r.Steps[j].Error = stepState, f
			}
		}
		text := string(stepState)
		if f != nil {
			text = f.Message
		}
		m.append(operation.Event{At: s.request.At, Operation: id, Asset: r.Asset.ID, Name: name, Kind: "transition", State: state,
			Step: step, StepState: stepState, Text: text, Error: f})
	}
	s.detail.Counts = map[operation.State]int{}
	for _, r := range s.detail.Runs {
		s.detail.Counts[r.State]++
	}
	was := s.detail.State
	s.detail.State = operation.Combine(s.detail.Counts)
	if s.detail.State != was && s.detail.State.Ended() {
		m.append(operation.Event{At: s.request.At, Operation: id, Kind: "ended", State: s.detail.State, Text: string(s.detail.State)})
	}
}

func (m *MemoryStore) holder(id asset.ID) (operation.Holder, bool) {
	for _, op := range m.order {
		s := m.operations[op]
		for _, r := range s.detail.Runs {
			if r.Asset.ID == id && !r.State.Ended() {
				t, _ := s.request.Plan.Target(id)
				return operation.Holder{Operation: s.request.ID, Asset: r.Asset, State: r.State, Actor: s.request.Actor,
					Step: r.Step, Account: t.BMC.Account}, true
			}
		}
	}
	return operation.Holder{}, false
}

// OperationByKey finds an operation by its idempotency key.
func (m *MemoryStore) OperationByKey(_ context.Context, actor, key string) (operation.ID, string, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return "", "", err
	}
	for _, s := range m.operations {
		if s.request.Actor == actor && s.request.Key == key {
			return s.request.ID, s.request.Digest, nil
		}
	}
	return "", "", fault.New(fault.NotFound, "no operation with key %q", key)
}

// ListOperations lists the newest first.
func (m *MemoryStore) ListOperations(_ context.Context, f operation.Filter) ([]operation.Summary, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.Summary
	for _, id := range m.order {
		d := m.operations[id].detail
		if (len(f.States) == 0 || slices.Contains(f.States, d.State)) && (len(f.Sites) == 0 || overlap(f.Sites, d.Sites)) &&
			(f.Actor == "" || f.Actor == d.Actor) {
			out = append(out, d.Summary)
		}
	}
	return out, err
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// GetOperation gives a copy.
func (m *MemoryStore) GetOperation(_ context.Context, id operation.ID) (operation.Detail, error) {
	unlock, err := m.lock()
	defer unlock()
	s, ok := m.operations[id]
	switch {
	case err != nil:
		return operation.Detail{}, err
	case !ok:
		return operation.Detail{}, fault.New(fault.NotFound, "no operation %s", id)
	}
	d := s.detail
	d.Runs = slices.Clone(d.Runs)
	for i := range d.Runs {
		d.Runs[i].Steps = slices.Clone(d.Runs[i].Steps)
	}
	return d, nil
}

// GetPlan gives the plan of an operation.
func (m *MemoryStore) GetPlan(_ context.Context, id operation.ID) (plan.Plan, error) {
	unlock, err := m.lock()
	defer unlock()
	s, ok := m.operations[id]
	switch {
	case err != nil:
		return plan.Plan{}, err
	case !ok:
		return plan.Plan{}, fault.New(fault.NotFound, "no operation %s", id)
	}
	return s.request.Plan, nil
}

// AssetHistory gives the runs of an asset.
func (m *MemoryStore) AssetHistory(_ context.Context, id asset.ID, limit int) ([]operation.Run, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.Run
	for _, op := range m.order {
		for _, r := range m.operations[op].detail.Runs {
			if r.Asset.ID == id && len(out) < limit {
				out = append(out, r)
			}
		}
	}
	return out, err
}

// Events gives events in order.
func (m *MemoryStore) Events(_ context.Context, f operation.EventFilter) ([]operation.Event, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.Event
	for _, e := range m.events {
		if e.Seq > f.After && (f.Operation == "" || f.Operation == e.Operation) && (f.Limit == 0 || len(out) < f.Limit) {
			out = append(out, e)
		}
	}
	return out, err
}

// LastEvent is the newest number.
func (m *MemoryStore) LastEvent(context.Context) (int64, error) {
	unlock, err := m.lock()
	defer unlock()
	return int64(len(m.events)), err
}

// CurrentHolders gives who holds what.
func (m *MemoryStore) CurrentHolders(_ context.Context, ids []asset.ID) (map[asset.ID]operation.Holder, error) {
	unlock, err := m.lock()
	defer unlock()
	out := map[asset.ID]operation.Holder{}
	for _, id := range ids {
		if h, ok := m.holder(id); ok {
			out[id] = h
		}
	}
	return out, err
}

// Known gives what Installed has set.
func (m *MemoryStore) Known(_ context.Context, a asset.Ref) (operation.Known, error) {
	unlock, err := m.lock()
	defer unlock()
	return m.known[a.ID], err
}

// Installed gives an asset a system.
func (m *MemoryStore) Installed(id asset.ID, i operation.Installed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[asset.ID]operation.Known{}
	}
	m.known[id] = operation.Known{Installed: &i}
}

// Remember gives an asset a past.
func (m *MemoryStore) Remember(id asset.ID, h operation.InstallHistory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.histories[id] = h
}

// ObserveStatus notes that a device was active; other statuses change no answer here.
func (m *MemoryStore) ObserveStatus(_ context.Context, id asset.ID, status asset.Status, _ time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	if err == nil && status == asset.Active {
		h := m.histories[id]
		h.EverActive = true
		m.histories[id] = h
	}
	return err
}

// InstallHistories gives what Remember was told.
func (m *MemoryStore) InstallHistories(context.Context, []asset.ID) (map[asset.ID]operation.InstallHistory, error) {
	unlock, err := m.lock()
	defer unlock()
	return m.histories, err
}

// SaveHeartbeat keeps the last one of a worker.
func (m *MemoryStore) SaveHeartbeat(_ context.Context, h operation.Heartbeat) (time.Duration, error) {
	unlock, err := m.lock()
	defer unlock()
	h.At = m.Clock()
	h.SkewMS = h.Clock.Sub(h.At).Milliseconds()
	m.beats[h.Site+"/"+h.Worker] = h
	return h.Clock.Sub(h.At), err
}

// Heartbeats lists them.
func (m *MemoryStore) Heartbeats(context.Context) ([]operation.Heartbeat, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.Heartbeat
	for _, h := range m.beats {
		out = append(out, h)
	}
	return out, err
}

// CreateToken keeps a token.
func (m *MemoryStore) CreateToken(_ context.Context, t operation.Token, sum [32]byte) error {
	unlock, err := m.lock()
	defer unlock()
	m.tokens[sum] = t
	return err
}

// ListTokens lists tokens by person.
func (m *MemoryStore) ListTokens(context.Context) ([]operation.Token, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.Token
	for _, t := range m.tokens {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b operation.Token) int { return strings.Compare(a.Person, b.Person) })
	return out, err
}

// RevokeToken revokes a token.
func (m *MemoryStore) RevokeToken(_ context.Context, id, _ string, at time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return err
	}
	for sum, t := range m.tokens {
		if t.ID == id {
			t.Revoked = at
			m.tokens[sum] = t
			return nil
		}
	}
	return fault.New(fault.NotFound, "no token %s", id)
}

// Authenticate finds a token.
func (m *MemoryStore) Authenticate(_ context.Context, sum [32]byte, _ time.Time) (operation.Token, error) {
	unlock, err := m.lock()
	defer unlock()
	t, ok := m.tokens[sum]
	if err == nil && !ok {
		err = fault.New(fault.Unauthenticated, "the token is unknown")
	}
	return t, err
}

// SaveFirmware adds to the catalogue.
func (m *MemoryStore) SaveFirmware(_ context.Context, f operation.FirmwareFile) error {
	unlock, err := m.lock()
	defer unlock()
	m.firmware = append(m.firmware, f)
	return err
}

// ListFirmware gives the catalogue.
func (m *MemoryStore) ListFirmware(context.Context) ([]operation.FirmwareFile, error) {
	unlock, err := m.lock()
	defer unlock()
	return slices.Clone(m.firmware), err
}

// Audit keeps a row.
func (m *MemoryStore) Audit(_ context.Context, e operation.AuditEntry) error {
	unlock, err := m.lock()
	defer unlock()
	if err == nil {
		err = m.auditDown
	}
	if err != nil {
		return err
	}
	m.audit = append(m.audit, e)
	return nil
}

// Audited lists the rows as "actor action subject".
func (m *MemoryStore) Audited() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.audit {
		out = append(out, fmt.Sprintf("%s %s %s", e.Actor, e.Action, e.Subject))
	}
	return out
}

// VerifyAudit finds nothing wrong.
func (m *MemoryStore) VerifyAudit(context.Context) (operation.AuditReport, error) {
	unlock, err := m.lock()
	defer unlock()
	return operation.AuditReport{Rows: int64(len(m.audit)), Head: "abc"}, err
}

// Ping tells whether Break was called.
func (m *MemoryStore) Ping(context.Context) error {
	unlock, err := m.lock()
	defer unlock()
	return err
}
