// Package boot is what a site's worker serves to machines that boot over the network: iPXE scripts,
// the files that installers ask for, and the door for what machines and agents report.
//
// Words
//
//   - Record: why a machine boots and from what (operation.BootRecord). It comes through the API, and
//     is kept here for a moment only (cache.go).
//   - Token: the last part of a machine's one-time URL. Whoever opened the record made one; for a
//     machine that is known by its MAC alone, one is made here and the API told its SHA-256. Tokens
//     are never logged.
//   - Answer: what a machine boots: decided by operation.BootRecord.Answer from the record. Whatever
//     is in doubt (an unknown MAC, a closed record, an API that does not answer, a file that cannot be
//     rendered) boots the disk, and is reported; never an installer.
//   - Note: that a machine asked for its script, or for its answers. It is told to the run like what
//     the machine reports by itself, and tells "nothing asked for DHCP" from "the kernel came up, and
//     then nothing".
//
// A Server is safe for concurrent use. It starts no goroutines and keeps nothing that matters: a
// worker that is started anew, or another one beside it, answers the same.
package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/templates"
)

// API is what a Server needs of the control plane. Errors carry a fault code.
type API interface {
	// BootByToken gives the open record of a token: fault.NotFound, BootUsed, BootExpired, ForeignSite.
	BootByToken(ctx context.Context, sum operation.BootSum) (operation.BootRecord, error)
	// BootByMAC gives the open record of a machine, and makes a token good for it unless it is to boot
	// its disk: fault.NotFound, ForeignSite, Conflict.
	BootByMAC(ctx context.Context, mac string, mint operation.BootSum) (operation.BootRecord, error)
	// BootEvent keeps what a machine reported: those of BootByToken, and WrongMachine.
	BootEvent(ctx context.Context, sum operation.BootSum, stage string, body []byte, from string) (operation.Heard, error)
	AgentClaim(ctx context.Context, sum operation.BootSum, who operation.BootIdentity, from string) (operation.BootRecord, error)
	AgentNext(ctx context.Context, sum operation.BootSum, waitSec int) (*operation.AgentCommand, error)
	AgentProgress(ctx context.Context, sum operation.BootSum, command string, p operation.Progress) error
	AgentResult(ctx context.Context, sum operation.BootSum, command string, r operation.CommandResult, from string) (operation.AgentCommand, error)
}

// Options are what a Server works with.
type Options struct {
	API       API
	Templates *templates.Set
	Base      string           // where machines reach the Server: http(s)://host[:port]
	Log       *slog.Logger     // nil: slog.Default
	Clock     func() time.Time // nil: time.Now
	Keep      time.Duration    // how long a record is kept; 0: 2 seconds
	// PerSecond and Burst limit the requests of one address; 0: 20 and 100.
	PerSecond, Burst float64
	// Report, when set, is told of every machine that asked and was sent to its disk.
	Report func(Report)
}

// Report is a machine that was sent to its disk, and why.
type Report struct {
	At   time.Time
	MAC  string // empty: it had a token
	From string
	Why  string
	Code fault.Code // empty: all is well, it is just done
}

// Server answers booting machines.
type Server struct {
	o     Options
	mux   *http.ServeMux
	cache cache
	limit limiter

	mu     sync.Mutex
	minted map[string]string // MAC -> token
	noted  map[string]bool   // record and stage
}

// New makes a Server.
func New(o Options) (*Server, error) {
	if o.API == nil || o.Templates == nil || o.Base == "" {
		return nil, fmt.Errorf("boot: New: API, Templates and Base are needed; base is %q", o.Base)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Keep == 0 {
		o.Keep = 2 * time.Second
	}
	if o.PerSecond == 0 {
		o.PerSecond = 20
	}
	if o.Burst == 0 {
		o.Burst = 100
	}
	o.Base = strings.TrimSuffix(o.Base, "/")
	s := &Server{o: o, mux: http.NewServeMux(), minted: map[string]string{}, noted: map[string]bool{},
		cache: cache{keep: o.Keep}, limit: limiter{rate: o.PerSecond, burst: o.Burst}}
	s.mux.HandleFunc("GET /boot/mac/{mac}", s.machine)
	s.mux.HandleFunc("GET /boot/{token}/{file}", s.file)
	s.mux.HandleFunc("POST /boot/{token}/stage/{stage}", s.stage)
	s.mux.HandleFunc("POST /agent/v1/{token}/claim", s.claim)
	s.mux.HandleFunc("GET /agent/v1/{token}/next", s.next)
	s.mux.HandleFunc("POST /agent/v1/{token}/commands/{id}/progress", s.progress)
	s.mux.HandleFunc("POST /agent/v1/{token}/commands/{id}/result", s.result)
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.limit.allow(from(r), s.o.Clock()) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests from this address", http.StatusTooManyRequests)
		return
	}
	if r.Method == http.MethodPost {
		// A machine that sends its report a byte at a time holds a connection, not for ever.
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			s.o.Log.Debug("no deadline for a body", "error", err)
		}
	}
	s.mux.ServeHTTP(w, r)
}

// bodyTimeout is enough for a report of a megabyte over a slow management network.
const bodyTimeout = 30 * time.Second

// apiTimeout bounds what a machine waits for the API before it is sent to its disk; firmware gives
// up after some ten seconds.
const apiTimeout = 5 * time.Second

// record gives the record of a token.
func (s *Server) record(ctx context.Context, token string) (operation.BootRecord, error) {
	sum := operation.SumBootToken(token)
	return s.cache.get(byToken+string(sum), s.o.Clock(), func() (operation.BootRecord, error) {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		return s.o.API.BootByToken(ctx, sum)
	})
}

// recordOf gives the record of a MAC, with a token of its own.
func (s *Server) recordOf(ctx context.Context, mac string) (operation.BootRecord, string, error) {
	record, err := s.cache.get(byMAC+mac, s.o.Clock(), func() (operation.BootRecord, error) {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		token, fresh, err := s.tokenFor(mac, false)
		if err != nil {
			return operation.BootRecord{}, err
		}
		record, err := s.o.API.BootByMAC(ctx, mac, operation.SumBootToken(token))
		if !fresh && fault.From(err) != nil && fault.From(err).Code == fault.Conflict { // it was an earlier record's
			if token, _, err = s.tokenFor(mac, true); err != nil {
				return operation.BootRecord{}, err
			}
			record, err = s.o.API.BootByMAC(ctx, mac, operation.SumBootToken(token))
		}
		if now := s.o.Clock(); err == nil { // by its token too, so that a report makes both forgotten
			s.cache.put(byToken+string(operation.SumBootToken(token)), row{record: record, until: now.Add(s.o.Keep)}, now)
		}
		return record, err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return record, s.minted[mac], err
}

// remembered is how many machines' tokens and notes are kept: many more than a site has.
const remembered = 50_000

// tokenFor gives the token that was made for a MAC, or a fresh one.
func (s *Server) tokenFor(mac string, anew bool) (token string, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token = s.minted[mac]; token != "" && !anew {
		return token, false, nil
	}
	if token, _, err = operation.NewBootToken(); err != nil {
		return "", false, err
	}
	if len(s.minted) >= remembered {
		clear(s.minted)
	}
	s.minted[mac] = token
	return token, true, nil
}

// note tells the run once that a machine came this far. That it fails keeps no machine from booting.
func (s *Server) note(ctx context.Context, b operation.BootRecord, token, stage, body, from string) {
	key := fmt.Sprintf("%d/%s/%s", b.ID, stage, body)
	s.mu.Lock()
	if s.noted[key] {
		s.mu.Unlock()
		return
	}
	if len(s.noted) >= remembered {
		clear(s.noted)
	}
	s.noted[key] = true
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if _, err := s.o.API.BootEvent(ctx, operation.SumBootToken(token), stage, []byte(body), from); err != nil {
		s.mu.Lock()
		delete(s.noted, key)
		s.mu.Unlock()
		s.o.Log.Warn("not noted that a machine booted", "machine", b.Asset.Name, "operation", b.Operation, "stage", stage, "error", err)
	}
}

// base is the one-time URL of a token.
func (s *Server) base(token string) string { return s.o.Base + "/boot/" + token }

// status is what a failure is to a machine.
func status(f *fault.Error) int {
	switch f.Code {
	case fault.NotFound:
		return http.StatusNotFound
	case fault.BootUsed, fault.BootExpired:
		return http.StatusGone
	case fault.WrongMachine, fault.BootClaimed, fault.Conflict:
		return http.StatusConflict
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.ForeignSite, fault.Denied, fault.Unauthenticated:
		return http.StatusForbidden
	}
	if f.Class() == fault.Retry {
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// failed gives any error its fault. An API that does not answer in time is away.
func failed(err error) *fault.Error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fault.Wrap(err, fault.EngineAway, "the API does not answer in time")
	}
	return fault.From(err)
}

func from(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
