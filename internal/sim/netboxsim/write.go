package netboxsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// writeAll adds, changes or deletes objects, all or none.
func (t *tx) writeAll(k *kind, action string, items []any, bulk bool) answer {
	words := map[string]string{"add": "created", "change": "updated", "delete": "deleted"}
	var written []*object
	var problems []any
	worst := http.StatusBadRequest
	for i, item := range items {
		o, status, errs := t.writeOne(k, action, item)
		if errs == nil {
			written = append(written, o)
			continue
		}
		if !bulk {
			return answer{status: status, body: errs}
		}
		worst = max(worst, status)
		entry := map[string]any{"errors": errs, "index": i}
		if m, ok := item.(map[string]any); ok && action != "add" {
			entry = map[string]any{"errors": errs, "id": m["id"]}
		}
		problems = append(problems, entry)
	}
	if len(problems) > 0 {
		return answer{status: worst, body: map[string]any{"errors": problems,
			"detail": fmt.Sprintf("%d of %d objects could not be %s.", len(problems), len(items), words[action])}}
	}
	if action == "delete" {
		return answer{status: http.StatusNoContent}
	}
	out := make([]any, len(written))
	for i, o := range written {
		out[i] = t.show(t.get(k.path, o.ID), nil, nil)
	}
	status := http.StatusOK
	if action == "add" {
		status = http.StatusCreated
	}
	if bulk {
		return answer{status: status, body: out}
	}
	a := answer{status: status, body: out[0]}
	if !k.undated {
		a.etag = etag(t.get(k.path, written[0].ID))
	}
	return a
}

func (t *tx) writeOne(k *kind, action string, item any) (*object, int, map[string]any) {
	in, ok := item.(map[string]any)
	if !ok {
		return nil, http.StatusBadRequest, map[string]any{"non_field_errors": []any{"Invalid data. Expected a dictionary."}}
	}
	if action == "add" {
		o := &object{Kind: k.path, Data: map[string]any{}}
		for _, f := range k.fields {
			if f.form != calc {
				o.Data[f.name] = f.def
			}
		}
		o.Data["custom_fields"] = map[string]any{}
		status, problems := t.fill(k, t.put(o), in, action)
		if problems == nil {
			t.record(k, o, "create", nil, in)
		}
		return o, status, problems
	}
	o := t.get(k.path, number(in["id"]))
	if o == nil || !t.covers(k, action, o) {
		return nil, http.StatusBadRequest, map[string]any{"id": []any{fmt.Sprintf("Object with ID %v does not exist", in["id"])}}
	}
	if action == "delete" {
		message, _ := in["changelog_message"].(string)
		if a := t.delete(k, o, message); a.status != 0 {
			return o, a.status, map[string]any{"__all__": []any{"Unable to delete: dependent objects prevent deletion."}}
		}
		return o, http.StatusOK, nil
	}
	status, problems := t.update(k, o, in)
	return o, status, problems
}

// update changes an object by a PATCH's body. problems is nil when it was done.
func (t *tx) update(k *kind, o *object, in map[string]any) (status int, problems map[string]any) {
	before := t.flat(k, o)
	o = t.edit(k.path, o.ID)
	if status, problems = t.fill(k, o, in, "change"); problems != nil {
		return status, problems
	}
	t.record(k, o, "update", before, in)
	return http.StatusOK, nil
}

// fill sets the fields of o that the body names, and checks the result.
func (t *tx) fill(k *kind, o *object, in map[string]any, action string) (int, map[string]any) {
	problems := map[string]any{}
	for _, f := range k.fields {
		v, given := in[f.name]
		switch {
		case f.form == calc:
		case !given:
			if action == "add" && f.required {
				problems[f.name] = []any{"This field is required."}
			}
		default:
			if problem := t.set(o, f, v); problem != "" {
				problems[f.name] = []any{problem}
			}
		}
	}
	if custom, ok := in["custom_fields"].(map[string]any); ok {
		if problem := t.setCustom(k, o, custom); problem != nil {
			problems["custom_fields"] = problem
		}
	}
	if len(problems) == 0 && k.check != nil {
		maps.Copy(problems, k.check(t, o, in))
	}
	if len(problems) == 0 {
		maps.Copy(problems, t.duplicates(k, o))
	}
	if len(problems) > 0 {
		return http.StatusBadRequest, problems
	}
	if !t.covers(k, action, o) { // the change must not take it out of the permission
		return http.StatusForbidden, map[string]any{"detail": "You do not have permission to perform this action."}
	}
	return http.StatusOK, nil
}

// set reads one field of a body into o and returns NetBox's message when it cannot.
func (t *tx) set(o *object, f field, v any) string {
	switch f.form {
	case choice:
		s, isString := v.(string)
		if v == nil || s == "" {
			o.Data[f.name] = nil
			return ""
		}
		if !isString || (f.choices != nil && !slices.Contains(f.choices, s)) {
			return fmt.Sprintf("%v is not a valid choice.", v)
		}
		o.Data[f.name] = s
	case ref:
		if v == nil {
			if f.required {
				return "This field may not be null."
			}
			o.Data[f.name] = nil
			return ""
		}
		id, problem := t.refer(f.of, v)
		if problem != "" {
			return problem
		}
		o.Data[f.name] = id
	case refs:
		list, ok := v.([]any)
		if !ok {
			return `Expected a list of items but got type "str".`
		}
		ids := []any{}
		for _, item := range list {
			id, problem := t.refer(f.of, item)
			if problem != "" {
				return problem
			}
			ids = append(ids, id)
		}
		o.Data[f.name] = ids
	default:
		if s, ok := v.(string); f.required && (v == nil || (ok && s == "")) {
			return "This field may not be blank."
		}
		o.Data[f.name] = v
	}
	return ""
}

// refer reads a reference: an ID, or attributes that one object has.
func (t *tx) refer(kind string, v any) (int64, string) {
	switch v := v.(type) {
	case float64, int64:
		if t.get(kind, number(v)) == nil {
			return 0, fmt.Sprintf("Related object not found using the provided numeric ID: %v", v)
		}
		return number(v), ""
	case map[string]any:
		for _, o := range t.all(kind) {
			if (v["id"] == nil || number(v["id"]) == o.ID) && (v["slug"] == nil || v["slug"] == o.Data["slug"]) &&
				(v["name"] == nil || v["name"] == o.Data["name"]) {
				return o.ID, ""
			}
		}
		return 0, fmt.Sprintf("Related object not found using the provided attributes: %v", v)
	}
	return 0, fmt.Sprintf("Related objects must be referenced by numeric ID or by dictionary of attributes. Received an unrecognized value: %v", v)
}

func (t *tx) setCustom(k *kind, o *object, in map[string]any) any {
	values, _ := o.Data["custom_fields"].(map[string]any)
	values = maps.Clone(values)
	if values == nil {
		values = map[string]any{}
	}
	known := t.customFieldsOf(k.model)
	for name, v := range in {
		if !slices.ContainsFunc(known, func(f *object) bool { return f.str("name") == name }) {
			return map[string]any{name: fmt.Sprintf("Custom field '%s' does not exist for this object type.", name)}
		}
		values[name] = v
	}
	o.Data["custom_fields"] = values
	return nil
}

// duplicates checks the kind's unique sets. A set with an empty field does not count, as in SQL.
func (t *tx) duplicates(k *kind, o *object) map[string]any {
	problems := map[string]any{}
	for _, set := range k.unique {
		key, bound := k.uniqueKey(set, o)
		if !bound {
			continue
		}
		for _, other := range t.having(k.path, key) {
			if other.ID != o.ID {
				problems[set[len(set)-1]] = []any{fmt.Sprintf("%s with this %s already exists.", k.model[strings.IndexByte(k.model, '.')+1:], strings.Join(set, " and "))}
			}
		}
	}
	return problems
}

// flat is an object as the changelog keeps it: plain values, references as IDs, tags as names.
func (t *tx) flat(k *kind, o *object) map[string]any {
	out := map[string]any{}
	for _, f := range k.fields {
		switch f.form {
		case calc, hidden:
		case refs:
			names := []any{}
			list, _ := o.Data[f.name].([]any)
			for _, id := range list {
				if tag := t.get(f.of, number(id)); tag != nil {
					names = append(names, tag.str("name"))
				}
			}
			out[f.name] = names
		default:
			out[f.name] = o.Data[f.name]
		}
	}
	if k.find("custom_fields") != nil {
		out["custom_fields"] = o.Data["custom_fields"]
	}
	return out
}

// record writes a row of the changelog, unless nothing changed or the kind has none.
func (t *tx) record(k *kind, o *object, action string, before, in map[string]any) {
	if k.undated {
		return
	}
	var after map[string]any
	if action != "delete" {
		after = t.flat(k, o)
	}
	if action == "update" && equal(before, after) {
		return
	}
	message, _ := in["changelog_message"].(string)
	row := map[string]any{
		"action": action, "changed_object_type": k.model, "changed_object_id": o.ID, "object_repr": k.name(t, o),
		"message": message, "request_id": t.request, "prechange_data": nil, "postchange_data": nil,
	}
	if before != nil {
		row["prechange_data"] = before
	}
	if after != nil {
		row["postchange_data"] = after
	}
	if t.user != nil {
		row["user"], row["user_name"] = t.user.ID, t.user.str("username")
	}
	t.put(&object{Kind: "core/object-changes/", Data: row})
}

// equal compares values as they look in JSON, where all numbers are alike.
func equal(a, b any) bool {
	var x, y any
	ja, _ := json.Marshal(a) // decoded JSON and our own literals
	jb, _ := json.Marshal(b)
	return json.Unmarshal(ja, &x) == nil && json.Unmarshal(jb, &y) == nil && reflect.DeepEqual(x, y)
}

// delete removes an object that nothing refers to; a device takes its interfaces with it.
func (t *tx) delete(k *kind, o *object, message string) answer {
	if k.model == "dcim.device" {
		ports := t.whose("dcim/interfaces/", "device", o.ID)
		slices.SortStableFunc(ports, func(a, b *object) int { return int(min(b.ref("parent"), 1) - min(a.ref("parent"), 1)) }) // VLANs first
		for _, port := range ports {
			if a := t.delete(t.kind(port.Kind), port, message); a.status != 0 {
				return a
			}
		}
	}
	if k.model == "ipam.ipaddress" { // a device loses it without a row of its own in the changelog
		for _, name := range []string{"primary_ip4", "primary_ip6", "oob_ip"} {
			for _, d := range t.whose("dcim/devices/", name, o.ID) {
				t.edit(d.Kind, d.ID).Data[name] = nil
			}
		}
	}
	for field, of := range map[string]string{"lag": "dcim/interfaces/", "bridge": "dcim/interfaces/", "untagged_vlan": "ipam/vlans/"} {
		if k.path == of { // interfaces lose these likewise
			for _, port := range t.whose("dcim/interfaces/", field, o.ID) {
				t.edit(port.Kind, port.ID).Data[field] = nil
			}
		}
	}
	var holders []string
	for path, other := range t.state.kinds {
		for _, f := range other.fields {
			if f.form != ref || f.of != k.path || other.undated {
				continue
			}
			for _, h := range t.whose(path, f.name, o.ID) {
				holders = append(holders, fmt.Sprintf("%s (%d)", other.name(t, h), h.ID))
			}
		}
	}
	if k.model == "dcim.interface" && o.ref("cable") != 0 {
		holders = append(holders, "its cable")
	}
	if len(holders) > 0 {
		slices.Sort(holders)
		return refuse(http.StatusConflict, "Unable to delete object. %d dependent objects were found: %s", len(holders), strings.Join(holders, ", "))
	}
	if k.model == "dcim.cable" {
		for _, end := range []string{"a_terminations", "b_terminations"} {
			for _, port := range t.terminals(o, end) {
				port = t.edit(port.Kind, port.ID)
				port.Data["cable"], port.Data["cable_end"] = nil, nil
			}
		}
	}
	t.record(k, o, "delete", t.flat(k, o), map[string]any{"changelog_message": message})
	t.drop(k.path, o.ID)
	return answer{}
}
