package redfish

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
)

// etagKey keeps the header's ETag beside the resource's own.
const etagKey = "\x00etag"

// object is a decoded resource.
type object map[string]any

func bytesReader(b []byte) io.Reader { return bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff"))) }

// at follows property names; a name with a slash is a path.
func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, p := range path {
		for name := range strings.SplitSeq(p, "/") {
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[name]
		}
	}
	return v
}

func (o object) obj(path ...string) object {
	m, _ := o.at(path...).(map[string]any)
	return m
}

func (o object) has(path ...string) bool { return o.at(path...) != nil }

func (o object) str(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func (o object) boolean(path ...string) (value, ok bool) {
	value, ok = o.at(path...).(bool)
	return value, ok
}

func (o object) integer(path ...string) (int, bool) {
	n, ok := o.at(path...).(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return int(f), err == nil
}

func (o object) strs(path ...string) []string {
	list, _ := o.at(path...).([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (o object) objs(path ...string) []object {
	list, _ := o.at(path...).([]any)
	var out []object
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// link gives the path behind a property {"@odata.id": ...}, or behind a plain string.
func (o object) link(path ...string) string {
	switch v := o.at(path...).(type) {
	case map[string]any:
		s, _ := v["@odata.id"].(string)
		return s
	case string:
		return v
	}
	return ""
}

func (o object) links(path ...string) []string {
	var out []string
	for _, m := range o.objs(path...) {
		if l := m.link("@odata.id"); l != "" {
			out = append(out, l)
		}
	}
	return out
}

func (o object) id() string { return o.str("@odata.id") }

func (o object) etag() string {
	if e := o.str(etagKey); e != "" {
		return e
	}
	return o.str("@odata.etag")
}

// action gives where an action is posted to, "" where the resource does not have it.
func (o object) action(name string) string { return o.str("Actions", "#"+name, "target") }

// setAt makes the nested object that a PATCH of one property needs. Only the last step may hold
// dots, as in Attributes/SysLog.1.Server1.
func setAt(body map[string]any, path string, value any) {
	steps := strings.Split(path, "/")
	for _, s := range steps[:len(steps)-1] {
		next, ok := body[s].(map[string]any)
		if !ok {
			next = map[string]any{}
			body[s] = next
		}
		body = next
	}
	body[steps[len(steps)-1]] = value
}

// sameURL compares image URLs as a BMC may show them: without the password, with an escaped path.
func sameURL(a, b string) bool {
	if a == b {
		return true
	}
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	if errA != nil || errB != nil {
		return false
	}
	ua.User, ub.User = nil, nil
	return ua.String() == ub.String()
}
