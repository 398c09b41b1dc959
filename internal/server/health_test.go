package server

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/config"
)

func TestWorkerReadiness(t *testing.T) {
	p := &pulse{}
	h := workerHandler(NewMetrics(), p)
	want := func(path string, status int) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != status {
			t.Errorf("%s: %d %s; want %d", path, w.Code, w.Body, status)
		}
	}
	want("/healthz", 200)
	want("/readyz", 503)
	p.beat()
	want("/readyz", 200)
	want("/metrics", 200)
	p.last.Store(time.Now().Add(-config.SiteAwayAfter - time.Second).UnixNano())
	want("/readyz", 503)
	want("/other", 404)
}
