//go:build e2e

package web

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

var shots = flag.String("shots", "", "folder for the screenshots; empty: a temporary one")

// spoiled is the machine that a fault parks.
const spoiled = "srv-105"

func TestDashboard(t *testing.T) {
	rack := sim.DefaultRack()
	s := stack.Start(t, stack.Options{Racks: []sim.Rack{rack}, Speed: 20, Latency: 1})
	folder := *shots
	if folder == "" {
		folder = t.TempDir()
	}
	b := open(t, s.Inner().API(), folder)
	b.set(wall)
	b.says("the overview before anything", b.visit("/"), "Nothing waits for a person", "Nothing runs", rack.Site.Slug)

	armed, err := s.Box().AddFault(t.Context(), sim.Fault{Machine: spoiled, Path: `^/redfish/v1/(Systems|Chassis)`,
		Action: sim.ActWrongSerial, Serial: "NOTTHISONE1", Count: -1})
	if err != nil {
		t.Fatal(err)
	}
	// The overview stands open while everything happens. The mark would not survive a reload.
	evaluate[bool](b, `window.mark = true`)
	var names []string
	for _, d := range rack.Servers() {
		names = append(names, d.Name)
	}
	id := s.Accept(names...)
	b.until(90*time.Second, "the overview tells live that "+spoiled+" waits", fmt.Sprintf(`window.mark === true && document.body.innerText.includes(%q)`, spoiled+" waits in"))
	b.says("the overview", b.markup(), "1 machine waits for a person", "NOTTHISONE1")
	b.picture("overview-wall-dark-live", false)
	run := parked(t, s, id)
	w := visits{b: b, id: id, asset: run.Asset, rack: rack}
	b.visit(w.rackPath())
	b.picture("rack-wall-dark-live", false)
	if got := b.complaints(); len(got) > 0 {
		t.Errorf("the console complains: %q", got)
	}

	t.Run("every page", w.everyPage)
	t.Run("without JavaScript", w.withoutScripts)
	t.Run("the command on the page", func(t *testing.T) { w.steer(t, s, armed.ID) })
	t.Run("what stands below is away", func(t *testing.T) { w.away(t, s) })
}

// parked waits until the machine waits, and gives its run.
func parked(t *testing.T, s *stack.Stack, id operation.ID) operation.Run {
	t.Helper()
	var out operation.Run
	s.Until(time.Minute, spoiled+" is parked", func() error {
		for _, r := range s.Operation(id).Runs {
			if out = r; r.Asset.Name == spoiled && r.State == operation.Waiting {
				return nil
			}
		}
		return errors.New("it is not")
	})
	return out
}

// visits is the world with a tab that looks at it.
type visits struct {
	b     *browser
	id    operation.ID
	asset asset.Ref
	rack  sim.Rack
}

func (w visits) rackPath() string { return "/sites/" + w.rack.Site.Slug + "/racks/" + w.rack.Name }

// pages are all pages with what each must say.
func (w visits) pages() map[string][]string {
	op := "/operations/" + string(w.id)
	return map[string][]string{
		"/":                              {"waits for a person", "cagenut op retry " + string(w.id), "NOTTHISONE1"},
		"/operations":                    {"install of 12 machines", "e2e", "E2E-1"},
		op:                               {string(w.id), "12 machines", spoiled, "Where they are"},
		op + "/" + w.asset.ID.String():   {spoiled, w.asset.Serial, "identity", "parked", "find out which machine is behind this BMC address"},
		"/sites":                         {"site-" + w.rack.Site.Slug, "central", "up"},
		"/sites/" + w.rack.Site.Slug:     {"Workers and racks", w.rack.Name},
		w.rackPath():                     {"Front", "Rear", spoiled, "waits: identity", "sw-r12-a"},
		"/assets/" + w.asset.ID.String(): {spoiled, w.asset.Serial, "Record in NetBox"},
		"/assets/" + spoiled:             {spoiled, "History"},
		"/nowhere":                       {"there is no page /nowhere", "Where to go on"},
	}
}

func (w visits) everyPage(t *testing.T) {
	w.b.t = t
	for _, l := range []look{phone, phone.in("dark"), wall, wall.in("light")} {
		w.b.set(l)
		for path, says := range w.pages() {
			page := l.name + " " + l.scheme + " " + path
			w.b.says(page, w.b.visit(path), says...)
			w.b.accessible(page)
			w.b.picture(w.fileName(path)+"-"+l.name+"-"+l.scheme, l.name == "phone")
			for _, said := range w.b.complaints() {
				if path == "/nowhere" && strings.Contains(said, "404") {
					continue
				}
				t.Errorf("%s: the console complains: %s", page, said)
			}
		}
	}
}

// fileName gives a page's name for its screenshots.
func (w visits) fileName(path string) string {
	if path == "/" {
		return "overview"
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		switch p {
		case string(w.id):
			parts[i] = "one"
		case w.asset.ID.String():
			parts[i] = "id"
		}
	}
	return strings.Join(parts, "-")
}

func (w visits) withoutScripts(t *testing.T) {
	w.b.t = t
	l := phone
	l.scripts = false
	w.b.set(l)
	defer w.b.set(wall)
	for path, says := range w.pages() {
		markup := w.b.visit(path)
		w.b.says("without scripts "+path, markup, append(says, ">Reload</a>", "Not live")...)
		w.b.complaints() // of the 404 page
		if strings.Contains(markup, `<html lang="en" class="js`) {
			t.Errorf("%s: the script ran", path)
		}
	}
}

// steer runs the very command that the page offers, and watches the page tell of it.
func (w visits) steer(t *testing.T, s *stack.Stack, fault string) {
	w.b.t = t
	if err := s.Box().RemoveFault(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	w.b.visit("/operations/" + string(w.id) + "/" + w.asset.ID.String())
	evaluate[bool](w.b, `window.mark = true`)
	command := evaluate[string](w.b, `document.querySelector('.command code').textContent`)
	args := strings.Fields(command)
	if len(args) < 3 || args[0] != "cagenut" || args[2] != "retry" {
		t.Fatalf("the page offers %q", command)
	}
	if out, said, code := s.CLI(args[1:]...); code != 0 {
		t.Fatalf("%s: exit %d\n%s%s", command, code, out, said)
	}
	w.b.until(4*time.Minute, "the page tells live that the machine is done",
		`window.mark === true && document.querySelector('.head .chip').textContent.includes('done')`)
	w.b.picture("run-wall-dark-done", false)
	w.b.says("the asset's page", w.b.visit("/assets/"+w.asset.ID.String()), "As its BMC told", "processor", "staged")
	w.b.picture("asset-wall-dark-done", false)
	s.Until(4*time.Minute, "the operation ends", func() error {
		if d := s.Operation(w.id); d.State != operation.Done {
			return fmt.Errorf("it is %s: %v", d.State, d.Counts)
		}
		return nil
	})
	w.b.says("the overview in the end", w.b.visit("/"), "Nothing waits for a person", "Nothing runs")
	w.b.picture("overview-wall-dark-done", false)
	if got := w.b.complaints(); len(got) > 0 {
		t.Errorf("the console complains: %q", got)
	}
}

// away takes NetBox and PostgreSQL from the running product: pages say so, and are whole again after.
func (w visits) away(t *testing.T, s *stack.Stack) {
	w.b.t = t
	s.Kill(stack.Box)
	w.b.says("a machine without NetBox", w.b.visit("/assets/"+s.Operation(w.id).Runs[1].Asset.ID.String()), "NetBox does not answer", "History")
	s.Start(stack.Box)
	w.b.visit("/")
	s.Kill(stack.Postgres)
	w.b.says("the overview without PostgreSQL", w.b.visit("/"), "PostgreSQL does not answer", "check PostgreSQL")
	w.b.picture("error-wall-dark", false)
	s.Start(stack.Postgres)
	w.b.until(time.Minute, "the page is whole again by itself", `document.body.innerText.includes('Nothing waits for a person')`)
}
