// Package api is the HTTP API: the only door through which people, pages and site workers reach the
// control plane. It decides who may ask, turns targets into a plan, stores what was asked for, and
// passes operators' commands on. It never runs a step.
//
// Words
//
//   - Route: one endpoint with the role it needs and its limits (routes.go). The OpenAPI document is
//     made from the same table.
//   - Caller: who asks: a token with a person, a role and sites. Everything that is shown or changed
//     is narrowed to the caller's sites.
//   - Port: what the API needs of others (ports.go); it imports no adapter, workflow or activity.
//   - Problem: how a failure looks outside (package wire): a fault code with message and remedy.
//
// A Server is safe for concurrent use and holds no state between requests but the number of open
// event streams. What it answers is computed from the store, so any number of servers can stand
// side by side.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

// Options are what a Server works with. All fields are needed unless their comment says otherwise.
type Options struct {
	Store     Store
	Steerer   Steerer
	Inventory inventory.Source
	Secrets   Secrets
	Firmware  Firmware
	Planner   Planner
	Profiles  func() ([]profile.Profile, error) // reads the folder anew; error is config.Problems
	Sites     []string                          // slugs that are configured
	Window    func(site string) int             // machines at once, by site
	// RackWindow is how many machines of one rack are worked on at once, by site; 0 and nil: as many as
	// the window.
	RackWindow func(site string) int
	// Domain completes machines' names in DNS, by site; nil: none has one.
	Domain func(site string) string
	// OOBPrefixes are the networks in which the worker of a site dials BMCs; nil: not compared.
	OOBPrefixes func(site string) []netip.Prefix
	Setup       inventory.SetupOptions // what `netbox setup` needs beside the token
	// Ready are the checks behind /readyz; Doctor those behind `cagenut doctor`, beside the API's own.
	Ready  []config.Check
	Doctor []config.Check
	// Metrics serves /metrics; nil: not served. Observe, when set, is told of every request.
	Metrics http.Handler
	Observe func(route string, status int, took time.Duration)

	Version     string
	MaxFirmware int64 // bytes; 0: 2 GiB
	Log         *slog.Logger
	Clock       func() time.Time // nil: time.Now
	// EventPoll is the pause between two looks for new events of a stream; 0: 300 ms.
	EventPoll time.Duration
}

// Server is the API as an http.Handler.
type Server struct {
	o       Options
	mux     *http.ServeMux
	openapi []byte
	streams atomic.Int64
}

// New makes a Server.
func New(o Options) (*Server, error) {
	if o.Store == nil || o.Steerer == nil || o.Inventory == nil || o.Secrets == nil || o.Firmware == nil ||
		o.Planner == nil || o.Profiles == nil || o.Window == nil || o.Log == nil {
		return nil, fmt.Errorf("api: New: every port must be given: %+v", missing(o))
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.EventPoll == 0 {
		o.EventPoll = 300 * time.Millisecond
	}
	if o.MaxFirmware == 0 {
		o.MaxFirmware = 2 << 30
	}
	s := &Server{o: o, mux: http.NewServeMux()}
	routes := s.routes()
	doc, err := json.Marshal(openAPI(routes, o.Version))
	if err != nil {
		return nil, fmt.Errorf("api: OpenAPI document: %w", err)
	}
	s.openapi = doc
	for _, r := range routes {
		s.mux.HandleFunc(r.method+" "+r.path, s.handle(r))
	}
	if o.Metrics != nil {
		s.mux.Handle("GET /metrics", o.Metrics)
	}
	s.mux.HandleFunc("/", s.handle(route{path: "/", handle: func(_ http.ResponseWriter, r *call) error {
		return fault.New(fault.NotFound, "no endpoint %s %s; /openapi.json lists them", r.Method, r.URL.Path)
	}}))
	return s, nil
}

func missing(o Options) (names []string) {
	for name, isNil := range map[string]bool{"Store": o.Store == nil, "Steerer": o.Steerer == nil, "Inventory": o.Inventory == nil,
		"Secrets": o.Secrets == nil, "Firmware": o.Firmware == nil, "Planner": o.Planner == nil, "Profiles": o.Profiles == nil,
		"Window": o.Window == nil, "Log": o.Log == nil} {
		if isNil {
			names = append(names, name)
		}
	}
	return names
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Has tells whether the API has an endpoint for a request, so that others may answer the rest.
func (s *Server) Has(r *http.Request) bool {
	_, pattern := s.mux.Handler(r)
	return pattern != "" && pattern != "/"
}

// HTTPServer is an http.Server with the API's time-outs. Bodies and answers have their own limits by
// route, since a firmware upload lasts longer than a question.
func (s *Server) HTTPServer(addr string) *http.Server {
	return &http.Server{
		Addr: addr, Handler: s,
		ReadHeaderTimeout: 10 * time.Second, // slow senders of headers hold a connection, not more
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelWarn),
	}
}

// call is one request with its caller.
type call struct {
	*http.Request
	id     string
	caller operation.Token
}

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// handle wraps a route: request ID, limits, authentication, log, problems, panics.
func (s *Server) handle(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		began := s.o.Clock()
		c := &call{Request: req, id: req.Header.Get(wire.RequestID)}
		if !requestIDForm.MatchString(c.id) {
			c.id = ulid.Make().String()
		}
		w.Header().Set(wire.RequestID, c.id)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		rec := &recorder{ResponseWriter: w}
		err := s.serve(rt, rec, c)
		if err != nil {
			s.problem(rec, c, rt, err)
		}
		took := s.o.Clock().Sub(began)
		if s.o.Observe != nil {
			s.o.Observe(rt.method+" "+rt.path, rec.status, took)
		}
		level := slog.LevelInfo
		if rt.quiet && rec.status < 400 {
			level = slog.LevelDebug
		}
		s.o.Log.LogAttrs(req.Context(), level, "request", slog.String("method", req.Method), slog.String("path", req.URL.Path),
			slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", took),
			slog.String("person", c.caller.Person), slog.String("request_id", c.id))
	}
}

func (s *Server) serve(rt route, w http.ResponseWriter, c *call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares the value of a panic, too
				panic(p)
			}
			err = fmt.Errorf("panic in %s %s: %v", rt.method, rt.path, p)
		}
	}()
	if rt.role != "" {
		if c.caller, err = s.authenticate(c); err != nil {
			return err
		}
		if !c.caller.Role.Allows(rt.role) && (!rt.worker || c.caller.Role != operation.Worker) {
			return fault.New(fault.Denied, "%s %s needs the role %s; token %s of %s has %s",
				c.Method, c.URL.Path, rt.role, c.caller.ID, c.caller.Person, c.caller.Role)
		}
	}
	timeout, limit := rt.timeout, rt.limit
	if timeout == 0 {
		timeout = time.Minute
	}
	if limit == 0 {
		limit = 1 << 20
	}
	c.Body = http.MaxBytesReader(w, c.Body, limit)
	control := http.NewResponseController(w)
	if timeout > 0 {
		ctx, cancel := context.WithTimeout(c.Context(), timeout)
		defer cancel()
		c.Request = c.WithContext(ctx)
		deadline := time.Now().Add(timeout + 5*time.Second)
		if err := errors.Join(control.SetReadDeadline(deadline), control.SetWriteDeadline(deadline)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("set deadlines: %w", err)
		}
	}
	return rt.handle(w, c)
}

// problem answers with a failure. Causes go to the log, not to the caller.
func (s *Server) problem(w *recorder, c *call, rt route, err error) {
	f := translate(err)
	if errors.Is(err, context.DeadlineExceeded) && f.Code == fault.Internal {
		f = fault.Wrap(err, fault.Deadline, "%s %s took too long", c.Method, c.URL.Path)
		f.Remedy = "ask for less at once, or look with `cagenut doctor` at what is slow"
	}
	if f.Code == fault.Internal {
		s.o.Log.ErrorContext(c.Context(), "request failed", "route", rt.method+" "+rt.path, "request_id", c.id, "error", err)
		f = &fault.Error{Code: fault.Internal, Message: "the server failed on this request",
			Remedy: "look for request " + c.id + " in the server's log and report it"}
	}
	if w.status != 0 {
		return // the answer had begun; the connection ends short of its length
	}
	if f.Code == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="cagenut"`)
	}
	p := wire.ProblemOf(f, c.id)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Content-Type", wire.ContentProblem)
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		s.o.Log.DebugContext(c.Context(), "problem not delivered", "request_id", c.id, "error", err)
	}
}

// recorder notes status and size for the log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the real writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// answer writes JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// question reads a JSON body, strictly: unknown fields and trailing data are Invalid.
func question[T any](c *call) (T, error) {
	var v T
	dec := json.NewDecoder(c.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(&v)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("more than one JSON value")
		}
	}
	var tooBig *http.MaxBytesError
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &tooBig):
		return v, fault.New(fault.Invalid, "the body is larger than %d bytes", tooBig.Limit)
	}
	return v, fault.Wrap(err, fault.Invalid, "the body is not the JSON that this endpoint takes: %v", strings.TrimPrefix(err.Error(), "json: "))
}
