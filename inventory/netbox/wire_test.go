package netbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox"
)

const wireToken = "nbt_wiretest0001.verysecretverysecretverysecretverysecret"

// wire makes a driver that talks to a handler, without pauses between tries.
func wire(t *testing.T, h http.HandlerFunc) *netbox.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := netbox.New(netbox.Options{URL: s.URL, Token: wireToken, Backoff: func(int) time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// TestBadAnswers has one answer to a read of a device, each with its named outcome.
func TestBadAnswers(t *testing.T) {
	html := func(status int, title string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<html><title>%s</title>%s</html>", title, strings.Repeat("markup ", 1000))
		}
	}
	for _, test := range []struct {
		name  string
		serve http.HandlerFunc
		kind  error
		says  string
		tries int32
	}{
		{"wrong token", func(w http.ResponseWriter, _ *http.Request) { reply(w, 403, `{"detail":"Invalid v2 token"}`) }, inventory.ErrDenied, "give Cagenut a NetBox token", 1},
		{"no permission", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 403, `{"detail":"You do not have permission to perform this action."}`)
		}, inventory.ErrDenied, "cagenut netbox setup --apply", 1},
		{"no such device", func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 404, `{"detail":"No Device matches the given query."}`)
		}, inventory.ErrNotFound, "No Device matches", 1},
		{"a page that is not there", html(404, "Page Not Found"), inventory.ErrMalformed, "check that the NetBox URL", 1},
		{"NetBox without its Redis", html(500, "Server Error"), inventory.ErrServer, `titled "Server Error"`, 3},
		{"a proxy without NetBox", html(502, "Bad Gateway"), inventory.ErrServer, "Bad Gateway", 3},
		{"a login page", html(200, "Sign in"), inventory.ErrMalformed, "Sign in", 1},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		}, inventory.ErrMalformed, "nothing redirects it", 1},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `{"id": 7, "name": "sr`) }, inventory.ErrMalformed, "decode", 1},
		{"a list", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `[]`) }, inventory.ErrMalformed, "decode", 1},
		{"another device", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `{"id": 8}`) }, inventory.ErrMalformed, "device 8", 1},
		{"a broken connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, inventory.ErrUnreachable, "EOF", 3},
		{"an endless answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for chunk := []byte(strings.Repeat(" ", 1<<20)); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, inventory.ErrMalformed, "answer of more than 64 MiB", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var tries atomic.Int32
			c := wire(t, func(w http.ResponseWriter, r *http.Request) {
				tries.Add(1)
				test.serve(w, r)
			})
			_, err := c.Device(t.Context(), 7)
			var e *inventory.Error
			if !errors.As(err, &e) || !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want an *inventory.Error that is %q and says %q", err, test.kind, test.says)
			}
			if len(err.Error()) > 800 || strings.Contains(err.Error(), "secret") {
				t.Errorf("error of %d bytes, or with the token in it: %.1000s", len(err.Error()), err)
			}
			if tries.Load() != test.tries {
				t.Errorf("%d tries, want %d", tries.Load(), test.tries)
			}
		})
	}
}

func TestReadsAreRetried(t *testing.T) {
	var tries atomic.Int32
	c := wire(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		reply(w, 200, `{"id":7,"name":"srv-7"}`)
	})
	if d, err := c.Device(t.Context(), 7); err != nil || d.Name != "srv-7" || tries.Load() != 3 {
		t.Errorf("Device = %v, %v after %d tries; want srv-7 after 3", d.Name, err, tries.Load())
	}
}

func TestEndlessListEnds(t *testing.T) {
	c := wire(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"count":1000000000,"results":[{"id":7,"slug":"s"}]}`)
	})
	if _, err := c.Sites(t.Context()); !errors.Is(err, inventory.ErrMalformed) {
		t.Errorf("Sites = %v, want ErrMalformed", err)
	}
}

func TestAtMostEightInFlight(t *testing.T) {
	var now, most atomic.Int32
	full, once := make(chan struct{}), sync.Once{}
	c := wire(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 8 {
			once.Do(func() { close(full) })
		}
		select {
		case <-full: // eight are here
		case <-r.Context().Done():
		}
		reply(w, 200, `{"id":7}`)
	})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if _, err := c.Device(t.Context(), 7); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 8 {
		t.Errorf("%d requests at once, want 8", most.Load())
	}
}

// device is a NetBox with one device, whose PATCH a test can spoil.
type device struct {
	mu     sync.Mutex
	status string
	op     string
	rev    int
	reads  int
	writes int
	spoil  func(d *device, w http.ResponseWriter, apply func()) // nil: applied and answered
}

func (d *device) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	etag := fmt.Sprintf(`W/"%d"`, d.rev)
	body := func() string {
		return fmt.Sprintf(`{"id":7,"status":{"value":%q},"custom_fields":{"cagenut_operation":%q}}`, d.status, d.op)
	}
	if r.Method == http.MethodGet {
		d.reads++
		w.Header().Set("ETag", etag)
		reply(w, 200, body())
		return
	}
	d.writes++
	var in struct {
		Status string
		Custom map[string]string `json:"custom_fields"`
	}
	b, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(b, &in); err != nil {
		reply(w, 400, `{"detail":"JSON parse error"}`)
		return
	}
	if r.Header.Get("If-Match") != etag {
		reply(w, 412, `{"detail":"Precondition failed."}`)
		return
	}
	apply := func() { d.status, d.op, d.rev = in.Status, in.Custom["cagenut_operation"], d.rev+1 }
	if d.spoil != nil {
		spoil := d.spoil
		d.spoil = nil
		spoil(d, w, apply)
		return
	}
	apply()
	reply(w, 200, body())
}

func TestSetStatusWhenThingsGoWrong(t *testing.T) {
	lose := func() { panic(http.ErrAbortHandler) }
	precondition := func(d *device, w http.ResponseWriter) { reply(w, 412, `{"detail":"Precondition failed."}`) }
	for _, test := range []struct {
		name    string
		spoil   func(d *device, w http.ResponseWriter, apply func())
		changed bool
		kind    error // nil: success
		status  string
		reads   int
		writes  int
	}{
		{"all is well", nil, true, nil, "staged", 1, 1},
		{"the answer is lost, the write is not", func(_ *device, _ http.ResponseWriter, apply func()) { apply(); lose() }, true, nil, "staged", 2, 1},
		{"the write is lost", func(_ *device, _ http.ResponseWriter, _ func()) { lose() }, true, nil, "staged", 2, 2},
		{"a page instead of the answer, not applied", func(_ *device, w http.ResponseWriter, _ func()) { w.WriteHeader(500) }, true, nil, "staged", 2, 2},
		{"somebody edited something else", func(d *device, w http.ResponseWriter, _ func()) { d.rev++; precondition(d, w) }, true, nil, "staged", 2, 2},
		{"somebody else did the same", func(d *device, w http.ResponseWriter, _ func()) {
			d.status, d.rev = "staged", d.rev+1
			precondition(d, w)
		}, false, nil, "staged", 2, 1},
		{"somebody else did the same and our answer is lost", func(d *device, w http.ResponseWriter, _ func()) {
			d.status, d.op, d.rev = "staged", "op_other", d.rev+1
			lose()
		}, false, nil, "staged", 2, 1},
		{"somebody moved it elsewhere", func(d *device, w http.ResponseWriter, _ func()) {
			d.status, d.rev = "failed", d.rev+1
			precondition(d, w)
		}, false, inventory.ErrConflict, "failed", 2, 1},
		{"NetBox rejects it", func(_ *device, w http.ResponseWriter, _ func()) { reply(w, 400, `{"rack":["no"]}`) }, false, inventory.ErrRejected, "planned", 1, 1},
		{"the permission does not cover it", func(_ *device, w http.ResponseWriter, _ func()) {
			reply(w, 404, `{"detail":"No Device matches the given query."}`)
		}, false, inventory.ErrDenied, "planned", 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &device{status: "planned", op: "op_before", spoil: test.spoil}
			c := wire(t, d.ServeHTTP)
			changed, err := c.SetStatus(t.Context(), inventory.StatusChange{ID: 7, From: asset.Planned, To: asset.Staged, Operation: "op_1"})
			if changed != test.changed || !errors.Is(err, test.kind) {
				t.Errorf("SetStatus = %v, %v; want %v, %v", changed, err, test.changed, test.kind)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.status != test.status || d.reads != test.reads || d.writes != test.writes {
				t.Errorf("%s after %d reads and %d writes, want %s after %d and %d", d.status, d.reads, d.writes, test.status, test.reads, test.writes)
			}
		})
	}
}

func TestSetStatusGivesUp(t *testing.T) {
	d := &device{status: "planned"}
	var again func(d *device, w http.ResponseWriter, _ func())
	again = func(d *device, w http.ResponseWriter, _ func()) {
		d.rev, d.spoil = d.rev+1, again
		reply(w, 412, `{"detail":"Precondition failed."}`)
	}
	d.spoil = again
	changed, err := wire(t, d.ServeHTTP).SetStatus(t.Context(), inventory.StatusChange{ID: 7, From: asset.Planned, To: asset.Staged})
	if changed || !errors.Is(err, inventory.ErrConflict) || d.writes != 3 {
		t.Errorf("SetStatus = %v, %v after %d writes; want ErrConflict after 3", changed, err, d.writes)
	}
}

// An object that somebody else edits between our read and our write is looked at again, and not for ever.
func TestAllocateLooksAgain(t *testing.T) {
	for _, test := range []struct {
		lost, patches int
		want          error
	}{{0, 1, nil}, {1, 2, nil}, {9, 3, inventory.ErrConflict}} {
		patches := 0
		c := wire(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPatch && patches < test.lost:
				patches++
				reply(w, 412, `{"detail":"Precondition failed."}`)
			case r.Method == http.MethodPatch:
				patches++
				reply(w, 200, `{}`)
			case strings.Contains(r.URL.Path, "/ip-addresses/"):
				reply(w, 200, `{"id":9,"address":"192.0.2.9/24","dns_name":""}`)
			default:
				reply(w, 200, `{"id":7,"name":"srv-1","primary_ip4":{"id":9,"address":"192.0.2.9/24"}}`)
			}
		})
		_, writes, err := c.Allocate(t.Context(), inventory.Allocation{Device: 7, Interface: "eth0", Pools: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, DNSName: "srv-1.example.net", Operation: "op_1"})
		if !errors.Is(err, test.want) || patches != test.patches || err == nil && len(writes) != 1 {
			t.Errorf("%d lost: %v after %d writes, told %+v", test.lost, err, patches, writes)
		}
	}
}

func TestCancelEndsAWaitingRequest(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the operator gave up")
	c := wire(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(why)
		<-r.Context().Done()
	})
	if _, err := c.Device(ctx, 7); !errors.Is(err, inventory.ErrUnreachable) || !errors.Is(err, why) {
		t.Errorf("Device = %v, want ErrUnreachable because the operator gave up", err)
	}
}
