package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

var errSeen = errors.New("seen")

// shownFingerprint does a TLS handshake as far as the certificate and breaks it off: nothing is
// sent to a host that is not known.
func shownFingerprint(ctx context.Context, target *url.URL, suites []uint16) (string, error) {
	address := target.Host
	if target.Port() == "" {
		address = net.JoinHostPort(target.Hostname(), "443")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	seen := ""
	d := tls.Dialer{Config: &tls.Config{
		ServerName:   target.Hostname(),
		CipherSuites: suites,
		// Nothing is trusted here: the handshake fails whatever the certificate is.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) > 0 {
				seen = broker.Fingerprint(cs.PeerCertificates[0])
			}
			return errSeen
		},
	}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
	}
	if seen == "" {
		return "", &bmc.Error{Kind: bmc.ErrUnreachable, Op: "TLS handshake", Host: target.Host, Err: err}
	}
	return seen, nil
}

// plainGetter reads over http from a loopback address, for tunnels and test services, with Basic
// authentication where there is a user. It follows no redirect.
type plainGetter struct {
	base           *url.URL
	user, password string
	client         *http.Client
}

func newPlainGetter(base *url.URL, user, password string) plainGetter {
	return plainGetter{base: base, user: user, password: password, client: &http.Client{
		Timeout:       60 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

const maxPlainBody = 8 << 20

// Get implements reader.Getter.
func (g plainGetter) Get(ctx context.Context, path, etag string) (broker.Resource, error) {
	fail := func(kind error, status int, err error) error {
		return &bmc.Error{Kind: kind, Op: "GET " + path, Host: g.base.Host, Status: status, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base.String()+path, nil)
	if err != nil {
		return broker.Resource{}, fail(bmc.ErrNotAllowed, 0, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OData-Version", "4.0")
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	if g.user != "" {
		req.SetBasicAuth(g.user, g.password)
	}
	began := time.Now()
	resp, err := g.client.Do(req)
	if err != nil {
		return broker.Resource{}, fail(bmc.ErrUnreachable, 0, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPlainBody+1))
	res := broker.Resource{Status: resp.StatusCode, ETag: resp.Header.Get("ETag"), Latency: time.Since(began)}
	switch {
	case err != nil:
		return res, fail(bmc.ErrUnreachable, 0, err)
	case len(body) > maxPlainBody:
		return res, fail(bmc.ErrTooLarge, resp.StatusCode, fmt.Errorf("more than %d bytes", maxPlainBody))
	case resp.StatusCode == http.StatusNotModified:
		res.NotModified = true
		return res, nil
	case resp.StatusCode == http.StatusUnauthorized:
		return res, fail(bmc.ErrBadCredentials, resp.StatusCode, nil)
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusNotImplemented, resp.StatusCode == http.StatusMethodNotAllowed:
		return res, fail(bmc.ErrUnsupported, resp.StatusCode, nil)
	case resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusTooManyRequests:
		return res, fail(bmc.ErrBusy, resp.StatusCode, nil)
	case resp.StatusCode >= 500:
		return res, fail(bmc.ErrServer, resp.StatusCode, nil)
	case resp.StatusCode > 299:
		return res, fail(bmc.ErrRejected, resp.StatusCode, nil)
	}
	res.Body = body
	return res, nil
}
