package inventorytest

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// OperationField is the custom field that Setup makes and SetStatus fills.
const OperationField = "cagenut_operation"

func status(t *testing.T, h Harness, id asset.ID) asset.Status {
	t.Helper()
	d, err := h.Source.Device(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d.Status
}

func testSetStatus(t *testing.T, h Harness, w world) {
	id := one(t, h, w, w.server(1).Name).ID
	rows := len(h.Changes(t, id))
	move := inventory.StatusChange{ID: id, From: asset.Planned, To: asset.Staged, Operation: "op_1", Message: strings.Repeat("hardware proved ", 20)}

	before := h.Requests()
	changed, err := h.Source.SetStatus(t.Context(), move)
	if err != nil || !changed {
		t.Fatalf("SetStatus = %v, %v; want true", changed, err)
	}
	if used := h.Requests() - before; used > 3 {
		t.Errorf("%d requests, want at most 3", used)
	}
	d, err := h.Source.Device(t.Context(), id)
	if err != nil || d.Status != asset.Staged || d.Custom[OperationField] != "op_1" {
		t.Errorf("status %s, custom fields %v, %v; want staged by op_1", d.Status, d.Custom, err)
	}
	changes := h.Changes(t, id)[rows:]
	want := []Change{{User: h.Account, Message: ("cagenut op_1: " + move.Message)[:200], Fields: []string{OperationField, "status"}}}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changelog (-want +got):\n%s", diff)
	}

	// Already there: one read, no write, no row.
	before = h.Requests()
	changed, err = h.Source.SetStatus(t.Context(), move)
	if err != nil || changed || h.Requests()-before != 1 {
		t.Errorf("SetStatus again = %v, %v after %d requests; want false after 1", changed, err, h.Requests()-before)
	}
	if n := len(h.Changes(t, id)); n != rows+1 {
		t.Errorf("%d rows in the changelog, want still %d", n, rows+1)
	}

	// One that was read just before is not read again.
	before = h.Requests()
	changed, err = h.Source.SetStatus(t.Context(), inventory.StatusChange{ID: id, From: asset.Staged, To: asset.Planned, Operation: "op_2", Read: &d})
	if err != nil || !changed || h.Requests()-before != 1 {
		t.Errorf("SetStatus of a device as read = %v, %v after %d requests; want true after 1", changed, err, h.Requests()-before)
	}
	// What was read is old by now: the source says so, and what stands there now decides.
	_, err = h.Source.SetStatus(t.Context(), inventory.StatusChange{ID: id, From: asset.Staged, To: asset.Active, Operation: "op_3", Read: &d})
	_ = kind(t, err, inventory.ErrConflict)
	if got := status(t, h, id); got != asset.Planned {
		t.Errorf("status %s, want planned as it was meanwhile", got)
	}
}

func testSetStatusRefuses(t *testing.T, h Harness, w world) {
	id := one(t, h, w, w.server(2).Name).ID
	rows := len(h.Changes(t, id))
	for _, test := range []struct {
		name     string
		change   inventory.StatusChange
		kind     error
		requests int
	}{
		{"a move that the lifecycle forbids", inventory.StatusChange{ID: id, From: asset.Planned, To: asset.Active}, inventory.ErrConflict, 0},
		{"staying", inventory.StatusChange{ID: id, From: asset.Planned, To: asset.Planned}, inventory.ErrConflict, 0},
		{"an unknown status", inventory.StatusChange{ID: id, From: "burning", To: asset.Staged}, inventory.ErrConflict, 0},
		{"from where it is not", inventory.StatusChange{ID: id, From: asset.Staged, To: asset.Active}, inventory.ErrConflict, 1},
		{"an unknown device", inventory.StatusChange{ID: 1 << 30, From: asset.Planned, To: asset.Staged}, inventory.ErrNotFound, 1},
		{"no device", inventory.StatusChange{From: asset.Planned, To: asset.Staged}, inventory.ErrNotFound, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := h.Requests()
			changed, err := h.Source.SetStatus(t.Context(), test.change)
			_ = kind(t, err, test.kind)
			if changed {
				t.Error("reported as changed")
			}
			if used := h.Requests() - before; used != test.requests {
				t.Errorf("%d requests, want %d", used, test.requests)
			}
		})
	}
	if got := status(t, h, id); got != asset.Planned || len(h.Changes(t, id)) != rows {
		t.Errorf("status %s with %d new rows; want planned and none", got, len(h.Changes(t, id))-rows)
	}
}

func testSetStatusEdits(t *testing.T, h Harness, w world) {
	d := one(t, h, w, w.server(3).Name)
	h.Edit(t, d.ID, map[string]any{"comments": "cable tester left on top"})
	if changed, err := h.Source.SetStatus(t.Context(), inventory.StatusChange{ID: d.ID, From: asset.Planned, To: asset.Staged, Operation: "op_2"}); err != nil || !changed {
		t.Fatalf("SetStatus after an edit = %v, %v; want true", changed, err)
	}
	h.Edit(t, d.ID, map[string]any{"status": "failed"})
	_, err := h.Source.SetStatus(t.Context(), inventory.StatusChange{ID: d.ID, From: asset.Staged, To: asset.Active, Operation: "op_2"})
	if e := kind(t, err, inventory.ErrConflict); !strings.Contains(e.Error(), "failed") {
		t.Errorf("error %q does not name the status that was found", e)
	}
	if got := status(t, h, d.ID); got != asset.Failed {
		t.Errorf("status %s, want failed as somebody set it", got)
	}
}

func testSetStatusRace(t *testing.T, h Harness, w world) {
	id := one(t, h, w, w.server(4).Name).ID
	rows := len(h.Changes(t, id))
	move := inventory.StatusChange{ID: id, From: asset.Planned, To: asset.Staged, Operation: "op_race"}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			changed, err := h.Source.SetStatus(t.Context(), move)
			if err != nil {
				t.Error(err)
			}
			if changed {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 changed the status, want exactly 1", won.Load())
	}
	want := []Change{{User: h.Account, Message: "cagenut op_race:", Fields: []string{OperationField, "status"}}}
	if diff := cmp.Diff(want, h.Changes(t, id)[rows:]); diff != "" {
		t.Errorf("changelog (-want +got):\n%s", diff)
	}
}

// testSetup expects an inventory on which Setup was applied for the account, without a webhook.
func testSetup(t *testing.T, h Harness, w world) {
	setup := func(o inventory.SetupOptions, apply bool) map[string]string {
		t.Helper()
		items, err := h.Admin.Setup(t.Context(), o, apply)
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]string{}
		for _, i := range items {
			states[i.Kind+" "+i.Name] = i.State
			if strings.Contains(i.Detail, o.WebhookKey) && o.WebhookKey != "" {
				t.Errorf("%s %s shows the key: %s", i.Kind, i.Name, i.Detail)
			}
		}
		return states
	}
	base := map[string]string{
		"custom field " + OperationField: "present", "tag cagenut": "present",
		"permission cagenut read": "present", "permission cagenut write status": "present",
		"permission cagenut write addresses": "present", "permission cagenut release addresses": "present",
		"permission cagenut write journal": "present",
	}
	with := func(state string) map[string]string {
		m := map[string]string{"webhook cagenut": state, "event rule cagenut": state}
		for k, v := range base {
			m[k] = v
		}
		return m
	}
	plain := inventory.SetupOptions{User: h.Account}
	hook := inventory.SetupOptions{User: h.Account, WebhookURL: "http://127.0.0.1:9/hook", WebhookKey: "suite-key"}
	for _, step := range []struct {
		name    string
		options inventory.SetupOptions
		apply   bool
		want    map[string]string
	}{
		{"nothing is missing", plain, true, base},
		{"dry run", hook, false, with("missing")},
		{"the dry run made nothing", hook, false, with("missing")},
		{"apply", hook, true, with("created")},
		{"apply again", hook, true, with("present")},
	} {
		if diff := cmp.Diff(step.want, setup(step.options, step.apply)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	other := hook
	other.WebhookURL, other.WebhookKey = "http://127.0.0.1:9/other", "other-key"
	want := with("present")
	want["webhook cagenut"] = "differs"
	for range 2 { // it still differs the second time: Setup does not change what is there
		if diff := cmp.Diff(want, setup(other, true)); diff != "" {
			t.Fatalf("another webhook (-want +got):\n%s", diff)
		}
	}
	for _, bad := range []struct {
		options inventory.SetupOptions
		kind    error
	}{
		{inventory.SetupOptions{}, inventory.ErrInvalid},
		{inventory.SetupOptions{User: h.Account, WebhookURL: "http://127.0.0.1:9/hook"}, inventory.ErrInvalid},
		{inventory.SetupOptions{User: "nobody-of-that-name"}, inventory.ErrNotFound},
	} {
		_, err := h.Admin.Setup(t.Context(), bad.options, true)
		_ = kind(t, err, bad.kind)
	}
	_, err := h.Source.Setup(t.Context(), plain, true)
	_ = kind(t, err, inventory.ErrDenied) // the service account may not give itself rights
}
