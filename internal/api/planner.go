package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

// maxTargets bounds one operation.
const maxTargets = 5000

// resolve gives the devices that a request names, once each, in the order of their names.
func (s *Server) resolve(ctx context.Context, t wire.Targets, caller operation.Token) ([]inventory.Device, error) {
	if len(t.Names) == 0 && len(t.IDs) == 0 && t.Rack == "" {
		return nil, invalid("targets", "", "name machines, NetBox IDs or a rack: empty is not all")
	}
	if t.Rack != "" && (len(t.Names) > 0 || len(t.IDs) > 0) || len(t.Names) > 0 && len(t.IDs) > 0 {
		return nil, invalid("targets", "", "give names, or IDs, or a rack: one of them")
	}
	if n := len(t.Names) + len(t.IDs); n > maxTargets {
		return nil, invalid("targets", n, fmt.Sprintf("an operation takes at most %d machines; split it", maxTargets))
	}
	for i, name := range t.Names {
		if strings.TrimSpace(name) == "" {
			return nil, invalid(fmt.Sprintf("names[%d]", i), name, "give a device name")
		}
	}
	devices, err := s.findTargets(ctx, t)
	if err != nil {
		return nil, err
	}
	if len(devices) == 0 {
		return nil, fault.New(fault.NotFound, "no device is in rack %q of site %q", t.Rack, t.Site)
	}
	if len(devices) > maxTargets {
		return nil, invalid("targets", len(devices), fmt.Sprintf("an operation takes at most %d machines; split it", maxTargets))
	}
	slices.SortFunc(devices, func(a, b inventory.Device) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	devices = slices.CompactFunc(devices, func(a, b inventory.Device) bool { return a.ID == b.ID })
	var foreign []fault.Item
	for _, d := range devices {
		if !caller.AllowsSite(d.Site.Slug) {
			foreign = append(foreign, fault.Item{Subject: d.Name, Seen: "site " + d.Site.Slug, Expected: strings.Join(caller.Sites, ", ")})
		}
	}
	if len(foreign) > 0 {
		e := fault.New(fault.Denied, "token %s of %s does not cover the site of %d of %d machines", caller.ID, caller.Person, len(foreign), len(devices))
		e.Details = foreign
		return nil, e
	}
	return devices, nil
}

// installable keeps the devices of a rack that are planned or staged: a rack also holds switches and
// machines in service, and naming it is not asking for those. Machines given by name are never left
// out: what stands against them is said.
func installable(t wire.Targets, devices []inventory.Device) (take []inventory.Device, left []fault.Item, err error) {
	for _, d := range devices {
		if d.Status == asset.Planned || d.Status == asset.Staged {
			take = append(take, d)
		} else {
			left = append(left, fault.Item{Subject: d.Name, Expected: "planned or staged", Seen: string(d.Status)})
		}
	}
	if len(take) == 0 {
		e := fault.New(fault.NotFound, "no device of rack %q of site %q is planned or staged", t.Rack, t.Site)
		e.Details = left
		return nil, nil, e
	}
	return take, left, nil
}

// candidate is a machine on its way into a plan.
type candidate struct {
	facts   plan.Facts
	profile *profile.Profile
	noMatch error
}

// gather reads everything that planning needs of some devices: NetBox in detail, our own history,
// passwords and profiles, each in a number of requests that does not grow with every machine.
func (s *Server) gather(ctx context.Context, devices []inventory.Device) ([]candidate, error) {
	ids := make([]asset.ID, len(devices))
	for i, d := range devices {
		ids[i] = d.ID
	}
	profiles, err := s.profiles()
	if err != nil {
		return nil, err
	}
	described, err := s.o.Inventory.Describe(ctx, ids)
	if err != nil {
		return nil, err
	}
	if len(described) != len(ids) {
		return nil, fault.New(fault.Malformed, "NetBox described %d of %d devices", len(described), len(ids))
	}
	twins, err := s.twins(ctx, described)
	if err != nil {
		return nil, err
	}
	holders, err := s.o.Store.CurrentHolders(ctx, ids)
	if err != nil {
		return nil, err
	}
	histories, err := s.o.Store.InstallHistories(ctx, ids)
	if err != nil {
		return nil, err
	}
	known, err := s.o.Secrets.Has(ctx, machines(described))
	if err != nil {
		return nil, err
	}
	out := make([]candidate, len(described))
	for i, d := range described {
		f := d.Facts()
		f.SameSerial = twins[d.ID]
		if h, held := holders[d.ID]; held {
			f.Holder = h.Told()
		}
		if f.EverActive, f.InstallBegan, err = s.past(ctx, d, histories[d.ID]); err != nil {
			return nil, err
		}
		f.HasSecret = known[d.ID]
		if s.o.Domain != nil {
			f.Domain = s.o.Domain(d.Site.Slug)
		}
		f.SiteGaps = s.siteGaps(d.Site.Slug, d.OOB.Addr())
		out[i] = candidate{facts: f}
		p, err := profile.Find(profiles, profile.Subject{Type: f.Type, Role: f.Role, Site: f.Asset.Site})
		if err != nil {
			out[i].noMatch = err
		} else {
			out[i].profile = &p
		}
	}
	return out, nil
}

// past tells whether a device was ever in service, and whether an install of ours began and did not
// get that far. People move machines to active by hand, so for a failed one our own history is not
// enough: NetBox's changelog must show that it was not since we staged it.
func (s *Server) past(ctx context.Context, d inventory.Device, h operation.InstallHistory) (everActive, installBegan bool, err error) {
	if d.Status != asset.Failed || h.EverActive || !h.InstallBegan {
		return h.EverActive, h.InstallBegan, nil
	}
	if h.Staged.IsZero() {
		return true, true, nil
	}
	everActive, err = s.o.Inventory.WasActive(ctx, d.ID, h.Staged)
	return everActive, true, err
}

// siteGaps are what is missing in the server's configuration of a site: without it a plan would only
// wait for a worker that nobody runs, or be refused by it.
func (s *Server) siteGaps(slug string, oob netip.Addr) []fault.Item {
	switch {
	case slug == "":
		return nil // NetBox's gap
	case !slices.Contains(s.o.Sites, slug):
		return []fault.Item{{Subject: "site " + slug, Expected: "configured", Seen: "only " + strings.Join(s.o.Sites, ", "),
			Remedy: "add it under sites in the server's configuration, with its oob_prefixes, and run a worker there"}}
	case s.o.OOBPrefixes == nil || !oob.IsValid():
		return nil
	}
	prefixes := s.o.OOBPrefixes(slug)
	if slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(oob) }) {
		return nil
	}
	return []fault.Item{{Subject: "oob_ip", Expected: fmt.Sprintf("inside %v", prefixes), Seen: oob.String(),
		Remedy: "correct the address in NetBox, or sites." + slug + ".oob_prefixes of the server and of the site's worker"}}
}

// twins finds, for each device, the names of other devices with the same serial.
func (s *Server) twins(ctx context.Context, devices []inventory.Device) (map[asset.ID][]string, error) {
	var serials []string
	for _, d := range devices {
		if d.Serial != "" {
			serials = append(serials, d.Serial)
		}
	}
	if len(serials) == 0 {
		return nil, nil
	}
	all, err := s.o.Inventory.Find(ctx, inventory.Query{Serials: slices.Compact(slices.Sorted(slices.Values(serials)))})
	if err != nil {
		return nil, err
	}
	bySerial := map[string][]inventory.Device{}
	for _, d := range all {
		key := strings.ToLower(strings.TrimSpace(d.Serial))
		bySerial[key] = append(bySerial[key], d)
	}
	out := map[asset.ID][]string{}
	for _, d := range devices {
		for _, other := range bySerial[strings.ToLower(strings.TrimSpace(d.Serial))] {
			if other.ID != d.ID && asset.SameSerial(other.Serial, d.Serial) {
				out[d.ID] = append(out[d.ID], other.Name)
			}
		}
	}
	return out, nil
}

func machines(devices []inventory.Device) []Machine {
	out := make([]Machine, len(devices))
	for i, d := range devices {
		out[i] = Machine{Ref: d.Ref()}
		for _, iface := range d.Interfaces {
			if iface.Mgmt {
				out[i].MACs = append(out[i].MACs, iface.MACs...)
			}
		}
	}
	return out
}

// makePlan plans an install for the devices, or says everything that stands against it at once.
func (s *Server) makePlan(ctx context.Context, until string, devices []inventory.Device) (plan.Plan, error) {
	until = cmp.Or(until, plan.UntilActive)
	candidates, err := s.gather(ctx, devices)
	if err != nil {
		return plan.Plan{}, err
	}
	files, err := s.o.Store.ListFirmware(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	p := plan.Plan{Kind: "install", Until: until, Capacity: "none: planned and staged machines carry no load"}
	var refused []refusal
	for _, c := range candidates {
		f := plan.Check(c.facts, c.profile, c.noMatch)
		if c.profile == nil || f != nil && !mendable(f) {
			refused = append(refused, refusal{c.facts.Asset.Name, f})
			continue
		}
		// What the runbook misses is said together with the record's gaps, not in a second round.
		target, err := s.o.Planner(c.facts, *c.profile, files, until)
		var missing *fault.Error
		if err != nil && !errors.As(err, &missing) {
			return plan.Plan{}, fmt.Errorf("plan %s: %w", c.facts.Asset.Name, err)
		}
		switch {
		case f != nil && missing != nil && len(missing.Details) > 0:
			for _, d := range missing.Details {
				f.Message += ", " + d.Subject
			}
			f.Details = append(f.Details, missing.Details...)
		case f == nil:
			f = missing
		}
		if f != nil {
			refused = append(refused, refusal{c.facts.Asset.Name, f})
			continue
		}
		p.Targets = append(p.Targets, target)
	}
	if len(refused) > 0 {
		return plan.Plan{}, merge(refused, len(candidates))
	}
	sealed, err := plan.Seal(p)
	if err != nil {
		return plan.Plan{}, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	return sealed, nil
}

// mendable tells whether a refusal is a list of gaps, and not that the machine may not be touched.
func mendable(f *fault.Error) bool {
	return f.Code == fault.Incomplete || f.Code == fault.DuplicateSerial
}

// refusal is why one machine may not be installed.
type refusal struct {
	name  string
	fault *fault.Error
}

// gravest orders codes: the first that is among the refusals is the code of the whole. Locked comes
// last, because waiting helps only when nothing else is wrong.
var gravest = []fault.Code{fault.InService, fault.IllegalMove, fault.DuplicateSerial, fault.Incomplete, fault.NoProfile,
	fault.BadImage, fault.Invalid, fault.Locked}

// merge makes one fault of the refusals of several machines, with every gap of every machine in its
// details.
func merge(refused []refusal, of int) *fault.Error {
	if of == 1 {
		return refused[0].fault
	}
	code := refused[0].fault.Code
	for _, c := range gravest {
		if slices.ContainsFunc(refused, func(r refusal) bool { return r.fault.Code == c }) {
			code = c
			break
		}
	}
	names := make([]string, 0, len(refused))
	e := fault.New(code, "")
	for _, r := range refused {
		names = append(names, r.name)
		if r.fault.Holder != "" && e.Holder == "" {
			e.Holder = r.fault.Holder
		}
		if len(r.fault.Details) == 0 {
			e.Details = append(e.Details, fault.Item{Subject: r.name, Seen: r.fault.Message, Remedy: r.fault.Remedy})
		}
		for _, d := range r.fault.Details {
			d.Subject = r.name + " " + d.Subject
			e.Details = append(e.Details, d)
		}
	}
	const shown = 10
	list := strings.Join(names[:min(shown, len(names))], ", ")
	if len(names) > shown {
		list += fmt.Sprintf(" and %d more", len(names)-shown)
	}
	e.Message = fmt.Sprintf("%d of %d machines cannot be taken: %s", len(refused), of, list)
	if code != fault.Locked {
		e.Remedy = "mend what is listed, or leave these machines out; nothing was started"
	}
	return e
}

// profiles reads the profiles; any problem in the folder stops every plan, so that a machine is not
// matched by what is left.
func (s *Server) profiles() ([]profile.Profile, error) {
	ps, err := s.o.Profiles()
	if err != nil {
		return nil, fault.Wrap(err, fault.Incomplete, "the profiles on the server have problems; `cagenut profile check` lists them")
	}
	return ps, nil
}
