package netbox

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cagenut/cagenut/inventory"
)

// call is what one request adds to what go-netbox can express, and where its answer goes. It travels
// in the context, the only way through the generated client to the transport.
type call struct {
	query  url.Values
	header http.Header

	status int
	etag   string
	kind   string // Content-Type
	body   []byte
}

type callKey struct{}

// errTooLong is an answer that no NetBox gives. Asking again would not shorten it.
var errTooLong = fmt.Errorf("an answer of more than %d MiB", maxAnswer>>20)

// transport signs, limits, retries and observes requests, and keeps their answers. Safe for
// concurrent use.
type transport struct {
	next          http.RoundTripper
	authorization string
	slots         chan struct{}
	observe       func(Request)
	backoff       func(int) time.Duration
}

func pool(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: requestTimeout,
		MaxConnsPerHost:       inFlight,
		MaxIdleConnsPerHost:   inFlight,
		IdleConnTimeout:       30 * time.Second,
	}
}

// RoundTrip sends r, a GET up to three times. The answer's bytes go to the call in r's context;
// go-netbox gets an empty object, so that it does not spend time on decoding what it cannot decode.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, ok := r.Context().Value(callKey{}).(*call)
	if !ok {
		return nil, errors.New("request outside a call")
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", t.authorization)
	for k, v := range c.header {
		r.Header[k] = v
	}
	if len(c.query) > 0 {
		q := r.URL.Query()
		for k, v := range c.query {
			q[k] = v
		}
		r.URL.RawQuery = q.Encode()
	}
	for attempt := 1; ; attempt++ {
		resp, err := t.once(r, c)
		if r.Method != http.MethodGet || attempt == 3 || r.Context().Err() != nil ||
			errors.Is(err, errTooLong) || (err == nil && resp.StatusCode < 500) {
			return resp, err
		}
		pause := time.NewTimer(t.backoff(attempt))
		select {
		case <-pause.C:
		case <-r.Context().Done():
			pause.Stop()
			return nil, r.Context().Err()
		}
	}
}

func (t *transport) once(r *http.Request, c *call) (*http.Response, error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	start := time.Now()
	seen := Request{Method: r.Method, Path: r.URL.Path}
	defer func() {
		if seen.Took = time.Since(start); t.observe != nil {
			t.observe(seen)
		}
	}()
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, errTooLong
	}
	seen.Status = resp.StatusCode
	c.status, c.etag, c.kind, c.body = resp.StatusCode, resp.Header.Get("ETag"), resp.Header.Get("Content-Type"), body
	resp.Body = io.NopCloser(strings.NewReader("{}"))
	resp.ContentLength = 2
	return resp, nil
}

// send makes one request through go-netbox and reads its answer into out, unless out is nil. op names
// the request in errors. The error of go-netbox counts only when there was no answer.
func (c *Client) send(ctx context.Context, op string, x *call, out any, request func(context.Context) (*http.Response, error)) error {
	resp, err := request(context.WithValue(ctx, callKey{}, x))
	if resp != nil {
		_ = resp.Body.Close()
	}
	if x.status == 0 {
		return noAnswer(ctx, op, err)
	}
	if x.status >= 300 || x.status < 200 {
		return refusal(op, x)
	}
	if out == nil {
		return nil
	}
	if err := decode(x, out); err != nil {
		return &inventory.Error{Kind: inventory.ErrMalformed, Op: op, Status: x.status, Detail: describe(x), Err: err}
	}
	return nil
}

// get is send for the endpoints that go-netbox does not have.
func (c *Client) get(ctx context.Context, op, path string, out any) error {
	return c.ask(ctx, http.MethodGet, op, path, out)
}

// ask sends a request that changes nothing.
func (c *Client) ask(ctx context.Context, method, op, path string, out any) error {
	return c.exchange(ctx, op, &call{}, out, method, path, nil)
}

// exchange is send for a request that go-netbox cannot make.
func (c *Client) exchange(ctx context.Context, op string, x *call, out any, method, path string, body any) error {
	return c.send(ctx, op, x, out, c.request(method, path, body)) //nolint:bodyclose // send reads and closes it
}

// request makes one that go-netbox cannot: its models are those of NetBox 4.0. body is sent as JSON.
func (c *Client) request(method, path string, body any) func(context.Context) (*http.Response, error) {
	return func(ctx context.Context) (*http.Response, error) {
		var payload io.Reader
		if body != nil {
			raw, err := json.Marshal(body)
			if err != nil {
				return nil, err
			}
			payload = bytes.NewReader(raw)
		}
		req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
		if err != nil {
			return nil, err
		}
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		return c.http.Do(req)
	}
}

func noAnswer(ctx context.Context, op string, err error) error {
	var u *url.Error // names the whole URL, with up to 4 KB of IDs
	if errors.As(err, &u) {
		err = u.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	kind := inventory.ErrUnreachable
	if errors.Is(err, errTooLong) {
		kind = inventory.ErrMalformed
	}
	return &inventory.Error{Kind: kind, Op: op, Err: err}
}

// refusal turns an answer that is not a success into an error with a remedy.
func refusal(op string, x *call) error {
	e := &inventory.Error{Op: op, Status: x.status, Detail: describe(x)}
	switch {
	case x.status == http.StatusUnauthorized, x.status == http.StatusForbidden:
		e.Kind = inventory.ErrDenied
		if strings.Contains(e.Detail, "oken") || strings.Contains(e.Detail, "redentials") {
			e.Detail += " Remedy: give Cagenut a NetBox token that is enabled, write-enabled, not expired and allowed from this address."
		} else {
			e.Detail += " Remedy: an administrator of NetBox runs `cagenut netbox setup --apply`, which grants what is missing."
		}
	case x.status == http.StatusNotFound && isJSON(x):
		e.Kind = inventory.ErrNotFound
	case x.status == http.StatusConflict, x.status == http.StatusPreconditionFailed:
		e.Kind = inventory.ErrConflict
	case x.status >= 500 || x.status == http.StatusTooManyRequests:
		e.Kind = inventory.ErrServer
	case x.status == http.StatusBadRequest:
		e.Kind = inventory.ErrRejected
	default:
		e.Kind = inventory.ErrMalformed
		e.Detail += " Remedy: check that the NetBox URL is the one that people open, without /api, and that nothing redirects it."
	}
	return e
}

func isJSON(x *call) bool { return strings.HasPrefix(x.kind, "application/json") }

// describe gives NetBox's own words, at most 300 bytes of them. Of a page that is not JSON it gives
// the title only: the rest is markup.
func describe(x *call) string {
	if isJSON(x) {
		return bounded(strings.TrimSpace(string(x.body)))
	}
	if _, rest, ok := bytes.Cut(x.body, []byte("<title>")); ok {
		if title, _, ok := bytes.Cut(rest, []byte("</title>")); ok {
			return bounded(fmt.Sprintf("a page titled %q instead of JSON.", strings.TrimSpace(string(title))))
		}
	}
	return bounded(fmt.Sprintf("%d bytes of %q instead of JSON.", len(x.body), x.kind))
}

func bounded(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
