package netboxsim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/internal/sim/netboxsim"
)

const token = "nbt_testadmin001.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

type answer struct {
	status int
	etag   string
	kind   string
	body   string
}

// client talks to a handler as the holder of a token.
type client struct {
	t     *testing.T
	h     http.Handler
	token string
}

func (c client) do(method, path string, in any, header ...string) answer {
	c.t.Helper()
	var payload io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			c.t.Fatal(err)
		}
		payload = bytes.NewReader(b)
	}
	r := httptest.NewRequest(method, "http://box"+path, payload)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	return answer{w.Code, w.Header().Get("ETag"), w.Header().Get("Content-Type"), w.Body.String()}
}

// id makes an object and gives its ID.
func (c client) id(path string, in map[string]any) int64 {
	c.t.Helper()
	a := c.do("POST", "/api/"+path, in)
	var o struct{ ID int64 }
	if a.status != http.StatusCreated || json.Unmarshal([]byte(a.body), &o) != nil {
		c.t.Fatalf("POST %s: %+v", path, a)
	}
	return o.ID
}

func open(t *testing.T, dir string) (*netboxsim.Server, client) {
	t.Helper()
	s, err := netboxsim.Open(netboxsim.Options{Dir: dir, AdminToken: token})
	if err != nil {
		t.Fatal(err)
	}
	return s, client{t, s, token}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	first, c := open(t, dir)
	web := httptest.NewServer(first)
	if err := netboxload.LoadRack(t.Context(), web.URL, token, sim.DefaultRack()); err != nil {
		t.Fatal(err)
	}
	web.Close()
	extra := c.id("dcim/sites/", map[string]any{"name": "Gone", "slug": "gone"})
	if a := c.do("DELETE", fmt.Sprintf("/api/dcim/sites/%d/", extra), nil); a.status != http.StatusNoContent {
		t.Fatalf("DELETE: %+v", a)
	}
	paths := []string{"dcim/devices/?limit=0", "dcim/interfaces/?limit=0", "dcim/cables/?limit=0", "dcim/mac-addresses/?limit=0",
		"ipam/ip-addresses/?limit=0", "ipam/prefixes/", "core/object-changes/?limit=0", "users/users/"}
	before := map[string]string{}
	for _, p := range paths {
		before[p] = c.do("GET", "/api/"+p, nil).body
	}
	device := c.do("GET", "/api/dcim/devices/1/", nil)

	// Killed, not closed; and the last line of the journal was cut in the middle.
	journal := filepath.Join(dir, "netbox.journal")
	f, err := os.OpenFile(journal, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"put":[{"id":999,"kind":"dcim/sites/","data":{"na`); err != nil {
		t.Fatal(err)
	}
	f.Close()

	for range 2 { // the second start reads what the first one rewrote
		s, c := open(t, dir)
		for _, p := range paths {
			if diff := cmp.Diff(before[p], c.do("GET", "/api/"+p, nil).body); diff != "" {
				t.Fatalf("%s after a restart (-before +after):\n%s", p, diff)
			}
		}
		if got := c.do("GET", "/api/dcim/devices/1/", nil); got.etag != device.etag {
			t.Errorf("ETag %s after a restart, was %s", got.etag, device.etag)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, c := open(t, dir)
	defer s.Close()
	if id := c.id("dcim/sites/", map[string]any{"name": "Next", "slug": "next"}); id <= extra {
		t.Errorf("the ID %d of a deleted object was given again (%d)", extra, id)
	}
}

func TestDamagedJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "netbox.journal"), []byte("{\"put\":[}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := netboxsim.Open(netboxsim.Options{Dir: dir, AdminToken: token})
	if err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("Open = %v, want an error that names line 1", err)
	}
}

// site makes a site, and what a device in it needs; it returns a function that makes devices.
func devices(c client) func(name string) int64 {
	site := c.id("dcim/sites/", map[string]any{"name": "S", "slug": "s"})
	maker := c.id("dcim/manufacturers/", map[string]any{"name": "M", "slug": "m"})
	kind := c.id("dcim/device-types/", map[string]any{"manufacturer": maker, "model": "T", "slug": "t"})
	role := c.id("dcim/device-roles/", map[string]any{"name": "R", "slug": "r"})
	return func(name string) int64 {
		return c.id("dcim/devices/", map[string]any{"name": name, "site": site, "device_type": kind, "role": role, "status": "planned"})
	}
}

func TestRefusals(t *testing.T) {
	_, c := open(t, "")
	device := devices(c)("d1")
	path := fmt.Sprintf("/api/dcim/devices/%d/", device)
	etag := c.do("GET", path, nil).etag
	for _, test := range []struct {
		name   string
		got    answer
		status int
		body   string
	}{
		{"no token", client{t, c.h, ""}.do("GET", path, nil), 403, "Authentication credentials were not provided."},
		{"a wrong v2 token", client{t, c.h, "nbt_x.y"}.do("GET", path, nil), 403, "Invalid v2 token"},
		{"a wrong v1 token", client{t, c.h, "0000"}.do("GET", path, nil), 403, "Invalid v1 token"},
		{"an unknown path", c.do("GET", "/api/dcim/nothing/", nil), 404, "Page Not Found"},
		{"an unknown device", c.do("GET", "/api/dcim/devices/999/", nil), 404, "No Device matches the given query."},
		{"a missing field", c.do("POST", "/api/dcim/sites/", map[string]any{"slug": "x"}), 400, `{"name":["This field is required."]}`},
		{"a repeated slug", c.do("POST", "/api/dcim/sites/", map[string]any{"name": "Other", "slug": "s"}), 400, "already exists"},
		{"an unknown reference", c.do("PATCH", path, map[string]any{"rack": 999}), 400, "Related object not found using the provided numeric ID: 999"},
		{"an unknown status", c.do("PATCH", path, map[string]any{"status": "burning"}), 400, "burning is not a valid choice."},
		{"an unknown custom field", c.do("PATCH", path, map[string]any{"custom_fields": map[string]any{"x": 1}}), 400, "Custom field 'x' does not exist"},
		{"a stale ETag", c.do("PATCH", path, map[string]any{"status": "staged"}, "If-Match", `W/"old"`), 412, "Precondition failed."},
		{"a strong ETag", c.do("PATCH", path, map[string]any{"status": "staged"}, "If-Match", strings.TrimPrefix(etag, "W/")), 412, "Precondition failed."},
		{"a site in use", c.do("DELETE", "/api/dcim/sites/1/", nil), 409, "dependent objects"},
		{"no JSON", c.do("PATCH", path, "text"), 400, "JSON parse error"},
		{"a changed changelog", c.do("POST", "/api/core/object-changes/", map[string]any{}), 405, "not allowed"},
		{"PUT", c.do("PUT", path, map[string]any{}), 405, "not allowed"},
	} {
		if test.got.status != test.status || !strings.Contains(test.got.body, test.body) {
			t.Errorf("%s: HTTP %d %s, want %d with %q", test.name, test.got.status, test.got.body, test.status, test.body)
		}
	}
	if got := c.do("GET", path, nil); got.etag != etag {
		t.Errorf("the refusals changed the device: ETag %s, was %s", got.etag, etag)
	}
}

func TestBulkIsAllOrNone(t *testing.T) {
	_, c := open(t, "")
	a := c.do("POST", "/api/dcim/sites/", []any{map[string]any{"name": "A", "slug": "a"}, map[string]any{"slug": "b"}})
	if a.status != 400 || !strings.Contains(a.body, `"index":1`) || !strings.Contains(a.body, "1 of 2 objects could not be created.") {
		t.Errorf("bulk with one bad item: %+v", a)
	}
	if a = c.do("GET", "/api/dcim/sites/", nil); !strings.Contains(a.body, `"count":0`) {
		t.Errorf("a failed bulk left something: %s", a.body)
	}
}

func TestCompareAndSet(t *testing.T) {
	_, c := open(t, "")
	path := fmt.Sprintf("/api/dcim/devices/%d/", devices(c)("d1"))
	etag := c.do("GET", path, nil).etag
	var mu sync.Mutex
	seen := map[int]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			a := c.do("PATCH", path, map[string]any{"status": "staged"}, "If-Match", etag)
			mu.Lock()
			defer mu.Unlock()
			seen[a.status]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{200: 1, 412: 7}, seen); diff != "" {
		t.Errorf("8 writes with one ETag (-want +got):\n%s", diff)
	}
	// A PATCH that changes nothing changes the ETag and writes no row.
	rows := c.do("GET", "/api/core/object-changes/?changed_object_type=dcim.device&fields=id", nil).body
	etag = c.do("GET", path, nil).etag
	if a := c.do("PATCH", path, map[string]any{"status": "staged"}); a.etag == etag || a.etag == "" {
		t.Errorf("ETag %q after a PATCH that changed nothing, was %q", a.etag, etag)
	}
	if diff := cmp.Diff(rows, c.do("GET", "/api/core/object-changes/?changed_object_type=dcim.device&fields=id", nil).body); diff != "" {
		t.Errorf("changelog (-before +after):\n%s", diff)
	}
}

func TestAvailableIPs(t *testing.T) {
	_, c := open(t, "")
	prefix := c.id("ipam/prefixes/", map[string]any{"prefix": "10.0.0.0/29"}) // 6 addresses for hosts
	path := fmt.Sprintf("/api/ipam/prefixes/%d/available-ips/", prefix)
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			var made struct{ Address string }
			a := c.do("POST", path, map[string]any{"description": "x"})
			if a.status != http.StatusCreated || json.Unmarshal([]byte(a.body), &made) != nil {
				t.Errorf("POST: %+v", a)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[made.Address] = true
		})
	}
	wg.Wait()
	if len(seen) != 5 || seen["10.0.0.0/29"] {
		t.Errorf("addresses %v, want five that differ, without the network's", seen)
	}
	if a := c.do("GET", path, nil); a.body != `[{"address":"10.0.0.6/29","family":4,"vrf":null}]` {
		t.Errorf("free addresses: %s", a.body)
	}
	if a := c.do("POST", path, []any{map[string]any{}, map[string]any{}}); a.status != http.StatusConflict {
		t.Errorf("two of one left: %+v, want 409", a)
	}
}

func TestPaging(t *testing.T) {
	_, c := open(t, "")
	var items []any
	for i := range 7 {
		items = append(items, map[string]any{"name": fmt.Sprint("t", i), "slug": fmt.Sprint("t", i)})
	}
	if a := c.do("POST", "/api/extras/tags/", items); a.status != http.StatusCreated {
		t.Fatalf("POST: %+v", a)
	}
	for _, mode := range []string{"offset=0", "start=0"} {
		next, pages, names := "/api/extras/tags/?limit=3&fields=name&"+mode, 0, ""
		for next != "" && pages < 10 {
			var p struct {
				Next    *string
				Count   *int
				Results []struct{ Name string }
			}
			a := c.do("GET", next, nil)
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Results {
				names += r.Name
			}
			pages++
			if next = ""; p.Next != nil {
				next = strings.TrimPrefix(*p.Next, "http://box")
			}
			if (p.Count == nil) != (mode == "start=0") {
				t.Errorf("%s: count %v", mode, p.Count)
			}
		}
		if names != "t0t1t2t3t4t5t6" || pages != 3 {
			t.Errorf("%s: %q in %d pages", mode, names, pages)
		}
	}
}
