package netboxsim

import "strconv"

var deviceStatuses = []string{"offline", "active", "planned", "staged", "failed", "inventory", "decommissioning"}

// kinds are the models that the server has. A kind that refers to another one comes after it, where
// that is possible.
func kinds() []*kind {
	return append(organisation(), append(hardware(), append(network(), administration()...)...)...)
}

func organisation() []*kind {
	return []*kind{
		{path: "extras/tags/", model: "extras.tag", brief: []string{"name", "slug", "color"},
			unique: [][]string{{"name"}, {"slug"}},
			fields: fields(must("name", "slug"), with("color", "9e9e9e"), text("description"), with("weight", 1000), with("object_types", []any{}), zero("tagged_items"))},
		{path: "tenancy/tenants/", model: "tenancy.tenant", brief: []string{"name", "slug", "description"},
			unique: [][]string{{"name"}, {"slug"}},
			fields: fields(must("name", "slug"), null("group"), primary(), zero("circuit_count", "device_count", "ipaddress_count",
				"prefix_count", "rack_count", "site_count", "virtualmachine_count", "vlan_count", "vrf_count", "cluster_count"))},
		{path: "dcim/sites/", model: "dcim.site", brief: []string{"name", "slug", "description"},
			unique: [][]string{{"name"}, {"slug"}},
			fields: fields(must("name", "slug"), enum("status", "active", "planned", "staging", "active", "decommissioning", "retired"),
				null("region", "group"), one("tenant", "tenancy/tenants/"), text("facility"), null("time_zone"),
				text("physical_address", "shipping_address"), null("latitude", "longitude"), with("asns", []any{}), primary(),
				count("device_count", "dcim/devices/", "site"), count("rack_count", "dcim/racks/", "site"),
				count("prefix_count", "ipam/prefixes/", "scope_id"), zero("circuit_count", "virtualmachine_count", "vlan_count"))},
		{path: "dcim/locations/", model: "dcim.location", brief: []string{"name", "slug", "description", "rack_count", "_depth"},
			unique: [][]string{{"site", "slug"}},
			fields: fields(must("name", "slug"), own("site", "dcim/sites/"), one("parent", "dcim/locations/"),
				enum("status", "active", "planned", "staging", "active", "decommissioning", "retired"),
				one("tenant", "tenancy/tenants/"), text("facility"), primary(), zero("rack_count", "device_count", "prefix_count", "_depth"))},
		{path: "dcim/racks/", model: "dcim.rack", brief: []string{"name", "description"}, unique: [][]string{{"site", "name"}},
			fields: fields(must("name"), null("facility_id"), own("site", "dcim/sites/"), one("location", "dcim/locations/"), null("group"),
				one("tenant", "tenancy/tenants/"), enum("status", "active", "reserved", "available", "planned", "active", "deprecated"),
				null("role"), text("serial"), null("asset_tag", "rack_type"), anyOf("form_factor"), width(), with("u_height", 42),
				with("starting_unit", 1), null("weight", "max_weight", "weight_unit"), with("desc_units", false),
				null("outer_width", "outer_height", "outer_depth", "outer_unit", "mounting_depth", "airflow", "cooling_capability", "cooling_capacity"),
				primary(), count("device_count", "dcim/devices/", "rack"), zero("powerfeed_count"))},
		{path: "virtualization/clusters/", model: "virtualization.cluster", brief: []string{"name", "description", "virtualmachine_count"},
			fields: fields(must("name"), must("type"), null("group"), enum("status", "active", "planned", "staging", "active", "decommissioning", "offline"),
				one("tenant", "tenancy/tenants/"), null("scope_type", "scope_id"), shown("scope", scope), primary(),
				count("device_count", "dcim/devices/", "cluster"), zero("virtualmachine_count"),
				null("allocated_vcpus", "allocated_memory", "allocated_disk"))},
	}
}

// width is a choice whose values are numbers.
func width() []field {
	return shown("width", constant(map[string]any{"value": 19, "label": "19 inches"}))
}

func hardware() []*kind {
	return []*kind{
		{path: "dcim/manufacturers/", model: "dcim.manufacturer", brief: []string{"name", "slug", "description"},
			unique: [][]string{{"name"}, {"slug"}},
			fields: fields(must("name", "slug"), primary(), count("devicetype_count", "dcim/device-types/", "manufacturer"),
				zero("moduletype_count", "inventoryitem_count", "platform_count"))},
		{path: "dcim/device-roles/", model: "dcim.devicerole", brief: []string{"name", "slug", "description", "device_count", "virtualmachine_count", "_depth"},
			unique: [][]string{{"name"}, {"slug"}},
			fields: fields(must("name", "slug"), with("color", "9e9e9e"), with("vm_role", true), null("config_template"),
				one("parent", "dcim/device-roles/"), primary(), count("device_count", "dcim/devices/", "role"), zero("virtualmachine_count", "_depth"))},
		{path: "dcim/platforms/", model: "dcim.platform", brief: []string{"name", "slug", "description", "device_count", "virtualmachine_count", "_depth"},
			unique: [][]string{{"name"}, {"slug"}},
			fields: fields(one("parent", "dcim/platforms/"), must("name", "slug"), one("manufacturer", "dcim/manufacturers/"), null("config_template"),
				primary(), count("device_count", "dcim/devices/", "platform"), zero("virtualmachine_count", "_depth"))},
		{path: "dcim/device-types/", model: "dcim.devicetype", brief: []string{"manufacturer", "model", "slug", "description", "device_count"},
			unique: [][]string{{"manufacturer", "model"}, {"manufacturer", "slug"}}, display: fieldText("model"),
			fields: fields(own("manufacturer", "dcim/manufacturers/"), one("default_platform", "dcim/platforms/"), must("model", "slug"), text("part_number"),
				with("u_height", 1.0), with("exclude_from_utilization", false), with("is_full_depth", true), anyOf("subdevice_role", "airflow", "cooling_method"),
				null("weight", "weight_unit", "end_of_life", "front_image", "rear_image"), primary(), count("device_count", "dcim/devices/", "device_type"),
				zero("console_port_template_count", "console_server_port_template_count", "power_port_template_count", "power_outlet_template_count",
					"cooling_intake_template_count", "cooling_outflow_template_count", "interface_template_count", "front_port_template_count",
					"rear_port_template_count", "device_bay_template_count", "module_bay_template_count", "inventory_item_template_count"))},
		{path: "dcim/devices/", model: "dcim.device", brief: []string{"name", "description"}, display: deviceDisplay, check: checkDevice,
			unique: [][]string{{"site", "tenant", "name"}, {"asset_tag"}, {"rack", "position", "face"}},
			fields: fields(null("name"), own("device_type", "dcim/device-types/"), own("role", "dcim/device-roles/"), one("tenant", "tenancy/tenants/"),
				one("platform", "dcim/platforms/"), text("serial"), null("asset_tag"), own("site", "dcim/sites/"), one("location", "dcim/locations/"),
				one("rack", "dcim/racks/"), null("position"), enum("face", nil, "front", "rear"), null("latitude", "longitude", "parent_device"),
				enum("status", "active", deviceStatuses...), anyOf("airflow", "cooling_method"), shown("primary_ip", primaryIP),
				one("primary_ip4", "ipam/ip-addresses/"), one("primary_ip6", "ipam/ip-addresses/"), one("oob_ip", "ipam/ip-addresses/"),
				one("cluster", "virtualization/clusters/"), null("virtual_chassis", "vc_position", "vc_priority"), primary(),
				null("config_template"), shown("config_context", constant(map[string]any{})), null("local_context_data"),
				count("interface_count", "dcim/interfaces/", "device"),
				zero("console_port_count", "console_server_port_count", "power_port_count", "power_outlet_count", "cooling_intake_count",
					"cooling_outflow_count", "front_port_count", "rear_port_count", "device_bay_count", "module_bay_count", "inventory_item_count")),
			filters: map[string]filter{"name": {by: fieldText("name"), fold: true}, "serial": {by: fieldText("serial"), fold: true}}},
	}
}

func network() []*kind {
	ofInterface := func(path string) func(*tx, *object) []string {
		return func(t *tx, o *object) []string {
			if o.str("assigned_object_type") != "dcim.interface" {
				return nil
			}
			port := t.get("dcim/interfaces/", o.ref("assigned_object_id"))
			if port == nil {
				return nil
			}
			if path == "device" {
				return []string{strconv.FormatInt(port.ref("device"), 10)}
			}
			return []string{strconv.FormatInt(port.ID, 10)}
		}
	}
	assigned := map[string]filter{"device_id": {all: ofInterface("device"), numeric: true}, "interface_id": {all: ofInterface("interface"), numeric: true}}
	ofDevice := func(name string) filter {
		return filter{numeric: true, by: func(t *tx, o *object) string {
			d := t.get("dcim/devices/", o.ref("device"))
			if d == nil {
				return ""
			}
			return strconv.FormatInt(d.ref(name), 10)
		}}
	}
	return []*kind{
		{path: "ipam/roles/", model: "ipam.role", brief: []string{"name", "slug", "description"}, unique: [][]string{{"name"}, {"slug"}},
			fields: fields(must("name", "slug"), with("weight", 1000), primary(), count("prefix_count", "ipam/prefixes/", "role"), zero("vlan_count", "asn_count"))},
		{path: "ipam/vlans/", model: "ipam.vlan", brief: []string{"vid", "name", "description"}, unique: [][]string{{"site", "vid"}},
			display: func(_ *tx, o *object) string {
				return o.str("name") + " (" + strconv.FormatInt(number(o.Data["vid"]), 10) + ")"
			},
			fields: fields(one("site", "dcim/sites/"), null("group"), must("vid", "name"), one("tenant", "tenancy/tenants/"),
				enum("status", "active", "active", "reserved", "deprecated"), one("role", "ipam/roles/"), null("qinq_role", "qinq_svlan"),
				shown("l2vpn_termination", constant(nil)), primary(), zero("prefix_count"))},
		{path: "dcim/interfaces/", model: "dcim.interface", brief: []string{"device", "name", "description", "cable", "_occupied"},
			unique: [][]string{{"device", "name"}}, check: checkInterface,
			fields: fields(own("device", "dcim/devices/"), with("vdcs", []any{}), null("module"), must("name"), text("label"),
				[]field{{name: "type", form: choice, required: true}}, null("channels", "channel_id"), with("enabled", true), one("parent", "dcim/interfaces/"),
				one("bridge", "dcim/interfaces/"), shown("bridge_interfaces", constant([]any{})), one("lag", "dcim/interfaces/"), null("mtu"),
				shown("mac_address", primaryMAC), one("primary_mac_address", "dcim/mac-addresses/"), shown("mac_addresses", macs), null("speed"),
				anyOf("duplex"), null("wwn"), with("mgmt_only", false), text("description"), enum("mode", nil, "access", "tagged", "tagged-all", "q-in-q"), anyOf("rf_role", "rf_channel", "poe_mode", "poe_type"),
				null("rf_channel_frequency", "rf_channel_width", "tx_power"), one("untagged_vlan", "ipam/vlans/"), many("tagged_vlans", "ipam/vlans/"),
				null("qinq_svlan", "vlan_translation_policy"), with("mark_connected", false), shown("cable", cableOf), shown("cable_end", cableEnd),
				shown("wireless_link", constant(nil)), shown("link_peers", peers), shown("link_peers_type", peersType), with("wireless_lans", []any{}),
				null("vrf"), shown("l2vpn_termination", constant(nil)), shown("connected_endpoints", endpoints), shown("connected_endpoints_type", peersType),
				shown("connected_endpoints_reachable", reachable), null("owner"), tagged(), shown("count_ipaddresses", addressCount), zero("count_fhrp_groups"),
				shown("_occupied", func(t *tx, o *object) any { return o.ref("cable") != 0 })),
			filters: map[string]filter{"rack_id": ofDevice("rack"), "site_id": ofDevice("site"),
				"device": {by: func(t *tx, o *object) string {
					if d := t.get("dcim/devices/", o.ref("device")); d != nil {
						return d.str("name")
					}
					return ""
				}, fold: true}}},
		{path: "dcim/mac-addresses/", model: "dcim.macaddress", brief: []string{"mac_address", "description"}, display: fieldText("mac_address"), check: checkMAC,
			fields: fields(must("mac_address"), null("assigned_object_type", "assigned_object_id"), shown("assigned_object", assignedObject),
				shown("is_primary", isPrimaryMAC), primary()), filters: assigned},
		{path: "dcim/cables/", model: "dcim.cable", brief: []string{"label", "description"}, display: cableDisplay, check: checkCable,
			fields: fields(anyOf("type"), terminations("a_terminations"), terminations("b_terminations"),
				enum("status", "connected", "connected", "planned", "decommissioning"), anyOf("profile"), one("tenant", "tenancy/tenants/"), null("bundle"),
				text("label", "color"), null("length", "length_unit"), primary()),
			filters: map[string]filter{"device_id": {numeric: true, all: cableDevices}}},
		{path: "ipam/prefixes/", model: "ipam.prefix", brief: []string{"family", "prefix", "description", "_depth"}, display: fieldText("prefix"), check: checkPrefix,
			fields: fields(shown("family", family("prefix")), must("prefix"), null("vrf", "scope_type", "scope_id"), shown("scope", scope),
				one("tenant", "tenancy/tenants/"), one("vlan", "ipam/vlans/"), enum("status", "active", "container", "active", "reserved", "deprecated"), one("role", "ipam/roles/"),
				with("is_pool", false), with("mark_utilized", false), primary(), zero("children", "_depth")),
			filters: map[string]filter{"site_id": {numeric: true, known: "dcim/sites/", by: scopeSite}, "site": {known: "dcim/sites/", slug: true, by: scopeSite}}},
		{path: "ipam/ip-addresses/", model: "ipam.ipaddress", brief: []string{"family", "address", "description"}, display: fieldText("address"), check: checkAddress,
			fields: fields(shown("family", family("address")), must("address"), null("vrf"), one("tenant", "tenancy/tenants/"),
				enum("status", "active", "active", "reserved", "deprecated", "dhcp", "slaac"), anyOf("role"), null("assigned_object_type", "assigned_object_id"),
				shown("assigned_object", assignedObject), null("nat_inside"), shown("nat_outside", constant([]any{})), text("dns_name"), primary()),
			filters: assigned},
	}
}

func administration() []*kind {
	return []*kind{
		{path: "extras/custom-fields/", model: "extras.customfield", brief: []string{"name", "description"}, unique: [][]string{{"name"}},
			display: func(_ *tx, o *object) string {
				if o.str("label") != "" {
					return o.str("label")
				}
				return o.str("name")
			},
			fields: fields(must("object_types"), enum("type", "text", "text", "longtext", "integer", "decimal", "boolean", "date", "datetime", "url", "json", "select", "multiselect", "object", "multiobject"),
				null("related_object_type"), shown("data_type", constant("string")), must("name"), text("label", "group_name", "description"), with("required", false),
				with("unique", false), with("search_weight", 1000), enum("filter_logic", "loose", "disabled", "loose", "exact"),
				enum("ui_visible", "always", "always", "if-set", "hidden"), enum("ui_editable", "yes", "yes", "no", "hidden"), with("is_cloneable", false),
				with("nulls_first", true), null("default", "related_object_filter"), with("weight", 100), null("validation_minimum", "validation_maximum"),
				text("validation_regex"), null("validation_schema", "choice_set"), enum("status", "active"), null("owner"), text("comments"))},
		{path: "extras/webhooks/", model: "extras.webhook", brief: []string{"name", "description"}, unique: [][]string{{"name"}},
			fields: fields(must("name"), text("description"), must("payload_url"), with("http_method", "POST"), with("http_content_type", "application/json"),
				text("additional_headers", "body_template", "secret"), with("ssl_verification", true), null("ca_file_path", "timeout", "owner"), tagged())},
		{path: "extras/event-rules/", model: "extras.eventrule", brief: []string{"name", "description"}, unique: [][]string{{"name"}},
			fields: fields(must("object_types", "name"), with("enabled", true), must("event_types"), null("conditions"),
				enum("action_type", "webhook", "webhook", "script", "notification"), null("action_object_type", "action_object_id"),
				shown("action_object", func(t *tx, o *object) any { return t.nestedIn("extras/webhooks/", o.ref("action_object_id")) }),
				shown("action_is_available", constant(true)), text("description"), null("owner"), tagged())},
		{path: "extras/journal-entries/", model: "extras.journalentry", brief: []string{"created"}, check: checkJournal,
			display: func(_ *tx, o *object) string { return stamp(o.Created) },
			fields: fields(must("assigned_object_type", "assigned_object_id"), shown("assigned_object", assignedObject),
				one("created_by", "users/users/"), enum("kind", "info", "info", "success", "warning", "danger"), must("comments"), tagged()),
			filters: map[string]filter{"q": {part: true, by: fieldText("comments")}}},
		{path: "users/users/", model: "users.user", brief: []string{"username"}, unique: [][]string{{"username"}}, display: fieldText("username"), undated: true,
			fields: fields(must("username"), []field{{name: "password", form: hidden}, {name: "is_superuser", form: hidden}}, text("first_name", "last_name", "email"),
				with("is_active", true), shown("date_joined", func(_ *tx, o *object) any { return stamp(o.Created) }), shown("last_login", constant(nil)),
				shown("groups", constant([]any{})), shown("permissions", permissionsOf)),
			filters: map[string]filter{"is_superuser": {by: func(_ *tx, o *object) string { return strconv.FormatBool(o.Data["is_superuser"] == true) }}}},
		{path: "users/tokens/", model: "users.token", brief: []string{"version", "key", "enabled", "write_enabled", "description"}, display: fieldText("key"), undated: true, check: checkToken,
			fields: fields(with("version", 2), null("key"), own("user", "users/users/"), text("description"), shown("created", func(_ *tx, o *object) any { return stamp(o.Created) }),
				null("expires"), shown("last_used", constant(nil)), with("enabled", true), with("write_enabled", true), shown("pepper_id", constant(1)),
				with("allowed_ips", []any{}), []field{{name: "secret", form: hidden}}, shown("token", newToken))},
		{path: "users/permissions/", model: "users.objectpermission", brief: []string{"name", "description", "enabled", "object_types", "actions"}, undated: true,
			fields: fields(must("name"), text("description"), with("enabled", true), must("object_types", "actions"), null("constraints"),
				with("groups", []any{}), many("users", "users/users/"))},
		{path: "core/object-changes/", model: "core.objectchange", undated: true,
			display: func(_ *tx, o *object) string {
				return o.str("changed_object_type") + " " + o.str("object_repr") + " " + o.str("action") + "d"
			},
			fields: fields(shown("time", func(_ *tx, o *object) any { return stamp(o.Created) }), one("user", "users/users/"), null("user_name", "request_id"),
				enum("action", nil, "create", "update", "delete"), null("changed_object_type", "changed_object_id"), shown("changed_object", changedObject),
				null("object_repr", "message", "prechange_data", "postchange_data")),
			filters: map[string]filter{}},
	}
}

func fieldText(name string) func(*tx, *object) string {
	return func(_ *tx, o *object) string { return o.str(name) }
}

func deviceDisplay(_ *tx, o *object) string {
	if tag := o.str("asset_tag"); tag != "" {
		return o.str("name") + " (" + tag + ")"
	}
	return o.str("name")
}

func cableDisplay(_ *tx, o *object) string {
	if o.str("label") != "" {
		return o.str("label")
	}
	return "#" + strconv.FormatInt(o.ID, 10)
}

func terminations(name string) []field {
	return []field{{name: name, def: []any{}, calc: func(t *tx, o *object) any { return t.ends(o, name) }}}
}
