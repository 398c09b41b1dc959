// Package netboxload puts a planned rack (sim.Rack) into a NetBox through its REST API: the box's
// own (netboxsim) and a real one alike, so that both hold the same world.
//
// Loading is idempotent: what is there already, by its natural key, is left as it stands, and what
// is missing is made in bulk requests. A load that was interrupted is finished by the next one. The
// token must belong to somebody who may create objects; this is never the service account.
package netboxload

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
)

// chunk is the number of objects in one bulk request: NetBox needs up to 0.3 s for each.
const chunk = 100

// LoadRack makes what rack says and NetBox at baseURL does not have yet.
func LoadRack(ctx context.Context, baseURL, token string, rack sim.Rack) error {
	l := newLoader(ctx, baseURL, token)
	for _, step := range []func(sim.Rack) error{l.surroundings, l.vlans, l.prefixes, l.devices, l.interfaces, l.networks, l.oob, l.cables} {
		if err := step(rack); err != nil {
			return fmt.Errorf("load rack %s of site %s: %w", rack.Name, rack.Site.Slug, err)
		}
	}
	return nil
}

func newLoader(ctx context.Context, baseURL, token string) *loader {
	return &loader{ctx: ctx, base: strings.TrimRight(baseURL, "/"), token: token,
		http: &http.Client{Timeout: 5 * time.Minute}, ids: map[string]int64{}}
}

type loader struct {
	ctx   context.Context
	base  string
	token string
	http  *http.Client
	ids   map[string]int64 // "path key" -> ID, of everything listed or made
}

type body = map[string]any

// object is what the loader reads of any object.
type object struct {
	ID     int64  `json:"id"`
	Slug   string `json:"slug"`
	Name   string `json:"name"`
	Prefix string `json:"prefix"`
	Device *struct {
		Name string `json:"name"`
	} `json:"device"`
	Cable   *struct{ ID int64 } `json:"cable"`
	Address string              `json:"address"`
	OOB     *struct{ ID int64 } `json:"oob_ip"`
	VID     int                 `json:"vid"`
	LAG     *struct{ ID int64 } `json:"lag"`
	Parent  *struct{ ID int64 } `json:"parent"`
	Mode    any                 `json:"mode"`
}

func (l *loader) surroundings(r sim.Rack) error {
	bySlug := func(o object) string { return o.Slug }
	one := func(path string, o body) error {
		return l.ensure(path, url.Values{"slug": {o["slug"].(string)}}, bySlug, map[string]body{o["slug"].(string): o})
	}
	if err := one("dcim/sites/", body{"name": r.Site.Name, "slug": r.Site.Slug, "status": r.Site.Status}); err != nil {
		return err
	}
	site := l.ids["dcim/sites/ "+r.Site.Slug]
	rack := body{"name": r.Name, "site": site, "u_height": r.Height, "desc_units": r.Descending, "status": "active"}
	if err := l.ensure("dcim/racks/", url.Values{"site_id": {fmt.Sprint(site)}, "name": {r.Name}},
		func(o object) string { return o.Name }, map[string]body{r.Name: rack}); err != nil {
		return err
	}
	done := map[string]bool{}
	for _, d := range r.Devices {
		if done[d.Type.Slug+" "+d.Role.Slug] {
			continue
		}
		done[d.Type.Slug+" "+d.Role.Slug] = true
		if err := one("dcim/manufacturers/", body{"name": d.Type.Manufacturer, "slug": d.Type.ManufacturerSlug}); err != nil {
			return err
		}
		if err := one("dcim/device-types/", body{
			"manufacturer": l.ids["dcim/manufacturers/ "+d.Type.ManufacturerSlug],
			"model":        d.Type.Model, "slug": d.Type.Slug, "u_height": d.Type.Height, "is_full_depth": false,
		}); err != nil {
			return err
		}
		if err := one("dcim/device-roles/", body{"name": d.Role.Name, "slug": d.Role.Slug, "color": "9e9e9e"}); err != nil {
			return err
		}
	}
	for _, p := range r.Prefixes {
		if err := one("ipam/roles/", body{"name": p.Role, "slug": p.Role}); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) prefixes(r sim.Rack) error {
	want := map[string]body{}
	for _, p := range r.Prefixes {
		if p.Site != r.Site.Slug {
			return fmt.Errorf("prefix %s is scoped to site %q, which is not the rack's", p.Prefix, p.Site)
		}
		b := body{"prefix": p.Prefix.Masked().String(), "status": "active",
			"role": l.ids["ipam/roles/ "+p.Role], "scope_type": "dcim.site", "scope_id": l.ids["dcim/sites/ "+p.Site]}
		if p.VLAN != 0 {
			b["vlan"] = l.ids[fmt.Sprintf("ipam/vlans/ %d", p.VLAN)]
		}
		want[p.Prefix.Masked().String()] = b
	}
	return l.ensure("ipam/prefixes/", url.Values{"site_id": {l.id("dcim/sites/", r.Site.Slug)}},
		func(o object) string { return o.Prefix }, want)
}

func (l *loader) vlans(r sim.Rack) error {
	want := map[string]body{}
	for _, v := range r.VLANs {
		want[fmt.Sprint(v.VID)] = body{"vid": v.VID, "name": v.Name, "status": "active", "site": l.ids["dcim/sites/ "+r.Site.Slug]}
	}
	return l.ensure("ipam/vlans/", url.Values{"site_id": {l.id("dcim/sites/", r.Site.Slug)}},
		func(o object) string { return fmt.Sprint(o.VID) }, want)
}

func (l *loader) devices(r sim.Rack) error {
	want := map[string]body{}
	for _, d := range r.Devices {
		var position any = d.Position
		if d.Position == 0 {
			position = nil // a device that takes no unit
		}
		want[d.Name] = body{
			"name": d.Name, "serial": d.Serial, "asset_tag": nullable(d.AssetTag), "status": d.Status,
			"device_type": l.ids["dcim/device-types/ "+d.Type.Slug], "role": l.ids["dcim/device-roles/ "+d.Role.Slug],
			"site": l.ids["dcim/sites/ "+r.Site.Slug], "rack": l.ids["dcim/racks/ "+r.Name],
			"position": position, "face": nullable(d.Face),
		}
	}
	return l.ensure("dcim/devices/", l.inRack(r), func(o object) string { return o.Name }, want)
}

func (l *loader) interfaces(r sim.Rack) error {
	want := map[string]body{}
	for _, d := range r.Devices {
		for _, i := range d.Interfaces {
			want[d.Name+" "+i.Name] = body{"device": l.ids["dcim/devices/ "+d.Name], "name": i.Name, "type": i.Type,
				"mgmt_only": i.Mgmt, "enabled": true, "mac_address": nullable(i.MAC)}
			if i.MTU > 0 {
				want[d.Name+" "+i.Name]["mtu"] = i.MTU
			}
		}
	}
	return l.ensure("dcim/interfaces/", l.inRack(r), portKey, want)
}

// networks builds bonds and VLANs of the interfaces, once all are there.
func (l *loader) networks(r sim.Rack) error {
	var changes []body
	there := map[string]object{}
	for _, d := range r.Devices {
		for _, i := range d.Interfaces {
			if i.LAG == "" && i.Parent == "" && i.Mode == "" {
				continue
			}
			if len(there) == 0 {
				all, err := l.list("dcim/interfaces/", l.inRack(r))
				if err != nil {
					return err
				}
				for _, o := range all {
					there[portKey(o)] = o
				}
			}
			o := there[d.Name+" "+i.Name]
			change := body{"id": o.ID}
			if i.LAG != "" && o.LAG == nil {
				change["lag"] = l.ids["dcim/interfaces/ "+d.Name+" "+i.LAG]
			}
			if i.Parent != "" && o.Parent == nil {
				change["parent"] = l.ids["dcim/interfaces/ "+d.Name+" "+i.Parent]
			}
			if i.Mode != "" && o.Mode == nil {
				change["mode"] = i.Mode
				if i.Untagged > 0 {
					change["untagged_vlan"] = l.ids["ipam/vlans/ "+fmt.Sprint(i.Untagged)]
				}
				if len(i.Tagged) > 0 {
					tagged := []int64{}
					for _, vid := range i.Tagged {
						tagged = append(tagged, l.ids["ipam/vlans/ "+fmt.Sprint(vid)])
					}
					change["tagged_vlans"] = tagged
				}
			}
			if len(change) > 1 {
				changes = append(changes, change)
			}
		}
	}
	_, err := l.bulk(http.MethodPatch, "dcim/interfaces/", changes)
	return err
}

func (l *loader) oob(r sim.Rack) error {
	want := map[string]body{}
	for _, d := range r.Devices {
		for _, i := range d.Interfaces {
			if i.Mgmt && d.OOB.IsValid() {
				want[d.OOB.String()] = body{"address": d.OOB.String(), "status": "active",
					"assigned_object_type": "dcim.interface", "assigned_object_id": l.ids["dcim/interfaces/ "+d.Name+" "+i.Name]}
			}
		}
	}
	if err := l.ensure("ipam/ip-addresses/", url.Values{"device_id": l.all(r, "dcim/devices/")},
		func(o object) string { return o.Address }, want); err != nil {
		return err
	}
	there, err := l.list("dcim/devices/", l.inRack(r))
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, o := range there {
		has[o.Name] = o.OOB != nil
	}
	var changes []body
	for _, d := range r.Devices {
		if d.OOB.IsValid() && !has[d.Name] {
			changes = append(changes, body{"id": l.ids["dcim/devices/ "+d.Name], "oob_ip": l.ids["ipam/ip-addresses/ "+d.OOB.String()]})
		}
	}
	_, err = l.bulk(http.MethodPatch, "dcim/devices/", changes)
	return err
}

func (l *loader) cables(r sim.Rack) error {
	ports, err := l.list("dcim/interfaces/", l.inRack(r))
	if err != nil {
		return err
	}
	plugged := map[string]bool{}
	for _, p := range ports {
		plugged[portKey(p)] = p.Cable != nil
	}
	end := func(key string) ([]body, error) {
		id, ok := l.ids["dcim/interfaces/ "+key]
		if !ok {
			return nil, fmt.Errorf("a cable ends at %q, which is not an interface in the rack", key)
		}
		return []body{{"object_type": "dcim.interface", "object_id": id}}, nil
	}
	var missing []body
	for _, d := range r.Devices {
		for _, i := range d.Interfaces {
			if i.Cable == nil || plugged[d.Name+" "+i.Name] {
				continue
			}
			a, err := end(d.Name + " " + i.Name)
			if err != nil {
				return err
			}
			b, err := end(i.Cable.Device + " " + i.Cable.Port)
			if err != nil {
				return err
			}
			missing = append(missing, body{"a_terminations": a, "b_terminations": b, "status": i.Cable.Status, "label": i.Cable.Label})
		}
	}
	_, err = l.bulk(http.MethodPost, "dcim/cables/", missing)
	return err
}

// ensure lists path by query, keeps the IDs by key, and makes those of want that are not there.
func (l *loader) ensure(path string, query url.Values, key func(object) string, want map[string]body) error {
	there, err := l.list(path, query)
	if err != nil {
		return err
	}
	for _, o := range there {
		l.ids[path+" "+key(o)] = o.ID
	}
	var missing []body
	for _, k := range slices.Sorted(maps.Keys(want)) { // the same rack gets its IDs in the same order
		if _, ok := l.ids[path+" "+k]; !ok {
			missing = append(missing, want[k])
		}
	}
	made, err := l.bulk(http.MethodPost, path, missing)
	for _, o := range made {
		l.ids[path+" "+key(o)] = o.ID
	}
	return err
}

func (l *loader) list(path string, query url.Values) ([]object, error) {
	var out []object
	for offset := 0; ; {
		q := url.Values{"limit": {"1000"}, "offset": {fmt.Sprint(offset)}}
		for k, v := range query {
			q[k] = v
		}
		var page struct {
			Count   int      `json:"count"`
			Results []object `json:"results"`
		}
		if err := l.call(http.MethodGet, path+"?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Results...)
		offset += len(page.Results)
		if len(page.Results) == 0 || offset >= page.Count {
			return out, nil
		}
	}
}

func (l *loader) bulk(method, path string, objects []body) ([]object, error) {
	var out []object
	for len(objects) > 0 {
		n := min(chunk, len(objects))
		var made []object
		if err := l.call(method, path, objects[:n], &made); err != nil {
			return out, err
		}
		out = append(out, made...)
		objects = objects[n:]
	}
	return out, nil
}

func (l *loader) call(method, path string, in, out any) error {
	var payload io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(l.ctx, method, l.base+"/api/"+path, payload)
	if err != nil {
		return err
	}
	keyword := "Token "
	if strings.HasPrefix(l.token, "nbt_") {
		keyword = "Bearer "
	}
	req.Header.Set("Authorization", keyword+l.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: HTTP %d: %.500s", method, path, resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (l *loader) id(path, key string) string { return fmt.Sprint(l.ids[path+" "+key]) }

func (l *loader) inRack(r sim.Rack) url.Values {
	return url.Values{"rack_id": {l.id("dcim/racks/", r.Name)}}
}

func (l *loader) all(r sim.Rack, path string) []string {
	var out []string
	for _, d := range r.Devices {
		out = append(out, l.id(path, d.Name))
	}
	return out
}

func portKey(o object) string {
	if o.Device == nil {
		return " " + o.Name
	}
	return o.Device.Name + " " + o.Name
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// SetStatus sets the status of devices, as a person would who edits them: no lifecycle stands in the way.
func SetStatus(ctx context.Context, baseURL, token string, status map[int64]string) error {
	var changes []body
	for _, id := range slices.Sorted(maps.Keys(status)) {
		changes = append(changes, body{"id": id, "status": status[id]})
	}
	_, err := newLoader(ctx, baseURL, token).bulk(http.MethodPatch, "dcim/devices/", changes)
	return err
}
