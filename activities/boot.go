package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

// How long a machine may be silent. Each counts from the stage before, and all are shorter than the
// deadlines of the steps, so that the fault says what was missing.
const (
	// bootLook is the pause between two looks at a record: the run is woken by whatever the machine tells.
	bootLook = 60 * time.Second
	// bootAsks is from power on to the first question: ten minutes of POST with much memory, then DHCP
	// on ports that have no link first.
	bootAsks = 20 * time.Minute
	// bootKernel is from there until the kernel speaks: it is fetched, and for Ubuntu a medium of 3 GB too.
	bootKernel = 20 * time.Minute
	// bootBegins is from an installer's answers to its first report, and on to its partitions.
	bootBegins = 15 * time.Minute
	// bootWrites is for the packages, from a slow mirror.
	bootWrites = 60 * time.Minute
	// bootFirst is from the installed system to its first boot: POST once more, and package hooks.
	bootFirst = 30 * time.Minute
	// bootOff is how long an installer takes to switch the machine off.
	bootOff = 10 * time.Minute
)

// watch counts the time in which somebody looked: a pause and a site that was away count for nothing.
type watch struct {
	Stage  string        `json:"stage,omitempty"` // that is waited from
	Waited time.Duration `json:"waited,omitempty"`
	Seen   time.Time     `json:"seen,omitzero"`
}

// look counts on, anew when the stage is another one.
func (w *watch) look(stage string, now time.Time, most time.Duration) time.Duration {
	if w.Stage != stage || w.Seen.IsZero() {
		*w = watch{Stage: stage, Seen: now}
	}
	w.Waited += min(now.Sub(w.Seen), most)
	w.Seen = now
	return w.Waited
}

// bootHandle is where a boot over the network is.
type bootHandle struct {
	Phase string `json:"phase,omitempty"` // "", set, cycle, wait, clear; then the step's own
	Boot  int64  `json:"boot,omitempty"`  // the record
	Cycle cycle  `json:"cycle,omitzero"`
	Watch watch  `json:"watch,omitzero"`
	// Cleared says that the override was read as gone after the boot.
	Cleared bool   `json:"cleared,omitempty"`
	Command string `json:"command,omitempty"` // ID of the agent's
}

// noteErased is what a step answers when the machine was proved to run what is wanted.
func alreadyRuns(c Call, s plan.System) (Result, bool) {
	if !c.Known.Installed.Is(s.Digest, c.Operation) {
		return Result{}, false
	}
	return Result{Done: &Done{Summary: "already so: the machine runs the system that is wanted"}}, true
}

// again60 asks for a look at the record later; what the machine tells comes before.
func (a *Site) later(h bootHandle, text string, args ...any) (Result, error) {
	return again(a.patience(bootLook), h, text, args...)
}

// machineOf completes the plan's machine with what was learned since.
func machineOf(c Call, raw json.RawMessage, disks bool) (json.RawMessage, error) {
	var m templates.Machine
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("step %s: machine: %w", c.Step.Name, err)
	}
	if c.Known.Network == nil {
		return nil, fault.New(fault.Incomplete, "the network of %s is not known: the addresses step has derived none", c.Asset.Name)
	}
	m.Operation, m.Asset, m.Network, m.Disks = string(c.Operation), c.Asset, *c.Known.Network, c.Known.Disks
	if !disks { // the agent is told its disks by command: these are nowhere
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

// openBoot opens the record of this attempt; it is harmless to repeat.
func (a *Site) openBoot(ctx context.Context, c Call, purpose operation.Purpose, boot plan.WantBoot, macs []plan.WantMAC, raw json.RawMessage) (operation.BootRecord, error) {
	machine, err := machineOf(c, raw, purpose == operation.ForInstall)
	if err != nil {
		return operation.BootRecord{}, err
	}
	_, sum, err := operation.NewBootToken()
	if err != nil {
		return operation.BootRecord{}, err
	}
	o := operation.BootOpen{Operation: c.Operation, Asset: c.Asset.ID, Step: c.Step.Name, Purpose: purpose, Attempt: c.Attempt, TokenSum: sum,
		MACs: []string{boot.MAC}, Serial: c.Asset.Serial, Machine: machine, At: a.Clock(), Expires: a.Clock().Add(c.Step.Deadline())}
	for _, m := range macs {
		if !slices.Contains(o.MACs, m.MAC) {
			o.MACs = append(o.MACs, m.MAC)
		}
	}
	for _, l := range c.Known.Network.Links {
		if l.MAC != "" && !slices.Contains(o.MACs, l.MAC) {
			o.MACs = append(o.MACs, l.MAC)
		}
	}
	return a.Boots.Open(ctx, o)
}

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

func setOverride(ctx context.Context, ctrl bmc.Controller, w plan.WantBoot) error {
	if w.Way == "vmedia" {
		if err := ctrl.InsertMedia(ctx, w.URL); err != nil {
			return err
		}
	}
	return ctrl.SetBootOverride(ctx, override(w)) // and reads it back
}

func bootWrite(after string) plan.Write {
	return plan.Write{System: "bmc", Object: "host", Field: "boot override", Before: plan.Unknown, After: after}
}

// bootOver does the part of a boot that is the same for agent and installer, until phase wait. nil: that
// is reached. The override is set before the reboot is announced, and once more, where the BMC dropped
// it, directly before the power goes on.
func (a *Site) bootOver(ctx context.Context, c Call, w plan.WantBoot, h *bootHandle) (*Result, error) {
	if h.Phase != "set" && h.Phase != "cycle" {
		return nil, nil
	}
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	if h.Phase == "set" {
		if err := setOverride(ctx, ctrl, w); err != nil {
			return nil, err
		}
		h.Phase, h.Cycle = "cycle", cycle{}
		r, err := wrote(*h, []plan.Write{bootWrite(string(override(w).Device) + ", once")}, "the next boot is over the network: rebooting")
		if err == nil {
			r.Again.Reboot = true
		}
		return &r, err
	}
	waiting, pause, err := a.powerOver(ctx, c, ctrl, &h.Cycle, func() error { return setOverride(ctx, ctrl, w) })
	if err != nil {
		return nil, err
	}
	if waiting != "" {
		r, err := again(pause, *h, "%s", waiting)
		return &r, err
	}
	h.Phase, h.Watch = "wait", watch{}
	r, err := again(0, *h, "the host is on")
	return &r, err
}

// powerOver advances a cycle, and takes the rack's turn before the power goes on.
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

// clearBoot sees that the override was used up, and takes it back where the BMC kept it. nil: it is gone.
func (a *Site) clearBoot(ctx context.Context, c Call, w plan.WantBoot, h *bootHandle) (*Result, error) {
	if h.Cleared {
		return nil, nil
	}
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	if h.Phase != "clear" {
		now, err := ctrl.BootOverride(ctx)
		if err != nil {
			return nil, err
		}
		if now.Device != bmc.BootNone { // made durable first, so that the write is told
			h.Phase = "clear"
			r, err := again(0, *h, "the BMC kept its boot override (%s): taking it back", now.Device)
			return &r, err
		}
	} else if err := ctrl.SetBootOverride(ctx, bmc.BootOverride{Device: bmc.BootNone}); err != nil {
		return nil, err
	}
	if w.Way == "vmedia" {
		if err := ctrl.EjectMedia(ctx); err != nil {
			return nil, err
		}
	}
	kept := h.Phase == "clear"
	h.Phase, h.Cleared = "wait", true
	if !kept {
		return nil, nil
	}
	r, err := wrote(*h, []plan.Write{bootWrite("none")}, "the boot override is taken back")
	return &r, err
}

// refused gives the fault of a machine that is not the record's.
func refused(s operation.BootState) error {
	for _, e := range slices.Backward(s.Events) {
		if e.Stage != operation.StageRefused {
			continue
		}
		why := string(e.Body)
		report := operation.ParseReport(e.Body)
		if r := report["reason"]; len(r) > 0 {
			why = r[0]
		}
		code := fault.WrongMachine
		if s.Record.Claimed != nil && slices.Contains(report["stage"], operation.StageClaimed) {
			code = fault.BootClaimed
		}
		return fault.New(code, "a report for %s was refused: %s", s.Record.Asset.Name, strings.TrimSpace(why))
	}
	return nil
}

// has tells whether a stage was reached.
func has(s operation.BootState, stage string) bool {
	return slices.ContainsFunc(s.Events, func(e operation.BootEvent) bool { return e.Stage == stage })
}

// silent is the fault when nothing came for too long since a stage.
func (a *Site) silent(h *bootHandle, c Call, stage string, most time.Duration) error {
	waited := h.Watch.look(stage, a.Clock(), 3*a.patience(bootLook))
	if waited <= a.patience(most) {
		return nil
	}
	switch stage {
	case "":
		return fault.New(fault.NoDHCP, "%s is on for %s, and nothing asked for DHCP, or it got no answer", c.Asset.Name, waited)
	case operation.StageAsked:
		return fault.New(fault.NoPhoneHome, "%s was told what to boot %s ago: its kernel did not come up, or cannot reach the boot service (or used an old URL)", c.Asset.Name, waited)
	}
	return fault.New(fault.InstallerHangs, "%s reported nothing for %s after %s", c.Asset.Name, waited, stage)
}
