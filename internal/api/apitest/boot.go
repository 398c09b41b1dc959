package apitest

import (
	"context"
	"slices"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// boots is the part of MemoryStore that answers for booting machines. It keeps the rules of
// internal/postgres, whose tests prove them; limits and audit rows are left out.
type boots struct {
	records  []*operation.BootRecord
	tokens   map[operation.BootSum]int64
	events   []operation.BootEvent
	commands []*operation.AgentCommand
}

// OpenBoot opens a record for a machine that an operation holds.
func (m *MemoryStore) OpenBoot(_ context.Context, o operation.BootOpen) (operation.BootRecord, bool, error) {
	unlock, err := m.lock()
	defer unlock()
	h, held := m.holder(o.Asset)
	switch {
	case err != nil:
		return operation.BootRecord{}, false, err
	case !held || h.Operation != o.Operation:
		return operation.BootRecord{}, false, fault.New(fault.Conflict, "%s does not hold asset %s", o.Operation, o.Asset)
	}
	if m.boots.tokens == nil {
		m.boots.tokens = map[operation.BootSum]int64{}
	}
	for _, b := range m.boots.records {
		if b.Operation == o.Operation && b.Asset.ID == o.Asset && b.Step == o.Step && b.Purpose == o.Purpose && b.Attempt == o.Attempt {
			if err := b.Live(o.At); err != nil {
				return operation.BootRecord{}, false, err
			}
			m.boots.tokens[o.TokenSum] = b.ID
			return *b, false, nil
		}
	}
	for _, b := range m.boots.records {
		if b.Asset.ID == o.Asset && b.Revoked.IsZero() {
			b.Revoked = o.At
		}
	}
	var macs []string
	for _, s := range o.MACs {
		if mac, ok := asset.NormalMAC(s); ok {
			macs = append(macs, mac)
		}
	}
	b := &operation.BootRecord{ID: int64(len(m.boots.records) + 1), Operation: o.Operation, Asset: h.Asset, Step: o.Step, Purpose: o.Purpose, Attempt: o.Attempt,
		MACs: macs, Serial: o.Serial, UUID: o.UUID, Machine: o.Machine, Opened: o.At, Expires: o.Expires}
	m.boots.records = append(m.boots.records, b)
	m.boots.tokens[o.TokenSum] = b.ID
	return m.boot(b), true, nil
}

// boot gives a copy with the state of its run.
func (m *MemoryStore) boot(b *operation.BootRecord) operation.BootRecord {
	out := *b
	out.Stages = slices.Clone(b.Stages)
	for _, r := range m.operations[b.Operation].detail.Runs {
		if r.Asset.ID == b.Asset.ID {
			out.Run = r.State
		}
	}
	return out
}

// CloseBoot closes a record.
func (m *MemoryStore) CloseBoot(_ context.Context, id int64, at time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	if b := m.boots.records[id-1]; err == nil && b.Revoked.IsZero() {
		b.Revoked = at
	}
	return err
}

// GetBoot gives a record.
func (m *MemoryStore) GetBoot(_ context.Context, id int64) (operation.BootRecord, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.BootRecord{}, err
	}
	if id < 1 || id > int64(len(m.boots.records)) {
		return operation.BootRecord{}, fault.New(fault.NotFound, "there is no boot record %d", id)
	}
	return m.boot(m.boots.records[id-1]), nil
}

// BootState gives the newest record of a step's attempt, or of the operation, with its events.
func (m *MemoryStore) BootState(_ context.Context, op operation.ID, id asset.ID, step string, attempt int) (operation.BootState, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.BootState{}, err
	}
	for _, b := range slices.Backward(m.boots.records) {
		if b.Operation != op || b.Asset.ID != id || step != "" && (b.Step != step || b.Attempt != attempt) {
			continue
		}
		out := operation.BootState{Record: m.boot(b)}
		for _, e := range m.boots.events {
			if e.Boot == b.ID {
				out.Events = append(out.Events, e)
			}
		}
		return out, nil
	}
	return operation.BootState{}, fault.New(fault.NotFound, "%s opened no boot record for asset %s", op, id)
}

// BootByToken finds a record by a token.
func (m *MemoryStore) BootByToken(_ context.Context, sum operation.BootSum) (operation.BootRecord, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.BootRecord{}, err
	}
	id, ok := m.boots.tokens[sum]
	if !ok {
		return operation.BootRecord{}, fault.New(fault.NotFound, "nobody made this one-time token")
	}
	return m.boot(m.boots.records[id-1]), nil
}

// BootByMAC finds an open record by a MAC.
func (m *MemoryStore) BootByMAC(_ context.Context, mac string, now time.Time) (operation.BootRecord, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.BootRecord{}, err
	}
	normal, _ := asset.NormalMAC(mac)
	for _, b := range m.boots.records {
		if got := m.boot(b); slices.Contains(b.MACs, normal) && got.Live(now) == nil {
			return got, nil
		}
	}
	return operation.BootRecord{}, fault.New(fault.NotFound, "no operation boots a machine with MAC %s", mac)
}

// AddBootToken makes a token good.
func (m *MemoryStore) AddBootToken(_ context.Context, id int64, sum operation.BootSum, _ time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	if owner, known := m.boots.tokens[sum]; err == nil && known && owner != id {
		err = fault.New(fault.Conflict, "the token belongs to another boot record")
	}
	if err == nil {
		m.boots.tokens[sum] = id
	}
	return err
}

// SaveEvent keeps an event.
func (m *MemoryStore) SaveEvent(_ context.Context, e operation.BootEvent) (operation.Heard, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.Heard{}, err
	}
	b := m.boots.records[e.Boot-1]
	e.Digest = operation.DigestOf(e.Stage, e.Body)
	for _, known := range m.boots.events {
		if known.Boot == e.Boot && known.Digest == e.Digest {
			return operation.Heard{Sequence: known.Sequence, Digest: e.Digest, Repeated: true}, nil
		}
	}
	if err := m.boot(b).Live(e.At); err != nil {
		return operation.Heard{}, err
	}
	if !operation.OwnStage(e.Stage) {
		if err := b.Prove(operation.IdentityOf(e.Body)); err != nil {
			m.heard(b, operation.BootEvent{Stage: operation.StageRefused, Body: []byte(err.Error()), From: e.From, At: e.At})
			return operation.Heard{}, err
		}
	}
	return operation.Heard{Sequence: m.heard(b, e), Digest: e.Digest}, nil
}

func (m *MemoryStore) heard(b *operation.BootRecord, e operation.BootEvent) int64 {
	e.Boot, e.Sequence, e.Digest = b.ID, int64(len(m.boots.events)+1), operation.DigestOf(e.Stage, e.Body)
	m.boots.events = append(m.boots.events, e)
	if !slices.Contains(b.Stages, e.Stage) {
		b.Stages = append(b.Stages, e.Stage)
	}
	return e.Sequence
}

// BootEvents gives what a machine reported.
func (m *MemoryStore) BootEvents(_ context.Context, op operation.ID, id asset.ID) ([]operation.BootEvent, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.BootEvent
	for _, e := range m.boots.events {
		if b := m.boots.records[e.Boot-1]; b.Operation == op && b.Asset.ID == id {
			out = append(out, e)
		}
	}
	return out, err
}

// QueueCommand gives an agent something to do.
func (m *MemoryStore) QueueCommand(_ context.Context, c operation.AgentCommand) (operation.AgentCommand, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return c, err
	}
	if known := m.command(c.Boot, c.ID); known != nil {
		return *known, nil
	}
	c.State = operation.CommandQueued
	m.boots.commands = append(m.boots.commands, &c)
	return c, nil
}

func (m *MemoryStore) command(boot int64, id string) *operation.AgentCommand {
	for _, c := range m.boots.commands {
		if c.Boot == boot && c.ID == id {
			return c
		}
	}
	return nil
}

// ClaimAgent binds a machine to a record.
func (m *MemoryStore) ClaimAgent(_ context.Context, id int64, who operation.BootIdentity, from string, at time.Time) (operation.BootRecord, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.BootRecord{}, err
	}
	b := m.boots.records[id-1]
	if err := m.boot(b).Live(at); err != nil {
		return operation.BootRecord{}, err
	}
	err = b.Prove(who)
	if err == nil && b.Claimed != nil && !b.Claimed.Same(who) {
		err = fault.New(fault.BootClaimed, "%s was claimed by another machine", b.Asset.Name)
	}
	if err != nil {
		m.heard(b, operation.BootEvent{Stage: operation.StageRefused, Body: []byte(err.Error()), From: from, At: at})
		return operation.BootRecord{}, err
	}
	if b.Claimed == nil {
		b.Claimed = &who
		m.heard(b, operation.BootEvent{Stage: operation.StageClaimed, From: from, At: at})
	}
	return m.boot(b), nil
}

// NextCommand gives the oldest command that has not ended.
func (m *MemoryStore) NextCommand(_ context.Context, id int64, at time.Time) (*operation.AgentCommand, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	b := m.boots.records[id-1]
	if err := m.boot(b).Live(at); err != nil {
		return nil, err
	}
	if b.Claimed == nil {
		return nil, fault.New(fault.Conflict, "no agent has claimed boot record %d", id)
	}
	for _, c := range m.boots.commands {
		if c.Boot == id && !c.State.Ended() {
			c.State = operation.CommandRunning
			out := *c
			return &out, nil
		}
	}
	return nil, nil
}

// AgentProgress notes how far a command is.
func (m *MemoryStore) AgentProgress(_ context.Context, id int64, command string, p operation.Progress, at time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	if err == nil {
		err = m.boot(m.boots.records[id-1]).Live(at)
	}
	if err != nil {
		return err
	}
	c := m.command(id, command)
	if c == nil {
		return fault.New(fault.NotFound, "boot record %d has no command %s", id, command)
	}
	c.Progress = &p
	return nil
}

// FinishCommand keeps a command's first result.
func (m *MemoryStore) FinishCommand(_ context.Context, id int64, command string, r operation.CommandResult, from string, at time.Time) (operation.AgentCommand, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return operation.AgentCommand{}, err
	}
	c := m.command(id, command)
	if c == nil {
		return operation.AgentCommand{}, fault.New(fault.NotFound, "boot record %d has no command %s", id, command)
	}
	if err := r.Check(command); err != nil {
		return operation.AgentCommand{}, err
	}
	if !c.State.Ended() {
		c.State, c.Result, c.Error, c.Ended = r.State, r.Result, r.Error, at
		m.heard(m.boots.records[id-1], operation.BootEvent{Stage: c.Stage(), Body: []byte("command=" + command), From: from, At: at})
	}
	return *c, nil
}

// Command gives a command as it stands.
func (m *MemoryStore) Command(id string) (operation.AgentCommand, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.boots.commands {
		if c.ID == id {
			return *c, true
		}
	}
	return operation.AgentCommand{}, false
}
