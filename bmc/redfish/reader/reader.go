// Package reader reads all that a Redfish service (DSP0266) tells about its machine, quickly and
// without trusting it, into one bmc.Inventory.
//
// Words
//
//   - Getter: what fetches one path; in production a broker connection, which owns the session, the
//     TLS pin and the limits on one BMC.
//   - Walk: following links from the ServiceRoot, each resource once, the important ones first, with
//     a few requests in flight (walk.go is the queue, visit.go takes an answer in). Which links are
//     wanted depends on the scope (follow.go); no path of any vendor is known beforehand.
//   - Resource: one decoded answer, or one member of a collection that was answered expanded.
//   - Building: turning resources into the inventory by their type (build*.go). What carries a
//     serial, MAC or version and fits nowhere is collected by a last pass (leftover.go), so that
//     nothing that was read is lost.
//   - Unread: what should have been read and could not be, with one of the Reason codes. Reading
//     never fails because of a single resource.
//   - Cache: answers of earlier readings, by path; an unchanged resource is neither sent nor decoded
//     again. Who the machine is never comes from it.
//
// Read may be called by several goroutines at once, also with the same Cache. One Read calls its
// Getter from up to Options.InFlight goroutines and has ended them all when it returns.
package reader

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// Getter fetches one absolute path, which may have a query. A non-empty etag asks for
// Resource.NotModified if the resource still has it. Errors are *bmc.Error. It must be safe for
// concurrent use and must end when its context does.
type Getter interface {
	Get(ctx context.Context, path, etag string) (broker.Resource, error)
}

// The reasons why something is in Inventory.Unread. They are part of the output: never renamed.
const (
	ReasonNotFound     = "not_found"    // 404 or 410: a link to nothing
	ReasonUnauthorized = "unauthorized" // 401
	ReasonForbidden    = "forbidden"    // 403: the account may not see it
	ReasonUnsupported  = "unsupported"  // 405 or 501
	ReasonRejected     = "rejected"     // another 4xx
	ReasonServerError  = "server_error" // 5xx
	ReasonBusy         = "busy"         // 429 or 503, also when asked again
	ReasonTimeout      = "timeout"      // no answer in time
	ReasonUnreachable  = "unreachable"  // the connection broke
	ReasonTLS          = "tls"          // the certificate is not trusted
	ReasonPinChanged   = "pin_changed"  // the certificate is not the pinned one any more
	ReasonBreaker      = "breaker_open" // the BMC failed so often that it is left alone
	ReasonMalformed    = "malformed"    // not JSON, or a link that is none
	ReasonHTML         = "html"         // a web page instead of a resource
	ReasonWrongType    = "wrong_type"   // JSON of another shape than DSP0266 wants
	ReasonTooLarge     = "too_large"    // more bytes than Bounds allow
	ReasonOffHost      = "off_host"     // a link to another host; it was not followed
	ReasonCyclic       = "cyclic"       // a collection whose next page is an earlier one
	ReasonEndless      = "endless"      // a collection with more members or pages than Bounds allow
	ReasonTruncated    = "truncated"    // a collection that lists fewer members than it says it has
	ReasonDepth        = "depth"        // further from the ServiceRoot than Bounds allow
	ReasonBudget       = "budget"       // Bounds on requests or bytes were used up before its turn
	ReasonCancelled    = "cancelled"    // the caller gave up
)

// Bounds keep a misbehaving BMC from occupying us. Zero fields take the default.
type Bounds struct {
	Requests   int           // in one reading; default 6000
	Body       int           // bytes of one answer; default 8 MiB
	Total      int64         // bytes of all answers; default 256 MiB
	Depth      int           // links between the ServiceRoot and a resource; default 24
	Members    int           // of one collection; default 4096
	Pages      int           // of one collection; default 64
	LogEntries int           // of one log, when each is a resource of its own; default 20
	PerRequest time.Duration // one request's time; default 60 s: BMCs take 23 s for a log
}

func (b Bounds) withDefaults() Bounds {
	def := func(p *int, d int) {
		if *p <= 0 {
			*p = d
		}
	}
	def(&b.Requests, 6000)
	def(&b.Body, 8<<20)
	def(&b.Depth, 24)
	def(&b.Members, 4096)
	def(&b.Pages, 64)
	def(&b.LogEntries, 20)
	if b.Total <= 0 {
		b.Total = 256 << 20
	}
	if b.PerRequest <= 0 {
		b.PerRequest = 60 * time.Second
	}
	return b
}

// Options say how to read.
type Options struct {
	URL      string    // of the service, for the inventory; its host is the only one that links may name
	Scope    bmc.Scope // default bmc.ScopeComplete
	Sections Sections  // within bmc.ScopeHardware; default all
	InFlight int       // most requests at once, default 4; a quirk may lower it
	// System is the Id of the system that gives the identity where a BMC serves several; Serial
	// chooses the one with this serial, if there is one. With neither it is the one that looks most
	// like a host.
	System   string
	Serial   string
	Bounds   Bounds
	Cache    *Cache           // may be nil
	Now      func() time.Time // default time.Now
	NoExpand bool             // never use $expand
}

// Read walks the service behind get and gives what it found. The error is a *bmc.Error and is
// returned only when nothing useful was read: no ServiceRoot, or neither a system, a chassis nor a
// manager; the inventory is then returned too, with what it has in Unread.
func Read(ctx context.Context, get Getter, o Options) (*bmc.Inventory, error) {
	if o.Scope == "" {
		o.Scope = bmc.ScopeComplete
	}
	switch o.Scope {
	case bmc.ScopeIdentity, bmc.ScopeHardware, bmc.ScopeComplete:
	default:
		return nil, &bmc.Error{Kind: bmc.ErrUnsupported, Op: "read", Host: hostOf(o.URL),
			Detail: fmt.Sprintf("scope %q is none of identity, hardware, complete", o.Scope)}
	}
	if o.Sections == 0 {
		o.Sections = AllSections
	}
	if o.InFlight <= 0 {
		o.InFlight = 4
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Bounds = o.Bounds.withDefaults()

	w, inv := readOnce(ctx, get, o)
	if !o.Cache.belongs(machineOf(inv)) && ctx.Err() == nil {
		// Another machine answers where this one did, and may have said of anything that it is unchanged.
		w, inv = readOnce(ctx, get, o)
	}
	if len(inv.Systems)+len(inv.Chassis)+len(inv.Managers) > 0 {
		return inv, nil
	}
	if w.firstErr != nil {
		return inv, w.firstErr
	}
	return inv, &bmc.Error{Kind: bmc.ErrMalformed, Op: "read", Host: hostOf(o.URL),
		Detail: "the service names neither a system, a chassis nor a manager"}
}

func readOnce(ctx context.Context, get Getter, o Options) (*walker, *bmc.Inventory) {
	w := newWalker(get, o)
	readAt := o.Now().UTC()
	w.run(ctx)
	return w, build(w, readAt)
}

// machineOf tells machines apart, for the cache.
func machineOf(inv *bmc.Inventory) string {
	names := []string{inv.Service.UUID}
	for _, s := range inv.Systems {
		names = append(names, s.Serial, s.SKU, s.UUID)
	}
	for _, c := range inv.Chassis {
		names = append(names, c.Serial)
	}
	return strings.Join(names, "\x00")
}
