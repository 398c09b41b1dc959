package web

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/web/issue"
)

const (
	opsPerPage  = 50
	runsPerPage = 100
	maxPage     = 1000
)

// states are the states that a list can be narrowed to.
func states() []operation.State {
	return []operation.State{operation.Waiting, operation.Running, operation.Away, operation.Paused, operation.Queued,
		operation.Done, operation.Failed, operation.Aborted}
}

type operationsBody struct {
	List   []operation.Summary
	States []operation.State // all
	State  operation.State   // chosen; empty: any
	Site   string
	Actor  string
	Sites  []string
	Next   string // URL of older ones; empty: none
	Newer  bool   // this is not the first page
}

// Filtered tells whether anything is left out by choice.
func (b operationsBody) Filtered() bool { return b.State != "" || b.Site != "" || b.Actor != "" }

func (s *Server) operations(c *call) (*page, error) {
	q := c.URL.Query()
	b := operationsBody{States: states(), Site: q.Get("site"), Actor: strings.TrimSpace(q.Get("actor")), Sites: s.o.Sites, Newer: q.Has("before")}
	f := operation.Filter{Site: b.Site, Sites: c.viewer.sites, Actor: b.Actor, Limit: opsPerPage + 1}
	if text := q.Get("state"); text != "" {
		b.State = operation.State(text)
		if !slices.Contains(b.States, b.State) {
			return nil, choose("state", text, "one of the list")
		}
		f.States = []operation.State{b.State}
	}
	if text := q.Get("before"); text != "" {
		id, err := operation.ParseID(text)
		if err != nil {
			return nil, choose("before", text, "an operation's ID")
		}
		f.Before = id
	}
	seq, err := s.o.Store.LastEvent(c.Context())
	if err != nil {
		return nil, err
	}
	if b.List, err = s.o.Store.ListOperations(c.Context(), f); err != nil {
		return nil, err
	}
	if len(b.List) > opsPerPage {
		b.List = b.List[:opsPerPage]
		q.Set("before", string(b.List[opsPerPage-1].ID))
		b.Next = "/operations?" + q.Encode()
	}
	stream := url.Values{}
	if b.Site != "" {
		stream.Set("site", b.Site)
	}
	return &page{Template: "operations", Title: "Operations", Nav: "operations", Stream: stream, Seq: seq, Body: b}, nil
}

// choose is Invalid for a query parameter.
func choose(name, value, remedy string) *fault.Error {
	e := fault.New(fault.Invalid, "%s: %q is none that there is", name, cut(80, value))
	e.Remedy = "choose " + remedy
	return e
}

type operationBody struct {
	operation.Detail
	Steps   []stepLoad // where the live runs are
	Waits   []issue.Issue
	Runs    []operation.RunRow
	Events  []operation.Event
	States  []operation.State
	Chosen  operation.State // of runs; empty: any
	Name    string          // chosen beginning of a name
	Step    string          // chosen
	Page    int             // from 1
	From    int             // number of the first run shown
	Prev    string
	Next    string
	Percent int // of the runs that have ended
}

// Last is the number of the last run shown.
func (b operationBody) Last() int { return b.From + len(b.Runs) - 1 }

// stepLoad is how many live runs are in a step.
type stepLoad struct {
	Step   string
	Counts map[operation.State]int
	Runs   int
}

// Filtered tells whether runs are left out by choice.
func (b operationBody) Filtered() bool { return b.Chosen != "" || b.Name != "" || b.Step != "" }

func (s *Server) operation(c *call) (*page, error) {
	id, err := pathID(c)
	if err != nil {
		return nil, err
	}
	ctx := c.Context()
	seq, err := s.o.Store.LastEvent(ctx)
	if err != nil {
		return nil, err
	}
	b := operationBody{States: states(), Page: 1}
	if b.Detail, err = s.head(c, id); err != nil {
		return nil, err
	}
	f, err := b.filter(c)
	if err != nil {
		return nil, err
	}
	var more bool
	if b.Runs, more, err = s.o.Store.ListRuns(ctx, f); err != nil {
		return nil, err
	}
	b.From = f.Skip + 1
	q := c.URL.Query()
	if more && b.Page < maxPage {
		q.Set("page", strconv.Itoa(b.Page+1))
		b.Next = "?" + q.Encode()
	}
	if b.Page > 1 {
		q.Set("page", strconv.Itoa(b.Page-1))
		b.Prev = "?" + q.Encode()
	}
	live, err := s.o.Store.LiveRuns(ctx, id, c.viewer.sites)
	if err != nil {
		return nil, err
	}
	b.Steps = stepLoads(live)
	if b.Counts[operation.Waiting] > 0 {
		waiting, _, err := s.o.Store.ListRuns(ctx, operation.RunFilter{Operation: id, States: []operation.State{operation.Waiting},
			Sites: c.viewer.sites, Limit: overviewWaiting})
		if err != nil {
			return nil, err
		}
		b.Waits = issue.Parked(issue.Facts{Now: c.now, Waiting: waiting})
	}
	if b.Events, err = s.o.Store.LatestEvents(ctx, operation.EventFilter{Operation: id, Sites: c.viewer.sites, Limit: 20}); err != nil {
		return nil, err
	}
	if b.Assets > 0 {
		b.Percent = 100 * (b.Counts[operation.Done] + b.Counts[operation.Failed] + b.Counts[operation.Aborted]) / b.Assets
	}
	return &page{Template: "operation", Title: fmt.Sprintf("%s of %s", b.Kind, plural(b.Assets, "machine", "machines")), Nav: "operations",
		Stream: url.Values{"operation": {string(id)}}, Seq: seq, Body: b}, nil
}

// filter reads which runs are to be shown.
func (b *operationBody) filter(c *call) (operation.RunFilter, error) {
	q := c.URL.Query()
	b.Name, b.Step = strings.TrimSpace(q.Get("name")), q.Get("step")
	f := operation.RunFilter{Operation: b.ID, Sites: c.viewer.sites, Name: b.Name, Step: b.Step, Limit: runsPerPage}
	if text := q.Get("state"); text != "" {
		b.Chosen = operation.State(text)
		if !slices.Contains(b.States, b.Chosen) {
			return f, choose("state", text, "one of the list")
		}
		f.States = []operation.State{b.Chosen}
	}
	if text := q.Get("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return f, choose("page", text, fmt.Sprintf("1 to %d", maxPage))
		}
		b.Page = n
	}
	f.Skip = (b.Page - 1) * runsPerPage
	return f, nil
}

func stepLoads(live []operation.Live) []stepLoad {
	var out []stepLoad
	for _, l := range live {
		if l.Step == "" {
			continue
		}
		i := slices.IndexFunc(out, func(x stepLoad) bool { return x.Step == l.Step })
		if i < 0 {
			out = append(out, stepLoad{Step: l.Step, Counts: map[operation.State]int{}})
			i = len(out) - 1
		}
		out[i].Counts[l.State] += l.Runs
		out[i].Runs += l.Runs
	}
	slices.SortFunc(out, func(a, b stepLoad) int { return b.Runs - a.Runs })
	return out
}

// head gives an operation of which the viewer may see something.
func (s *Server) head(c *call, id operation.ID) (operation.Detail, error) {
	d, err := s.o.Store.OperationHead(c.Context(), id)
	if err == nil && len(c.viewer.sites) > 0 && !slices.ContainsFunc(d.Sites, c.viewer.allows) {
		return d, fault.New(fault.NotFound, "there is no operation %s in your sites", id)
	}
	return d, err
}

func pathID(c *call) (operation.ID, error) {
	id, err := operation.ParseID(c.PathValue("id"))
	if err != nil {
		e := fault.New(fault.NotFound, "%q is no operation's ID", cut(80, c.PathValue("id")))
		e.Remedy = "the list of operations shows them"
		return "", e
	}
	return id, nil
}

type runBody struct {
	operation.Run
	Op       operation.Detail
	Steps    []stepView
	Behind   int
	Wait     *issue.Issue
	Attempts int
	Counts   map[operation.State]int // of the steps, in the colours of runs
}

// stepView is a step with its earlier tries.
type stepView struct {
	operation.Step
	Earlier []operation.Attempt
	Share   int // percent of the run's time, for the bar
}

func (s *Server) run(c *call) (*page, error) {
	id, err := pathID(c)
	if err != nil {
		return nil, err
	}
	a, err := asset.ParseID(c.PathValue("asset"))
	if err != nil {
		return nil, fault.New(fault.NotFound, "%q is no asset's ID", cut(80, c.PathValue("asset")))
	}
	ctx := c.Context()
	seq, err := s.o.Store.LastEvent(ctx)
	if err != nil {
		return nil, err
	}
	var b runBody
	if b.Op, err = s.head(c, id); err != nil {
		return nil, err
	}
	if b.Run, err = s.o.Store.GetRun(ctx, id, a); err != nil {
		return nil, err
	}
	if !c.viewer.allows(b.Asset.Site) {
		return nil, fault.New(fault.NotFound, "operation %s has no asset %s in your sites", id, a)
	}
	b.Counts = map[operation.State]int{}
	for _, st := range b.Run.Steps {
		v := stepView{Step: st}
		for _, t := range st.Attempts {
			if t.Number < st.Attempt {
				v.Earlier = append(v.Earlier, t)
			}
		}
		b.Attempts += len(v.Earlier)
		if st.State.Ended() {
			b.Behind++
		}
		b.Counts[operation.State(stepClass(st.State))]++
		b.Steps = append(b.Steps, v)
	}
	if b.State == operation.Waiting {
		row := operation.RunRow{Run: b.Run}
		if i := slices.IndexFunc(b.Run.Steps, func(st operation.Step) bool { return st.Name == b.Step }); i >= 0 {
			row.Current = &b.Run.Steps[i]
		}
		if found := issue.Parked(issue.Facts{Now: c.now, Waiting: []operation.RunRow{row}}); len(found) > 0 {
			b.Wait = &found[0]
		}
	}
	return &page{Template: "run", Title: b.Asset.Name, Nav: "operations", Seq: seq, Body: b,
		Stream: url.Values{"operation": {string(id)}, "asset": {a.String()}}}, nil
}
