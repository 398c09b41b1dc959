package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// wrongTypes lists every value that its Go type cannot take, and notes their keys. The library's own
// decoder stops at the first and does not know the key.
func (d *document) wrongTypes(body ast.Node, t reflect.Type) Problems {
	var out Problems
	eachWrong("", body, t, func(key string, node ast.Node, t reflect.Type) {
		d.wrong = append(d.wrong, key)
		p := Problem{File: d.file, Line: lineOf(node), Key: key, Remedy: "give " + wanted(t)}
		switch node.(type) {
		case *ast.SequenceNode:
			p.Reason = "it is a list"
		case *ast.MappingNode, *ast.MappingValueNode:
			p.Reason = "it is a section with keys of its own"
			if inside := pairs(node); len(inside) > 0 {
				p.Line = lineOf(inside[0]) // the node's own token is a colon, or further up
			}
		default:
			p.Value = strconv.Quote(node.GetToken().Value)
		}
		out = append(out, p)
	})
	return out
}

// decodeRest decodes all values but those of wrong types, and tells whether that succeeded.
func decodeRest(raw []byte, t reflect.Type, v any) bool {
	again, err := parser.ParseBytes(raw, 0) // the first tree stays whole: it knows the lines
	if err != nil {
		return false
	}
	body := again.Docs[0].Body
	var bad []ast.Node
	eachWrong("", body, t, func(_ string, node ast.Node, _ reflect.Type) { bad = append(bad, node) })
	for _, node := range bad {
		blank(body, node)
	}
	return yaml.NodeToValue(body, v) == nil
}

// blank puts null where a node stands.
func blank(in, node ast.Node) {
	null := func() ast.Node { return ast.Null(token.New("null", "null", node.GetToken().Position)) }
	for _, mv := range pairs(in) {
		if mv.Value == node {
			mv.Value = null()
			return
		}
		blank(mv.Value, node)
	}
	if seq, ok := in.(*ast.SequenceNode); ok {
		for i, item := range seq.Values {
			if item == node {
				seq.Values[i] = null()
				return
			}
			blank(item, node)
		}
	}
}

// eachWrong calls found for every value that its type cannot take, the innermost that is wrong. What
// it cannot look into, such as an alias, is left to the decoder.
func eachWrong(path string, node ast.Node, t reflect.Type, found func(string, ast.Node, reflect.Type)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	below := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	_, isSeq := node.(*ast.SequenceNode)
	isMap := len(pairs(node)) > 0
	switch {
	case node == nil || t.Kind() == reflect.Interface:
	case t.Kind() == reflect.Struct && isMap:
		for _, mv := range pairs(node) {
			for i := range t.NumField() {
				if f := t.Field(i); f.Tag.Get("yaml") == mv.Key.GetToken().Value {
					eachWrong(below(f.Tag.Get("yaml")), mv.Value, f.Type, found)
				}
			}
		}
	case t.Kind() == reflect.Map && isMap:
		for _, mv := range pairs(node) {
			eachWrong(below(mv.Key.GetToken().Value), mv.Value, t.Elem(), found)
		}
	case t.Kind() == reflect.Slice && isSeq:
		for i, item := range node.(*ast.SequenceNode).Values {
			eachWrong(path+"["+strconv.Itoa(i)+"]", item, t.Elem(), found)
		}
	default:
		switch node.(type) {
		case *ast.AliasNode, *ast.AnchorNode, *ast.TagNode, *ast.CommentGroupNode:
			return
		}
		if yaml.NodeToValue(node, reflect.New(t).Interface()) != nil {
			found(path, node, t)
		}
	}
}

// wanted says in a person's words what a type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a section: keys with values"
	}
	return "a text"
}
