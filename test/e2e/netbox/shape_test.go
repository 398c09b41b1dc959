//go:build e2e

package netbox

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/internal/sim/netboxsim"
	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox/netboxtest"
)

// TestBoxAnswersInTheShapesOfTheRealOne loads one rack into both and compares the field sets of what
// the driver, the loader and Setup read, nested objects included.
func TestBoxAnswersInTheShapesOfTheRealOne(t *testing.T) {
	fresh(t)
	box, err := netboxsim.Open(netboxsim.Options{AdminToken: server.AdminToken})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(box)
	defer web.Close()
	if _, err := netboxload.Account(t.Context(), web.URL, server.AdminToken); err != nil {
		t.Fatal(err)
	}
	both := map[string]netboxtest.Server{"real": server.Server, "box": {URL: web.URL, AdminToken: server.AdminToken}}
	rack := sim.NewRack(sim.Site{Name: "Shapes", Slug: "shapes", Status: "active"}, 77, 1, []string{sim.FlavourDell})
	device := rack.Devices[len(rack.Devices)-1].Name
	for i := range rack.Devices { // a few ports of each switch are enough
		rack.Devices[i].Interfaces = rack.Devices[i].Interfaces[:min(3, len(rack.Devices[i].Interfaces))]
	}
	shapes := map[string]map[string][]string{}
	for name, s := range both {
		if err := netboxload.LoadRack(t.Context(), s.URL, s.AdminToken, rack); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Client(t, s.AdminToken, nil).Setup(t.Context(), inventory.SetupOptions{
			User: netboxload.ServiceAccount, WebhookURL: "http://127.0.0.1:9/hook", WebhookKey: "k"}, true); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var site, cluster, prefixes struct {
			Results []struct{ ID int64 }
			ID      int64
		}
		s.Must(t, http.MethodGet, "dcim/sites/?slug=shapes", nil, &site)
		s.Must(t, http.MethodGet, "ipam/prefixes/?site=shapes&role=primary", nil, &prefixes)
		ids := func(path, key string) int64 {
			var made struct{ ID int64 }
			s.Must(t, http.MethodPost, path, map[string]any{"name": key, "slug": key}, &made)
			return made.ID
		}
		ids("tenancy/tenants/", "shapes-tenant")
		platform := ids("dcim/platforms/", "shapes-platform")
		s.Must(t, http.MethodPost, "dcim/locations/", map[string]any{"name": "shapes", "slug": "shapes", "site": site.Results[0].ID}, &cluster)
		var devices struct{ Results []struct{ ID int64 } }
		s.Must(t, http.MethodGet, "dcim/devices/?name="+device, nil, &devices)
		s.Must(t, http.MethodPatch, fmt.Sprintf("dcim/devices/%d/", devices.Results[0].ID), map[string]any{
			"platform": platform, "tags": []any{map[string]any{"slug": "cagenut"}}, "tenant": map[string]any{"slug": "shapes-tenant"}}, nil)

		shapes[name] = map[string][]string{}
		for _, path := range []string{
			"status/", "authentication-check/",
			"dcim/sites/?slug=shapes", "dcim/racks/?site=shapes", "dcim/locations/?slug=shapes", "dcim/manufacturers/?slug=dell",
			"dcim/device-types/?slug=dell-poweredge-r660", "dcim/device-roles/?slug=server", "dcim/platforms/?slug=shapes-platform",
			"dcim/devices/?name=" + device, "dcim/devices/?brief=1&name=" + device, "dcim/devices/?fields=id,name&name=" + device,
			"dcim/devices/?omit=config_context&name=" + device, fmt.Sprintf("dcim/devices/%d/", devices.Results[0].ID),
			"dcim/interfaces/?limit=1&device=" + device, fmt.Sprintf("dcim/mac-addresses/?limit=1&device_id=%d", devices.Results[0].ID),
			fmt.Sprintf("dcim/cables/?limit=1&device_id=%d", devices.Results[0].ID), fmt.Sprintf("ipam/ip-addresses/?device_id=%d", devices.Results[0].ID),
			"ipam/prefixes/?limit=1&site=shapes", "ipam/roles/?slug=primary", "tenancy/tenants/?slug=shapes-tenant", "dcim/devices/?bogus=1&limit=1",
			"extras/tags/?slug=cagenut", "extras/custom-fields/?name=cagenut_operation", "extras/webhooks/?name=cagenut", "extras/event-rules/?name=cagenut",
			"users/users/?username=cagenut", "users/permissions/?limit=1", "users/tokens/?limit=1&user_id=2", "core/object-changes/?limit=1&changed_object_type=dcim.device",
			fmt.Sprintf("ipam/prefixes/%d/available-ips/?limit=1", prefixes.Results[0].ID),
			// Refusals have shapes, too.
			"dcim/devices/?id=x", "dcim/devices/?status=weird", "dcim/devices/?site=nowhere", "ipam/prefixes/?role=nowhere", "dcim/devices/99999/",
		} {
			var v any
			err := s.Call(t.Context(), http.MethodGet, path, nil, &v)
			if err != nil {
				v = strings.TrimPrefix(err.Error(), "GET "+path)
			}
			generic := strings.ReplaceAll(path, fmt.Sprint(devices.Results[0].ID), "ID")
			generic = strings.ReplaceAll(generic, fmt.Sprintf("prefixes/%d", prefixes.Results[0].ID), "prefixes/ID")
			shapes[name][generic] = shape("", v)
		}
	}
	if diff := cmp.Diff(shapes["real"], shapes["box"]); diff != "" {
		t.Errorf("fields (-real +box):\n%s", diff)
	}
}

// shape lists the paths and JSON types in a value. An empty list and null say nothing about what could
// be there, and what they hold is not compared.
func shape(path string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		var out []string
		for k, x := range v {
			if path+"."+k == ".installed_apps" || strings.HasSuffix(path+"."+k, "change_data") {
				continue
			}
			out = append(out, shape(path+"."+k, x)...)
		}
		slices.Sort(out)
		return slices.Compact(out)
	case []any:
		if len(v) == 0 {
			return []string{path + "[]"}
		}
		return shape(path+"[]", v[0])
	case string:
		if path == "" {
			return []string{v} // an error
		}
		return []string{path + " string"}
	case float64:
		return []string{path + " number"}
	case bool:
		return []string{path + " bool"}
	}
	return []string{path + " null"}
}
