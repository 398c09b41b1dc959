package reader_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// httpGetter is the smallest Getter: one request each, no session, a bound on the body.
type httpGetter struct {
	base   string
	client *http.Client
}

const getterBody = 9 << 20

func (g httpGetter) Get(ctx context.Context, path, etag string) (broker.Resource, error) {
	fail := func(kind error, status int, err error) (broker.Resource, error) {
		return broker.Resource{Status: status}, &bmc.Error{Kind: kind, Op: "GET " + path, Host: g.base, Status: status, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base+path, nil)
	if err != nil {
		return fail(bmc.ErrMalformed, 0, err)
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	began := time.Now()
	resp, err := g.client.Do(req)
	if err != nil {
		return fail(bmc.ErrUnreachable, 0, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, getterBody))
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fail(bmc.ErrIncomplete, 0, err)
		}
		return fail(bmc.ErrUnreachable, 0, err)
	}
	res := broker.Resource{Status: resp.StatusCode, Body: body, ETag: resp.Header.Get("ETag"), Latency: time.Since(began)}
	switch {
	case resp.StatusCode == http.StatusNotModified:
		res.NotModified, res.Body = true, nil
		return res, nil
	case resp.StatusCode == http.StatusUnauthorized:
		return fail(bmc.ErrBadCredentials, resp.StatusCode, nil)
	case resp.StatusCode >= 400:
		return fail(bmc.ErrRejected, resp.StatusCode, nil)
	}
	return res, nil
}
