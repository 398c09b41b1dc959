package server

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cagenut/cagenut/internal/config"
)

// pulse knows when a worker's last heartbeat arrived. A nil pulse keeps nothing.
type pulse struct{ last atomic.Int64 } // Unix nanoseconds; 0: never

func (p *pulse) beat() {
	if p != nil {
		p.last.Store(time.Now().UnixNano())
	}
}

// workerHandler serves a worker's metrics, liveness and readiness. A worker is ready while Temporal
// answers and its heartbeats arrive.
func workerHandler(m *Metrics, p *pulse) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the process lives") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		last := p.last.Load()
		switch ago := time.Since(time.Unix(0, last)); {
		case last == 0:
			http.Error(w, "not ready: no heartbeat has arrived yet; Temporal, or the API or PostgreSQL, may be away", http.StatusServiceUnavailable)
		case ago > config.SiteAwayAfter:
			http.Error(w, fmt.Sprintf("not ready: the last heartbeat arrived %s ago", ago.Round(time.Second)), http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "working")
		}
	})
	return mux
}
