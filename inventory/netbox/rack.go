package netbox

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"github.com/cagenut/cagenut/inventory"
)

const (
	rackFields       = "id,name,site,u_height,starting_unit,desc_units"
	rackDeviceFields = "id,name,serial,status,role,device_type,position,face"
	typeFields       = "id,u_height,is_full_depth"
)

type rackRecord struct {
	ID         int64 `json:"id"`
	Name       text  `json:"name"`
	Site       *ref  `json:"site"`
	Height     text  `json:"u_height"`
	Lowest     text  `json:"starting_unit"`
	Descending text  `json:"desc_units"`
}

type typeRecord struct {
	ID        int64 `json:"id"`
	Height    text  `json:"u_height"`
	FullDepth text  `json:"is_full_depth"`
}

// Rack gives a rack with its devices. See inventory.Source. A device carries no height: that is its
// type's, which the nested form leaves out, so that the types are read apart.
func (c *Client) Rack(ctx context.Context, site, name string) (inventory.Rack, error) {
	op := fmt.Sprintf("read rack %q of site %q", name, site)
	if name == "" {
		return inventory.Rack{}, &inventory.Error{Kind: inventory.ErrInvalid, Op: op, Detail: "the name of the rack is empty"}
	}
	found, err := c.oneRack(ctx, op, rackFields, name, site)
	if err != nil {
		return inventory.Rack{}, err
	}
	r := found.rack()
	records, err := listAll[deviceRecord](ctx, c, op, url.Values{"fields": {rackDeviceFields}, "rack_id": {strconv.FormatInt(r.ID, 10)}},
		func(ctx context.Context, offset int32) (*http.Response, error) {
			_, resp, err := c.api.DcimAPI.DcimDevicesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
			return resp, err
		})
	if err != nil {
		return inventory.Rack{}, err
	}
	types, err := c.heights(ctx, op, records)
	if err != nil {
		return inventory.Rack{}, err
	}
	r.Devices = make([]inventory.RackDevice, len(records))
	for i, rec := range records {
		d, t := rec.device(), types[rec.DeviceType.id()]
		r.Devices[i] = inventory.RackDevice{ID: d.ID, Name: d.Name, Serial: d.Serial, Status: d.Status, Role: d.Role, Type: d.Type,
			Position: d.Position, Face: d.Face, Height: number(t.Height), FullDepth: t.FullDepth == "true"}
	}
	slices.SortFunc(r.Devices, func(a, b inventory.RackDevice) int { return cmp.Compare(a.ID, b.ID) })
	return r, nil
}

// heights reads the device types of devices.
func (c *Client) heights(ctx context.Context, op string, devices []deviceRecord) (map[int64]typeRecord, error) {
	var ids []int64
	for _, d := range devices {
		if id := d.DeviceType.id(); id != 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var mu sync.Mutex
	out := map[int64]typeRecord{}
	err := inBatches(ctx, batches("id", slices.Compact(ids), c.fixedLine(typeFields)), func(ctx context.Context, some []int64) error {
		filter := url.Values{"fields": {typeFields}}
		for _, id := range some {
			filter.Add("id", strconv.FormatInt(id, 10))
		}
		types, err := listAll[typeRecord](ctx, c, op, filter, func(ctx context.Context, offset int32) (*http.Response, error) {
			_, resp, err := c.api.DcimAPI.DcimDeviceTypesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
			return resp, err
		})
		mu.Lock()
		defer mu.Unlock()
		for _, t := range types {
			out[t.ID] = t
		}
		return err
	})
	return out, err
}

func (r rackRecord) rack() inventory.Rack {
	return inventory.Rack{ID: r.ID, Name: string(r.Name), Site: r.Site.named(),
		Height: int(number(r.Height)), Lowest: cmp.Or(int(number(r.Lowest)), 1), Descending: r.Descending == "true"}
}

// number reads a number; what is none is 0, so that one odd device does not hide a rack.
func number(t text) float64 {
	n, _ := strconv.ParseFloat(string(t), 64)
	return n
}

// oneRack gives the one rack with this name, with some of its fields.
func (c *Client) oneRack(ctx context.Context, op, fields, name, site string) (rackRecord, error) {
	filter := url.Values{"fields": {fields}, "name": {name}}
	if site != "" {
		filter.Set("site", site)
	}
	found, err := listAll[rackRecord](ctx, c, op, filter, func(ctx context.Context, offset int32) (*http.Response, error) {
		_, resp, err := c.api.DcimAPI.DcimRacksList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
		return resp, err
	})
	if err != nil {
		return rackRecord{}, noSuchSite(err, site)
	}
	switch len(found) {
	case 0:
		return rackRecord{}, &inventory.Error{Kind: inventory.ErrNotFound, Op: op, Names: []string{name}, Detail: "no rack has this name"}
	case 1:
		return found[0], nil
	}
	var where []string
	for _, r := range found {
		where = append(where, fmt.Sprintf("%s (site %s)", name, r.Site.named().Slug))
	}
	return rackRecord{}, &inventory.Error{Kind: inventory.ErrAmbiguous, Op: op, Names: unique(where), Detail: "name the site of the rack"}
}
