package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
)

// openAPI makes the OpenAPI 3.1 document of the routes. Schemas are read off the Go types that the
// handlers really use, so the document cannot say something else than the code.
func openAPI(routes []route, version string) map[string]any {
	g := &schemas{defs: map[string]any{}}
	problem := g.of(reflect.TypeFor[wire.Problem]())
	paths := map[string]any{}
	for _, r := range routes {
		item, ok := paths[r.path].(map[string]any)
		if !ok {
			item = map[string]any{}
			paths[r.path] = item
		}
		item[strings.ToLower(r.method)] = g.operation(r, problem)
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Cagenut", "version": version,
			"description": "Failures are problems (RFC 9457) with a code that never changes and a remedy for people."},
		"paths": paths,
		"components": map[string]any{"schemas": g.defs,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}}},
	}
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

func (g *schemas) operation(r route, problem any) map[string]any {
	op := map[string]any{"summary": r.summary, "operationId": operationID(r)}
	var params []any
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
	}
	for _, p := range r.params {
		params = append(params, map[string]any{"name": p.name, "in": p.in, "required": p.required, "description": p.about, "schema": map[string]any{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}
	if r.role != "" {
		op["security"] = []any{map[string]any{"token": []string{}}}
		op["description"] = "Needs the role " + string(r.role) + "."
	}
	switch {
	case r.body != nil:
		op["requestBody"] = map[string]any{"required": true, "content": content("application/json", g.of(reflect.TypeOf(r.body)))}
	case r.media != "":
		op["requestBody"] = map[string]any{"required": true, "content": content(r.media, map[string]any{})}
	}
	good := map[string]any{"description": "Success"}
	switch {
	case r.answer != nil && r.answers == "":
		good["content"] = content("application/json", g.of(reflect.TypeOf(r.answer)))
	case r.answer != nil:
		good["content"] = content(r.answers, map[string]any{"description": "see " + g.name(reflect.TypeOf(r.answer))})
		g.of(reflect.TypeOf(r.answer))
	case r.answers != "":
		good["content"] = content(r.answers, map[string]any{})
	}
	op["responses"] = map[string]any{strconv.Itoa(r.status): good,
		"default": map[string]any{"description": "Failure", "content": content(wire.ContentProblem, problem)}}
	return op
}

func content(media string, schema any) map[string]any {
	return map[string]any{media: map[string]any{"schema": schema}}
}

func operationID(r route) string {
	id := strings.ToLower(r.method)
	for part := range strings.FieldsFuncSeq(r.path, func(c rune) bool { return c == '/' || c == '{' || c == '}' || c == '.' || c == '-' }) {
		if part != "v1" {
			id += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return id
}

// schemas collects JSON Schemas of Go types by name.
type schemas struct{ defs map[string]any }

func (g *schemas) name(t reflect.Type) string {
	path := strings.Split(t.PkgPath(), "/")
	pkg := path[len(path)-1]
	if pkg == "wire" || pkg == "operation" {
		return t.Name()
	}
	return pkg + "." + t.Name()
}

// of gives the schema of a type, by reference when it has a name.
func (g *schemas) of(t reflect.Type) any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Int32:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": g.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": g.of(t.Elem())}
	case reflect.Struct:
		name := g.name(t)
		if _, done := g.defs[name]; !done {
			g.defs[name] = nil // a type may hold itself
			g.defs[name] = g.object(t)
		}
		return map[string]any{"$ref": "#/components/schemas/" + name}
	}
	return map[string]any{} // any
}

func (g *schemas) object(t reflect.Type) map[string]any {
	props := map[string]any{}
	var required []string
	for _, f := range reflect.VisibleFields(t) {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || tag == "" || tag == "-" {
			continue
		}
		props[tag] = g.of(f.Type)
		if !strings.Contains(opts, "omit") {
			required = append(required, tag)
		}
	}
	out := map[string]any{"type": "object", "properties": props}
	if required != nil {
		out["required"] = required
	}
	return out
}
