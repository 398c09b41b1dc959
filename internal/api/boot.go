package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// BootStore is what the API needs to answer for booting machines. A record that is not open any more
// is fault.BootUsed or fault.BootExpired, a machine that is not the record's fault.WrongMachine.
type BootStore interface {
	// OpenBoot opens a record for a run that has not ended, and closes what else was open for the asset.
	// Repeating it gives the record as it was first opened, and created is false.
	OpenBoot(ctx context.Context, o operation.BootOpen) (record operation.BootRecord, created bool, err error)
	// BootState gives the newest record of a step's attempt, or of the operation when step is empty, with
	// its events; fault.NotFound without one.
	BootState(ctx context.Context, op operation.ID, a asset.ID, step string, attempt int) (operation.BootState, error)
	// GetBoot gives a record, open or not; fault.NotFound without one.
	GetBoot(ctx context.Context, id int64) (operation.BootRecord, error)
	// CloseBoot closes a record; one that is closed stays as it was.
	CloseBoot(ctx context.Context, id int64, at time.Time) error
	// QueueCommand queues a command once by its ID and gives it as it stands.
	QueueCommand(ctx context.Context, c operation.AgentCommand) (operation.AgentCommand, error)
	// BootByToken gives the record of a token, open or not; an unknown token is fault.NotFound.
	BootByToken(ctx context.Context, sum operation.BootSum) (operation.BootRecord, error)
	// BootByMAC gives the open record of the machine with a MAC; fault.NotFound without one.
	BootByMAC(ctx context.Context, mac string, now time.Time) (operation.BootRecord, error)
	AddBootToken(ctx context.Context, boot int64, sum operation.BootSum, at time.Time) error
	// SaveEvent keeps an event once, together with what tells its run.
	SaveEvent(ctx context.Context, e operation.BootEvent) (operation.Heard, error)
	// ClaimAgent binds a machine to the record; another one later is fault.BootClaimed.
	ClaimAgent(ctx context.Context, boot int64, who operation.BootIdentity, from string, at time.Time) (operation.BootRecord, error)
	// NextCommand gives the oldest command that has not ended; nil when there is none.
	NextCommand(ctx context.Context, boot int64, at time.Time) (*operation.AgentCommand, error)
	AgentProgress(ctx context.Context, boot int64, id string, p operation.Progress, at time.Time) error
	// FinishCommand keeps the first result of a command; a repeated one gives the command as it stands.
	FinishCommand(ctx context.Context, boot int64, id string, r operation.CommandResult, from string, at time.Time) (operation.AgentCommand, error)
}

func (s *Server) bootRoutes() []route {
	const (
		post   = http.MethodPost
		worker = operation.Worker
	)
	return []route{
		{method: post, path: "/v1/worker/boot/open", role: worker, limit: 4 << 20, handle: s.bootOpen, summary: "Open a boot record for a step of a run; repeating it is harmless", body: wire.BootOpen{}, status: 200, answer: operation.BootRecord{}},
		{method: post, path: "/v1/worker/boot/state", role: worker, quiet: true, handle: s.bootState, summary: "The newest boot record of a step, with what the machine told", body: wire.BootQuestion{}, status: 200, answer: operation.BootState{}},
		{method: post, path: "/v1/worker/boot/close", role: worker, handle: s.bootClose, summary: "Close a boot record, and with it its one-time tokens", body: wire.BootClose{}, status: 204},
		{method: post, path: "/v1/worker/agent/command", role: worker, quiet: true, limit: 4 << 20, handle: s.agentCommand, summary: "Queue a command for an agent, once by its ID, and hear what became of it", body: wire.AgentOrder{}, status: 200, answer: operation.AgentCommand{}},
		{method: post, path: "/v1/worker/boot/lookup", role: worker, quiet: true, handle: s.bootLookup, summary: "What a machine of the worker's site boots, by its token or by its MAC", body: wire.BootLookup{}, status: 200, answer: operation.BootRecord{}},
		{method: post, path: "/v1/worker/boot/event", role: worker, handle: s.bootEvent, summary: "What a booting machine reports; repeating it is harmless", body: wire.BootReport{}, status: 200, answer: operation.Heard{}},
		{method: post, path: "/v1/worker/agent/claim", role: worker, handle: s.agentClaim, summary: "An agent says which machine it runs on", body: wire.AgentClaim{}, status: 200, answer: operation.BootRecord{}},
		{method: post, path: "/v1/worker/agent/next", role: worker, quiet: true, handle: s.agentNext, summary: "The agent's next command; waits for one as long as asked", body: wire.AgentNext{}, status: 200, answer: wire.AgentTask{}},
		{method: post, path: "/v1/worker/agent/progress", role: worker, quiet: true, handle: s.agentProgress, summary: "How far an agent's command is", body: wire.AgentProgress{}, status: 204},
		{method: post, path: "/v1/worker/agent/result", role: worker, limit: 4 << 20, handle: s.agentResult, summary: "What became of an agent's command; the first result counts", body: wire.AgentResult{}, status: 200, answer: operation.AgentCommand{}},
	}
}

// served returns fault.ForeignSite for a machine of a site that the caller's token does not serve.
func (c *call) served(b operation.BootRecord) error {
	if c.caller.AllowsSite(b.Asset.Site) {
		return nil
	}
	return fault.New(fault.ForeignSite, "%s belongs to site %s; token %s serves %s", b.Asset.Name, b.Asset.Site, c.caller.ID, strings.Join(c.caller.Sites, ", "))
}

// bootOf finds the record of a token that a machine of the caller's sites used. Whether it is open
// is for the store to say: what a closed one has heard already may be repeated.
func (s *Server) bootOf(c *call, sum operation.BootSum) (operation.BootRecord, error) {
	b, err := s.o.Store.BootByToken(c.Context(), sum)
	if err != nil {
		return operation.BootRecord{}, err
	}
	return b, c.served(b)
}

func (s *Server) bootLookup(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.BootLookup](c)
	if err != nil {
		return err
	}
	now := s.o.Clock()
	var b operation.BootRecord
	switch {
	case (ask.Token == "") == (ask.MAC == ""):
		return invalid("token", string(ask.Token), "give either a token's SHA-256 or a MAC")
	case ask.Token != "":
		if b, err = s.bootOf(c, ask.Token); err != nil {
			return err
		}
		if err := b.Live(now); err != nil {
			return err
		}
	default:
		if b, err = s.o.Store.BootByMAC(c.Context(), ask.MAC, now); err != nil {
			return err
		}
		if err := c.served(b); err != nil {
			return err
		}
		if what, _ := b.Answer(now); ask.Mint != "" && what != operation.AnswerLocal {
			if err := s.o.Store.AddBootToken(c.Context(), b.ID, ask.Mint, now); err != nil {
				return err
			}
		}
	}
	return answer(w, http.StatusOK, b)
}

func (s *Server) bootEvent(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.BootReport](c)
	if err != nil {
		return err
	}
	b, err := s.bootOf(c, ask.Token)
	if err != nil {
		return err
	}
	heard, err := s.o.Store.SaveEvent(c.Context(), operation.BootEvent{Boot: b.ID, Stage: ask.Stage, Body: ask.Body, From: ask.From, At: s.o.Clock()})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, heard)
}

func (s *Server) agentClaim(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.AgentClaim](c)
	if err != nil {
		return err
	}
	b, err := s.bootOf(c, ask.Token)
	if err != nil {
		return err
	}
	if b, err = s.o.Store.ClaimAgent(c.Context(), b.ID, ask.Who, ask.From, s.o.Clock()); err != nil {
		return err
	}
	return answer(w, http.StatusOK, b)
}

// An agent's question for its next command is held for at most maxWait, and looked at again after
// pauses that grow to slowest: thousands of agents may wait for hours.
const (
	maxWait = 30 * time.Second
	slowest = 2 * time.Second
)

func (s *Server) agentNext(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.AgentNext](c)
	if err != nil {
		return err
	}
	b, err := s.bootOf(c, ask.Token)
	if err != nil {
		return err
	}
	enough := time.NewTimer(min(max(time.Duration(ask.WaitSec)*time.Second, 0), maxWait))
	defer enough.Stop()
	for pause := s.o.EventPoll; ; pause = min(2*pause, slowest) {
		next, err := s.o.Store.NextCommand(c.Context(), b.ID, s.o.Clock())
		if err != nil {
			return err
		}
		if next != nil || ask.WaitSec <= 0 {
			return answer(w, http.StatusOK, wire.AgentTask{Command: next})
		}
		again := time.NewTimer(pause)
		select {
		case <-c.Context().Done():
			again.Stop()
			return c.Context().Err()
		case <-enough.C:
			again.Stop()
			return answer(w, http.StatusOK, wire.AgentTask{})
		case <-again.C:
		}
	}
}

func (s *Server) agentProgress(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.AgentProgress](c)
	if err != nil {
		return err
	}
	if p := ask.Progress; p.Percent < -1 || p.Percent > 100 || len(p.Text) > 1000 {
		return invalid("progress", p, "use -1 (unknown) to 100 percent and at most 1000 characters")
	}
	b, err := s.bootOf(c, ask.Token)
	if err != nil {
		return err
	}
	if err := s.o.Store.AgentProgress(c.Context(), b.ID, ask.Command, ask.Progress, s.o.Clock()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) agentResult(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.AgentResult](c)
	if err != nil {
		return err
	}
	b, err := s.bootOf(c, ask.Token)
	if err != nil {
		return err
	}
	done, err := s.o.Store.FinishCommand(c.Context(), b.ID, ask.Command, ask.Result, ask.From, s.o.Clock())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, done)
}
