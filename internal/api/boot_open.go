package api

import (
	"net/http"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// maxBoot is how long a boot record may be open: a burn-in takes days.
const maxBoot = 7 * 24 * time.Hour

// working holds that an operation holds an asset of the caller's sites now: a worker boots machines and
// tells agents what to do for runs that go on, and for no others.
func (s *Server) working(c *call, op operation.ID, id asset.ID) error {
	holders, err := s.o.Store.CurrentHolders(c.Context(), []asset.ID{id})
	if err != nil {
		return err
	}
	h, held := holders[id]
	if !held || h.Operation != op || !c.caller.AllowsSite(h.Asset.Site) {
		return fault.New(fault.Denied, "%s does not work on asset %s in the sites of token %s", op, id, c.caller.ID)
	}
	return nil
}

// ofRun finds a record by its number, whose run the caller's site works on.
func (s *Server) ofRun(c *call, boot int64) (operation.BootRecord, error) {
	b, err := s.o.Store.GetBoot(c.Context(), boot)
	if err != nil {
		return b, err
	}
	if err := c.served(b); err != nil {
		return b, err
	}
	return b, s.working(c, b.Operation, b.Asset.ID)
}

func (s *Server) bootOpen(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.BootOpen](c)
	if err != nil {
		return err
	}
	valid := time.Duration(ask.ValidSec) * time.Second
	switch {
	case ask.Step == "" || len(ask.Step) > 64:
		return invalid("step", ask.Step, "name the step that boots the machine")
	case valid <= 0 || valid > maxBoot:
		return invalid("valid_sec", ask.ValidSec, "use seconds, 1 to a week")
	}
	if err := s.working(c, ask.Operation, ask.Asset); err != nil {
		return err
	}
	now := s.o.Clock().UTC()
	b, _, err := s.o.Store.OpenBoot(c.Context(), operation.BootOpen{Operation: ask.Operation, Asset: ask.Asset, Step: ask.Step, Purpose: ask.Purpose,
		Attempt: ask.Attempt, TokenSum: ask.Token, MACs: ask.MACs, Serial: ask.Serial, UUID: ask.UUID, Machine: ask.Machine,
		At: now, Expires: now.Add(valid)})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, b)
}

func (s *Server) bootState(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.BootQuestion](c)
	if err != nil {
		return err
	}
	if err := s.working(c, ask.Operation, ask.Asset); err != nil {
		return err
	}
	st, err := s.o.Store.BootState(c.Context(), ask.Operation, ask.Asset, ask.Step, ask.Attempt)
	if err != nil {
		return err
	}
	st.Events = orEmpty(st.Events)
	return answer(w, http.StatusOK, st)
}

// bootClose closes a record of a machine of the caller's sites, also when its run has ended: closing
// is what is left to do then.
func (s *Server) bootClose(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.BootClose](c)
	if err != nil {
		return err
	}
	b, err := s.o.Store.GetBoot(c.Context(), ask.Boot)
	if err == nil {
		err = c.served(b)
	}
	if err == nil {
		err = s.o.Store.CloseBoot(c.Context(), b.ID, s.o.Clock().UTC())
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) agentCommand(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.AgentOrder](c)
	if err != nil {
		return err
	}
	b, err := s.ofRun(c, ask.Boot)
	if err != nil {
		return err
	}
	cmd, err := s.o.Store.QueueCommand(c.Context(), operation.AgentCommand{ID: ask.ID, Boot: b.ID, Kind: ask.Kind, Args: ask.Args,
		State: operation.CommandQueued, Queued: s.o.Clock().UTC()})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, cmd)
}
