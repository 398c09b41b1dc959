package redfish

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// Identify reads who the machine is, by the fields that its quirks name.
func (c *Controller) Identify(ctx context.Context) (bmc.Identity, error) {
	inv, err := c.identify(ctx)
	if err != nil {
		return bmc.Identity{}, err
	}
	if u, kind := c.unproved(inv); kind != nil {
		return bmc.Identity{}, c.fail(kind, "identify: GET "+u.URI, u.Detail)
	}
	if c.system != "" && inv.Identity.System == "" {
		var ids []string
		for _, s := range inv.Systems {
			ids = append(ids, s.ID)
		}
		return bmc.Identity{}, c.fail(bmc.ErrRejected, "identify", "there is no system "+c.system+", but "+strings.Join(ids, ", "))
	}
	if err := c.toldApart("identify", inv.Identity); err != nil {
		return bmc.Identity{}, err
	}
	return inv.Identity, nil
}

// identify reads who the machine is, and nothing of it from the cache.
func (c *Controller) identify(ctx context.Context) (*bmc.Inventory, error) {
	return c.read(ctx, bmc.ScopeIdentity, nil)
}

// unproved finds what could not be read although the identity may stand there: a reading with a gap
// is no proof of who the machine is, nor that it is another. Links to nothing are no gap, as long as
// a serial was found, nor are the other nodes of a BMC on which the wanted one was found.
func (c *Controller) unproved(inv *bmc.Inventory) (bmc.Unread, error) {
	found := c.serial != "" && inv.Identity.System != "" && strings.EqualFold(inv.Identity.Serial, strings.TrimSpace(c.serial))
	kinds := map[string]error{
		reader.ReasonUnauthorized: bmc.ErrBadCredentials, reader.ReasonForbidden: bmc.ErrBadCredentials,
		reader.ReasonServerError: bmc.ErrServer, reader.ReasonBusy: bmc.ErrBusy, reader.ReasonBreaker: bmc.ErrBreakerOpen,
		reader.ReasonTimeout: bmc.ErrUnreachable, reader.ReasonUnreachable: bmc.ErrUnreachable,
		reader.ReasonTLS: bmc.ErrCertificate, reader.ReasonPinChanged: bmc.ErrPinChanged,
		reader.ReasonMalformed: bmc.ErrMalformed, reader.ReasonHTML: bmc.ErrMalformed, reader.ReasonWrongType: bmc.ErrMalformed,
		reader.ReasonTooLarge: bmc.ErrTooLarge, reader.ReasonBudget: bmc.ErrTooLarge, reader.ReasonCancelled: bmc.ErrIncomplete,
	}
	for _, u := range inv.Unread {
		if found && !strings.HasPrefix(u.URI, inv.Identity.System) {
			continue
		}
		if kind := kinds[u.Reason]; kind != nil && u.Reason != reader.ReasonForbidden && strings.Contains(strings.ToLower(u.URI), "/systems") {
			return u, kind
		}
	}
	if inv.Identity.Serial != "" || len(inv.Unread) == 0 {
		return bmc.Unread{}, nil
	}
	return inv.Unread[0], cmp.Or(kinds[inv.Unread[0].Reason], bmc.ErrMalformed)
}

// Read gives everything in the scope that the BMC knows; of a BMC with several nodes, of the one that was
// asked for.
func (c *Controller) Read(ctx context.Context, scope bmc.Scope) (*bmc.Inventory, error) {
	if scope == bmc.ScopeIdentity {
		return c.identify(ctx)
	}
	inv, err := c.read(ctx, scope, c.cache)
	if err == nil && (c.system != "" || c.serial != "") {
		onlyNode(inv)
	}
	return inv, err
}

func (c *Controller) read(ctx context.Context, scope bmc.Scope, cache *reader.Cache) (*bmc.Inventory, error) {
	inv, err := reader.Read(ctx, c.conn, reader.Options{
		URL: "https://" + c.conn.Host(), Scope: scope, System: c.system, Serial: c.serial, Cache: cache, Now: c.clock.Now,
	})
	if inv != nil {
		inv.Identity.Fingerprint = c.conn.Fingerprint()
	}
	return inv, err
}

// sels are what vendors call the log that holds hardware events, best first.
var sels = []string{"sel", "iml", "systemeventlog", "eventlog", "standardlog", "platformlog", "log1", "activelog", "log"}

// Events gives the newest entries of the system event log, newest first.
func (c *Controller) Events(ctx context.Context, limit int) ([]bmc.Event, error) {
	log, err := c.eventLog(ctx)
	if err != nil {
		return nil, err
	}
	events := []bmc.Event{}
	entries, err := c.entries(ctx, log.link("Entries"), limit)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		severity := firstNonEmpty(e.str("Severity"), e.str("Oem/Hpe/Severity"))
		events = append(events, bmc.Event{
			ID: e.str("Id"), Log: log.id(), Time: firstNonEmpty(e.str("Created"), e.str("EventTimestamp")), Severity: severity,
			Message: strings.TrimSpace(e.str("Message")), Code: firstNonEmpty(e.str("MessageId"), e.str("SensorType")), URI: e.id(),
		})
	}
	// RFC 3339 sorts as text within one BMC, which writes one offset.
	slices.SortStableFunc(events, func(a, b bmc.Event) int { return cmp.Compare(b.Time, a.Time) })
	return events[:min(len(events), max(limit, 0))], nil
}

func (c *Controller) eventLog(ctx context.Context) (object, error) {
	p, err := c.where(ctx)
	if err != nil {
		return nil, err
	}
	var best object
	at := len(sels) + 1
	for _, owner := range []string{p.system, p.manager} {
		if owner == "" {
			continue
		}
		o, err := c.get(ctx, owner)
		if err != nil {
			return nil, err
		}
		logs, err := c.members(ctx, o, "LogServices")
		if err != nil && !gone(err) {
			return nil, err
		}
		for _, l := range logs {
			if l.link("Entries") == "" {
				continue
			}
			i := slices.Index(sels, strings.ToLower(l.str("Id")))
			if l.str("LogEntryType") == "SEL" {
				i = 0
			}
			if i < 0 {
				i = len(sels)
			}
			if i < at {
				best, at = l, i
			}
		}
	}
	if best == nil {
		return nil, c.unsupported("read the event log", "log")
	}
	return best, nil
}

// entries reads entries of a log. They come whole in the collection, or as links; sorted oldest or
// newest first, which only both ends tell. A log may have thousands: as much of it is read as is
// needed to have the newest.
func (c *Controller) entries(ctx context.Context, path string, limit int) ([]object, error) {
	const pages = 50
	var whole []object
	var links []string
	seen := map[string]bool{}
	for next := path; next != "" && !seen[next] && len(seen) < pages; {
		seen[next] = true
		page, err := c.get(ctx, next)
		if err != nil {
			return nil, err
		}
		for _, m := range page.objs("Members") {
			if m.has("Created") || m.has("Message") {
				whole = append(whole, m)
			} else if l := m.link("@odata.id"); l != "" {
				links = append(links, l)
			}
		}
		next = page.str("Members@odata.nextLink")
	}
	if len(links) > 2*limit {
		links = slices.Concat(links[:limit], links[len(links)-limit:])
	}
	for _, l := range links {
		o, err := c.get(ctx, l)
		if gone(err) {
			continue // logs turn over while they are read
		}
		if err != nil {
			return nil, err
		}
		whole = append(whole, o)
	}
	return whole, nil
}
