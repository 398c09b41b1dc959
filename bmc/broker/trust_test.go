package broker_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

func TestTLS(t *testing.T) {
	f := newFakeBMC(t)
	real := broker.Fingerprint(f.Certificate())
	other := strings.Repeat("AB:", 31) + "AB"
	ca := func(c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	for _, tt := range []struct {
		name    string
		pin, ca string
		want    error
	}{
		{"first contact", "", "", nil},
		{"pin", real, "", nil},
		{"pin in small letters without colons", strings.ToLower(strings.ReplaceAll(real, ":", "")), "", nil},
		{"wrong pin", other, "", bmc.ErrPinChanged},
		{"CA", "", ca(f.Certificate()), nil},
		{"CA before pin", other, ca(f.Certificate()), nil},
		{"CA of another name", "", selfSigned(t), bmc.ErrCertificate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := f.config()
			cfg.Endpoint.Pin, cfg.Endpoint.CA = tt.pin, tt.ca
			c, err := broker.Dial(t.Context(), cfg)
			if tt.want != nil {
				wantKind(t, err, tt.want)
				if errors.Is(tt.want, bmc.ErrPinChanged) && (!strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), real)) {
					t.Errorf("%v does not name both certificates", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context())
			if c.Fingerprint() != real {
				t.Errorf("Fingerprint() = %s, want %s", c.Fingerprint(), real)
			}
		})
	}
}

func TestOnlyAllowedAddresses(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	_, err := broker.Dial(t.Context(), cfg)
	wantKind(t, err, bmc.ErrNotAllowed)
	cfg.Allow = nil
	_, err = broker.Dial(t.Context(), cfg)
	wantKind(t, err, bmc.ErrNotAllowed)
	if f.count("") != 0 {
		t.Errorf("requests reached a BMC that may not be dialled: %v", f.log)
	}
	cfg.Explicit = true
	c := dial(t, cfg)
	for _, path := range []string{"https://192.0.2.1/redfish/v1/", "//192.0.2.1/redfish/v1", "http://" + f.host + "/redfish/v1/", "redfish/v1", ""} {
		_, err := c.Get(t.Context(), path, "")
		wantKind(t, err, bmc.ErrNotAllowed)
	}
	mustGet(t, c, f.URL+"/redfish/v1/Systems/1")
	f.set(func() {
		f.handler = func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/redfish/v1/Away":
				http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
			case "/redfish/v1/Systems":
				http.Redirect(w, r, "/redfish/v1/Systems/", http.StatusPermanentRedirect)
			default:
				return false
			}
			return true
		}
	})
	_, err = c.Get(t.Context(), "/redfish/v1/Away", "")
	wantKind(t, err, bmc.ErrNotAllowed)
	mustGet(t, c, "/redfish/v1/Systems")
	_, err = c.Do(t.Context(), http.MethodPost, "/redfish/v1/Systems", struct{}{}, broker.Options{})
	wantKind(t, err, bmc.ErrNotAllowed)
}

// Two crashes around a change of host name leave two sessions behind a certificate that is not the
// pinned one. That is what is said, not that the BMC is full: only then is its serial proved again.
func TestAChangedCertificateIsSaidBeforeAFullBMC(t *testing.T) {
	f := newFakeBMC(t)
	cfg := f.config()
	cfg.StateDir = t.TempDir()
	at := cfg.Clock.Now().Format(time.RFC3339)
	var left strings.Builder
	for n := 1; n <= 2; n++ {
		uri := fmt.Sprintf("%s/lost-%d", sessionsPath, n)
		f.set(func() { f.sessions[uri] = "gone" })
		fmt.Fprintf(&left, `{"n":%d,"event":"open","at":%q,"address":%q,"user":"admin","uri":%q}`+"\n", n, at, f.host, uri)
	}
	writeFile(t, filepath.Join(cfg.StateDir, strings.ReplaceAll(f.host, ":", "_")+".sessions"), left.String())
	cfg.Endpoint.Pin = strings.Repeat("AB:", 31) + "AB"
	_, err := broker.Dial(t.Context(), cfg)
	wantKind(t, err, bmc.ErrPinChanged)
	if n := f.open(); n != 2 {
		t.Errorf("%d sessions are open, want the 2 that were left", n)
	}
	cfg.Endpoint.Pin = broker.Fingerprint(f.Certificate())
	dial(t, cfg)
	if n := f.open(); n != 1 {
		t.Errorf("%d sessions are open, want ours alone", n)
	}
}
