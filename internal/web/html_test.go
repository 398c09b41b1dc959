package web_test

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

var void = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

// wellFormed checks what a browser would forgive and a screen reader would not: every element is closed
// where it was opened, IDs are unique, fields have labels, tables captions or headers, links and buttons
// names, and there is no script or style of the page's own.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	var open []string
	ids, labelled := map[string]int{}, map[string]bool{}
	var fields, refs []string
	seen := map[string]int{}
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		tok := z.Token()
		attr := map[string]string{}
		for _, a := range tok.Attr {
			if _, twice := attr[a.Key]; twice {
				t.Errorf("<%s> has %s twice", tok.Data, a.Key)
			}
			attr[a.Key] = a.Val
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("<%s> has %s=%q", tok.Data, a.Key, a.Val)
			}
		}
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			seen[tok.Data]++
			if id, ok := attr["id"]; ok {
				ids[id]++
			}
			switch tok.Data {
			case "script":
				if !strings.HasPrefix(attr["src"], "/static/") {
					t.Errorf("a script that is not our file: %s", tok)
				}
			case "style", "iframe", "object", "embed":
				t.Errorf("<%s> on a page", tok.Data)
			case "label":
				labelled[attr["for"]] = true
			case "input", "select":
				if attr["type"] != "hidden" {
					fields = append(fields, attr["id"])
				}
			case "th":
				if attr["scope"] == "" {
					t.Errorf("a header of a table without scope: %s", tok)
				}
			case "a":
				if attr["href"] == "" {
					t.Errorf("a link without a target: %s", tok)
				}
			case "section":
				if attr["aria-label"] == "" && attr["aria-labelledby"] == "" && !strings.Contains(attr["class"], "issue") {
					t.Errorf("a section without a name: %s", tok)
				}
			}
			if by := attr["aria-labelledby"]; by != "" {
				refs = append(refs, by)
			}
			if kind == html.StartTagToken && !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				t.Fatalf("</%s> closes %v", tok.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("never closed: %v", open)
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %q stands %d times", id, n)
		}
	}
	for _, f := range fields {
		if !labelled[f] {
			t.Errorf("field %q has no label", f)
		}
	}
	for _, r := range refs {
		if ids[r] == 0 {
			t.Errorf("aria-labelledby names %q, which is not there", r)
		}
	}
	for _, name := range []string{"header", "nav", "main", "footer", "h1"} {
		if seen[name] == 0 {
			t.Errorf("the page has no <%s>", name)
		}
	}
	if seen["main"] != 1 || seen["h1"] != 1 {
		t.Errorf("the page has %d <main> and %d <h1>", seen["main"], seen["h1"])
	}
	if seen["table"] > seen["caption"] {
		t.Errorf("%d tables have %d captions", seen["table"], seen["caption"])
	}
}

// TestContrast holds that text can be read in both schemes (WCAG AA: 4.5 to 1).
func TestContrast(t *testing.T) {
	raw, err := os.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, found := strings.Cut(string(raw), "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("there is no dark scheme")
	}
	dark, _, _ = strings.Cut(dark, "\n}\n")
	colours := func(css string) map[string]string {
		out := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
			out[m[1]] = m[2]
		}
		return out
	}
	for name, scheme := range map[string]map[string]string{"light": colours(light), "dark": colours(dark)} {
		pairs := [][2]string{{"text", "bg"}, {"text", "surface"}, {"text", "raised"}, {"text", "code"}, {"muted", "bg"}, {"muted", "surface"}, {"muted", "raised"}, {"link", "bg"}, {"link", "surface"}, {"link", "raised"}}
		for _, s := range []string{"done", "running", "waiting", "away", "paused", "failed", "aborted", "queued"} {
			pairs = append(pairs, [2]string{s, s + "-bg"}, [2]string{s, "surface"}, [2]string{"text", s + "-bg"})
		}
		for _, p := range pairs {
			if got := contrast(t, scheme[p[0]], scheme[p[1]]); got < 4.5 {
				t.Errorf("%s: %s (%s) on %s (%s) has a contrast of %.2f, want 4.5", name, p[0], scheme[p[0]], p[1], scheme[p[1]], got)
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	light := func(colour string) float64 {
		var sum float64
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			if len(colour) != 7 {
				t.Fatalf("colour %q", colour)
			}
			n, err := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			c := float64(n) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	x, y := light(a), light(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}
