package netboxsim

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The index of a state finds objects by what they refer to and by what must be unique, so that a site of
// thousands of machines costs no more a request than a rack. An object has a key for each of these.

func referenceKey(field string, id int64) string { return field + "=" + strconv.FormatInt(id, 10) }

// refers tells that a field has a key: those that name one other object.
func (k *kind) refers(name string) bool {
	f := k.find(name)
	return f != nil && (f.form == ref || name == "assigned_object_id" || name == "scope_id")
}

// uniqueKey is an object's key in one of its kind's unique sets, false when it is not bound by it.
func (k *kind) uniqueKey(set []string, o *object) (string, bool) {
	var b strings.Builder
	b.WriteString(strings.Join(set, "+"))
	for _, name := range set {
		v := o.Data[name]
		if (v == nil || v == "") && name != "tenant" {
			return "", false
		}
		b.WriteByte(0)
		b.WriteString(strings.ToLower(fmt.Sprint(v)))
	}
	return b.String(), true
}

func (k *kind) keys(o *object) []string {
	var out []string
	for _, set := range k.unique {
		if key, bound := k.uniqueKey(set, o); bound {
			out = append(out, key)
		}
	}
	for _, f := range k.fields {
		if id := o.ref(f.name); id != 0 && k.refers(f.name) {
			out = append(out, referenceKey(f.name, id))
		}
	}
	return out
}

// enter and leave keep the index when an object comes, changes or goes.
func (s *state) enter(o *object) {
	if s.index[o.Kind] == nil {
		s.index[o.Kind] = map[string]map[int64]*object{}
	}
	for _, key := range s.kinds[o.Kind].keys(o) {
		if s.index[o.Kind][key] == nil {
			s.index[o.Kind][key] = map[int64]*object{}
		}
		s.index[o.Kind][key][o.ID] = o
	}
}

func (s *state) leave(o *object) {
	if o == nil {
		return
	}
	for _, key := range s.kinds[o.Kind].keys(o) {
		if delete(s.index[o.Kind][key], o.ID); len(s.index[o.Kind][key]) == 0 {
			delete(s.index[o.Kind], key)
		}
	}
}

// having lists the objects of a kind with a key, in no order.
func (t *tx) having(kind, key string) []*object {
	var out []*object
	for id, o := range t.state.index[kind][key] {
		if _, changed := t.dirty[kind][id]; !changed {
			out = append(out, o)
		}
	}
	for _, o := range t.dirty[kind] {
		if o != nil && slices.Contains(t.kind(kind).keys(o), key) {
			out = append(out, o)
		}
	}
	return out
}

// whose lists the objects of a kind whose field refers to id, by ID.
func (t *tx) whose(kind, field string, id int64) []*object {
	if id == 0 || !t.kind(kind).refers(field) {
		return slices.DeleteFunc(t.all(kind), func(o *object) bool { return o.ref(field) != id })
	}
	out := t.having(kind, referenceKey(field, id))
	slices.SortFunc(out, byID)
	return out
}

func byID(a, b *object) int { return cmp.Compare(a.ID, b.ID) }

// candidates lists the objects of a kind, by ID, of which a query can select any: all, unless the query
// names objects or devices.
func (t *tx) candidates(k *kind, q url.Values) []*object {
	found := map[int64]*object{}
	add := func(list ...*object) {
		for _, o := range list {
			if o != nil {
				found[o.ID] = o
			}
		}
	}
	switch {
	case len(q["id"]) > 0:
		for _, id := range ids(q["id"]) {
			add(t.get(k.path, id))
		}
	case len(q["device_id"]) > 0 && k.model == "dcim.interface":
		for _, id := range ids(q["device_id"]) {
			add(t.whose(k.path, "device", id)...)
		}
	case len(q["device_id"]) > 0 && (k.model == "dcim.cable" || k.model == "ipam.ipaddress" || k.model == "dcim.macaddress"):
		for _, id := range ids(q["device_id"]) {
			for _, port := range t.whose("dcim/interfaces/", "device", id) {
				if k.model == "dcim.cable" {
					add(t.get(k.path, port.ref("cable")))
				} else {
					add(t.whose(k.path, "assigned_object_id", port.ID)...)
				}
			}
		}
	case len(q["assigned_object_id"]) > 0 && k.refers("assigned_object_id"):
		for _, id := range ids(q["assigned_object_id"]) {
			add(t.whose(k.path, "assigned_object_id", id)...)
		}
	default:
		return t.all(k.path)
	}
	out := make([]*object, 0, len(found))
	for _, o := range found {
		out = append(out, o)
	}
	slices.SortFunc(out, byID)
	return out
}

// ids reads those values that are IDs; the filter of the parameter refuses the others.
func ids(values []string) []int64 {
	var out []int64
	for _, v := range values {
		if id, err := strconv.ParseInt(v, 10, 64); err == nil {
			out = append(out, id)
		}
	}
	return out
}
