package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

// The phases of a step that boots its machine. Each is durable before what it does is done.
const (
	phaseOverride = "override" // set the boot override
	phaseCycle    = "cycle"    // power off and on
	phaseWait     = "wait"     // for what the machine, or its agent, tells
	phaseClear    = "clear"    // the BMC kept its override: take it back
)

// bootHandle is where such a step is.
type bootHandle struct {
	Phase   string `json:"phase,omitempty"`
	Boot    int64  `json:"boot,omitempty"` // the record
	Cycle   cycle  `json:"cycle,omitzero"`
	Watch   watch  `json:"watch,omitzero"`
	Booted  bool   `json:"booted,omitempty"`  // this step has switched the machine on
	Cleared bool   `json:"cleared,omitempty"` // the override was read as gone after that
	Command string `json:"command,omitempty"` // ID of the agent's
	Told    bool   `json:"told,omitempty"`    // the write to the disk is recorded
}

// alreadyRuns is what a step answers where the machine was proved to run what is wanted.
func alreadyRuns(c Call, s plan.System) (Result, bool) {
	if !c.Known.Installed.Is(s.Digest, c.Operation) {
		return Result{}, false
	}
	return Result{Done: &Done{Summary: "already so: the machine runs the system that is wanted"}}, true
}

// machineOf completes the plan's machine with what was learned since.
func machineOf(c Call, raw json.RawMessage, purpose operation.Purpose) (json.RawMessage, error) {
	var m templates.Machine
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("step %s: machine: %w", c.Step.Name, err)
	}
	if c.Known.Network == nil {
		return nil, fault.New(fault.Incomplete, "the network of %s is not known: the addresses step has derived none", c.Asset.Name)
	}
	m.Operation, m.Asset, m.Network, m.Disks = string(c.Operation), c.Asset, *c.Known.Network, c.Known.Disks
	if purpose == operation.ForAgent { // it is told its disks by command: these are nowhere
		m.Disks = nil
		for i := range m.OS.Layout.Disks() {
			m.Disks = append(m.Disks, profile.Disk{Path: fmt.Sprintf("/dev/disk/by-id/cagenut-not-chosen-%d", i+1)})
		}
	}
	out, err := m.Record()
	if p := (templates.Problems)(nil); errors.As(err, &p) {
		f := fault.Wrap(err, fault.Incomplete, "the files of %s cannot be made: %v", c.Asset.Name, err)
		for _, x := range p {
			f.Details = append(f.Details, fault.Item{Subject: x.Field, Seen: x.Value, Remedy: x.Remedy})
		}
		return nil, f
	}
	return out, err
}

// openBoot opens the record of this attempt, and gives a step that is about to set the override. It is
// harmless to repeat. The token is nobody's: the machine is known by its MAC, and is given another.
func (a *Site) openBoot(ctx context.Context, c Call, purpose operation.Purpose, valid time.Duration, raw json.RawMessage, macs ...string) (Result, error) {
	machine, err := machineOf(c, raw, purpose)
	if err != nil {
		return Result{}, err
	}
	_, sum, err := operation.NewBootToken()
	if err != nil {
		return Result{}, err
	}
	now := a.Clock()
	o := operation.BootOpen{Operation: c.Operation, Asset: c.Asset.ID, Step: c.Step.Name, Purpose: purpose, Attempt: c.Attempt, TokenSum: sum,
		Serial: c.Asset.Serial, Machine: machine, At: now, Expires: now.Add(valid)}
	for _, l := range c.Known.Network.Links {
		macs = append(macs, l.MAC)
	}
	for _, mac := range macs {
		if mac != "" && !slices.Contains(o.MACs, mac) {
			o.MACs = append(o.MACs, mac)
		}
	}
	b, err := a.Boots.Open(ctx, o)
	if err != nil {
		return Result{}, err
	}
	return again(0, bootHandle{Phase: phaseOverride, Boot: b.ID}, "the boot service waits for the machine")
}

// override is the boot override of a way to boot.
func override(w plan.WantBoot) bmc.BootOverride {
	o := bmc.BootOverride{Device: bmc.BootPXE, Once: true, UEFI: w.Firmware == "uefi"}
	switch w.Way {
	case "http":
		o.Device, o.URI = bmc.BootHTTP, w.URL
	case "vmedia":
		o.Device = bmc.BootCD
	}
	return o
}

// setOverride sets it, where it is not set already; the driver reads it back.
func setOverride(ctx context.Context, ctrl bmc.Controller, w plan.WantBoot) error {
	if w.Way == "vmedia" {
		if err := ctrl.InsertMedia(ctx, w.URL); err != nil {
			return err
		}
	}
	want := override(w)
	is, err := ctrl.BootOverride(ctx)
	if err != nil || is == want {
		return err
	}
	return ctrl.SetBootOverride(ctx, want)
}

func overrideWrite(after string) plan.Write {
	return plan.Write{System: "bmc", Object: "host", Field: "boot override", Before: plan.Unknown, After: after}
}

// bootOver boots the machine over the network, from phaseOverride to phaseWait. BMCs are known to forget an override
// when they see the power go: it is looked at once more before the power comes.
func (a *Site) bootOver(ctx context.Context, c Call, w plan.WantBoot, h bootHandle) (Result, error) {
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	set := func() error { return setOverride(ctx, ctrl, w) }
	if h.Phase == phaseOverride {
		if err := set(); err != nil {
			return Result{}, err
		}
		h.Phase, h.Cycle = phaseCycle, cycle{}
		r, err := wrote(h, []plan.Write{overrideWrite(string(override(w).Device) + ", once")}, "the next boot is over the network: rebooting")
		if err == nil {
			r.Again.Reboot = true
		}
		return r, err
	}
	waiting, pause, err := a.powerOver(ctx, c, ctrl, &h.Cycle, set)
	if err != nil {
		return Result{}, err
	}
	if waiting != "" {
		return again(pause, h, "%s", waiting)
	}
	h.Phase, h.Watch, h.Booted, h.Cleared = phaseWait, watch{}, true, false
	return again(0, h, "the host is on")
}

// powerOver advances a cycle. Before the power goes on it takes the rack's turn, and does what before does.
func (a *Site) powerOver(ctx context.Context, c Call, ctrl bmc.Controller, y *cycle, before func() error) (string, time.Duration, error) {
	now := a.Clock()
	if y.Phase == "on" && y.due(now, a.patience(powerDeadline)) {
		state, err := ctrl.PowerState(ctx)
		if err != nil {
			return "", 0, err
		}
		if state == bmc.PowerOff {
			if a.PowerOn != nil {
				if d := a.PowerOn(c.Asset.Rack); d > 0 {
					y.Since, y.Seen = now, now.Add(d)
					return "waiting for the rack's turn to be switched on", d, nil
				}
			}
			if err := before(); err != nil {
				return "", 0, err
			}
		}
	}
	waiting, err := y.advance(ctx, ctrl, now, a.patience(powerDeadline))
	return waiting, a.Poll, err
}

// clearBoot sees, once the machine has booted, that the override was used up, and takes it back where the
// BMC kept it. nil: it is gone.
func (a *Site) clearBoot(ctx context.Context, c Call, w plan.WantBoot, h *bootHandle) (*Result, error) {
	if !h.Booted || h.Cleared {
		return nil, nil
	}
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	kept := h.Phase == phaseClear
	if kept {
		err = ctrl.SetBootOverride(ctx, bmc.BootOverride{Device: bmc.BootNone})
	} else if is, rerr := ctrl.BootOverride(ctx); rerr != nil {
		err = rerr
	} else if is.Device != bmc.BootNone { // made durable first, so that the write is told
		h.Phase = phaseClear
		r, err := again(0, *h, "the BMC kept its boot override (%s): taking it back", is.Device)
		return &r, err
	}
	if err == nil && w.Way == "vmedia" {
		err = ctrl.EjectMedia(ctx)
	}
	if err != nil {
		return nil, err
	}
	h.Phase, h.Cleared = phaseWait, true
	if !kept {
		return nil, nil
	}
	r, err := wrote(*h, []plan.Write{overrideWrite("none")}, "the boot override is taken back")
	return &r, err
}
