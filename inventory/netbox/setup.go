package netbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// readTypes are what the driver reads, each with the list that shows whether a token may.
var readTypes = []struct{ name, path string }{
	{"dcim.site", "dcim/sites/"}, {"dcim.location", "dcim/locations/"}, {"dcim.rack", "dcim/racks/"},
	{"dcim.devicerole", "dcim/device-roles/"}, {"dcim.manufacturer", "dcim/manufacturers/"},
	{"dcim.devicetype", "dcim/device-types/"}, {"dcim.platform", "dcim/platforms/"},
	{"dcim.device", "dcim/devices/"}, {"dcim.interface", "dcim/interfaces/"},
	{"dcim.macaddress", "dcim/mac-addresses/"}, {"dcim.cable", "dcim/cables/"},
	{"ipam.ipaddress", "ipam/ip-addresses/"}, {"ipam.prefix", "ipam/prefixes/"}, {"ipam.role", "ipam/roles/"},
	{"tenancy.tenant", "tenancy/tenants/"}, {"virtualization.cluster", "virtualization/clusters/"},
	{"extras.tag", "extras/tags/"}, {"extras.customfield", "extras/custom-fields/"},
	{"core.objectchange", "core/object-changes/"},
}

// need is one object that Setup wants in NetBox, found by its name.
type need struct {
	kind string
	name string
	path string
	body map[string]any // what to create
	same []string       // fields of the body that an existing object must equal
	has  []string       // list fields of the body that an existing object must contain
	once string         // a field of the body whose value is a secret: never shown
}

func operationField() need {
	return need{kind: "custom field", name: OperationField, path: "extras/custom-fields/", body: map[string]any{
		"object_types": []string{"dcim.device", "ipam.ipaddress"}, "type": "text", "label": "Cagenut operation",
		"group_name": "Cagenut", "description": "The operation of Cagenut that wrote this object last",
		"ui_editable": "no", "is_cloneable": false, "filter_logic": "exact",
	}, same: []string{"type"}, has: []string{"object_types"}}
}

func ownTag() need {
	return need{kind: "tag", name: Tag, path: "extras/tags/", body: map[string]any{
		"slug": Tag, "color": "00695c", "description": "Made by Cagenut",
	}, same: []string{"slug"}}
}

// permissions are what the account user needs: to view what the driver reads, and to change devices,
// but only those in a status of the lifecycle, before and after the change.
func permissions(user int64) []need {
	var types, statuses []string
	for _, t := range readTypes {
		types = append(types, t.name)
	}
	for _, m := range asset.Moves() {
		if !slices.Contains(statuses, string(m.From)) {
			statuses = append(statuses, string(m.From))
		}
	}
	slices.Sort(statuses)
	return []need{
		{kind: "permission", name: "cagenut read", path: "users/permissions/", body: map[string]any{
			"description": "What Cagenut reads", "enabled": true, "object_types": types,
			"actions": []string{"view"}, "users": []int64{user},
		}, same: []string{"enabled"}, has: []string{"object_types", "actions", "users"}},
		{kind: "permission", name: "cagenut write status", path: "users/permissions/", body: map[string]any{
			"description": "Cagenut moves devices through the lifecycle", "enabled": true,
			"object_types": []string{"dcim.device"}, "actions": []string{"change"}, "users": []int64{user},
			"constraints": map[string]any{"status__in": statuses},
		}, same: []string{"enabled", "constraints"}, has: []string{"object_types", "actions", "users"}},
		{kind: "permission", name: "cagenut write addresses", path: "users/permissions/", body: map[string]any{
			"description": "Cagenut allocates machines' primary addresses and names them", "enabled": true,
			"object_types": []string{"ipam.ipaddress"}, "actions": []string{"add", "change"}, "users": []int64{user},
			"constraints": map[string]any{"assigned_object_id__isnull": false},
		}, same: []string{"enabled", "constraints"}, has: []string{"object_types", "actions", "users"}},
		{kind: "permission", name: "cagenut release addresses", path: "users/permissions/", body: map[string]any{
			"description": "Cagenut takes back addresses that it allocated, and no others", "enabled": true,
			"object_types": []string{"ipam.ipaddress"}, "actions": []string{"delete"}, "users": []int64{user},
			"constraints": map[string]any{"custom_field_data__" + OperationField + "__startswith": "op_"},
		}, same: []string{"enabled", "constraints"}, has: []string{"object_types", "actions", "users"}},
		{kind: "permission", name: "cagenut write journal", path: "users/permissions/", body: map[string]any{
			"description": "Cagenut notes in devices' journals what it did", "enabled": true,
			"object_types": []string{"extras.journalentry"}, "actions": []string{"view", "add"}, "users": []int64{user},
			"constraints": map[string]any{"assigned_object_type__app_label": "dcim", "assigned_object_type__model": "device"},
		}, same: []string{"enabled", "constraints"}, has: []string{"object_types", "actions", "users"}},
	}
}

func webhook(target, key string) need {
	return need{kind: "webhook", name: "cagenut", path: "extras/webhooks/", body: map[string]any{
		"description": "Tells Cagenut what changed", "payload_url": target, "http_method": "POST", "secret": key,
	}, same: []string{"payload_url", "secret"}, once: "secret"}
}

func eventRule(webhook int64) need {
	return need{kind: "event rule", name: "cagenut", path: "extras/event-rules/", body: map[string]any{
		"description": "Tells Cagenut what changed", "enabled": true,
		"object_types": []string{"dcim.device", "dcim.interface", "dcim.cable", "ipam.ipaddress"},
		"event_types":  []string{"object_created", "object_updated", "object_deleted"},
		"action_type":  "webhook", "action_object_type": "extras.webhook", "action_object_id": webhook,
	}, same: []string{"enabled", "action_type", "action_object_id"}, has: []string{"object_types", "event_types"}}
}

// Setup compares what Cagenut needs with what is there and, when apply is true, makes what is missing.
// The token must be an administrator's. What is there under one of our names but differs is reported
// and left alone: somebody may have changed it for a reason. Setup may be repeated at any time.
func (c *Client) Setup(ctx context.Context, o inventory.SetupOptions, apply bool) ([]inventory.SetupItem, error) {
	const op = "set up NetBox"
	if o.User == "" {
		return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: op, Detail: "name the NetBox account that Cagenut's token belongs to"}
	}
	if o.WebhookURL != "" && o.WebhookKey == "" {
		return nil, &inventory.Error{Kind: inventory.ErrInvalid, Op: op, Detail: "a webhook needs a key, so that nobody else can call it"}
	}
	var users page[ref]
	if err := c.get(ctx, op, "/api/users/users/?"+url.Values{"username": {o.User}}.Encode(), &users); err != nil {
		return nil, err
	}
	if len(users.Results) != 1 {
		return nil, &inventory.Error{Kind: inventory.ErrNotFound, Op: op, Names: []string{o.User},
			Detail: "NetBox has no such account: make it first, with a token of its own and no permissions"}
	}
	needs := append([]need{operationField(), ownTag()}, permissions(users.Results[0].ID)...)
	var items []inventory.SetupItem
	for _, n := range needs {
		item, _, err := c.fulfil(ctx, n, apply)
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	if o.WebhookURL == "" {
		return items, nil
	}
	item, id, err := c.fulfil(ctx, webhook(o.WebhookURL, o.WebhookKey), apply)
	if err != nil {
		return items, err
	}
	items = append(items, item)
	item, _, err = c.fulfil(ctx, eventRule(id), apply)
	if err != nil {
		return items, err
	}
	return append(items, item), nil
}

// fulfil looks for one need and makes it when it is missing and apply is set. It gives the object's
// ID, 0 when there is none.
func (c *Client) fulfil(ctx context.Context, n need, apply bool) (inventory.SetupItem, int64, error) {
	item := inventory.SetupItem{Kind: n.kind, Name: n.name}
	op := "set up " + n.kind + " " + n.name
	var there page[map[string]any]
	if err := c.get(ctx, op, "/api/"+n.path+"?"+url.Values{"name": {n.name}}.Encode(), &there); err != nil {
		return item, 0, err
	}
	if len(there.Results) > 0 {
		have := there.Results[0]
		id, _ := have["id"].(float64)
		item.State = "present"
		if item.Detail = n.difference(have); item.Detail != "" {
			item.State = "differs"
		}
		return item, int64(id), nil
	}
	item.State = "missing"
	if !apply {
		return item, 0, nil
	}
	n.body["name"] = n.name
	var made struct {
		ID int64 `json:"id"`
	}
	if err := c.post(ctx, op, "/api/"+n.path, n.body, &made); err != nil {
		return item, 0, err
	}
	item.State = "created"
	return item, made.ID, nil
}

// post creates one object. go-netbox cannot: the event rules and permissions that it knows are those
// of NetBox 4.0.
func (c *Client) post(ctx context.Context, op, path string, body, out any) error {
	return c.exchange(ctx, op, &call{}, out, http.MethodPost, path, body)
}

// difference tells in which needed fields an existing object differs; empty when in none.
func (n need) difference(have map[string]any) string {
	var out []string
	for _, f := range n.same {
		if want, got := plain(n.body[f]), plain(have[f]); want != got {
			if f == n.once {
				out = append(out, f+" is another one")
			} else {
				out = append(out, fmt.Sprintf("%s is %s, want %s", f, got, want))
			}
		}
	}
	for _, f := range n.has {
		got := map[string]bool{}
		if list, ok := have[f].([]any); ok {
			for _, v := range list {
				got[plain(v)] = true
			}
		}
		b, _ := json.Marshal(n.body[f])
		var want []any
		_ = json.Unmarshal(b, &want) // a list that we just wrote
		for _, v := range want {
			if !got[plain(v)] {
				out = append(out, fmt.Sprintf("%s lacks %s", f, plain(v)))
			}
		}
	}
	if len(out) > 0 {
		out = append(out, "left as it is: change it by hand, or delete it and run the setup again")
	}
	return strings.Join(out, "; ")
}

// plain is a value in a comparable form: a choice as its value, a nested object as its ID, the rest as
// JSON.
func plain(v any) string {
	if o, ok := v.(map[string]any); ok {
		if value, ok := o["value"]; ok {
			v = value
		} else if id, ok := o["id"]; ok {
			v = id
		}
	}
	b, _ := json.Marshal(v) // decoded JSON or our own literals
	return string(b)
}
