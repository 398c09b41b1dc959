package broker

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// Conn is one login on one BMC. Close it when done.
type Conn struct {
	*link
	once     sync.Once
	release  func(context.Context) error
	closeErr error
}

// Close logs out, or gives the login back to the pool that it is from. It logs out even when ctx
// has ended, within Limits.LogoutTimeout. A second Close does nothing.
func (c *Conn) Close(ctx context.Context) error {
	c.once.Do(func() { c.closeErr = c.release(ctx) })
	return c.closeErr
}

// Options are what a write may need beyond its body.
type Options struct {
	IfMatch string        // the ETag that was read; "" sends none
	Timeout time.Duration // of each attempt, instead of Limits.Request; for uploads
	// Stream, when set, is the body instead of JSON. It is called again if the request must be
	// sent again after a login.
	Stream      func() (io.ReadCloser, error)
	Length      int64 // of Stream, -1 unknown
	ContentType string
}

// Response is the answer to a request made by Do.
type Response struct {
	Status   int
	Header   http.Header
	Body     []byte
	Location string // as a path on the BMC; "" when none was given
}

// Get reads one resource. With an etag it asks for changes only. An answer that is neither 2xx nor
// 304 is an *bmc.Error with the status; the Resource then still has Status and Latency.
func (l *link) Get(ctx context.Context, path, etag string) (Resource, error) {
	h := http.Header{}
	if etag != "" {
		h.Set("If-None-Match", etag)
	}
	rep, err := l.send(ctx, request{method: http.MethodGet, path: path, header: h})
	res := Resource{Status: rep.status, Latency: rep.latency, ETag: rep.header.Get("ETag")}
	if err != nil {
		return res, err
	}
	if rep.status == http.StatusNotModified && etag != "" {
		res.NotModified = true
		if res.ETag == "" {
			res.ETag = etag
		}
		return res, nil
	}
	if err := l.judge(http.MethodGet+" "+path, rep); err != nil {
		return res, err
	}
	res.Body = rep.body
	return res, nil
}

// Do sends one request; body is sent as JSON unless it is nil or opts has a Stream. It is sent once,
// and again only after a 401, following a new login. An answer that is not 2xx is an *bmc.Error; the
// Response is then still filled.
func (l *link) Do(ctx context.Context, method, path string, body any, opts Options) (Response, error) {
	r := request{method: method, path: path, header: http.Header{}, timeout: opts.Timeout}
	op := method + " " + path
	switch {
	case opts.Stream != nil:
		r.body, r.length = opts.Stream, opts.Length
		r.header.Set("Content-Type", opts.ContentType)
	case body != nil:
		raw, err := json.Marshal(body)
		if err != nil {
			return Response{}, fmt.Errorf("%s: %s: body: %w", l.t.host, op, err)
		}
		r.setBytes(raw)
		r.header.Set("Content-Type", "application/json")
	}
	if opts.IfMatch != "" {
		r.header.Set("If-Match", opts.IfMatch)
	}
	rep, err := l.send(ctx, r)
	res := Response{Status: rep.status, Header: rep.header, Body: rep.body}
	if err != nil {
		return res, err
	}
	if loc := rep.header.Get("Location"); loc != "" {
		// A Location elsewhere is left out, not refused: the write has been done.
		res.Location, _ = l.t.requestPath(loc)
	}
	return res, l.judge(op, rep)
}

// RoundTripper is for libraries that bring their own HTTP client. It adds the login, drops any that
// the library set, keeps connections alive, and is bound by everything that binds Do.
func (l *link) RoundTripper() http.RoundTripper { return roundTripper{l} }

type roundTripper struct{ l *link }

func (rt roundTripper) RoundTrip(in *http.Request) (*http.Response, error) {
	r := request{method: in.Method, path: in.URL.String(), header: in.Header.Clone()}
	for _, h := range []string{"Authorization", "X-Auth-Token", "Connection", "Cookie"} {
		r.header.Del(h)
	}
	if in.Body != nil {
		raw, err := io.ReadAll(in.Body)
		in.Body.Close()
		if err != nil {
			return nil, err
		}
		r.setBytes(raw)
	}
	rep, err := rt.l.send(in.Context(), r)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", rep.status, http.StatusText(rep.status)),
		StatusCode: rep.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rep.header, Body: io.NopCloser(bytes.NewReader(rep.body)),
		ContentLength: int64(len(rep.body)), Request: in,
	}, nil
}

// Host is the BMC's host:port.
func (l *link) Host() string { return l.t.host }

// User is the account that is logged in, "" when anonymous.
func (l *link) User() string { return l.t.Credentials.User }

// Fingerprint is that of the certificate which the BMC showed, "" before the first request.
func (l *link) Fingerprint() string { return l.trust.fingerprint() }

// PasswordChange tells whether the BMC demanded a new password at login, and where (the account's
// URI, "" when it did not say). Requests other than the PATCH of the password are then refused by
// the BMC with bmc.ErrPasswordChange.
func (l *link) PasswordChange() (account string, required bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changeAt, l.changeRequired
}

// Retire tells that the password was changed through this Conn: it never logs in again with the old
// one, and is not kept by a pool.
func (l *link) Retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
}

// PasswordSet tells that an account is about to get a password: a refusal of before says nothing of it.
func (l *link) PasswordSet(user, password string) {
	l.host.guard.PasswordSet(bmc.Credentials{User: user, Password: password})
}

// LimitInFlight lowers the cap for this BMC, when a quirk turns up after the first answers.
// A higher cap than the one there is changes nothing.
func (l *link) LimitInFlight(ctx context.Context, n int) error {
	for {
		l.host.mu.Lock()
		if n < 1 || l.host.capNow <= n {
			l.host.mu.Unlock()
			return nil
		}
		l.host.capNow--
		l.host.mu.Unlock()
		select {
		case <-l.host.slots:
		case <-ctx.Done():
			l.host.mu.Lock()
			l.host.capNow++
			l.host.mu.Unlock()
			return ctx.Err()
		}
	}
}

func (l *link) judge(op string, rep reply) error { return l.Judge(op, rep.status, rep.body) }

// Judge makes an *bmc.Error of an answer that is not 2xx, as Get and Do do; for users of RoundTripper.
func (l *link) Judge(op string, status int, body []byte) error {
	if status >= 200 && status < 300 {
		return nil
	}
	detail, kind := classify(status, body)
	return &bmc.Error{Kind: kind, Op: op, Host: l.t.host, Status: status, Detail: l.hide(detail)}
}

// Proves tells whether this is the password of the login, without showing it.
func (l *link) Proves(password string) bool {
	return subtle.ConstantTimeCompare([]byte(password), []byte(l.t.Credentials.Password)) == 1
}

// hide takes our secrets out of a BMC's words: some echo what they were sent.
func (l *link) hide(s string) string {
	l.mu.Lock()
	token := l.token
	l.mu.Unlock()
	for _, secret := range []string{l.t.Credentials.Password, token} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}
