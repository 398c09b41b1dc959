package temporaldev_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/workflows"
)

// ledger stands in for PostgreSQL and for the machines: it keeps claims and transitions as the store
// does, counts every effect, and notes what must never happen. It is safe for concurrent use.
type ledger struct {
	mu       sync.Mutex
	steps    []plan.Step
	owner    map[asset.ID]string // run ID
	story    map[asset.ID][]operation.Transition
	effects  map[string]int            // asset/step: how often it was done
	refused  map[asset.ID]*fault.Error // runs that another operation could not start
	problems []string
}

func newLedger(steps ...plan.Step) *ledger {
	return &ledger{steps: steps, owner: map[asset.ID]string{}, story: map[asset.ID][]operation.Transition{}, effects: map[string]int{},
		refused: map[asset.ID]*fault.Error{}}
}

func (l *ledger) problem(format string, args ...any) {
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// Claim takes a run, as Store.Claim says.
func (l *ledger) Claim(_ context.Context, r activities.ClaimRequest) (activities.Claim, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := r.Asset
	if owner := l.owner[key]; owner != "" && owner != r.RunID {
		return activities.Claim{}, operation.AsTemporal(fault.New(fault.Locked, "asset %s is claimed by another run", r.Asset))
	}
	l.owner[key] = r.RunID
	return activities.Claim{
		Target: plan.Target{
			Asset: asset.Ref{ID: r.Asset, Name: "srv-" + r.Asset.String(), Serial: "SN" + r.Asset.String(), Site: "ams01"},
			BMC:   plan.BMC{Protocol: "redfish", Address: "192.0.2.1", Account: "root"},
			Steps: l.steps,
		},
		LastSeq: int64(len(l.story[r.Asset])),
	}, nil
}

// Record keeps a transition once; a gap is a problem.
func (l *ledger) Record(_ context.Context, t operation.Transition) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := int64(len(l.story[t.Asset]))
	switch {
	case last > 0 && l.story[t.Asset][0].Operation != t.Operation: // PostgreSQL keeps them apart
		l.refused[t.Asset] = t.Error
		return nil
	case t.Seq <= last:
		return nil
	case t.Seq > last+1:
		l.problem("asset %s: transition %d after %d", t.Asset, t.Seq, last)
	}
	l.story[t.Asset] = append(l.story[t.Asset], t)
	return nil
}

// look tells how often something was done.
func (l *ledger) look(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.effects[what]
}

// do is an effect outside; it counts.
func (l *ledger) do(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.effects[what]++
}

// states counts the runs by their last state.
func (l *ledger) states() map[operation.State]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[operation.State]int{}
	for _, s := range l.story {
		out[s[len(s)-1].State]++
	}
	return out
}

// last is a run's last transition.
func (l *ledger) last(id asset.ID) operation.Transition {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.story[id]
	if len(s) == 0 {
		return operation.Transition{}
	}
	return s[len(s)-1]
}

// outside is what the activities of this test need; a ledger here, or one in another process.
type outside interface {
	Claim(ctx context.Context, r activities.ClaimRequest) (activities.Claim, error)
	Record(ctx context.Context, t operation.Transition) error
	observe(ctx context.Context, what string) (int, error)
	effect(ctx context.Context, what string) error
}

func (l *ledger) observe(_ context.Context, what string) (int, error) { return l.look(what), nil }
func (l *ledger) effect(_ context.Context, what string) error         { l.do(what); return nil }

// steps are no-op steps that observe before they act, one kind a way of ending.
type steps struct{ to outside }

// The kinds.
const (
	kindTouch = "touch" // one effect
	kindSlow  = "slow"  // asks to be called again, then one effect
	kindRound = "round" // an effect in each of two rounds
	kindFirst = "first" // fails in its first attempt
	kindStuck = "stuck" // never ends
)

func (s steps) Step(ctx context.Context, c activities.Call) (activities.Result, error) {
	what := fmt.Sprintf("%s/%s", c.Asset.ID, c.Step.Name)
	if c.Undo {
		what += " undone"
	}
	switch {
	case c.Step.Kind == plan.KindDiagnose:
		return activities.Result{}, operation.AsTemporal(fault.New(fault.Unsupported, "no log"))
	case c.Undo, c.Step.Kind == plan.KindStop:
	case c.Step.Kind == kindFirst && c.Attempt == 1:
		return activities.Result{}, operation.AsTemporal(fault.New(fault.NotApplied, "the first attempt of %s fails", what))
	case c.Step.Kind == kindStuck, c.Step.Kind == plan.KindConfigure:
		return again("stuck", time.Second, false), nil
	case c.Step.Kind == kindSlow && c.Handle == nil:
		return again("waiting", 50*time.Millisecond, false), nil
	case c.Step.Kind == kindRound:
		what += fmt.Sprintf(" round %d", c.Round)
	}
	n, err := s.to.observe(ctx, what)
	if err != nil {
		return activities.Result{}, err
	}
	if n == 0 {
		if err := s.to.effect(ctx, what); err != nil {
			return activities.Result{}, err
		}
	}
	if c.Step.Kind == kindRound && c.Round == 1 {
		return again("still different", 0, true), nil
	}
	return activities.Result{Done: &activities.Done{Changed: n == 0, Summary: what}}, nil
}

func again(text string, after time.Duration, round bool) activities.Result {
	return activities.Result{Again: &activities.Again{
		After: after, Handle: json.RawMessage(`{"phase":"on"}`), Progress: operation.Progress{Text: text, Percent: -1}, NewRound: round,
	}}
}

func noop(name, kind string, change ...func(*plan.Step)) plan.Step {
	s := plan.Step{
		Name: name, Kind: kind, Version: 1, Title: "Do " + name, Mode: plan.Act, Place: plan.Site, Undo: plan.Reversible,
		DeadlineSec: 3600, Policy: workflows.PolicyBMCRead, Writes: []plan.Write{},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func central(s *plan.Step)     { s.Place, s.Policy = plan.Central, workflows.PolicyNetBox }
func compensable(s *plan.Step) { s.Undo = plan.Compensable }
func twoRounds(s *plan.Step)   { s.Mode, s.MaxRounds = plan.Converge, 2 }

// serve offers a ledger to other processes over HTTP.
func serve(t *testing.T, l *ledger) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /claim", handle(func(ctx context.Context, r activities.ClaimRequest) (activities.Claim, error) {
		return l.Claim(ctx, r)
	}))
	mux.HandleFunc("POST /record", handle(func(ctx context.Context, tr operation.Transition) (bool, error) {
		return true, l.Record(ctx, tr)
	}))
	mux.HandleFunc("POST /observe", handle(func(_ context.Context, what string) (int, error) { return l.look(what), nil }))
	mux.HandleFunc("POST /effect", handle(func(_ context.Context, what string) (bool, error) { l.do(what); return true, nil }))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func handle[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// remote is a ledger in another process.
type remote struct{ url string }

func (r remote) Claim(ctx context.Context, q activities.ClaimRequest) (activities.Claim, error) {
	return post[activities.Claim](ctx, r.url+"/claim", q)
}

func (r remote) Record(ctx context.Context, t operation.Transition) error {
	_, err := post[bool](ctx, r.url+"/record", t)
	return err
}

func (r remote) observe(ctx context.Context, what string) (int, error) {
	return post[int](ctx, r.url+"/observe", what)
}

func (r remote) effect(ctx context.Context, what string) error {
	_, err := post[bool](ctx, r.url+"/effect", what)
	return err
}

func post[Out any](ctx context.Context, url string, in any) (Out, error) {
	var out Out
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, operation.AsTemporal(fault.Wrap(err, fault.StoreAway, "post %s: %v", url, err))
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return out, operation.AsTemporal(fault.Wrap(err, fault.StoreAway, "post %s: %v", url, err))
	case resp.StatusCode == http.StatusConflict:
		return out, operation.AsTemporal(fault.New(fault.Locked, "%s", raw))
	case resp.StatusCode != http.StatusOK:
		return out, fmt.Errorf("post %s: %s: %s", url, resp.Status, raw)
	}
	return out, json.Unmarshal(raw, &out)
}
