package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/web/issue"
)

// How much an overview shows of each thing. What is left out is counted, and linked.
const (
	overviewWaiting = 200
	overviewOps     = 20
	overviewFailed  = 12
	overviewEvents  = 14
)

// overviewBody is the model of the overview and of one site.
type overviewBody struct {
	Site    string // empty: all sites
	Sites   []siteCard
	Waits   []issue.Issue // parked steps
	Wrong   []issue.Issue // everything else
	Counts  map[operation.State]int
	Running []operation.Summary // live operations
	More    bool                // there are more live operations
	Failed  []operation.RunRow
	Events  []operation.Event
}

// Waiting is how many machines wait for a person.
func (b overviewBody) Waiting() int { return b.Counts[operation.Waiting] }

// Queued is how many machines wait for their turn.
func (b overviewBody) Queued() int { return b.Counts[operation.Queued] }

// Acts is how many other issues need somebody now.
func (b overviewBody) Acts() int {
	n := 0
	for _, i := range b.Wrong {
		if i.Severity == issue.Act {
			n++
		}
	}
	return n
}

// OfWorkers are the issues about sites and their workers.
func (b overviewBody) OfWorkers() []issue.Issue {
	return slices.DeleteFunc(slices.Clone(b.Wrong), func(i issue.Issue) bool {
		return i.Kind != issue.KindSiteAway && i.Kind != issue.KindClockSkew && i.Kind != issue.KindVersionMix
	})
}

// AtWork is how many machines are neither queued nor at their end.
func (b overviewBody) AtWork() int {
	n := 0
	for s, k := range b.Counts {
		if s != operation.Queued && !s.Ended() {
			n += k
		}
	}
	return n
}

// siteCard is a site in a list.
type siteCard struct {
	operation.Site
	Fresh  int // workers that answer
	Counts map[operation.State]int
	Racks  []operation.RackLoad
}

// Label is how people call the site.
func (c siteCard) Label() string {
	if c.Slug == "" {
		return "central"
	}
	return c.Slug
}

func (s *Server) overview(c *call) (*page, error) {
	b, seq, err := s.look(c, "")
	if err != nil {
		return nil, err
	}
	return &page{Template: "overview", Title: "Overview", Nav: "overview", Stream: url.Values{}, Seq: seq, Body: b}, nil
}

func (s *Server) site(c *call) (*page, error) {
	slug := c.PathValue("site")
	b, seq, err := s.look(c, slug)
	if err != nil {
		return nil, err
	}
	if len(b.Sites) == 0 || !c.viewer.allows(slug) {
		e := fault.New(fault.NotFound, "no site %q is configured, and no worker has spoken for it", slug)
		e.Remedy = "the sites page lists what there is"
		return nil, e
	}
	return &page{Template: "overview", Title: "Site " + slug, Nav: "sites", Stream: url.Values{"site": {slug}}, Seq: seq, Body: b}, nil
}

func (s *Server) sites(c *call) (*page, error) {
	b, seq, err := s.look(c, "")
	if err != nil {
		return nil, err
	}
	return &page{Template: "sites", Title: "Sites and workers", Nav: "sites", Stream: url.Values{}, Seq: seq, Body: b}, nil
}

// look gathers what an overview shows, of one site or of all.
func (s *Server) look(c *call, site string) (b overviewBody, seq int64, err error) {
	ctx, allowed := c.Context(), c.viewer.sites
	if site != "" {
		allowed = []string{site}
	}
	if seq, err = s.o.Store.LastEvent(ctx); err != nil {
		return b, 0, err
	}
	all, err := s.siteStates(c)
	if err != nil {
		return b, 0, err
	}
	live, err := s.o.Store.LiveRuns(ctx, "", allowed)
	if err != nil {
		return b, 0, err
	}
	waiting, _, err := s.o.Store.ListRuns(ctx, operation.RunFilter{States: []operation.State{operation.Waiting}, Sites: allowed, Limit: overviewWaiting})
	if err != nil {
		return b, 0, err
	}
	liveOps, err := s.o.Store.ListOperations(ctx, operation.Filter{Sites: allowed, Limit: 200,
		States: []operation.State{operation.Queued, operation.Running, operation.Paused, operation.Waiting, operation.Away}})
	if err != nil {
		return b, 0, err
	}
	if b.Failed, _, err = s.o.Store.ListRuns(ctx, operation.RunFilter{Failed: true, Sites: allowed, Limit: overviewFailed}); err != nil {
		return b, 0, err
	}
	if b.Events, err = s.o.Store.LatestEvents(ctx, operation.EventFilter{Sites: allowed, Limit: overviewEvents}); err != nil {
		return b, 0, err
	}
	loads, err := s.o.Store.RackLoads(ctx, site, c.viewer.sites)
	if err != nil {
		return b, 0, err
	}
	backlog, err := s.o.Store.Backlog(ctx)
	if err != nil {
		return b, 0, err
	}
	shown := slices.DeleteFunc(slices.Clone(all), func(x operation.Site) bool { return site != "" && x.Slug != site && x.Slug != "" })
	facts := issue.Facts{Now: c.now, Version: s.o.Version, Sites: shown, Live: live, Waiting: waiting, Operations: liveOps, Backlog: backlog}
	for _, i := range issue.Find(facts) {
		if i.Kind == issue.KindParked {
			b.Waits = append(b.Waits, i)
		} else {
			b.Wrong = append(b.Wrong, i)
		}
	}
	b.Site, b.Counts = site, map[operation.State]int{}
	for _, l := range live {
		b.Counts[l.State] += l.Runs
	}
	for _, x := range shown {
		if site == "" || x.Slug == site {
			b.Sites = append(b.Sites, s.card(c, x, live, loads))
		}
	}
	b.Running, b.More = liveOps[:min(len(liveOps), overviewOps)], len(liveOps) > overviewOps
	return b, seq, nil
}

func (s *Server) card(c *call, x operation.Site, live []operation.Live, loads []operation.RackLoad) siteCard {
	card := siteCard{Site: x, Counts: map[operation.State]int{}}
	for _, w := range x.Workers {
		if c.now.Sub(w.At) <= config.SiteAwayAfter {
			card.Fresh++
		}
	}
	if x.Slug == "" {
		return card
	}
	for _, l := range live {
		if l.Site == x.Slug {
			card.Counts[l.State] += l.Runs
		}
	}
	for _, l := range loads {
		if l.Site == x.Slug {
			card.Racks = append(card.Racks, l)
		}
	}
	return card
}

// siteStates gives the configured sites and those that a worker has spoken for, the central workers
// under the empty slug first.
func (s *Server) siteStates(c *call) ([]operation.Site, error) {
	beats, err := s.o.Store.Heartbeats(c.Context())
	if err != nil {
		return nil, err
	}
	by := map[string][]operation.Heartbeat{"": nil}
	for _, slug := range s.o.Sites {
		by[slug] = nil
	}
	for _, h := range beats {
		by[h.Site] = append(by[h.Site], h)
	}
	var out []operation.Site
	for slug, workers := range by {
		if slug != "" && !c.viewer.allows(slug) {
			continue
		}
		slices.SortFunc(workers, func(a, b operation.Heartbeat) int { return b.At.Compare(a.At) })
		x := operation.Site{Slug: slug, State: "none", Workers: workers}
		if len(workers) > 0 {
			if x.State = "away"; c.now.Sub(workers[0].At) <= config.SiteAwayAfter {
				x.State = "up"
			}
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b operation.Site) int { return strings.Compare(a.Slug, b.Slug) })
	return out, nil
}

// search leads from a name, a serial or an ID to the asset's page.
func (s *Server) search(c *call) (*page, error) {
	word := strings.TrimSpace(c.URL.Query().Get("q"))
	if word == "" {
		return &page{Template: "search", Title: "Find a machine", Body: searchBody{}}, nil
	}
	if strings.HasPrefix(strings.ToLower(word), "op_") {
		if id, err := operation.ParseID("op_" + word[len("op_"):]); err == nil {
			return nil, &redirect{"/operations/" + string(id)}
		}
	}
	id, found, err := s.resolve(c.Context(), word)
	if err != nil {
		return nil, err
	}
	if id != 0 {
		return nil, &redirect{"/assets/" + id.String()}
	}
	b := searchBody{Word: word}
	for _, d := range found {
		if c.viewer.allows(d.Site.Slug) {
			b.Found = append(b.Found, d)
		}
	}
	if len(b.Found) == 0 {
		e := fault.New(fault.NotFound, "no device in NetBox has the name, serial or ID %q", cut(80, word))
		e.Remedy = "check the spelling: names and serials are compared as a whole"
		return nil, e
	}
	return &page{Template: "search", Title: fmt.Sprintf("%d devices", len(b.Found)), Body: b}, nil
}
