package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// fakeBMC is a small Redfish service with sessions that counts what it is asked.
type fakeBMC struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	user     string
	password string
	sessions map[string]string // URI -> token
	next     int
	most     int // sessions that were open at the same time
	log      []string
	handler  func(w http.ResponseWriter, r *http.Request) bool // before everything else
	from     string                                            // ClientOriginIPAddress shown
}

func newFakeBMC(t *testing.T) *fakeBMC {
	t.Helper()
	f := &fakeBMC{user: "admin", password: "pa55word", sessions: map[string]string{}, from: "127.0.0.1"}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.StartTLS()
	t.Cleanup(f.Close)
	f.host = strings.TrimPrefix(f.URL, "https://")
	return f
}

const sessionsPath = "/redfish/v1/SessionService/Sessions"

func (f *fakeBMC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	h := f.handler
	f.mu.Unlock()
	if h != nil && h(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path == "/redfish/v1/" {
		fmt.Fprintf(w, `{"Links":{"Sessions":{"@odata.id":%q}}}`, sessionsPath)
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == sessionsPath {
		var c struct{ UserName, Password string }
		if json.NewDecoder(r.Body).Decode(&c) != nil || c.UserName != f.user || c.Password != f.password {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":{"code":"Base.1.0.ResourceAtUriUnauthorized","message":"no access with password %s"}}`, c.Password)
			return
		}
		f.next++
		uri := fmt.Sprintf("%s/%d", sessionsPath, f.next)
		f.sessions[uri] = fmt.Sprintf("token-%d", f.next)
		f.most = max(f.most, len(f.sessions))
		w.Header().Set("X-Auth-Token", f.sessions[uri])
		w.Header().Set("Location", uri)
		w.WriteHeader(http.StatusCreated)
		return
	}
	if !f.authorised(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch {
	case r.Method == http.MethodDelete && f.sessions[r.URL.Path] != "":
		delete(f.sessions, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == sessionsPath:
		var members []map[string]string
		for uri := range f.sessions {
			members = append(members, map[string]string{"@odata.id": uri})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Members": members})
	case strings.HasPrefix(r.URL.Path, sessionsPath+"/") && f.sessions[r.URL.Path] != "":
		_ = json.NewEncoder(w).Encode(map[string]string{"UserName": f.user, "ClientOriginIPAddress": f.from})
	case strings.HasPrefix(r.URL.Path, "/redfish/v1/Systems"):
		w.Header().Set("ETag", `W/"1"`)
		if r.Header.Get("If-None-Match") == `W/"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, `{"Id":"1"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *fakeBMC) authorised(r *http.Request) bool {
	if u, p, ok := r.BasicAuth(); ok {
		return u == f.user && p == f.password
	}
	for _, t := range f.sessions {
		if t == r.Header.Get("X-Auth-Token") {
			return true
		}
	}
	return false
}

func (f *fakeBMC) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeBMC) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func (f *fakeBMC) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions)
}

func (f *fakeBMC) config() broker.Config {
	return broker.Config{
		Endpoint:    bmc.Endpoint{Address: f.host},
		Credentials: bmc.Credentials{User: "admin", Password: "pa55word"},
		Allow:       []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Clock:       &fakeClock{now: time.Unix(1_800_000_000, 0)},
	}
}

// fakeClock never waits: sleeping moves it on.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return ctx.Err()
}

func dial(t *testing.T, cfg broker.Config) *broker.Conn {
	t.Helper()
	c, err := broker.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

func mustGet(t *testing.T, c *broker.Conn, path string) broker.Resource {
	t.Helper()
	r, err := c.Get(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want %v", err, kind)
	}
	var be *bmc.Error
	if !errors.As(err, &be) || be.Op == "" || be.Host == "" {
		t.Errorf("error %v does not name the call and the host", err)
	}
	if strings.Contains(err.Error(), "pa55word") || strings.Contains(err.Error(), "token-") {
		t.Errorf("error %v tells a secret", err)
	}
}
