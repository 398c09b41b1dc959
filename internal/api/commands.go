package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// commandsAtOnce bounds how many Updates one request has under way.
const commandsAtOnce = 16

// command passes an operator's action on to the runs that it is for, and says for each whether it
// applied. The audit row comes first: what cannot be remembered is not done.
func (s *Server) command(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.Command](c)
	if err != nil {
		return err
	}
	if ask, err = checkCommand(ask); err != nil {
		return err
	}
	d, err := s.operationOf(c)
	if err != nil {
		return err
	}
	whole := len(d.Runs) == d.Assets
	runs, err := choose(d, ask)
	if err != nil {
		return err
	}
	if err := oneStep(ask, runs); err != nil {
		return err
	}
	if ask.AcceptPin != "" {
		if err := pinWaits(runs[0]); err != nil {
			return err
		}
	}
	detail, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := s.audit(c, "operation."+string(ask.Action), string(d.ID), d.ID, string(detail)); err != nil {
		return err
	}
	cmd := operation.Command{ID: ask.ID, Operation: d.ID, Actor: c.caller.Person, Reason: strings.TrimSpace(ask.Reason),
		Step: ask.Step, AcceptPin: ask.AcceptPin, Evidence: ask.Evidence}
	out := wire.Commanded{Action: ask.Action, Of: len(runs), Runs: []wire.CommandedRun{}}
	if ask.Action == operation.Abort {
		if runs, err = s.abortUnsent(c.Context(), cmd, runs, &out); err != nil {
			return err
		}
	}
	// The operation's own workflow starts the runs, so it must know before its runs are told: else one
	// would start behind our back. A caller of some sites only steers runs, never the whole. What was
	// aborted before the start has no workflow to tell.
	toldWhole := false
	if ask.All && whole && len(out.Runs) == 0 && slices.Contains([]operation.Action{operation.Pause, operation.Resume, operation.Abort}, ask.Action) {
		_, err := s.o.Steerer.Command(c.Context(), 0, ask.Action, cmd)
		toldWhole = err == nil
		if err != nil && away(err) {
			return err
		}
		if toldWhole {
			if err := s.o.Store.Hold(c.Context(), d.ID, ask.Action == operation.Pause); err != nil {
				return err
			}
		}
	}
	out.Runs = append(out.Runs, s.tell(c.Context(), ask.Action, cmd, runs, toldWhole)...)
	for _, r := range out.Runs {
		if r.Applied {
			out.Applied++
		}
	}
	return answer(w, http.StatusOK, out)
}

// abortUnsent aborts what was never started: no workflow has it, so none could be told, and Temporal
// need not even answer. It adds what it aborted to out and gives the other runs.
func (s *Server) abortUnsent(ctx context.Context, cmd operation.Command, runs []operation.Run, out *wire.Commanded) ([]operation.Run, error) {
	var queued []asset.ID
	for _, r := range runs {
		if r.State == operation.Queued {
			queued = append(queued, r.Asset.ID)
		}
	}
	if len(queued) == 0 {
		return runs, nil
	}
	aborted, err := s.o.Store.AbortUnsent(ctx, cmd.Operation, queued, cmd, s.o.Clock().UTC())
	if err != nil {
		return nil, err
	}
	var rest []operation.Run
	for _, r := range runs {
		if slices.Contains(aborted, r.Asset.ID) {
			out.Runs = append(out.Runs, wire.CommandedRun{Asset: r.Asset, Applied: true, State: operation.Aborted})
		} else {
			rest = append(rest, r)
		}
	}
	return rest, nil
}

// away tells a failure to reach Temporal at all from a refusal.
func away(err error) bool {
	code := translate(err).Code
	return wire.Exit(code) == wire.ExitAway
}

// tell sends a command to runs, some at once, and collects what became of it.
func (s *Server) tell(ctx context.Context, action operation.Action, cmd operation.Command, runs []operation.Run, toldWhole bool) []wire.CommandedRun {
	out := make([]wire.CommandedRun, len(runs))
	var g errgroup.Group
	g.SetLimit(commandsAtOnce)
	for i, run := range runs {
		g.Go(func() error {
			out[i] = s.tellOne(ctx, action, cmd, run, toldWhole)
			return nil
		})
	}
	g.Wait() //nolint:errcheck // the functions return nil: outcomes are in out
	return out
}

func (s *Server) tellOne(ctx context.Context, action operation.Action, cmd operation.Command, run operation.Run, toldWhole bool) wire.CommandedRun {
	r := wire.CommandedRun{Asset: run.Asset, State: run.State}
	if run.State.Ended() {
		r.Error = fault.New(fault.Conflict, "%s: the run has ended as %s", action, run.State)
		r.Error.Remedy = "nothing is left to steer; `cagenut op show` tells how it ended"
		return r
	}
	if cmd.Step == "" && ofAStep(action) {
		cmd.Step = run.Step // what was read is what is meant: the run may stand elsewhere when the command comes
	}
	reply, err := s.o.Steerer.Command(ctx, run.Asset.ID, action, cmd)
	switch {
	case err == nil:
		r.Applied, r.State = true, reply.State
	case action == operation.Abort && run.State != operation.Queued && translate(err).Code == fault.NotFound:
		return s.abortLost(ctx, cmd, r)
	case run.State == operation.Queued && translate(err).Code == fault.NotFound && toldWhole:
		r.Applied = true // the operation's workflow applies it when it starts the run, or does not start it
	case run.State == operation.Queued && translate(err).Code == fault.NotFound:
		r.Error = fault.New(fault.Conflict, "%s: the run has not started yet", action)
		r.Error.Remedy = "wait a moment until it has started; what was not sent to Temporal yet can only be aborted"
	case translate(err).Code == fault.NotFound:
		r.Error = translate(err)
		r.Error.Remedy = "it has just ended, or its workflow was lost in a restore: then `cagenut op abort` ends it and frees the machine"
	default:
		r.Error = translate(err)
	}
	return r
}

// abortLost ends a run that PostgreSQL has as open and Temporal does not have: one of them was restored.
func (s *Server) abortLost(ctx context.Context, cmd operation.Command, r wire.CommandedRun) wire.CommandedRun {
	lost, err := s.o.Store.AbortLost(ctx, cmd.Operation, r.Asset.ID, cmd, s.o.Clock().UTC())
	switch {
	case err != nil:
		r.Error = translate(err)
	case lost:
		r.Applied, r.State = true, operation.Aborted
	default:
		r.Error = fault.New(fault.Conflict, "abort: the run ended by itself in the meantime")
		r.Error.Remedy = "`cagenut op show` tells how it ended"
	}
	return r
}

// ofAStep tells whether an action decides about the step that waits, so that it must not hit another.
func ofAStep(a operation.Action) bool {
	return a == operation.Retry || a == operation.Skip || a == operation.Complete
}

// oneStep refuses to leave out, or to declare done, several steps by one command that names none.
func oneStep(ask wire.Command, runs []operation.Run) error {
	if ask.Step != "" || ask.Action != operation.Skip && ask.Action != operation.Complete {
		return nil
	}
	at := map[string][]string{}
	for _, r := range runs {
		if !r.State.Ended() && r.Step != "" {
			at[r.Step] = append(at[r.Step], r.Asset.Name)
		}
	}
	if len(at) < 2 {
		return nil
	}
	e := fault.New(fault.Conflict, "%s: the machines stand in %d different steps", ask.Action, len(at))
	e.Remedy = "name the step that you mean (--step); nothing was done"
	for _, step := range slices.Sorted(maps.Keys(at)) {
		e.Details = append(e.Details, fault.Item{Subject: step, Seen: strings.Join(at[step], ", ")})
	}
	return e
}

// checkCommand gives the command with its fingerprint in the one form, or what is wrong with it.
func checkCommand(ask wire.Command) (wire.Command, error) {
	switch {
	case len(ask.ID) < 8 || len(ask.ID) > 100:
		return ask, invalid("id", ask.ID, "give the command 8 to 100 characters that are new for every new command")
	case !slices.Contains(operation.Actions(), ask.Action):
		return ask, invalid("action", string(ask.Action), "use pause, resume, retry, skip, abort or complete")
	case ask.All == (len(ask.Assets) > 0):
		return ask, invalid("assets", ask.Assets, "name assets, or set all to true: empty is not all")
	case (ask.Action == operation.Skip || ask.Action == operation.Complete) && strings.TrimSpace(ask.Reason) == "":
		return ask, invalid("reason", "", "say why: "+string(ask.Action)+" leaves something undone or unproved by Cagenut")
	case ask.AcceptPin != "" && (ask.Action != operation.Retry || len(ask.Assets) != 1):
		return ask, invalid("accept_pin", ask.AcceptPin, "a new certificate is accepted with retry, for exactly one asset")
	case len(ask.Reason) > 500:
		return ask, invalid("reason", ask.Reason, "use at most 500 characters")
	}
	if err := oneLine("reason", strings.TrimSpace(ask.Reason)); err != nil {
		return ask, err
	}
	if ask.AcceptPin != "" {
		pin, err := parsePin(ask.AcceptPin)
		if err != nil {
			return ask, err
		}
		ask.AcceptPin = pin
	}
	return ask, nil
}

// choose gives the runs that a command is for. A name that is none of the operation's assets, or that
// means several of them, is an error, and then nobody is told.
func choose(d operation.Detail, ask wire.Command) ([]operation.Run, error) {
	if ask.All {
		return d.Runs, nil
	}
	var out []operation.Run
	var unknown []string
	for _, ref := range ask.Assets {
		i, err := runOf(d, ref)
		switch {
		case err != nil && err.Code != fault.NotFound:
			return nil, err
		case err != nil:
			unknown = append(unknown, ref)
		case !slices.ContainsFunc(out, func(r operation.Run) bool { return r.Asset.ID == d.Runs[i].Asset.ID }):
			out = append(out, d.Runs[i])
		}
	}
	if len(unknown) > 0 {
		return nil, noRun(d.ID, strings.Join(unknown, ", "))
	}
	return out, nil
}

func noRun(id operation.ID, refs string) *fault.Error {
	e := fault.New(fault.NotFound, "operation %s has no asset %s", id, refs)
	e.Remedy = "`cagenut op show " + string(id) + "` lists its assets; nothing was done"
	return e
}

// runOf finds the one run of an operation that a person means by a name, a serial or a NetBox ID. One
// machine's name may be another's serial or ID: what means two is refused. id:, name: and serial: in
// front say which is meant.
func runOf(d operation.Detail, ref string) (int, *fault.Error) {
	found := -1
	for i, r := range d.Runs {
		switch {
		case !names(r.Asset, ref):
		case found >= 0:
			e := fault.New(fault.Invalid, "%q means %s (NetBox %s) and %s (NetBox %s)", ref,
				d.Runs[found].Asset.Name, d.Runs[found].Asset.ID, r.Asset.Name, r.Asset.ID)
			e.Remedy = fmt.Sprintf("say which: id:%s, or name:%s; nothing was done", r.Asset.ID, r.Asset.Name)
			return -1, e
		default:
			found = i
		}
	}
	if found < 0 {
		return -1, noRun(d.ID, ref)
	}
	return found, nil
}

// names tells whether a person may mean this asset.
func names(a asset.Ref, ref string) bool {
	switch kind, value := kindOf(ref); kind {
	case "id":
		return a.ID.String() == value
	case "name":
		return strings.EqualFold(a.Name, value)
	case "serial":
		return asset.SameSerial(a.Serial, value)
	}
	return strings.EqualFold(a.Name, ref) || asset.SameSerial(a.Serial, ref) || a.ID.String() == ref
}

// audit adds a row to the audit chain for the caller.
func (s *Server) audit(c *call, action, subject string, id operation.ID, detail string) error {
	return s.o.Store.Audit(c.Context(), operation.AuditEntry{At: s.o.Clock().UTC(), Actor: c.caller.Person, Action: action,
		Subject: subject, Operation: id, Request: c.id, Detail: detail})
}
