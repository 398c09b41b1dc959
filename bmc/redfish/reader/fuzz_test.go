package reader_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// FuzzDecode puts one fuzzed resource of each type that is built from into a healthy tree.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"Id":"1","SerialNumber":"x","Status":{"State":"Enabled","Health":"OK"}}`,
		`{"Id":1,"SerialNumber":{"a":[1]},"CapacityMiB":"many","Members":{},"Links":[[{"@odata.id":"#"}]]}`,
		`{"StorageControllers":[1,{"MemberId":"0","@odata.id":"/redfish/v1/x#/0"}],"Drives":{"@odata.id":"/redfish/v1/y"},"Status":[]}`,
		`{"Boot":{"BootOrder":[null,"a",{}]},"Bios":{"@odata.id":"/redfish/v1/Thing"},"Attributes":{"a":1e400,"b":-0,"c":null}}`,
		`{"PowerSupplies":[{"MemberId":"0"},null,[]],"Temperatures":[{"ReadingCelsius":"hot"}],"Fans":[{"Name":"\ud800"}]}`,
		"{\"Name\":\"\xff\xfe\",\"MACAddress\":\"00-11-22-33-44-5G\",\"a\":\"\\u12\"}",
	} {
		f.Add(seed)
	}
	kinds := []string{"ServiceRoot", "ComputerSystem", "Chassis", "Manager", "Processor", "Memory", "PCIeDevice", "PCIeFunction", "StorageController",
		"Storage", "Drive", "SimpleStorage", "Volume", "NetworkAdapter", "NetworkDeviceFunction", "Port", "EthernetInterface", "PowerSupply", "Power",
		"Fan", "Thermal", "ThermalMetrics", "Sensor", "SoftwareInventory", "ManagerAccount", "ManagerNetworkProtocol", "Certificate", "LogEntry",
		"Bios", "SecureBoot", "BootOption", "Assembly", "Other"}
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 32<<10 {
			return
		}
		tree := rig()
		refs := []string{}
		for _, kind := range kinds {
			path := "/redfish/v1/Chassis/1/" + kind
			refs = append(refs, `"`+kind+`":{"@odata.id":"`+path+`"}`)
			tree[path] = strings.Replace(body, "{", `{"@odata.type":"#`+kind+`.v1_0_0.`+kind+`",`, 1)
		}
		tree["/redfish/v1/Chassis/1"] = `{"@odata.type":"#Chassis.v1_9_0.Chassis","Id":"1","SerialNumber":"C1",` + strings.Join(refs, ",") + `}`
		readAnything(t, tree)
	})
}

// FuzzWalk gives the bodies of a tiny tree, separated by newlines; their links lead where they like.
func FuzzWalk(f *testing.F) {
	f.Add(`{"Systems":{"@odata.id":"/redfish/v1/0"},"Chassis":{"@odata.id":"/redfish/v1/1"}}` + "\n" +
		`{"Members":[{"@odata.id":"/redfish/v1/2"}],"Members@odata.nextLink":"/redfish/v1/0?$skip=1"}` + "\n" +
		`{"Members":[{"@odata.id":"/redfish/v1/1"},{"href":"/redfish/v1/2/"}]}` + "\n" +
		`{"@odata.type":"#ComputerSystem.v1_0_0.ComputerSystem","@Redfish.Settings":{"SettingsObject":{"@odata.id":"/redfish/v1/0"}}}`)
	f.Add(`{"ProtocolFeaturesSupported":{"ExpandQuery":{"NoLinks":true}},"Systems":{"@odata.id":"/redfish/v1"}}`)
	f.Add("<html>\n[]\n{\"Members\":[[]]}")
	f.Fuzz(func(t *testing.T, bodies string) {
		if len(bodies) > 32<<10 {
			return
		}
		tree := map[string]string{}
		for i, body := range strings.SplitN(bodies, "\n", 6) {
			path := "/redfish/v1"
			if i > 0 {
				path += "/" + string(rune('0'+i-1))
			}
			tree[path] = body
		}
		readAnything(t, tree)
	})
}

// readAnything wants of whatever is read: an end within the bounds, and JSON that can be printed.
func readAnything(t *testing.T, tree map[string]string) {
	t.Helper()
	var calls atomic.Int64
	const requests = 200
	inv, err := reader.Read(t.Context(), fixture{tree: tree, calls: &calls},
		reader.Options{URL: "https://bmc", Bounds: reader.Bounds{Requests: requests, Members: 50, Pages: 5, Depth: 8}})
	if inv == nil {
		t.Fatalf("no inventory, %v", err)
	}
	if n := calls.Load(); n > requests {
		t.Fatalf("%d requests, the bound is %d", n, requests)
	}
	out, err := json.Marshal(inv)
	if err != nil {
		t.Fatalf("the inventory cannot be printed: %v", err)
	}
	if !utf8.Valid(out) {
		t.Fatal("the inventory is not UTF-8")
	}
}
