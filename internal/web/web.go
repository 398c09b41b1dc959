// Package web is the status dashboard: read-only pages for whoever is on call, and for the screen on
// the wall. They are made on the server, complete without JavaScript; a small script keeps them fresh.
//
// Words
//
//   - Page: one URL of the table in routes.go. It reads what it shows through ports (ports.go), fills a
//     model, and is rendered into a buffer before anything is written: a page is whole or an error page.
//   - Notice: what a page says about itself, e.g. that NetBox does not answer. A page without a part
//     still renders the rest; without PostgreSQL it is an error page that says what to do.
//   - Issue: what is wrong and why, with a remedy (package issue). Pages show issues; they judge nothing.
//   - Live: a stream of server-sent events that tells that something changed (live.go). The script
//     then fetches the same URL again and puts in what differs, so there is one way to render.
//   - Viewer: who looks. Until sign-in exists that is anybody on this machine, so pages answer on
//     loopback only, under loopback names only, and only to GET. Every read is narrowed to a viewer's
//     sites already; nothing here writes.
//
// Everything that is shown comes from elsewhere (names from NetBox, words of BMCs, evidence) and is
// hostile until escaped: html/template does that, no page builds markup from strings, and the content
// security policy runs nothing but our own script file.
//
// A Server is safe for concurrent use. Between requests it keeps the number of open streams and a
// short cache of what NetBox said.
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
)

// Options are what a Server works with. All fields are needed unless their comment says otherwise.
type Options struct {
	Store     Store
	Inventory Inventory
	Sites     []string // slugs that are configured
	Version   string
	Log       *slog.Logger
	Clock     func() time.Time // nil: time.Now
	// EventPoll is the pause between two looks for new events of a stream; 0: one second.
	EventPoll time.Duration
	// Observe, when set, is told of every request.
	Observe func(route string, status int, took time.Duration)
}

// Server is the pages as an http.Handler.
type Server struct {
	o       Options
	mux     *http.ServeMux
	pages   map[string]*template.Template
	assets  assets
	inv     *remembered
	streams atomic.Int64
}

// limits of one request.
const (
	pageTimeout  = 15 * time.Second // PostgreSQL answers in milliseconds; NetBox has its own limit below this
	writeTimeout = 30 * time.Second // for a phone at the end of a tunnel
)

// New makes a Server.
func New(o Options) (*Server, error) {
	if o.Store == nil || o.Inventory == nil || o.Log == nil {
		return nil, fmt.Errorf("web: New: Store, Inventory and Log must be given")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.EventPoll == 0 {
		o.EventPoll = time.Second
	}
	s := &Server{o: o, mux: http.NewServeMux(), inv: newRemembered(o.Inventory, o.Clock)}
	var err error
	if s.assets, err = readAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = parsePages(s.assets); err != nil {
		return nil, err
	}
	for _, r := range s.routes() {
		s.mux.HandleFunc("GET "+r.path, s.page(r))
	}
	s.mux.HandleFunc("GET /live", s.guarded(s.live))
	s.mux.HandleFunc("GET /static/{name}", s.guarded(s.static))
	s.mux.HandleFunc("/", s.page(route{path: "/", handle: func(c *call) (*page, error) {
		if c.Method != http.MethodGet && c.Method != http.MethodHead {
			return nil, fault.New(fault.Denied, "pages are only read: %s is not done here", c.Method)
		}
		e := fault.New(fault.NotFound, "there is no page %s", c.URL.Path)
		e.Remedy = "begin at the overview, or look for the machine by name"
		return nil, e
	}}))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// viewer is who looks. Sign-in will make one from a session; until then it is anybody on this machine.
type viewer struct {
	sites []string // slugs that may be seen; empty: all
}

func (v viewer) allows(site string) bool {
	if len(v.sites) == 0 {
		return true
	}
	for _, s := range v.sites {
		if s == site {
			return true
		}
	}
	return false
}

// call is one request.
type call struct {
	*http.Request
	viewer viewer
	now    time.Time
}

// policy runs our own script and style and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// guarded sets the headers that every answer has, and refuses whoever did not come from this machine
// under one of its own names: a name that somebody else's DNS points here would let their page read
// ours, and a proxy would show it to everybody whom the proxy serves.
func (s *Server) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		host, forwarded := loopbackHost(r.Host), r.Header.Get("Forwarded")+r.Header.Get("X-Forwarded-For")+r.Header.Get("X-Forwarded-Host")
		if host && forwarded == "" {
			next(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, refusal)
	}
}

const refusal = `Cagenut's pages have no sign-in yet, so they answer only on the machine that serves them,
asked as localhost, 127.0.0.1 or [::1], and not through a proxy.

From elsewhere use a tunnel: ssh -L 7780:127.0.0.1:7780 SERVER, then open http://localhost:7780/
`

// loopbackHost tells whether a Host header names this machine to itself.
func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// page wraps a route: time limit, rendering, error page, log.
func (s *Server) page(rt route) http.HandlerFunc {
	return s.guarded(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		c := &call{Request: r.WithContext(ctx), now: s.o.Clock().UTC()}
		status, err := s.answer(w, c, rt)
		took := time.Since(began)
		if s.o.Observe != nil {
			s.o.Observe("GET "+rt.path, status, took)
		}
		level := slog.LevelDebug
		if status >= 500 {
			level = slog.LevelWarn
		}
		s.o.Log.LogAttrs(ctx, level, "page", slog.String("path", r.URL.Path), slog.Int("status", status),
			slog.Duration("took", took), slog.Any("error", err))
	})
}

// answer renders a page, or the error page for why it could not. err goes to the log.
func (s *Server) answer(w http.ResponseWriter, c *call, rt route) (status int, err error) {
	status = http.StatusOK
	p, err := s.make(c, rt)
	var moved *redirect
	switch {
	case errors.As(err, &moved):
		http.Redirect(w, c.Request, moved.to, http.StatusSeeOther)
		return http.StatusSeeOther, nil
	case err != nil:
		p, status = s.failure(c, err)
	}
	var out bytes.Buffer
	if rendering := s.render(&out, c, p); rendering != nil {
		err, status = errors.Join(err, rendering), http.StatusInternalServerError
		out.Reset()
		p, _ = s.failure(c, rendering)
		if rendering := s.render(&out, c, p); rendering != nil {
			http.Error(w, "the page could not be rendered; look into the server's log", status)
			return status, errors.Join(err, rendering)
		}
	}
	if deadline := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)); deadline != nil && !errors.Is(deadline, http.ErrNotSupported) {
		return status, errors.Join(err, deadline)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if c.Method != http.MethodHead {
		if _, writing := w.Write(out.Bytes()); writing != nil {
			err = errors.Join(err, writing)
		}
	}
	return status, err
}

// redirect is an error that leads elsewhere.
type redirect struct{ to string }

func (r *redirect) Error() string { return "see " + r.to }

// make calls the route; a panic is an error.
func (s *Server) make(c *call, rt route) (p *page, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic in page %s: %v", rt.path, v)
		}
	}()
	return rt.handle(c)
}

// failure is the error page. Causes that nobody gave a code go to the log only.
func (s *Server) failure(c *call, err error) (*page, int) {
	f := translate(err)
	if errors.Is(err, context.DeadlineExceeded) && f.Code == fault.Internal {
		f = fault.Wrap(err, fault.StoreAway, "the page took too long")
	}
	if f.Code == fault.Internal {
		f = &fault.Error{Code: fault.Internal, Message: "this page failed on the server", Remedy: "look into the log of `cagenut serve`, and report it"}
	}
	status := wire.Status(f.Code)
	p := &page{Template: "error", Title: http.StatusText(status), Body: errorBody{Status: status, Fault: f, Path: c.URL.Path}}
	switch f.Code {
	case fault.StoreAway:
		p.Title = "PostgreSQL does not answer"
		p.Body = errorBody{Status: status, Path: c.URL.Path, Fault: &fault.Error{Code: f.Code, Remedy: f.Remedy,
			Message: "What the pages show is kept there. Nothing is lost: what was accepted goes on when it is back, and so does this page."}}
	case fault.InventoryAway:
		p.Title = "NetBox does not answer"
	case fault.NotFound:
		p.Title = "Not found"
	}
	return p, status
}

type errorBody struct {
	Status int
	Fault  *fault.Error
	Path   string
}
