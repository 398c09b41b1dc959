//go:build e2e

package kills

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// gate stands between the site's worker and what it asks beside BMCs: the API and Salt. It knows which
// machine a mutating call is for, keeps a journal of them, and holds answers as the box does for BMCs:
// before the call is passed on, or after it. Its rules, holds and entries are the box's.
type gate struct {
	mu      sync.Mutex
	known   map[string]string // a machine's name by its asset's ID, its MACs, tokens and minion
	journal []sim.Entry
	seen    map[string]bool // machine and call of those that are asked again until something happened
	rules   []*sim.Fault
	passed  map[string]int // of Skip, by rule
	holds   map[string]sim.Hold
	last    int
	kills   int // of the client
}

// Ways of the gate, in place of an HTTP method.
const (
	toAPI  = "API"
	toSalt = "SALT"
)

func newGate() *gate {
	return &gate{known: map[string]string{}, seen: map[string]bool{}, passed: map[string]int{}, holds: map[string]sim.Hold{}}
}

// option leads the site's worker through the gate.
func (g *gate) option(t *testing.T) func(string, map[string]any) {
	through := map[string]string{} // by way
	detour := func(way string, in map[string]any, calls func(*http.Request, []byte) (machine, call string)) {
		to, err := url.Parse(in["url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		if through[way] == "" {
			proxy := httputil.NewSingleHostReverseProxy(to)
			proxy.ErrorLog = log.New(io.Discard, "", 0) // clients that were killed
			srv := httptest.NewServer(g.handler(way, calls, proxy))
			t.Cleanup(srv.Close)
			through[way] = srv.URL
		}
		in["url"] = through[way]
	}
	return func(program string, c map[string]any) {
		if program != stack.Site {
			return
		}
		detour(toAPI, c["worker"].(map[string]any), g.apiCall)
		for _, site := range c["sites"].(map[string]any) {
			detour(toSalt, site.(map[string]any)["salt"].(map[string]any), g.saltCall)
		}
	}
}

func (g *gate) handler(way string, calls func(*http.Request, []byte) (machine, call string), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		machine, call := calls(r, body)
		if machine == "" {
			next.ServeHTTP(w, r)
			return
		}
		kills, first := g.enter(way, machine, call)
		if first && !g.hold(r.Context(), kills, way, machine, call, sim.Before) {
			return
		}
		got := httptest.NewRecorder()
		next.ServeHTTP(got, r.WithContext(context.WithoutCancel(r.Context()))) // what was passed on has its effect
		if got.Code < 300 && !g.hold(r.Context(), kills, way, machine, call, sim.After) {
			return
		}
		maps.Copy(w.Header(), got.Header())
		w.WriteHeader(got.Code)
		_, _ = w.Write(got.Body.Bytes()) // it is gone
	})
}

// enter writes a call into the journal, unless it was made before, to hear what became of it. It tells how often
// the client was killed before.
func (g *gate) enter(way, machine, call string) (kills int, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if asked := machine + " " + call; again.MatchString(call) {
		if g.seen[asked] {
			return g.kills, false
		}
		g.seen[asked] = true
	}
	g.journal = append(g.journal, sim.Entry{Time: time.Now(), Machine: machine, Kind: sim.KindRequest, Method: way, Path: call})
	return g.kills, true
}

// again are the calls that are made again until something happened.
var again = regexp.MustCompile(`^agent/(next|command|progress)\b`)

// hold keeps an answer back where a rule says so, until the client is gone; it tells whether the client is there.
// kills is what enter told.
func (g *gate) hold(ctx context.Context, kills int, way, machine, call, phase string) bool {
	g.mu.Lock()
	var rule *sim.Fault
	for _, f := range g.rules {
		if f.Fired > 0 || f.Machine != machine || f.Method != way || f.Phase != phase || f.Path != call {
			continue
		}
		if g.passed[f.ID] < f.Skip {
			g.passed[f.ID]++
			continue
		}
		rule = f
	}
	if rule == nil {
		g.mu.Unlock()
		return ctx.Err() == nil
	}
	rule.Fired = 1
	g.holds[rule.ID] = sim.Hold{Fault: rule.ID, Machine: machine, Method: way, Path: call, Phase: phase, Since: time.Now()}
	g.mu.Unlock()
	<-ctx.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.holds, rule.ID)
	if g.kills == kills { // it lost its patience: the next time counts
		rule.Fired = 0
		delete(g.seen, machine+" "+call)
	}
	return false
}

// The methods that the box's client has too.

func (g *gate) AddFault(_ context.Context, f sim.Fault) (sim.Fault, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	f.ID = fmt.Sprintf("g%d", g.last)
	g.rules = append(g.rules, &f)
	return f, nil
}

func (g *gate) Faults(context.Context) ([]sim.Fault, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []sim.Fault
	for _, f := range g.rules {
		out = append(out, *f)
	}
	return out, nil
}

func (g *gate) Holds(context.Context) ([]sim.Hold, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.holds)), nil
}

// kill kills the worker whose answers are held.
func (g *gate) kill(t *testing.T, s *stack.Stack) {
	t.Helper()
	g.mu.Lock()
	g.kills++
	g.mu.Unlock()
	s.Kill(stack.Site)
	s.Until(10*time.Second, "the gate sees that its client is gone", func() error {
		holds, err := g.Holds(t.Context())
		if err == nil && len(holds) > 0 {
			err = fmt.Errorf("%d requests are still held", len(holds))
		}
		return err
	})
}

// calls are the mutating calls for a machine, in their order.
func (g *gate) calls(machine string) []sim.Entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.journal), func(e sim.Entry) bool { return e.Machine != machine })
}

// knows tells the gate by what a machine is known.
func (g *gate) knows(s *stack.Stack) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, d := range s.Devices() {
		g.known[d.ID.String()] = name
	}
	for _, r := range s.Inner().Racks() {
		for _, m := range r.Machines() {
			g.known[m.Name] = m.Name
			for _, mac := range m.MACs {
				g.known[strings.ToLower(mac)] = m.Name
			}
		}
	}
}

// apiCall tells which machine a request to the API is for, and what it asks; none: it changes nothing.
func (g *gate) apiCall(r *http.Request, body []byte) (machine, call string) {
	call, is := strings.CutPrefix(r.URL.Path, "/v1/worker/")
	var q struct {
		Token, MAC, Mint, ID, Command, Step, Stage string
		Asset                                      json.Number
	}
	if !is || json.Unmarshal(body, &q) != nil {
		return "", ""
	}
	command := q.ID + q.Command // operation, asset, step, kind and attempt with dots between
	words := strings.Split(command, ".")
	g.mu.Lock()
	defer g.mu.Unlock()
	switch call {
	case "boot/lookup":
		if q.MAC == "" {
			return "", ""
		}
		machine = g.known[strings.ToLower(q.MAC)]
		g.known[q.Mint] = machine
	case "boot/open", "boot/close":
		machine, call = g.known[q.Asset.String()], call+" "+q.Step
	case "boot/event":
		machine, call = g.known[q.Token], call+" "+q.Stage
	case "agent/claim", "agent/next":
		machine = g.known[q.Token]
	case "agent/command", "agent/progress", "agent/result":
		if len(words) == 5 {
			machine, call = g.known[words[1]], call+" "+words[3]
		}
	case "secrets/propose", "secrets/promote":
		machine = g.known[q.Asset.String()]
	}
	return machine, call
}

// saltCall is the same of a request to Salt.
func (g *gate) saltCall(_ *http.Request, body []byte) (machine, call string) {
	var chunks []struct {
		Client, Fun string
		Tgt         []string
		Match       json.RawMessage
		Kwarg       struct{ Test bool }
	}
	if json.Unmarshal(body, &chunks) != nil || len(chunks) != 1 {
		return "", ""
	}
	c := chunks[0]
	var minion string
	switch c.Fun {
	case "state.apply":
		minion, call = strings.Join(c.Tgt, ","), fmt.Sprintf("%s test=%t", c.Fun, c.Kwarg.Test)
	case "key.delete":
		_ = json.Unmarshal(c.Match, &minion) // else it is for no machine
		call = c.Fun
	case "key.accept_dict":
		var match map[string][]string
		_ = json.Unmarshal(c.Match, &match)
		for _, ids := range match {
			minion = strings.Join(ids, ",")
		}
		call = c.Fun
	}
	host, _, _ := strings.Cut(minion, ".")
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[host], call
}
