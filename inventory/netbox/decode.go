package netbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// fields are asked for by name: NetBox then leaves out the config context, which is the slowest part
// of a device, and computes no counters.
const (
	deviceFields = "id,name,serial,asset_tag,status,site,rack,position,face,role,device_type,platform,tenant,cluster,oob_ip,primary_ip4,primary_ip6,tags,custom_fields,last_updated"
	// primary_mac_address, not mac_address: NetBox looks the latter up one by one, 3 s for 1,000.
	interfaceFields = "id,device,name,type,mgmt_only,enabled,primary_mac_address,mac_addresses,cable,link_peers,lag,parent,bridge,mtu,mode,untagged_vlan,tagged_vlans"
	addressFields   = "id,address,assigned_object_type,assigned_object_id"
)

// text is a JSON string, number or boolean as text; anything else is empty.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	switch {
	case len(b) == 0 || b[0] == '{' || b[0] == '[' || string(b) == "null":
	case b[0] == '"':
		return json.Unmarshal(b, (*string)(t))
	default:
		*t = text(b)
	}
	return nil
}

// choice is NetBox's {"value": ..., "label": ...}, or the plain value of older versions; null is
// empty. Values that Cagenut does not know are kept as they are.
type choice string

func (c *choice) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var o struct{ Value text }
		err := json.Unmarshal(b, &o)
		*c = choice(o.Value)
		return err
	}
	return (*text)(c).UnmarshalJSON(b)
}

// ref is a nested object of any kind; null is the zero value.
type ref struct {
	ID           int64  `json:"id"`
	Name         text   `json:"name"`
	Display      text   `json:"display"`
	Slug         text   `json:"slug"`
	Model        text   `json:"model"`
	Address      text   `json:"address"`
	Device       *ref   `json:"device"`
	Manufacturer *ref   `json:"manufacturer"`
	MAC          text   `json:"mac_address"`
	Status       choice `json:"status"`
	VID          int    `json:"vid"`
}

func (r *ref) named() inventory.Named {
	if r == nil {
		return inventory.Named{}
	}
	n := inventory.Named{ID: r.ID, Slug: string(r.Slug), Name: string(r.Name)}
	if n.Name == "" {
		n.Name = string(r.Model)
	}
	return n
}

func (r *ref) id() int64 {
	if r == nil {
		return 0
	}
	return r.ID
}

// name is the other object's, empty when there is none.
func (r *ref) name() string {
	if r == nil {
		return ""
	}
	return string(r.Name)
}

func (r *ref) vlan() inventory.VLAN {
	if r == nil {
		return inventory.VLAN{}
	}
	return inventory.VLAN{VID: r.VID, Name: string(r.Name)}
}

// prefix reads an address with its length; what is not one is the zero value.
func (r *ref) prefix() netip.Prefix {
	if r == nil {
		return netip.Prefix{}
	}
	p, _ := netip.ParsePrefix(string(r.Address))
	return p
}

type deviceRecord struct {
	ID         int64                      `json:"id"`
	Name       text                       `json:"name"`
	Serial     text                       `json:"serial"`
	AssetTag   text                       `json:"asset_tag"`
	Status     choice                     `json:"status"`
	Site       *ref                       `json:"site"`
	Rack       *ref                       `json:"rack"`
	Position   text                       `json:"position"`
	Face       choice                     `json:"face"`
	Role       *ref                       `json:"role"`
	DeviceType *ref                       `json:"device_type"`
	Platform   *ref                       `json:"platform"`
	Tenant     *ref                       `json:"tenant"`
	Cluster    *ref                       `json:"cluster"`
	OOB        *ref                       `json:"oob_ip"`
	Primary4   *ref                       `json:"primary_ip4"`
	Primary6   *ref                       `json:"primary_ip6"`
	Tags       []ref                      `json:"tags"`
	Custom     map[string]json.RawMessage `json:"custom_fields"`
	Updated    text                       `json:"last_updated"`
}

func (r deviceRecord) device() inventory.Device {
	d := inventory.Device{
		ID: asset.ID(r.ID), Name: string(r.Name), Serial: string(r.Serial), AssetTag: string(r.AssetTag),
		Status: asset.Status(r.Status), Site: r.Site.named(), Rack: r.Rack.named(), Face: string(r.Face),
		Role: r.Role.named(), Type: r.DeviceType.named(), Platform: r.Platform.named(),
		Tenant: r.Tenant.named(), Cluster: r.Cluster.named(),
		OOB: r.OOB.prefix(), OOBID: r.OOB.id(), PrimaryIP4: r.Primary4.prefix(), PrimaryIP6: r.Primary6.prefix(),
		Custom: customFields(r.Custom),
	}
	if r.DeviceType != nil {
		d.Manufacturer = r.DeviceType.Manufacturer.named()
	}
	d.Position, _ = strconv.ParseFloat(string(r.Position), 64)
	d.Updated, _ = time.Parse(time.RFC3339Nano, string(r.Updated))
	for _, t := range r.Tags {
		d.Tags = append(d.Tags, string(t.Slug))
	}
	slices.Sort(d.Tags)
	return d
}

// customFields gives each custom field that has a value as text: a selection by its value, an object
// by its name, anything else as compact JSON.
func customFields(raw map[string]json.RawMessage) map[string]string {
	out := map[string]string{}
	for name, v := range raw {
		var o struct {
			Value   *text `json:"value"`
			Display *text `json:"display"`
		}
		var t text
		switch {
		case string(v) == "null":
			out[name] = ""
		case len(v) > 0 && v[0] == '{' && json.Unmarshal(v, &o) == nil && o.Value != nil:
			out[name] = string(*o.Value)
		case len(v) > 0 && v[0] == '{' && o.Display != nil:
			out[name] = string(*o.Display)
		case len(v) > 0 && (v[0] == '{' || v[0] == '['):
			var b bytes.Buffer
			if json.Compact(&b, v) == nil {
				out[name] = b.String()
			}
		case t.UnmarshalJSON(v) == nil:
			out[name] = string(t)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

type interfaceRecord struct {
	ID       int64  `json:"id"`
	Device   *ref   `json:"device"`
	Name     text   `json:"name"`
	Type     choice `json:"type"`
	Mgmt     bool   `json:"mgmt_only"`
	Enabled  bool   `json:"enabled"`
	MAC      *ref   `json:"primary_mac_address"`
	MACs     []ref  `json:"mac_addresses"`
	Cable    *ref   `json:"cable"`
	Peers    []ref  `json:"link_peers"`
	LAG      *ref   `json:"lag"`
	Parent   *ref   `json:"parent"`
	Bridge   *ref   `json:"bridge"`
	MTU      int    `json:"mtu"`
	Mode     choice `json:"mode"`
	Untagged *ref   `json:"untagged_vlan"`
	Tagged   []ref  `json:"tagged_vlans"`
}

func (r interfaceRecord) port() inventory.Interface {
	i := inventory.Interface{ID: r.ID, Name: string(r.Name), Type: string(r.Type), Mgmt: r.Mgmt, Enabled: r.Enabled,
		LAG: r.LAG.name(), Parent: r.Parent.name(), Bridge: r.Bridge.name(), MTU: r.MTU, Mode: string(r.Mode), Untagged: r.Untagged.vlan()}
	for _, v := range r.Tagged {
		i.Tagged = append(i.Tagged, v.vlan())
	}
	slices.SortFunc(i.Tagged, func(a, b inventory.VLAN) int { return a.VID - b.VID })
	macs := r.MACs
	if r.MAC != nil {
		macs = append([]ref{*r.MAC}, macs...)
	}
	for _, m := range macs {
		if mac, ok := asset.NormalMAC(string(m.MAC)); ok && !slices.Contains(i.MACs, mac) {
			i.MACs = append(i.MACs, mac)
		}
	}
	if r.Cable != nil {
		i.Cable = &inventory.Cable{ID: r.Cable.ID, Status: string(r.Cable.Status)}
		// A cable may end at several ports, and at things without a device, such as a circuit.
		for _, p := range r.Peers {
			if i.Cable.Peer == "" && p.Device != nil {
				i.Cable.Peer, i.Cable.Port = string(p.Device.Name), string(p.Name)
			}
		}
	}
	return i
}

type addressRecord struct {
	ID         int64 `json:"id"`
	Address    text  `json:"address"`
	ObjectType text  `json:"assigned_object_type"`
	ObjectID   int64 `json:"assigned_object_id"`
}

func decode(x *call, out any) error {
	if !isJSON(x) {
		return fmt.Errorf("Content-Type %q, want JSON: is this NetBox?", x.kind)
	}
	if err := json.Unmarshal(x.body, out); err != nil {
		return fmt.Errorf("decode %d bytes: %w", len(x.body), err)
	}
	return nil
}
