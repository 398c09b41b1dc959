package drivers_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/drivers"
)

// twins are two machines of one model that take turns at one address: the same certificate from the
// factory, the same resources, and ETags that count alike. Only their serials differ.
func twins(t *testing.T) (address string, second *atomic.Bool) {
	t.Helper()
	second = &atomic.Bool{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serial := "ONE"
		if second.Load() {
			serial = "TWO"
		}
		link := func(p string) map[string]string { return map[string]string{"@odata.id": p} }
		tree := map[string]any{
			"/redfish/v1": map[string]any{"Systems": link("/redfish/v1/Systems"), "Links": map[string]any{"Sessions": link("/redfish/v1/SessionService/Sessions")}},
			"/redfish/v1/Systems": map[string]any{
				"Members": []any{link("/redfish/v1/Systems/1")}},
			"/redfish/v1/Systems/1": map[string]any{"@odata.type": "#ComputerSystem.v1_9_0.ComputerSystem", "Id": "1", "SerialNumber": serial,
				"Memory": link("/redfish/v1/Systems/1/Memory")},
			"/redfish/v1/Systems/1/Memory":   map[string]any{"Members": []any{link("/redfish/v1/Systems/1/Memory/1")}},
			"/redfish/v1/Systems/1/Memory/1": map[string]any{"@odata.type": "#Memory.v1_9_0.Memory", "Id": "1", "SerialNumber": "DIMM-" + serial, "CapacityMiB": 1024},
		}
		body, ok := tree[strings.TrimSuffix(r.URL.Path, "/")]
		switch {
		case r.Method == http.MethodPost:
			w.Header().Set("X-Auth-Token", "t")
			w.Header().Set("Location", r.URL.Path+"/1")
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("If-None-Match") != "":
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"1"`)
			_ = json.NewEncoder(w).Encode(body)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://"), second
}

func TestIdentityIsNotRemembered(t *testing.T) {
	address, second := twins(t)
	o := drivers.New(drivers.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(func() { _ = o.Close(t.Context()) })
	e := bmc.Endpoint{Protocol: bmc.Redfish, Address: address}
	read := func() (bmc.Identity, string) {
		t.Helper()
		c, err := o.Open(t.Context(), e, bmc.Credentials{User: "root", Password: "calvin"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		inv, err := c.Read(t.Context(), bmc.ScopeHardware)
		if err != nil || len(inv.Memory) != 1 {
			t.Fatalf("Read: %+v, %v", inv, err)
		}
		id, err := c.Identify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return id, inv.Memory[0].Serial
	}
	id, _ := read() // first contact
	e.Pin = id.Fingerprint
	read()
	for _, want := range []string{"ONE", "TWO", "ONE"} {
		second.Store(want == "TWO")
		if id, dimm := read(); id.Serial != want || dimm != "DIMM-"+want {
			t.Errorf("serial %s and memory %s, want those of %s", id.Serial, dimm, want)
		}
	}
}

// A BMC that knows RSA key exchange only is reached where its profile says so, and only there.
func TestOldCiphers(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}} //nolint:gosec // such BMCs are
	s.StartTLS()
	t.Cleanup(s.Close)
	o := drivers.New(drivers.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(func() { _ = o.Close(t.Context()) })
	for _, old := range []bool{false, true, false} {
		c, err := o.Open(t.Context(), bmc.Endpoint{Protocol: bmc.Redfish, Address: strings.TrimPrefix(s.URL, "https://"), OldCiphers: old}, bmc.Credentials{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Identify(t.Context())
		if reached := errors.Is(err, bmc.ErrUnsupported); reached != old { // it answers 404
			t.Errorf("old ciphers %v: %v", old, err)
		}
		if !old && !strings.Contains(err.Error(), "bmc.old_ciphers") {
			t.Errorf("%v does not say what helps", err)
		}
		c.Close(t.Context())
	}
}
