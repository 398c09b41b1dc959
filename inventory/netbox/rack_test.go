package netbox_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/inventory"
)

// TestRackReadsWhatItCan has a NetBox with choices, numbers as text, and things that ours does not know.
func TestRackReadsWhatItCan(t *testing.T) {
	c := wire(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/dcim/racks/"):
			reply(w, 200, `{"count":1,"results":[{"id":3,"name":"r1","site":{"id":1,"slug":"ams01","name":"A"},"u_height":42,"starting_unit":5,"desc_units":true,"new":{}}]}`)
		case strings.HasSuffix(r.URL.Path, "/dcim/devices/"):
			reply(w, 200, `{"count":3,"results":[
				{"id":9,"name":null,"serial":"","status":{"value":"quarantine"},"position":"7.5","face":{"value":"rear"},"device_type":{"id":4,"model":"M"},"role":null},
				{"id":8,"name":"deep","status":"active","position":11,"face":"front","device_type":{"id":4,"model":"M"}},
				{"id":10,"name":"odd","status":{"value":"active"},"position":{},"face":null,"device_type":null}]}`)
		case strings.HasSuffix(r.URL.Path, "/dcim/device-types/"):
			reply(w, 200, `{"count":1,"results":[{"id":4,"u_height":"1.5","is_full_depth":true}]}`)
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	})
	got, err := c.Rack(t.Context(), "ams01", "r1")
	if err != nil {
		t.Fatal(err)
	}
	kind := inventory.Named{ID: 4, Name: "M"}
	want := inventory.Rack{ID: 3, Name: "r1", Site: inventory.Named{ID: 1, Slug: "ams01", Name: "A"}, Height: 42, Lowest: 5, Descending: true,
		Devices: []inventory.RackDevice{
			{ID: 8, Name: "deep", Status: "active", Type: kind, Position: 11, Face: "front", Height: 1.5, FullDepth: true},
			{ID: 9, Status: "quarantine", Type: kind, Position: 7.5, Face: "rear", Height: 1.5, FullDepth: true},
			{ID: 10, Name: "odd", Status: "active"},
		}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rack (-want +got):\n%s", diff)
	}
}
