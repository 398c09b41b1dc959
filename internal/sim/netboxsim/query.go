package netboxsim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// filter selects objects by a query parameter. Of several values of one parameter any may match.
type filter struct {
	by      func(*tx, *object) string   // the value that must match
	all     func(*tx, *object) []string // or several, of which one must match
	part    bool                        // a part of the value is enough; letter case does not count
	fold    bool                        // letter case does not count
	numeric bool                        // values must be whole numbers
	known   string                      // values must name objects of this kind, by ID
	slug    bool                        // ... or by slug
	choices []string                    // values must be one of these
}

const (
	defaultPage = 50
	maxPage     = 1000
)

// filterFor gives the filter of a parameter, or false: NetBox ignores parameters that it does not know.
func (k *kind) filterFor(name string) (filter, bool) {
	if f, ok := k.filters[name]; ok {
		return f, true
	}
	switch name {
	case "id":
		return filter{numeric: true, by: func(_ *tx, o *object) string { return fmt.Sprint(o.ID) }}, true
	case "tag":
		return filter{known: "extras/tags/", slug: true, all: func(_ *tx, o *object) []string {
			var out []string
			list, _ := o.Data["tags"].([]any)
			for _, id := range list {
				out = append(out, fmt.Sprint(number(id)))
			}
			return out
		}}, k.find("tags") != nil
	}
	byRef := func(f *field) func(*tx, *object) string {
		return func(_ *tx, o *object) string { return fmt.Sprint(o.ref(f.name)) }
	}
	if f := k.find(strings.TrimSuffix(name, "_id")); f != nil && f.form == ref && strings.HasSuffix(name, "_id") {
		return filter{numeric: true, known: f.of, by: byRef(f)}, true
	}
	f := k.find(name)
	switch {
	case f == nil || f.form == calc || f.form == hidden || f.form == refs:
		return filter{}, false
	case f.form == ref:
		return filter{known: f.of, slug: true, by: byRef(f)}, true
	}
	return filter{choices: f.choices, by: func(_ *tx, o *object) string {
		if v := o.Data[name]; v != nil {
			return fmt.Sprint(v)
		}
		return ""
	}}, true
}

// match builds a test for one parameter. problem is NetBox's message for a value that cannot be.
func (f filter) match(t *tx, values []string) (test func(*object) bool, problem string) {
	want := map[string]bool{}
	for _, v := range values {
		if f.choices != nil && !slices.Contains(f.choices, v) {
			return nil, fmt.Sprintf("Select a valid choice. %s is not one of the available choices.", v)
		}
		if f.numeric {
			if _, err := strconv.ParseInt(v, 10, 64); err != nil {
				return nil, "Enter a whole number."
			}
		}
		if f.known != "" {
			id, ok := t.resolve(f.known, v, f.slug)
			if !ok {
				return nil, fmt.Sprintf("Select a valid choice. %s is not one of the available choices.", v)
			}
			v = id
		}
		if f.fold || f.part {
			v = strings.ToLower(v)
		}
		want[v] = true
	}
	return func(o *object) bool {
		var have []string
		if f.all != nil {
			have = f.all(t, o)
		} else {
			have = []string{f.by(t, o)}
		}
		return slices.ContainsFunc(have, func(s string) bool {
			if f.fold || f.part {
				s = strings.ToLower(s)
			}
			if f.part {
				return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(s, strings.ToLower(v)) })
			}
			return want[s]
		})
	}, ""
}

func (t *tx) resolve(kind, value string, slug bool) (string, bool) {
	if !slug {
		id, _ := strconv.ParseInt(value, 10, 64)
		return value, t.get(kind, id) != nil
	}
	for _, o := range t.all(kind) {
		if o.str("slug") == value {
			return fmt.Sprint(o.ID), true
		}
	}
	return "", false
}

// list answers a GET of a kind.
func (t *tx) list(k *kind, r *http.Request) answer {
	q := r.URL.Query()
	objects := t.visible(k, "view", q)
	problems := map[string]any{}
	for name, values := range q {
		if name == "last_updated__gte" {
			since, err := time.Parse(time.RFC3339Nano, values[0])
			if err != nil {
				problems[name] = []any{"Enter a valid date/time."}
				continue
			}
			objects = slices.DeleteFunc(objects, func(o *object) bool { return o.Updated.Before(since) })
			continue
		}
		f, ok := k.filterFor(name)
		if !ok {
			continue
		}
		test, problem := f.match(t, values)
		if problem != "" {
			problems[name] = []any{problem}
			continue
		}
		objects = slices.DeleteFunc(objects, func(o *object) bool { return !test(o) })
	}
	if len(problems) > 0 {
		return answer{status: http.StatusBadRequest, body: problems}
	}
	if k.model == "core.objectchange" && q.Get("ordering") == "" {
		slices.Reverse(objects) // newest first
	}
	return t.page(objects, r, q)
}

func (t *tx) page(objects []*object, r *http.Request, q url.Values) answer {
	number := func(name string, def int) int {
		if n, err := strconv.Atoi(q.Get(name)); err == nil && n >= 0 {
			return n
		}
		return def
	}
	limit := number("limit", defaultPage)
	if limit == 0 || limit > maxPage {
		limit = maxPage
	}
	link := func(name string, n int) any {
		next := url.Values{}
		for k, v := range q {
			next[k] = v
		}
		next.Set("limit", fmt.Sprint(limit))
		if next.Set(name, fmt.Sprint(n)); name == "offset" && n <= 0 {
			next.Del("offset")
		}
		return t.base + r.URL.Path + "?" + next.Encode()
	}
	body := map[string]any{"count": len(objects), "next": nil, "previous": nil}
	if q.Has("start") {
		if q.Has("offset") {
			return answer{status: http.StatusBadRequest, body: []any{"'start' and 'offset' are mutually exclusive."}}
		}
		start := int64(number("start", 0))
		slices.SortFunc(objects, func(a, b *object) int { return int(a.ID - b.ID) })
		objects = slices.DeleteFunc(objects, func(o *object) bool { return o.ID < start })
		body["count"] = nil
		if len(objects) >= limit {
			objects = objects[:limit]
			body["next"] = link("start", int(objects[limit-1].ID)+1)
		}
	} else {
		offset := min(number("offset", 0), len(objects))
		if offset+limit < len(objects) {
			body["next"] = link("offset", offset+limit)
		}
		if offset > 0 {
			body["previous"] = link("offset", offset-limit)
		}
		objects = objects[offset:min(offset+limit, len(objects))]
	}
	only, omit := selection(q)
	results := make([]any, len(objects))
	for i, o := range objects {
		if only == nil && omit == nil && q.Get("brief") != "" {
			results[i] = t.nested(o)
		} else {
			results[i] = t.show(o, only, omit)
		}
	}
	body["results"] = results
	return answer{status: http.StatusOK, body: body}
}

// selection reads the parameters fields and omit; fields wins.
func selection(q url.Values) (only, omit map[string]bool) {
	set := func(s string) map[string]bool {
		if s == "" {
			return nil
		}
		m := map[string]bool{}
		for _, name := range strings.Split(s, ",") {
			m[name] = true
		}
		return m
	}
	if only = set(q.Get("fields")); only != nil {
		return only, nil
	}
	return nil, set(q.Get("omit"))
}
