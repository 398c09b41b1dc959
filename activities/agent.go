package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// agentRecord is how long an agent's record is good for: a burn-in of days and all that comes after must
// fit. It is closed before that by the step that installs, or by the end of the run.
const agentRecord = 7*24*time.Hour - time.Hour

// agent boots the agent in RAM, and chooses the disks by what the machine itself sees.
func (a *Site) agent(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantAgent, bootHandle](c)
	if err != nil {
		return Result{}, err
	}
	if r, ok := alreadyRuns(c, want.System); ok {
		return r, nil
	}
	if h.Phase == "" {
		macs := []string{want.Boot.MAC}
		for _, m := range want.MACs {
			macs = append(macs, m.MAC)
		}
		return a.openBoot(ctx, c, operation.ForAgent, agentRecord, want.Machine, macs...)
	}
	if r, err := a.agentBoots(ctx, c, want.Boot, &h); r != nil || err != nil {
		return orZero(r), err
	}
	if h.Command == "" {
		h.Command = commandID(c, operation.AgentReport)
	}
	cmd, r, err := a.order(ctx, c, h, operation.AgentReport, nil)
	if cmd == nil || err != nil {
		return r, err
	}
	var report operation.HardwareReport
	if err := json.Unmarshal(cmd.Result, &report); err != nil {
		return Result{}, fault.Wrap(err, fault.AgentFailed, "the agent's report on %s makes no sense: %v", c.Asset.Name, err)
	}
	if err := portsAre(c, want.MACs, report.Ports); err != nil {
		return Result{}, err
	}
	disks, err := profile.ChooseRootDisks(report.Disks, want.Root, want.Disks)
	if err != nil {
		return Result{}, fault.Wrap(err, fault.NoRootDisk, "%v", err)
	}
	done := &Done{Changed: true, Learned: &operation.Known{Disks: disks},
		Summary: fmt.Sprintf("%d disks, %d ports, %d MiB; the system goes to %s", len(report.Disks), len(report.Ports), report.MemoryMiB, named(disks))}
	if done.Evidence, err = proof("agent", "What the machine itself sees", report); err != nil {
		return Result{}, err
	}
	chosen, err := proof("disks", "Disks that the hints chose", disks)
	done.Evidence = append(done.Evidence, chosen...)
	return Result{Done: done}, err
}

// agentBoots boots the agent of record h.Boot; nil: it has claimed its machine, and the override is gone.
func (a *Site) agentBoots(ctx context.Context, c Call, w plan.WantBoot, h *bootHandle) (*Result, error) {
	if h.Phase == phaseOverride || h.Phase == phaseCycle {
		r, err := a.bootOver(ctx, c, w, *h)
		return &r, err
	}
	if h.Command != "" {
		return nil, nil
	}
	s, err := a.record(ctx, c, h.Boot)
	if err != nil {
		return nil, err
	}
	if err := refused(s); err != nil {
		return nil, err
	}
	if !has(s, operation.StageClaimed) {
		stage := farthest(s, operation.StageAsked)
		if err := a.silent(h, c, stage, map[bool]time.Duration{true: bootAsks, false: bootKernel}[stage == ""]); err != nil {
			return nil, err
		}
		r, err := a.listen(*h, -1, "%s", map[bool]string{true: "waiting for the machine to ask what to boot", false: "waiting for the agent to come up"}[stage == ""])
		return &r, err
	}
	return a.clearBoot(ctx, c, w, h)
}

// record gives the newest record of the run, which must be one that is known here.
func (a *Site) record(ctx context.Context, c Call, id int64) (operation.BootState, error) {
	s, err := a.Boots.State(ctx, c.Operation, c.Asset.ID, "", 0)
	if err == nil && s.Record.ID != id {
		err = fault.New(fault.BootUsed, "boot record %d of %s was replaced by record %d", id, c.Asset.Name, s.Record.ID)
	}
	return s, err
}

// commandID names a command for ever: asking again gives what became of it.
func commandID(c Call, kind string) string {
	return fmt.Sprintf("%s.%s.%s.%s.%d", c.Operation, c.Asset.ID, c.Step.Name, kind, c.Attempt)
}

// order has the agent do something once; the command is nil while it has not ended, and the result says
// when to look again. An agent that is silent for too long, or fails, is an error.
func (a *Site) order(ctx context.Context, c Call, h bootHandle, kind string, args any) (*operation.AgentCommand, Result, error) {
	cmd, err := a.command(ctx, h.Boot, h.Command, kind, args)
	if err != nil {
		return nil, Result{}, err
	}
	switch cmd.State {
	case operation.CommandDone:
		return &cmd, Result{}, nil
	case operation.CommandFailed:
		return &cmd, Result{}, fault.New(fault.AgentFailed, "the agent of %s failed in %s: %s", c.Asset.Name, kind, cmp.Or(cmd.Error, "it does not say why"))
	}
	said, percent := "waiting for the agent to begin "+kind, -1
	if cmd.State == operation.CommandRunning {
		said = kind
		if p := cmd.Progress; p != nil {
			said, percent = kind+": "+p.Text, p.Percent
		}
	}
	most := a.patience(agentSilent)
	if h.Booted { // it may be booting
		most += a.patience(bootAsks + bootKernel)
	}
	if waited := a.silence(&h, fmt.Sprintf("%s %d", said, percent)); waited > most {
		return nil, Result{}, fault.New(fault.AgentFailed, "the agent of %s has said nothing for %s (%s)", c.Asset.Name, waited.Round(time.Second), said)
	}
	r, err := a.listen(h, percent, "%s", said)
	return nil, r, err
}

func (a *Site) command(ctx context.Context, boot int64, id, kind string, args any) (operation.AgentCommand, error) {
	cmd := operation.AgentCommand{ID: id, Boot: boot, Kind: kind}
	if args != nil {
		raw, err := json.Marshal(args)
		if err != nil {
			return cmd, err
		}
		cmd.Args = raw
	}
	return a.Boots.Command(ctx, cmd)
}

// agentWork begins a step that gives the agent of an earlier step one command. On a retry it goes on with
// the command of the attempt before, unless that failed.
func (a *Site) agentWork(ctx context.Context, c Call, kind string, args any) (bootHandle, error) {
	s, err := a.Boots.State(ctx, c.Operation, c.Asset.ID, "", 0)
	if err == nil && s.Record.Purpose != operation.ForAgent {
		err = fault.New(fault.AgentFailed, "no agent runs on %s: it was last booted for %s", c.Asset.Name, s.Record.Purpose)
	}
	if err != nil {
		return bootHandle{}, err
	}
	h := bootHandle{Phase: phaseWait, Boot: s.Record.ID, Command: commandID(c, kind)}
	if last := before[bootHandle](c); last.Boot == h.Boot && last.Command != "" {
		old, err := a.command(ctx, last.Boot, last.Command, kind, args)
		if err != nil {
			return bootHandle{}, err
		}
		if old.State != operation.CommandFailed {
			h.Command = last.Command
		}
	}
	return h, nil
}

// agentDoes has the agent of an earlier step do one thing. On a retry, an agent that does not take the
// command is booted again.
func (a *Site) agentDoes(ctx context.Context, c Call, w plan.WantBoot, h bootHandle, kind string, args any) (*operation.AgentCommand, Result, error) {
	if h.Phase == phaseOverride || h.Phase == phaseCycle {
		r, err := a.bootOver(ctx, c, w, h)
		return nil, r, err
	}
	if c.Attempt > 1 && !h.Booted && h.Watch.Waited > a.patience(agentTakes) {
		h.Phase, h.Watch = phaseOverride, watch{}
		r, err := again(0, h, "the agent does not answer: booting it again")
		return nil, r, err
	}
	cmd, r, err := a.order(ctx, c, h, kind, args)
	if cmd == nil || err != nil {
		return cmd, r, err
	}
	cleared, err := a.clearBoot(ctx, c, w, &h)
	if cleared != nil || err != nil {
		return nil, orZero(cleared), err
	}
	return cmd, Result{}, nil
}

// portsAre holds that the machine has the ports that NetBox names.
func portsAre(c Call, want []plan.WantMAC, ports []operation.Port) error {
	var missing []fault.Item
	for _, w := range want {
		if !slices.ContainsFunc(ports, func(p operation.Port) bool { mac, ok := asset.NormalMAC(p.MAC); return ok && mac == w.MAC }) {
			missing = append(missing, fault.Item{Subject: "MAC address of " + w.Interface, Expected: w.MAC, Seen: "no such port",
				Remedy: "correct it in NetBox, or find the card that is not there"})
		}
	}
	if len(missing) == 0 {
		return nil
	}
	f := fault.New(fault.Differs, "%d ports of %s are not in the machine", len(missing), c.Asset.Name)
	f.Details = missing
	return f
}

func named(disks []profile.Disk) string {
	out := make([]string, len(disks))
	for i, d := range disks {
		out[i] = d.String()
	}
	return strings.Join(out, " and ")
}

func orZero(r *Result) Result {
	if r == nil {
		return Result{}
	}
	return *r
}

// burnIn loads the machine for as long as the profile says.
func (a *Site) burnIn(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantBurnIn, bootHandle](c)
	if err != nil {
		return Result{}, err
	}
	if r, ok := alreadyRuns(c, want.System); ok {
		return r, nil
	}
	b := want.BurnIn
	args := operation.BurnInArgs{BurnIn: b, Minutes: b.CPUMinutes + b.MemoryMinutes + b.DiskMinutes + b.NetworkMinutes}
	if h.Phase == "" {
		if h, err = a.agentWork(ctx, c, operation.AgentBurnIn, args); err != nil {
			return Result{}, err
		}
		r, err := again(0, h, "the agent loads the machine for %d minutes", args.Minutes)
		if err == nil && b.DiskWrites {
			r.Again.Learned = &operation.Known{Installed: &operation.Installed{}}
			r.Again.Writes = []plan.Write{{System: "host", Object: "every disk", Field: "content", Before: plan.Unknown, After: "overwritten by the disk test"}}
		}
		return r, err
	}
	cmd, r, err := a.agentDoes(ctx, c, want.Boot, h, operation.AgentBurnIn, args)
	if cmd == nil {
		return r, err
	}
	var result operation.BurnInResult
	if jerr := json.Unmarshal(cmd.Result, &result); jerr != nil && err == nil {
		return Result{}, fault.Wrap(jerr, fault.AgentFailed, "the result of the burn-in of %s makes no sense: %v", c.Asset.Name, jerr)
	}
	if len(result.Errors) > 0 {
		f := fault.New(fault.BurnInFailed, "%s does not hold under load: %s", c.Asset.Name, strings.Join(result.Errors, "; "))
		for _, e := range result.Errors {
			f.Details = append(f.Details, fault.Item{Subject: "burn-in", Expected: "no error", Seen: e})
		}
		return Result{}, f
	}
	if err != nil {
		return Result{}, err
	}
	done := &Done{Changed: true, Summary: fmt.Sprintf("%d minutes under load without an error", result.Minutes)}
	done.Evidence, err = proof("burn-in", "Result of the burn-in", result)
	return Result{Done: done}, err
}

// diskLayout erases the disks that the agent step chose. Before that it is known that nothing is installed any more.
func (a *Site) diskLayout(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantDisks, bootHandle](c)
	if err != nil {
		return Result{}, err
	}
	if r, ok := alreadyRuns(c, want.System); ok {
		return r, nil
	}
	args := operation.DiskArgs{Disks: paths(c.Known.Disks)}
	if len(args.Disks) == 0 {
		return Result{}, fault.New(fault.NoRootDisk, "no disk of %s was chosen: none is not all", c.Asset.Name)
	}
	if h.Phase == "" {
		if h, err = a.agentWork(ctx, c, operation.AgentDiskLayout, args); err != nil {
			return Result{}, err
		}
		r, err := again(0, h, "the agent erases %s", named(c.Known.Disks))
		if err == nil {
			r.Again.Learned = &operation.Known{Installed: &operation.Installed{}}
		}
		return r, err
	}
	cmd, r, err := a.agentDoes(ctx, c, want.Boot, h, operation.AgentDiskLayout, args)
	if cmd == nil || err != nil {
		return r, err
	}
	var result operation.DiskResult
	if err := json.Unmarshal(cmd.Result, &result); err != nil {
		return Result{}, fault.Wrap(err, fault.AgentFailed, "the result of erasing the disks of %s makes no sense: %v", c.Asset.Name, err)
	}
	if erased := paths(result.Disks); !slices.Equal(erased, args.Disks) {
		return Result{}, fault.New(fault.AgentFailed, "the agent of %s erased %q, and was told to erase %q", c.Asset.Name, erased, args.Disks)
	}
	done := &Done{Changed: true, Summary: "erased: " + named(c.Known.Disks), Writes: []plan.Write{{System: "host", Object: "root disk", Field: "content",
		Before: plan.Unknown, After: "erased: " + strings.Join(args.Disks, ", ")}}}
	done.Evidence, err = proof("disk-layout", "Disks that were erased", result.Disks)
	return Result{Done: done}, err
}

func paths(disks []profile.Disk) []string {
	out := make([]string, len(disks))
	for i, d := range disks {
		out[i] = d.Path
	}
	return out
}

// isNotFound tells that a record is not there.
func isNotFound(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Code == fault.NotFound
}
