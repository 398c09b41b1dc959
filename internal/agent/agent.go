// Package agent is what runs in RAM on a machine that an operation has booted: it claims its machine,
// asks for commands, does them one by one and tells what came of them (docs/boot-protocol.md). Nobody
// dials it, and it dials nobody but the boot service of its kernel's command line, and what a command
// names.
//
// Words
//
//   - Machine: what is told and done to the hardware; package linux is the real one.
//   - Command: it has an ID. One that comes again, because its result was lost on the way, is answered
//     from memory and not done again. An agent that is started anew has no memory: its commands are
//     such that beginning them twice harms nothing.
//   - Refused: an answer that asking again does not change. Everything else is tried again, for ever:
//     a network that is away comes back, and who waits for the machine knows when to give up.
//
// One goroutine runs an Agent; beside it only the progress of its command is told.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/bootproto"
)

// Say tells how far a command is; percent is -1 where nobody knows.
type Say func(text string, percent int)

// Machine is what an agent works on. Its work ends soon after its context does, with an error.
type Machine interface {
	Identity() (bootproto.BootIdentity, error)
	Report(ctx context.Context) (bootproto.HardwareReport, error)
	// BurnIn gives what was found also with an error.
	BurnIn(ctx context.Context, args bootproto.BurnInArgs, say Say) (bootproto.BurnInResult, error)
	Erase(ctx context.Context, args bootproto.DiskArgs, say Say) (bootproto.DiskResult, error)
	WriteImage(ctx context.Context, args bootproto.ImageArgs, say Say) (bootproto.ImageResult, error)
}

// Options are what an Agent works with.
type Options struct {
	Machine Machine
	URL     string       // the machine's one-time URL, as the kernel's command line has it
	HTTP    *http.Client // trusts whom it should, and follows no redirects: NewHTTP
	Log     *slog.Logger
	// First and Most bound the pause before something is tried again; 0: 1 and 30 seconds.
	First, Most time.Duration
	Every       time.Duration // progress is told at most this often; 0: 5 seconds
	WaitSec     int           // how long the boot service may hold a question for commands; 0: 20
}

// Agent serves one machine.
type Agent struct {
	o    Options
	c    client
	done map[string]bootproto.CommandResult // by command
}

// New makes an Agent.
func New(o Options) (*Agent, error) {
	base, err := agentURL(o.URL)
	if err != nil {
		return nil, err
	}
	o.First, o.Most, o.Every = or(o.First, time.Second), or(o.Most, 30*time.Second), or(o.Every, 5*time.Second)
	if o.WaitSec == 0 {
		o.WaitSec = 20
	}
	return &Agent{o: o, c: client{http: o.HTTP, base: base, first: o.First, most: o.Most, log: o.Log}, done: map[string]bootproto.CommandResult{}}, nil
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// End is how an agent ends.
type End string

// The ends.
const (
	Reboot End = "reboot"
	Stop   End = "stop"
)

// Run claims the machine and works until a command ends it, whose result has then been taken. It fails
// with a *Refused, or when its context ends.
func (a *Agent) Run(ctx context.Context) (End, error) {
	who, err := a.o.Machine.Identity()
	if err != nil {
		return "", fmt.Errorf("who this machine is: %w", err)
	}
	var claimed bootproto.Claimed
	if _, err := a.c.insist(ctx, http.MethodPost, "/claim", who, &claimed); err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	a.o.Log.Info("claimed", "machine", claimed.Asset, "operation", claimed.Operation)
	for {
		asked := time.Now()
		var cmd bootproto.AgentCommand
		status, err := a.c.insist(ctx, http.MethodGet, fmt.Sprintf("/next?wait=%d", a.o.WaitSec), nil, &cmd)
		switch {
		case err != nil:
			return "", fmt.Errorf("next command: %w", err)
		case status == http.StatusNoContent || cmd.ID == "":
			if time.Since(asked) < a.o.First && !rest(ctx, a.o.First) { // it did not wait, so we do
				return "", ctx.Err()
			}
			continue
		}
		result, known := a.done[cmd.ID]
		if !known {
			a.o.Log.Info("begins", "command", cmd.ID, "kind", cmd.Kind)
			var err error
			if result, err = a.obey(ctx, cmd); err != nil {
				return "", fmt.Errorf("%s: %w", cmd.ID, err)
			}
			a.done[cmd.ID] = result
			a.o.Log.Info("ended", "command", cmd.ID, "state", result.State, "error", result.Error)
		}
		if _, err := a.c.insist(ctx, http.MethodPost, "/commands/"+cmd.ID+"/result", result, nil); err != nil {
			return "", fmt.Errorf("result of %s: %w", cmd.ID, err)
		}
		if end := ends[cmd.Kind]; end != "" && result.State == bootproto.CommandDone {
			return end, nil
		}
	}
}

var ends = map[string]End{bootproto.AgentReboot: Reboot, bootproto.AgentStop: Stop}

// obey does a command. It fails only when nobody wants the result any more: the context has ended, or
// the boot service refuses our progress because the record was closed.
func (a *Agent) obey(ctx context.Context, cmd bootproto.AgentCommand) (bootproto.CommandResult, error) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	say, quiet := a.tell(work, cancel, cmd.ID)
	result, err := a.do(work, cmd, say)
	quiet()
	if work.Err() != nil {
		return bootproto.CommandResult{}, context.Cause(work)
	}
	out := bootproto.CommandResult{State: bootproto.CommandDone}
	if result != nil {
		raw, jerr := json.Marshal(result)
		if jerr == nil && len(raw) > bootproto.MaxResultBody {
			jerr = fmt.Errorf("the result has %d bytes, at most %d are taken", len(raw), bootproto.MaxResultBody)
		}
		if jerr != nil {
			err = errors.Join(err, jerr)
		} else {
			out.Result = raw
		}
	}
	if err != nil {
		out.State, out.Error = bootproto.CommandFailed, strings.ToValidUTF8(err.Error()[:min(len(err.Error()), 4000)], "")
	}
	return out, nil
}

// do does a command; one that panics has failed.
func (a *Agent) do(ctx context.Context, cmd bootproto.AgentCommand, say Say) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.o.Log.Error("panic", "command", cmd.ID, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, fmt.Errorf("defect of the agent in %s: %v", cmd.Kind, p)
		}
	}()
	m := a.o.Machine
	switch cmd.Kind {
	case bootproto.AgentReport:
		return m.Report(ctx)
	case bootproto.AgentBurnIn:
		return with(cmd, func(args bootproto.BurnInArgs) (any, error) { return m.BurnIn(ctx, args, say) })
	case bootproto.AgentDiskLayout:
		return with(cmd, func(args bootproto.DiskArgs) (any, error) { return m.Erase(ctx, args, say) })
	case bootproto.AgentWriteImage:
		return with(cmd, func(args bootproto.ImageArgs) (any, error) { return m.WriteImage(ctx, args, say) })
	case bootproto.AgentReboot, bootproto.AgentStop:
		return nil, nil // when the result has been taken
	}
	return nil, fmt.Errorf("this agent does not know the command %s: boot a newer one", cmd.Kind)
}

func with[A any](cmd bootproto.AgentCommand, do func(A) (any, error)) (any, error) {
	var args A
	if err := json.Unmarshal(cmd.Args, &args); err != nil {
		return nil, fmt.Errorf("the arguments of %s make no sense: %w", cmd.Kind, err)
	}
	return do(args)
}

// tell gives a Say whose last word is told every now and then, until quiet is called. What is lost is
// lost: there will be more. A boot service that refuses it ends the work.
func (a *Agent) tell(ctx context.Context, cancel context.CancelCauseFunc, id string) (say Say, quiet func()) {
	var mu sync.Mutex
	var last bootproto.Progress
	news, end, ended := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	say = func(text string, percent int) {
		mu.Lock()
		last = bootproto.Progress{Text: text[:min(len(text), 1000)], Percent: min(percent, 100)}
		mu.Unlock()
		select {
		case news <- struct{}{}:
		default:
		}
	}
	ctx, hush := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-news:
			}
			mu.Lock()
			p := last
			mu.Unlock()
			_, err := a.c.ask(ctx, http.MethodPost, "/commands/"+id+"/progress", p, nil)
			var refused *Refused
			if errors.As(err, &refused) && refused.Ended() {
				cancel(refused)
				return
			}
			select {
			case <-end:
				return
			case <-time.After(a.o.Every):
			}
		}
	}()
	return say, func() { hush(); close(end); <-ended }
}
