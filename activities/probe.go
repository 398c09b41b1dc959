package activities

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	probeTakes = 5 * time.Second
	// probeReads bounds what is read of a page; docs/profiles.md says so.
	probeReads = 64 << 10
)

// prober looks at one machine from outside. Whatever name is asked for, it connects to the one address: a
// check looks at the machine that it is about, and at no other.
type prober struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error) // nil: the worker's own
	address netip.Addr
}

func (p prober) connect(ctx context.Context, port string) (net.Conn, error) {
	dial := p.dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return dial(ctx, "tcp", net.JoinHostPort(p.address.String(), port))
}

// tcp tells whether a port accepts connections.
func (p prober) tcp(ctx context.Context, port int) (seen string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTakes)
	defer cancel()
	conn, err := p.connect(ctx, strconv.Itoa(port))
	if err != nil {
		return unseen(err), false
	}
	_ = conn.Close()
	return "accepts connections", true
}

// http tells whether a page answers as it should. Redirects are not followed.
func (p prober) http(ctx context.Context, url string, status int, contains string) (seen string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTakes)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: probeReads,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return p.connect(ctx, port)
		},
		// Whether the page answers is asked, not whose certificate it shows; nothing secret is sent.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error(), false
	}
	res, err := client.Do(req)
	if err != nil {
		return unseen(err), false
	}
	defer res.Body.Close()
	seen = strconv.Itoa(res.StatusCode)
	if location := res.Header.Get("Location"); location != "" {
		seen += fmt.Sprintf(", to %.200q", location)
	}
	if res.StatusCode != status || contains == "" {
		return seen, res.StatusCode == status
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, probeReads))
	switch {
	case strings.Contains(string(body), contains):
		return fmt.Sprintf("%s, with %q", seen, contains), true
	case err != nil:
		return seen + ", " + unseen(err), false
	}
	return fmt.Sprintf("%s, without %q in its first %d bytes", seen, contains, len(body)), false
}

// unseen says why nothing was seen.
func unseen(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", probeTakes)
	}
	return err.Error()
}
