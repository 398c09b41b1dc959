package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

func TestOneSessionIsKeptAndGivenBack(t *testing.T) {
	f := newFakeBMC(t)
	c := dial(t, f.config())
	for range 3 {
		mustGet(t, c, "/redfish/v1/Systems/1")
	}
	r, err := c.Get(t.Context(), "/redfish/v1/Systems/1", `W/"1"`)
	if err != nil || !r.NotModified || r.Body != nil || r.ETag != `W/"1"` {
		t.Errorf("conditional GET: %+v, %v", r, err)
	}
	if n := f.count("POST"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.open() != 0 {
		t.Errorf("%d sessions left", f.open())
	}
	_, err = c.Get(t.Context(), "/redfish/v1/Systems/1", "")
	wantKind(t, err, bmc.ErrUnreachable)
}

func TestLogsInAgainWhenForgotten(t *testing.T) {
	f := newFakeBMC(t)
	c := dial(t, f.config())
	mustGet(t, c, "/redfish/v1/Systems")
	f.set(func() { clear(f.sessions) })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Get(t.Context(), "/redfish/v1/Systems/1", ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.count("POST"); n != 2 {
		t.Errorf("%d logins, want 2: one for all that saw 401", n)
	}
	f.set(func() { clear(f.sessions) })
	if _, err := c.Do(t.Context(), http.MethodPatch, "/redfish/v1/Systems/1", map[string]string{"AssetTag": "x"}, broker.Options{}); err != nil {
		t.Errorf("a write that got 401 was not sent again: %v", err)
	}
	if f.most > 2 {
		t.Errorf("%d sessions at once, want at most 2", f.most)
	}
}

// A BMC that answers 401 without having dropped the session must not collect our sessions.
func TestNeverMoreThanTwoSessions(t *testing.T) {
	f := newFakeBMC(t)
	c := dial(t, f.config())
	f.set(func() {
		f.handler = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/redfish/v1/Systems") {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			return false
		}
	})
	for range 5 {
		_, err := c.Get(t.Context(), "/redfish/v1/Systems", "")
		wantKind(t, err, bmc.ErrBadCredentials)
	}
	if f.most > 2 || f.open() != 1 {
		t.Errorf("at most %d sessions, %d now; want 2 and 1", f.most, f.open())
	}
	// And one that does not let go of sessions either.
	f.set(func() {
		old := f.handler
		f.handler = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodDelete {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			return old(w, r)
		}
	})
	for range 3 {
		_, err := c.Get(t.Context(), "/redfish/v1/Systems", "")
		if err == nil {
			t.Error("no error")
		}
	}
	if f.most > 2 {
		t.Errorf("%d sessions at once, want at most 2", f.most)
	}
	f.set(func() { f.handler = nil })
}

func TestLoginBudget(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	clock := cfg.Clock.(*fakeClock)
	cfg.Credentials.Password = "wrong"
	pool := broker.NewPool()
	defer pool.Close(context.Background())
	for i := range 6 {
		cfg.Credentials.Password = fmt.Sprint("wrong", i%3)
		_, err := pool.Dial(t.Context(), cfg)
		wantKind(t, err, bmc.ErrBadCredentials)
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("%v tells the password that the BMC echoed", err)
		}
		if errors.Is(err, bmc.ErrRefusedBefore) != (i >= 3) {
			t.Errorf("try %d: %v; want each password sent once", i+1, err)
		}
	}
	guard, err := pool.Guard(f.host, cfg.Limits, clock)
	if err != nil {
		t.Fatal(err)
	}
	if guard.ForgetRefused(cfg.Credentials) {
		t.Error("forgotten, and no login is allowed now")
	}
	cfg.Credentials.Password = "pa55word"
	_, err = pool.Dial(t.Context(), cfg)
	wantKind(t, err, bmc.ErrBreakerOpen)
	if n := f.count("POST"); n != 3 {
		t.Errorf("%d logins were sent, want 3", n)
	}
	_ = clock.Sleep(t.Context(), 5*time.Minute)
	c, err := pool.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatalf("after the pause: %v", err)
	}
	c.Close(t.Context())
	// A refusal is remembered beside the password that works, until it is forgotten on purpose or the
	// password is being set.
	cfg.Credentials.Password = "wrong0"
	_, err = pool.Dial(t.Context(), cfg)
	wantKind(t, err, bmc.ErrRefusedBefore)
	f.set(func() { f.password = "wrong0" })
	if !guard.ForgetRefused(cfg.Credentials) {
		t.Error("not forgotten, though logins are allowed")
	}
	if c, err = pool.Dial(t.Context(), cfg); err != nil {
		t.Fatalf("the password that was set meanwhile: %v", err)
	}
	c.Close(t.Context())
}

func TestBasicWhereThereAreNoSessions(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			f := newFakeBMC(t)
			f.handler = func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.URL.Path == "/redfish/v1/":
					fmt.Fprint(w, `{"Id":"RootService"}`)
				case strings.HasPrefix(r.URL.Path, "/redfish/v1/SessionService"):
					w.WriteHeader(status)
				default:
					return false
				}
				return true
			}
			c := dial(t, f.config())
			mustGet(t, c, "/redfish/v1/Systems/1")
			cfg := f.config()
			cfg.Credentials.Password = "wrong"
			_, err := broker.Dial(t.Context(), cfg)
			wantKind(t, err, bmc.ErrBadCredentials)
		})
	}
}

func TestSessionsElsewhere(t *testing.T) {
	f := newFakeBMC(t)
	f.handler = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/redfish/v1/":
			fmt.Fprint(w, `{"Links":{"Sessions":{"@odata.id":"/redfish/v1/Sessions/"}}}`)
		case sessionsPath:
			w.WriteHeader(http.StatusNotFound)
		case "/redfish/v1/Sessions/":
			r.URL.Path = sessionsPath
			return false
		default:
			return false
		}
		return true
	}
	c := dial(t, f.config())
	mustGet(t, c, "/redfish/v1/Systems/1")
	if f.open() != 1 {
		t.Errorf("%d sessions, want 1", f.open())
	}
}

func TestPasswordChangeRequired(t *testing.T) {
	const info = `{"@Message.ExtendedInfo":[{"MessageId":"Base.1.18.PasswordChangeRequired","MessageArgs":["/redfish/v1/AccountService/Accounts/2"]}]}`
	for _, sessionStatus := range []int{http.StatusCreated, http.StatusForbidden} {
		t.Run(http.StatusText(sessionStatus), func(t *testing.T) {
			f := newFakeBMC(t)
			f.handler = func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.URL.Path == sessionsPath && r.Method == http.MethodPost:
					if sessionStatus == http.StatusCreated {
						w.Header().Set("X-Auth-Token", "token-x")
						w.Header().Set("Location", sessionsPath+"/x")
						f.set(func() { f.sessions[sessionsPath+"/x"] = "token-x" })
					}
					w.WriteHeader(sessionStatus)
					fmt.Fprint(w, info)
				case r.Method == http.MethodDelete:
					return false
				case r.Method == http.MethodPatch && r.URL.Path == "/redfish/v1/AccountService/Accounts/2":
					w.WriteHeader(http.StatusNoContent)
				default:
					w.WriteHeader(http.StatusForbidden)
					fmt.Fprint(w, strings.Replace(`{"error":X}`, "X", info, 1))
				}
				return true
			}
			c := dial(t, f.config())
			at, required := c.PasswordChange()
			if !required || at != "/redfish/v1/AccountService/Accounts/2" {
				t.Errorf("PasswordChange() = %q, %v", at, required)
			}
			_, err := c.Get(t.Context(), "/redfish/v1/Systems", "")
			wantKind(t, err, bmc.ErrPasswordChange)
			if _, err := c.Do(t.Context(), http.MethodPatch, at, map[string]string{"Password": "x"}, broker.Options{}); err != nil {
				t.Errorf("the one PATCH: %v", err)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	f := newFakeBMC(t)
	c := dial(t, f.config())
	fail := 0
	f.set(func() {
		f.handler = func(w http.ResponseWriter, r *http.Request) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			if fail == 0 || r.Method == http.MethodDelete {
				return false
			}
			fail--
			switch r.URL.Query().Get("how") {
			case "reset":
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					_ = conn.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
			case "busy":
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(http.StatusServiceUnavailable)
			case "long":
				w.Header().Set("Retry-After", "300")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return true
		}
	})
	for _, tt := range []struct {
		how    string
		fails  int
		method string
		want   error
		sent   int
	}{
		{"reset", 2, http.MethodGet, nil, 3},
		{"reset", 1, http.MethodPatch, bmc.ErrUnreachable, 1},
		{"busy", 2, http.MethodGet, nil, 3},
		{"busy", 3, http.MethodGet, bmc.ErrBusy, 3},
		{"busy", 1, http.MethodPatch, bmc.ErrBusy, 1},
		{"long", 1, http.MethodGet, bmc.ErrBusy, 1},
	} {
		t.Run(fmt.Sprint(tt.how, tt.fails, tt.method), func(t *testing.T) {
			f.set(func() { fail, f.log = tt.fails, nil })
			_, err := c.Do(t.Context(), tt.method, "/redfish/v1/Systems/1?how="+tt.how, struct{}{}, broker.Options{})
			if tt.want == nil && err != nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if n := f.count(tt.method); n != tt.sent {
				t.Errorf("sent %d times, want %d", n, tt.sent)
			}
			f.set(func() { fail = 0 })
			mustGet(t, c, "/redfish/v1/Systems/1")
		})
	}
}

func TestBreaker(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	clock := cfg.Clock.(*fakeClock)
	c := dial(t, cfg)
	f.set(func() {
		f.handler = func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
	})
	for range 5 {
		_, err := c.Get(t.Context(), "/redfish/v1/Systems", "")
		wantKind(t, err, bmc.ErrServer)
	}
	_, err := c.Get(t.Context(), "/redfish/v1/Systems", "")
	wantKind(t, err, bmc.ErrBreakerOpen)
	if n := f.count("GET"); n != 5 {
		t.Errorf("%d requests sent, want 5", n)
	}
	_ = clock.Sleep(t.Context(), time.Minute)
	f.set(func() { f.handler = nil })
	mustGet(t, c, "/redfish/v1/Systems")
}

func TestBounds(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	cfg.Limits = broker.Limits{Body: 1000, Request: 200 * time.Millisecond, InFlight: 2}
	c := dial(t, cfg)
	var now, most int
	stop := make(chan struct{})
	f.set(func() {
		f.handler = func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/redfish/v1/Big":
				_, _ = io.WriteString(w, strings.Repeat("x", 2000))
			case "/redfish/v1/Drip":
				for range 100 {
					_, _ = io.WriteString(w, " ")
					w.(http.Flusher).Flush()
					select {
					case <-time.After(20 * time.Millisecond):
					case <-r.Context().Done():
						return true
					}
				}
			case "/redfish/v1/Count":
				f.set(func() { now++; most = max(most, now) })
				select {
				case <-stop:
				case <-r.Context().Done():
				}
				f.set(func() { now-- })
			default:
				return false
			}
			return true
		}
	})
	_, err := c.Get(t.Context(), "/redfish/v1/Big", "")
	wantKind(t, err, bmc.ErrTooLarge)
	_, err = c.Get(t.Context(), "/redfish/v1/Drip", "")
	wantKind(t, err, bmc.ErrUnreachable)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	_, err = c.Get(ctx, "/redfish/v1/Drip", "")
	cancel()
	wantKind(t, err, bmc.ErrIncomplete)

	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { _, _ = c.Get(t.Context(), "/redfish/v1/Count", "") })
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		f.mu.Lock()
		reached := now == 2
		f.mu.Unlock()
		if reached || time.Now().After(deadline) {
			break
		}
		runtime.Gosched()
	}
	close(stop)
	wg.Wait()
	if most != 2 {
		t.Errorf("%d requests in flight, want 2", most)
	}
}
