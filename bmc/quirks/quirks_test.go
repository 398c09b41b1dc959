package quirks

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPathsMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"Sessions", "/redfish/v1/SessionService/Sessions/1", true},
		{"Sessions", "/redfish/v1/SessionService", false},
		{"sessions", "/redfish/v1/Sessions/", true},
		{"Oem/*/LEDs", "/redfish/v1/Chassis/1/Oem/Lenovo/LEDs/3", true},
		{"Oem/*/LEDs", "/redfish/v1/Chassis/1/Oem/LEDs/3", false},
		{"Systems/*/Pending", "/redfish/v1/Systems/1/Pending", true},
		{"Systems/*/Pending", "/redfish/v1/Systems/1", false},
		{"*/Pending", "/redfish/v1/Systems/1/Pending", true},
		{"Oem/Dell/X", "/redfish/v1/Oem/Oem/Dell/X", true},
		{"Metrics", "/redfish/v1/Chassis/1/ThermalMetrics", false},
	} {
		if got := NewPaths([]string{c.pattern}).Match(c.path); got != c.want {
			t.Errorf("NewPaths(%q).Match(%q) = %v, want %v", c.pattern, c.path, got, c.want)
		}
	}
}

func TestForMergesRows(t *testing.T) {
	rows := []Quirk{
		{Name: "common", Identity: []string{"A"}, Skip: []string{"x"}},
		{Name: "dell", Match: Match{Vendor: []string{"dell"}}, Identity: []string{"B"}, Skip: []string{"y"}, InFlight: 3},
		{Name: "old", Match: Match{Vendor: []string{"dell"}, Firmware: []string{"2."}}, InFlight: 2, NoExpand: true, Types: map[string]string{"D": "Drive"}},
		{Name: "other", Match: Match{Vendor: []string{"hpe"}}, InFlight: 1},
	}
	got := profile(rows, Facts{Vendor: "Dell Inc.", Firmware: "2.80"})
	want := Profile{Names: []string{"dell", "old"}, Identity: []string{"B"}, Skip: []string{"x", "y"}, InFlight: 2, NoExpand: true,
		Types: map[string]string{"D": "Drive"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
}

// A row without a reason or with a name twice cannot be discussed; one that a fact can never meet
// does nothing.
func TestTableRows(t *testing.T) {
	seen := map[string]bool{}
	for _, q := range Table() {
		if q.Name == "" || q.Reason == "" || seen[q.Name] {
			t.Errorf("row %q: needs a name of its own and a reason", q.Name)
		}
		seen[q.Name] = true
	}
	dell := For(Facts{Vendor: "Dell"})
	if len(dell.Identity) == 0 || dell.Identity[0] != "ComputerSystem.SKU" {
		t.Errorf("Dell is identified by %v, want the service tag (ComputerSystem.SKU) first", dell.Identity)
	}
	if unknown := For(Facts{}); len(unknown.Names) != 0 || !slices.Contains(unknown.Skip, "JsonSchemas") {
		t.Errorf("an unknown BMC gets %+v, want the common row only", unknown)
	}
	if old := For(Facts{Vendor: "HPE", Manager: "iLO 4"}); len(old.CipherSuites) == 0 {
		t.Error("iLO 4 gets no cipher suites")
	}
}
