package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/notify"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/version"
)

// noticeFor is how long a notice is worth telling.
const noticeFor = 24 * time.Hour

// page is where people see an operation.
func page(c *config.Config) func(operation.ID) string {
	return func(op operation.ID) string { return c.API.Page(string(op)) }
}

// notices says for whom the store keeps notices. It reads no secrets: a central worker sends none.
func notices(c *config.Config) postgres.Notices {
	n := postgres.Notices{Page: page(c)}
	for _, h := range webhooks(c) {
		n.Targets = append(n.Targets, postgres.NoticeTarget{Name: h.Name(), Kinds: h.Kinds})
	}
	return n
}

// webhooks are the configured ones, without their secrets.
func webhooks(c *config.Config) []notify.Webhook {
	var out []notify.Webhook
	for _, w := range c.Notify {
		h := notify.Webhook{URL: w.URL, Kinds: notify.Kinds()}
		if len(w.Kinds) > 0 {
			h.Kinds = nil
			for _, k := range w.Kinds {
				h.Kinds = append(h.Kinds, operation.NoticeKind(k))
			}
		}
		out = append(out, h)
	}
	return out
}

// sender makes what posts notices.
func sender(c *config.Config) (*notify.Sender, error) {
	hooks := webhooks(c)
	for i := range hooks {
		var err error
		if hooks[i].Secret, err = config.ReadSecretFile(fmt.Sprintf("notify[%d].secret_file", i), c.Notify[i].SecretFile); err != nil {
			return nil, err
		}
	}
	return notify.New(hooks, version.String()), nil
}

// noticeRelay sends the notices of the outbox, apart from all that goes to Temporal. It runs without a
// webhook too: what was kept for one of before is then done.
func noticeRelay(store *postgres.Store, s *notify.Sender, log *slog.Logger, now func() time.Time) *postgres.Relay {
	return &postgres.Relay{Store: store, Log: log, Kinds: []string{postgres.OutboxNotice}, Poll: 5 * time.Second,
		Start: func(ctx context.Context, item postgres.OutboxItem) error {
			var n postgres.NoticeItem
			if err := json.Unmarshal(item.Payload, &n); err != nil {
				return fault.Wrap(err, fault.Internal, "outbox item %d: %v", item.ID, err)
			}
			err := s.Send(ctx, n.To, n.Notice)
			switch {
			case err == nil:
			case errors.Is(err, notify.ErrUnknown):
				return postgres.Gone{Why: err.Error()}
			case now().Sub(n.Notice.At) > noticeFor:
				log.Warn("a notice was not told within a day, and is given up", "notice", item.Key, "error", err)
				return postgres.Gone{Why: "given up after a day: " + err.Error()}
			case item.Attempts == 0 && ctx.Err() == nil:
				log.Warn("a notice could not be told; it is tried again for a day", "notice", item.Key, "error", err)
			}
			return err
		}}
}
