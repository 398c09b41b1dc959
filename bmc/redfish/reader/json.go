package reader

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting bounds how deep objects and arrays may stand in one another in a single answer. Real
// resources stay below 15.
const maxNesting = 64

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// node is one JSON value. The values of a document stand in one slice in the order of the text, so
// the first child of node i is i+1, and end is the index after its last descendant: the next
// sibling. Strings are parts of the answer's text wherever it holds no escapes, which makes one
// allocation serve a whole document.
type node struct {
	kind kind
	end  int32
	key  string
	text string // string content, number as written, "true" or "false"
}

// value is a place in a decoded document. The zero value is "nothing there": every method works on
// it, so that a path through a malformed object ends in an empty answer and not in a panic.
type value struct {
	doc []node
	at  int32
}

// parse decodes one JSON document. It is as tolerant as can be without guessing: a byte order mark,
// raw control characters in strings and invalid UTF-8 are accepted, a repeated key keeps its first
// value; anything else that is not JSON is an error that names the byte.
func parse(body string) (value, error) {
	p := parser{s: strings.TrimPrefix(body, "\ufeff")}
	// Every value but the first of each object and array has a comma before it.
	p.nodes = make([]node, 0, strings.Count(p.s, ",")+strings.Count(p.s, "{")+strings.Count(p.s, "[")+1)
	if err := p.value("", 0); err != nil {
		return value{}, err
	}
	p.space()
	if p.i != len(p.s) {
		return value{}, fmt.Errorf("more after the end of the JSON document at byte %d", p.i)
	}
	return value{doc: p.nodes}, nil
}

type parser struct {
	s     string
	i     int
	nodes []node
}

func (p *parser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

var errEnd = errors.New("the JSON document ends too early")

func (p *parser) value(key string, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("JSON nested deeper than %d at byte %d", maxNesting, p.i)
	}
	p.space()
	if p.i >= len(p.s) {
		return errEnd
	}
	at := len(p.nodes)
	p.nodes = append(p.nodes, node{key: key})
	var err error
	switch c := p.s[p.i]; {
	case c == '{':
		p.nodes[at].kind = kindObject
		err = p.object(depth)
	case c == '[':
		p.nodes[at].kind = kindArray
		err = p.array(depth)
	case c == '"':
		var s string
		s, err = p.str()
		p.nodes[at].kind, p.nodes[at].text = kindString, s
	case c == '-' || c >= '0' && c <= '9':
		start := p.i
		for p.i < len(p.s) && strings.IndexByte("+-.eE0123456789", p.s[p.i]) >= 0 {
			p.i++
		}
		p.nodes[at].kind, p.nodes[at].text = kindNumber, p.s[start:p.i]
	case strings.HasPrefix(p.s[p.i:], "true"):
		p.nodes[at].kind, p.nodes[at].text = kindBool, "true"
		p.i += 4
	case strings.HasPrefix(p.s[p.i:], "false"):
		p.nodes[at].kind, p.nodes[at].text = kindBool, "false"
		p.i += 5
	case strings.HasPrefix(p.s[p.i:], "null"):
		p.i += 4
	default:
		err = fmt.Errorf("unexpected %q at byte %d", c, p.i)
	}
	p.nodes[at].end = int32(len(p.nodes))
	return err
}

func (p *parser) object(depth int) error {
	p.i++
	for first := true; ; first = false {
		p.space()
		if p.i >= len(p.s) {
			return errEnd
		}
		if p.s[p.i] == '}' {
			p.i++
			return nil
		}
		if !first {
			if p.s[p.i] != ',' {
				return fmt.Errorf("unexpected %q at byte %d, want , or }", p.s[p.i], p.i)
			}
			p.i++
			p.space()
			if p.i < len(p.s) && p.s[p.i] == '}' {
				continue // a trailing comma
			}
		}
		if p.i >= len(p.s) {
			return errEnd
		}
		if p.s[p.i] != '"' {
			return fmt.Errorf("unexpected %q at byte %d, want a name", p.s[p.i], p.i)
		}
		key, err := p.str()
		if err != nil {
			return err
		}
		p.space()
		if p.i >= len(p.s) {
			return errEnd
		}
		if p.s[p.i] != ':' {
			return fmt.Errorf("unexpected %q at byte %d, want a colon", p.s[p.i], p.i)
		}
		p.i++
		if err := p.value(key, depth+1); err != nil {
			return err
		}
	}
}

func (p *parser) array(depth int) error {
	p.i++
	for first := true; ; first = false {
		p.space()
		if p.i >= len(p.s) {
			return errEnd
		}
		if p.s[p.i] == ']' {
			p.i++
			return nil
		}
		if !first {
			if p.s[p.i] != ',' {
				return fmt.Errorf("unexpected %q at byte %d, want , or ]", p.s[p.i], p.i)
			}
			p.i++
			p.space()
			if p.i < len(p.s) && p.s[p.i] == ']' {
				continue
			}
		}
		if err := p.value("", depth+1); err != nil {
			return err
		}
	}
}

func (p *parser) str() (string, error) {
	p.i++
	start := p.i
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case '"':
			s := p.s[start:p.i]
			p.i++
			return valid(s), nil
		case '\\':
			return p.escaped(start)
		}
		p.i++
	}
	return "", errEnd
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// escaped reads on in a string that began at start and in which a backslash was met.
func (p *parser) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(p.s[start:p.i])
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		if c == '"' {
			return valid(b.String()), nil
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if p.i >= len(p.s) {
			return "", errEnd
		}
		c = p.s[p.i]
		p.i++
		switch c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, ok := p.hex4()
			if !ok {
				return "", fmt.Errorf("bad \\u escape at byte %d", p.i)
			}
			if utf16.IsSurrogate(r) && strings.HasPrefix(p.s[p.i:], `\u`) {
				save := p.i
				p.i += 2
				if low, ok := p.hex4(); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
					r = utf16.DecodeRune(r, low)
				} else {
					p.i = save
				}
			}
			b.WriteRune(r) // a lone surrogate becomes U+FFFD
		default:
			b.WriteByte(c) // \" \\ \/ and what BMCs escape without need
		}
	}
	return "", errEnd
}

func (p *parser) hex4() (rune, bool) {
	if p.i+4 > len(p.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.s[p.i:p.i+4], 16, 32)
	if err != nil {
		return 0, false
	}
	p.i += 4
	return rune(n), true
}

func (v value) node() *node {
	if int(v.at) >= len(v.doc) {
		return &node{}
	}
	return &v.doc[v.at]
}

func (v value) exists() bool   { return len(v.doc) > 0 }
func (v value) isObject() bool { return v.node().kind == kindObject }
func (v value) isArray() bool  { return v.node().kind == kindArray }
func (v value) isString() bool { return v.node().kind == kindString }

// each calls f for every member of an object (with its name) or array (with ""), until f is false.
func (v value) each(f func(key string, child value) bool) {
	n := v.node()
	if n.kind != kindObject && n.kind != kindArray {
		return
	}
	for i := v.at + 1; i < n.end; i = v.doc[i].end {
		if !f(v.doc[i].key, value{doc: v.doc, at: i}) {
			return
		}
	}
}

// get follows a path of names. Where the way ends it gives the zero value.
func (v value) get(path ...string) value {
	for _, name := range path {
		n := v.node()
		if n.kind != kindObject {
			return value{}
		}
		next := value{}
		for i := v.at + 1; i < n.end; i = v.doc[i].end {
			if v.doc[i].key == name {
				next = value{doc: v.doc, at: i}
				break
			}
		}
		if !next.exists() {
			return value{}
		}
		v = next
	}
	return v
}

// len counts the members of an object or array.
func (v value) len() int {
	n := 0
	v.each(func(string, value) bool { n++; return true })
	return n
}

// str gives a string, or a number or bool as written; "" for everything else.
func (v value) str() string { return v.node().text }

// first gives the first non-blank string among the paths, each in the form "A.B.C".
func (v value) first(paths ...string) string {
	for _, p := range paths {
		if s := v.path(p).str(); strings.TrimSpace(s) != "" {
			return s
		}
	}
	return ""
}

// path is get for a path in the form "A.B.C". The dot of an annotation ("@odata.id") is its own.
func (v value) path(p string) value {
	if strings.Contains(p, "@") {
		return v.get(p)
	}
	for {
		name, rest, more := strings.Cut(p, ".")
		v = v.get(name)
		if !more {
			return v
		}
		p = rest
	}
}

// number gives a number, also one that was written as a string.
func (v value) number() (float64, bool) {
	n := v.node()
	if n.kind != kindNumber && n.kind != kindString {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64)
	if err != nil || f != f || f > 1e300 || f < -1e300 {
		return 0, false
	}
	return f, true
}

func (v value) float() float64 { f, _ := v.number(); return f }

// integer gives a whole number; 0 where there is none or it does not fit.
func (v value) integer() int64 {
	f, ok := v.number()
	if !ok || f > 9e18 || f < -9e18 {
		return 0
	}
	if n, err := strconv.ParseInt(strings.TrimSpace(v.node().text), 10, 64); err == nil {
		return n
	}
	return int64(f)
}

// boolean gives a bool, or nil where the value is none.
func (v value) boolean() *bool {
	n := v.node()
	b := n.text == "true"
	if n.kind == kindBool || n.kind == kindString && (n.text == "true" || n.text == "false") {
		return &b
	}
	return nil
}
