package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Actions of a fault.
const (
	ActStatus         = "status"          // answers Status with Body
	ActLatency        = "latency"         // answers after Delay
	ActHang           = "hang"            // never answers
	ActReset          = "reset"           // resets the connection
	ActDrip           = "drip"            // answers a byte every Delay
	ActHTML           = "html"            // answers 200 with a page for people
	ActMalformed      = "malformed"       // answers half of the JSON
	ActBig            = "big"             // answers with a body of Size bytes
	ActWrongSerial    = "wrong-serial"    // answers with Serial in place of the machine's
	ActStuckTask      = "stuck-task"      // does it, but the task never ends
	ActCertificate    = "certificate"     // shows another certificate from now on, and resets
	ActPowerIgnored   = "power-ignored"   // says yes to a reset and does nothing
	ActExpiredSession = "expired-session" // forgets the session that asks
	// Of hosts (host.go). Path is matched with the point of the host's way: dhcp, kernel, agent-claim, a
	// command's kind, or a stage.
	ActNoDHCP      = "no-dhcp"       // nobody answers at dhcp
	ActNoPhoneHome = "no-phone-home" // the kernel comes up, and then nothing
	ActHostHang    = "host-hang"     // stands still before it reports the point
	ActHostLost    = "host-lost"     // loses its power then
	ActWrongMAC    = "wrong-mac"     // says at the point that it has another machine's MAC
	ActUsedToken   = "used-token"    // uses the one-time URL of the boot before
	ActKeepsBoot   = "override-kept" // its BMC does not forget a boot override that was for once
	ActHostFails   = "host-fails"    // gives up at the point, and says so
	// Of the box's Salt.
	ActMinionLost  = "minion-lost"  // the minion never hears of the job
	ActMinionSays  = "minion-says"  // it returns Body, which is JSON, with code Status
	ActMinionHolds = "minion-holds" // it works on the job until that is killed

	ActHold = "hold" // keeps the answer back until released or the client is gone
)

// Phases of a fault or hold, seen from the request's effect.
const (
	Before = "before"
	After  = "after"
	Minion = "minion" // of the actions of minions alone
)

// NetBox is the name under which rules and holds know the box's NetBox. Of the actions it knows those
// that any web server can suffer: status, latency, hang, reset, html, malformed, hold.
const NetBox = "netbox"

// Salt is that of the box's Salt. Path is matched with "client function minion", or login. It knows status,
// latency, hang, reset, html, big, expired-session, hold and its own three.
const Salt = "salt"

// Fault is a rule that spoils answers. Empty selectors match everything.
type Fault struct {
	ID string `json:"id"` // given by the box
	// Machine is a machine's name, NetBox, or Salt. Empty: every BMC, and neither of these.
	Machine string `json:"machine"`
	Method  string `json:"method"`
	Path    string `json:"path"`  // regular expression on the path, unanchored; NetBox's has its query
	Phase   string `json:"phase"` // before (default) or after the request's effect
	Action  string `json:"action"`
	Count   int    `json:"count"` // how often it fires; 0 means once, negative for ever
	Skip    int    `json:"skip"`  // so many matching requests pass first
	// Mutating restricts the rule to requests that change something. Holds always are.
	Mutating bool `json:"mutating,omitempty"`

	Status  int    `json:"status,omitempty"`
	Body    string `json:"body,omitempty"`
	DelayMS int    `json:"delay_ms,omitempty"`
	Size    int    `json:"size,omitempty"`
	Serial  string `json:"serial,omitempty"`

	Fired int `json:"fired"` // counted by the box

	passed int // of Skip
	path   *regexp.Regexp
}

func (f *Fault) left() bool { return f.Count < 0 || f.Fired < max(1, f.Count) }

func (f *Fault) check() error {
	var err error
	if f.path, err = regexp.Compile(f.Path); err != nil {
		return fmt.Errorf("fault path %q: %w", f.Path, err)
	}
	minion := f.Action == ActMinionLost || f.Action == ActMinionSays || f.Action == ActMinionHolds
	switch {
	case minion && f.Machine != Salt:
		return fmt.Errorf("fault machine %q: %s is for %s", f.Machine, f.Action, Salt)
	case minion:
		f.Phase = Minion
	case f.Phase == "":
		f.Phase = Before
	}
	if f.Skip < 0 {
		return fmt.Errorf("fault skip %d: use 0 or more", f.Skip)
	}
	if f.Phase != Before && f.Phase != After && !minion {
		return fmt.Errorf("fault phase %q: use before or after", f.Phase)
	}
	if f.Machine == NetBox && !slices.Contains([]string{ActStatus, ActLatency, ActHang, ActReset, ActHTML, ActMalformed, ActHold}, f.Action) {
		return fmt.Errorf("fault action %q: NetBox does not suffer it", f.Action)
	}
	if f.Machine == Salt && !minion && !slices.Contains([]string{ActStatus, ActLatency, ActHang, ActReset, ActHTML, ActBig, ActExpiredSession, ActHold}, f.Action) {
		return fmt.Errorf("fault action %q: Salt does not suffer it", f.Action)
	}
	switch f.Action {
	case ActStatus:
		if f.Status < 100 || f.Status > 599 {
			return fmt.Errorf("fault status %d: use 100 to 599", f.Status)
		}
	case ActLatency, ActDrip:
		if f.DelayMS <= 0 {
			return fmt.Errorf("fault delay_ms %d: %s needs 1 or more", f.DelayMS, f.Action)
		}
	case ActWrongSerial:
		if f.Serial == "" {
			return fmt.Errorf("fault serial: %s needs one", f.Action)
		}
	case ActStuckTask, ActPowerIgnored, ActExpiredSession, ActCertificate:
		if f.Phase == After && f.Machine != Salt {
			return fmt.Errorf("fault phase after: %s happens before the effect", f.Action)
		}
	case ActHang, ActReset, ActHTML, ActMalformed, ActBig, ActHold:
	case ActMinionLost, ActMinionSays, ActMinionHolds:
	case ActNoDHCP, ActNoPhoneHome, ActHostHang, ActHostLost, ActWrongMAC, ActUsedToken, ActKeepsBoot, ActHostFails:
	default:
		return fmt.Errorf("fault action %q is unknown", f.Action)
	}
	return nil
}

// Hold is a request whose answer is kept back.
type Hold struct {
	ID      string    `json:"id"`
	Fault   string    `json:"fault"`
	Machine string    `json:"machine"`
	Method  string    `json:"method"`
	Path    string    `json:"path"`
	Phase   string    `json:"phase"`
	Since   time.Time `json:"since"`

	release chan struct{}
}

// Faults is the list of rules and of holds. The zero value is empty and ready; a box, its NetBox and its
// Salt share one, so that one admin API serves all. It is safe for concurrent use.
type Faults struct {
	mu    sync.Mutex
	last  int
	rules []*Fault
	holds []*Hold
	asked map[string]int // requests by machine
}

// Add adds a rule and gives it back with its ID.
func (l *Faults) Add(f Fault) (Fault, error) {
	if err := f.check(); err != nil {
		return Fault{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	f.ID, f.Fired = "f"+strconv.Itoa(l.last), 0
	l.rules = append(l.rules, &f)
	return f, nil
}

// Remove drops one rule, or all when id is empty; false when there is no such rule. Holds stay until they
// are released.
func (l *Faults) Remove(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.rules)
	l.rules = slices.DeleteFunc(l.rules, func(f *Fault) bool { return id == "" || f.ID == id })
	return len(l.rules) < n || id == ""
}

// List gives the rules with how often each fired.
func (l *Faults) List() []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Fault{}
	for _, f := range l.rules {
		out = append(out, *f)
	}
	return out
}

// Take counts and gives the rules that fire now, in the order in which they were added: at most one
// that ends the answer, after any number that only delay it.
func (l *Faults) Take(machine, method, path, phase string) []Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	if phase == Before {
		l.count(machine)
	}
	var out []Fault
	for _, f := range l.rules {
		mutating := method != http.MethodGet && method != http.MethodHead
		switch {
		case !f.left(), f.Phase != phase, f.OfHost(),
			f.Machine != machine && (f.Machine != "" || machine == NetBox || machine == Salt),
			f.Method != "" && !strings.EqualFold(f.Method, method),
			!mutating && (f.Mutating || f.Action == ActHold),
			!f.path.MatchString(path):
			continue
		case f.passed < f.Skip:
			f.passed++
			continue
		}
		f.Fired++
		out = append(out, *f)
		if f.Action != ActLatency && f.Action != ActHold {
			break
		}
	}
	return out
}

// OfHost tells that a rule is about a host, not about its BMC.
func (f *Fault) OfHost() bool {
	switch f.Action {
	case ActNoDHCP, ActNoPhoneHome, ActHostHang, ActHostLost, ActWrongMAC, ActUsedToken, ActKeepsBoot, ActHostFails:
		return true
	}
	return false
}

// takeHost counts a rule of a host and tells whether it fires at a point of the host's way.
func (l *Faults) takeHost(machine, action, point string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.rules {
		switch {
		case f.Action != action, !f.left(), f.Machine != "" && f.Machine != machine, !f.path.MatchString(point):
			continue
		case f.passed < f.Skip:
			f.passed++
			continue
		}
		f.Fired++
		return true
	}
	return false
}

// hold keeps a request until somebody releases it; it tells whether the client is still there.
func (l *Faults) hold(ctx context.Context, f Fault, machine, method, path string, now time.Time) bool {
	h := &Hold{Fault: f.ID, Machine: machine, Method: method, Path: path, Phase: f.Phase, Since: now, release: make(chan struct{})}
	l.mu.Lock()
	l.last++
	h.ID = "h" + strconv.Itoa(l.last)
	l.holds = append(l.holds, h)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.holds = slices.DeleteFunc(l.holds, func(x *Hold) bool { return x == h })
		l.mu.Unlock()
	}()
	select {
	case <-h.release:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *Faults) release(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.holds {
		if h.ID == id {
			close(h.release)
			l.holds = slices.Delete(l.holds, i, i+1)
			return true
		}
	}
	return false
}

func (l *Faults) waiting() []Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Hold{}
	for _, h := range l.holds {
		out = append(out, *h)
	}
	return out
}

// Spoil carries out a rule in place of, or ahead of, the answer of machine to method and path; it
// tells whether there is nothing left to answer.
func (l *Faults) Spoil(ctx context.Context, w http.ResponseWriter, rule Fault, machine, method, path string, now time.Time) bool {
	switch rule.Action {
	case ActHold:
		return !l.hold(ctx, rule, machine, method, path, now)
	case ActLatency:
		return !pause(ctx, time.Duration(rule.DelayMS)*time.Millisecond)
	case ActHang:
		<-ctx.Done()
		return true
	case ActReset:
		reset(w)
		return true
	case ActHTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, loginPage)
		return true
	case ActBig:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Padding":"`)
		block := bytes.Repeat([]byte("x"), 64<<10)
		for left := rule.Size; left > 0; left -= len(block) {
			if _, err := w.Write(block[:min(left, len(block))]); err != nil {
				return true
			}
		}
		_, _ = io.WriteString(w, `"}`)
		return true
	case ActStatus:
		kind := "application/json"
		if strings.HasPrefix(rule.Body, "<") { // a page, as proxies and crashed servers send it
			kind = "text/html"
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(rule.Status)
		_, _ = io.WriteString(w, rule.Body)
		return true
	}
	return false
}

const loginPage = "<!DOCTYPE html><html><head><title>Login</title></head><body><h1>Please log in</h1></body></html>\n"
