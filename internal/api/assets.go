package api

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

func (s *Server) getAsset(w http.ResponseWriter, c *call) error {
	d, err := s.findAsset(c.Context(), c.PathValue("asset"), c.caller)
	if err != nil {
		return err
	}
	described, err := s.o.Inventory.Describe(c.Context(), []asset.ID{d.ID})
	if err != nil {
		return err
	}
	found, err := s.gather(c.Context(), described)
	if err != nil {
		return err
	}
	holders, err := s.o.Store.CurrentHolders(c.Context(), []asset.ID{d.ID})
	if err != nil {
		return err
	}
	facts := found[0].facts
	a := wire.Asset{Device: described[0],
		History:  operation.InstallHistory{EverActive: facts.EverActive, InstallBegan: facts.InstallBegan},
		Blocking: plan.Check(facts, found[0].profile, found[0].noMatch)}
	if h, held := holders[d.ID]; held {
		a.Holder = &h
	}
	if p := found[0].profile; p != nil {
		a.Profile = profileRef(*p)
	}
	known, err := s.o.Store.Known(c.Context(), d.Ref())
	if err != nil {
		return err
	}
	if i := known.Installed; i != nil && i.Digest != "" {
		a.System = i
	}
	return answer(w, http.StatusOK, a)
}

// listAssets answers the devices of a rack that the caller may see.
func (s *Server) listAssets(w http.ResponseWriter, c *call) error {
	q := inventory.Query{Rack: c.URL.Query().Get("rack"), Site: c.URL.Query().Get("site")}
	if q.Rack == "" {
		return invalid("rack", "", "name a rack (and its site, where the name is not unique): empty is not all, and a site alone is too much")
	}
	if q.Site != "" && !c.caller.AllowsSite(q.Site) {
		return fault.New(fault.Denied, "token %s does not cover site %s", c.caller.ID, q.Site)
	}
	found, err := s.o.Inventory.Find(c.Context(), q)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(d inventory.Device) bool { return !c.caller.AllowsSite(d.Site.Slug) })
	ids := make([]asset.ID, len(found))
	for i, d := range found {
		ids[i] = d.ID
	}
	holders, err := s.o.Store.CurrentHolders(c.Context(), ids)
	if err != nil {
		return err
	}
	out := make([]wire.AssetRow, len(found))
	for i, d := range found {
		out[i] = wire.AssetRow{ID: d.ID, Name: d.Name, Serial: d.Serial, Status: d.Status, Site: d.Site.Slug, Rack: d.Rack.Name,
			Position: d.Position, Type: d.Type.Slug, Role: d.Role.Slug}
		if h, held := holders[d.ID]; held {
			out[i].Holder = &h
		}
	}
	slices.SortFunc(out, func(a, b wire.AssetRow) int {
		return cmp.Or(strings.Compare(a.Site, b.Site), strings.Compare(a.Rack, b.Rack), cmp.Compare(b.Position, a.Position), strings.Compare(a.Name, b.Name))
	})
	return answer(w, http.StatusOK, out)
}

func (s *Server) assetHistory(w http.ResponseWriter, c *call) error {
	d, err := s.findAsset(c.Context(), c.PathValue("asset"), c.caller)
	if err != nil {
		return err
	}
	limit := 20
	if text := c.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 200 {
			return invalid("limit", text, "use 1 to 200")
		}
	}
	runs, err := s.o.Store.AssetHistory(c.Context(), d.ID, limit)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, orEmpty(runs))
}

func profileRef(p profile.Profile) string { return p.Name + "@" + strconv.Itoa(p.Version) }

func (s *Server) listProfiles(w http.ResponseWriter, _ *call) error {
	ps, err := s.profiles()
	if err != nil {
		return err
	}
	out := make([]wire.Profile, len(ps))
	for i, p := range ps {
		out[i] = wire.Profile{Ref: profileRef(p), Profile: p}
	}
	return answer(w, http.StatusOK, out)
}

func (s *Server) getProfile(w http.ResponseWriter, c *call) error {
	ps, err := s.profiles()
	if err != nil {
		return err
	}
	for _, p := range ps {
		if name := c.PathValue("profile"); p.Name == name || profileRef(p) == name {
			return answer(w, http.StatusOK, wire.Profile{Ref: profileRef(p), Profile: p})
		}
	}
	e := fault.New(fault.NotFound, "no profile %q", c.PathValue("profile"))
	e.Remedy = "`cagenut profile list` shows them"
	return e
}

func (s *Server) checkProfiles(w http.ResponseWriter, _ *call) error {
	out := wire.ProfileCheck{Profiles: []string{}, Problems: []config.Problem{}}
	ps, err := s.o.Profiles()
	var problems config.Problems
	if errors.As(err, &problems) {
		out.Problems = problems
	} else if err != nil {
		return err
	}
	for _, p := range ps {
		out.Profiles = append(out.Profiles, profileRef(p))
	}
	return answer(w, http.StatusOK, out)
}

// orEmpty makes an empty list of none, so that JSON has [] and not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
