package api

import (
	"context"
	"encoding/json"
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
	if err := checkCommand(ask); err != nil {
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
	detail, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := s.audit(c, "operation."+string(ask.Action), string(d.ID), d.ID, string(detail)); err != nil {
		return err
	}
	cmd := operation.Command{ID: ask.ID, Operation: d.ID, Actor: c.caller.Person, Reason: strings.TrimSpace(ask.Reason),
		Step: ask.Step, AcceptPin: ask.AcceptPin, Evidence: ask.Evidence}
	// The operation's own workflow starts the runs, so it must know before its runs are told: else one
	// would start behind our back. A caller of some sites only steers runs, never the whole.
	toldWhole := false
	if ask.All && whole && slices.Contains([]operation.Action{operation.Pause, operation.Resume, operation.Abort}, ask.Action) {
		_, err := s.o.Steerer.Command(c.Context(), 0, ask.Action, cmd)
		toldWhole = err == nil
		if err != nil && away(err) {
			return err
		}
	}
	return answer(w, http.StatusOK, s.tell(c.Context(), ask.Action, cmd, runs, toldWhole))
}

// away tells a failure to reach Temporal at all from a refusal.
func away(err error) bool {
	code := translate(err).Code
	return wire.Exit(code) == wire.ExitAway
}

// tell sends a command to runs, some at once, and collects what became of it.
func (s *Server) tell(ctx context.Context, action operation.Action, cmd operation.Command, runs []operation.Run, toldWhole bool) wire.Commanded {
	out := wire.Commanded{Action: action, Of: len(runs), Runs: make([]wire.CommandedRun, len(runs))}
	var g errgroup.Group
	g.SetLimit(commandsAtOnce)
	for i, run := range runs {
		g.Go(func() error {
			out.Runs[i] = s.tellOne(ctx, action, cmd, run, toldWhole)
			return nil
		})
	}
	g.Wait() //nolint:errcheck // the functions return nil: outcomes are in out
	for _, r := range out.Runs {
		if r.Applied {
			out.Applied++
		}
	}
	return out
}

func (s *Server) tellOne(ctx context.Context, action operation.Action, cmd operation.Command, run operation.Run, toldWhole bool) wire.CommandedRun {
	r := wire.CommandedRun{Asset: run.Asset, State: run.State}
	if run.State.Ended() {
		r.Error = fault.New(fault.Conflict, "%s: the run has ended as %s", action, run.State)
		r.Error.Remedy = "nothing is left to steer; `cagenut op show` tells how it ended"
		return r
	}
	reply, err := s.o.Steerer.Command(ctx, run.Asset.ID, action, cmd)
	switch {
	case err == nil:
		r.Applied, r.State = true, reply.State
	case run.State == operation.Queued && translate(err).Code == fault.NotFound && toldWhole:
		r.Applied = true // the operation's workflow applies it when it starts the run, or does not start it
	case run.State == operation.Queued && translate(err).Code == fault.NotFound:
		r.Error = fault.New(fault.Conflict, "%s: the run has not started yet", action)
		r.Error.Remedy = "wait until it starts, or steer the whole operation (--all)"
	default:
		r.Error = translate(err)
	}
	return r
}

func checkCommand(ask wire.Command) error {
	switch {
	case len(ask.ID) < 8 || len(ask.ID) > 100:
		return invalid("id", ask.ID, "give the command 8 to 100 characters that are new for every new command")
	case !slices.Contains(operation.Actions(), ask.Action):
		return invalid("action", string(ask.Action), "use pause, resume, retry, skip, abort or complete")
	case ask.All == (len(ask.Assets) > 0):
		return invalid("assets", ask.Assets, "name assets, or set all to true: empty is not all")
	case (ask.Action == operation.Skip || ask.Action == operation.Complete) && strings.TrimSpace(ask.Reason) == "":
		return invalid("reason", "", "say why: "+string(ask.Action)+" leaves something undone or unproved by Cagenut")
	case ask.AcceptPin != "" && (ask.Action != operation.Retry || len(ask.Assets) != 1):
		return invalid("accept_pin", ask.AcceptPin, "a new certificate is accepted with retry, for exactly one asset")
	case len(ask.Reason) > 500:
		return invalid("reason", ask.Reason[:40]+"...", "use at most 500 characters")
	}
	return nil
}

// choose gives the runs that a command is for. A name that is none of the operation's assets is an
// error, and then nobody is told.
func choose(d operation.Detail, ask wire.Command) ([]operation.Run, error) {
	if ask.All {
		return d.Runs, nil
	}
	var out []operation.Run
	var unknown []string
	for _, ref := range ask.Assets {
		i := slices.IndexFunc(d.Runs, func(r operation.Run) bool { return names(r.Asset, ref) })
		switch {
		case i < 0:
			unknown = append(unknown, ref)
		case !slices.ContainsFunc(out, func(r operation.Run) bool { return r.Asset.ID == d.Runs[i].Asset.ID }):
			out = append(out, d.Runs[i])
		}
	}
	if len(unknown) > 0 {
		e := fault.New(fault.NotFound, "operation %s has no asset %s", d.ID, strings.Join(unknown, ", "))
		e.Remedy = "`cagenut op show " + string(d.ID) + "` lists its assets; nothing was done"
		return nil, e
	}
	return out, nil
}

// names tells whether a person means this asset by its name, serial or NetBox ID.
func names(a asset.Ref, ref string) bool {
	return strings.EqualFold(a.Name, ref) || asset.SameSerial(a.Serial, ref) || a.ID.String() == ref
}

// audit adds a row to the audit chain for the caller.
func (s *Server) audit(c *call, action, subject string, id operation.ID, detail string) error {
	return s.o.Store.Audit(c.Context(), operation.AuditEntry{At: s.o.Clock().UTC(), Actor: c.caller.Person, Action: action,
		Subject: subject, Operation: id, Request: c.id, Detail: detail})
}
