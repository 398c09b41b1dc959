//go:build e2e

package saltlab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/cagenut/cagenut/internal/devstack"
)

// Hosts runs real minions for the hosts of a box, which asks at the URL (devstack.Options.MinionsURL).
// A minion whose host was installed anew has another key. network is called before a minion starts: it makes
// the network that its host found in the installer's answers.
func (l *Lab) Hosts(t *testing.T, network func(id string) error) (url string) {
	t.Helper()
	var mu sync.Mutex
	seeds, keys, up := map[string]string{}, map[string]string{}, map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m devstack.Minion
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/stop" && seeds[m.ID] != m.Seed {
			keys[m.ID], seeds[m.ID] = l.NewMinion(t, m.ID), m.Seed
			up[m.ID] = false
		}
		switch r.URL.Path {
		case "/fingerprint":
			fmt.Fprint(w, keys[m.ID])
		case "/start":
			if err := network(m.ID); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			if !up[m.ID] {
				l.StartMinion(t, m.ID)
				up[m.ID] = true
			}
		case "/stop":
			l.StopMinion(t, m.ID)
			up[m.ID] = false
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
