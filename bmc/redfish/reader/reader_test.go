package reader_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
	"github.com/cagenut/cagenut/bmc/redfish/reader/readertest"
)

// readTree reads bodies by path, after adding them to a small healthy BMC.
func readTree(t *testing.T, set map[string]string, o reader.Options) *bmc.Inventory {
	t.Helper()
	tree := rig()
	for k, v := range set {
		tree[k] = v
	}
	var calls atomic.Int64
	o.URL = "https://bmc"
	inv, err := reader.Read(t.Context(), fixture{tree: tree, calls: &calls}, o)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

const system = "/redfish/v1/Systems/1"

// chassisWith makes chassis 1 link to things, by property.
func chassisWith(links ...string) string {
	s := `{"@odata.type":"#Chassis.v1_9_0.Chassis","Id":"1","SerialNumber":"C1","Links":{"ComputerSystems":[{"@odata.id":"` + system + `"}]}`
	for _, l := range links {
		s += `,"` + l + `":{"@odata.id":"/redfish/v1/Chassis/1/` + l + `"}`
	}
	return s + "}"
}

func collectionOf(path string, ids ...string) string {
	var members []string
	for _, id := range ids {
		members = append(members, fmt.Sprintf(`{"@odata.id":"%s/%s"}`, path, id))
	}
	return `{"Members":[` + strings.Join(members, ",") + `]}`
}

func TestEmptySlotsAreLeftOut(t *testing.T) {
	inv := readTree(t, map[string]string{
		memory:        collectionOf(memory, "1", "2", "3", "4"),
		memory + "/2": `{"@odata.type":"#Memory.v1_9_0.Memory","Id":"2","Status":{"State":"Absent"},"CapacityMiB":0}`,
		memory + "/3": `{"@odata.type":"#Memory.v1_9_0.Memory","Id":"3","CapacityMiB":0,"SerialNumber":"NOT AVAILABLE"}`,
		memory + "/4": `{"Id":"4","CapacityMiB":null}`,
	}, reader.Options{})
	if len(inv.Memory) != 1 || inv.Memory[0].Serial != "M1" || inv.Memory[0].GiB != 1 {
		t.Errorf("memory %+v, want M1 with 1 GiB alone", inv.Memory)
	}
}

func TestDrivesAreListedOnce(t *testing.T) {
	const drive = `{"@odata.type":"#Drive.v1_9_0.Drive","Id":"%s","SerialNumber":"%s","Model":"X","CapacityBytes":1000%s}`
	inv := readTree(t, map[string]string{
		"/redfish/v1/Chassis/1":              chassisWith("Drives"),
		"/redfish/v1/Chassis/1/Drives":       collectionOf("/redfish/v1/Chassis/1/Drives", "a", "b", "empty"),
		"/redfish/v1/Chassis/1/Drives/a":     fmt.Sprintf(drive, "a", "S-A ", `,"Revision":"1.0"`),
		"/redfish/v1/Chassis/1/Drives/b":     fmt.Sprintf(drive, "b", "S-B", ""),
		"/redfish/v1/Chassis/1/Drives/empty": `{"@odata.type":"#Drive.v1_9_0.Drive","Id":"empty","Status":{"State":"Absent"}}`,
		system:                               `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"S1","Storage":{"@odata.id":"` + system + `/Storage"}}`,
		system + "/Storage":                  collectionOf(system+"/Storage", "R1"),
		system + "/Storage/R1":               `{"@odata.type":"#Storage.v1_9_0.Storage","Id":"R1","Drives":[{"@odata.id":"` + system + `/Storage/R1/Drives/0"}]}`,
		system + "/Storage/R1/Drives/0":      fmt.Sprintf(drive, "0", "S-A", `,"MediaType":"SSD"`),
	}, reader.Options{})
	got := []string{}
	for _, d := range inv.Drives {
		got = append(got, strings.TrimSpace(d.Serial)+" "+d.Media+" "+d.Firmware+" "+d.Controller)
	}
	if diff := cmp.Diff([]string{"S-A SSD 1.0 R1", "S-B   "}, got); diff != "" {
		t.Errorf("drives (-want +got):\n%s", diff)
	}
}

func TestPendingSettingsAreNotHardware(t *testing.T) {
	inv := readTree(t, map[string]string{
		system: `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"S1","Bios":{"@odata.id":"` + system + `/Bios"},
			"@Redfish.Settings":{"SettingsObject":{"@odata.id":"` + system + `/Pending"}},"Next":{"@odata.id":"` + system + `/Pending"}}`,
		system + "/Pending": `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"Pending","SerialNumber":"NOPE"}`,
		system + "/Bios": `{"@odata.type":"#Bios.v1_0_0.Bios","Attributes":{"BootMode":"Uefi","Cores":8,"Sriov":true},
			"@Redfish.Settings":{"SettingsObject":{"@odata.id":"` + system + `/Bios/Settings"}}}`,
		system + "/Bios/Settings": `{"@odata.type":"#Bios.v1_0_0.Bios","Attributes":{"BootMode":"Uefi","Cores":4}}`,
	}, reader.Options{})
	if len(inv.Systems) != 1 {
		t.Fatalf("%d systems, want 1", len(inv.Systems))
	}
	s := inv.Systems[0]
	if diff := cmp.Diff(bmc.Attributes{"BootMode": "Uefi", "Cores": int64(8), "Sriov": true}, s.BIOS); diff != "" {
		t.Errorf("BIOS (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(bmc.Attributes{"Cores": int64(4)}, s.BIOSPending); diff != "" {
		t.Errorf("pending BIOS (-want +got):\n%s", diff)
	}
	if out, err := json.Marshal(inv); err != nil || strings.Contains(string(out), "NOPE") {
		t.Errorf("the pending system's serial is in the inventory (%v)", err)
	}
}

func TestPortsAreMergedByMAC(t *testing.T) {
	const nic = "/redfish/v1/Chassis/1/NetworkAdapters/A"
	inv := readTree(t, map[string]string{
		"/redfish/v1/Chassis/1":                 chassisWith("NetworkAdapters"),
		"/redfish/v1/Chassis/1/NetworkAdapters": collectionOf("/redfish/v1/Chassis/1/NetworkAdapters", "A"),
		nic: `{"@odata.type":"#NetworkAdapter.v1_9_0.NetworkAdapter","Id":"A","Model":"25G","SerialNumber":"N1","Controllers":[{"FirmwarePackageVersion":"22.1"}],
			"NetworkPorts":{"@odata.id":"` + nic + `/NetworkPorts"},"NetworkDeviceFunctions":{"@odata.id":"` + nic + `/NetworkDeviceFunctions"}}`,
		nic + "/NetworkPorts":              collectionOf(nic+"/NetworkPorts", "1"),
		nic + "/NetworkPorts/1":            `{"@odata.type":"#NetworkPort.v1_2_0.NetworkPort","Id":"1","LinkStatus":"Up","AssociatedNetworkAddresses":["02-00-00-00-00-0a"]}`,
		nic + "/NetworkDeviceFunctions":    collectionOf(nic+"/NetworkDeviceFunctions", "F1"),
		nic + "/NetworkDeviceFunctions/F1": `{"@odata.type":"#NetworkDeviceFunction.v1_2_0.NetworkDeviceFunction","Id":"F1","Ethernet":{"MACAddress":"02:00:00:00:00:0B","PermanentMACAddress":"02:00:00:00:00:0a"}}`,
		system:                             `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"S1","EthernetInterfaces":{"@odata.id":"` + system + `/EthernetInterfaces"}}`,
		system + "/EthernetInterfaces":     collectionOf(system+"/EthernetInterfaces", "e", "v"),
		system + "/EthernetInterfaces/e":   `{"@odata.type":"#EthernetInterface.v1_2_0.EthernetInterface","Id":"e","MACAddress":"02000000000A","SpeedMbps":25000,"IPv4Addresses":[{"Address":"10.0.0.5"}]}`,
		system + "/EthernetInterfaces/v":   `{"@odata.type":"#EthernetInterface.v1_2_0.EthernetInterface","Id":"v","MACAddress":"02:00:00:00:00:0a","VLAN":{"VLANId":7}}`,
	}, reader.Options{})
	up := true
	want := []bmc.NetworkInterface{
		{Part: bmc.Part{ID: "F1", Model: "25G", Serial: "N1", URI: nic + "/NetworkDeviceFunctions/F1"}, Owner: "system/1", Adapter: "A", LinkUp: &up, Mbps: 25000,
			MACs: []string{"02:00:00:00:00:0A", "02:00:00:00:00:0B"}, IPv4: []string{"10.0.0.5"}, Firmware: "22.1"},
		{Part: bmc.Part{ID: "v", URI: system + "/EthernetInterfaces/v"}, Owner: "system/1", MACs: []string{"02:00:00:00:00:0A"}, VLAN: 7},
	}
	if diff := cmp.Diff(want, inv.NetworkInterfaces); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
}

// What no array has a place for must still be there.
func TestNothingIsLost(t *testing.T) {
	inv := readTree(t, map[string]string{
		"/redfish/v1/Chassis/1": chassisWith("Gadget"),
		"/redfish/v1/Chassis/1/Gadget": `{"@odata.type":"#ContosoGadget.v1_0_0.ContosoGadget","Id":"Gadget","SerialNumber":" G-1 ","Oem":{"Contoso":{
			"Cpld":{"FirmwareVersion":"0x12"},"Wake":["02:00:00:00:00:77"],"ProtocolVersion":"3","SerialNumber":"N/A"}}}`,
	}, reader.Options{})
	want := []bmc.Component{{Part: bmc.Part{ID: "Gadget", Serial: " G-1 ", URI: "/redfish/v1/Chassis/1/Gadget"}, Type: "ContosoGadget",
		MACs: []string{"02:00:00:00:00:77"}, Values: []bmc.NamedValue{{Name: "Oem.Contoso.Cpld.FirmwareVersion", Value: "0x12"}}}}
	if diff := cmp.Diff(want, inv.Components); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
}

func TestIdentity(t *testing.T) {
	dell := `{"@odata.type":"#ServiceRoot.v1_9_0.ServiceRoot","Vendor":"Dell","Systems":{"@odata.id":"/redfish/v1/Systems"},"Chassis":{"@odata.id":"/redfish/v1/Chassis"}}`
	two := map[string]string{
		"/redfish/v1/Systems":      collectionOf("/redfish/v1/Systems", "Tray", "Node"),
		"/redfish/v1/Systems/Tray": `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"Tray","SerialNumber":"TRAY"}`,
		"/redfish/v1/Systems/Node": `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"Node","SerialNumber":"NODE","BiosVersion":"1","PowerState":"On","Boot":{}}`,
	}
	for _, c := range []struct {
		name   string
		set    map[string]string
		system string
		serial string
		source string
	}{
		{"the system's serial", nil, "", "S1", "ComputerSystem.SerialNumber"},
		{"a service tag by quirk", map[string]string{"/redfish/v1": dell, system: `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"BOARD","SKU":"TAG1234"}`},
			"", "TAG1234", "ComputerSystem.SKU"},
		{"the chassis' where the system has none", map[string]string{system: `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"N/A"}`},
			"", "C1", "Chassis.SerialNumber"},
		{"the host, not the tray", two, "", "NODE", "ComputerSystem.SerialNumber"},
		{"the system that was asked for", two, "Tray", "TRAY", "ComputerSystem.SerialNumber"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := readTree(t, c.set, reader.Options{System: c.system}).Identity
			if id.Serial != c.serial || id.SerialSource != c.source {
				t.Errorf("identity %+v, want %s from %s", id, c.serial, c.source)
			}
		})
	}
}

// recorder notes the requests of a service.
type recorder struct {
	http.Handler
	mu   sync.Mutex
	seen []string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, q.URL.RequestURI())
	r.mu.Unlock()
	r.Handler.ServeHTTP(w, q)
}

func TestExpand(t *testing.T) {
	service := func(expand bool) (*bmc.Inventory, []string) {
		rec := &recorder{Handler: readertest.NewService(readertest.Config{Tree: readertest.Synthetic(), Expand: expand})}
		server := httptest.NewServer(rec)
		defer server.Close()
		inv, err := reader.Read(t.Context(), httpGetter{server.URL, server.Client()}, reader.Options{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		return inv, rec.seen
	}
	expanded, few := service(true)
	// A service that offers $expand and ignores it: seen, and no longer asked for.
	plain, many := service(false)
	ignore := cmpopts.IgnoreFields(bmc.Inventory{}, "URL", "ReadAt", "Requests", "Service")
	if diff := cmp.Diff(plain, expanded, ignore); diff != "" {
		t.Errorf("$expand gives another inventory (-plain +expanded):\n%s", diff)
	}
	if len(expanded.Drives) != 8 || len(expanded.Memory) != 16 || !expanded.Complete {
		t.Errorf("%d drives, %d DIMMs, unread %v; want 8, 16 and none", len(expanded.Drives), len(expanded.Memory), expanded.Unread)
	}
	if len(few)*2 > len(many) {
		t.Errorf("%d requests with $expand, %d without: want less than half", len(few), len(many))
	}
	asked := 0
	for _, uri := range many {
		if strings.Contains(uri, "$expand") {
			asked++
		}
	}
	if asked == 0 || asked > 6 {
		t.Errorf("asked %d times for $expand that brings nothing, want a few", asked)
	}
	slices.Sort(few)
	if twice := slices.Compact(slices.Clone(few)); len(twice) != len(few) {
		t.Errorf("something was asked for twice: %v", few)
	}
}

// Two machines of a model count their ETags alike, so one may say "unchanged" of what the other told.
func TestCacheOfAnotherMachine(t *testing.T) {
	const first = "/redfish/v1/Systems/1/Memory/1"
	cache := reader.NewCache()
	read := func(tree map[string]string) *bmc.Inventory {
		t.Helper()
		inv, err := reader.Read(t.Context(), counted{tree}, reader.Options{URL: "https://bmc", Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		return inv
	}
	if inv := read(rig()); inv.Identity.Serial != "S1" || inv.Memory[0].Serial != "M1" {
		t.Fatalf("identity %+v, memory %+v", inv.Identity, inv.Memory)
	}
	other := rig()
	other[system] = strings.Replace(other[system], "S1", "S2", 1)
	other[first] = strings.Replace(other[first], "M1", "M2", 1)
	if inv := read(other); inv.Identity.Serial != "S2" || inv.Memory[0].Serial != "M2" {
		t.Errorf("identity %+v and memory %+v of the machine that was here before", inv.Identity, inv.Memory)
	}
}

// counted gives every resource the ETag 1.
type counted struct{ tree map[string]string }

func (c counted) Get(_ context.Context, path, etag string) (broker.Resource, error) {
	body, ok := c.tree[strings.TrimSuffix(path, "/")]
	switch {
	case !ok:
		return broker.Resource{Status: http.StatusNotFound}, nil
	case etag != "":
		return broker.Resource{Status: http.StatusNotModified, NotModified: true, ETag: etag}, nil
	}
	return broker.Resource{Status: http.StatusOK, Body: []byte(body), ETag: "1"}, nil
}

func TestCache(t *testing.T) {
	for _, etags := range []bool{true, false} {
		t.Run(fmt.Sprintf("etags=%v", etags), func(t *testing.T) {
			tree := readertest.Synthetic()
			o := reader.Options{Cache: reader.NewCache(), NoExpand: true}
			again := func() *bmc.Inventory {
				server := httptest.NewServer(readertest.NewService(readertest.Config{Tree: tree, ETags: etags}))
				defer server.Close()
				o.URL = server.URL
				inv, err := reader.Read(t.Context(), httpGetter{server.URL, server.Client()}, o)
				if err != nil {
					t.Fatal(err)
				}
				return inv
			}
			first, second := again(), again()
			ignore := cmpopts.IgnoreFields(bmc.Inventory{}, "URL", "ReadAt", "Requests")
			if diff := cmp.Diff(first, second, ignore); diff != "" {
				t.Errorf("an unchanged machine reads otherwise (-first +second):\n%s", diff)
			}
			// The root, and the collections and members of systems, chassis and managers, are read anew.
			if want := second.Requests.Count - 7; etags != (second.Requests.NotModified == want) {
				t.Errorf("%d of %d answers were 304", second.Requests.NotModified, second.Requests.Count)
			}
			tree["/redfish/v1/Systems/1/Memory/3"] = []byte(strings.Replace(string(tree["/redfish/v1/Systems/1/Memory/3"]), "D000002", "D-NEW", 1))
			if third := again(); third.Memory[slices.IndexFunc(third.Memory, func(m bmc.Memory) bool { return m.ID == "3" })].Serial != "D-NEW" {
				t.Error("a changed DIMM was not seen")
			}
		})
	}
}

func TestScopes(t *testing.T) {
	counts := map[bmc.Scope]int{}
	for _, scope := range []bmc.Scope{bmc.ScopeIdentity, bmc.ScopeHardware, bmc.ScopeComplete} {
		server := httptest.NewServer(readertest.NewService(readertest.Config{Tree: readertest.Synthetic()}))
		inv, err := reader.Read(t.Context(), httpGetter{server.URL, server.Client()}, reader.Options{URL: server.URL, Scope: scope, NoExpand: true})
		server.Close()
		if err != nil {
			t.Fatal(err)
		}
		if inv.Identity.Serial != "SN0001" {
			t.Errorf("%s: serial %q, want SN0001", scope, inv.Identity.Serial)
		}
		counts[scope] = inv.Requests.Count
	}
	if counts[bmc.ScopeIdentity] > 10 || counts[bmc.ScopeHardware] <= counts[bmc.ScopeIdentity] || counts[bmc.ScopeComplete] < counts[bmc.ScopeHardware] {
		t.Errorf("requests by scope %v, want each more than the one before it, and at most 10 for the identity", counts)
	}
	if _, err := reader.Read(t.Context(), httpGetter{}, reader.Options{Scope: "all"}); err == nil {
		t.Error("an unknown scope was accepted")
	}
}

// Slashes and letter case in links differ between services, and mean nothing.
func TestSpellingOfLinks(t *testing.T) {
	inv := readTree(t, map[string]string{
		"/redfish/v1":         `{"Systems":{"@odata.id":"/redfish/v1/Systems/"},"links":{"Chassis":{"href":"https://bmc/redfish/v1/Chassis/"}}}`,
		"/redfish/v1/Chassis": `{"links":{"Member":[{"href":"/redfish/v1/Chassis/1"}]},"Members":[]}`,
		system:                `{"@odata.type":"#ComputerSystem.v1_9_0.ComputerSystem","Id":"1","SerialNumber":"S1","Bios":{"@odata.id":"/redfish/v1/systems/1/Bios#/x"}}`,
		system + "/Bios":      `{"@odata.type":"#Bios.v1_0_0.Bios","Attributes":{"A":"B"}}`,
	}, reader.Options{})
	if len(inv.Chassis) != 1 || len(inv.Systems) != 1 || inv.Systems[0].BIOS["A"] != "B" || !inv.Complete {
		t.Errorf("chassis %v, systems %+v, unread %v; want one each with BIOS attributes", inv.Chassis, inv.Systems, inv.Unread)
	}
}

// Some services know their resources with a last slash only, and say so by a redirect or a 404.
func TestServicesThatWantASlash(t *testing.T) {
	for _, code := range []int{http.StatusMovedPermanently, http.StatusNotFound} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			tree := rig()
			var refused atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, ok := tree[strings.TrimSuffix(r.URL.Path, "/")]
				if !ok || !strings.HasSuffix(r.URL.Path, "/") {
					refused.Add(1)
					w.Header().Set("Location", r.URL.Path+"/")
					w.WriteHeader(code)
					return
				}
				fmt.Fprint(w, body)
			}))
			defer server.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			inv, err := reader.Read(t.Context(), httpGetter{server.URL, client}, reader.Options{URL: server.URL, InFlight: 1})
			if err != nil {
				t.Fatal(err)
			}
			if !inv.Complete || len(inv.Memory) != 1 || refused.Load() > 1 {
				t.Errorf("%d DIMMs, %d requests refused, unread %v; want 1, 1 and none", len(inv.Memory), refused.Load(), inv.Unread)
			}
		})
	}
}
