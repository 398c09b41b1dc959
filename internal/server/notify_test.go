package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
)

// TestNoticeRelay holds what becomes of a notice: it is told, tried again, or given up with the reason.
func TestNoticeRelay(t *testing.T) {
	status := http.StatusOK
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer web.Close()
	secret := filepath.Join(t.TempDir(), "hook.key")
	if err := os.WriteFile(secret, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &config.Config{API: config.API{URL: "https://cagenut.example"},
		Notify: []config.Webhook{{URL: web.URL, SecretFile: secret, Kinds: []string{"waiting"}}}}
	n := notices(c)
	if len(n.Targets) != 1 || len(n.Targets[0].Kinds) != 1 || n.Page("op_1") != "https://cagenut.example/operations/op_1" {
		t.Fatalf("notices %+v", n)
	}
	s, err := sender(c)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	now := at
	relay := noticeRelay(nil, s, slog.New(slog.NewTextHandler(io.Discard, nil)), func() time.Time { return now })
	tell := func(to string) error {
		payload := `{"to": "` + to + `", "notice": {"kind": "waiting", "operation": "op_1", "text": "x", "at": "2026-03-04T12:00:00Z"}}`
		return relay.Start(t.Context(), postgres.OutboxItem{ID: 1, Kind: postgres.OutboxNotice, Payload: []byte(payload)})
	}
	var gone postgres.Gone
	if err := tell(n.Targets[0].Name); err != nil {
		t.Errorf("told: %v", err)
	}
	if err := tell("of-before"); !errors.As(err, &gone) {
		t.Errorf("a webhook of before: %v, want it gone", err)
	}
	status = http.StatusInternalServerError
	if err := tell(n.Targets[0].Name); err == nil || errors.As(err, &gone) {
		t.Errorf("a webhook that fails: %v, want an error that is tried again", err)
	}
	now = at.Add(25 * time.Hour)
	if err := tell(n.Targets[0].Name); !errors.As(err, &gone) {
		t.Errorf("after a day: %v, want it gone", err)
	}
	if kinds := webhooks(&config.Config{Notify: []config.Webhook{{URL: "http://x"}}})[0].Kinds; len(kinds) != len(config.NoticeKinds()) || kinds[0] != operation.NoticeInService {
		t.Errorf("kinds of a webhook that names none: %v", kinds)
	}
}
