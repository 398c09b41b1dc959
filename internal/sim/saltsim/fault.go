package saltsim

import (
	"fmt"
	"regexp"
	"sync"
)

// Actions of a fault.
const (
	ActStatus = "status" // answers Status with an HTML page, and does nothing
	ActReset  = "reset"  // resets the connection
	ActHang   = "hang"   // never answers
	ActHTML   = "html"   // answers 200 with a page for people
	ActBig    = "big"    // answers with more than anybody should read
	ActAnswer = "answer" // answers 200 with Body as the whole JSON
	ActForget = "forget" // forgets the token: 401
	ActLost   = "lost"   // the minion never hears of the job
	ActTexts  = "texts"  // the minion returns Body as a list of strings, with code 1
)

// Phases of a fault, seen from the call's effect.
const (
	Before = "before"
	After  = "after"
)

// Fault is a rule that spoils answers.
type Fault struct {
	Call   string // regular expression on "client function minion", unanchored; login is "login"
	Phase  string // before (default) or after the effect; lost and texts are part of it
	Action string
	Status int
	Body   string
	Count  int // how often it fires; 0 means once, negative for ever
	Skip   int // so many matching calls pass first

	call  *regexp.Regexp
	fired int
}

// faults is the list of rules.
type faults struct {
	mu    sync.Mutex
	rules []*Fault
}

// Fault adds a rule.
func (s *Server) Fault(f Fault) error {
	var err error
	if f.call, err = regexp.Compile(f.Call); err != nil {
		return fmt.Errorf("fault call %q: %w", f.Call, err)
	}
	if f.Phase == "" {
		f.Phase = Before
	}
	switch f.Action {
	case ActStatus:
		if f.Status < 400 || f.Status > 599 {
			return fmt.Errorf("fault status %d: use 400 to 599", f.Status)
		}
	case ActReset, ActHang, ActHTML, ActBig, ActAnswer, ActForget, ActLost, ActTexts:
	default:
		return fmt.Errorf("fault action %q is unknown", f.Action)
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.rules = append(s.faults.rules, &f)
	return nil
}

// ClearFaults drops every rule.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.rules = nil
}

// take counts and gives the first rule that fires for a call. Rules of the minion's side are asked
// for with phase "minion".
func (l *faults) take(call, phase string) *Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.rules {
		p := f.Phase
		if f.Action == ActLost || f.Action == ActTexts {
			p = "minion"
		}
		if p != phase || !f.call.MatchString(call) || f.Count >= 0 && f.fired >= max(1, f.Count) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.fired++
		c := *f
		return &c
	}
	return nil
}
