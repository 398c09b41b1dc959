package sim_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// ready is a machine whose password need not be changed.
func ready(flavour string) sim.MachineSpec {
	return sim.MachineSpec{Flavour: flavour, PasswordSet: true}
}

// walk reads everything that is linked and gives the bodies by path.
func walk(c *simtest.Client) map[string]map[string]any {
	seen := map[string]map[string]any{}
	todo := []string{"/redfish/v1"}
	for len(todo) > 0 {
		path := todo[0]
		todo = todo[1:]
		if _, done := seen[path]; done {
			continue
		}
		body := c.Get(path)
		seen[path] = body
		todo = append(todo, links(body)...)
		if next, more := body["Members@odata.nextLink"].(string); more {
			todo = append(todo, next)
		}
	}
	return seen
}

func links(v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			if id, isText := x.(string); isText && key == "@odata.id" && !strings.Contains(id, "#") {
				out = append(out, id)
			} else if key == "Uri" {
				out = append(out, x.(string))
			}
			out = append(out, links(x)...)
		}
	case []any:
		for _, x := range v {
			out = append(out, links(x)...)
		}
	}
	return out
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, flavour := range sim.Flavours() {
		t.Run(flavour, func(t *testing.T) {
			box := simtest.Start(t, ready(flavour))
			m := box.Machines()[0]
			tree := walk(simtest.Login(t, m))
			if len(tree) < 80 {
				t.Errorf("only %d resources", len(tree))
			}
			// Everything that identifies the machine can be read somewhere.
			var all strings.Builder
			for path, body := range tree {
				if id, has := body["@odata.id"].(string); has && !strings.EqualFold(id, strings.SplitN(path, "?", 2)[0]) {
					t.Errorf("%s says that it is %s", path, id)
				}
				for _, key := range []string{"SerialNumber", "SKU", "MACAddress", "Version"} {
					s, _ := body[key].(string)
					all.WriteString(s + "\n")
				}
			}
			s := m.Spec()
			for _, want := range append(slices.Clone(s.MACs), s.Serial) {
				if !strings.Contains(all.String(), want) {
					t.Errorf("%s is nowhere in the tree", want)
				}
			}
			for component, version := range m.Summary().Firmware {
				if !strings.Contains(all.String(), version) {
					t.Errorf("version %s of %s is nowhere in the tree", version, component)
				}
			}
		})
	}
}

func TestMissingAndFailedParts(t *testing.T) {
	box := simtest.Start(t, sim.MachineSpec{
		Flavour: sim.FlavourBase, PasswordSet: true, Missing: []string{"NVMe3", "DIMM1"}, Failed: []string{"PSU2"},
	})
	c := simtest.Login(t, box.Machines()[0])
	if n := c.Get("/redfish/v1/Systems/1/Storage/NVMe1")["Drives@odata.count"]; n != 3.0 {
		t.Errorf("drives: got %v, want 3", n)
	}
	c.Do(http.StatusNotFound, "GET", "/redfish/v1/Systems/1/Storage/NVMe1/Drives/NVMe3", nil)
	if s := simtest.At(c.Get("/redfish/v1/Systems/1/Memory/DIMM1"), "Status", "State"); s != "Absent" {
		t.Errorf("state of the missing DIMM: %v", s)
	}
	if gib := simtest.At(c.Get("/redfish/v1/Systems/1"), "MemorySummary", "TotalSystemMemoryGiB"); gib != 15*32.0 {
		t.Errorf("memory: got %v GiB, want 480", gib)
	}
	if h := simtest.At(c.Get("/redfish/v1/Chassis/1U/PowerSubsystem/PowerSupplies/PSU2"), "Status", "Health"); h != "Critical" {
		t.Errorf("health of the failed PSU: %v", h)
	}
	if h := simtest.At(c.Get("/redfish/v1/Systems/1"), "Status", "HealthRollup"); h != "Critical" {
		t.Errorf("rolled up health: %v", h)
	}
}

func TestExpand(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase), ready(sim.FlavourSupermicro))
	c := simtest.Login(t, box.Machines()[0])
	drives := c.Get("/redfish/v1/Systems/1/Storage?$expand=.($levels=1)")
	if name := simtest.At(drives, "Members", 0, "Name"); name != "RAID Controller" {
		t.Errorf("one level: Members[0].Name is %v", name)
	}
	if simtest.At(drives, "Members", 0, "Drives", 0, "Model") != nil {
		t.Error("one level expanded two")
	}
	drives = c.Get("/redfish/v1/Systems/1/Storage?$expand=.($levels=2)")
	if model := simtest.At(drives, "Members", 0, "Drives", 0, "Model"); model != "MZ7L3480HCHQ" {
		t.Errorf("two levels: Drives[0].Model is %v", model)
	}
	if links := simtest.At(drives, "Members", 0, "Links", "Enclosures", 0, "Name"); links != nil {
		t.Errorf("Links was expanded by '.': %v", links)
	}
	all := c.Get("/redfish/v1/Systems/1/Storage/RAID1?$expand=~")
	if links := simtest.At(all, "Links", "Enclosures", 0, "Name"); links != "Chassis" {
		t.Errorf("Links was not expanded by '~': %v", links)
	}
	c.Do(http.StatusBadRequest, "GET", "/redfish/v1/Systems?$expand=.($levels=x)", nil)
	c.Do(http.StatusNotImplemented, "GET", "/redfish/v1/Systems?$filter=x", nil)

	plain := simtest.Login(t, box.Machines()[1]).Get("/redfish/v1/Systems?$expand=.($levels=1)")
	if simtest.At(plain, "Members", 0, "Name") != nil {
		t.Error("a flavour without $expand expanded")
	}
}

func TestETags(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase), ready(sim.FlavourLenovo))
	c := simtest.Login(t, box.Machines()[0])
	const system = "/redfish/v1/Systems/1"
	first := c.Do(200, "GET", system, nil).Header.Get("ETag")
	c.Do(http.StatusNotModified, "GET", system, nil, "If-None-Match", first)
	c.Do(200, "PATCH", system, map[string]any{"AssetTag": "A1"}, "If-Match", first)
	c.Do(http.StatusPreconditionFailed, "PATCH", system, map[string]any{"AssetTag": "A2"}, "If-Match", first)
	if tag := c.Get(system)["AssetTag"]; tag != "A1" {
		t.Errorf("asset tag: got %v, want A1", tag)
	}
	simtest.Login(t, box.Machines()[1]).Do(http.StatusPreconditionRequired, "PATCH", system, map[string]any{"AssetTag": "A1"})
}

func TestRefusalsNameThePropertyAndChangeNothing(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase))
	c := simtest.Login(t, box.Machines()[0])
	for _, tc := range []struct {
		name, path string
		body       any
		about      string
	}{
		{"unknown", "/redfish/v1/Systems/1", map[string]any{"AssetTag": "X", "Colour": "red"}, "#/Colour"},
		{"read-only", "/redfish/v1/Systems/1", map[string]any{"AssetTag": "X", "SerialNumber": "1"}, "#/SerialNumber"},
		{"wrong type", "/redfish/v1/Systems/1", map[string]any{"AssetTag": "X", "LocationIndicatorActive": "yes"}, "#/LocationIndicatorActive"},
		{"wrong value", "/redfish/v1/Systems/1", map[string]any{"AssetTag": "X", "Boot": map[string]any{"BootSourceOverrideTarget": "Moon"}}, "#/Boot/BootSourceOverrideTarget"},
	} {
		a := c.Do(http.StatusBadRequest, "PATCH", tc.path, tc.body)
		if got := simtest.At(a.Body, "error", "@Message.ExtendedInfo", 0, "RelatedProperties", 0); got != tc.about {
			t.Errorf("%s: RelatedProperties: got %v, want %s", tc.name, got, tc.about)
		}
	}
	if tag := c.Get("/redfish/v1/Systems/1")["AssetTag"]; tag != "" {
		t.Errorf("a refused PATCH changed the asset tag to %v", tag)
	}
	c.Do(http.StatusBadRequest, "PATCH", "/redfish/v1/Systems/1", []byte("{"))
	c.Do(http.StatusMethodNotAllowed, "DELETE", "/redfish/v1/Systems/1", nil)
	c.Do(http.StatusNotFound, "GET", "/redfish/v1/Systems/2", nil)
}
