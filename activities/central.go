package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

// Registry is where activities are registered by name; a Temporal worker is one.
type Registry interface {
	RegisterActivityWithOptions(a any, options activity.RegisterOptions)
}

// kind is a step kind with its version.
type kind struct {
	name    string
	version int
}

// handler does one bounded piece of a step.
type handler func(ctx context.Context, c Call) (Result, error)

func kindsOf(handlers map[kind]handler) []string {
	var out []string
	for k := range handlers {
		out = append(out, fmt.Sprintf("%s/%d", k.name, k.version))
	}
	slices.Sort(out)
	return out
}

// dispatch finds the handler of a call; a worker without it answers UnknownStep.
func dispatch(ctx context.Context, handlers map[kind]handler, c Call) (Result, error) {
	h, ok := handlers[kind{c.Step.Kind, c.Step.Version}]
	if !ok {
		return Result{}, Fail(fault.New(fault.UnknownStep, "this worker does not know step %s/%d", c.Step.Kind, c.Step.Version))
	}
	ctx, cancel := early(ctx)
	defer cancel()
	r, err := h(ctx, c)
	if err != nil {
		return Result{}, Fail(err)
	}
	return r, nil
}

// early ends ctx a moment before Temporal gives the call up, so that what did not answer is named,
// rather than the worker that waited for it.
func early(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, end.Add(-min(2*time.Second, time.Until(end)/10)))
}

// Central holds the activities of queue "central": those that touch PostgreSQL and NetBox.
type Central struct {
	Store     Store
	Inventory inventory.Source
	Notices   Notices // nil: nobody is told
	// Page is where people see an operation; empty where the API has no address that people know.
	Page func(operation.ID) string
}

// Register makes them known to a worker.
func (a *Central) Register(r Registry) {
	r.RegisterActivityWithOptions(a.Step, activity.RegisterOptions{Name: ActivityStep})
	r.RegisterActivityWithOptions(a.Claim, activity.RegisterOptions{Name: ActivityClaim})
	r.RegisterActivityWithOptions(a.Record, activity.RegisterOptions{Name: ActivityRecord})
}

// Claim takes a queued run; see Store.Claim.
func (a *Central) Claim(ctx context.Context, r ClaimRequest) (Claim, error) {
	c, err := a.Store.Claim(ctx, r)
	return c, Fail(err)
}

// Record applies a transition once; see Store.Record.
func (a *Central) Record(ctx context.Context, t operation.Transition) error {
	return Fail(a.Store.Record(ctx, t))
}

// Step does one bounded piece of a step of place Central.
func (a *Central) Step(ctx context.Context, c Call) (Result, error) {
	return dispatch(ctx, a.handlers(), c)
}

func (a *Central) handlers() map[kind]handler {
	return map[kind]handler{
		{plan.KindPreflight, 1}: a.preflight,
		{plan.KindStage, 1}:     a.stage,
		{plan.KindAddresses, 1}: a.addresses, // one pool an address family
		{plan.KindAddresses, 2}: a.addresses,
		{plan.KindInService, 1}: a.inService,
	}
}

// Kinds lists the steps that a central worker knows, as kind/version.
func (a *Central) Kinds() []string { return kindsOf(a.handlers()) }

// preflight reads the NetBox record again and stops when it is not what the plan was made from.
func (a *Central) preflight(ctx context.Context, c Call) (Result, error) {
	want, err := plan.Decode[plan.WantPreflight](c.Step)
	if err != nil {
		return Result{}, err
	}
	devices, err := a.Inventory.Describe(ctx, []asset.ID{c.Asset.ID})
	if err != nil {
		return Result{}, err
	}
	if len(devices) != 1 {
		return Result{}, fault.New(fault.NotFound, "%s (NetBox device %s) is no longer in NetBox", c.Asset.Name, c.Asset.ID)
	}
	facts := devices[0].Facts()
	if drift := plan.Drift(want.Reads, plan.Reads(facts)); len(drift) > 0 {
		return Result{}, fault.New(fault.Drift, "NetBox changed since the plan was made: %s", strings.Join(drift, "; "))
	}
	same, err := a.Inventory.SameSerial(ctx, c.Asset.Serial)
	if err != nil {
		return Result{}, err
	}
	for _, d := range same {
		if d.ID != c.Asset.ID {
			facts.SameSerial = append(facts.SameSerial, d.Name)
		}
	}
	// The profile was chosen, the password looked for and our history asked when the plan was made.
	facts.HasSecret = true
	facts.InstallBegan = facts.Status == asset.Failed
	if f := plan.Check(facts, &profile.Profile{}, nil); f != nil {
		return Result{}, f
	}
	data, err := json.Marshal(devices[0])
	if err != nil {
		return Result{}, fmt.Errorf("preflight: encode device %s: %w", c.Asset.ID, err)
	}
	return Result{Done: &Done{
		Summary:  fmt.Sprintf("NetBox record complete: %s, %s U%g, %s", facts.Type, facts.Asset.Rack, facts.Position, facts.Status),
		Evidence: []operation.Evidence{{Kind: "netbox-record", Title: "NetBox record before the first change", Data: data}},
	}}, nil
}

// planned reads the asset's device, right before writing: it must still be the machine of the plan.
func (a *Central) planned(ctx context.Context, c Call) (inventory.Device, error) {
	device, err := a.Inventory.Device(ctx, c.Asset.ID)
	if err == nil && !asset.SameSerial(device.Serial, c.Asset.Serial) {
		err = fault.New(fault.Drift, "NetBox now has serial %q for %s, the plan was made for %q", device.Serial, c.Asset.Name, c.Asset.Serial)
	}
	return device, err
}

// stage moves the NetBox status, or back when the step is undone.
func (a *Central) stage(ctx context.Context, c Call) (Result, error) {
	want, err := plan.Decode[plan.WantStage](c.Step)
	if err != nil {
		return Result{}, err
	}
	device, err := a.planned(ctx, c)
	if err != nil {
		return Result{}, err
	}
	from, to := device.Status, asset.Status(want.To)
	if c.Undo {
		// Only what this operation took out of planned goes back there. A machine that somebody else
		// staged between our plan and our step carries another operation's ID, or none.
		ours := device.Custom[inventory.OperationField] == string(c.Operation)
		if from == asset.Planned && ours { // by a call whose answer was lost
			return Result{Done: &Done{Changed: true, Summary: "NetBox status is planned again", Writes: stageWrites(c, to, from, device.Custom)}}, nil
		}
		if from != to {
			return Result{Done: &Done{Summary: fmt.Sprintf("NetBox status is %s, left as it is", from)}}, nil
		}
		if by := device.Custom[inventory.OperationField]; by != string(c.Operation) {
			if by == "" {
				by = "no operation of ours"
			}
			return Result{Done: &Done{Summary: fmt.Sprintf("NetBox status is %s by %s, left as it is", from, by)}}, nil
		}
		to = asset.Planned
	} else if from != to && !contains(want.From, string(from)) {
		return Result{}, fault.New(fault.Conflict, "NetBox status of %s is %s; the plan moves it from %s to %s",
			c.Asset.Name, from, strings.Join(want.From, " or "), to)
	}
	if from == to {
		// A machine that was staged before, or a call whose answer was lost after its write.
		done := &Done{Summary: fmt.Sprintf("NetBox status is %s already", to)}
		if before := want.From[0]; device.Custom[inventory.OperationField] == string(c.Operation) && before != want.To && !c.Undo {
			done.Changed, done.Writes = true, stageWrites(c, asset.Status(before), to, map[string]string{inventory.OperationField: plan.Unknown})
		}
		return Result{Done: done}, nil
	}
	changed, err := a.Inventory.SetStatus(ctx, inventory.StatusChange{
		ID: c.Asset.ID, From: from, To: to, Operation: string(c.Operation),
		Message: fmt.Sprintf("cagenut %s: %s -> %s", c.Operation, from, to), Read: &device,
	})
	if err != nil {
		return Result{}, err
	}
	done := &Done{Changed: changed, Summary: fmt.Sprintf("NetBox status %s", to)}
	if changed {
		done.Writes = stageWrites(c, from, to, device.Custom)
	}
	return Result{Done: done}, nil
}

// stageWrites are the two fields that one PATCH writes, the second where NetBox has it. had are the
// device's custom fields before.
func stageWrites(c Call, from, to asset.Status, had map[string]string) []plan.Write {
	device := "device " + c.Asset.Name
	operation, marked := had[inventory.OperationField]
	writes := []plan.Write{{System: "netbox", Object: device, Field: "status", Before: string(from), After: string(to)}}
	if marked && operation != string(c.Operation) {
		writes = append(writes, plan.Write{System: "netbox", Object: device, Field: "custom field " + inventory.OperationField,
			Before: operation, After: string(c.Operation)})
	}
	return writes
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if strings.EqualFold(v, s) {
			return true
		}
	}
	return false
}
