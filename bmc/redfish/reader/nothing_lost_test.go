package reader_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// Whatever shape a tree has, each serial, MAC and firmware version in it is in the output. The bodies
// are made up; %s stands for where each tree is hung on: a chassis' property Extra.
func TestEveryShapeIsRead(t *testing.T) {
	const at = "/redfish/v1/Chassis/1/Extra"
	link := func(p string) string { return `{"@odata.id":"` + p + `"}` }
	for name, tt := range map[string]struct {
		tree map[string]string
		want []string
	}{
		"a type that nobody knows": {map[string]string{at: `{"@odata.type":"#ContosoBoard.v1_0_0.ContosoBoard","SerialNumber":"SER-1","FirmwareVersion":"VER-1"}`},
			[]string{"SER-1", "VER-1"}},
		"no type": {map[string]string{at: `{"Info":{"Deep":[{"serialNumber":"SER-1","fwVersion":"VER-1"}]}}`}, []string{"SER-1", "VER-1"}},
		"OEM blobs of known types": {map[string]string{at: `{"Members":[` + link(at+"/1") + `]}`,
			at + "/1": `{"@odata.type":"#Memory.v1_9_0.Memory","Id":"1","SerialNumber":"SER-1","CapacityMiB":1,"Oem":{"Contoso":{"ModuleSerial":"SER-2","RegisterVersion":"VER-2"}}}`},
			[]string{"SER-1", "SER-2", "VER-2"}},
		"assemblies": {map[string]string{at: `{"@odata.type":"#Assembly.v1_4_0.Assembly","Assemblies":[{"MemberId":"0","SerialNumber":"SER-1","EngineeringChangeLevel":"A"},
			{"MemberId":"0","SerialNumber":"SER-2","Oem":{"X":{"FRUSerialNumber":"SER-3"}}},{"@odata.id":"` + at + `#/Assemblies/2","SerialNumber":"SER-4","Version":"VER-4"}],"Oem":{"X":{"ChassisSerialNumber":"SER-5"}}}`},
			[]string{"SER-1", "SER-2", "SER-3", "SER-4", "SER-5", "VER-4"}},
		"PCIe": {map[string]string{at: `{"Members":[` + link(at+"/1") + `]}`,
			at + "/1":   `{"@odata.type":"#PCIeDevice.v1_9_0.PCIeDevice","Id":"1","SerialNumber":"SER-1","FirmwareVersion":"VER-1","PCIeFunctions":` + link(at+"/1/F") + `,"CXLDevice":{"SerialNumber":"SER-2"}}`,
			at + "/1/F": `{"Members":[` + link(at+"/1/F/0") + `]}`, at + "/1/F/0": `{"@odata.type":"#PCIeFunction.v1_2_3.PCIeFunction","Oem":{"N":{"MAC":"020000000001"}}}`},
			[]string{"SER-1", "SER-2", "VER-1", "02:00:00:00:00:01"}},
		"fabrics": {map[string]string{at: `{"Members":[` + link(at+"/NVLink") + `]}`,
			at + "/NVLink": `{"@odata.type":"#Fabric.v1_3_0.Fabric","Switches":` + link(at+"/NVLink/Switches") + `}`, at + "/NVLink/Switches": `{"Members":[` + link(at+"/NVLink/Switches/0") + `]}`,
			at + "/NVLink/Switches/0":       `{"@odata.type":"#Switch.v1_9_0.Switch","SerialNumber":"SER-1","FirmwareVersion":"VER-1","Ports":` + link(at+"/NVLink/Switches/0/Ports") + `}`,
			at + "/NVLink/Switches/0/Ports": `{"Members":[` + link(at+"/NVLink/Switches/0/Ports/1") + `]}`, at + "/NVLink/Switches/0/Ports/1": `{"@odata.type":"#Port.v1_9_0.Port","SFP":{"SerialNumber":"SER-2"}}`},
			[]string{"SER-1", "VER-1", "SER-2"}},
		"cables": {map[string]string{at: `{"Members":[` + link(at+"/c") + `]}`, at + "/c": `{"@odata.type":"#Cable.v1_2_0.Cable","SerialNumber":"SER-1"}`}, []string{"SER-1"}},
		"component integrity": {map[string]string{at: `{"@odata.type":"#ComponentIntegrity.v1_2_0.ComponentIntegrity","SPDM":{"MeasurementSet":{"Measurements":[{"Oem":{"SecurityVersionNumber":"9","FWVersion":"VER-1"}}]}}}`},
			[]string{"VER-1"}},
		"links as plain strings": {map[string]string{at: `{"Oem":{"Contoso":{"Board":"/redfish/v1/Oem/Board","Trays":["/redfish/v1/Oem/Tray1","/redfish/v1/Oem/Tray2/"]}}}`,
			"/redfish/v1/Oem/Board": `{"SerialNumber":"SER-1"}`, "/redfish/v1/Oem/Tray1": `{"SerialNumber":"SER-2"}`, "/redfish/v1/Oem/Tray2": `{"SerialNumber":"SER-3"}`},
			[]string{"SER-1", "SER-2", "SER-3"}},
		"other spellings": {map[string]string{at: `{"MacAddress":"02-00-00-00-00-01","macAddress":"02:00:00:00:00:02","MACAddresses":["020000000003"],"PermanentMacAddr":"0200.0000.0004","PERMANENT_MAC":"02:00:00:00:00:05",
			"Serial_Number":"SER-1","SERIALNUMBER":"SER-2","Serial Number":"SER-3","BoardSN":"SER-4","SN":"SER-5","Serial":"SER-6","SerialNo":"SER-7","ServiceTag":"SER-8","chassis_serial_number":"SER-9","SerialNumbers":["SER-10","SER-11"],
			"BiosVersion":"VER-1","BIOSVer":"VER-2","FirmwareRevision":"VER-3","FirmwareVersions":["VER-4"],"LowestSupportedVersion":"VER-5","FW Version":"VER-6","bios_version":"VER-7","FirmwareVer":"VER-8","Fw_Ver":"VER-9","CPLDVersion":"VER-10","CpldRev":"VER-11","UBootVersion":"VER-12","VersionString":"VER-13"}`},
			[]string{"02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:04", "02:00:00:00:00:05", "SER-1", "SER-2", "SER-3", "SER-4", "SER-5", "SER-6", "SER-7", "SER-8", "SER-9", "SER-10", "SER-11",
				"VER-1", "VER-2", "VER-3", "VER-4", "VER-5", "VER-6", "VER-7", "VER-8", "VER-9", "VER-10", "VER-11", "VER-12", "VER-13"}},
		"names and values": {map[string]string{at: `{"Properties":[{"Name":"Serial Number","Value":"SER-1"},{"Key":"FirmwareVersion","Value":"VER-1"},{"AttributeName":"MACAddress","CurrentValue":"02:00:00:00:00:01"},{"Name":"Colour","Value":"red"}]}`},
			[]string{"SER-1", "VER-1", "02:00:00:00:00:01"}},
		"numbers": {map[string]string{at: `{"SerialNumber":123456789,"FirmwareVersion":4.27}`}, []string{"123456789", "4.27"}},
		"next pages": {map[string]string{at: `{"Members":[` + link(at+"/1") + `],"Members@odata.nextLink":"` + at + `?$skip=1"}`, at + "?$skip=1": `{"Members":[` + link(at+"/2/") + `],"@odata.nextlink":"` + at + `?$skip=2"}`,
			at + "?$skip=2": `{"Members":[` + link(at+"/3") + `],"NextLink":` + link(at+"?$skip=3") + `}`, at + "?$skip=3": `{"Members":[` + link(at+"/4#/x") + `,` + link(at+"/4") + `]}`,
			at + "/1": `{"SerialNumber":"SER-1"}`, at + "/2": `{"SerialNumber":"SER-2"}`, at + "/3": `{"SerialNumber":"SER-3"}`, at + "/4": `{"SerialNumber":"SER-4"}`},
			[]string{"SER-1", "SER-2", "SER-3", "SER-4"}},
		"members without a link":              {map[string]string{at: `{"Members":[{"Name":"a","SerialNumber":"SER-1"},{"Name":"b","Info":{"SerialNumber":"SER-2"}}]}`}, []string{"SER-1", "SER-2"}},
		"members by name":                     {map[string]string{at: `{"Members":{"a":{"SerialNumber":"SER-1"},"b":` + link(at+"/b") + `}}`, at + "/b": `{"SerialNumber":"SER-2"}`}, []string{"SER-1", "SER-2"}},
		"a member that tells more than it is": {map[string]string{at: `{"Members":[{"@odata.id":"` + at + `/gone","SerialNumber":"SER-1"}]}`}, []string{"SER-1"}},
		"an array for a resource":             {map[string]string{at: `[{"SerialNumber":"SER-1"},` + link(at+"/2") + `]`, at + "/2": `{"SerialNumber":"SER-2"}`}, []string{"SER-1", "SER-2"}},
		"odd paths": {map[string]string{at: `{"Members":[` + link(at+"/Tray%201") + `,` + link(at+"//B") + `,` + link(at+"/C#frag") + `,` + link("https://bmc"+at+"/D") + `,{"href":"` + at + `/E"}]}`,
			at + "/Tray%201": `{"SerialNumber":"SER-1"}`, at + "//B": `{"SerialNumber":"SER-2"}`, at + "/C": `{"SerialNumber":"SER-3"}`, at + "/D": `{"SerialNumber":"SER-4"}`, at + "/E": `{"SerialNumber":"SER-5"}`},
			[]string{"SER-1", "SER-2", "SER-3", "SER-4", "SER-5"}},
		"the same Id twice": {map[string]string{at: `{"Members":[` + link(at+"/1") + `,` + link(at+"/2") + `]}`,
			at + "/1": `{"@odata.type":"#Drive.v1_9_0.Drive","Id":"0","SerialNumber":"SER-1","Revision":"VER-1","CapacityBytes":1}`, at + "/2": `{"@odata.type":"#Drive.v1_9_0.Drive","Id":"0","SerialNumber":"SER-2","Revision":"VER-2","CapacityBytes":1}`},
			[]string{"SER-1", "SER-2", "VER-1", "VER-2"}},
		"absent, and yet it has a serial": {map[string]string{at: `{"Members":[` + link(at+"/1") + `]}`,
			at + "/1": `{"@odata.type":"#Memory.v1_9_0.Memory","Id":"1","Status":{"State":"Absent"},"SerialNumber":"SER-1","FirmwareRevision":"VER-1"}`}, []string{"SER-1", "VER-1"}},
		"several versions of one thing": {map[string]string{at: `{"Members":[` + link(at+"/1") + `]}`,
			at + "/1": `{"@odata.type":"#SoftwareInventory.v1_9_0.SoftwareInventory","Id":"1","Version":"VER-1","LowestSupportedVersion":"VER-2","Oem":{"X":{"ActiveVersion":"VER-3","BackupVersion":"VER-4"}}}`},
			[]string{"VER-1", "VER-2", "VER-3", "VER-4"}},
		"ports": {map[string]string{at: `{"Members":[` + link(at+"/1") + `]}`,
			at + "/1": `{"@odata.type":"#Port.v1_9_0.Port","Id":"1","Ethernet":{"AssociatedMACAddresses":["02:00:00:00:00:01","02:00:00:00:00:02"]},"InfiniBand":{"AssociatedNodeGUIDs":["0x1"]},"FibreChannel":{},"SFP":{"SerialNumber":"SER-1"},"Oem":{"X":{"VirtualMAC":"02:00:00:00:00:03"}}}`},
			[]string{"02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "SER-1"}},
		"EthernetInterface": {map[string]string{at: `{"Members":[` + link(at+"/1") + `]}`,
			at + "/1": `{"@odata.type":"#EthernetInterface.v1_9_0.EthernetInterface","Id":"1","MACAddress":"02:00:00:00:00:01","PermanentMACAddress":"02:00:00:00:00:02"}`},
			[]string{"02:00:00:00:00:01", "02:00:00:00:00:02"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := map[string]string{"/redfish/v1/Chassis/1": chassisWith("Extra")}
			for path, body := range tt.tree {
				tree[path] = body
			}
			inv := readTree(t, tree, reader.Options{})
			inv.Unread = nil // a value there is not told
			out, err := json.Marshal(inv)
			if err != nil {
				t.Fatal(err)
			}
			var lost []string
			for _, want := range tt.want {
				if !strings.Contains(string(out), fmt.Sprintf("%q", want)) {
					lost = append(lost, want)
				}
			}
			if len(lost) > 0 {
				t.Errorf("lost %v", lost)
			}
		})
	}
}
