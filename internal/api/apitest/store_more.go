package apitest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// Edit changes a run as transitions would, e.g. its steps' evidence.
func (m *MemoryStore) Edit(id operation.ID, name string, edit func(*operation.Run)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.operations[id]
	for i := range s.detail.Runs {
		if s.detail.Runs[i].Asset.Name == name {
			edit(&s.detail.Runs[i])
		}
	}
}

// Keep keeps large evidence.
func (m *MemoryStore) Keep(sha256 string, data json.RawMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[sha256] = data
}

// GetRun gives one run.
func (m *MemoryStore) GetRun(ctx context.Context, id operation.ID, a asset.ID) (operation.Run, error) {
	d, err := m.GetOperation(ctx, id)
	if err != nil {
		return operation.Run{}, err
	}
	i := slices.IndexFunc(d.Runs, func(r operation.Run) bool { return r.Asset.ID == a })
	if i < 0 {
		return operation.Run{}, fault.New(fault.NotFound, "no asset %s", a)
	}
	return d.Runs[i], nil
}

// EvidenceBlob gives what Keep kept, to those who may see a run that names it.
func (m *MemoryStore) EvidenceBlob(_ context.Context, sha256 string, sites []string) (json.RawMessage, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, s := range m.operations {
		for _, r := range s.detail.Runs {
			for _, st := range r.Steps {
				if slices.ContainsFunc(st.Evidence, func(e operation.Evidence) bool { return e.Blob == sha256 }) &&
					(len(sites) == 0 || slices.Contains(sites, r.Asset.Site)) {
					return m.blobs[sha256], nil
				}
			}
		}
	}
	return nil, fault.New(fault.NotFound, "no evidence %s", sha256)
}

// AbortUnsent aborts queued runs unless Sent is set.
func (m *MemoryStore) AbortUnsent(_ context.Context, id operation.ID, assets []asset.ID, _ operation.Command, _ time.Time) ([]asset.ID, error) {
	m.mu.Lock()
	down, sent, s := m.down, m.Sent, m.operations[id]
	m.mu.Unlock()
	if down != nil || sent {
		return nil, down
	}
	var out []asset.ID
	for _, r := range slices.Clone(s.detail.Runs) {
		if r.State == operation.Queued && slices.Contains(assets, r.Asset.ID) {
			m.Move(id, r.Asset.Name, operation.Aborted, "", "", nil)
			out = append(out, r.Asset.ID)
		}
	}
	return out, nil
}

// AbortLost aborts a run that is live.
func (m *MemoryStore) AbortLost(ctx context.Context, id operation.ID, a asset.ID, _ operation.Command, _ time.Time) (bool, error) {
	r, err := m.GetRun(ctx, id, a)
	if err != nil || r.State.Ended() || r.State == operation.Queued {
		return false, err
	}
	m.Move(id, r.Asset.Name, operation.Aborted, r.Step, operation.StepAborted, nil)
	return true, nil
}

// Hold notes it.
func (m *MemoryStore) Hold(_ context.Context, id operation.ID, held bool) error {
	unlock, err := m.lock()
	defer unlock()
	m.operations[id].detail.Held = held
	return err
}

// AuditOnce keeps a row unless it is there.
func (m *MemoryStore) AuditOnce(ctx context.Context, e operation.AuditEntry) error {
	m.mu.Lock()
	there := slices.ContainsFunc(m.audit, func(o operation.AuditEntry) bool {
		return o.Actor == e.Actor && o.Action == e.Action && o.Operation == e.Operation && o.Asset == e.Asset && o.Detail == e.Detail
	})
	m.mu.Unlock()
	if there {
		return nil
	}
	return m.Audit(ctx, e)
}

// AuditLog gives the rows, newest first.
func (m *MemoryStore) AuditLog(_ context.Context, f operation.AuditFilter) ([]operation.AuditEntry, error) {
	unlock, err := m.lock()
	defer unlock()
	var out []operation.AuditEntry
	for i, e := range m.audit {
		e.Seq = int64(i + 1)
		if (f.Operation == "" || f.Operation == e.Operation) && (f.Actor == "" || f.Actor == e.Actor) && !e.At.Before(f.Since) && (!f.Chain || e.Seq > f.After) && (f.Limit == 0 || len(out) < f.Limit) {
			out = append(out, e)
		}
	}
	if !f.Chain {
		slices.Reverse(out)
	}
	return out, err
}

// RemoveFirmware removes a file, unless an open plan names it.
func (m *MemoryStore) RemoveFirmware(_ context.Context, sha256 string) error {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(m.firmware, func(f operation.FirmwareFile) bool { return strings.EqualFold(f.SHA256, sha256) })
	if i < 0 {
		return fault.New(fault.NotFound, "no file %s", sha256)
	}
	m.firmware = slices.Delete(m.firmware, i, i+1)
	return nil
}

// BreakAudit makes the audit log alone fail, until BreakAudit(nil).
func (m *MemoryStore) BreakAudit(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.auditDown = err
}

// Request gives what an operation was created with.
func (m *MemoryStore) Request(id operation.ID) operation.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.operations[id].request
}
