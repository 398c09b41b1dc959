package sim

import (
	"fmt"
	"slices"
	"strings"
)

// A setter checks a new value of a property and gives what to do when the whole request is good.
// Nothing is changed by a request of which any part is refused.
type setter func(v any) (apply func(), bad *answer)

// patch carries out a PATCH with the resource's writable properties.
func patch(c *call, setters map[string]setter) *answer {
	apply, bad := check(c.body, setters, "")
	if bad != nil {
		return bad
	}
	if len(apply) == 0 {
		return failure(400, "NoOperation", "The request body submitted contain no data to act upon.")
	}
	for _, f := range apply {
		f()
	}
	c.m.dirty = true
	return c.f.patched(c)
}

func check(body obj, setters map[string]setter, prefix string) ([]func(), *answer) {
	keys := make([]string, 0, len(body))
	for k := range body {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var apply []func()
	for _, k := range keys {
		if strings.HasPrefix(k, "@") {
			continue
		}
		set, writable := setters[k]
		if !writable {
			if _, exists := readOnly[k]; exists {
				return nil, readOnlyProperty(prefix + k)
			}
			return nil, unknownProperty(prefix + k)
		}
		do, bad := set(body[k])
		if bad != nil {
			return nil, bad
		}
		if do != nil {
			apply = append(apply, do)
		}
	}
	return apply, nil
}

// readOnly are properties that clients may well try to write.
var readOnly = map[string]struct{}{
	"Id": {}, "Name": {}, "Status": {}, "SerialNumber": {}, "Model": {}, "Manufacturer": {}, "PowerState": {},
	"BiosVersion": {}, "FirmwareVersion": {}, "UUID": {}, "SKU": {}, "PartNumber": {}, "MACAddress": {},
}

// nested is an object with writable properties of its own.
func nested(name string, setters map[string]setter) setter {
	return func(v any) (func(), *answer) {
		o, isObject := v.(obj)
		if !isObject {
			return nil, badValue(name, v, "it must be an object")
		}
		apply, bad := check(o, setters, name+"/")
		if bad != nil {
			return nil, bad
		}
		return func() {
			for _, f := range apply {
				f()
			}
		}, nil
	}
}

func textSetter(name string, longest int, set func(string)) setter {
	return func(v any) (func(), *answer) {
		s, isText := v.(string)
		if !isText || len(s) > longest {
			return nil, badValue(name, v, fmt.Sprintf("it must be text of at most %d characters", longest))
		}
		return func() { set(s) }, nil
	}
}

func oneOfSetter(name string, allowed []string, set func(string)) setter {
	return func(v any) (func(), *answer) {
		s, isText := v.(string)
		if !isText || !slices.Contains(allowed, s) {
			return nil, badValue(name, v, "use one of "+strings.Join(allowed, ", "))
		}
		return func() { set(s) }, nil
	}
}

func boolSetter(name string, set func(bool)) setter {
	return func(v any) (func(), *answer) {
		b, isBool := v.(bool)
		if !isBool {
			return nil, badValue(name, v, "it must be true or false")
		}
		return func() { set(b) }, nil
	}
}

func numberSetter(name string, low, high int, set func(int)) setter {
	return func(v any) (func(), *answer) {
		n, isNumber := v.(float64)
		if !isNumber || n != float64(int(n)) || int(n) < low || int(n) > high {
			return nil, badValue(name, v, fmt.Sprintf("it must be a whole number from %d to %d", low, high))
		}
		return func() { set(int(n)) }, nil
	}
}

// listSetter is a list of texts; empty ones and nulls, which pad fixed slots, are dropped.
func listSetter(name string, most int, set func([]string)) setter {
	return func(v any) (func(), *answer) {
		list, isList := v.([]any)
		if !isList || len(list) > most {
			return nil, badValue(name, v, fmt.Sprintf("it must be a list of at most %d texts", most))
		}
		out := []string{}
		for _, x := range list {
			s, isText := x.(string)
			if x != nil && !isText {
				return nil, badValue(name, v, "each entry must be text")
			}
			if s != "" {
				out = append(out, s)
			}
		}
		return func() { set(out) }, nil
	}
}
