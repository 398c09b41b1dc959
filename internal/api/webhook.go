package api

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// hook is what NetBox 4.7 sends of a change, as far as we use it.
type hook struct {
	Event string `json:"event"` // created, updated, deleted
	Type  string `json:"object_type"`
	Model string `json:"model"` // before NetBox 4.5
	Data  struct {
		ID     asset.ID `json:"id"`
		Status struct {
			Value asset.Status `json:"value"`
		} `json:"status"`
	} `json:"data"`
}

// netboxHook takes what NetBox tells of a change. NetBox does not repeat a lost call, so nothing
// depends on one: it is kept as what we saw of a machine's past, such as that it was in service
// before somebody called it failed.
func (s *Server) netboxHook(w http.ResponseWriter, c *call) error {
	if s.o.Setup.WebhookKey == "" {
		return fault.New(fault.NotFound, "no webhook is configured: set netbox.webhook_url and netbox.webhook_key_file")
	}
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "read the body: %v", err)
	}
	signature, err := hex.DecodeString(c.Header.Get("X-Hook-Signature"))
	mac := hmac.New(sha512.New, []byte(s.o.Setup.WebhookKey))
	mac.Write(body)
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return fault.New(fault.Unauthenticated, "X-Hook-Signature is not that of the body: the webhook's secret in NetBox is another than netbox.webhook_key_file")
	}
	var h hook
	if err := json.Unmarshal(body, &h); err != nil {
		return invalid("body", len(body), "send what NetBox 4.7 sends: "+err.Error())
	}
	if (h.Type == "dcim.device" || h.Type == "" && h.Model == "device") && h.Data.ID > 0 && h.Data.Status.Value != "" && h.Event != "deleted" {
		if err := s.o.Store.ObserveStatus(c.Context(), h.Data.ID, h.Data.Status.Value, s.o.Clock().UTC()); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
