package web

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

// maxRackDevices bounds a rack; a real one holds some 200 with its strips and panels.
const maxRackDevices = 1000

type rackBody struct {
	Site, Name  string
	Rack        *inventory.Rack // nil: NetBox did not tell
	Front, Rear elevation
	Rest        []misplaced
	Devices     []deviceState           // from the top
	Runs        []operation.Run         // what is known without NetBox
	Live        map[operation.State]int // of what operations hold
	Status      []statusCount           // of NetBox, of the others
	Loads       map[operation.State]int // without NetBox: how the newest runs stand
}

type statusCount struct {
	Status asset.Status
	N      int
}

// lastEnd is when the last of the newest runs ended: until then NetBox may have been written.
func lastEnd(newest map[asset.ID]operation.Run) (last time.Time) {
	for _, run := range newest {
		if run.Ended.After(last) {
			last = run.Ended
		}
	}
	return last
}

func (s *Server) rack(c *call) (*page, error) {
	b := rackBody{Site: c.PathValue("site"), Name: c.PathValue("rack"), Live: map[operation.State]int{}}
	if !c.viewer.allows(b.Site) {
		return nil, fault.New(fault.NotFound, "no site %q that you may see", b.Site)
	}
	p := &page{Template: "rack", Title: "Rack " + b.Name, Nav: "sites", Stream: url.Values{"site": {b.Site}}}
	ctx := c.Context()
	// Before all that is shown: an event in between is told once more.
	seq, seqErr := s.o.Store.LastEvent(ctx)
	p.Seq = seq
	r, stale, err := s.inv.rack(ctx, b.Site, b.Name, time.Time{})
	if err != nil {
		if code := translate(err).Code; code == fault.NotFound || code == fault.Invalid {
			return nil, err
		}
		p.Notices = append(p.Notices, awayNotice(err))
		loads, err := s.o.Store.RackLoads(ctx, b.Site, c.viewer.sites)
		if err := errors.Join(seqErr, err); err != nil {
			return nil, err
		}
		for _, l := range loads {
			if l.Rack == b.Name {
				b.Loads = l.Counts
			}
		}
		p.Body = b
		return p, nil
	}
	b.Rack = &r
	if len(r.Devices) > maxRackDevices {
		p.Notices = append(p.Notices, notice{Kind: "warn", Text: "The rack holds more than 1,000 devices; the first are shown.", Do: "look into NetBox for the others"})
		r.Devices = r.Devices[:maxRackDevices]
	}
	ids := make([]asset.ID, len(r.Devices))
	for i, d := range r.Devices {
		ids[i] = d.ID
	}
	newest, err := s.o.Store.NewestRuns(ctx, ids)
	if errors.Join(err, seqErr) != nil {
		p.Notices = append(p.Notices, notice{Kind: "warn", Text: "PostgreSQL does not answer: this shows what NetBox says, and nothing of what runs.",
			Do: fault.Remedy(fault.StoreAway)})
	}
	if again, older, err := s.inv.rack(ctx, b.Site, b.Name, lastEnd(newest)); err == nil && len(again.Devices) == len(r.Devices) {
		r, stale = again, older
	}
	p.Notices = append(p.Notices, staleNotice(stale)...)
	by := map[asset.Status]int{}
	for _, d := range r.Devices {
		st := deviceState{RackDevice: d}
		if run, ok := newest[d.ID]; ok {
			st.Run = &run
		}
		if st.Live() {
			b.Live[st.Run.State]++
		} else {
			by[d.Status]++
		}
		b.Devices = append(b.Devices, st)
	}
	for status, n := range by {
		b.Status = append(b.Status, statusCount{status, n})
	}
	slices.SortFunc(b.Status, func(x, y statusCount) int { return cmp.Or(y.N-x.N, cmp.Compare(x.Status, y.Status)) })
	b.Front, b.Rear, b.Rest = place(r, b.Devices)
	slices.SortStableFunc(b.Devices, func(x, y deviceState) int {
		if r.Descending {
			return cmp.Compare(x.Position, y.Position)
		}
		return cmp.Compare(y.Position, x.Position)
	})
	p.Body = b
	return p, nil
}
