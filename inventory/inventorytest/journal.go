package inventorytest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/inventory"
)

// testJournal holds that an operation writes one entry, however often it is asked to, and that entries
// of others stand beside it.
func testJournal(t *testing.T, h Harness, w world) {
	d := one(t, h, w, w.server(7).Name)
	e := inventory.JournalEntry{Device: d.ID, Operation: "op_journal1", Kind: "success", Text: "In service by [op_journal1](https://cagenut.example.net/operations/op_journal1)"}
	write := func(e inventory.JournalEntry, want bool, most int) {
		t.Helper()
		before := h.Requests()
		if made, err := h.Source.Journal(t.Context(), e); err != nil || made != want {
			t.Errorf("%s by %s: made %v, %v; want %v", e.Kind, e.Operation, made, err, want)
		}
		if used := h.Requests() - before; used > most {
			t.Errorf("%d requests, want at most %d", used, most)
		}
	}
	write(e, true, 2)
	write(e, false, 1) // as after a lost answer
	other := e
	other.Operation, other.Text = "op_journal2", "In service by op_journal2"
	write(other, true, 2)
	noted := e
	noted.Kind, noted.Text = "info", "seen by op_journal1"
	write(noted, true, 2)
	want := []string{"success: " + e.Text, "success: " + other.Text, "info: " + noted.Text}
	if diff := cmp.Diff(want, h.Journal(t, d.ID)); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	if now := one(t, h, w, d.Name); !now.Updated.Equal(d.Updated) {
		t.Errorf("the device itself was changed at %s", now.Updated)
	}
}

func testJournalRefuses(t *testing.T, h Harness, w world) {
	good := inventory.JournalEntry{Device: one(t, h, w, w.server(7).Name).ID, Operation: "op_no", Kind: "info", Text: "by op_no"}
	for name, tc := range map[string]struct {
		change func(*inventory.JournalEntry)
		want   error
	}{
		"no device":             {func(e *inventory.JournalEntry) { e.Device = 0 }, inventory.ErrInvalid},
		"no operation":          {func(e *inventory.JournalEntry) { e.Operation = "" }, inventory.ErrInvalid},
		"an unknown kind":       {func(e *inventory.JournalEntry) { e.Kind = "error" }, inventory.ErrInvalid},
		"a text that names not": {func(e *inventory.JournalEntry) { e.Text = "done" }, inventory.ErrInvalid},
		"no such device":        {func(e *inventory.JournalEntry) { e.Device = 1 << 30 }, inventory.ErrRejected},
	} {
		t.Run(name, func(t *testing.T) {
			e := good
			tc.change(&e)
			made, err := h.Source.Journal(t.Context(), e)
			_ = kind(t, err, tc.want)
			if made {
				t.Error("it says that it wrote an entry")
			}
		})
	}
	if all := h.Journal(t, good.Device); len(all) > 3 {
		t.Errorf("journal %q", all)
	}
}
