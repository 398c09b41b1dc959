package sim

import (
	"net/http"
	"strconv"
	"strings"
)

// expandSupport is what a flavour's $expand can do (DSP0266 7.3.1).
type expandSupport struct {
	all, links, noLinks bool // *, ~, .
	levels              int  // 0: $levels is not supported, one level is expanded
}

func (e expandSupport) any() bool { return e.all || e.links || e.noLinks }

func (e expandSupport) body() obj {
	o := obj{"ExpandAll": e.all, "Links": e.links, "NoLinks": e.noLinks, "Levels": e.levels > 0}
	if e.levels > 0 {
		o["MaxLevels"] = e.levels
	}
	return o
}

// expand puts resources in place of references to them, as the query asks.
func (c *call) expand(body obj) *answer {
	for name := range c.query {
		if strings.HasPrefix(name, "$") && (name != "$expand" && name != "$skip" || !c.f.expand.any()) && c.f.strictQuery {
			return failure(http.StatusNotImplemented, "QueryNotSupported", "Querying is not supported with %s.", short(name))
		}
	}
	want := c.query.Get("$expand")
	if want == "" || !c.f.expand.any() {
		return nil
	}
	form, levels := want, 1
	if i := strings.Index(want, "($levels="); i >= 0 {
		n, err := strconv.Atoi(strings.TrimSuffix(want[i+len("($levels="):], ")"))
		if err != nil || n < 1 || c.f.expand.levels == 0 {
			return badExpand(want)
		}
		form, levels = want[:i], min(n, c.f.expand.levels)
	}
	e := c.f.expand
	switch {
	case form == "*" && e.all:
		c.fill(body, levels, true, true)
	case form == "." && e.noLinks:
		c.fill(body, levels, false, true)
	case form == "~" && e.links:
		c.fill(body, levels, true, false)
	default:
		return badExpand(want)
	}
	return nil
}

func badExpand(want string) *answer {
	return failure(http.StatusBadRequest, "QueryParameterValueFormatError", "The value '%s' for the parameter %s is not supported.", short(want), "$expand")
}

// fill expands the references inside v for a number of levels: those under Links when links is
// set, the others when subordinate is.
func (c *call) fill(v any, levels int, links, subordinate bool) {
	if levels == 0 {
		return
	}
	one := func(x any, here bool) any {
		o, isObject := x.(obj)
		if !isObject {
			c.fill(x, levels, links, subordinate)
			return x
		}
		path, isText := o["@odata.id"].(string)
		if len(o) != 1 || !isText {
			c.fill(o, levels, links, subordinate)
			return x
		}
		if !here {
			return x
		}
		r, id := c.f.find(path)
		if r == nil || r.get == nil {
			return x
		}
		inner := *c
		inner.path, inner.id = path, id
		body := r.get(&inner)
		if body == nil {
			return x
		}
		c.fill(body, levels-1, links, subordinate)
		return body
	}
	switch v := v.(type) {
	case obj:
		for key, x := range v {
			if key == "Links" {
				if links {
					in, _ := x.(obj)
					for k, y := range in {
						in[k] = c.each(y, func(z any) any { return one(z, true) })
					}
				}
				continue
			}
			v[key] = c.each(x, func(z any) any { return one(z, subordinate) })
		}
	case []obj:
		for i := range v {
			if o, isObject := one(v[i], subordinate).(obj); isObject {
				v[i] = o
			}
		}
	}
}

// each applies fn to v, or to each entry of a list of objects.
func (c *call) each(v any, fn func(any) any) any {
	if list, isList := v.([]obj); isList {
		for i := range list {
			if o, isObject := fn(list[i]).(obj); isObject {
				list[i] = o
			}
		}
		return list
	}
	if _, isObject := v.(obj); isObject {
		return fn(v)
	}
	return v
}
