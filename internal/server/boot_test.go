package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
)

// A site's worker serves firmware and the boot service side by side.
func TestSiteHandler(t *testing.T) {
	door := apitest.Start(t, 1).As(t, operation.Worker, "ams01")
	set, err := Templates(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	h, err := siteHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "firmware") }), door, set, "http://boot.example:8080", silent)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/firmware/x/y": "firmware", "/boot/mac/02:00:00:00:00:01": "#!ipxe\n# no operation boots",
		"/agent/v1/none/next?wait=0": "nobody made this one-time token", "/elsewhere": "404"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("GET %s: HTTP %d: %s", path, rec.Code, rec.Body)
		}
	}
}
