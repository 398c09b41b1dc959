package config

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// document is a parsed YAML file that can tell on which line a key stands.
type document struct {
	file string
	ast  *ast.File
	// decoded: the Go value holds what the file says, but for the values of wrong.
	decoded bool
	wrong   []string // keys of which the value has the wrong type
}

// empty tells whether nothing stands in the document.
func (d *document) empty() bool {
	return d != nil && (len(d.ast.Docs) == 0 || d.ast.Docs[0].Body == nil || len(d.ast.Docs) == 1 && d.decoded && len(pairs(d.ast.Docs[0].Body)) == 0)
}

// said tells whether a key, or one above it, is in the list of problems already for its type: what is
// decoded there is not what the file says.
func (d *document) said(key string) bool {
	return d != nil && slices.ContainsFunc(d.wrong, func(w string) bool {
		rest, ok := strings.CutPrefix(key, w)
		return w == "" || ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// decode reads one YAML document into v, strictly: unknown and repeated keys are problems. An empty
// document leaves v as it is. A value of a wrong type is a problem too, and all others are decoded.
func decode(file string, raw []byte, v any) (*document, Problems) {
	parsed, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return nil, Problems{syntax(file, err)}
	}
	doc := &document{file: file, ast: parsed}
	if len(parsed.Docs) > 1 {
		return doc, Problems{{File: file, Line: lineOf(parsed.Docs[1].Body), Reason: "the file holds several YAML documents",
			Remedy: "put each into a file of its own"}}
	}
	if len(parsed.Docs) == 0 || parsed.Docs[0].Body == nil {
		doc.decoded = true
		return doc, nil
	}
	body, t := parsed.Docs[0].Body, reflect.TypeOf(v)
	problems := append(unknownKeys(file, "", body, t), doc.wrongTypes(body, t)...)
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	if len(doc.wrong) > 0 {
		doc.decoded = !slices.Contains(doc.wrong, "") && decodeRest(raw, t, v)
		return doc, problems
	}
	doc.decoded = true
	if err := yaml.NewDecoder(bytes.NewReader(raw)).Decode(v); err != nil && !errors.Is(err, io.EOF) {
		doc.decoded = false
		problems = append(problems, syntax(file, err))
	}
	return doc, problems
}

// unknownKeys lists every key that the Go type has no field for. The library's own strict mode stops
// at the first.
func unknownKeys(file, path string, node ast.Node, t reflect.Type) Problems {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var out Problems
	switch t.Kind() {
	case reflect.Struct:
		known := map[string]reflect.Type{}
		for i := range t.NumField() {
			if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
				known[tag] = t.Field(i).Type
			}
		}
		for _, mv := range pairs(node) {
			key := mv.Key.GetToken().Value
			full := strings.TrimPrefix(path+"."+key, ".")
			field, ok := known[key]
			if !ok {
				out = append(out, Problem{File: file, Line: lineOf(mv), Key: full, Reason: "there is no such key",
					Remedy: "use one of " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")})
				continue
			}
			out = append(out, unknownKeys(file, full, mv.Value, field)...)
		}
	case reflect.Map:
		for _, mv := range pairs(node) {
			out = append(out, unknownKeys(file, strings.TrimPrefix(path+"."+mv.Key.GetToken().Value, "."), mv.Value, t.Elem())...)
		}
	case reflect.Slice:
		if seq, ok := node.(*ast.SequenceNode); ok {
			for i, item := range seq.Values {
				out = append(out, unknownKeys(file, path+"["+strconv.Itoa(i)+"]", item, t.Elem())...)
			}
		}
	}
	return out
}

// syntax turns an error of the YAML library into a Problem.
func syntax(file string, err error) Problem {
	p := Problem{File: file, Reason: err.Error(), Remedy: "correct the YAML"}
	var dup *yaml.DuplicateKeyError
	var kind *yaml.TypeError
	var y yaml.Error
	switch {
	case errors.As(err, &dup):
		p.Key, p.Reason, p.Remedy = dup.Token.Value, "the key stands twice", "remove one of them"
	case errors.As(err, &kind):
		p.Reason, p.Remedy = "the value "+strconv.Quote(kind.Token.Value)+" has the wrong type", "give "+wanted(kind.DstType)
	case errors.As(err, &y):
		p.Reason = y.GetMessage()
	}
	if errors.As(err, &y) {
		if t := y.GetToken(); t != nil && t.Position != nil {
			p.Line = t.Position.Line
		}
	}
	return p
}

// line finds the line of a key such as sites.ams01.oob_prefixes[1]. A key that is not in the file
// has the line of the nearest parent that is; none at all is 0.
func (d *document) line(key string) int {
	if d == nil || d.ast == nil || len(d.ast.Docs) == 0 {
		return 0
	}
	node, line := d.ast.Docs[0].Body, 0
	for rest := key; rest != "" && node != nil; {
		var found ast.Node
		found, rest = descend(node, rest)
		if found == nil {
			break
		}
		node, line = value(found), lineOf(found)
	}
	return line
}

// descend follows the longest mapping key, or the sequence index, with which rest begins; mapping
// keys may themselves hold dots.
func descend(node ast.Node, rest string) (ast.Node, string) {
	if after, ok := strings.CutPrefix(rest, "["); ok {
		number, tail, _ := strings.Cut(after, "]")
		i, err := strconv.Atoi(number)
		seq, isSeq := node.(*ast.SequenceNode)
		if err != nil || !isSeq || i >= len(seq.Values) {
			return nil, ""
		}
		return seq.Values[i], strings.TrimPrefix(tail, ".")
	}
	var best *ast.MappingValueNode
	bestKey := ""
	for _, mv := range pairs(node) {
		k := mv.Key.GetToken().Value
		if !strings.HasPrefix(rest, k) || len(k) <= len(bestKey) {
			continue
		}
		if tail := rest[len(k):]; tail == "" || tail[0] == '.' || tail[0] == '[' {
			best, bestKey = mv, k
		}
	}
	if best == nil {
		return nil, ""
	}
	return best, strings.TrimPrefix(rest[len(bestKey):], ".")
}

func pairs(node ast.Node) []*ast.MappingValueNode {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

func value(node ast.Node) ast.Node {
	if mv, ok := node.(*ast.MappingValueNode); ok {
		return mv.Value
	}
	return node
}

func lineOf(node ast.Node) int {
	if node == nil {
		return 0
	}
	if mv, ok := node.(*ast.MappingValueNode); ok {
		node = mv.Key
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}
