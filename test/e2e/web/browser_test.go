//go:build e2e

package web

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser is one tab.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string
	shot string // folder

	mu   sync.Mutex
	said []string // complaints of the console since the last look
}

// open starts a Chromium with one tab. What the console complains of is collected.
func open(t *testing.T, base, shots string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: scripts/install-e2e.sh installs it", err)
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Headless,
		chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.Flag("hide-scrollbars", true), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() { cancel(); stop() })
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, ctx: ctx, base: base, shot: shots}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.IsException() || m.Type == chromedp.ConsoleWarning {
				b.mu.Lock()
				b.said = append(b.said, m.String()+" "+m.URL)
				b.mu.Unlock()
			}
		}
	}()
	return b
}

// complaints gives what the console said since the last call.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.said
	b.said = nil
	return said
}

// limited gives a context for one thing to do.
func (b *browser) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, 30*time.Second)
}

// do runs actions and ends the test when they fail.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// look is how the tab is looked at.
type look struct {
	name          string
	width, height int64
	scheme        string // dark, light
	scripts       bool
}

var (
	phone = look{"phone", 390, 844, "light", true}
	wall  = look{"wall", 1920, 1080, "dark", true}
)

func (l look) in(scheme string) look { l.scheme = scheme; return l }

// set makes the tab look like that from the next page on.
func (b *browser) set(l look) {
	b.t.Helper()
	b.do("set the look",
		chromedp.EmulateViewport(l.width, l.height),
		chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
			return err
		}),
		chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.scripts})
			return err
		}))
}

// visit opens a page and gives its markup.
func (b *browser) visit(path string) string {
	b.t.Helper()
	b.do("visit "+path, chromedp.Navigate(b.base+path))
	return b.markup()
}

func (b *browser) markup() string {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.OuterHTML(chromedp.CSS("html")))
	if err != nil {
		b.t.Fatalf("read the page: %v", err)
	}
	return out
}

// says checks that the page holds texts.
func (b *browser) says(page, markup string, texts ...string) {
	b.t.Helper()
	for _, s := range texts {
		if !strings.Contains(markup, s) {
			b.t.Errorf("%s does not say %q", page, s)
		}
	}
}

// evaluate runs an expression in the page.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (b *browser) until(limit time.Duration, what, expression string) {
	b.t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !evaluate[bool](b, expression) {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("not within %s: %s\n%s", limit, what, evaluate[string](b, `document.body.innerText`))
		}
	}
}

// picture keeps a screenshot of what the screen shows, or of the whole page.
func (b *browser) picture(name string, whole bool) {
	b.t.Helper()
	ctx, cancel := b.limited()
	defer cancel()
	action := chromedp.CaptureScreenshot()
	if whole {
		action = chromedp.FullScreenshot(100)
	}
	raw, err := chromedp.Run(ctx, action)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.shot, name+".png"), raw, 0o644)
	}
	if err != nil {
		b.t.Fatalf("screenshot %s: %v", name, err)
	}
}

// checks are what a person without a mouse, or with a small screen, needs of any page. Each gives a list
// of what is wrong.
var checks = map[string]string{
	"wider than the screen": `document.documentElement.scrollWidth > innerWidth + 1 ? [document.documentElement.scrollWidth + " of " + innerWidth] : []`,
	"without a name": `[...document.querySelectorAll('a[href],button,input:not([type=hidden]),select,summary')].filter(e =>
		!(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))).map(e => e.outerHTML.slice(0, 120))`,
	"headings that skip a level": `(() => { let last = 0, bad = []; for (const h of document.querySelectorAll('h1,h2,h3,h4')) {
		const n = +h.tagName[1]; if (n > last + 1) bad.push(h.tagName + ' ' + h.textContent.trim().slice(0, 40)); last = n } return bad })()`,
	"too small to touch": `innerWidth > 500 ? [] : [...document.querySelectorAll('button,select,input:not([type=hidden])')].filter(e =>
		e.offsetParent && e.getBoundingClientRect().height < 40).map(e => e.outerHTML.slice(0, 80))`,
	"cannot be reached by keyboard": `[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).map(e => e.className)`,
}

// accessible runs the checks on the page.
func (b *browser) accessible(page string) {
	b.t.Helper()
	for what, expression := range checks {
		if bad := evaluate[[]string](b, expression); len(bad) > 0 {
			b.t.Errorf("%s: %s: %s", page, what, fmt.Sprint(bad))
		}
	}
}
