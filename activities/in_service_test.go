package activities

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// world is a NetBox with one device and its journal, and people who are told. Its nth effect is
// carried out, and its answer lost.
type world struct {
	inventory.Source
	device  inventory.Device
	journal map[string]string // by operation
	notices map[string]operation.Notice
	moves   []inventory.StatusChange
	loseAt  int
	effects int
}

var errLost = &inventory.Error{Kind: inventory.ErrUnreachable, Op: "write"}

func (w *world) effect() error {
	if w.effects++; w.effects == w.loseAt {
		return errLost
	}
	return nil
}

func (w *world) Device(context.Context, asset.ID) (inventory.Device, error) { return w.device, nil }

func (w *world) SetStatus(_ context.Context, c inventory.StatusChange) (bool, error) {
	if w.device.Status != c.From {
		return false, &inventory.Error{Kind: inventory.ErrConflict, Op: "set status"}
	}
	w.moves = append(w.moves, c)
	w.device.Status = c.To
	if _, marked := w.device.Custom[inventory.OperationField]; marked {
		w.device.Custom = map[string]string{inventory.OperationField: c.Operation}
	}
	return true, w.effect()
}

func (w *world) Journal(_ context.Context, e inventory.JournalEntry) (bool, error) {
	if err := e.Validate(); err != nil {
		return false, err
	}
	if _, there := w.journal[e.Operation]; there {
		return false, nil
	}
	w.journal[e.Operation] = e.Text
	return true, w.effect()
}

func (w *world) Notify(_ context.Context, n operation.Notice) error {
	if old, there := w.notices[n.Key()]; there && old != n {
		return errors.New("another notice under the same key")
	}
	w.notices[n.Key()] = n
	return w.effect()
}

const serviceOp = "op_01JD0000000000000000000000"

func newWorld(status asset.Status, custom map[string]string) *world {
	return &world{device: inventory.Device{ID: 1, Name: "srv-1", Serial: "SN1", Status: status, Custom: custom},
		journal: map[string]string{}, notices: map[string]operation.Notice{}}
}

func serviceCall() Call {
	return Call{Operation: serviceOp, Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1"},
		Step: plan.Step{Kind: plan.KindInService, Version: 1, Want: plan.Encode(plan.WantInService{From: []string{"staged"}, To: "active"})}}
}

// carry calls until the step is done. Every call is made twice, and one whose answer was lost again.
func carry(t *testing.T, w *world, page func(operation.ID) string) (*Done, error) {
	t.Helper()
	a := &Central{Inventory: w, Notices: w, Page: page}
	c := serviceCall()
	for range 10 {
		first, err := a.Step(t.Context(), c)
		if f, ours := operation.FaultOf(err); ours && f.Code == fault.InventoryAway {
			continue
		}
		if err != nil {
			return nil, err
		}
		again, err := a.Step(t.Context(), c)
		if f, ours := operation.FaultOf(err); ours && f.Code == fault.InventoryAway {
			again, err = a.Step(t.Context(), c)
		}
		if err != nil {
			return nil, err
		}
		if first.Done != nil {
			if diff := cmp.Diff(first.Done, again.Done); diff != "" {
				t.Errorf("a repeated call (-first +again):\n%s", diff)
			}
			return first.Done, nil
		}
		c.Handle = first.Again.Handle
	}
	t.Fatal("the step does not end")
	return nil, nil
}

func TestInService(t *testing.T) {
	page := func(op operation.ID) string { return "https://cagenut.example.net/operations/" + string(op) }
	for name, tc := range map[string]struct {
		custom map[string]string
		page   func(operation.ID) string
		text   string
		fields []string
	}{
		"staged by this operation": {map[string]string{inventory.OperationField: serviceOp}, page,
			"Installed and put in service by Cagenut, operation [" + serviceOp + "](https://cagenut.example.net/operations/" + serviceOp + ")",
			[]string{"status", "journal entry"}},
		"staged by another": {map[string]string{inventory.OperationField: "op_OTHER"}, nil,
			"Installed and put in service by Cagenut, operation " + serviceOp, []string{"status", "custom field cagenut_operation", "journal entry"}},
		"a NetBox without our field": {nil, nil,
			"Installed and put in service by Cagenut, operation " + serviceOp, []string{"status", "journal entry"}},
	} {
		for lose := range 4 { // 0: no answer is lost
			w := newWorld(asset.Staged, tc.custom)
			w.loseAt = lose
			done, err := carry(t, w, tc.page)
			if err != nil {
				t.Errorf("%s, lost %d: %v", name, lose, err)
				continue
			}
			var fields []string
			for _, write := range done.Writes {
				fields = append(fields, write.Field)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" || done.Writes[0].Before != "staged" || done.Writes[0].After != "active" {
				t.Errorf("%s, lost %d: writes %v (-want +got):\n%s", name, lose, done.Writes, diff)
			}
			if w.device.Status != asset.Active || len(w.moves) != 1 || len(w.notices) != 1 || len(w.journal) != 1 || w.journal[serviceOp] != tc.text {
				t.Errorf("%s, lost %d: status %s after %d moves, %d notices, journal %q", name, lose, w.device.Status, len(w.moves), len(w.notices), w.journal)
			}
			for _, n := range w.notices {
				if n.Kind != operation.NoticeInService || n.Asset.Name != "srv-1" || n.At.IsZero() || (tc.page != nil) != (n.Page != "") {
					t.Errorf("%s: notice %+v", name, n)
				}
			}
		}
	}
}

func TestInServiceRefuses(t *testing.T) {
	ours := map[string]string{inventory.OperationField: serviceOp}
	for name, w := range map[string]*world{
		"planned":           newWorld(asset.Planned, ours),
		"failed":            newWorld(asset.Failed, ours),
		"active by another": newWorld(asset.Active, map[string]string{inventory.OperationField: "op_OTHER"}),
		"active by nobody":  newWorld(asset.Active, nil),
	} {
		_, err := carry(t, w, nil)
		if f, is := operation.FaultOf(err); !is || f.Code != fault.Conflict || !strings.Contains(f.Message, string(w.device.Status)) {
			t.Errorf("%s: %v, want a conflict that names the status", name, err)
		}
		if w.effects != 0 {
			t.Errorf("%s: %d effects", name, w.effects)
		}
	}
	// Somebody moves it between our look and our write.
	w := newWorld(asset.Staged, ours)
	a, c := &Central{Inventory: w, Notices: w}, serviceCall()
	r, err := a.Step(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.device.Status, c.Handle = asset.Decommissioning, r.Again.Handle
	if _, err := a.Step(t.Context(), c); err == nil || w.effects != 0 {
		t.Errorf("moved meanwhile: %v after %d effects", err, w.effects)
	}
	// A retry of an attempt that wrote finds its own write.
	w = newWorld(asset.Active, ours)
	c = serviceCall()
	c.Last = r.Again.Handle
	if r, err := a.Step(t.Context(), c); err == nil {
		t.Errorf("a NetBox of before: %+v", r)
	}
	if r, err := (&Central{Inventory: w, Notices: w}).Step(t.Context(), c); err != nil || r.Done == nil || len(w.moves) != 0 || len(w.journal) != 1 {
		t.Errorf("a retry after the write: %+v, %v, %d moves", r, err, len(w.moves))
	}
}
