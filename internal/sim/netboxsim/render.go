package netboxsim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// stamp is a time as NetBox writes it in JSON.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// etag is a weak one, made of the time of the last change, as NetBox's is.
func etag(o *object) string {
	return `W/"` + o.Updated.UTC().Format("2006-01-02T15:04:05.000000") + `+00:00"`
}

// show renders an object. only names the wanted fields, nil means all; omit names unwanted ones.
func (t *tx) show(o *object, only, omit map[string]bool) map[string]any {
	k := t.kind(o.Kind)
	out := map[string]any{}
	set := func(name string, value func() any) {
		if (only == nil || only[name]) && !omit[name] {
			out[name] = value()
		}
	}
	t.head(o, k, set)
	set("display_url", func() any { return t.webPage(o) })
	for _, f := range k.fields {
		if f.form != hidden {
			set(f.name, func() any { return t.value(o, f) })
		}
	}
	if !k.undated {
		set("created", func() any { return stamp(o.Created) })
		set("last_updated", func() any { return stamp(o.Updated) })
	}
	return out
}

// webPage is where people would look at an object.
func (t *tx) webPage(o *object) string { return fmt.Sprintf("%s/%s%d/", t.base, o.Kind, o.ID) }

func (t *tx) head(o *object, k *kind, set func(string, func() any)) {
	set("id", func() any { return o.ID })
	set("url", func() any { return fmt.Sprintf("%s/api/%s%d/", t.base, o.Kind, o.ID) })
	set("display", func() any { return k.name(t, o) })
}

func (k *kind) name(t *tx, o *object) string {
	if k.display != nil {
		return k.display(t, o)
	}
	return o.str("name")
}

// nested renders an object inside another one.
func (t *tx) nested(o *object) map[string]any {
	k := t.kind(o.Kind)
	out := map[string]any{}
	t.head(o, k, func(name string, value func() any) { out[name] = value() })
	for _, name := range k.brief {
		if f := k.find(name); f != nil {
			out[name] = t.value(o, *f)
		}
	}
	return out
}

// nestedIn renders the object of an ID inside another one; null when there is none.
func (t *tx) nestedIn(kind string, id int64) any { return t.nestedOrNull(t.get(kind, id)) }

func (t *tx) nestedOrNull(o *object) any {
	if o == nil {
		return nil
	}
	return t.nested(o)
}

func (t *tx) value(o *object, f field) any {
	v := o.Data[f.name]
	switch {
	case f.calc != nil:
		return f.calc(t, o)
	case f.form == choice:
		s, _ := v.(string)
		if s == "" {
			return nil
		}
		return map[string]any{"value": s, "label": label(s)}
	case f.form == ref:
		nested := t.nestedIn(f.of, number(v))
		if m, ok := nested.(map[string]any); ok && f.of == "ipam/ip-addresses/" { // a device shows a little more of its addresses
			m["dns_name"], m["nat_inside"], m["nat_outside"] = "", nil, []any{}
		}
		return nested
	case f.form == refs:
		out := []any{}
		list, _ := v.([]any)
		for _, id := range list {
			if o := t.get(f.of, number(id)); o != nil {
				nested := t.nested(o)
				if f.of != "ipam/vlans/" { // a VLAN shows it nowhere when it is nested
					nested["display_url"] = t.webPage(o)
				}
				out = append(out, nested)
			}
		}
		return out
	}
	return v
}

// The calculated fields.

func customFields(t *tx, o *object) any {
	out := map[string]any{}
	values, _ := o.Data["custom_fields"].(map[string]any)
	for _, f := range t.customFieldsOf(t.kind(o.Kind).model) {
		out[f.str("name")] = values[f.str("name")]
	}
	return out
}

// customFieldsOf lists the custom fields that a model has.
func (t *tx) customFieldsOf(model string) []*object {
	var out []*object
	for _, f := range t.all("extras/custom-fields/") {
		if contains(f.Data["object_types"], model) {
			out = append(out, f)
		}
	}
	return out
}

func contains(list any, s string) bool {
	values, _ := list.([]any)
	for _, v := range values {
		if v == s {
			return true
		}
	}
	return false
}

func family(name string) func(*tx, *object) any {
	return func(_ *tx, o *object) any {
		if p, err := netip.ParsePrefix(o.str(name)); err == nil && p.Addr().Is6() {
			return map[string]any{"value": 6, "label": "IPv6"}
		}
		return map[string]any{"value": 4, "label": "IPv4"}
	}
}

func primaryIP(t *tx, o *object) any {
	k := t.kind(o.Kind)
	if v := t.value(o, *k.find("primary_ip4")); v != nil {
		return v
	}
	return t.value(o, *k.find("primary_ip6"))
}

// typed gives the object that a pair of fields such as scope_type and scope_id names.
func (t *tx) typed(o *object, prefix string) *object {
	k := t.model(o.str(prefix + "_type"))
	if k == nil {
		return nil
	}
	return t.get(k.path, o.ref(prefix+"_id"))
}

func scope(t *tx, o *object) any          { return t.nestedOrNull(t.typed(o, "scope")) }
func assignedObject(t *tx, o *object) any { return t.nestedOrNull(t.typed(o, "assigned_object")) }
func changedObject(t *tx, o *object) any  { return t.nestedOrNull(t.typed(o, "changed_object")) }

func scopeSite(t *tx, o *object) string {
	switch s := t.typed(o, "scope"); {
	case s == nil:
		return ""
	case s.Kind == "dcim/sites/":
		return fmt.Sprint(s.ID)
	default:
		return fmt.Sprint(s.ref("site"))
	}
}

func macsOf(t *tx, port *object) []*object {
	var out []*object
	for _, m := range t.whose("dcim/mac-addresses/", "assigned_object_id", port.ID) {
		if m.str("assigned_object_type") == "dcim.interface" {
			out = append(out, m)
		}
	}
	return out
}

func macs(t *tx, port *object) any {
	out := []any{}
	for _, m := range macsOf(t, port) {
		out = append(out, t.nested(m))
	}
	return out
}

func primaryMAC(t *tx, port *object) any {
	if m := t.get("dcim/mac-addresses/", port.ref("primary_mac_address")); m != nil {
		return m.str("mac_address")
	}
	return nil
}

func isPrimaryMAC(t *tx, m *object) any {
	port := t.typed(m, "assigned_object")
	return port != nil && port.ref("primary_mac_address") == m.ID
}

func addressCount(t *tx, port *object) any {
	n := 0
	for _, a := range t.whose("ipam/ip-addresses/", "assigned_object_id", port.ID) {
		if a.str("assigned_object_type") == "dcim.interface" {
			n++
		}
	}
	return n
}

// terminals gives the objects at one end of a cable.
func (t *tx) terminals(cable *object, end string) []*object {
	var out []*object
	list, _ := cable.Data[end].([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		model, _ := m["object_type"].(string)
		if k := t.model(model); k != nil {
			if o := t.get(k.path, number(m["object_id"])); o != nil {
				out = append(out, o)
			}
		}
	}
	return out
}

func (t *tx) ends(cable *object, end string) any {
	out := []any{}
	for _, o := range t.terminals(cable, end) {
		out = append(out, map[string]any{"object_type": t.kind(o.Kind).model, "object_id": o.ID, "object": t.nested(o)})
	}
	return out
}

func cableDevices(t *tx, cable *object) []string {
	var out []string
	for _, end := range []string{"a_terminations", "b_terminations"} {
		for _, o := range t.terminals(cable, end) {
			out = append(out, fmt.Sprint(o.ref("device")))
		}
	}
	return out
}

func cableOf(t *tx, port *object) any { return t.nestedIn("dcim/cables/", port.ref("cable")) }

func cableEnd(_ *tx, port *object) any {
	if port.ref("cable") == 0 {
		return nil
	}
	return port.Data["cable_end"]
}

func (t *tx) peersOf(port *object) []*object {
	cable := t.get("dcim/cables/", port.ref("cable"))
	switch {
	case cable == nil:
		return nil
	case port.Data["cable_end"] == "A":
		return t.terminals(cable, "b_terminations")
	}
	return t.terminals(cable, "a_terminations")
}

func peers(t *tx, port *object) any {
	out := []any{}
	for _, p := range t.peersOf(port) {
		out = append(out, t.nested(p))
	}
	return out
}

func peersType(t *tx, port *object) any {
	if len(t.peersOf(port)) == 0 {
		return nil
	}
	return "dcim.interface"
}

func endpoints(t *tx, port *object) any {
	if len(t.peersOf(port)) == 0 {
		return nil
	}
	return peers(t, port)
}

func reachable(t *tx, port *object) any {
	cable := t.get("dcim/cables/", port.ref("cable"))
	return cable != nil && cable.str("status") == "connected"
}

func permissionsOf(t *tx, user *object) any {
	out := []any{}
	for _, p := range t.permissionsOf(user) {
		out = append(out, t.nested(p))
	}
	return out
}

// newToken shows the secret of a token in the answer that made it, and never again.
func newToken(t *tx, token *object) any {
	if t.dirty["users/tokens/"][token.ID] == nil {
		return nil
	}
	_, secret, _ := strings.Cut(token.str("secret"), ".")
	return secret
}
