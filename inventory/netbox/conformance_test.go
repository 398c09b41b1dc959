package netbox_test

import (
	"net/http/httptest"
	"testing"

	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/internal/sim/netboxsim"
	"github.com/cagenut/cagenut/inventory/inventorytest"
	"github.com/cagenut/cagenut/inventory/netbox/netboxtest"
)

const adminToken = "nbt_testadmin001.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// box starts the box's NetBox with the service account on it.
func box(t *testing.T) netboxtest.Server {
	t.Helper()
	sim, err := netboxsim.Open(netboxsim.Options{Dir: t.TempDir(), AdminToken: adminToken})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(sim)
	t.Cleanup(func() {
		web.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	token, err := netboxload.Account(t.Context(), web.URL, adminToken)
	if err != nil {
		t.Fatal(err)
	}
	return netboxtest.Server{URL: web.URL, AdminToken: adminToken, Token: token}
}

func TestConformanceOnTheBox(t *testing.T) {
	inventorytest.Run(t, netboxtest.Harness(t, box(t)))
}
