package broker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"

	"github.com/cagenut/cagenut/bmc"
)

const (
	serviceRoot     = "/redfish/v1/"
	defaultSessions = "/redfish/v1/SessionService/Sessions"
)

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// start logs in for the first time.
func (l *link) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.t.Limits.Total)
	defer cancel()
	return l.login(ctx, 0)
}

// login opens a session unless another request has done so since stale was seen.
func (l *link) login(ctx context.Context, stale int) error {
	const op = "log in"
	if l.t.Credentials.User == "" {
		return nil
	}
	select {
	case l.host.login <- struct{}{}:
		defer func() { <-l.host.login }()
	case <-ctx.Done():
		return &bmc.Error{Kind: bmc.ErrIncomplete, Op: op, Host: l.t.host, Err: ctx.Err()}
	}
	l.mu.Lock()
	done, retired, old := l.gen != stale, l.retired || l.ended, l.sess
	l.mu.Unlock()
	if done {
		return nil
	}
	if retired {
		return &bmc.Error{Kind: bmc.ErrBadCredentials, Op: op, Host: l.t.host, Detail: "the password was changed through this connection; connect again with the new one"}
	}
	if err := l.host.guard.AllowLogin(l.t.host, op, l.t.Credentials); err != nil {
		return err
	}
	if l.t.BasicOnly {
		return l.useBasic(ctx, false)
	}
	if len(l.host.journal.others(nil)) >= maxSessions {
		// No room for one more: make it with Basic authentication, which opens none.
		// A stranger's certificate is said as such: whoever proves it can then log in.
		l.dropLeft(ctx, auth{mode: basicAuth})
		if err := l.untrusted(); err != nil {
			return err
		}
	}
	path := l.sessions()
	for {
		rep, n, err := l.openSession(ctx, path)
		if err != nil {
			return err
		}
		if n != 0 {
			l.mu.Lock()
			l.sessionsPath = path
			l.mu.Unlock()
			l.host.guard.LoginOK(l.t.Credentials)
			if old.n != 0 {
				l.host.use(old.n, false)
			}
			l.dropLeft(ctx, l.auth())
			return nil
		}
		ms := messages(rep.body)
		if m, ok := has(ms, "PasswordChangeRequired"); ok {
			l.demandChange(m)
			return l.useBasic(ctx, true)
		}
		var next string
		var basic bool
		if absent(rep.status) || rep.status == http.StatusUnauthorized {
			if next, basic, err = l.otherWay(ctx, path, rep.status); err != nil {
				return err
			}
		} else if rep.status >= 200 && rep.status < 300 {
			basic = true // a session service that gives no token is none
		}
		switch {
		case next != "":
			path = next
			continue
		case basic:
			return l.useBasic(ctx, false)
		}
		detail, kind := classify(rep.status, rep.body)
		if rep.status == http.StatusForbidden && errors.Is(kind, bmc.ErrRejected) {
			kind = bmc.ErrBadCredentials
		}
		if errors.Is(kind, bmc.ErrBadCredentials) || errors.Is(kind, bmc.ErrRejected) {
			l.host.guard.LoginRefused(l.t.Credentials)
		}
		return &bmc.Error{Kind: kind, Op: op + " as " + l.t.Credentials.User, Host: l.t.host, Status: rep.status, Detail: l.hide(detail)}
	}
}

func (l *link) sessions() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessionsPath
}

func absent(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// openSession asks for a session; n is 0 when none was given.
func (l *link) openSession(ctx context.Context, path string) (reply, int, error) {
	j := l.host.journal
	n, err := j.ask(l.t.Clock.Now(), l.t.Credentials.User)
	if err != nil {
		return reply{}, 0, err
	}
	body, err := json.Marshal(map[string]string{"UserName": l.t.Credentials.User, "Password": l.t.Credentials.Password})
	if err != nil {
		return reply{}, 0, errors.Join(err, j.closed(n))
	}
	r := request{method: http.MethodPost, path: path, header: http.Header{"Content-Type": {"application/json"}}}
	r.setBytes(body)
	rep, err := l.wire(ctx, r, auth{mode: anonymous})
	if err != nil {
		if errors.Is(err, errNotSent) || errors.Is(err, bmc.ErrBreakerOpen) {
			err = errors.Join(err, j.closed(n))
		}
		return rep, 0, err // else a session may exist: the journal keeps it
	}
	token := rep.header.Get("X-Auth-Token")
	if rep.status < 200 || rep.status >= 300 || token == "" {
		return rep, 0, j.closed(n)
	}
	uri := sessionURI(l.t, rep)
	s := session{n: n, at: l.t.Clock.Now(), user: l.t.Credentials.User, uri: uri}
	l.host.use(n, true)
	l.mu.Lock()
	l.mode, l.token, l.sess = tokenAuth, token, s
	l.gen++
	l.mu.Unlock()
	if m, ok := has(messages(rep.body), "PasswordChangeRequired"); ok {
		l.demandChange(m)
	}
	return rep, n, j.opened(n, s.at, uri, key{Token: token, Pin: l.trust.fingerprint(), TLS: l.t.TLS})
}

func sessionURI(t target, rep reply) string {
	if p, err := t.requestPath(rep.header.Get("Location")); err == nil {
		return p
	}
	var b struct {
		ID string `json:"@odata.id"`
	}
	if json.Unmarshal(rep.body, &b) == nil {
		if p, err := t.requestPath(b.ID); err == nil {
			return p
		}
	}
	return ""
}

// otherWay reads the ServiceRoot, which needs no login (DSP0266 13.3.1), after sessions were refused
// at path: it names another place for them, or none, which means Basic authentication.
func (l *link) otherWay(ctx context.Context, path string, status int) (next string, basic bool, err error) {
	rep, err := l.wire(ctx, request{method: http.MethodGet, path: serviceRoot}, auth{mode: anonymous})
	if err != nil {
		return "", false, err
	}
	var root struct {
		Links struct {
			Sessions struct {
				ID string `json:"@odata.id"`
			}
		}
	}
	if rep.status != http.StatusOK || json.Unmarshal(rep.body, &root) != nil {
		return "", absent(status), nil //nolint:nilerr // such a root says nothing: the first refusal decides
	}
	at, err := l.t.requestPath(root.Links.Sessions.ID)
	switch {
	case err != nil:
		return "", true, nil //nolint:nilerr // a root that names no usable place has no sessions
	case strings.TrimSuffix(at, "/") != strings.TrimSuffix(path, "/") && path == defaultSessions:
		return at, false, nil
	default:
		return "", absent(status), nil
	}
}

// useBasic proves the password with one request, so that a wrong one is sent once and not by all
// that wait.
func (l *link) useBasic(ctx context.Context, changeRequired bool) error {
	if !changeRequired {
		rep, err := l.wire(ctx, request{method: http.MethodGet, path: serviceRoot + "Systems"}, auth{mode: basicAuth})
		if err != nil {
			return err
		}
		m, change := has(messages(rep.body), "PasswordChangeRequired")
		switch {
		case change:
			l.demandChange(m)
		case rep.status == http.StatusUnauthorized:
			l.host.guard.LoginRefused(l.t.Credentials)
			detail, kind := classify(rep.status, rep.body)
			return &bmc.Error{Kind: kind, Op: "log in as " + l.t.Credentials.User, Host: l.t.host, Status: rep.status, Detail: l.hide(detail)}
		}
		l.host.guard.LoginOK(l.t.Credentials)
	}
	l.mu.Lock()
	l.mode = basicAuth
	l.gen++
	l.mu.Unlock()
	if len(l.host.journal.others(l.host.used())) > 0 {
		l.dropLeft(ctx, auth{mode: basicAuth})
	}
	return nil
}

func (l *link) demandChange(m message) {
	at := ""
	if len(m.Args) > 0 {
		at, _ = l.t.requestPath(m.Args[0])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changeRequired, l.changeAt = true, at
}

// dropLeft gives back sessions of ours that nothing uses: of an earlier process, or the one that
// the BMC said it had forgotten. What fails stays in the journal and counts.
func (l *link) dropLeft(ctx context.Context, a auth) {
	var errs []error
	for _, s := range l.host.journal.others(l.host.used()) {
		errs = append(errs, l.drop(ctx, a, s))
	}
	l.mu.Lock()
	l.leftErr = errors.Join(errs...)
	l.mu.Unlock()
}

// untrusted gives the reason why sessions are left when it is the BMC's certificate.
func (l *link) untrusted() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.leftErr, bmc.ErrPinChanged) || errors.Is(l.leftErr, bmc.ErrCertificate) {
		return l.leftErr
	}
	return nil
}

func (l *link) drop(ctx context.Context, a auth, s session) error {
	j := l.host.journal
	if l.t.Clock.Now().Sub(s.at) > l.t.Limits.SessionIdle && s.uri == "" {
		return j.closed(s.n)
	}
	if s.uri != "" && s.key.Token != "" {
		if done, err := l.dropByItself(ctx, s); done || err != nil {
			return err
		}
		if l.t.Clock.Now().Sub(s.at) > l.t.Limits.SessionIdle {
			return j.closed(s.n) // it had the time to end, and its token says so
		}
	}
	uri := s.uri
	if uri == "" {
		var err error
		if uri, err = l.find(ctx, a, s); err != nil {
			return err
		}
		if uri == "" {
			return j.closed(s.n)
		}
	}
	rep, err := l.wire(ctx, request{method: http.MethodDelete, path: uri}, a)
	if err != nil {
		return err
	}
	if rep.status >= 200 && rep.status < 300 || absent(rep.status) || rep.status == http.StatusGone {
		return j.closed(s.n)
	}
	return l.judge("DELETE "+uri, rep)
}

// dropByItself gives a session back with its own token. Not done means that the BMC does not take the
// token any more: most likely the session has ended, but only a login can tell.
func (l *link) dropByItself(ctx context.Context, s session) (done bool, err error) {
	rep, err := l.wire(ctx, request{method: http.MethodDelete, path: s.uri}, auth{mode: tokenAuth, token: s.key.Token})
	if err != nil {
		return false, err
	}
	if rep.status >= 200 && rep.status < 300 || absent(rep.status) || rep.status == http.StatusGone {
		return true, l.host.journal.closed(s.n)
	}
	return false, nil
}

// find looks for a session that was asked for and whose answer was lost: of our user, from our
// address, and not one that we know. "" and nil say that it does not exist.
func (l *link) find(ctx context.Context, a auth, s session) (string, error) {
	path := l.sessions()
	rep, err := l.wire(ctx, request{method: http.MethodGet, path: path}, a)
	if err != nil {
		return "", err
	}
	if err := l.judge("GET "+path, rep); err != nil {
		return "", err
	}
	var list struct {
		Members []struct {
			ID string `json:"@odata.id"`
		}
	}
	if err := json.Unmarshal(rep.body, &list); err != nil {
		return "", &bmc.Error{Kind: bmc.ErrMalformed, Op: "GET " + path, Host: l.t.host, Err: err}
	}
	known := map[string]bool{}
	for _, o := range l.host.journal.others(nil) {
		known[o.uri] = true
	}
	l.mu.Lock()
	local := l.local
	l.mu.Unlock()
	unsure := false
	for _, m := range list.Members[:min(len(list.Members), 64)] {
		uri, err := l.t.requestPath(m.ID)
		if err != nil || known[uri] {
			continue
		}
		rep, err := l.wire(ctx, request{method: http.MethodGet, path: uri}, a)
		if err != nil {
			return "", err
		}
		var d struct {
			UserName string
			From     string `json:"ClientOriginIPAddress"`
		}
		if rep.status != http.StatusOK || json.Unmarshal(rep.body, &d) != nil || d.UserName != s.user {
			continue
		}
		from, err := netip.ParseAddr(d.From)
		if err == nil && from.Unmap() == local {
			return uri, nil
		}
		unsure = unsure || d.From == ""
	}
	if unsure {
		return "", &bmc.Error{Kind: bmc.ErrBusy, Op: "find our lost session", Host: l.t.host,
			Detail: "the BMC does not say from where its sessions are; it is left to end by itself"}
	}
	return "", nil
}

// logout gives the session back and ends the link. It works when ctx has ended, for a short time.
func (l *link) logout(ctx context.Context) error {
	l.mu.Lock()
	ended, strange, s, a := l.ended, l.strange, l.sess, auth{l.mode, l.token, l.gen}
	l.ended = true
	l.mu.Unlock()
	if ended {
		return nil
	}
	defer l.transport.CloseIdleConnections()
	if s.n == 0 {
		return nil
	}
	defer l.host.use(s.n, false)
	if strange { // the journal keeps the session for whoever proves the new certificate
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.t.Limits.LogoutTimeout)
	defer cancel()
	if s.uri == "" {
		return l.drop(ctx, a, s)
	}
	rep, err := l.wire(ctx, request{method: http.MethodDelete, path: s.uri}, a)
	if errors.Is(err, bmc.ErrPinChanged) {
		// Not an error of closing: the session stays in the journal, and the next login with the new
		// certificate gives it back.
		return nil
	}
	if err != nil {
		return err
	}
	// 401: the BMC has forgotten the session already, or ended it with a change of password.
	if rep.status >= 200 && rep.status < 300 || absent(rep.status) || rep.status == http.StatusUnauthorized || rep.status == http.StatusGone {
		return l.host.journal.closed(s.n)
	}
	return l.judge("DELETE "+s.uri, rep)
}

// reusable tells whether a pool may keep the login. A first contact is for one caller: the next one
// knows what certificate to expect.
func (l *link) reusable() bool {
	if l.t.pin == "" && l.t.cas == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.retired && !l.ended && !l.strange && !l.changeRequired
}
