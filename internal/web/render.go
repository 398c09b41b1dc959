package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/version"
)

// page is what the layout needs, around the model of one page.
type page struct {
	Template string // templates/<name>.html
	Title    string
	Nav      string // which entry of the navigation is current
	Notices  []notice
	Stream   url.Values // what /live is asked for; nil: the page is reloaded now and then only
	Body     any

	Now     time.Time // set by render
	Seq     int64     // the last event that the page may show; set by the page
	Self    string    // the page's own URL
	Version string
}

// notice is what a page says about itself.
type notice struct {
	Kind string // warn, note
	Text string
	Do   string // what to do
}

// LiveURL is where the script listens.
func (p *page) LiveURL() string {
	if p.Stream == nil {
		return ""
	}
	q := url.Values{}
	for k, v := range p.Stream {
		q[k] = v
	}
	q.Set("after", fmt.Sprint(p.Seq))
	return "/live?" + q.Encode()
}

// parsePages reads every template with the layout.
func parsePages(a assets) (map[string]*template.Template, error) {
	base, err := template.New("layout.html").Funcs(functions(a)).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("web: templates: %w", err)
	}
	out := map[string]*template.Template{}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".html")
		if !ok || name == "layout" || name == "parts" {
			continue
		}
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+e.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("web: template %s: %w", e.Name(), err)
		}
		out[name] = t
	}
	return out, nil
}

func (s *Server) render(w io.Writer, c *call, p *page) error {
	t, ok := s.pages[p.Template]
	if !ok {
		return fmt.Errorf("there is no template %q", p.Template)
	}
	p.Now, p.Version, p.Self = c.now, version.String(), c.URL.RequestURI()
	if s.o.Version != "" {
		p.Version = s.o.Version
	}
	return t.Execute(w, p)
}

// functions are what templates can call. What they give is text, but for template.HTML that is made of
// times and numbers alone.
func functions(a assets) template.FuncMap {
	return template.FuncMap{
		"file":       func(name string) (string, error) { return a.url(name) },
		"ago":        ago,
		"when":       when,
		"span":       span,
		"stamp":      stamp,
		"day":        func(t time.Time) string { return t.UTC().Format("2 Jan 15:04") },
		"short":      short,
		"cut":        cut,
		"stateWord":  stateWord,
		"stateWords": stateWords,
		"stepWord":   stepWord,
		"stepClass":  stepClass,
		"word":       words,
		"plural":     plural,
		"json":       pretty,
		"bar":        bar,
		"opURL":      func(id operation.ID) string { return "/operations/" + url.PathEscape(string(id)) },
		"runURL": func(id operation.ID, a asset.ID) string {
			return "/operations/" + url.PathEscape(string(id)) + "/" + a.String()
		},
		"assetURL": func(a asset.ID) string { return "/assets/" + a.String() },
		"siteURL":  func(slug string) string { return "/sites/" + url.PathEscape(slug) },
		"rackURL": func(site, rack string) string {
			return "/sites/" + url.PathEscape(site) + "/racks/" + url.PathEscape(rack)
		},
		"pair": func(a, b any) [2]any { return [2]any{a, b} },
	}
}

func (a assets) url(name string) (string, error) {
	u, ok := a.urls[name]
	if !ok {
		return "", fmt.Errorf("there is no static file %q", name)
	}
	return u, nil
}

// ago says how long ago a time was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := now.Sub(t); {
	case d < 2*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours())/24)
	}
}

// when is ago as an element that also carries the moment itself.
func when(t, now time.Time) template.HTML {
	if t.IsZero() {
		return "never"
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, //nolint:gosec // times alone
		t.UTC().Format(time.RFC3339), stamp(t), ago(t, now)))
}

// span says how long something took, or has taken.
func span(from, to, now time.Time) string {
	if from.IsZero() {
		return "–"
	}
	if to.IsZero() {
		to = now
	}
	return length(to.Sub(from))
}

func length(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// short cuts a hash for people; the whole of it stands beside.
func short(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}

// cut shortens text to at most n characters.
func cut(n int, s string) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// stateWord says a state of a run or an operation as people do.
func stateWord(s operation.State) string {
	switch s {
	case operation.Waiting:
		return "waits for a person"
	case operation.Away:
		return "waits for its site"
	}
	return string(s)
}

// stateWords is stateWord after a number.
func stateWords(n int, s operation.State) string {
	switch {
	case n != 1 && s == operation.Waiting:
		return "wait for a person"
	case n != 1 && s == operation.Away:
		return "wait for their site"
	}
	return stateWord(s)
}

func stepWord(s operation.StepState) string { return strings.ReplaceAll(string(s), "-", " ") }

// stepClass gives the colour of a step's state, in the words of the states of runs.
func stepClass(s operation.StepState) string {
	switch s {
	case operation.StepParked:
		return "waiting"
	case operation.StepAlready:
		return "done"
	case operation.StepPending:
		return "queued"
	case operation.StepSkipped, operation.StepNotApplicable:
		return "aborted"
	}
	return string(s)
}

// words makes a slug readable.
func words(s string) string { return strings.NewReplacer("-", " ", "_", " ").Replace(s) }

// maxJSON is how much of one piece of evidence a page shows.
const maxJSON = 24 << 10

// pretty lays out JSON, and says what was cut.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		b.Reset()
		b.Write(raw)
	}
	if b.Len() > maxJSON {
		return strings.ToValidUTF8(string(b.Bytes()[:maxJSON]), "") + fmt.Sprintf("\n… %d more bytes; the API has all of it", b.Len()-maxJSON)
	}
	return b.String()
}

// part is a piece of a bar.
type part struct {
	State operation.State
	N     int
	X, W  float64 // of 1000
}

// order is how states follow each other in bars and in lists of counts.
func order() []operation.State {
	return []operation.State{operation.Done, operation.Running, operation.Waiting, operation.Away, operation.Paused,
		operation.Failed, operation.Aborted, operation.Queued}
}

// barModel is a bar that shows counts by state, and says them.
type barModel struct {
	Parts []part
	Label string
}

// bar lays out counts. A state that has any is at least visible.
func bar(counts map[operation.State]int) barModel {
	total := 0
	for _, n := range counts {
		total += n
	}
	var m barModel
	if total == 0 {
		m.Label = "nothing"
		return m
	}
	const least = 6.0
	var said []string
	sum := 0.0
	for _, st := range order() {
		n := counts[st]
		if n == 0 {
			continue
		}
		w := max(least, 1000*float64(n)/float64(total))
		m.Parts = append(m.Parts, part{State: st, N: n, W: w})
		said = append(said, fmt.Sprintf("%d %s", n, stateWords(n, st)))
		sum += w
	}
	x := 0.0
	for i := range m.Parts {
		p := &m.Parts[i]
		p.W = p.W * 1000 / sum
		p.X = x
		x += p.W
	}
	m.Label = strings.Join(said, ", ")
	return m
}
