package agent

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Only the boot service that is meant is spoken to.
func TestTrust(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	own, other := fmt.Sprintf("%X", sha256.Sum256(srv.Certificate().Raw)), strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		pem  []byte
		pin  string
		want string
	}{
		"its CA":              {ca, "", ""},
		"its fingerprint":     {nil, own, ""},
		"both":                {ca, own, ""},
		"another fingerprint": {ca, other, "no certificate of the boot service has the fingerprint"},
		"nobody's":            {nil, "", "certificate"},
		"no fingerprint":      {nil, "sha1", "64 hexadecimal digits"},
		"no certificate":      {[]byte("x"), "", "holds no certificate"},
		"another host":        {nil, own, "127.0.0.2"},
	} {
		host := "127.0.0.1"
		if name == "another host" {
			host = "127.0.0.2"
		}
		trust, err := Trust(c.pem, c.pin, host)
		if err == nil {
			h := NewHTTP(trust)
			_, err = client{http: h, base: srv.URL}.ask(t.Context(), http.MethodGet, "/", nil, nil)
			h.CloseIdleConnections()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
