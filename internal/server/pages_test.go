package server

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/web"
	"github.com/cagenut/cagenut/internal/web/webtest"
)

// What the pages ask of their store, PostgreSQL gives.
var _ web.Store = (*postgres.Store)(nil)

// listener is a listener that says that it is somewhere.
type listener struct {
	net.Listener
	at string
}

func (l listener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(l.at), Port: 7780}
}

func TestPagesBesideTheAPI(t *testing.T) {
	a := apitest.Start(t, 1)
	store, records := webtest.Scene(time.Now())
	for _, tt := range []struct {
		at, path string
		status   int
		says     string
	}{
		{"127.0.0.1", "/", 200, "waits for a person"},
		{"::1", "/operations", 200, "install of 12"},
		{"127.0.0.1", "/healthz", 200, "ok"},
		{"127.0.0.1", "/openapi.json", 200, "openapi"},
		{"127.0.0.1", "/v1/operations", 401, "bearer"},
		{"127.0.0.1", "/v1/nothing", 404, "urn:cagenut:fault:not_found"},
		{"127.0.0.1", "/nothing", 404, "Where to go on"},
		{"10.1.2.3", "/", 403, "ssh -L"},
		{"0.0.0.0", "/", 403, "sign-in"},
		{"::", "/", 403, "sign-in"},
		{"10.1.2.3", "/operations", 404, "urn:cagenut:fault:not_found"},
		{"10.1.2.3", "/live", 404, "urn:cagenut:fault:not_found"},
		{"10.1.2.3", "/healthz", 200, "ok"},
		{"10.1.2.3", "/v1/operations", 401, "bearer"},
	} {
		h, err := withPages(a.Server, listener{at: tt.at}, web.Options{Store: store, Inventory: records, Log: silent})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(h)
		res, err := http.Get(srv.URL + tt.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		srv.Close()
		if res.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s on %s: HTTP %d, want %d with %q\n%.400s", tt.path, tt.at, res.StatusCode, tt.status, tt.says, body)
		}
	}
}
