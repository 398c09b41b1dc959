// Package netboxsim is the box's NetBox: the part of NetBox 4.7's REST API that Cagenut's driver and
// the loader use, with state. It answers in the shapes of the real one (test/e2e/netbox compares the
// field sets of both), and the conformance suite of the inventory port runs against both.
//
// Words
//
//   - Kind: what NetBox calls a model, with its path, fields, filters and rules, as data (kinds.go).
//   - Object: one row of a kind. Fields hold plain values; references are IDs.
//   - Transaction: what one request reads and changes (tx.go). It becomes visible and durable as a
//     whole, or not at all.
//   - Rule: a sim.Fault for machine "netbox" spoils answers, or holds them before or after the
//     transaction, as those of BMCs do.
//   - Journal: a file of transactions, one JSON line each (store.go). A line is on disk (fsync) before
//     the request is answered, so that the server may be killed at any moment; a line that was cut is
//     dropped at the next start, and nobody had an answer for it.
//
// It knows no web pages, no GraphQL, no PUT, no background jobs, and it delivers no webhooks. It is as
// strict as NetBox where a client could do harm: unknown fields of custom data, references to nothing,
// choices that do not exist, stale ETags (412), tokens and permissions (403).
//
// A Server is safe for concurrent use: requests take turns.
package netboxsim

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
)

// Version is the NetBox version that the server says it is.
const Version = "4.7.3"

// Options are how to open a server.
type Options struct {
	// Dir is where the state is kept. Empty: in memory only.
	Dir string
	// AdminToken is the token of the superuser "admin": v1, or v2 as nbt_<key>.<secret>. Required.
	AdminToken string
	// Clock gives the time of changes. Nil: the system's.
	Clock func() time.Time
	// Faults are rules that spoil answers; those for machine sim.NetBox count. Nil: none.
	Faults *sim.Faults
}

// Server is the box's NetBox. It is an http.Handler; paths start with /api/.
type Server struct {
	mu    sync.Mutex
	state *state
	store *store // nil: in memory
	clock func() time.Time
	admin string
	rules *sim.Faults // nil: none
}

// Open loads the state of a folder, or makes an empty one with the account admin.
func Open(o Options) (*Server, error) {
	if o.AdminToken == "" {
		return nil, fmt.Errorf("open the box's NetBox: no token for its administrator")
	}
	s := &Server{state: newState(), clock: o.Clock, admin: o.AdminToken, rules: o.Faults}
	if s.clock == nil {
		s.clock = time.Now
	}
	if o.Dir != "" {
		var err error
		if s.store, err = openStore(o.Dir, s.state); err != nil {
			return nil, fmt.Errorf("open the box's NetBox: %w", err)
		}
	}
	if len(s.state.objects["users/users/"]) == 0 {
		tx := s.begin(nil)
		tx.put(&object{Kind: "users/users/", Data: map[string]any{
			"username": "admin", "first_name": "", "last_name": "", "email": "admin@example.com", "is_active": true, "is_superuser": true}})
		if err := s.commit(tx); err != nil {
			return nil, fmt.Errorf("open the box's NetBox: %w", err)
		}
	}
	return s, nil
}

// Close closes the journal. Requests after it fail.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	return s.store.close()
}

// ServeHTTP answers one request. Requests take turns, but for those that a rule keeps waiting.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("API-Version", Version[:strings.LastIndexByte(Version, '.')])
	if s.rules != nil { // only after its body was read does net/http notice that a client is gone
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		if err != nil {
			refuse(http.StatusBadRequest, "%v", err).write(w, r, false)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	cut, done := s.spoil(w, r, sim.Before)
	if done {
		return
	}
	s.mu.Lock()
	a := s.answer(r)
	s.mu.Unlock()
	cutAfter, done := s.spoil(w, r, sim.After)
	if done {
		return
	}
	a.write(w, r, cut || cutAfter)
}

// spoil carries out the rules of a phase. cut: the answer is to be sent in half; done: there is none
// to send any more.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, phase string) (cut, done bool) {
	if s.rules == nil {
		return false, false
	}
	path := r.URL.RequestURI()
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	for _, rule := range s.rules.Take(sim.NetBox, r.Method, path, phase) {
		if rule.Action == sim.ActMalformed {
			cut = true
		} else if s.rules.Spoil(r.Context(), w, rule, sim.NetBox, r.Method, path, s.clock()) {
			return cut, true
		}
	}
	return cut, false
}

// answer is one HTTP answer. body is JSON, unless page is set.
type answer struct {
	status int
	etag   string
	body   any
	page   string // title of an HTML page
}

// refuse is an answer that NetBox gives as {"detail": ...}.
func refuse(status int, format string, args ...any) answer {
	return answer{status: status, body: map[string]any{"detail": fmt.Sprintf(format, args...)}}
}
