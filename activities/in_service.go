package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// goingInService is what NetBox said before the first write. A call that is repeated tells the same
// writes by it, whatever it finds.
type goingInService struct {
	From asset.Status `json:"from"`
	By   *string      `json:"by,omitempty"` // the operation that wrote the device last; nil: NetBox has no such field
	At   time.Time    `json:"at"`
}

// inService moves the NetBox status, notes it in the device's journal, and tells people. The first call
// only looks: what it saw is kept before anything is written.
func (a *Central) inService(ctx context.Context, c Call) (Result, error) {
	want, err := plan.Decode[plan.WantInService](c.Step)
	if err != nil {
		return Result{}, err
	}
	if len(want.From) == 0 || want.To == "" {
		return Result{}, fault.New(fault.Invalid, "step in-service: from %q, to %q: name the statuses", want.From, want.To)
	}
	device, err := a.planned(ctx, c)
	if err != nil {
		return Result{}, err
	}
	seen := c.Handle
	if seen == nil {
		seen = c.Last // of an attempt that may have written
	}
	if seen == nil {
		return a.lookInService(c, want, device)
	}
	var before goingInService
	if err := json.Unmarshal(seen, &before); err != nil {
		return Result{}, fault.Wrap(err, fault.Internal, "step in-service: handle: %v", err)
	}
	return a.goInService(ctx, c, want, device, before)
}

func (a *Central) lookInService(c Call, want plan.WantInService, device inventory.Device) (Result, error) {
	before := goingInService{From: device.Status, At: time.Now().UTC()}
	by, marked := device.Custom[inventory.OperationField]
	if marked {
		before.By = &by
	}
	if !contains(want.From, string(device.Status)) {
		if string(device.Status) != want.To || by != string(c.Operation) {
			return Result{}, notFrom(c, want, device)
		}
		before.From = asset.Status(want.From[0]) // this operation's own write, whose handle nobody has any more
	}
	handle, err := json.Marshal(before)
	if err != nil {
		return Result{}, fmt.Errorf("in-service: encode: %w", err)
	}
	return Result{Again: &Again{Handle: handle, Progress: operation.Progress{Text: "going in service", Percent: -1}}}, nil
}

func (a *Central) goInService(ctx context.Context, c Call, want plan.WantInService, device inventory.Device, before goingInService) (Result, error) {
	to := asset.Status(want.To)
	by, marked := device.Custom[inventory.OperationField]
	switch {
	case device.Status == to && (before.From == to || !marked || by == string(c.Operation)): // already so, mostly by a call whose answer was lost
	case device.Status != before.From:
		return Result{}, notFrom(c, want, device)
	default:
		if _, err := a.Inventory.SetStatus(ctx, inventory.StatusChange{
			ID: c.Asset.ID, From: before.From, To: to, Operation: string(c.Operation),
			Message: fmt.Sprintf("in service: %s -> %s", before.From, to), Read: &device,
		}); err != nil {
			return Result{}, err
		}
	}
	page := ""
	if a.Page != nil {
		page = a.Page(c.Operation)
	}
	entry := inventory.JournalEntry{Device: c.Asset.ID, Operation: string(c.Operation), Kind: "success",
		Text: "Installed and put in service by Cagenut, operation " + string(c.Operation)}
	if page != "" {
		entry.Text = fmt.Sprintf("Installed and put in service by Cagenut, operation [%s](%s)", c.Operation, page)
	}
	if _, err := a.Inventory.Journal(ctx, entry); err != nil {
		return Result{}, err
	}
	if a.Notices != nil {
		if err := a.Notices.Notify(ctx, operation.Notice{Kind: operation.NoticeInService, Operation: c.Operation, Asset: c.Asset,
			Text: c.Asset.Name + " is in service", Page: page, At: before.At}); err != nil {
			return Result{}, err
		}
	}
	done := &Done{Changed: true, Summary: fmt.Sprintf("NetBox status %s, noted in the journal", to)}
	if before.From != to {
		had := map[string]string{}
		if before.By != nil {
			had[inventory.OperationField] = *before.By
		}
		done.Writes = stageWrites(c, before.From, to, had)
	}
	done.Writes = append(done.Writes, plan.Write{System: "netbox", Object: "device " + c.Asset.Name, Field: "journal entry", After: entry.Text})
	return Result{Done: done}, nil
}

// notFrom refuses a machine that somebody moved meanwhile.
func notFrom(c Call, want plan.WantInService, device inventory.Device) error {
	by := device.Custom[inventory.OperationField]
	if by == "" {
		by = "no operation of ours"
	}
	f := fault.New(fault.Conflict, "NetBox status of %s is %s, last written by %s; the plan moves it from %s to %s",
		c.Asset.Name, device.Status, by, strings.Join(want.From, " or "), want.To)
	f.Remedy = fmt.Sprintf("set the status back to %s in NetBox and retry, or `cagenut op abort`", want.From[0])
	return f
}
