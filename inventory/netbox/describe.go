package netbox

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// Describe gives devices with interfaces, MACs, cables and addresses, in the order asked for. For
// 1,000 devices with 8 interfaces each it makes about 25 requests.
func (c *Client) Describe(ctx context.Context, ids []asset.ID) ([]inventory.Device, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := c.Find(ctx, inventory.Query{IDs: ids})
	if err != nil {
		return nil, err
	}
	d := &description{c: c, ids: make([]asset.ID, 0, len(found)), devices: map[asset.ID]*inventory.Device{}, ports: map[int64]*inventory.Interface{}}
	for i := range found {
		d.ids = append(d.ids, found[i].ID)
		d.devices[found[i].ID] = &found[i]
	}
	for _, read := range []func(context.Context) error{d.interfaces, d.addresses, d.cables, d.pools} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	out := make([]inventory.Device, len(ids))
	for i, id := range ids {
		out[i] = *d.devices[id]
	}
	return out, nil
}

// ManagementMACs gives the MACs of a device's mgmt_only interfaces.
func (c *Client) ManagementMACs(ctx context.Context, id asset.ID) ([]string, error) {
	var dev inventory.Device
	d := &description{c: c, ids: []asset.ID{id}, devices: map[asset.ID]*inventory.Device{id: &dev}, ports: map[int64]*inventory.Interface{}}
	if err := d.interfaces(ctx); err != nil {
		return nil, err
	}
	var out []string
	for _, i := range dev.Interfaces {
		if i.Mgmt {
			out = append(out, i.MACs...)
		}
	}
	return out, nil
}

// description collects what Describe reads. The maps are filled by one read after the other; mu
// guards them while the batches of one read run side by side.
type description struct {
	c       *Client
	ids     []asset.ID
	mu      sync.Mutex
	devices map[asset.ID]*inventory.Device
	ports   map[int64]*inventory.Interface // by interface ID
}

func (d *description) interfaces(ctx context.Context) error {
	records, err := byDevice[interfaceRecord](ctx, d, "read interfaces", interfaceFields, d.ids,
		func(ctx context.Context, offset int32) (*http.Response, error) {
			_, resp, err := d.c.api.DcimAPI.DcimInterfacesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
			return resp, err
		})
	if err != nil {
		return err
	}
	for _, r := range records {
		if dev := d.devices[asset.ID(r.Device.id())]; dev != nil {
			dev.Interfaces = append(dev.Interfaces, r.port())
		}
	}
	for _, dev := range d.devices {
		slices.SortFunc(dev.Interfaces, func(a, b inventory.Interface) int { return strings.Compare(a.Name, b.Name) })
		for i := range dev.Interfaces {
			d.ports[dev.Interfaces[i].ID] = &dev.Interfaces[i]
		}
	}
	return nil
}

func (d *description) addresses(ctx context.Context) error {
	records, err := byDevice[addressRecord](ctx, d, "read IP addresses", addressFields, d.ids,
		func(ctx context.Context, offset int32) (*http.Response, error) {
			_, resp, err := d.c.api.IpamAPI.IpamIpAddressesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
			return resp, err
		})
	for _, r := range records {
		port := d.ports[r.ObjectID]
		address, bad := netip.ParsePrefix(string(r.Address))
		if port != nil && bad == nil && r.ObjectType == "dcim.interface" {
			port.Addresses = append(port.Addresses, address)
		}
	}
	return err
}

// cables reads the status of each cable: an interface's answer has the cable's ID and far end only.
func (d *description) cables(ctx context.Context) error {
	var cabled []asset.ID
	byCable := map[int64][]*inventory.Cable{}
	for _, id := range d.ids {
		any := false
		for i := range d.devices[id].Interfaces {
			if cable := d.devices[id].Interfaces[i].Cable; cable != nil {
				byCable[cable.ID] = append(byCable[cable.ID], cable)
				any = true
			}
		}
		if any {
			cabled = append(cabled, id)
		}
	}
	records, err := byDevice[ref](ctx, d, "read cables", "id,status", cabled,
		func(ctx context.Context, offset int32) (*http.Response, error) {
			_, resp, err := d.c.api.DcimAPI.DcimCablesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
			return resp, err
		})
	for _, r := range records {
		for _, cable := range byCable[r.ID] {
			cable.Status = string(r.Status)
		}
	}
	return err
}

// pools reads, once per site, the prefixes for devices without a primary address.
func (d *description) pools(ctx context.Context) error {
	bySite := map[int64][]*inventory.Device{}
	for _, id := range d.ids {
		if dev := d.devices[id]; !dev.PrimaryIP4.IsValid() && !dev.PrimaryIP6.IsValid() && dev.Site.ID != 0 {
			bySite[dev.Site.ID] = append(bySite[dev.Site.ID], dev)
		}
	}
	for _, devices := range bySite {
		pool, err := d.c.pool(ctx, devices[0].Site)
		if err != nil {
			return err
		}
		for _, dev := range devices {
			dev.PrimaryPool = poolFor(dev, pool)
		}
	}
	return nil
}

// poolFor are the prefixes for one device: a prefix of a VLAN only where a port or a bond carries that
// untagged, or none says which VLAN it carries. Those of its VLANs come first.
func poolFor(dev *inventory.Device, pool []poolRecord) []netip.Prefix {
	untagged := map[int]bool{}
	for _, port := range dev.Interfaces {
		if !port.Mgmt && port.Parent == "" && port.Untagged.VID != 0 {
			untagged[port.Untagged.VID] = true
		}
	}
	var own, rest []netip.Prefix
	for _, r := range pool {
		switch vid := r.VLAN.vlan().VID; {
		case untagged[vid]:
			own = append(own, r.prefix())
		case vid == 0 || len(untagged) == 0:
			rest = append(rest, r.prefix())
		}
	}
	return append(own, rest...)
}

// pool lists the active prefixes with the primary role that are scoped to the site itself, in their order. A
// prefix that is scoped to a room of the site is not for every machine there, and is left out.
func (c *Client) pool(ctx context.Context, site inventory.Named) ([]poolRecord, error) {
	records, err := c.poolRecords(ctx, site)
	records = slices.DeleteFunc(records, func(r poolRecord) bool { return !r.prefix().IsValid() || !r.usable() })
	slices.SortFunc(records, func(a, b poolRecord) int { return a.prefix().Compare(b.prefix()) })
	return records, err
}

type poolRecord struct {
	ID     int64  `json:"id"`
	Prefix text   `json:"prefix"`
	Status choice `json:"status"`
	Scope  text   `json:"scope_type"`
	VLAN   *ref   `json:"vlan"`
}

func (r poolRecord) usable() bool { return r.Status == "active" && r.Scope == "dcim.site" }

// prefix is the zero Prefix where NetBox's is none.
func (r poolRecord) prefix() netip.Prefix {
	p, _ := netip.ParsePrefix(string(r.Prefix))
	return p
}

func (c *Client) poolRecords(ctx context.Context, site inventory.Named) ([]poolRecord, error) {
	records, err := listAll[poolRecord](ctx, c, "read the "+c.primaryRole+" prefixes of site "+site.Slug, url.Values{
		"fields": {"id,prefix,status,scope_type,vlan"}, "role": {c.primaryRole}, "site_id": {asset.ID(site.ID).String()},
	}, func(ctx context.Context, offset int32) (*http.Response, error) {
		_, resp, err := c.api.IpamAPI.IpamPrefixesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
		return resp, err
	})
	var e *inventory.Error
	if errors.As(err, &e) && errors.Is(e, inventory.ErrRejected) && strings.HasPrefix(e.Detail, `{"role":`) {
		return nil, nil // NetBox has no such role yet, hence no such prefix
	}
	return records, err
}

// byDevice lists what belongs to devices, in batches of device IDs.
func byDevice[T any](ctx context.Context, d *description, op, fields string, ids []asset.ID,
	request func(context.Context, int32) (*http.Response, error),
) ([]T, error) {
	var out []T
	err := inBatches(ctx, batches("device_id", ids, d.c.fixedLine(fields)), func(ctx context.Context, some []asset.ID) error {
		filter := url.Values{"fields": {fields}}
		for _, id := range some {
			filter.Add("device_id", id.String())
		}
		records, err := listAll[T](ctx, d.c, op, filter, request)
		d.mu.Lock()
		defer d.mu.Unlock()
		out = append(out, records...)
		return err
	})
	return out, err
}
