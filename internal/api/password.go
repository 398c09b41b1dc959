package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// revealPassword answers the logins that are known for a machine's BMC, to an administrator who stands
// before a machine that Cagenut cannot help. It is in the audit log before it is answered: what cannot
// be remembered is not told.
func (s *Server) revealPassword(w http.ResponseWriter, c *call) error {
	ask, err := question[wire.Reveal](c)
	if err != nil {
		return err
	}
	if strings.TrimSpace(ask.Reason) == "" || len(ask.Reason) > 500 {
		return invalid("reason", ask.Reason, "say why, in at most 500 characters: it goes into the audit trail")
	}
	if err := oneLine("reason", strings.TrimSpace(ask.Reason)); err != nil {
		return err
	}
	d, err := s.findAsset(c.Context(), c.PathValue("asset"), c.caller)
	if err != nil {
		return err
	}
	if ask.Account == "" {
		described, err := s.o.Inventory.Describe(c.Context(), []asset.ID{d.ID})
		if err != nil {
			return err
		}
		found, err := s.gather(c.Context(), described)
		if err != nil {
			return err
		}
		if found[0].profile == nil {
			return invalid("account", "", "no profile matches "+d.Name+", so name the account")
		}
		ask.Account = found[0].profile.BMC.Account
	}
	detail, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := s.audit(c, "secret.reveal", "bmc/"+d.Serial+" of "+d.Name, "", string(detail)); err != nil {
		return err
	}
	list, err := s.o.Secrets.Candidates(c.Context(), asset.Ref{ID: d.ID, Name: d.Name, Serial: d.Serial, Site: d.Site.Slug, Rack: d.Rack.Name}, ask.Account)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fault.New(fault.NoSecret, "no password is known for account %s of %s (serial %s)", ask.Account, d.Name, d.Serial)
	}
	out := make([]wire.Candidate, len(list))
	for i, one := range list {
		out[i] = wire.Candidate(one)
	}
	return answer(w, http.StatusOK, out)
}
