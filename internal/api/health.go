package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
)

// maxSkew is how far a worker's clock may be off: more, and times in the evidence of two sites
// cannot be put in order.
const maxSkew = 2 * time.Second

func (s *Server) healthz(w http.ResponseWriter, _ *call) error {
	return answer(w, http.StatusOK, map[string]string{"status": "ok", "version": s.o.Version})
}

// readyz tells whether this server can do its work now. It is open to everybody, so it names what
// fails but not why.
func (s *Server) readyz(w http.ResponseWriter, c *call) error {
	checks := append([]config.Check{{Name: "PostgreSQL", Run: func(ctx context.Context) (string, error) { return "", s.o.Store.Ping(ctx) }}}, s.o.Ready...)
	out := map[string]string{}
	status := http.StatusOK
	for _, r := range config.RunChecks(c.Context(), checks) {
		out[r.Name] = "ok"
		if !r.OK {
			out[r.Name], status = "failed", http.StatusServiceUnavailable
		}
	}
	return answer(w, status, out)
}

func (s *Server) sites(w http.ResponseWriter, c *call) error {
	list, err := s.siteList(c.Context(), c.caller)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, list)
}

// siteList gives the configured sites and those that a worker has spoken for. Central workers stand
// under the empty slug, first.
func (s *Server) siteList(ctx context.Context, caller operation.Token) ([]operation.Site, error) {
	beats, err := s.o.Store.Heartbeats(ctx)
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
	now := s.o.Clock()
	out := []operation.Site{}
	for slug, workers := range by {
		if slug != "" && !caller.AllowsSite(slug) {
			continue
		}
		slices.SortFunc(workers, func(a, b operation.Heartbeat) int { return strings.Compare(a.Worker, b.Worker) })
		site := operation.Site{Slug: slug, State: "none", Workers: orEmpty(workers)}
		if slug == "" {
			site.Name = "central"
		}
		for i := range workers { // the same memory as site.Workers
			workers[i].State = "away"
			if now.Sub(workers[i].At) <= config.SiteAwayAfter {
				workers[i].State = "up"
			}
			if site.State != "up" { // one that lives is enough
				site.State = workers[i].State
			}
		}
		out = append(out, site)
	}
	slices.SortFunc(out, func(a, b operation.Site) int { return strings.Compare(a.Slug, b.Slug) })
	return out, nil
}

// doctor looks at everything that an operation needs, and says what to do about what is wrong.
func (s *Server) doctor(w http.ResponseWriter, c *call) error {
	checks := []config.Check{
		{Name: "PostgreSQL", Run: func(ctx context.Context) (string, error) {
			return "answers", s.o.Store.Ping(ctx)
		}},
		{Name: "NetBox", Run: s.checkInventory},
		{Name: "Profiles", Run: func(context.Context) (string, error) {
			ps, err := s.o.Profiles()
			return fmt.Sprintf("%d profiles without problems", len(ps)), err
		}},
		{Name: "Firmware files", Run: s.checkFirmware},
		{Name: "Workers", Run: func(ctx context.Context) (string, error) { return s.checkWorkers(ctx, c.caller) }},
	}
	return answer(w, http.StatusOK, config.RunChecks(c.Context(), append(checks, s.o.Doctor...)))
}

func (s *Server) checkInventory(ctx context.Context) (string, error) {
	st, err := s.o.Inventory.Ping(ctx)
	if err != nil {
		return "", err
	}
	if len(st.Missing) > 0 {
		return "", fmt.Errorf("version %s answers, but lacks: %s. What to do: cagenut netbox setup --apply", st.Version, strings.Join(st.Missing, ", "))
	}
	says := "version " + st.Version + ", token of " + st.User
	if st.Super {
		return "", errors.New(says + ", who is a superuser. What to do: use an account with the permissions of `cagenut netbox setup`")
	}
	return says, nil
}

// checkFirmware looks whether every file that a profile names is in the store.
func (s *Server) checkFirmware(ctx context.Context) (string, error) {
	ps, err := s.o.Profiles()
	if err != nil {
		return "", errors.New("the profiles have problems")
	}
	known, err := s.o.Store.ListFirmware(ctx)
	if err != nil {
		return "", err
	}
	var missing []string
	n := 0
	for _, p := range ps {
		for _, comp := range p.Firmware.Components {
			names := []string{comp.File}
			for _, via := range comp.Via {
				names = append(names, via.File)
			}
			for _, file := range names {
				n++
				i := slices.IndexFunc(known, func(f operation.FirmwareFile) bool { return f.Name == file || strings.EqualFold(f.SHA256, file) })
				if i < 0 {
					missing = append(missing, p.Name+": "+file)
					continue
				}
				f, err := s.o.Firmware.Open(known[i].SHA256)
				if err != nil {
					missing = append(missing, p.Name+": "+file+" (lost from the folder)")
					continue
				}
				f.Close()
			}
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("missing: %s. What to do: cagenut firmware add FILE", strings.Join(missing, "; "))
	}
	return fmt.Sprintf("%d files, %d named by profiles", len(known), n), nil
}

func (s *Server) checkWorkers(ctx context.Context, caller operation.Token) (string, error) {
	list, err := s.siteList(ctx, caller)
	if err != nil {
		return "", err
	}
	var bad []string
	n := 0
	for _, site := range list {
		name, start := "site "+site.Slug, "cagenut worker --site "+site.Slug
		if site.Slug == "" {
			name, start = "central", "cagenut worker"
		}
		if site.State != "up" {
			bad = append(bad, fmt.Sprintf("%s: no worker answers (%s). What to do: start `%s`", name, site.State, start))
		}
		for _, h := range site.Workers {
			if h.State != "up" {
				continue
			}
			n++
			if skew := time.Duration(h.SkewMS) * time.Millisecond; skew.Abs() > maxSkew {
				bad = append(bad, fmt.Sprintf("%s: the clock of %s is off by %s. What to do: check NTP there", name, h.Worker, skew))
			}
			if h.Version != s.o.Version {
				bad = append(bad, fmt.Sprintf("%s: %s runs version %s, the API %s. What to do: update one of them", name, h.Worker, h.Version, s.o.Version))
			}
		}
	}
	if len(bad) > 0 {
		return "", errors.New(strings.Join(bad, "; "))
	}
	return fmt.Sprintf("%d workers, clocks within %s", n, maxSkew), nil
}
