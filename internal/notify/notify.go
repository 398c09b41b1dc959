// Package notify posts notices to webhooks.
//
// A call is a POST of one JSON object (Body). Its header X-Cagenut-Signature is "sha256=" and the hex
// HMAC-SHA256 of the body under the webhook's secret. An answer of 200 to 299 is success; anything else,
// a redirect among it, is tried again by the caller. A notice may come twice, under the same key.
//
// A Sender is safe for concurrent use and keeps nothing of what it sends.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
)

// SignatureHeader carries "sha256=" and the hex HMAC-SHA256 of the body.
const SignatureHeader = "X-Cagenut-Signature"

// Timeout bounds one call. Whoever is told answers first and works afterwards.
const Timeout = 8 * time.Second

// Kinds are the kinds of notices that there are.
func Kinds() []operation.NoticeKind {
	return []operation.NoticeKind{operation.NoticeInService, operation.NoticeWaiting, operation.NoticeEnded}
}

// Webhook is one who is told.
type Webhook struct {
	URL    string
	Secret string // signs what is sent; never logged
	Kinds  []operation.NoticeKind
}

// Name tells a webhook from others, without its URL: that of a chat room is a secret by itself.
func (w Webhook) Name() string {
	sum := sha256.Sum256([]byte(w.URL))
	return hex.EncodeToString(sum[:8])
}

// Body is what is posted.
type Body struct {
	Key string `json:"key"` // the same when a notice comes twice
	operation.Notice
}

// ErrUnknown says that no webhook has this name any more.
var ErrUnknown = errors.New("that webhook is not configured any more")

// Sender posts to webhooks.
type Sender struct {
	hooks  map[string]Webhook
	client *http.Client
	agent  string
}

// New makes a sender; version names this program to who is told.
func New(hooks []Webhook, version string) *Sender {
	s := &Sender{hooks: map[string]Webhook{}, agent: "cagenut/" + version, client: &http.Client{
		Timeout: Timeout,
		// A redirect is a wrong URL, and what was signed for one is not for another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, h := range hooks {
		s.hooks[h.Name()] = h
	}
	return s
}

// Send posts a notice to the webhook of a name. Errors name the webhook's host, never its path.
func (s *Sender) Send(ctx context.Context, name string, n operation.Notice) error {
	hook, ok := s.hooks[name]
	if !ok {
		return ErrUnknown
	}
	body, err := json.Marshal(Body{Key: n.Key(), Notice: n})
	if err != nil {
		return fmt.Errorf("encode notice %s: %w", n.Key(), err)
	}
	u, err := url.Parse(hook.URL)
	if err != nil {
		return fmt.Errorf("webhook %s: its URL cannot be read", name)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook at %s: its URL cannot be read", u.Host)
	}
	mac := hmac.New(sha256.New, []byte(hook.Secret))
	mac.Write(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.agent)
	req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := s.client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL
		}
		return fmt.Errorf("webhook at %s: %w", u.Host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 4096) // so that the connection may be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("webhook at %s answered %s", u.Host, resp.Status)
	}
	return nil
}
