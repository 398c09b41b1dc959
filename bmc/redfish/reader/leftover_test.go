package reader

import "testing"

func TestClassify(t *testing.T) {
	for name, want := range map[string]valueClass{
		"SerialNumber": classSerial, "PCASerialNumber": classSerial, "ServiceTag": classSerial, "BoardSerial": classSerial, "Info.1.ServiceTag": classSerial,
		"FirmwareVersion": classVersion, "VersionString": classVersion, "Revision": classVersion, "FirmwarePackageVersion": classVersion,
		"ControllerBIOSVersion": classVersion, "FWRev": classVersion, "BiosVersion": classVersion, "Version": classVersion,
		"MACAddress": classMAC, "PermanentMACAddress": classMAC, "VirtMacAddr": classMAC, "NIC.1.MACAddress": classMAC,
		"BoardSN": classSerial, "Serial Number": classSerial, "Ser_Num": classSerial, "BIOSVer": classVersion, "Fw_Ver": classVersion, "BMC Firmware": classVersion,
		"FirmwareVersions": classVersion, "VirtualMAC": classMAC, "Driver": classNone, "Server": classNone, "SupportedVersions": classNone, "Receiver": classNone,
		"SerialPort": classNone, "SerialConsole": classNone, "RedfishVersion": classNone, "OSVersion": classNone, "IPVersion": classNone,
		"@odata.type": classNone, "Version@Redfish.AllowableValues": classNone, "MachineType": classNone, "CapableProtocolVersions": classNone, "": classNone,
	} {
		if got := classify(name); got != want {
			t.Errorf("classify(%q) = %d, want %d", name, got, want)
		}
	}
}

func TestMACOf(t *testing.T) {
	for _, c := range []struct {
		in   string
		bare bool
		want string
	}{
		{"02:00:00:00:00:0a", false, "02:00:00:00:00:0A"},
		{" 02-00-00-00-00-0A ", false, "02:00:00:00:00:0A"},
		{"0200.0000.000a", false, "02:00:00:00:00:0A"},
		{"02000000000a", true, "02:00:00:00:00:0A"},
		{"02000000000a", false, ""}, // may be a serial
		{"00:00:00:00:00:00", true, ""},
		{"ff:ff:ff:ff:ff:ff", true, ""},
		{"08:00:38:00:00:00:00:01", true, ""},
		{"2026-11-23", false, ""},
		{"fe80::1", false, ""},
	} {
		if got, _ := macOf(c.in, c.bare); got != c.want {
			t.Errorf("macOf(%q, %v) = %q, want %q", c.in, c.bare, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{ // the value of "a"
		`{"a":"b"}`:                  "b",
		"\ufeff{\"a\":\"b\"}":        "b",
		`{"a":"\u00e9\n\"\/"}`:       "é\n\"/",
		`{"a":"\ud83d\ude00"}`:       "😀",
		`{"a":"\ud83d"}`:             "\ufffd",
		"{\"a\":\"tab\there\"}":      "tab\there",
		"{\"a\":\"\xff\"}":           "\ufffd",
		`{"a":12.5e3,}`:              "12.5e3",
		`{"x":[1,{"a":"no"}],"a":1}`: "1",
		`{"a":"first","a":"second"}`: "first",
	} {
		v, err := parse(in)
		if got := v.get("a").str(); err != nil || got != want {
			t.Errorf("parse(%q): a = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "{", `{"a"}`, `{"a":}`, `{"a":1 "b":2}`, `[1`, `{"a":"b`, `{"a":tru}`, `{} x`, `{"a":"\u12"}`} {
		if _, err := parse(in); err == nil {
			t.Errorf("parse(%q) was accepted", in)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ in, path, reason string }{
		{"/redfish/v1/Systems/1", "/redfish/v1/Systems/1", ""},
		{"/redfish/v1/Systems/1#/Fans/0", "/redfish/v1/Systems/1", ""},
		{"https://bmc:8443/redfish/v1/x?y=1", "/redfish/v1/x?y=1", ""},
		{"/redfish/v1/a b", "/redfish/v1/a%20b", ""},
		{"https://other/redfish/v1/x", "", ReasonOffHost},
		{"//other/redfish/v1/x", "", ReasonOffHost},
		{"file:///redfish/v1/x", "", ReasonOffHost},
		{"/redfish/v1/%2e%2e/x", "", ReasonOffHost},
		{"/etc/passwd", "", ReasonMalformed},
		{"F0", "", ReasonMalformed},
		{"/redfish/v1/\r\nX: y", "", ReasonMalformed},
	} {
		if path, reason := resolve(c.in, "bmc:8443"); path != c.path || reason != c.reason {
			t.Errorf("resolve(%q) = %q, %q; want %q, %q", c.in, path, reason, c.path, c.reason)
		}
	}
}
