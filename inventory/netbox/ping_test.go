package netbox_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/inventory"
)

// Ping must look at what it claims: an account that may read everything and write nothing is not one
// with the rights that Cagenut needs.
func TestPingSeesWhetherTheTokenMayChangeDevices(t *testing.T) {
	server := box(t)
	admin, own := server.Client(t, server.AdminToken, nil), server.Client(t, server.Token, nil)
	if _, err := admin.Setup(t.Context(), inventory.SetupOptions{User: netboxload.ServiceAccount}, true); err != nil {
		t.Fatal(err)
	}
	lacks := func() bool {
		t.Helper()
		st, err := own.Ping(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(st.Missing, func(m string) bool { return strings.Contains(m, "permission to change dcim.device") })
	}
	if lacks() {
		t.Error("after setup, Ping misses the permission that is there")
	}
	var found struct{ Results []struct{ ID int64 } }
	server.Must(t, http.MethodGet, "users/permissions/?name=cagenut+write+status", nil, &found)
	if len(found.Results) != 1 {
		t.Fatalf("%d permissions", len(found.Results))
	}
	server.Must(t, http.MethodPatch, "users/permissions/"+strconv.FormatInt(found.Results[0].ID, 10)+"/", map[string]any{"enabled": false}, nil)
	if !lacks() {
		t.Error("the permission to write is gone, and Ping says nothing")
	}
}
