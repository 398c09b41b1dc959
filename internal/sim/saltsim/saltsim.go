// Package saltsim is the box's Salt: the part of salt-api (rest_cherrypy, Salt 3008) that Cagenut's
// driver uses, with a master's key ring and job cache and any number of minions behind it. It answers
// in the shapes of the real one, its oddities included, and the conformance suite of the
// configuration-management port runs against both.
//
// Words
//
//   - Minion: a host's agent with its key. Start is the agent's start: its key goes to the pending
//     keys, or to the denied ones when the ID is taken. A minion that was stopped is silent. One that
//     starts with another key is a new system: nothing was ever applied to it.
//   - SLS: a file of states, as data: what each would change, which fail, and with which words.
//   - Job: one run on one minion. Its result is settled when it starts and shown when it is due: after
//     SLS.Takes, or when Free is called for one that holds.
//   - Event: one change. The journal holds them, one JSON line each, fsynced before the answer, so
//     that the server may be killed at any moment and opened again on the same folder. A line that
//     was cut is dropped: nobody had an answer for it.
//   - Fault: a rule that spoils answers a number of times; see package sim.
//
// Tokens are kept in memory alone: after a restart everybody logs in again, as with the real one.
//
// A Server is safe for concurrent use: requests take turns, but for the ones that a fault keeps back.
package saltsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/sim"
)

// Options are how to open a server. User and Password are required.
type Options struct {
	User, Password string
	Files          map[string]SLS // by SLS name
	// Top are the SLS names of every minion's highstate.
	Top []string
	// Dir is where the journal is kept. Empty: in memory only.
	Dir string
	// Clock gives the time. Nil: the system's.
	Clock func() time.Time
	// Facts gives what a host tells of itself; nil or false: a Debian 12 without links. Its clock is
	// Clock with Facts.Clock.Skew, an address that Facts.Reached does not deny is reached, and a service
	// that Facts.Services does not have runs when a state of Files keeps it running.
	Facts func(id string) (configmgmt.Facts, bool)
	// Faults are rules that spoil answers; those for machine sim.Salt count. Nil: its own.
	Faults *sim.Faults
}

// SLS is a file of states.
type SLS struct {
	States []State
	Render string        // not empty: the words with which it does not render
	Takes  time.Duration // of a run
	Hold   bool          // a run lasts until Free
}

// State is one state of an SLS.
type State struct {
	ID      string
	Module  string // file
	Func    string // managed
	Name    string // empty: the ID
	Changes bool   // changes something on each host once
	Always  bool   // changes something each time, and leaves a mark
	Fail    string // not empty: the words with which it fails
	Needs   string // ID of a state before it that must be well
}

// Minion is what a minion is and did.
type Minion struct {
	Key     string          // PEM, with which it speaks
	Up      bool            // it answers
	Applied map[string]bool // "sls/ID" of what it changed
	Marks   map[string]int  // "sls/ID": how often, in real runs, of states that always change
	Runs    int             // state runs that came to the states, test runs included
	Free    bool            // its runs do not hold
	seen    map[string]bool // job IDs since its start: it runs each once
}

// job is a run in the master's job cache.
type job struct {
	ID      string
	Minion  string
	Args    json.RawMessage
	Meta    json.RawMessage
	Result  json.RawMessage // as the minion returns it
	Retcode int
	Due     time.Time
	Hold    bool
	Gone    bool // no result will come
}

// Server is the box's Salt. It is an http.Handler.
type Server struct {
	o       Options
	journal *journal // nil: in memory
	faults  *sim.Faults

	mu      sync.Mutex
	tokens  map[string]bool
	last    int                          // of tokens and inner job IDs
	keys    map[string]map[string]string // list, ID, PEM
	minions map[string]*Minion
	jobs    map[string]*job
}

// The lists of keys.
const (
	accepted = "minions"
	pending  = "minions_pre"
	rejected = "minions_rejected"
	denied   = "minions_denied"
)

// Open loads the state of a folder, or makes an empty one.
func Open(o Options) (*Server, error) {
	if o.User == "" || o.Password == "" {
		return nil, fmt.Errorf("open the box's Salt: no user or no password")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Faults == nil {
		o.Faults = &sim.Faults{}
	}
	s := &Server{o: o, faults: o.Faults, tokens: map[string]bool{}, minions: map[string]*Minion{}, jobs: map[string]*job{},
		keys: map[string]map[string]string{accepted: {}, pending: {}, rejected: {}, denied: {}}}
	if o.Dir != "" {
		var err error
		if s.journal, err = openJournal(o.Dir, s.apply); err != nil {
			return nil, fmt.Errorf("open the box's Salt: %w", err)
		}
	}
	return s, nil
}

// Close closes the journal. Changes after it fail.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	return s.journal.close()
}

// Key makes a public key from a seed, as far as anybody here looks at one: text between dashes.
func Key(seed string) string {
	var raw []byte
	for i := range 10 {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, i))
		raw = append(raw, sum[:]...)
	}
	var b strings.Builder
	b.WriteString("-----BEGIN PUBLIC KEY-----\n")
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(raw[:294])), 64) {
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteString("-----END PUBLIC KEY-----")
	return b.String()
}

// Fingerprint is what a minion says of its key, and its host phones home: SHA-256 over the lines
// between the dashes, in pairs of digits with colons.
func Fingerprint(key string) string {
	lines := strings.Split(strings.TrimSpace(key), "\n")
	sum := sha256.Sum256([]byte(strings.Join(lines[1:len(lines)-1], "\n") + "\n"))
	pairs := make([]string, 0, len(sum))
	for _, b := range sum {
		pairs = append(pairs, fmt.Sprintf("%02x", b))
	}
	return strings.Join(pairs, ":")
}

// Start starts a minion with a key: it asks the master to be let in.
func (s *Server) Start(id, key string) error {
	return s.change(event{Kind: "start", Minion: id, Key: key})
}

// Stop ends a minion in the middle of whatever it does.
func (s *Server) Stop(id string) error { return s.change(event{Kind: "stop", Minion: id}) }

// Reject moves a pending key to the rejected ones, as an administrator of the master would.
func (s *Server) Reject(id string) error { return s.change(event{Kind: "reject", Minion: id}) }

// Free lets the runs of a minion that hold, and all later ones, come to their end.
func (s *Server) Free(id string) error { return s.change(event{Kind: "free", Minion: id}) }

// Hold makes later runs of SLS files that hold do so again. A new minion is like that.
func (s *Server) Hold(id string) error { return s.change(event{Kind: "hold", Minion: id}) }

// Restart is salt-api's restart: every token is forgotten.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Minion tells about a minion; false: there is none.
func (s *Server) Minion(id string) (Minion, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.minions[id]
	if !ok {
		return Minion{}, false
	}
	c := *m
	c.Applied, c.Marks, c.seen = maps.Clone(m.Applied), maps.Clone(m.Marks), nil
	return c, true
}

// Keys gives the IDs of a list of keys: minions, minions_pre, minions_denied or minions_rejected.
func (s *Server) Keys(list string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.keys[list]))
}

// change is apply for callers that do not hold the lock.
func (s *Server) change(e event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.do(e)
}

// do makes a change: on the disk first, then in memory.
func (s *Server) do(e event) error {
	e.Time = s.o.Clock().UTC()
	if s.journal != nil {
		if err := s.journal.write(e); err != nil {
			return err
		}
	}
	s.apply(e)
	return nil
}

// event is one change.
type event struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Minion  string    `json:"minion"`
	Key     string    `json:"key,omitempty"`
	Job     *job      `json:"job,omitempty"`
	Applied []string  `json:"applied,omitempty"`
	Marks   []string  `json:"marks,omitempty"`
	Ran     bool      `json:"ran,omitempty"`
}

func (s *Server) apply(e event) {
	m := s.minions[e.Minion]
	switch e.Kind {
	case "start":
		if m == nil || m.Key != e.Key {
			m = &Minion{Applied: map[string]bool{}, Marks: map[string]int{}}
			s.minions[e.Minion] = m
			s.end(e) // what the old system worked on
		}
		m.Key, m.Up, m.seen = e.Key, true, map[string]bool{}
		s.knock(e.Minion, m)
	case "stop":
		if m != nil {
			m.Up = false
			s.end(e)
		}
	case "accept":
		s.keys[accepted][e.Minion] = s.keys[pending][e.Minion]
		delete(s.keys[pending], e.Minion)
	case "reject":
		s.keys[rejected][e.Minion] = s.keys[pending][e.Minion]
		delete(s.keys[pending], e.Minion)
	case "delete":
		for _, list := range s.keys {
			delete(list, e.Minion)
		}
		if m != nil && m.Up { // it is shut out, asks again, and stands among the pending
			s.knock(e.Minion, m)
		}
	case "job":
		s.jobs[e.Job.ID] = e.Job
		m.seen[e.Job.ID] = true
		for _, a := range e.Applied {
			m.Applied[a] = true
		}
		for _, a := range e.Marks {
			m.Marks[a]++
		}
		if e.Ran {
			m.Runs++
		}
	case "hold", "free":
		if m != nil {
			m.Free = e.Kind == "free"
		}
		if e.Kind == "hold" {
			return
		}
		for _, j := range s.jobs {
			if j.Minion == e.Minion && j.Hold {
				j.Hold, j.Due = false, e.Time
			}
		}
	case "kill":
		s.end(e)
	}
}

// knock is a minion's first word to the master.
func (s *Server) knock(id string, m *Minion) {
	known := s.keys[accepted][id]
	switch {
	case known == m.Key || s.keys[rejected][id] != "":
	case known != "":
		s.keys[denied][id] = m.Key
		m.Up = false // the real one exits
	case s.keys[pending][id] != "" && s.keys[pending][id] != m.Key:
		s.keys[denied][id] = m.Key
	default:
		s.keys[pending][id] = m.Key
	}
}

// end ends the unfinished runs of a minion, or the one that the event names.
func (s *Server) end(e event) {
	for _, j := range s.jobs {
		if j.Minion == e.Minion && (e.Job == nil || e.Job.ID == j.ID) && !j.done(e.Time) {
			j.Gone, j.Hold = true, false
		}
	}
}

// done tells whether a job's result is there.
func (j *job) done(now time.Time) bool { return !j.Gone && !j.Hold && !now.Before(j.Due) }

// works tells whether a minion works on a job.
func (j *job) works(now time.Time) bool { return !j.Gone && !j.done(now) }
