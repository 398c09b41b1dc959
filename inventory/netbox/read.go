package netbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// Find gives the devices of a query by ID. See inventory.Source.
func (c *Client) Find(ctx context.Context, q inventory.Query) ([]inventory.Device, error) {
	op := "find devices " + summary(q)
	if len(q.IDs)+len(q.Names)+len(q.Serials) == 0 && q.Rack == "" {
		return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: op,
			Detail: "the query selects nothing: name IDs, names, serials or a rack; empty is not all, and a site alone is too much"}
	}
	for _, s := range slices.Concat(q.Names, q.Serials) {
		if strings.TrimSpace(s) == "" {
			return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: op, Detail: "a name or serial in the query is empty"}
		}
	}
	var rack int64
	if q.Rack != "" {
		var err error
		if rack, err = c.rack(ctx, op, q.Rack, q.Site); err != nil {
			return nil, err
		}
	}
	// NetBox selects by the first of these; the others are compared here.
	var found []inventory.Device
	var err error
	switch {
	case len(q.IDs) > 0:
		found, err = findBy(ctx, c, op, "id", q.IDs, q.Site, rack)
	case len(q.Names) > 0:
		found, err = findBy(ctx, c, op, "name", q.Names, q.Site, rack)
	case len(q.Serials) > 0:
		found, err = findBy(ctx, c, op, "serial", q.Serials, q.Site, rack)
	default:
		found, err = findBy(ctx, c, op, "rack_id", []int64{rack}, q.Site, 0)
	}
	if err != nil {
		return nil, err
	}
	return choose(op, q, found)
}

// choose keeps the devices that all set fields of the query name, and refuses names that match
// nothing or several.
func choose(op string, q inventory.Query, found []inventory.Device) ([]inventory.Device, error) {
	byName, bySerial, byID := map[string][]inventory.Device{}, map[string]int{}, map[asset.ID]bool{}
	var kept []inventory.Device
	for _, d := range found {
		if byID[d.ID] ||
			(len(q.IDs) > 0 && !slices.Contains(q.IDs, d.ID)) ||
			(len(q.Names) > 0 && !containsFold(q.Names, d.Name)) ||
			(len(q.Serials) > 0 && !slices.ContainsFunc(q.Serials, func(s string) bool { return asset.SameSerial(s, d.Serial) })) {
			continue
		}
		byID[d.ID] = true
		byName[strings.ToLower(d.Name)] = append(byName[strings.ToLower(d.Name)], d)
		bySerial[strings.ToLower(strings.TrimSpace(d.Serial))]++
		kept = append(kept, d)
	}
	var missing, several []string
	for _, id := range q.IDs {
		if !byID[id] {
			missing = append(missing, id.String())
		}
	}
	for _, n := range q.Names {
		switch same := byName[strings.ToLower(n)]; {
		case len(same) == 0:
			missing = append(missing, n)
		case len(same) > 1:
			for _, d := range same {
				several = append(several, fmt.Sprintf("%s (ID %d, site %s)", d.Name, d.ID, d.Site.Slug))
			}
		}
	}
	for _, s := range q.Serials {
		if bySerial[strings.ToLower(strings.TrimSpace(s))] == 0 {
			missing = append(missing, s)
		}
	}
	if len(missing) > 0 {
		return nil, &inventory.Error{Kind: inventory.ErrNotFound, Op: op, Names: unique(missing)}
	}
	if len(several) > 0 {
		return nil, &inventory.Error{Kind: inventory.ErrAmbiguous, Op: op, Names: unique(several), Detail: "name the site or the ID"}
	}
	slices.SortFunc(kept, func(a, b inventory.Device) int { return cmp.Compare(a.ID, b.ID) })
	return kept, nil
}

// rack gives the ID of the one rack with this name.
func (c *Client) rack(ctx context.Context, op, name, site string) (int64, error) {
	r, err := c.oneRack(ctx, op, "id,site", name, site)
	return r.ID, err
}

// findBy lists the devices for which param has one of the values.
func findBy[T any](ctx context.Context, c *Client, op, param string, values []T, site string, rack int64) ([]inventory.Device, error) {
	var mu sync.Mutex
	var out []inventory.Device
	err := inBatches(ctx, batches(param, values, c.fixedLine(deviceFields, site)), func(ctx context.Context, some []T) error {
		filter := url.Values{"fields": {deviceFields}}
		for _, v := range some {
			filter.Add(param, fmt.Sprint(v))
		}
		if site != "" {
			filter.Set("site", site)
		}
		if rack != 0 {
			filter.Set("rack_id", fmt.Sprint(rack))
		}
		devices, err := c.devices(ctx, op, filter)
		if err != nil {
			return noSuchSite(err, site)
		}
		mu.Lock()
		defer mu.Unlock()
		out = append(out, devices...)
		return nil
	})
	return out, err
}

// devices lists the devices of a filter.
func (c *Client) devices(ctx context.Context, op string, filter url.Values) ([]inventory.Device, error) {
	records, err := listAll[deviceRecord](ctx, c, op, filter, func(ctx context.Context, offset int32) (*http.Response, error) {
		_, resp, err := c.api.DcimAPI.DcimDevicesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
		return resp, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]inventory.Device, len(records))
	for i, r := range records {
		out[i] = r.device()
	}
	return out, nil
}

// Device is one device's plain fields.
func (c *Client) Device(ctx context.Context, id asset.ID) (inventory.Device, error) {
	return c.tagged(ctx, "read device "+id.String(), id)
}

func (c *Client) tagged(ctx context.Context, op string, id asset.ID) (inventory.Device, error) {
	r, etag, err := c.device(ctx, op, id)
	d := r.device()
	d.ETag = etag
	return d, err
}

// known tells that a device as it was read before can stand for reading it now.
func known(d *inventory.Device, id asset.ID) bool { return d != nil && d.ID == id && d.ETag != "" }

// device reads one device with its ETag, which is empty before NetBox 4.6.
func (c *Client) device(ctx context.Context, op string, id asset.ID) (deviceRecord, string, error) {
	id32, err := nativeID(op, id)
	if err != nil {
		return deviceRecord{}, "", err
	}
	var r deviceRecord
	x := &call{query: url.Values{"fields": {deviceFields}}}
	err = c.send(ctx, op, x, &r, func(ctx context.Context) (*http.Response, error) {
		_, resp, err := c.api.DcimAPI.DcimDevicesRetrieve(ctx, id32).Execute()
		return resp, err
	})
	if err == nil && asset.ID(r.ID) != id {
		err = &inventory.Error{Kind: inventory.ErrMalformed, Op: op, Status: x.status, Detail: fmt.Sprintf("the answer is device %d", r.ID)}
	}
	return r, x.etag, err
}

// SameSerial lists the devices with this serial.
func (c *Client) SameSerial(ctx context.Context, serial string) ([]inventory.Device, error) {
	op := fmt.Sprintf("find devices with serial %q", serial)
	if strings.TrimSpace(serial) == "" {
		return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: op, Detail: "an empty serial is nobody's"}
	}
	return c.devices(ctx, op, url.Values{"fields": {deviceFields}, "serial": {serial}})
}

// Sites lists the sites by slug.
func (c *Client) Sites(ctx context.Context) ([]inventory.Named, error) {
	records, err := listAll[ref](ctx, c, "list sites", url.Values{"fields": {"id,name,slug"}}, func(ctx context.Context, offset int32) (*http.Response, error) {
		_, resp, err := c.api.DcimAPI.DcimSitesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
		return resp, err
	})
	out := make([]inventory.Named, len(records))
	for i := range records {
		out[i] = records[i].named()
	}
	slices.SortFunc(out, func(a, b inventory.Named) int { return strings.Compare(a.Slug, b.Slug) })
	return out, err
}

// inBatches works on batches, four at a time, until the first error.
func inBatches[T any](ctx context.Context, batches [][]T, work func(context.Context, []T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, b := range batches {
		g.Go(func() error { return work(ctx, b) })
	}
	return g.Wait()
}

// nativeID is an ID as go-netbox takes it.
func nativeID(op string, id asset.ID) (int32, error) {
	if id <= 0 || id > math.MaxInt32 {
		return 0, &inventory.Error{Kind: inventory.ErrNotFound, Op: op, Names: []string{id.String()}, Detail: "no NetBox device has this ID"}
	}
	return int32(id), nil
}

// noSuchSite turns NetBox's rejection of an unknown site slug into an ErrNotFound that names it.
func noSuchSite(err error, site string) error {
	var e *inventory.Error
	if site != "" && errors.As(err, &e) && errors.Is(e, inventory.ErrRejected) && strings.HasPrefix(e.Detail, `{"site":`) {
		return &inventory.Error{Kind: inventory.ErrNotFound, Op: e.Op, Names: []string{site}, Detail: "no site has this slug"}
	}
	return err
}

func summary(q inventory.Query) string {
	var parts []string
	add := func(what string, n int, first string) {
		switch {
		case n == 1:
			parts = append(parts, what+" "+first)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss from %s", n, what, first))
		}
	}
	if len(q.IDs) > 0 {
		add("ID", len(q.IDs), q.IDs[0].String())
	}
	if len(q.Names) > 0 {
		add("name", len(q.Names), q.Names[0])
	}
	if len(q.Serials) > 0 {
		add("serial", len(q.Serials), q.Serials[0])
	}
	if q.Rack != "" {
		add("rack", 1, q.Rack)
	}
	if q.Site != "" {
		add("site", 1, q.Site)
	}
	return "by " + strings.Join(parts, ", ")
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) })
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
