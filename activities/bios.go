package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// biosHandle is where the BIOS step is. A round observes (""), writes, observes what it wrote, reboots
// and settles. What is about to be written stands in the handle before it is written
// (docs/adr/0004), so that a call whose answer was lost still tells its writes.
type biosHandle struct {
	Phase   string       `json:"phase,omitempty"`  // "", write, wrote, reboot, settle
	Intent  []plan.Write `json:"intent,omitempty"` // of this round
	Told    []string     `json:"told,omitempty"`   // attributes of this round whose write is recorded
	Asked   []string     `json:"asked,omitempty"`  // attributes that this round's reboot is for
	Cycle   cycle        `json:"cycle,omitzero"`
	Since   time.Time    `json:"since,omitzero"` // when settling began
	Changed bool         `json:"changed,omitempty"`
}

// tell takes writes into what is recorded and gives those that were not.
func (h *biosHandle) tell(writes []plan.Write) []plan.Write {
	fresh := untold(writes, h.Told)
	h.Told = append(h.Told, names(fresh)...)
	h.Changed = h.Changed || len(fresh) > 0
	return fresh
}

// biosSettle is how long a host may take from power on until its BMC shows the new values: the
// slowest servers spend ten minutes in POST with much memory. biosForgotten is how long the values
// may be neither pending nor current: some BMCs clear the pending ones when POST begins.
const (
	biosSettle    = 20 * time.Minute
	biosForgotten = 5 * time.Minute
)

// bios brings BIOS attributes to the profile's values in rounds: observe, write what differs,
// reboot, observe. Attributes outside the profile are never written. Those that are read-only until
// another is set wait for a later round.
func (a *Site) bios(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantBIOS, biosHandle](c)
	if err != nil {
		return Result{}, err
	}
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()

	if h.Phase == "reboot" {
		waiting, err := h.Cycle.advance(ctx, ctrl, a.Clock(), a.patience(powerDeadline))
		if err != nil {
			return Result{}, err
		}
		if waiting != "" {
			return again(a.Poll, h, "%s", waiting)
		}
		h.Phase, h.Since = "settle", a.Clock()
	}

	state, err := ctrl.BIOS(ctx)
	if err != nil {
		return Result{}, err
	}
	diff, lacking := biosDiff(want, state)
	if len(lacking) > 0 && h.Phase == "" {
		return Result{}, unknownAttributes(lacking)
	}
	if len(diff)+len(lacking) == 0 {
		return biosDone(h, want, state)
	}
	switch h.Phase {
	case "settle":
		return a.settleBIOS(ctx, ctrl, h, state, diff, lacking)
	case "wrote":
		return startReboot(h, nil, "rebooting to apply %s", list(h.Asked))
	case "write":
		return a.writeRound(ctx, ctrl, h, state, diff)
	}
	if pendingHolds(diff, state) { // asked for by an earlier attempt, which told its writes
		h.Asked = names(diff)
		return startReboot(h, nil, "rebooting for pending settings: %s", fields(diff))
	}
	h.Phase, h.Intent = "write", diff
	return again(0, h, "writing %s", fields(diff))
}

// writeRound writes what differs. When that ends badly, it tells first what arrived of it, and fails
// with the next call.
func (a *Site) writeRound(ctx context.Context, ctrl bmc.Controller, h biosHandle, state bmc.BIOSState, diff []plan.Write) (Result, error) {
	if pendingHolds(diff, state) { // written by a call whose answer was lost
		h.Asked = names(diff)
		return startReboot(h, h.tell(h.Intent), "rebooting to apply %s", fields(diff))
	}
	taken, err := writeBIOS(ctx, ctrl, diff, state)
	if err == nil {
		h.Phase, h.Asked = "wrote", names(taken)
		return wrote(h, h.tell(taken), "wrote %s", fields(taken))
	}
	after, readErr := ctrl.BIOS(ctx)
	if readErr != nil {
		return Result{}, err
	}
	var arrived []plan.Write
	for _, d := range diff {
		one := []plan.Write{d}
		if text(after.Current[d.Field]) == d.After || pendingHolds(one, after) && !pendingHolds(one, state) {
			arrived = append(arrived, d)
		}
	}
	if fresh := h.tell(arrived); len(fresh) > 0 {
		return wrote(h, fresh, "wrote %s, then: %v", fields(fresh), err)
	}
	return Result{}, err
}

// settleBIOS waits until the reboot has brought what it was for, or begins another round.
func (a *Site) settleBIOS(ctx context.Context, ctrl bmc.Controller, h biosHandle, state bmc.BIOSState, diff []plan.Write, lacking []fault.Item) (Result, error) {
	if a.settling(h, diff, lacking, state) {
		progress, err := ctrl.BootProgress(ctx)
		if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
			return Result{}, err
		}
		return again(a.Poll, h, "waiting for POST to apply %s %s", list(h.Asked), progress)
	}
	r, err := again(0, biosHandle{Changed: h.Changed}, "still different: %s", fields(diff))
	if err == nil {
		r.Again.NewRound = true
	}
	return r, err
}

// settling tells whether the reboot may still bring what this round asked for. What it did not ask
// for (a dependency refused it) is the next round's. An attribute that is gone may only not be read
// yet: some BMCs show none during POST.
func (a *Site) settling(h biosHandle, diff []plan.Write, lacking []fault.Item, state bmc.BIOSState) bool {
	var open []plan.Write
	for _, d := range diff {
		if slices.Contains(h.Asked, d.Field) {
			open = append(open, d)
		}
	}
	if len(open)+len(lacking) == 0 {
		return false
	}
	limit := biosForgotten
	if pendingHolds(open, state) {
		limit = biosSettle
	}
	return a.Clock().Sub(h.Since) < a.patience(limit)
}

func startReboot(h biosHandle, writes []plan.Write, text string, args ...any) (Result, error) {
	h.Phase, h.Cycle = "reboot", cycle{}
	r, err := wrote(h, writes, text, args...)
	if err == nil {
		r.Again.Reboot = true
	}
	return r, err
}

func biosDone(h biosHandle, want plan.WantBIOS, state bmc.BIOSState) (Result, error) {
	var writes []plan.Write
	if h.Phase == "write" { // by a call whose answer was lost, on a BMC that applies at once
		writes = h.tell(h.Intent)
	}
	shown := map[string]any{}
	for name := range want.Attributes {
		shown[name] = state.Current[name]
	}
	data, err := json.Marshal(map[string]any{"boot_mode": state.BootMode, "attributes": shown})
	if err != nil {
		return Result{}, fmt.Errorf("bios: encode: %w", err)
	}
	summary := fmt.Sprintf("%d BIOS attributes are the profile's", len(want.Attributes))
	if want.BootMode != "" {
		summary += ", boot mode " + state.BootMode
	}
	return Result{Done: &Done{
		Changed:  h.Changed,
		Summary:  summary,
		Writes:   writes,
		Evidence: []operation.Evidence{{Kind: "bios", Title: "BIOS attributes, read back", Data: data}},
	}}, nil
}

// biosDiff lists the wanted attributes whose current value is another, by name, and what the machine
// lacks: attributes, or a way to the boot mode that it is not in.
func biosDiff(want plan.WantBIOS, state bmc.BIOSState) (diff []plan.Write, lacking []fault.Item) {
	for _, name := range slices.Sorted(maps.Keys(want.Attributes)) {
		now, ok := state.Current[name]
		if !ok {
			lacking = append(lacking, lackingAttribute(name, state))
			continue
		}
		if text(now) != text(want.Attributes[name]) {
			diff = append(diff, plan.Write{System: "bmc", Object: "BIOS", Field: name, Before: text(now), After: text(want.Attributes[name])})
		}
	}
	if want.BootMode == "" || strings.EqualFold(state.BootMode, want.BootMode) {
		return diff, lacking
	}
	mode, value := state.BootModeAttribute, state.BootModeValues[want.BootMode]
	if _, named := want.Attributes[mode]; named {
		return diff, lacking
	}
	if mode == "" || value == "" {
		seen := "not told by the BMC"
		if state.BootMode != "" {
			seen = state.BootMode
		}
		return diff, append(lacking, fault.Item{Subject: "boot mode", Expected: want.BootMode, Seen: seen + ", and no attribute is known that sets it",
			Remedy: "name the attribute of this model in the profile's bios.attributes, leave boot_mode out, `cagenut op abort` and install again"})
	}
	return append(diff, plan.Write{System: "bmc", Object: "BIOS", Field: mode, Before: text(state.Current[mode]), After: value}), lacking
}

func lackingAttribute(name string, state bmc.BIOSState) fault.Item {
	item := fault.Item{Subject: name, Expected: "present", Seen: "absent"}
	for have := range state.Current {
		if strings.EqualFold(have, name) {
			item.Remedy = "write it in the profile as " + have
		}
	}
	return item
}

func unknownAttributes(lacking []fault.Item) error {
	subjects := make([]string, len(lacking))
	for i, l := range lacking {
		subjects[i] = l.Subject
		if l.Subject == "boot mode" {
			subjects[i] = fmt.Sprintf("to set boot mode %s (it is %s)", l.Expected, l.Seen)
		}
	}
	f := fault.New(fault.Unsupported, "this machine has no BIOS attribute %s", list(subjects))
	f.Details = lacking
	return f
}

// pendingHolds tells whether everything that differs is asked for already.
func pendingHolds(diff []plan.Write, state bmc.BIOSState) bool {
	for _, d := range diff {
		v, ok := state.Pending[d.Field]
		if !ok || text(v) != d.After {
			return false
		}
	}
	return true
}

// writeBIOS asks for what differs, in the type that the attribute has now. When a BMC rejects the
// whole for the sake of one attribute (a dependency that is not yet met), each is asked for alone,
// and what is refused is left to a later round; when all are refused, so is the step.
func writeBIOS(ctx context.Context, ctrl bmc.Controller, diff []plan.Write, state bmc.BIOSState) ([]plan.Write, error) {
	var open []plan.Write
	for _, d := range diff {
		if !slices.Contains(state.ReadOnly, d.Field) {
			open = append(open, d)
		}
	}
	if len(open) == 0 {
		return nil, fault.New(fault.Rejected, "BIOS attributes %s differ and are read-only on this machine", fields(diff))
	}
	attrs := bmc.Attributes{}
	for _, d := range open {
		attrs[d.Field] = typed(d.After, state.Current[d.Field])
	}
	err := ctrl.SetBIOS(ctx, attrs)
	if err == nil {
		return open, nil
	}
	named := func(d plan.Write, err error) error { return fmt.Errorf("%s = %s: %w", d.Field, d.After, err) }
	switch {
	case !errors.Is(err, bmc.ErrRejected):
		return nil, err
	case len(open) == 1:
		return nil, named(open[0], err)
	}
	var taken []plan.Write
	var refused []error
	for _, d := range open {
		switch one := ctrl.SetBIOS(ctx, bmc.Attributes{d.Field: attrs[d.Field]}); {
		case one == nil:
			taken = append(taken, d)
		case errors.Is(one, bmc.ErrRejected):
			refused = append(refused, named(d, one))
		default:
			return nil, one
		}
	}
	if len(taken) == 0 {
		return nil, errors.Join(refused...)
	}
	return taken, nil
}

// text is the form in which attribute values are compared and shown: 4, "4" and 4.0 are equal, for
// profiles are written by people.
func text(v any) string {
	switch n := v.(type) {
	case nil:
		return ""
	case float64:
		if n == float64(int64(n)) {
			return fmt.Sprint(int64(n))
		}
	}
	return fmt.Sprint(v)
}

// typed gives the value in the type that the BMC shows, so that an integer is not sent as a string.
func typed(value string, like any) any {
	switch like.(type) {
	case bool:
		return strings.EqualFold(value, "true")
	case float64, int, int64, json.Number:
		var n json.Number
		if json.Unmarshal([]byte(value), &n) == nil {
			return n
		}
	}
	return value
}
