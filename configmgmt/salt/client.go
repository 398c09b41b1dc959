package salt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// chunk is the low state of one call, as salt-api names it.
type chunk struct {
	Client     string         `json:"client"` // local, local_async, runner, wheel
	Fun        string         `json:"fun"`
	Target     []string       `json:"tgt,omitempty"`
	TargetType string         `json:"tgt_type,omitempty"`
	Arg        []any          `json:"arg,omitempty"`
	Kwarg      map[string]any `json:"kwarg,omitempty"`
	JID        string         `json:"jid,omitempty"`
	Match      any            `json:"match,omitempty"`
	Metadata   any            `json:"metadata,omitempty"`
	Timeout    int            `json:"timeout,omitempty"` // local only: salt-api eats a runner's
	FullReturn bool           `json:"full_return,omitempty"`
}

func (c chunk) op() string {
	s := "salt-api " + c.Client + " " + c.Fun
	if len(c.Target) > 0 {
		s += " " + strings.Join(c.Target, ",")
	}
	return s
}

func transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		MaxConnsPerHost:     inFlight,
		MaxIdleConnsPerHost: inFlight,
		IdleConnTimeout:     30 * time.Second,
	}
}

// answer is one HTTP answer, read to its end.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
}

// call makes one call and gives the first element of its return. A token that is no longer good is
// renewed once: salt-api looks at the token before it does anything, so nothing is done twice.
func (d *Driver) call(ctx context.Context, c chunk) (json.RawMessage, error) {
	op := c.op()
	body, err := json.Marshal([]chunk{c})
	if err != nil {
		return nil, &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Err: err}
	}
	token, err := d.authenticated(ctx, "")
	if err != nil {
		return nil, err
	}
	a, err := d.post(ctx, op, "/", token, body)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusUnauthorized {
		if token, err = d.authenticated(ctx, token); err != nil {
			return nil, err
		}
		if a, err = d.post(ctx, op, "/", token, body); err != nil {
			return nil, err
		}
	}
	if a.status != http.StatusOK {
		return nil, refusal(op, a)
	}
	var out struct {
		Return []json.RawMessage `json:"return"`
	}
	if err := decode(a, &out); err != nil || len(out.Return) != 1 {
		return nil, &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: op, Status: a.status, Detail: describe(a), Err: err}
	}
	return out.Return[0], nil
}

// authenticated gives a token other than stale, and logs in when there is none.
func (d *Driver) authenticated(ctx context.Context, stale string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token != "" && d.token != stale {
		return d.token, nil
	}
	const op = "salt-api login"
	body, err := json.Marshal(d.login)
	if err != nil {
		return "", &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Err: err}
	}
	a, err := d.post(ctx, op, "/login", "", body)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", refusal(op, a)
	}
	var out struct {
		Return []struct {
			Token  string  `json:"token"`
			Expire float64 `json:"expire"`
			Perms  []any   `json:"perms"`
		} `json:"return"`
	}
	if err := decode(a, &out); err != nil || len(out.Return) != 1 || out.Return[0].Token == "" {
		return "", &configmgmt.Error{Kind: configmgmt.ErrMalformed, Op: op, Status: a.status, Detail: describe(a), Err: err}
	}
	r := out.Return[0]
	d.token, d.perms, d.until = r.Token, granted(r.Perms), time.Time{}
	if r.Expire > 0 && r.Expire < math.MaxInt32*100 {
		d.until = time.Unix(int64(r.Expire), 0).UTC()
	}
	return d.token, nil
}

func (d *Driver) post(ctx context.Context, op, path, token string, body []byte) (answer, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return answer{}, noAnswer(ctx, op, ctx.Err())
	}
	seen, start := Request{Call: strings.TrimPrefix(op, "salt-api ")}, time.Now()
	defer func() {
		if seen.Took = time.Since(start); d.observe != nil {
			d.observe(seen)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, &configmgmt.Error{Kind: configmgmt.ErrInvalid, Op: op, Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "cagenut")
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return answer{}, noAnswer(ctx, op, err)
	}
	defer resp.Body.Close()
	seen.Status = resp.StatusCode
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, noAnswer(ctx, op, fmt.Errorf("read the answer: %w", err))
	}
	if len(b) > maxAnswer {
		return answer{}, &configmgmt.Error{Kind: configmgmt.ErrTooLarge, Op: op, Status: resp.StatusCode, Detail: fmt.Sprintf("more than %d MiB", maxAnswer>>20)}
	}
	return answer{status: resp.StatusCode, kind: resp.Header.Get("Content-Type"), body: b}, nil
}

func noAnswer(ctx context.Context, op string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	kind, detail := configmgmt.ErrUnreachable, ""
	var untrusted *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &untrusted):
		kind, detail = configmgmt.ErrCertificate, "give the CA that signed salt-api's certificate, and the name that is in it"
	}
	return &configmgmt.Error{Kind: kind, Op: op, Detail: detail, Err: err}
}

// refusal turns an answer that is not HTTP 200 into an error with a remedy.
func refusal(op string, a answer) error {
	e := &configmgmt.Error{Op: op, Status: a.status, Detail: describe(a)}
	switch {
	case a.status == http.StatusUnauthorized && op == "salt-api login":
		e.Kind, e.Detail = configmgmt.ErrDenied, "wrong user, password or eauth, or nothing for this user in the master's external_auth"
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		e.Kind, e.Detail = configmgmt.ErrDenied, "the master's external_auth does not allow this to our user; docs/salt.md has what is needed"
	case a.status >= 500:
		e.Kind = configmgmt.ErrServer
		if a.status == http.StatusGatewayTimeout {
			e.Detail = "the master did not answer salt-api in time"
		}
	case a.status >= 400:
		e.Kind = configmgmt.ErrRejected
	default:
		e.Kind = configmgmt.ErrMalformed
		e.Detail += " Remedy: check that the URL is salt-api's own and that nothing redirects it."
	}
	return e
}

func decode(a answer, out any) error {
	if !strings.HasPrefix(a.kind, "application/json") {
		return fmt.Errorf("%q instead of JSON", a.kind)
	}
	return json.Unmarshal(a.body, out)
}

// describe gives salt-api's own words. Of a page it gives the title only: the rest is markup.
func describe(a answer) string {
	if strings.HasPrefix(a.kind, "application/json") {
		return brief(string(a.body))
	}
	if _, rest, ok := bytes.Cut(a.body, []byte("<title>")); ok {
		if title, _, ok := bytes.Cut(rest, []byte("</title>")); ok {
			return brief(fmt.Sprintf("a page titled %q instead of JSON.", strings.TrimSpace(string(title))))
		}
	}
	return brief(fmt.Sprintf("%d bytes of %q instead of JSON.", len(a.body), a.kind))
}

func brief(s string) string {
	s = configmgmt.Words(s)
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}

// granted flattens the permissions of a login: strings, and objects of a target or client with its
// functions, which are objects where their arguments are limited.
func granted(perms []any) []string {
	var out []string
	for _, p := range perms {
		switch p := p.(type) {
		case string:
			out = append(out, p)
		case map[string]any:
			for scope, list := range p {
				funs, ok := list.([]any)
				if !ok {
					funs = []any{list}
				}
				for _, f := range funs {
					if limited, ok := f.(map[string]any); ok {
						for name := range limited {
							out = append(out, scope+" "+strings.TrimSuffix(name, "$"))
						}
						continue
					}
					out = append(out, fmt.Sprintf("%s %v", scope, f))
				}
			}
		}
	}
	return out
}
