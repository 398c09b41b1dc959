package netboxsim

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/cagenut/cagenut/internal/asset"
)

func problem(field, format string, args ...any) map[string]any {
	return map[string]any{field: []any{fmt.Sprintf(format, args...)}}
}

// checkDevice holds what NetBox holds: addresses sit on the device's interfaces, a rack is in the
// device's site, a position needs a rack and a face.
func checkDevice(t *tx, d *object, _ map[string]any) map[string]any {
	for _, name := range []string{"primary_ip4", "primary_ip6", "oob_ip"} {
		ip := t.get("ipam/ip-addresses/", d.ref(name))
		if ip == nil {
			continue
		}
		port := t.typed(ip, "assigned_object")
		if port == nil || port.Kind != "dcim/interfaces/" || port.ref("device") != d.ID {
			return problem(name, "The specified IP address (%s) is not assigned to this device.", ip.str("address"))
		}
	}
	rack := t.get("dcim/racks/", d.ref("rack"))
	switch {
	case rack != nil && rack.ref("site") != d.ref("site"):
		return problem("rack", "Rack %s does not belong to this site.", rack.str("name"))
	case rack == nil && d.Data["position"] != nil:
		return problem("position", "Cannot select a rack position without assigning a rack.")
	case d.Data["position"] != nil && d.Data["face"] == nil:
		return problem("face", "Must specify rack face when defining rack position.")
	}
	return nil
}

// checkJournal holds that an entry is about a device that exists; NetBox notes who wrote it.
func checkJournal(t *tx, entry *object, _ map[string]any) map[string]any {
	if t.user != nil && entry.Data["created_by"] == nil {
		entry.Data["created_by"] = t.user.ID
	}
	return t.assigned(entry, "dcim.device")
}

// checkNetwork holds what NetBox holds of bonds and VLANs: they are of one device and its site, and
// VLANs need a mode.
func checkNetwork(t *tx, port *object, in map[string]any) map[string]any {
	site := t.get("dcim/devices/", port.ref("device")).ref("site")
	mode, kind := port.str("mode"), port.str("type")
	for _, name := range []string{"lag", "parent", "bridge"} {
		other := t.get("dcim/interfaces/", port.ref(name))
		switch {
		case other == nil:
		case other.ref("device") != port.ref("device"):
			return problem(name, "The selected %s interface (%s) belongs to a different device.", name, other.str("name"))
		case other.ID == port.ID:
			return problem(name, "An interface cannot be its own %s.", name)
		case name == "lag" && other.str("type") != "lag":
			return problem(name, "Select a valid choice. %d is not one of the available choices.", other.ID)
		case name == "lag" && kind == "virtual":
			return problem(name, "Virtual interfaces cannot have a parent LAG interface.")
		case name == "parent" && kind != "virtual":
			return problem(name, "Only virtual interfaces may be assigned to a parent interface.")
		}
	}
	vlans, _ := port.Data["tagged_vlans"].([]any)
	if mode == "" && in["untagged_vlan"] != nil {
		return problem("untagged_vlan", "Interface mode does not support an untagged vlan")
	}
	if given, _ := in["tagged_vlans"].([]any); len(given) > 0 && mode != "tagged" {
		return problem("tagged_vlans", "Interface mode does not support tagged vlans")
	}
	for _, id := range append([]any{port.Data["untagged_vlan"]}, vlans...) {
		if v := t.get("ipam/vlans/", number(id)); v != nil && v.ref("site") != 0 && v.ref("site") != site {
			return problem("untagged_vlan", "VLAN %s must belong to the same site as the interface's parent device, or it must be global.", v.str("name"))
		}
	}
	if mode == "" {
		port.Data["untagged_vlan"] = nil
	}
	if mode != "tagged" {
		port.Data["tagged_vlans"] = []any{}
	}
	return nil
}

// checkInterface carries out the mac_address shortcut: it makes the address and its primary one.
func checkInterface(t *tx, port *object, in map[string]any) map[string]any {
	if problems := checkNetwork(t, port, in); problems != nil {
		return problems
	}
	value, given := in["mac_address"]
	if !given || value == nil {
		if given {
			port.Data["primary_mac_address"] = nil
		}
		return nil
	}
	s, _ := value.(string)
	mac, ok := asset.NormalMAC(s)
	if !ok {
		return problem("mac_address", "Enter a valid MAC address (e.g. 00:11:22:33:44:55).")
	}
	for _, m := range macsOf(t, port) {
		if m.str("mac_address") == mac {
			port.Data["primary_mac_address"] = m.ID
			return nil
		}
	}
	_, status, problems := t.writeOne(t.kind("dcim/mac-addresses/"), "add", map[string]any{
		"mac_address": mac, "assigned_object_type": "dcim.interface", "assigned_object_id": port.ID})
	if status != http.StatusOK {
		return problems
	}
	for _, m := range macsOf(t, port) {
		if m.str("mac_address") == mac {
			port.Data["primary_mac_address"] = m.ID
		}
	}
	return nil
}

func checkMAC(t *tx, m *object, _ map[string]any) map[string]any {
	mac, ok := asset.NormalMAC(m.str("mac_address"))
	if !ok {
		return problem("mac_address", "Invalid MAC address format: %s", m.str("mac_address"))
	}
	m.Data["mac_address"] = mac
	return t.assigned(m, "dcim.interface")
}

// assigned checks that assigned_object names an object of a model, or nothing.
func (t *tx) assigned(o *object, model string) map[string]any {
	if o.Data["assigned_object_type"] == nil && o.Data["assigned_object_id"] == nil {
		return nil
	}
	if o.str("assigned_object_type") != model || t.typed(o, "assigned_object") == nil {
		return problem("assigned_object_id", "Invalid assigned object: %v %v", o.Data["assigned_object_type"], o.Data["assigned_object_id"])
	}
	return nil
}

func checkPrefix(t *tx, p *object, _ map[string]any) map[string]any {
	prefix, err := netip.ParsePrefix(p.str("prefix"))
	if err != nil {
		return problem("prefix", "Invalid IP network format: %s", p.str("prefix"))
	}
	if prefix != prefix.Masked() {
		return problem("prefix", "%s is not a valid prefix. Did you mean %s?", prefix, prefix.Masked())
	}
	if p.Data["scope_type"] != nil && t.typed(p, "scope") == nil {
		return problem("scope_id", "Please select a %v.", p.Data["scope_type"])
	}
	return nil
}

func checkAddress(t *tx, a *object, _ map[string]any) map[string]any {
	address, err := netip.ParsePrefix(a.str("address"))
	if err != nil {
		return problem("address", "Invalid IP address format: %s", a.str("address"))
	}
	a.Data["address"] = address.String()
	return t.assigned(a, "dcim.interface")
}

// checkCable plugs a new cable into its interfaces, which must be free.
func checkCable(t *tx, cable *object, in map[string]any) map[string]any {
	for end, field := range map[string]string{"A": "a_terminations", "B": "b_terminations"} {
		if _, given := in[field]; !given {
			continue
		}
		list, _ := cable.Data[field].([]any)
		ports := t.terminals(cable, field)
		if len(ports) != len(list) {
			return problem(field, "A termination does not exist.")
		}
		for _, port := range ports {
			if port.Kind != "dcim/interfaces/" {
				return problem(field, "Only interfaces can be cabled here.")
			}
			if other := port.ref("cable"); other != 0 && other != cable.ID {
				return problem("__all__", "Duplicate termination found for dcim.interface %d: cable %d", port.ID, other)
			}
			port = t.edit(port.Kind, port.ID)
			port.Data["cable"], port.Data["cable_end"] = cable.ID, end
		}
	}
	return nil
}

// checkToken gives a new token its secret. NetBox shows it once, in the answer.
func checkToken(t *tx, token *object, in map[string]any) map[string]any {
	if token.str("secret") != "" {
		return nil
	}
	if number(token.Data["version"]) != 2 {
		return problem("version", "Only v2 tokens can be made here.")
	}
	key := rand.Text()[:12]
	token.Data["key"], token.Data["secret"] = key, key+"."+rand.Text()+rand.Text()[:14]
	return nil
}

// availableIPs answers for the free addresses of a prefix: GET lists some, POST takes the lowest, one
// for each object of the body. Network and broadcast addresses are not given out, but in pools.
func (t *tx) availableIPs(k *kind, id int64, r *http.Request) answer {
	addresses := t.kind("ipam/ip-addresses/")
	post := r.Method == http.MethodPost
	if !post && r.Method != http.MethodGet {
		return refuse(http.StatusMethodNotAllowed, "Method %q not allowed.", r.Method)
	}
	if !t.may(k, "view") || (post && !t.may(addresses, "add")) {
		return denied()
	}
	p := t.get(k.path, id)
	if p == nil {
		return refuse(http.StatusNotFound, "No Prefix matches the given query.")
	}
	prefix := netip.MustParsePrefix(p.str("prefix")) // checked when it was written
	if !post {
		free := t.free(p, prefix, defaultPage)
		out := make([]any, len(free))
		for i, a := range free {
			version := 4
			if a.Is6() {
				version = 6
			}
			out[i] = map[string]any{"family": version, "address": netip.PrefixFrom(a, prefix.Bits()).String(), "vrf": nil}
		}
		return answer{status: http.StatusOK, body: out}
	}
	in, err := readBody(r)
	if err != nil {
		return refuse(http.StatusBadRequest, "JSON parse error - %v", err)
	}
	items, bulk := in.([]any)
	if !bulk {
		items = []any{in}
	}
	free := t.free(p, prefix, len(items))
	if len(free) < len(items) {
		return refuse(http.StatusConflict, "An insufficient number of IP addresses are available within the prefix %s (%d requested, %d available)", prefix, len(items), len(free))
	}
	for i := range items {
		m, ok := items[i].(map[string]any)
		if !ok {
			return refuse(http.StatusBadRequest, "Invalid data. Expected a dictionary.")
		}
		m["address"] = netip.PrefixFrom(free[i], prefix.Bits()).String()
	}
	return t.writeAll(addresses, "add", items, bulk)
}

func (t *tx) free(p *object, prefix netip.Prefix, n int) []netip.Addr {
	used := map[netip.Addr]bool{}
	for _, a := range t.all("ipam/ip-addresses/") {
		if address, err := netip.ParsePrefix(a.str("address")); err == nil {
			used[address.Addr()] = true
		}
	}
	ends := prefix.Bits() < prefix.Addr().BitLen()-1 && p.Data["is_pool"] != true
	var out []netip.Addr
	for a := prefix.Addr(); a.IsValid() && prefix.Contains(a) && len(out) < n; a = a.Next() {
		first := a == prefix.Addr()
		last := a.Is4() && !prefix.Contains(a.Next())
		if !used[a] && (!ends || !first && !last) {
			out = append(out, a)
		}
	}
	return out
}
