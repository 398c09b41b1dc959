package activities

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// record is a NetBox with one device.
type record struct {
	inventory.Source
	device  inventory.Device
	changes []inventory.StatusChange
}

func (r *record) Device(context.Context, asset.ID) (inventory.Device, error) { return r.device, nil }

func (r *record) SetStatus(_ context.Context, c inventory.StatusChange) (bool, error) {
	r.changes = append(r.changes, c)
	return true, asset.CanMove(c.From, c.To)
}

// A machine that is staged already stays so: it was before, or the answer to our own write was lost.
func TestStage(t *testing.T) {
	const op = "op_01JD0000000000000000000000"
	wrote := func(before string) []plan.Write {
		return []plan.Write{
			{System: "netbox", Object: "device srv-1", Field: "status", Before: "planned", After: "staged"},
			{System: "netbox", Object: "device srv-1", Field: "custom field cagenut_operation", Before: before, After: op},
		}
	}
	back := []plan.Write{{System: "netbox", Object: "device srv-1", Field: "status", Before: "staged", After: "planned"}}
	for _, c := range []struct {
		name   string
		status asset.Status
		from   asset.Status
		by     string
		undo   bool
		want   Done
		moves  int
	}{
		{"planned", "planned", "planned", "", false, Done{Changed: true, Summary: "NetBox status staged", Writes: wrote("")}, 1},
		{"staged before", "staged", "staged", "op_OTHER", false, Done{Summary: "NetBox status is staged already"}, 0},
		{"the answer was lost", "staged", "planned", op, false, Done{Changed: true, Summary: "NetBox status is staged already", Writes: wrote(plan.Unknown)}, 0},
		{"taken back", "staged", "planned", op, true, Done{Changed: true, Summary: "NetBox status planned", Writes: back}, 1},
		{"another operation staged it", "staged", "planned", "op_OTHER", true, Done{Summary: "NetBox status is staged by op_OTHER, left as it is"}, 0},
		{"a person staged it", "staged", "planned", "", true, Done{Summary: "NetBox status is staged by no operation of ours, left as it is"}, 0},
		{"the answer to taking back was lost", "planned", "planned", op, true, Done{Changed: true, Summary: "NetBox status is planned again", Writes: back}, 0},
		{"a person took it back", "planned", "planned", "op_OTHER", true, Done{Summary: "NetBox status is planned, left as it is"}, 0},
	} {
		r := &record{device: inventory.Device{ID: 1, Name: "srv-1", Serial: "SN1", Status: c.status, Custom: map[string]string{inventory.OperationField: c.by}}}
		step := plan.Step{Kind: plan.KindStage, Version: 1, Want: plan.Encode(plan.WantStage{From: []string{string(c.from)}, To: "staged"})}
		got, err := (&Central{Inventory: r}).Step(t.Context(), Call{Operation: op, Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1"}, Step: step, Undo: c.undo})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, *got.Done); diff != "" || len(r.changes) != c.moves {
			t.Errorf("%s: %d moves, want %d (-want +got):\n%s", c.name, len(r.changes), c.moves, diff)
		}
	}
}
