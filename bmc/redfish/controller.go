// Package redfish drives a management controller over Redfish (DSP0266, DSP0268). It is the driver of
// package bmc for BMCs that speak it.
//
// Words
//
//   - Controller: one BMC through one broker connection.
//   - Place: which system, manager and services of the BMC are meant, found by following links from
//     the ServiceRoot once (place.go). No path is known beforehand.
//   - Object: one resource as decoded JSON. Real BMCs send wrong types, so every access is tolerant:
//     what is not what it should be is not there.
//   - Read-back: after each write the resource is read again until it shows the value, for a few
//     seconds. A BMC that says yes and does nothing is an error: bmc.ErrNotApplied.
//
// Reading everything is the subpackage reader. Power and virtual media go through bmclib, over the
// broker's connection and never with a session of its own; where bmclib cannot do something
// correctly, it is done here and the comment says why.
//
// A Controller is safe for concurrent use. A write for what already is sends no request that changes
// anything.
package redfish

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// Options say how a Controller works. The zero value is right for production.
type Options struct {
	System string        // Id of the system, on a BMC that serves several
	Serial string        // else its serial, see bmc.Endpoint
	Cache  *reader.Cache // answers of earlier readings of this BMC
	Clock  broker.Clock  // nil: the machine's
	// Settle is how long a read-back waits for the BMC to show a written value; default 10 s.
	Settle time.Duration
}

// Controller is one BMC. It implements bmc.Controller.
type Controller struct {
	conn   *broker.Conn
	system string
	serial string
	cache  *reader.Cache
	clock  broker.Clock
	settle time.Duration

	mu       sync.Mutex
	place    *place
	registry map[string]*attributeRegistry
}

var _ bmc.Controller = (*Controller)(nil)

// New makes a Controller over a connection, which it closes with Close.
func New(conn *broker.Conn, o Options) *Controller {
	if o.Clock == nil {
		o.Clock = broker.SystemClock()
	}
	if o.Settle <= 0 {
		o.Settle = 10 * time.Second
	}
	return &Controller{conn: conn, system: o.System, serial: o.Serial, cache: o.Cache, clock: o.Clock, settle: o.Settle,
		registry: map[string]*attributeRegistry{}}
}

// Close logs out, or gives the connection back to its pool.
func (c *Controller) Close(ctx context.Context) error { return c.conn.Close(ctx) }

// get reads one resource.
func (c *Controller) get(ctx context.Context, path string) (object, error) {
	res, err := c.conn.Get(ctx, path, "")
	if err != nil {
		return nil, err
	}
	o, err := decode(res.Body)
	if err != nil {
		return nil, c.fail(bmc.ErrMalformed, "GET "+path, err.Error())
	}
	if res.ETag != "" {
		o[etagKey] = res.ETag
	}
	return o, nil
}

// change sends one PATCH with the ETag that was read, so that a change which somebody made in between is
// noticed: then the resource is read again and the PATCH sent once more, since 412 says it was not done.
func (c *Controller) change(ctx context.Context, path, etag string, body any) error {
	_, err := c.conn.Do(ctx, http.MethodPatch, path, body, broker.Options{IfMatch: etag})
	var e *bmc.Error
	if !errors.As(err, &e) || e.Status != http.StatusPreconditionFailed && e.Status != http.StatusPreconditionRequired {
		return err
	}
	now, getErr := c.get(ctx, path)
	if getErr != nil || now.etag() == "" || now.etag() == etag {
		return err
	}
	_, err = c.conn.Do(ctx, http.MethodPatch, path, body, broker.Options{IfMatch: now.etag()})
	return err
}

// readBack asks until shown answers true or Settle is over.
func (c *Controller) readBack(ctx context.Context, op string, shown func() (ok bool, now string, err error)) error {
	end := c.clock.Now().Add(c.settle)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		ok, now, err := shown()
		switch {
		case err != nil && !errors.Is(err, bmc.ErrBusy):
			return err
		case ok:
			return nil
		case !c.clock.Now().Before(end):
			if err != nil {
				return err
			}
			return c.fail(bmc.ErrNotApplied, op, "it still shows "+now)
		}
		if err := c.clock.Sleep(ctx, wait); err != nil {
			return c.wrap(bmc.ErrIncomplete, op, err)
		}
	}
}

func (c *Controller) fail(kind error, op, detail string) error {
	return &bmc.Error{Kind: kind, Op: op, Host: c.conn.Host(), Detail: detail}
}

func (c *Controller) wrap(kind error, op string, err error) error {
	return &bmc.Error{Kind: kind, Op: op, Host: c.conn.Host(), Err: err}
}

// each reads the members of a collection at the same time, as far as the broker lets it. A member
// that is gone by then is left out; another failure fails the whole.
func (c *Controller) each(ctx context.Context, collection string, limit int) ([]object, error) {
	var links []string
	seen := map[string]bool{}
	for next := collection; next != "" && !seen[next] && len(links) < limit; {
		seen[next] = true
		o, err := c.get(ctx, next)
		if err != nil {
			return nil, err
		}
		links = append(links, o.links("Members")...)
		next = o.str("Members@odata.nextLink")
	}
	links = links[:min(len(links), limit)]
	out := make([]object, len(links))
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 4)
	for i, l := range links {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			if out[i], errs[i] = c.get(ctx, l); out[i] != nil && out[i].str("@odata.id") == "" {
				out[i]["@odata.id"] = l
			}
		})
	}
	wg.Wait()
	var found []object
	for i, o := range out {
		switch {
		case gone(errs[i]):
		case errs[i] != nil:
			return nil, errs[i]
		default:
			found = append(found, o)
		}
	}
	return found, nil
}

// gone tells that a resource is not there.
func gone(err error) bool {
	var e *bmc.Error
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// unsupported is for a service or an action that the BMC does not have.
func (c *Controller) unsupported(op, what string) error {
	return c.fail(bmc.ErrUnsupported, op, "the BMC offers no "+what)
}

func decode(body []byte) (object, error) {
	d := json.NewDecoder(bytesReader(body))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("not a JSON object")
	}
	return o, nil
}
