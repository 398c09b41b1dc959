package reader_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// rig is a small healthy BMC. A test puts one bad thing into it.
func rig() map[string]string {
	return map[string]string{
		"/redfish/v1":                    `{"@odata.type":"#ServiceRoot.v1_9_0.ServiceRoot","Systems":{"@odata.id":"/redfish/v1/Systems"},"Chassis":{"@odata.id":"/redfish/v1/Chassis"}}`,
		"/redfish/v1/Systems":            `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}`,
		"/redfish/v1/Systems/1":          `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"S1","Memory":{"@odata.id":"/redfish/v1/Systems/1/Memory"}}`,
		"/redfish/v1/Chassis":            `{"Members":[{"@odata.id":"/redfish/v1/Chassis/1"}]}`,
		"/redfish/v1/Chassis/1":          `{"@odata.type":"#Chassis.v1_9_0.Chassis","Id":"1","SerialNumber":"C1"}`,
		"/redfish/v1/Systems/1/Memory":   `{"Members":[{"@odata.id":"/redfish/v1/Systems/1/Memory/1"}]}`,
		"/redfish/v1/Systems/1/Memory/1": `{"@odata.type":"#Memory.v1_9_0.Memory","Id":"1","SerialNumber":"M1","CapacityMiB":1024}`,
	}
}

const memory = "/redfish/v1/Systems/1/Memory"

func TestBadAnswers(t *testing.T) {
	bounds := reader.Bounds{Requests: 300, Body: 64 << 10, Total: 8 << 20, Depth: 12, Members: 100, Pages: 10}
	for _, c := range []struct {
		name     string
		set      map[string]string // bodies
		handle   func(w http.ResponseWriter, r *http.Request) bool
		uri      string // in unread
		reason   string
		patience time.Duration // for one request
	}{
		{name: "malformed JSON", set: map[string]string{memory + "/1": `{"Id":"1",`}, uri: memory + "/1", reason: reader.ReasonMalformed},
		{name: "more after the end", set: map[string]string{memory + "/1": `{}{}`}, uri: memory + "/1", reason: reader.ReasonMalformed},
		{name: "empty body", set: map[string]string{memory + "/1": ``}, uri: memory + "/1", reason: reader.ReasonMalformed},
		{name: "nested too deep", set: map[string]string{memory + "/1": strings.Repeat("[", 10000)}, uri: memory + "/1", reason: reader.ReasonMalformed},
		{name: "a collection that hides members", set: map[string]string{memory: `{"Members":[],"Members@odata.count":4}`}, uri: memory, reason: reader.ReasonTruncated},
		{name: "an array for a resource", set: map[string]string{memory + "/1": `[1,2]`}, uri: memory + "/1", reason: reader.ReasonWrongType},
		{name: "members is a string", set: map[string]string{memory: `{"Members":"none"}`}, uri: memory, reason: reader.ReasonWrongType},
		{name: "a member is a number", set: map[string]string{memory: `{"Members":[7]}`}, uri: memory, reason: reader.ReasonWrongType},
		{name: "a member without a link", set: map[string]string{memory: `{"Members":[{}]}`}, uri: "", reason: reader.ReasonMalformed},
		{name: "HTML page", set: map[string]string{memory + "/1": "<!DOCTYPE html><html><body>Login</body></html>"}, uri: memory + "/1", reason: reader.ReasonHTML},
		{name: "off-host link", set: map[string]string{memory: `{"Members":[{"@odata.id":"https://evil.example/redfish/v1/x"}]}`}, uri: "https://evil.example/redfish/v1/x", reason: reader.ReasonOffHost},
		{name: "scheme-relative link", set: map[string]string{memory: `{"Members":[{"@odata.id":"//evil.example/redfish/v1/x"}]}`}, uri: "//evil.example/redfish/v1/x", reason: reader.ReasonOffHost},
		{name: "climbing link", set: map[string]string{memory: `{"Members":[{"@odata.id":"/redfish/v1/../../etc/passwd"}]}`}, uri: "/redfish/v1/../../etc/passwd", reason: reader.ReasonOffHost},
		{name: "next page is the first", set: map[string]string{memory: `{"Members":[],"Members@odata.nextLink":"` + memory + `"}`}, uri: memory, reason: reader.ReasonCyclic},
		{name: "pages in a circle", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != memory {
				return false
			}
			next := map[string]string{"": "1", "1": "2", "2": "1"}[r.URL.Query().Get("$skip")]
			fmt.Fprintf(w, `{"Members":[],"Members@odata.nextLink":"%s?$skip=%s"}`, memory, next)
			return true
		}, uri: memory + "?$skip=1", reason: reader.ReasonCyclic},
		{name: "endless pages", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != memory {
				return false
			}
			fmt.Fprintf(w, `{"Members":[],"Members@odata.nextLink":"%s?$skip=%s1"}`, memory, r.URL.Query().Get("$skip"))
			return true
		}, reason: reader.ReasonEndless},
		{name: "a collection of very many", set: map[string]string{memory: `{"Members":[` + strings.Repeat(`{"@odata.id":"/redfish/v1/x"},`, 200) + `{"@odata.id":"/redfish/v1/x"}]}`}, uri: memory, reason: reader.ReasonEndless},
		{name: "ever deeper", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, memory+"/1") {
				return false
			}
			fmt.Fprintf(w, `{"Id":"1","Thing":{"@odata.id":"%s/Thing"}}`, r.URL.Path)
			return true
		}, reason: reader.ReasonDepth},
		{name: "ever wider", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, memory+"/1") {
				return false
			}
			fmt.Fprintf(w, `{"Id":"1","A":{"@odata.id":"%[1]s/A"},"B":{"@odata.id":"%[1]s/B"},"C":{"@odata.id":"%[1]s/C"}}`, r.URL.Path)
			return true
		}, reason: reader.ReasonBudget},
		{name: "a large body", set: map[string]string{memory + "/1": `{"Id":"` + strings.Repeat("x", 100<<10) + `"}`}, uri: memory + "/1", reason: reader.ReasonTooLarge},
		{name: "a body of 10 MB", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != memory+"/1" {
				return false
			}
			for range 160 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		}, uri: memory + "/1", reason: reader.ReasonTooLarge},
		{name: "slow drip", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != memory+"/1" {
				return false
			}
			for tick := time.NewTicker(20 * time.Millisecond); ; {
				if _, err := w.Write([]byte(" ")); err != nil {
					return true
				}
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					tick.Stop()
					return true
				}
			}
		}, uri: memory + "/1", reason: reader.ReasonTimeout, patience: 300 * time.Millisecond},
		{name: "connection cut", handle: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != memory+"/1" {
				return false
			}
			panic(http.ErrAbortHandler)
		}, uri: memory + "/1", reason: reader.ReasonUnreachable},
		{name: "not found", set: map[string]string{memory: `{"Members":[{"@odata.id":"/redfish/v1/gone"}]}`}, uri: "/redfish/v1/gone", reason: reader.ReasonNotFound},
		{name: "server error", handle: status(memory+"/1", 500), uri: memory + "/1", reason: reader.ReasonServerError},
		{name: "busy", handle: status(memory+"/1", 503), uri: memory + "/1", reason: reader.ReasonBusy},
		{name: "forbidden", handle: status(memory+"/1", 403), uri: memory + "/1", reason: reader.ReasonForbidden},
		{name: "not implemented", handle: status(memory+"/1", 501), uri: memory + "/1", reason: reader.ReasonUnsupported},
		{name: "redirect", handle: status(memory+"/1", 302), uri: memory + "/1", reason: reader.ReasonRejected},
		{name: "304 unasked", handle: status(memory+"/1", 304), uri: memory + "/1", reason: reader.ReasonMalformed},
		{name: "one 401", handle: status(memory+"/1", 401), uri: memory + "/1", reason: reader.ReasonUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := rig()
			for k, v := range c.set {
				tree[k] = v
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.handle != nil && c.handle(w, r) {
					return
				}
				body, ok := tree[strings.TrimSuffix(r.URL.Path, "/")]
				if !ok {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, body)
			}))
			defer server.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			defer client.CloseIdleConnections()
			began := time.Now()
			b := bounds
			b.PerRequest = c.patience
			inv, err := reader.Read(t.Context(), httpGetter{server.URL, client}, reader.Options{URL: server.URL, Bounds: b})
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			if inv.Complete {
				t.Error("the inventory says that it is complete")
			}
			if inv.Requests.Count > bounds.Requests {
				t.Errorf("%d requests, the bound is %d", inv.Requests.Count, bounds.Requests)
			}
			if !has(inv, c.uri, c.reason) {
				t.Errorf("unread %+v, want %s with %s", inv.Unread, c.uri, c.reason)
			}
			// One bad thing costs nothing else.
			if len(inv.Systems) != 1 || len(inv.Chassis) != 1 || inv.Identity.Serial != "S1" {
				t.Errorf("%d systems, %d chassis, serial %q: the healthy part was lost", len(inv.Systems), len(inv.Chassis), inv.Identity.Serial)
			}
		})
	}
}

func status(path string, code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if strings.TrimSuffix(r.URL.Path, "/") != path {
			return false
		}
		w.WriteHeader(code)
		return true
	}
}

func has(inv *bmc.Inventory, uri, reason string) bool {
	for _, u := range inv.Unread {
		if u.Reason == reason && (uri == "" || u.URI == uri) {
			return true
		}
	}
	return false
}

// fixture is a Getter over bodies. fail, when set, may answer first.
type fixture struct {
	tree  map[string]string
	fail  func(n int64, path string) error
	calls *atomic.Int64
}

func (f fixture) Get(ctx context.Context, path, _ string) (broker.Resource, error) {
	n := f.calls.Add(1)
	if err := ctx.Err(); err != nil {
		return broker.Resource{}, &bmc.Error{Kind: bmc.ErrIncomplete, Op: "GET " + path, Err: err}
	}
	if f.fail != nil {
		if err := f.fail(n, path); err != nil {
			return broker.Resource{}, err
		}
	}
	body, ok := f.tree[path] // a page
	if !ok {
		path, _, _ = strings.Cut(path, "?")
		body, ok = f.tree[strings.TrimSuffix(path, "/")]
	}
	if !ok {
		return broker.Resource{Status: 404}, &bmc.Error{Kind: bmc.ErrUnsupported, Op: "GET " + path, Status: 404}
	}
	return broker.Resource{Status: 200, Body: []byte(body)}, nil
}

// Some failures end the walk: asking on could lock an account, or would talk to a stranger.
func TestFailuresThatEndTheWalk(t *testing.T) {
	tree := rig()
	members := []string{}
	for i := range 50 {
		members = append(members, fmt.Sprintf(`{"@odata.id":"%s/%d"}`, memory, i))
		tree[fmt.Sprintf("%s/%d", memory, i)] = `{"Id":"1","CapacityMiB":1}`
	}
	tree[memory] = `{"Members":[` + strings.Join(members, ",") + `]}`
	for _, c := range []struct {
		name   string
		kind   error
		status int
		reason string
		atMost int64 // failing requests
	}{
		{"401 in the middle", bmc.ErrBadCredentials, 401, reader.ReasonUnauthorized, 6},
		{"certificate change", bmc.ErrPinChanged, 0, reader.ReasonPinChanged, 4},
		{"certificate not trusted", bmc.ErrCertificate, 0, reader.ReasonTLS, 4},
		{"breaker open", bmc.ErrBreakerOpen, 0, reader.ReasonBreaker, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls, failed atomic.Int64
			get := fixture{tree: tree, calls: &calls, fail: func(_ int64, path string) error {
				if !strings.HasPrefix(path, memory+"/") {
					return nil
				}
				failed.Add(1)
				return &bmc.Error{Kind: c.kind, Op: "GET " + path, Status: c.status}
			}}
			inv, err := reader.Read(t.Context(), get, reader.Options{URL: "https://bmc"})
			if err != nil {
				t.Fatal(err)
			}
			if n := failed.Load(); n > c.atMost {
				t.Errorf("%d failing requests, want at most %d", n, c.atMost)
			}
			unread := 0
			for _, u := range inv.Unread {
				if strings.HasPrefix(u.URI, memory+"/") {
					unread++
				}
			}
			if unread != 50 || !has(inv, memory+"/49", c.reason) {
				t.Errorf("%d DIMMs unread, want each of the 50 with %s: %+v", unread, c.reason, inv.Unread)
			}
		})
	}
}

func TestReadNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		tree map[string]string
		kind error
		want error
	}{
		{"no ServiceRoot", map[string]string{}, nil, bmc.ErrUnsupported},
		{"wrong password", rig(), bmc.ErrBadCredentials, bmc.ErrBadCredentials},
		{"an empty service", map[string]string{"/redfish/v1": `{}`}, nil, bmc.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls atomic.Int64
			get := fixture{tree: c.tree, calls: &calls, fail: func(_ int64, path string) error {
				if c.kind == nil {
					return nil
				}
				return &bmc.Error{Kind: c.kind, Op: "GET " + path}
			}}
			if _, err := reader.Read(t.Context(), get, reader.Options{URL: "https://bmc"}); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var calls atomic.Int64
	tree := rig()
	get := fixture{tree: tree, calls: &calls, fail: func(_ int64, path string) error {
		if path != memory+"/1" {
			return nil
		}
		<-ctx.Done()
		return &bmc.Error{Kind: bmc.ErrUnreachable, Op: "GET " + path, Err: ctx.Err()}
	}}
	inv, err := reader.Read(ctx, get, reader.Options{URL: "https://bmc"})
	if err != nil || !has(inv, memory+"/1", reader.ReasonTimeout) || inv.Identity.Serial != "S1" {
		t.Errorf("Read = %+v, %v; want what was read before the deadline, and %s/1 unread with timeout", inv, err, memory)
	}
}
