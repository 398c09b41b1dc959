package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/profile"
)

// agentURL is where the agent of a one-time URL asks.
func agentURL(base string) string { return strings.Replace(base, "/boot/", "/agent/v1/", 1) }

func (m *Machine) agentClaims(ctx context.Context, r hostRun) {
	if !m.rest(ctx, timeKernel) || m.spoilt(r, phaseClaim) {
		return
	}
	_, err := m.insist(ctx, http.MethodPost, agentURL(r.Base)+"/claim", jsonKind, string(encode(m.identity(phaseClaim))))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.stops(r, "the agent may not work: "+err.Error())
	default:
		m.hostDid(r.Number, func(_ time.Time, run *hostRun) { run.Phase = phaseNext })
	}
}

// agentAsks waits for the next command.
func (m *Machine) agentAsks(ctx context.Context, r hostRun) {
	a, err := m.ask(ctx, http.MethodGet, agentURL(r.Base)+"/next?wait=20", "", "", time.Minute)
	switch {
	case ctx.Err() != nil, err == nil && a.status == http.StatusNoContent:
	case err != nil, a.status >= 500, a.status == http.StatusTooManyRequests:
		pause(ctx, timeAgain)
	case a.status != http.StatusOK:
		m.stops(r, "the agent is told nothing any more: "+strings.TrimSpace(short(string(a.body))))
	default:
		var c operation.AgentCommand
		if err := json.Unmarshal(a.body, &c); err != nil || c.ID == "" {
			pause(ctx, timeAgain)
			return
		}
		m.hostDid(r.Number, func(now time.Time, run *hostRun) {
			run.Phase, run.Command, run.Did = phaseCommand, &command{ID: c.ID, Kind: c.Kind, Args: c.Args}, false
			m.effect(now, EffectAgent, c.Kind+" "+c.ID)
		})
	}
}

// agentObeys carries out a command and tells its result. What it does to the machine is done once:
// an agent that is killed in between finds it done.
func (m *Machine) agentObeys(ctx context.Context, r hostRun) {
	c := r.Command
	var result any
	var why error
	switch c.Kind {
	case operation.AgentReport:
		result = m.report()
	case operation.AgentBurnIn:
		result, why = m.burnIn(ctx, r)
	case operation.AgentDiskLayout:
		result, why = m.layDisks(ctx, r)
	case operation.AgentWriteImage:
		result, why = m.writeImage(ctx, r)
	case operation.AgentReboot, operation.AgentStop:
	default:
		why = errors.New("this agent does not know the command " + c.Kind)
	}
	if ctx.Err() != nil || m.spoilt(r, c.Kind) {
		return
	}
	if why == nil && m.box.faults.takeHost(m.spec.Name, ActHostFails, c.Kind) {
		why = errors.New("a rule of the box has it fail")
	}
	out := operation.CommandResult{State: operation.CommandDone}
	if why != nil {
		out.State, out.Error = operation.CommandFailed, why.Error()
	}
	if result != nil {
		out.Result = encode(result)
	}
	_, err := m.insist(ctx, http.MethodPost, agentURL(r.Base)+"/commands/"+c.ID+"/result", jsonKind, string(encode(out)))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.stops(r, "the result of "+c.Kind+" is not taken: "+err.Error())
	default:
		m.hostDid(r.Number, func(now time.Time, run *hostRun) {
			run.Phase, run.Command, run.Did = phaseNext, nil, false
			switch c.Kind {
			case operation.AgentReboot:
				m.hostRestarts(now)
			case operation.AgentStop:
				m.hostTurnsOff(now)
			}
		})
	}
}

// hostRestarts is a reboot that the host does by itself. The caller holds the lock.
func (m *Machine) hostRestarts(now time.Time) {
	m.effect(now, EffectHostReboot, "by the host")
	m.startBoot(now)
	m.st.Boot, m.st.PostCode = "None", 0
}

// hostTurnsOff is a shutdown that the host does by itself. The caller holds the lock.
func (m *Machine) hostTurnsOff(now time.Time) {
	m.stopHost()
	m.startPowerOff(now, timeShutdown, doPowerOff)
}

func (m *Machine) burnIn(ctx context.Context, r hostRun) (any, error) {
	var args operation.BurnInArgs
	if len(r.Command.Args) > 0 && json.Unmarshal(r.Command.Args, &args) != nil {
		return nil, errors.New("the arguments are not those of a burn-in")
	}
	for done := r.Command.Done; done < 100; done += 10 {
		if !m.rest(ctx, timeBurn/10) {
			return nil, ctx.Err()
		}
		// Progress that is lost is lost: there will be more.
		_, _ = m.ask(ctx, http.MethodPost, agentURL(r.Base)+"/commands/"+r.Command.ID+"/progress", jsonKind,
			string(encode(operation.Progress{Text: "processors and memory", Percent: done + 10})), quick)
		m.hostDid(r.Number, func(_ time.Time, run *hostRun) {
			if run.Command != nil {
				run.Command.Done = done + 10
			}
		})
	}
	result := operation.BurnInResult{Minutes: args.Minutes, Errors: []string{}}
	if args.Minutes == 0 {
		return result, errors.New("no minutes are given")
	}
	failed := slices.Clone(m.spec.Failed)
	if m.box.faults.takeHost(m.spec.Name, ActHostFails, operation.AgentBurnIn) {
		failed = append(failed, "memory")
	}
	for _, part := range failed {
		result.Errors = append(result.Errors, part+": failed under load")
	}
	if len(result.Errors) > 0 {
		return result, errors.New(strings.Join(result.Errors, "; "))
	}
	return result, nil
}

// chosen finds disks by their paths. One that is not here is an error, and so is none at all.
func (m *Machine) chosen(paths []string) ([]profile.Disk, error) {
	if len(paths) == 0 {
		return nil, errors.New("no disks are named: empty is not all")
	}
	m.mu.Lock()
	all := m.disks()
	m.mu.Unlock()
	var out []profile.Disk
	for _, p := range paths {
		i := slices.IndexFunc(all, func(d profile.Disk) bool { return d.Path == p })
		if i < 0 {
			return nil, errors.New("disk " + p + " is not here")
		}
		out = append(out, all[i])
	}
	return out, nil
}

func (m *Machine) layDisks(ctx context.Context, r hostRun) (any, error) {
	var args operation.DiskArgs
	if json.Unmarshal(r.Command.Args, &args) != nil {
		return nil, errors.New("the arguments are not those of a disk layout")
	}
	disks, err := m.chosen(args.Disks)
	if err != nil {
		return nil, err
	}
	if !r.Did && (!m.rest(ctx, timeErase) || !m.erases(r, args.Disks)) {
		return nil, context.Canceled
	}
	return operation.DiskResult{Disks: disks}, nil
}

// erases takes away what is on disks, and notes that.
func (m *Machine) erases(r hostRun, disks []string) bool {
	return m.hostDid(r.Number, func(now time.Time, run *hostRun) {
		run.Did = true
		m.effect(now, EffectErase, strings.Join(disks, " "))
		if i := m.st.Host.Installed; i != nil && slices.ContainsFunc(i.Disks, func(d string) bool { return slices.Contains(disks, d) }) {
			m.st.Host.Installed = nil
		}
	})
}

func (m *Machine) writeImage(ctx context.Context, r hostRun) (any, error) {
	var args operation.ImageArgs
	if json.Unmarshal(r.Command.Args, &args) != nil || args.SHA256 == "" {
		return nil, errors.New("the arguments are not those of an image")
	}
	if _, err := m.chosen(args.Disks); err != nil {
		return nil, err
	}
	if !r.Did && (!m.rest(ctx, timeInstall) || !m.hostDid(r.Number, func(now time.Time, run *hostRun) {
		run.Did = true
		m.writes(now, OnDisk{OS: cmp.Or(args.OS, "debian 12"), Image: args.SHA256, Disks: args.Disks, Pending: true, Base: run.Base})
	})) {
		return nil, context.Canceled
	}
	return operation.ImageResult{SHA256: args.SHA256}, nil
}

// writes puts a system on the disk. The caller holds the lock.
func (m *Machine) writes(now time.Time, i OnDisk) {
	i.At = now
	m.st.Host.Installed = &i
	detail := "os=" + i.OS
	if i.Image != "" {
		detail += " sha256=" + i.Image
	}
	m.effect(now, EffectWrite, detail)
}
