package redfish

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	provider "github.com/bmc-toolbox/bmclib/v2/providers/redfish"
	"github.com/go-logr/logr"

	"github.com/cagenut/cagenut/bmc"
)

// library lets bmclib's Redfish provider do one thing. It gets a provider of its own each time,
// because those are not safe for concurrent use, over the broker's connection: with Basic
// authentication asked for it opens no session, and the broker replaces what it sends by the login
// that is there.
//
// The provider is used by itself, without bmclib.Client: that one, in v2.3.5, drops the HTTP client
// that WithRedfishHTTPClient gives it and dials past the broker, its pin and its session.
func (c *Controller) library(ctx context.Context, p *place, do func(context.Context, *provider.Conn) (bool, error)) error {
	host, port, err := net.SplitHostPort(c.conn.Host())
	if err != nil {
		return err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	rt := &boundTransport{ctx: ctx, next: c.conn.RoundTripper(), judge: c.conn.Judge}
	l := provider.New(host, "broker", "broker", logr.Discard(),
		provider.WithHttpClient(&http.Client{Transport: rt}),
		provider.WithPort(port),
		provider.WithUseBasicAuth(true),
		provider.WithEtagMatchDisabled(true),
		provider.WithSystemName(p.name))
	if err := l.Open(ctx); err != nil {
		return c.fromLibrary(rt, err)
	}
	ok, err := do(ctx, l)
	_ = l.Close(ctx) // it holds nothing on the BMC
	if err == nil && !ok {
		err = errors.New("bmclib says that it was not done")
	}
	return c.fromLibrary(rt, err)
}

// fromLibrary gives the BMC's own refusal, which bmclib buries in a text.
func (c *Controller) fromLibrary(rt *boundTransport, err error) error {
	if err == nil {
		return nil
	}
	var e *bmc.Error
	switch {
	case errors.As(err, &e):
		return e
	case rt.refused != nil:
		return rt.refused
	}
	return c.wrap(bmc.ErrRejected, "bmclib", err)
}

// boundTransport ends with the caller's context, which bmclib does not pass on, and remembers the
// last refusal.
type boundTransport struct {
	ctx     context.Context
	next    http.RoundTripper
	judge   func(op string, status int, body []byte) error
	refused error
}

func (t *boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r.WithContext(t.ctx))
	if err != nil {
		t.refused = err
		return nil, err
	}
	if resp.StatusCode >= 300 {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		t.refused = t.judge(r.Method+" "+r.URL.Path, resp.StatusCode, body)
	}
	return resp, nil
}
