package redfish_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/redfish"
)

func TestSeveralSystems(t *testing.T) {
	s := newService(t)
	s.edit("/redfish/v1/Systems", obj{"Members": links("/redfish/v1/Systems/S1", "/redfish/v1/Systems/GPU")})
	s.edit("/redfish/v1/Systems/GPU", obj{"Id": "GPU", "Name": "System"})
	c := controller(t, s)
	// Both have the same Name, so bmclib could not tell them apart.
	ask(t, s, func() error { return c.SetPower(t.Context(), bmc.PowerActionOn) }, reset+`{"ResetType":"On"}`)
	s.edit("/redfish/v1/Systems/GPU", obj{"Boot": obj{}, "Actions": obj{"#ComputerSystem.Reset": obj{"target": "/y"}}})
	if err := controller(t, s).SetPower(t.Context(), bmc.PowerActionOff); !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), "S1, GPU") {
		t.Errorf("two systems and none chosen: %v", err)
	}
}

// fourNodes is a service with four nodes in one enclosure: SN-N1 to SN-N4 in SN-BOX.
func fourNodes(t *testing.T) (s *service, nodes []string) {
	s = newService(t)
	for _, n := range []string{"N1", "N2", "N3", "N4"} {
		path := "/redfish/v1/Systems/" + n
		nodes = append(nodes, path)
		s.edit(path, obj{
			"@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem", "Id": n, "Name": "System", "PowerState": "Off", "SerialNumber": "SN-" + n,
			"SystemType": "Physical", "BiosVersion": "1", "Boot": obj{"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"},
			"Bios": link(path + "/Bios"), "Links": obj{"ManagedBy": links("/redfish/v1/Managers/BMC"), "Chassis": links("/redfish/v1/Chassis/Box")},
			"Actions": obj{"#ComputerSystem.Reset": obj{"target": path + "/Actions/ComputerSystem.Reset", "ResetType@Redfish.AllowableValues": []any{"On", "ForceOff"}}},
		})
		s.edit(path+"/Bios", obj{"Attributes": obj{"Node": n}})
		s.hooks["POST "+path+"/Actions/ComputerSystem.Reset"] = func(http.ResponseWriter, obj) bool {
			s.tree[path]["PowerState"] = "On"
			return false
		}
	}
	s.edit("/redfish/v1/Systems", obj{"Members": links(nodes...)})
	s.edit("/redfish/v1/Managers/BMC", obj{"Links": obj{"ManagerForServers": links(nodes...)}})
	s.edit("/redfish/v1/Chassis", obj{"Members": links("/redfish/v1/Chassis/Box")})
	s.edit("/redfish/v1/Chassis/Box", obj{"@odata.type": "#Chassis.v1_9_0.Chassis", "Id": "Box", "SerialNumber": "SN-BOX",
		"Links": obj{"ComputerSystems": links(nodes...)}})
	return s, nodes
}

// A chassis with four nodes behind one BMC: what is proved, switched and written to is one of them.
func TestNodes(t *testing.T) {
	s, nodes := fourNodes(t)
	for name, tt := range map[string]struct {
		options redfish.Options
		serial  string // proved
		refused string
	}{
		"by serial":            {options: redfish.Options{Serial: "sn-n3 "}, serial: "SN-N3"},
		"by Id":                {options: redfish.Options{System: "N2"}, serial: "SN-N2"},
		"by Id, not by serial": {options: redfish.Options{System: "N2", Serial: "SN-N3"}, serial: "SN-N2"},
		"no such serial":       {options: redfish.Options{Serial: "SN-X"}, serial: "SN-N1", refused: "none of N1, N2, N3, N4 has the serial SN-X"},
		"the chassis' serial":  {options: redfish.Options{Serial: "SN-BOX"}, serial: "SN-N1", refused: "has the serial SN-BOX"},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllerOf(t, s, tt.options)
			id, err := c.Identify(t.Context())
			if err != nil || id.Serial != tt.serial {
				t.Fatalf("Identify() = %+v, %v; want %s", id, err, tt.serial)
			}
			s.writes()
			err = c.SetPower(t.Context(), bmc.PowerActionOn)
			if tt.refused != "" {
				if !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), tt.refused) || len(s.writes()) > 0 {
					t.Errorf("SetPower: %v, want it refused with %q", err, tt.refused)
				}
				return
			}
			node := strings.TrimPrefix(tt.serial, "SN-")
			if err != nil {
				t.Fatal(err)
			}
			if w := s.writes(); len(w) > 1 || len(w) == 1 && !strings.HasPrefix(w[0], "POST /redfish/v1/Systems/"+node+"/") {
				t.Errorf("wrote %v, want node %s alone", w, node)
			}
			if b, err := c.BIOS(t.Context()); err != nil || b.Current["Node"] != node {
				t.Errorf("BIOS of %v, %v; want %s's", b.Current, err, node)
			}
			if id.System != "/redfish/v1/Systems/"+node {
				t.Errorf("proved %q", id.System)
			}
		})
	}
	for n, node := range nodes {
		dimm := fmt.Sprintf("DIMM-%d", n+1)
		s.edit(node, obj{"Memory": link(node + "/Memory")})
		s.edit(node+"/Memory", obj{"Members": links(node + "/Memory/1")})
		s.edit(node+"/Memory/1", obj{"@odata.type": "#Memory.v1_9_0.Memory", "Id": "1", "SerialNumber": dimm, "CapacityMiB": 1024})
	}
	inv, err := controllerOf(t, s, redfish.Options{Serial: "SN-N3"}).Read(t.Context(), bmc.ScopeHardware)
	if err != nil || len(inv.Systems) != 1 || inv.Systems[0].ID != "N3" || len(inv.Memory) != 1 || inv.Memory[0].Serial != "DIMM-3" || len(inv.Chassis) != 1 {
		t.Errorf("Read() of one node: %+v, %v", inv, err)
	}
	if inv, err := controllerOf(t, s, redfish.Options{}).Read(t.Context(), bmc.ScopeHardware); err != nil || len(inv.Memory) != 4 {
		t.Errorf("Read() of the whole BMC: %+v, %v", inv, err)
	}
	none := controllerOf(t, s, redfish.Options{System: "N9"})
	if id, err := none.Identify(t.Context()); !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), "no system N9, but N1, N2, N3, N4") {
		t.Errorf("Identify() of no node = %+v, %v", id, err)
	}
	if err := none.SetPower(t.Context(), bmc.PowerActionOn); !errors.Is(err, bmc.ErrRejected) {
		t.Errorf("SetPower of no node: %v", err)
	}
	// Another node that does not answer is no gap in the proof of this one.
	s.raw["GET /redfish/v1/Systems/N4"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	if id, err := controllerOf(t, s, redfish.Options{Serial: "SN-N1"}).Identify(t.Context()); err != nil || id.Serial != "SN-N1" {
		t.Errorf("Identify() beside a dead node = %+v, %v", id, err)
	}
	if _, err := controllerOf(t, s, redfish.Options{Serial: "SN-N4"}).Identify(t.Context()); !errors.Is(err, bmc.ErrServer) {
		t.Errorf("Identify() of the dead node: %v, want %v", err, bmc.ErrServer)
	}
}

// Nodes without serials of their own stand in one enclosure that has one: its serial says nothing of
// which node is meant. None is proved, switched or written to until the profile names one, whatever is
// on or has started its operating system at the moment.
func TestNodesWithoutSerials(t *testing.T) {
	for name, tt := range map[string]struct {
		serials [4]any
		options redfish.Options
		proved  string // the node
		refused string
	}{
		"the enclosure's serial": {options: redfish.Options{Serial: "SN-BOX"}, refused: "N1, N2, N3, N4 have no serials of their own"},
		"some serial":            {options: redfish.Options{Serial: "SN-X"}, refused: "N1, N2, N3, N4 have no serials of their own"},
		"one serial for all":     {serials: [4]any{"SN-BOX", "SN-BOX", "SN-BOX", "SN-BOX"}, options: redfish.Options{Serial: "sn-box"}, refused: "N1, N2, N3, N4 have the same serial SN-BOX"},
		"one serial for two":     {serials: [4]any{"A", "B", "B", "C"}, options: redfish.Options{Serial: "B"}, refused: "N2, N3 have the same serial B"},
		"another than those two": {serials: [4]any{"A", "B", "B", "C"}, options: redfish.Options{Serial: "C"}, proved: "N4"},
		"one has its own":        {serials: [4]any{nil, nil, "SN-N3", nil}, options: redfish.Options{Serial: "SN-N3"}, proved: "N3"},
		"named in the profile":   {options: redfish.Options{System: "N2", Serial: "SN-BOX"}, proved: "N2"},
	} {
		t.Run(name, func(t *testing.T) {
			s, nodes := fourNodes(t)
			for i, node := range nodes {
				s.edit(node, obj{"SerialNumber": tt.serials[i]})
			}
			for on := range nodes { // another each time
				for i, node := range nodes {
					s.edit(node, obj{"PowerState": nil, "HostName": nil})
					if i == on {
						s.edit(node, obj{"PowerState": "On", "HostName": "srv"})
					}
				}
				s.writes()
				id, err := controllerOf(t, s, tt.options).Identify(t.Context())
				werr := controllerOf(t, s, tt.options).SetBIOS(t.Context(), bmc.Attributes{"Node": "new"})
				if tt.refused != "" {
					for _, err := range []error{err, werr} {
						if !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(err.Error(), "bmc.system") {
							t.Errorf("with node %d on: %+v, %v; want it refused with %q", on+1, id, err, tt.refused)
						}
					}
					if w := s.writes(); len(w) > 0 {
						t.Errorf("wrote %v", w)
					}
					continue
				}
				if err != nil || !strings.HasSuffix(id.System, "/"+tt.proved) {
					t.Errorf("with node %d on: proved %+v, %v; want %s", on+1, id, err, tt.proved)
				}
				for _, w := range s.writes() {
					if !strings.Contains(w, "/Systems/"+tt.proved+"/") {
						t.Errorf("with node %d on: wrote %s; want %s alone", on+1, w, tt.proved)
					}
				}
			}
		})
	}
}
