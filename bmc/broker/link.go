package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// link is what a Conn and a pool share: one login with its TCP connections.
type link struct {
	t         target
	host      *host
	trust     *trust
	transport *http.Transport
	idleSince time.Time // the pool's

	mu             sync.Mutex
	mode           authMode
	token          string
	sessionsPath   string
	sess           session // the one in use, n 0 when none
	gen            int     // counts logins
	local          netip.Addr
	changeRequired bool
	changeAt       string
	retired        bool
	strange        bool // another certificate was shown: nothing more is sent here
	ended          bool
	leftErr        error // why sessions of an earlier process are still there
}

type authMode int

const (
	anonymous authMode = iota
	tokenAuth
	basicAuth
)

func newLink(t target, h *host) *link {
	tr := &trust{host: t.host, pin: t.pin}
	return &link{t: t, host: h, trust: tr, transport: newTransport(t, tr), sessionsPath: defaultSessions}
}

type request struct {
	method  string
	path    string
	header  http.Header
	body    func() (io.ReadCloser, error)
	length  int64
	timeout time.Duration
}

func (r *request) setBytes(b []byte) {
	r.length = int64(len(b))
	r.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

func (r request) safe() bool { return r.method == http.MethodGet || r.method == http.MethodHead }

func (r request) op() string { return r.method + " " + r.path }

type reply struct {
	status  int
	header  http.Header
	body    []byte
	latency time.Duration
}

// auth is a login as it was when a request was made.
type auth struct {
	mode  authMode
	token string
	gen   int
}

func (l *link) auth() auth {
	l.mu.Lock()
	defer l.mu.Unlock()
	return auth{l.mode, l.token, l.gen}
}

// send carries one request through login, retries and redirects. Its error means that there was no
// answer to give; the answers themselves are judged by the caller.
func (l *link) send(ctx context.Context, r request) (reply, error) {
	path, err := l.t.requestPath(r.path)
	if err != nil {
		return reply{}, &bmc.Error{Kind: bmc.ErrNotAllowed, Op: r.op(), Host: l.t.host, Err: err}
	}
	r.path = path
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return reply{}, &bmc.Error{Kind: bmc.ErrUnreachable, Op: r.op(), Host: l.t.host, Detail: "this connection is closed"}
	}
	ctx, cancel := context.WithTimeout(ctx, max(l.t.Limits.Total, r.timeout+l.t.Limits.Request))
	defer cancel()
	again, moved := false, false
	for tries := 0; ; {
		a := l.auth()
		rep, err := l.wire(ctx, r, a)
		if err != nil {
			if r.safe() && tries < l.t.Limits.Retries && wasReset(err) {
				tries++
				if l.t.Clock.Sleep(ctx, time.Duration(tries)*200*time.Millisecond) == nil {
					continue
				}
			}
			return rep, err
		}
		switch {
		case rep.status == http.StatusUnauthorized && a.mode == tokenAuth && !again:
			again = true
			if err := l.login(ctx, a.gen); err != nil {
				return rep, err
			}
			continue
		case rep.status == http.StatusUnauthorized && a.mode == basicAuth:
			l.host.guard.LoginRefused(l.t.Credentials)
		case (rep.status == http.StatusServiceUnavailable || rep.status == http.StatusTooManyRequests) && r.safe() && tries < l.t.Limits.Retries:
			wait, ok := retryAfter(rep.header.Get("Retry-After"), l.t.Clock.Now())
			if ok && wait <= l.t.Limits.RetryAfter {
				tries++
				if l.t.Clock.Sleep(ctx, wait) == nil {
					continue
				}
			}
		case rep.status >= 300 && rep.status < 400 && rep.status != http.StatusNotModified:
			to, err := l.t.requestPath(rep.header.Get("Location"))
			if err == nil && r.safe() && !moved && strings.TrimSuffix(to, "/") == strings.TrimSuffix(r.path, "/") {
				moved = true
				r.path = to
				continue
			}
			return rep, &bmc.Error{Kind: bmc.ErrNotAllowed, Op: r.op(), Host: l.t.host, Status: rep.status,
				Detail: "redirect to " + bound(rep.header.Get("Location"), 200) + " refused"}
		}
		return rep, nil
	}
}

// wire sends one request once, within the cap, the breaker and the request's own deadline.
func (l *link) wire(ctx context.Context, r request, a auth) (rep reply, err error) {
	if err := l.host.guard.AllowRequest(l.t.host, r.op()); err != nil {
		return reply{}, err
	}
	select {
	case <-l.host.slots:
		defer func() { l.host.slots <- struct{}{} }()
	case <-ctx.Done():
		l.host.guard.Abandoned()
		return reply{}, &bmc.Error{Kind: bmc.ErrIncomplete, Op: r.op(), Host: l.t.host, Detail: "waiting for a free slot", Err: ctx.Err()}
	}
	timeout := l.t.Limits.Request
	if r.timeout > 0 {
		timeout = r.timeout
	}
	one, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	rep, err = l.exchange(one, r, a)
	rep.latency = time.Since(start)
	var kind error
	if err != nil {
		e := wireError(l.t.host, r.op(), err)
		if ctx.Err() != nil {
			e = &bmc.Error{Kind: bmc.ErrIncomplete, Op: r.op(), Host: l.t.host, Err: ctx.Err()}
		} else if one.Err() != nil {
			e.Detail = "no complete answer within " + timeout.String()
		}
		kind, err = e.Kind, e
	}
	if errors.Is(kind, bmc.ErrPinChanged) {
		l.mu.Lock()
		l.strange = true
		l.mu.Unlock()
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		l.host.guard.Abandoned()
	case kind == nil && rep.status != http.StatusBadGateway && rep.status != http.StatusServiceUnavailable && rep.status != http.StatusGatewayTimeout:
		l.host.guard.Answered()
	case kind == nil:
		l.host.guard.Failed("status " + strconv.Itoa(rep.status))
	case errors.Is(kind, bmc.ErrUnreachable), errors.Is(kind, bmc.ErrIncomplete):
		l.host.guard.Failed(kind.Error())
	default:
		l.host.guard.Answered() // a wrong certificate or too long a body is an answer of a kind
	}
	if l.t.Observe != nil {
		l.t.Observe(Observation{Method: r.method, Class: PathClass(r.path), Status: rep.status, Err: kind, Duration: rep.latency})
	}
	return rep, err
}

// errNotSent marks a failure before anything of the request could reach the BMC.
var errNotSent = errors.New("nothing was sent")

type notSent struct{ error }

func (e notSent) Unwrap() []error { return []error{errNotSent, e.error} }

func (l *link) exchange(ctx context.Context, r request, a auth) (reply, error) {
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		sent = true
		if a, ok := i.Conn.LocalAddr().(*net.TCPAddr); ok {
			l.mu.Lock()
			l.local = a.AddrPort().Addr().Unmap()
			l.mu.Unlock()
		}
	}})
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+l.t.host+r.path, nil)
	if err != nil {
		return reply{}, notSent{err}
	}
	req.Host = strings.TrimSuffix(l.t.host, ":443")
	for k, v := range r.header {
		req.Header[k] = v
	}
	setDefault(req.Header, "Accept", "application/json")
	setDefault(req.Header, "OData-Version", "4.0")
	setDefault(req.Header, "User-Agent", "cagenut")
	switch a.mode {
	case tokenAuth:
		req.Header.Set("X-Auth-Token", a.token)
	case basicAuth:
		req.SetBasicAuth(l.t.Credentials.User, l.t.Credentials.Password)
	}
	if r.body != nil {
		if req.Body, err = r.body(); err != nil {
			return reply{}, notSent{err}
		}
		req.ContentLength = r.length
	}
	resp, err := l.transport.RoundTrip(req)
	if err != nil {
		if !sent {
			err = notSent{err}
		}
		return reply{header: http.Header{}}, err
	}
	defer resp.Body.Close()
	rep := reply{status: resp.StatusCode, header: resp.Header}
	limit := l.t.Limits.Body
	rep.body, err = readBody(resp, limit+1)
	if err == nil {
		// Giving up closes the connection politely, and a server that notices may still end its answer
		// properly: what then looks whole is cut off.
		err = ctx.Err()
	}
	if err != nil {
		rep.body = nil
		return rep, err
	}
	if int64(len(rep.body)) > limit {
		rep.body = nil
		return rep, &bmc.Error{Kind: bmc.ErrTooLarge, Status: rep.status, Detail: "more than " + strconv.FormatInt(limit, 10) + " bytes"}
	}
	return rep, nil
}

// readBody reads up to limit bytes. A Content-Length sizes the buffer, but is not believed beyond a
// megabyte before the bytes are there.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 {
		b.Grow(int(min(n, limit, 1<<20)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(resp.Body, limit))
	return b.Bytes(), err
}

func setDefault(h http.Header, k, v string) {
	if h.Get(k) == "" {
		h.Set(k, v)
	}
}

// requestPath takes a path, or a URL on this very host, and gives what goes into the request line.
func (t target) requestPath(p string) (string, error) {
	u, err := url.Parse(p)
	if err != nil {
		return "", errors.New("not a URL")
	}
	if u.Host != "" || u.Scheme != "" {
		port := u.Port()
		if port == "" {
			port = "443"
		}
		if u.Scheme != "https" && u.Scheme != "" || !strings.EqualFold(net.JoinHostPort(u.Hostname(), port), t.host) {
			return "", errors.New("it leads to another host")
		}
	}
	if !strings.HasPrefix(u.Path, "/") {
		return "", errors.New("not an absolute path")
	}
	return u.RequestURI(), nil
}

// wasReset tells that a connection broke, which a BMC's web server does when it restarts.
func wasReset(err error) bool {
	var be *bmc.Error
	if !errors.As(err, &be) || !errors.Is(be.Kind, bmc.ErrUnreachable) || be.Err == nil {
		return false
	}
	var op *net.OpError
	if errors.As(be.Err, &op) && (op.Op == "dial" || op.Timeout()) {
		return false
	}
	return isReset(be.Err)
}

// retryAfter reads both forms of the header (RFC 9110 10.2.3).
func retryAfter(v string, now time.Time) (time.Duration, bool) {
	if v == "" {
		return 0, false
	}
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return time.Duration(s) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
