package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

func (s *Server) whoami(w http.ResponseWriter, c *call) error {
	return answer(w, http.StatusOK, wire.Who{Token: c.caller, Version: s.o.Version})
}

func (s *Server) createToken(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.NewToken](c)
	if err != nil {
		return err
	}
	if ask.Days < 0 || ask.Days > 3650 {
		return invalid("days", ask.Days, "use 1 to 3650, or 0 for a token that never expires")
	}
	for _, site := range ask.Sites {
		if len(s.o.Sites) > 0 && !slices.Contains(s.o.Sites, site) {
			return invalid("sites", site, "use one of the configured sites: "+strings.Join(s.o.Sites, ", "))
		}
	}
	now := s.o.Clock()
	var expires time.Time
	if ask.Days > 0 {
		expires = now.AddDate(0, 0, ask.Days)
	}
	t, secret, err := NewToken(ask.Person, ask.Role, ask.Sites, c.caller.Person, now, expires)
	if err != nil {
		return err
	}
	if err := s.audit(c, "token.create", t.ID, "", fmt.Sprintf("%s, %s, sites %q", t.Person, t.Role, t.Sites)); err != nil {
		return err
	}
	if err := s.o.Store.CreateToken(c.Context(), t, Sum(secret)); err != nil {
		return err
	}
	return answer(w, http.StatusCreated, wire.CreatedToken{Token: t, Secret: secret})
}

func (s *Server) listTokens(w http.ResponseWriter, c *call) error {
	list, err := s.o.Store.ListTokens(c.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, orEmpty(list))
}

func (s *Server) revokeToken(w http.ResponseWriter, c *call) error {
	if err := s.audit(c, "token.revoke", c.PathValue("id"), "", ""); err != nil {
		return err
	}
	if err := s.o.Store.RevokeToken(c.Context(), c.PathValue("id"), c.caller.Person, s.o.Clock().UTC()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// importManifest takes a CSV of factory passwords. It is never logged or kept as it came.
func (s *Server) importManifest(w http.ResponseWriter, c *call) error {
	if err := s.audit(c, "bmc.import", "manifest", "", ""); err != nil {
		return err
	}
	got, err := s.o.Secrets.ImportManifest(c.Context(), c.Body)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, got)
}

func (s *Server) netboxSetup(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.Setup](c)
	if err != nil {
		return err
	}
	if ask.Apply {
		if err := s.audit(c, "netbox.setup", "netbox", "", ""); err != nil {
			return err
		}
	}
	items, err := s.o.Inventory.Setup(c.Context(), s.o.Setup, ask.Apply)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, orEmpty(items))
}

func (s *Server) verifyAudit(w http.ResponseWriter, c *call) error {
	r, err := s.o.Store.VerifyAudit(c.Context())
	if err != nil {
		return err
	}
	r.Problems = orEmpty(r.Problems)
	return answer(w, http.StatusOK, r)
}

// heartbeat keeps what a site's worker says of itself; the store measures its clock.
func (s *Server) heartbeat(w http.ResponseWriter, c *call) error {
	h, err := question[operation.Heartbeat](c)
	if err != nil {
		return err
	}
	if !c.caller.AllowsSite(h.Site) {
		return fault.New(fault.Denied, "token %s does not serve site %q; it serves %s", c.caller.ID, h.Site, strings.Join(c.caller.Sites, ", "))
	}
	if h.Worker == "" || h.Queue != operation.QueueSite(h.Site) {
		return invalid("queue", h.Queue, "a worker of site "+h.Site+" has a name and the queue "+operation.QueueSite(h.Site))
	}
	skew, err := s.o.Store.SaveHeartbeat(c.Context(), h)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire.HeartbeatAnswer{SkewMS: skew.Milliseconds()})
}

// machineOf finds the machine that a site's worker asks a password for. It must be one that an
// operation holds now, in a site that the token serves, and the account must be the plan's: what the
// worker says of it is not believed. A worker asks at every poll of a step; the audit log gets the
// first time that it reads in each step, and every change.
func (s *Server) machineOf(c *call, action string) (wire.SecretRequest, operation.Holder, error) {
	ask, err := question[wire.SecretRequest](c)
	if err != nil {
		return ask, operation.Holder{}, err
	}
	if ask.Account == "" || len(ask.Account) > 64 {
		return ask, operation.Holder{}, invalid("account", ask.Account, "name the BMC account")
	}
	holders, err := s.o.Store.CurrentHolders(c.Context(), []asset.ID{ask.Asset})
	if err != nil {
		return ask, operation.Holder{}, err
	}
	h, held := holders[ask.Asset]
	if !held || !c.caller.AllowsSite(h.Asset.Site) {
		return ask, h, fault.New(fault.Denied, "no operation works on asset %s in the sites of token %s", ask.Asset, c.caller.ID)
	}
	if ask.Account != h.Account {
		return ask, h, fault.New(fault.Denied, "the plan of %s works with account %q on asset %s, not with %q", h.Operation, h.Account, ask.Asset, ask.Account)
	}
	if action != secretRead {
		return ask, h, s.audit(c, action, "bmc/"+h.Asset.Serial, "", "account "+ask.Account+", for "+string(h.Operation))
	}
	return ask, h, s.o.Store.AuditOnce(c.Context(), operation.AuditEntry{At: s.o.Clock().UTC(), Actor: c.caller.Person, Action: action,
		Subject: "bmc/" + h.Asset.Serial, Operation: h.Operation, Asset: ask.Asset, Request: c.id,
		Detail: fmt.Sprintf("account %s, in step %s", ask.Account, h.Step)})
}

const secretRead = "secret.read"

func (s *Server) secretCandidates(w http.ResponseWriter, c *call) error {
	ask, h, err := s.machineOf(c, secretRead)
	if err != nil {
		return err
	}
	list, err := s.o.Secrets.Candidates(c.Context(), h.Asset, ask.Account)
	if err != nil {
		return err
	}
	out := make([]wire.Candidate, len(list))
	for i, one := range list {
		out[i] = wire.Candidate(one)
	}
	return answer(w, http.StatusOK, out)
}

func (s *Server) secretPropose(w http.ResponseWriter, c *call) error {
	ask, h, err := s.machineOf(c, "secret.propose")
	if err != nil {
		return err
	}
	if ask.Length < 16 || ask.Length > 20 {
		return invalid("length", ask.Length, "use 16 to 20: IPMI 2.0 stores at most 20 characters")
	}
	one, err := s.o.Secrets.Propose(c.Context(), h.Asset, ask.Account, ask.Length)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire.Candidate(one))
}

func (s *Server) secretPromote(w http.ResponseWriter, c *call) error {
	ask, h, err := s.machineOf(c, "secret.promote")
	if err != nil {
		return err
	}
	if err := s.o.Secrets.Promote(c.Context(), h.Asset, ask.Account); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
