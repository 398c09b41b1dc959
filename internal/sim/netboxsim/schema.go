package netboxsim

import "strings"

// kind is a model of NetBox as data.
type kind struct {
	path   string // below /api/, with its slash; also the kind's name in the state
	model  string // e.g. dcim.device
	fields []field
	brief  []string   // fields beside id, url and display when the object is nested
	unique [][]string // sets of fields that no two objects may share
	// display is the object's name for people; nil: the field name.
	display func(*tx, *object) string
	// filters beside those that every field gives.
	filters map[string]filter
	// check looks at an object after a write, and changes what NetBox changes by itself. It returns
	// messages by field, nil when all is well.
	check func(t *tx, o *object, in map[string]any) map[string]any
	// undated kinds have no created and last_updated, hence no ETag, and no changelog.
	undated bool
}

// form tells how a field is read and shown.
type form int

const (
	plain  form = iota // any JSON value
	choice             // shown as value and label, read as value
	ref                // one other object: shown nested, read as ID or as {"id": n} or {"slug": s}
	refs               // a list of them
	calc               // shown only
	hidden             // read only: stored, never shown
)

type field struct {
	name     string
	form     form
	def      any
	required bool
	of       string                 // path of the referred kind
	choices  []string               // nil: any
	calc     func(*tx, *object) any // how it is shown; needed for calc, possible for plain
}

func text(names ...string) []field    { return each(names, field{def: ""}) }
func null(names ...string) []field    { return each(names, field{}) }
func zero(names ...string) []field    { return each(names, field{form: calc, calc: constant(0)}) }
func must(names ...string) []field    { return each(names, field{required: true}) }
func with(name string, v any) []field { return []field{{name: name, def: v}} }

func each(names []string, f field) []field {
	var out []field
	for _, n := range names {
		f.name = n
		out = append(out, f)
	}
	return out
}

// enum is a choice with its default, which is nil or one of the choices.
func enum(name string, def any, choices ...string) []field {
	return []field{{name: name, form: choice, def: def, choices: choices}}
}

// anyOf is a choice whose values are not checked here.
func anyOf(names ...string) []field { return each(names, field{form: choice}) }

func one(name, of string) []field  { return []field{{name: name, form: ref, of: of}} }
func own(name, of string) []field  { return []field{{name: name, form: ref, of: of, required: true}} }
func many(name, of string) []field { return []field{{name: name, form: refs, of: of}} }

func shown(name string, f func(*tx, *object) any) []field {
	return []field{{name: name, form: calc, calc: f}}
}

func constant(v any) func(*tx, *object) any { return func(*tx, *object) any { return v } }

func fields(parts ...[]field) []field {
	var out []field
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// primary are the fields that NetBox's main kinds share.
func primary() []field {
	return fields(text("description"), null("owner"), text("comments"), tagged())
}

func tagged() []field {
	return []field{{name: "tags", form: refs, of: "extras/tags/"}, {name: "custom_fields", form: calc, calc: customFields}}
}

// count is a calculated number of objects of a kind that refer here.
func count(name, path, by string) []field {
	return shown(name, func(t *tx, o *object) any { return len(t.having(path, referenceKey(by, o.ID))) })
}

// label is how NetBox writes a choice for people, near enough.
func label(value string) string {
	if value == "" {
		return ""
	}
	return strings.ToUpper(value[:1]) + strings.ReplaceAll(value[1:], "-", " ")
}

// find gives the field of a name, nil when there is none.
func (k *kind) find(name string) *field {
	for i := range k.fields {
		if k.fields[i].name == name {
			return &k.fields[i]
		}
	}
	return nil
}
