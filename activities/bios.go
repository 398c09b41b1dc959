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

// biosHandle is where the BIOS step is: observing ("" or "settle") or rebooting.
type biosHandle struct {
	Phase string       `json:"phase,omitempty"`
	Cycle cycle        `json:"cycle,omitzero"`
	Since time.Time    `json:"since,omitzero"`  // when settling began
	Asked []string     `json:"asked,omitempty"` // attributes that this round's reboot is for
	Wrote []plan.Write `json:"wrote,omitempty"`
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
	want, err := plan.Decode[plan.WantBIOS](c.Step)
	if err != nil {
		return Result{}, err
	}
	h, err := resume[biosHandle](c)
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
	diff, missing := biosDiff(want, state)
	if len(missing) > 0 && h.Phase == "" {
		return Result{}, unknownAttributes(missing, state)
	}
	if len(diff) == 0 {
		return biosDone(h, want, state)
	}
	if h.Phase == "settle" {
		if wait := a.settling(h, diff, state); wait {
			progress, err := ctrl.BootProgress(ctx)
			if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
				return Result{}, err
			}
			return again(a.Poll, h, "waiting for POST to apply %s %s", fields(diff), progress)
		}
		r, err := again(0, biosHandle{Wrote: h.Wrote}, "still different: %s", fields(diff))
		if err == nil {
			r.Again.NewRound = true
		}
		return r, err
	}
	if pendingHolds(diff, state) { // asked for before a crash, or by an earlier attempt
		return startReboot(h, diff, "rebooting for pending settings: %s", fields(diff))
	}
	wrote, err := writeBIOS(ctx, ctrl, diff, state)
	if err != nil {
		return Result{}, err
	}
	h.Wrote = append(h.Wrote, wrote...)
	state, err = ctrl.BIOS(ctx)
	if err != nil {
		return Result{}, err
	}
	if rest, _ := biosDiff(want, state); len(rest) == 0 { // some BMCs apply at once
		return biosDone(h, want, state)
	}
	return startReboot(h, wrote, "rebooting to apply %s", fields(wrote))
}

// settling tells whether the reboot may still bring what this round asked for. What it did not ask
// for (a dependency refused it) is the next round's.
func (a *Site) settling(h biosHandle, diff []plan.Write, state bmc.BIOSState) bool {
	var open []plan.Write
	for _, d := range diff {
		if slices.Contains(h.Asked, d.Field) {
			open = append(open, d)
		}
	}
	if len(open) == 0 {
		return false
	}
	limit := biosForgotten
	if pendingHolds(open, state) {
		limit = biosSettle
	}
	return a.Clock().Sub(h.Since) < a.patience(limit)
}

func startReboot(h biosHandle, asked []plan.Write, text string, args ...any) (Result, error) {
	h.Phase, h.Cycle, h.Asked = "reboot", cycle{}, nil
	for _, w := range asked {
		h.Asked = append(h.Asked, w.Field)
	}
	r, err := again(0, h, text, args...)
	if err == nil {
		r.Again.Reboot = true
	}
	return r, err
}

func biosDone(h biosHandle, want plan.WantBIOS, state bmc.BIOSState) (Result, error) {
	shown := map[string]any{}
	for name := range want.Attributes {
		shown[name] = state.Current[name]
	}
	data, err := json.Marshal(map[string]any{"boot_mode": state.BootMode, "attributes": shown})
	if err != nil {
		return Result{}, fmt.Errorf("bios: encode: %w", err)
	}
	return Result{Done: &Done{
		Changed:  len(h.Wrote) > 0,
		Summary:  fmt.Sprintf("%d BIOS attributes are the profile's", len(want.Attributes)),
		Writes:   h.Wrote,
		Evidence: []operation.Evidence{{Kind: "bios", Title: "BIOS attributes, read back", Data: data}},
	}}, nil
}

// biosDiff lists the wanted attributes whose current value is another, by name, and those that the
// machine does not have.
func biosDiff(want plan.WantBIOS, state bmc.BIOSState) (diff []plan.Write, missing []string) {
	for _, name := range slices.Sorted(maps.Keys(want.Attributes)) {
		now, ok := state.Current[name]
		if !ok {
			missing = append(missing, name)
			continue
		}
		if text(now) != text(want.Attributes[name]) {
			diff = append(diff, plan.Write{System: "bmc", Object: "BIOS", Field: name, Before: text(now), After: text(want.Attributes[name])})
		}
	}
	if mode := bootModeAttribute(state); mode != "" && want.BootMode != "" && !strings.EqualFold(state.BootMode, want.BootMode) {
		if _, named := want.Attributes[mode]; !named {
			diff = append(diff, plan.Write{System: "bmc", Object: "BIOS", Field: mode, Before: text(state.Current[mode]), After: state.BootModeValues[want.BootMode]})
		}
	}
	return diff, missing
}

// bootModeAttribute is the attribute that sets the boot mode, where the BMC has one.
func bootModeAttribute(state bmc.BIOSState) string { return state.BootModeAttribute }

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
	if !errors.Is(err, bmc.ErrRejected) || len(open) == 1 {
		return nil, err
	}
	var taken []plan.Write
	var refused []error
	for _, d := range open {
		switch one := ctrl.SetBIOS(ctx, bmc.Attributes{d.Field: attrs[d.Field]}); {
		case one == nil:
			taken = append(taken, d)
		case errors.Is(one, bmc.ErrRejected):
			refused = append(refused, one)
		default:
			return nil, one
		}
	}
	if len(taken) == 0 {
		return nil, errors.Join(refused...)
	}
	return taken, nil
}

func unknownAttributes(missing []string, state bmc.BIOSState) error {
	f := fault.New(fault.Unsupported, "this machine has no BIOS attribute %s", list(missing))
	for _, name := range missing {
		item := fault.Item{Subject: name, Expected: "present", Seen: "absent"}
		for have := range state.Current {
			if strings.EqualFold(have, name) {
				item.Remedy = "write it as " + have
			}
		}
		f.Details = append(f.Details, item)
	}
	return f
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
