package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/web"
	"github.com/cagenut/cagenut/internal/web/webtest"
	"github.com/cagenut/cagenut/inventory"
)

// dashboard is a server of pages over a scene.
type dashboard struct {
	*httptest.Server
	store   *webtest.Memory
	records *webtest.Records
	clock   *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start(t *testing.T) *dashboard {
	t.Helper()
	c := &clock{now: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)}
	store, records := webtest.Scene(c.Now())
	return serve(t, store, records, c)
}

func serve(t *testing.T, store *webtest.Memory, records *webtest.Records, c *clock) *dashboard {
	t.Helper()
	s, err := web.New(web.Options{Store: store, Inventory: records, Sites: []string{"ams01", "fra02"}, Version: "v1.4.0",
		Log: slog.New(slog.DiscardHandler), Clock: c.Now, EventPoll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return &dashboard{srv, store, records, c}
}

// get asks for a page without following redirects.
func (d *dashboard) get(t *testing.T, path string, edit ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(req)
	}
	res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

const (
	op     = string(webtest.Accepting)
	runOf5 = "/operations/" + op + "/105"
)

// pages are all pages of a scene, with what each must say.
var pages = map[string][]string{
	"/": {"1 machine waits for a person", "srv-105", "cagenut op retry " + op + " --asset srv-105", "2.1.4", "1.9.0", "a profile that asks for what it refuses",
		"Site fra02 is away", "cagenut worker --site fra02", "clock of ams-oob-1/31", "Paused for", "no worker knows step bios/3", "install of 12 machines", "3 queued"},
	"/operations":                        {"install of 12", "ada: rack r12 for the new region", "DC-42", "waits for a person", "install of 4", "failed"},
	"/operations?state=paused":           {"before the holidays"},
	"/operations?actor=nobody":           {"No operation is like that"},
	"/operations/" + op:                  {"9f2b5c0e5d7a4f1fa1c0b8f4d9a1c3e5f7092b4d6f8a0c2e4f6a8b0d2c4e6f80", "ada", "rack r12 for the new region", "DC-42", "25 %", "8 machines", "srv-112", "BIOS 2.1.4: writing", "Where they are"},
	"/operations/" + op + "?name=srv-11": {"Machines 1 to 3 of those chosen", "srv-110"},
	runOf5:                               {"srv-105", "SN105", "parked", "pending", "status", "planned", "staged", "Identity as the BMC gives it", "1 earlier try", "HTTP 500", "1 min 20 s", "cagenut op skip"},
	"/sites":                             {"ctl-1/4242", "4100 ms", "v1.3.2", "site-fra02", "away"},
	"/sites/ams01":                       {"Site ams01", "ams-oob-1/31", "r12"},
	"/sites/ams01/racks/r12":             {"Rack r12, front", "srv-105", "waits: firmware", "U20–U23 storage-1", "U18.5 kvm", "takes no unit", "mounted on the other face"},
	"/assets/105":                        {"srv-105", "SN105", "PowerEdge R660", "10.77.12.5/24", "2 × Xeon Gold 6430", "2 × 32 GiB DDR5", "by <a", "seen in NetBox", "sw-r12-mgmt Ethernet5", "debian 12", "6.1.0-28-amd64"},
	"/assets":                            {"Find a machine"},
}

func TestPages(t *testing.T) {
	d := start(t)
	for path, says := range pages {
		t.Run(path, func(t *testing.T) {
			res, body := d.get(t, path)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("HTTP %d\n%s", res.StatusCode, body)
			}
			for _, s := range says {
				if !strings.Contains(body, s) {
					t.Errorf("the page does not say %q", s)
				}
			}
			wellFormed(t, body)
			if t.Failed() {
				t.Log(body)
			}
		})
	}
}

func TestWhatIsNotThere(t *testing.T) {
	d := start(t)
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/nowhere":           {404, "begin at the overview"},
		"/v1/nothing":        {404, "begin at the overview"},
		"/operations/op_123": {404, "is no operation"},
		"/operations/op_01KJZX4Q00000000000000000Z": {404, "there is no operation"},
		"/operations/" + op + "/9999":               {404, "has no asset 9999"},
		"/operations/" + op + "/x":                  {404, "is no asset"},
		"/operations?state=odd":                     {422, "one of the list"},
		"/operations?before=x":                      {422, "an operation"},
		"/operations/" + op + "?page=0":             {422, "1 to 1000"},
		"/operations/" + op + "?state=odd":          {422, "one of the list"},
		"/sites/lon09":                              {404, "no site"},
		"/sites/ams01/racks/r99":                    {404, "not in the inventory"},
		"/assets/9999":                              {404, "not in the inventory"},
		"/assets/nobody":                            {404, "no device in NetBox"},
		"/assets?q=nobody":                          {404, "no device in NetBox"},
		"/static/style.css":                         {404, "no file"},
	} {
		res, body := d.get(t, path)
		if res.StatusCode != want.status || !strings.Contains(body, want.says) || !strings.Contains(body, "Where to go on") {
			t.Errorf("%s: HTTP %d, want %d with %q\n%s", path, res.StatusCode, want.status, want.says, body)
		}
		wellFormed(t, body)
	}
}

func TestSearchLeadsToTheMachine(t *testing.T) {
	d := start(t)
	for word, want := range map[string]string{"srv-105": "/assets/105", "SN105": "/assets/105", "105": "/assets/105", op: "/operations/" + op, "OP_" + op[3:]: "/operations/" + op} {
		if res, _ := d.get(t, "/assets?q="+word); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != want {
			t.Errorf("%s: HTTP %d to %q, want 303 to %s", word, res.StatusCode, res.Header.Get("Location"), want)
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	d := start(t)
	style, _, _ := strings.Cut(strings.SplitN(func() string { _, b := d.get(t, "/"); return b }(), `rel="stylesheet" href="`, 2)[1], `"`)
	for _, path := range []string{"/", "/operations", runOf5, "/nowhere", style, "/live?after=x"} {
		res, _ := d.get(t, path)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		keep := "no-store"
		if path == style {
			keep = "public, max-age=31536000, immutable"
		}
		if got := res.Header.Get("Cache-Control"); got != keep {
			t.Errorf("%s: Cache-Control is %q, want %q", path, got, keep)
		}
	}
}

func TestWhoMayLook(t *testing.T) {
	d := start(t)
	for _, tt := range []struct {
		name   string
		edit   func(*http.Request)
		status int
	}{
		{"localhost at the far end of a tunnel", func(r *http.Request) { r.Host = "localhost:8000" }, 200},
		{"IPv6", func(r *http.Request) { r.Host = "[::1]:7780" }, 200},
		{"no port", func(r *http.Request) { r.Host = "127.0.0.1" }, 200},
		{"a name that somebody's DNS points here", func(r *http.Request) { r.Host = "evil.example:7780" }, 403},
		{"a name that looks like ours", func(r *http.Request) { r.Host = "localhost.evil.example" }, 403},
		{"another address", func(r *http.Request) { r.Host = "10.0.0.1:7780" }, 403},
		{"a proxy", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.9") }, 403},
		{"a proxy by the book", func(r *http.Request) { r.Header.Set("Forwarded", "for=10.0.0.9") }, 403},
	} {
		for _, path := range []string{"/", "/live", "/static/x"} {
			if path == "/live" && tt.status == 200 {
				continue // it would stream
			}
			res, body := d.get(t, path, tt.edit)
			want := tt.status
			if want == 200 && path == "/static/x" {
				want = 404
			}
			if res.StatusCode != want {
				t.Errorf("%s, %s: HTTP %d, want %d", tt.name, path, res.StatusCode, want)
			}
			if want == 403 && !strings.Contains(body, "ssh -L") {
				t.Errorf("%s: does not say how: %s", tt.name, body)
			}
		}
	}
}

func TestPagesOnlyRead(t *testing.T) {
	d := start(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/", "/operations/" + op, "/live"} {
			res, _ := d.get(t, path, func(r *http.Request) { r.Method = method })
			if res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: HTTP %d", method, path, res.StatusCode)
			}
		}
	}
	res, body := d.get(t, "/", func(r *http.Request) { r.Method = http.MethodHead })
	if res.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: HTTP %d, %d bytes", res.StatusCode, len(body))
	}
}

func TestWithoutPostgreSQL(t *testing.T) {
	d := start(t)
	d.store.Break(fault.Wrap(errors.New("dial tcp: secret of the driver"), fault.StoreAway, "PostgreSQL does not answer"))
	for path := range pages {
		res, body := d.get(t, path)
		switch {
		case path == "/assets":
		case strings.Contains(path, "/racks/"):
			if res.StatusCode != 200 || !strings.Contains(body, "PostgreSQL does not answer") || !strings.Contains(body, "storage-1") {
				t.Errorf("%s: HTTP %d: a rack is drawn from NetBox all the same", path, res.StatusCode)
			}
		case res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "PostgreSQL does not answer") || !strings.Contains(body, "check PostgreSQL"):
			t.Errorf("%s: HTTP %d without the reason\n%s", path, res.StatusCode, body)
		}
		if strings.Contains(body, "secret of the driver") {
			t.Errorf("%s shows the cause", path)
		}
		wellFormed(t, body)
	}
}

func TestFailuresKeepTheirCauseInside(t *testing.T) {
	d := start(t)
	d.store.Break(errors.New("password authentication failed for user root"))
	res, body := d.get(t, "/")
	if res.StatusCode != 500 || strings.Contains(body, "password") || !strings.Contains(body, "report it") {
		t.Errorf("HTTP %d\n%s", res.StatusCode, body)
	}
}

func TestWithoutNetBox(t *testing.T) {
	d := start(t)
	const rack, machine = "/sites/ams01/racks/r12", "/assets/105"
	away := &inventory.Error{Kind: inventory.ErrUnreachable, Op: "read rack", Err: errors.New("connection refused")}
	d.records.Break(away)
	for path, says := range map[string]string{rack: "What Cagenut knows of it", machine: "NetBox did not tell more"} {
		res, body := d.get(t, path)
		if res.StatusCode != 200 || !strings.Contains(body, "NetBox does not answer") || !strings.Contains(body, says) {
			t.Errorf("%s: HTTP %d without %q\n%s", path, res.StatusCode, says, body)
		}
		wellFormed(t, body)
	}
	asked := d.records.Asked()
	d.get(t, rack)
	if got := d.records.Asked(); got != asked {
		t.Errorf("NetBox was asked %d times more within a moment of its failure", got-asked)
	}
	d.records.Break(nil)
	d.clock.Move(10 * time.Second)
	if _, body := d.get(t, rack); !strings.Contains(body, "Rack r12, front") || strings.Contains(body, "does not answer") {
		t.Errorf("NetBox is back and the page does not say so\n%s", body)
	}
	d.records.Break(away)
	d.clock.Move(10 * time.Minute)
	if _, body := d.get(t, rack); !strings.Contains(body, "this is what it said 10 min 0 s ago") || !strings.Contains(body, "Rack r12, front") {
		t.Errorf("what was known before is not shown\n%s", body)
	}
}

func TestNetBoxIsAskedLittle(t *testing.T) {
	d := start(t)
	release := d.records.Hold()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { d.get(t, "/sites/ams01/racks/r12") })
	}
	for d.records.Asked() == 0 {
		select {
		case <-t.Context().Done():
			t.Fatal("nobody asked")
		case <-time.After(time.Millisecond):
		}
	}
	release()
	wg.Wait()
	if got := d.records.Asked(); got != 1 {
		t.Errorf("20 pages at once asked NetBox %d times, want once", got)
	}
}

// What a run wrote into NetBox is seen when it has ended, and not half a minute later.
func TestAnEndedRunIsSeen(t *testing.T) {
	d := start(t)
	const rack = "/sites/ams01/racks/r12"
	d.get(t, rack)
	d.clock.Move(5 * time.Second)
	d.get(t, rack)
	if got := d.records.Asked(); got != 1 {
		t.Fatalf("NetBox was asked %d times, want once", got)
	}
	d.clock.Move(time.Second)
	ended := d.clock.Now()
	d.store.Change(webtest.Accepting, 105, func(r *operation.Run) { r.State, r.Ended = operation.Done, ended }, operation.Event{})
	d.clock.Move(3 * time.Second)
	for range 3 {
		d.get(t, rack)
		d.clock.Move(3 * time.Second)
	}
	if got := d.records.Asked(); got != 2 {
		t.Errorf("after the end of a run NetBox was asked %d times in all, want twice", got)
	}
}

// TestHostileWords puts markup wherever words come from elsewhere.
func TestHostileWords(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>` + "\x00\u202e' {{.}} </svg></title>"
	c := &clock{now: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)}
	store, records := webtest.Scene(c.Now())
	for i := range records.Racks[0].Devices {
		dev := &records.Racks[0].Devices[i]
		dev.Name, dev.Type.Name, dev.Serial, dev.Role.Name = evil, evil, evil, evil
		dev.Status = asset.Status(evil)
	}
	for i := range records.Devices {
		dev := &records.Devices[i]
		dev.Name, dev.Serial, dev.AssetTag, dev.Rack.Name, dev.Type.Name, dev.Status = evil, evil, evil, evil, evil, asset.Status(evil)
		dev.Interfaces[0].Name, dev.Interfaces[0].MACs, dev.Interfaces[0].Cable = evil, []string{evil}, &inventory.Cable{Peer: evil, Port: evil}
	}
	hostile := fault.New(fault.NotConverged, "%s", evil)
	hostile.Remedy, hostile.Details = evil, []fault.Item{{Subject: evil, Expected: evil, Seen: evil, Remedy: evil}}
	for i := range store.Operations {
		o := &store.Operations[i]
		o.Actor, o.Reason, o.Ticket, o.Hash, o.Kind, o.Until = evil, evil, evil, evil, evil, evil
		for j := range o.Runs {
			r := &o.Runs[j]
			r.Asset.Name, r.Asset.Serial, r.Profile, r.Left, r.Asset.Rack = evil, evil, evil, []string{evil}, evil
			if r.Error != nil {
				r.Error = hostile
			}
			for k := range r.Steps {
				s := &r.Steps[k]
				s.Title, s.Summary = evil, evil
				if s.Error != nil {
					s.Error = hostile
				}
				if s.Progress != nil {
					s.Progress.Text = evil
				}
				for n := range s.Attempts {
					s.Attempts[n].Error, s.Attempts[n].Summary = hostile, evil
				}
				for n := range s.Writes {
					w := &s.Writes[n]
					w.System, w.Object, w.Field, w.Before, w.After = evil, evil, evil, evil, evil
				}
				for n := range s.Evidence {
					e := &s.Evidence[n]
					e.Title, e.Kind, e.Data = evil, evil, []byte(`{"x":`+fmt.Sprintf("%q", "</pre>"+evil)+`}`)
				}
			}
		}
	}
	for i := range store.Beats {
		b := &store.Beats[i]
		b.Worker, b.Version, b.Queue = evil, evil, evil
	}
	for id, p := range store.Proofs {
		p.Title, p.Data = evil, []byte(evil)
		store.Proofs[id] = p
	}
	store.Behind = operation.Backlog{Unsent: 1, OldestUnsent: c.Now().Add(-time.Hour), LastError: evil}
	store.Happen(operation.Event{Operation: webtest.Accepting, Asset: 105, Name: evil, Text: evil, Step: evil, State: operation.State(evil), StepState: operation.StepState(evil)})
	d := serve(t, store, records, c)
	for path := range pages {
		t.Run(path, func(t *testing.T) {
			res, body := d.get(t, path)
			if res.StatusCode != http.StatusOK {
				t.Errorf("HTTP %d", res.StatusCode)
			}
			wellFormed(t, body)
			for _, bad := range []string{"<script>alert", "<img", "onerror=alert(2)>\x00"} {
				if strings.Contains(body, bad) {
					t.Errorf("the page holds %q", bad)
				}
			}
		})
	}
	for _, path := range []string{"/nowhere" + "/%3Cscript%3Ealert(1)%3C/script%3E", "/assets/%22%3E%3Cscript%3Ealert(1)", "/operations?actor=%22%3E%3Cscript%3Ealert(1)", "/assets?q=%22%3E%3Cscript%3Ealert(1)"} {
		if _, body := d.get(t, path); strings.Contains(body, "<script>alert") {
			t.Errorf("%s echoes markup", path)
		} else {
			wellFormed(t, body)
		}
	}
}

// TestALargeOperation holds that pages of 5,000 runs stay small, and ask the store for little.
func TestALargeOperation(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)}
	store, records := webtest.Scene(c.Now())
	o := &store.Operations[0]
	first := o.Runs[4] // the parked one
	o.Runs = nil
	for i := range 5000 {
		r := first
		r.Asset.ID, r.Asset.Name = asset.ID(1000+i), fmt.Sprintf("srv-%05d", i)
		if i >= 1000 {
			r.State = operation.Queued
		}
		o.Runs = append(o.Runs, r)
	}
	webtest.Count(o)
	d := serve(t, store, records, c)
	for path, says := range map[string]string{
		"/":                                    "1000 machines wait for a person",
		"/operations/" + op:                    "Machines 1 to 100 of 5000",
		"/operations/" + op + "?page=50":       "Machines 4901 to 5000 of 5000",
		"/operations/" + op + "?state=waiting": "Machines 1 to 100 of those chosen",
		"/operations/" + op + "?page=51":       "No machine is like that",
		"/operations":                          "install of 5000 machines",
		"/sites":                               "fra02",
		"/operations/" + op + "?name=srv-0042": "Machines 1 to 10 of those chosen",
	} {
		res, body := d.get(t, path)
		if res.StatusCode != 200 || !strings.Contains(body, says) {
			t.Errorf("%s: HTTP %d without %q", path, res.StatusCode, says)
		}
		if len(body) > 200<<10 {
			t.Errorf("%s has %d bytes", path, len(body))
		}
		wellFormed(t, body)
	}
	if got := store.Most(); got > 200 {
		t.Errorf("the store gave %d rows in one answer", got)
	}
}

func TestNewNeedsItsPorts(t *testing.T) {
	if _, err := web.New(web.Options{}); err == nil {
		t.Error("no error")
	}
}

func TestAPageEndsWithItsTime(t *testing.T) {
	d := start(t)
	release := d.records.Hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL+"/assets/105", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
