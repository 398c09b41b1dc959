package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// maxWindow bounds how many machines one operation works on at once.
const maxWindow = 500

// install plans an install and, unless it is a dry run, accepts it.
func (s *Server) install(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.Install](c)
	if err != nil {
		return err
	}
	if ask.Window < 0 || ask.Window > maxWindow {
		return invalid("window", ask.Window, "use 1 to 500, or leave it out for the sites' own")
	}
	if !ask.DryRun {
		for field, v := range map[string]string{"reason": ask.Reason, "ticket": ask.Ticket} {
			if strings.TrimSpace(v) == "" || len(v) > 500 {
				return invalid(field, v, "say why, and which ticket it belongs to (at most 500 characters each): both go into the audit trail and NetBox's changelog")
			}
			if err := oneLine(field, strings.TrimSpace(v)); err != nil {
				return err
			}
		}
	}
	key := c.Header.Get(wire.IdempotencyKey)
	digest, err := plan.Digest(ask)
	if err != nil {
		return err
	}
	if !ask.DryRun {
		if len(key) < 8 || len(key) > 100 {
			return invalid(wire.IdempotencyKey, key, "send the header with 8 to 100 characters that are new for every new request")
		}
		// A repeated key is answered before planning: its machines are held by the first operation.
		if done, err := s.repeated(c.Context(), w, c, key, digest); done || err != nil {
			return err
		}
	}
	devices, err := s.resolve(c.Context(), ask.Targets, c.caller)
	if err != nil {
		return err
	}
	var left []fault.Item
	if ask.Rack != "" {
		if devices, left, err = installable(ask.Targets, devices); err != nil {
			return err
		}
	}
	p, err := s.makePlan(c.Context(), ask.Until, devices)
	if err != nil {
		return err
	}
	if ask.PlanHash != "" && ask.PlanHash != p.Hash {
		e := fault.New(fault.Drift, "the plan is now %s, not %s: NetBox, the profiles or the firmware changed since", p.Hash, ask.PlanHash)
		e.Remedy = "look at the new plan (--dry-run) and ask with its hash"
		return e
	}
	accepted := wire.Accepted{Window: s.window(ask.Window, p), Plan: p, LeftOut: left}
	if ask.DryRun {
		return answer(w, http.StatusOK, accepted)
	}
	accepted.ID, accepted.Created, err = s.o.Store.CreateOperation(c.Context(), operation.Request{
		ID: operation.NewID(s.o.Clock()), Key: key, Digest: digest, Actor: c.caller.Person, Reason: strings.TrimSpace(ask.Reason),
		Ticket: strings.TrimSpace(ask.Ticket), Window: accepted.Window, Racks: s.racks(p), Plan: p, At: s.o.Clock().UTC(),
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/operations/"+string(accepted.ID))
	return answer(w, http.StatusAccepted, accepted)
}

// repeated answers a request whose key was used before.
func (s *Server) repeated(ctx context.Context, w http.ResponseWriter, c *call, key, digest string) (bool, error) {
	id, was, err := s.o.Store.OperationByKey(ctx, c.caller.Person, key)
	var f *fault.Error
	if errors.As(err, &f) && f.Code == fault.NotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if was != digest {
		return false, fault.New(fault.Conflict, "%s %q was used for another request (operation %s); use a new one", wire.IdempotencyKey, key, id)
	}
	p, err := s.o.Store.GetPlan(ctx, id)
	if err != nil {
		return false, err
	}
	d, err := s.o.Store.GetOperation(ctx, id)
	if err != nil {
		return false, err
	}
	w.Header().Set("Location", "/v1/operations/"+string(id))
	return true, answer(w, http.StatusOK, wire.Accepted{ID: id, Window: d.Window, Plan: p})
}

// window is how many machines are worked on at once: what was asked for, else the largest window of
// the sites concerned.
func (s *Server) window(asked int, p plan.Plan) int {
	if asked > 0 {
		return asked
	}
	n := 1
	for _, t := range p.Targets {
		n = max(n, s.o.Window(t.Asset.Site))
	}
	return min(n, maxWindow)
}

// racks are the racks of a plan in which fewer machines may be worked on at once, in the plan's order.
func (s *Server) racks(p plan.Plan) []operation.Rack {
	if s.o.RackWindow == nil {
		return nil
	}
	var out []operation.Rack
	at := map[[2]string]int{}
	for _, t := range p.Targets {
		window, key := s.o.RackWindow(t.Asset.Site), [2]string{t.Asset.Site, t.Asset.Rack}
		if window <= 0 {
			continue
		}
		i, known := at[key]
		if !known {
			i, at[key] = len(out), len(out)
			out = append(out, operation.Rack{Window: window})
		}
		out[i].Assets = append(out[i].Assets, t.Asset.ID)
	}
	return out
}

func (s *Server) listOperations(w http.ResponseWriter, c *call) error {
	q := c.URL.Query()
	f := operation.Filter{Site: q.Get("site"), Sites: c.caller.Sites, Actor: q.Get("actor")}
	for _, text := range q["state"] {
		st := operation.State(text)
		if !slices.Contains(states, st) {
			return invalid("state", text, "use one of queued, running, paused, waiting, waiting-for-site, done, aborted, failed")
		}
		f.States = append(f.States, st)
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 500 {
			return invalid("limit", text, "use 1 to 500")
		}
		f.Limit = n
	}
	if text := q.Get("before"); text != "" {
		id, err := operation.ParseID(text)
		if err != nil {
			return invalid("before", text, "give an operation's ID")
		}
		f.Before = id
	}
	list, err := s.o.Store.ListOperations(c.Context(), f)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, orEmpty(list))
}

var states = []operation.State{operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away,
	operation.Done, operation.Aborted, operation.Failed}

// operationOf reads the operation that a path names, narrowed to what the caller may see.
func (s *Server) operationOf(c *call) (operation.Detail, error) {
	id, err := operation.ParseID(c.PathValue("id"))
	if err != nil {
		return operation.Detail{}, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	d, err := s.o.Store.GetOperation(c.Context(), id)
	if err != nil {
		return operation.Detail{}, err
	}
	if !narrow(&d, c.caller) {
		return operation.Detail{}, fault.New(fault.NotFound, "no operation %s in your sites", id)
	}
	return d, nil
}

func (s *Server) getOperation(w http.ResponseWriter, c *call) error {
	d, err := s.operationOf(c)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, d)
}

func (s *Server) getPlan(w http.ResponseWriter, c *call) error {
	d, err := s.operationOf(c)
	if err != nil {
		return err
	}
	p, err := s.o.Store.GetPlan(c.Context(), d.ID)
	if err != nil {
		return err
	}
	if len(d.Runs) < len(p.Targets) {
		return fault.New(fault.Denied, "operation %s has machines outside your sites, and a plan is only shown whole", d.ID)
	}
	return answer(w, http.StatusOK, p)
}
