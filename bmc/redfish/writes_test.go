package redfish_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/bmc"
)

// ask does something twice: the second time everything is so already, and nothing may be sent.
func ask(t *testing.T, s *service, do func() error, want ...string) {
	t.Helper()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.writes()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if err := do(); err != nil {
		t.Fatalf("asked again: %v", err)
	}
	if w := s.writes(); len(w) > 0 {
		t.Errorf("asked again for what already is, and it sent %v", w)
	}
}

const reset = "POST /redfish/v1/Systems/S1/Actions/ComputerSystem.Reset "

func TestPower(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	power := func(a bmc.PowerAction) func() error { return func() error { return c.SetPower(t.Context(), a) } }
	ask(t, s, power(bmc.PowerActionOn), reset+`{"ResetType":"On"}`)
	ask(t, s, power(bmc.PowerActionShutdown), reset+`{"ResetType":"GracefulShutdown"}`)
	ask(t, s, power(bmc.PowerActionOff), reset+`{"ResetType":"ForceOff"}`)
	if state, err := c.PowerState(t.Context()); err != nil || state != bmc.PowerOff {
		t.Errorf("PowerState() = %v, %v", state, err)
	}
	if at, err := c.BootProgress(t.Context()); err != nil || at != "OSRunning" {
		t.Errorf("BootProgress() = %q, %v", at, err)
	}
}

func TestPowerRefused(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	s.hooks[strings.TrimSpace(reset)] = func(w http.ResponseWriter, _ obj) bool {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error":{"message":"not now, it is hot"}}`)
		return true
	}
	err := c.SetPower(t.Context(), bmc.PowerActionOn)
	if !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), "it is hot") {
		t.Errorf("through bmclib: %v; want the BMC's own words", err)
	}
	s.edit("/redfish/v1/Systems/S1", obj{"Actions": obj{"#ComputerSystem.Reset": obj{"target": "/x", "@Redfish.ActionInfo": "/redfish/v1/Info"}}})
	s.edit("/redfish/v1/Info", obj{"Parameters": []any{obj{"Name": "ResetType", "AllowableValues": []any{"Nmi"}}}})
	if err := c.SetPower(t.Context(), bmc.PowerActionOn); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("a reset type that is not offered: %v", err)
	}
}

func TestBootOverride(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	for _, tt := range []struct {
		o    bmc.BootOverride
		body string
	}{
		{bmc.BootOverride{Device: bmc.BootPXE, Once: true, UEFI: true}, `{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`},
		{bmc.BootOverride{Device: bmc.BootDisk, UEFI: false}, `{"Boot":{"BootSourceOverrideEnabled":"Continuous","BootSourceOverrideMode":"Legacy","BootSourceOverrideTarget":"Hdd"}}`},
		{bmc.BootOverride{Device: bmc.BootHTTP, Once: true, UEFI: true, URI: "http://boot/x.efi"}, `{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideMode":"UEFI","BootSourceOverrideTarget":"UefiHttp","HttpBootUri":"http://boot/x.efi"}}`},
		{bmc.BootOverride{Device: bmc.BootNone}, `{"Boot":{"BootSourceOverrideEnabled":"Disabled","BootSourceOverrideTarget":"None"}}`},
	} {
		ask(t, s, func() error { return c.SetBootOverride(t.Context(), tt.o) }, "PATCH /redfish/v1/Systems/S1 "+tt.body)
		got, err := c.BootOverride(t.Context())
		want := tt.o
		if want.Device == bmc.BootNone {
			want.UEFI = true // the mode stays
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if err := c.SetBootOverride(t.Context(), bmc.BootOverride{Device: bmc.BootBIOS, Once: true}); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf("a target that is not offered: %v", err)
	}
	s.hooks["PATCH /redfish/v1/Systems/S1"] = func(w http.ResponseWriter, _ obj) bool { w.WriteHeader(http.StatusNoContent); return true }
	if err := c.SetBootOverride(t.Context(), bmc.BootOverride{Device: bmc.BootPXE, Once: true, UEFI: true}); !errors.Is(err, bmc.ErrNotApplied) {
		t.Errorf("a BMC that says yes and does nothing: %v", err)
	}
}

func TestMedia(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	const cd = "POST /redfish/v1/Managers/BMC/VirtualMedia/CD/Actions/VirtualMedia."
	ask(t, s, func() error { return c.InsertMedia(t.Context(), "http://boot/a.iso") },
		cd+`InsertMedia {"Image":"http://boot/a.iso","Inserted":true,"WriteProtected":true}`)
	ask(t, s, func() error { return c.InsertMedia(t.Context(), "http://boot/b.iso") },
		cd+"EjectMedia {}", cd+`InsertMedia {"Image":"http://boot/b.iso","Inserted":true,"WriteProtected":true}`)
	ask(t, s, func() error { return c.EjectMedia(t.Context()) }, cd+"EjectMedia {}")
	if s.tree["/redfish/v1/Managers/BMC/VirtualMedia/USB"]["Inserted"] != true {
		t.Error("a USB image of somebody else was taken out")
	}
	// A drive without actions is written to.
	s.edit("/redfish/v1/Managers/BMC/VirtualMedia/CD", obj{"Actions": nil})
	ask(t, s, func() error { return c.InsertMedia(t.Context(), "http://boot/a.iso") },
		`PATCH /redfish/v1/Managers/BMC/VirtualMedia/CD {"Image":"http://boot/a.iso","Inserted":true}`)
	ask(t, s, func() error { return c.EjectMedia(t.Context()) },
		`PATCH /redfish/v1/Managers/BMC/VirtualMedia/CD {"Image":null,"Inserted":false}`)
}

func TestAccounts(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	got, err := c.Accounts(t.Context())
	want := []bmc.Account{{ID: "2", User: "admin", Role: "Administrator", Enabled: true, URI: "/redfish/v1/AccountService/Accounts/2"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := c.SetPassword(t.Context(), "admin", "pa55word"); err != nil || len(s.writes()) > 0 {
		t.Errorf("the same password: %v", err)
	}
	if err := c.SetPassword(t.Context(), "nobody", "x"); !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), "admin") {
		t.Errorf("an unknown account: %v", err)
	}
	s.hooks["PATCH /redfish/v1/AccountService/Accounts/2"] = func(w http.ResponseWriter, b obj) bool {
		if b["Password"] != "weak" {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":{"@Message.ExtendedInfo":[{"MessageId":"x","Message":"the value weak is too weak"}]}}`)
		return true
	}
	err = c.SetPassword(t.Context(), "admin", "weak")
	if !errors.Is(err, bmc.ErrRejected) || !strings.Contains(err.Error(), "the value *** is too ***") {
		t.Errorf("a refused password: %v", err)
	}
	s.writes()
	if err := c.SetPassword(t.Context(), "admin", "n3w"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`PATCH /redfish/v1/AccountService/Accounts/2 {"Password":"n3w"}`}, s.writes()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestPasswordLengths(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	if least, most, err := c.PasswordLengths(t.Context()); least != 0 || most != 0 || err != nil {
		t.Errorf("PasswordLengths() = %d, %d, %v of a BMC that says nothing", least, most, err)
	}
	s.edit("/redfish/v1/AccountService", obj{"MinPasswordLength": 8, "MaxPasswordLength": 16})
	if least, most, err := c.PasswordLengths(t.Context()); least != 8 || most != 16 || err != nil {
		t.Errorf("PasswordLengths() = %d, %d, %v; want 8, 16", least, most, err)
	}
}

func TestManagerSettings(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	_, unsupported, err := c.ManagerSettings(t.Context())
	if diff := cmp.Diff([]string{"syslog"}, unsupported); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	on := true
	want := bmc.ManagerSettings{Hostname: "bmc-r12", NTPServers: []string{"10.0.0.1"}, NTPEnabled: &on, DNSServers: []string{"10.0.0.2", "2001:DB8::1"}}
	ask(t, s, func() error { return c.SetManagerSettings(t.Context(), want) },
		`PATCH /redfish/v1/Managers/BMC/NetworkProtocol {"NTP":{"NTPServers":["10.0.0.1"],"ProtocolEnabled":true}}`,
		`PATCH /redfish/v1/Managers/BMC/EthernetInterfaces/eth0 {"StaticNameServers":["10.0.0.2","2001:DB8::1"]}`,
		`PATCH /redfish/v1/Managers/BMC/EthernetInterfaces/eth0 {"HostName":"bmc-r12"}`)
	if err := c.SetManagerSettings(t.Context(), bmc.ManagerSettings{Clock: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	if w := s.writes(); len(w) != 1 || !strings.Contains(w[0], `{"DateTime":"2026-03-01T14:00:`) || !strings.Contains(w[0], `+02:00"}`) {
		t.Errorf("clock: %v; want the time now in the BMC's zone", w)
	}
	if err := c.SetManagerSettings(t.Context(), bmc.ManagerSettings{Syslog: "10.0.0.3:514", Hostname: "other"}); !errors.Is(err, bmc.ErrUnsupported) || len(s.writes()) > 0 {
		t.Errorf("what the BMC lacks: %v, and nothing may be written", err)
	}
}

func TestSyslog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(s *service)
		want  []string
	}{
		{"OEM part of the network protocol", func(s *service) {
			s.edit("/redfish/v1", obj{"Vendor": "HPE"})
			s.edit("/redfish/v1/Managers/BMC/NetworkProtocol", obj{"Oem": obj{"Hpe": obj{"RemoteSyslogServer": "", "RemoteSyslogPort": 514, "RemoteSyslogEnabled": false}}})
		}, []string{`PATCH /redfish/v1/Managers/BMC/NetworkProtocol {"Oem":{"Hpe":{"RemoteSyslogEnabled":true,"RemoteSyslogPort":5514,"RemoteSyslogServer":"10.0.0.3"}}}`}},
		{"attributes", func(s *service) {
			s.edit("/redfish/v1", obj{"Vendor": "Dell"})
			s.edit("/redfish/v1/Managers/BMC", obj{"Links": obj{"Oem": obj{"Dell": obj{"DellAttributes": links("/redfish/v1/A/System.Embedded.1", "/redfish/v1/A/iDRAC.Embedded.1")}}}})
			s.edit("/redfish/v1/A/iDRAC.Embedded.1", obj{"Attributes": obj{"SysLog.1.Server1": "", "SysLog.1.Port": 514, "SysLog.1.SysLogEnable": "Disabled"}})
		}, []string{`PATCH /redfish/v1/A/iDRAC.Embedded.1 {"Attributes":{"SysLog.1.Port":5514,"SysLog.1.Server1":"10.0.0.3","SysLog.1.SysLogEnable":"Enabled"}}`}},
		{"event subscription", func(s *service) {
			s.edit("/redfish/v1", obj{"EventService": link("/redfish/v1/EventService")})
			s.edit("/redfish/v1/EventService", obj{"Subscriptions": link("/redfish/v1/EventService/Subscriptions")})
			s.edit("/redfish/v1/EventService/Subscriptions", obj{"Members": links()})
			s.hooks["POST /redfish/v1/EventService/Subscriptions"] = func(w http.ResponseWriter, body obj) bool {
				body["@odata.id"] = "/redfish/v1/EventService/Subscriptions/1"
				s.tree["/redfish/v1/EventService/Subscriptions/1"] = body
				s.tree["/redfish/v1/EventService/Subscriptions"]["Members"] = links("/redfish/v1/EventService/Subscriptions/1")
				return false
			}
		}, []string{`POST /redfish/v1/EventService/Subscriptions {"Context":"cagenut","Destination":"syslog://10.0.0.3:5514","Protocol":"SyslogUDP","SubscriptionType":"Syslog"}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			tt.setup(s)
			c := controller(t, s)
			ask(t, s, func() error { return c.SetManagerSettings(t.Context(), bmc.ManagerSettings{Syslog: "10.0.0.3:5514"}) }, tt.want...)
			now, unsupported, err := c.ManagerSettings(t.Context())
			if err != nil || now.Syslog != "10.0.0.3:5514" || slices.Contains(unsupported, "syslog") {
				t.Errorf("read back %q, unsupported %v, %v", now.Syslog, unsupported, err)
			}
		})
	}
}

// A profile need not name the port, a BMC need not write an address as the profile does, and other
// people's servers stay: all this is no difference, and never another subscription.
func TestSyslogIsThere(t *testing.T) {
	s := newService(t)
	s.edit("/redfish/v1", obj{"EventService": link("/redfish/v1/EventService")})
	const all = "/redfish/v1/EventService/Subscriptions"
	s.edit("/redfish/v1/EventService", obj{"Subscriptions": link(all)})
	s.edit(all, obj{"Members": links(all+"/1", all+"/2", all+"/3")})
	s.edit(all+"/1", obj{"Destination": "syslog://[2001:DB8:0::9]:514", "Protocol": "SyslogUDP", "Context": "a person's"})
	s.edit(all+"/2", obj{"Destination": "syslog://LOG.example:514", "Protocol": "SyslogUDP", "Context": "cagenut"})
	s.edit(all+"/3", obj{"Destination": "syslog://192.0.2.9:1514", "Protocol": "SyslogTCP", "Context": "a person's"})
	c := controller(t, s)
	now, _, err := c.ManagerSettings(t.Context())
	if err != nil || now.Syslog != "log.example:514" {
		t.Errorf("syslog %q and %v, %v; want ours first", now.Syslog, now.AlsoSyslog, err)
	}
	for _, want := range []string{"log.example", "LOG.example:514", "2001:db8::9", "192.0.2.9:1514"} {
		if !now.SendsTo(want) {
			t.Errorf("%+v is said not to send to %s", now, want)
		}
		ask(t, s, func() error { return c.SetManagerSettings(t.Context(), bmc.ManagerSettings{Syslog: want}) })
	}
	if now.SendsTo("192.0.2.9") {
		t.Error("another port is another server")
	}
}

func TestBIOS(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	ask(t, s, func() error {
		// From a profile everything may come as a string; what already is goes out not at all.
		return c.SetBIOS(t.Context(), bmc.Attributes{"Cores": "16", "Turbo": "false", "SysProfile": "Perf"})
	}, `PATCH /redfish/v1/Systems/S1/Bios/Settings {"@Redfish.SettingsApplyTime":{"@odata.type":"#Settings.v1_3_0.PreferredApplyTime","ApplyTime":"OnReset"},"Attributes":{"Cores":16,"Turbo":false}}`)
	got, err := c.BIOS(t.Context())
	want := bmc.BIOSState{
		Current: bmc.Attributes{"BootMode": "Uefi", "Cores": int64(8), "Turbo": true, "Serial": "x", "SysProfile": "Perf"},
		Pending: bmc.Attributes{"Cores": int64(16), "Turbo": false}, BootMode: "uefi",
		BootModeAttribute: "BootMode", BootModeValues: map[string]string{"uefi": "Uefi", "legacy": "Bios"}, ReadOnly: []string{"Serial"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, attrs := range map[string]bmc.Attributes{
		"unknown": {"Nope": "x"}, "read-only": {"Serial": "y"}, "not a number": {"Cores": "many"}, "not in the list": {"SysProfile": "Fast"},
	} {
		if err := c.SetBIOS(t.Context(), attrs); !errors.Is(err, bmc.ErrRejected) || len(s.writes()) > 0 {
			t.Errorf("%s: %v, and nothing may be sent", name, err)
		}
	}
	// Back to what is current: the pending change must be taken back.
	ask(t, s, func() error { return c.SetBIOS(t.Context(), bmc.Attributes{"Cores": 8}) },
		`PATCH /redfish/v1/Systems/S1/Bios/Settings {"@Redfish.SettingsApplyTime":{"@odata.type":"#Settings.v1_3_0.PreferredApplyTime","ApplyTime":"OnReset"},"Attributes":{"Cores":8}}`)
}

func TestChangeInBetween(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	raced := false
	s.hooks["PATCH /redfish/v1/Systems/S1"] = func(http.ResponseWriter, obj) bool {
		if !raced { // somebody else was quicker
			raced = true
			s.tags["/redfish/v1/Systems/S1"]++
		}
		return false
	}
	if err := c.SetBootOverride(t.Context(), bmc.BootOverride{Device: bmc.BootPXE, Once: true, UEFI: true}); err != nil {
		t.Errorf("after 412: %v", err)
	}
	if n := len(s.writes()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestFirmware(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	yes := true
	fw, err := c.Firmware(t.Context())
	want := []bmc.FirmwareComponent{{ID: "BMC", Name: "BMC", Version: "1.2", Updatable: &yes, URI: "/redfish/v1/UpdateService/FirmwareInventory/BMC"}}
	if diff := cmp.Diff(want, fw); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	s.hooks["POST /redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate"] = func(w http.ResponseWriter, _ obj) bool {
		w.Header().Set("Location", "/redfish/v1/TaskService/Tasks/1")
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	ref, err := c.StartUpdate(t.Context(), bmc.FirmwareUpdate{ImageURI: "http://files/bmc.bin", Targets: []string{"/redfish/v1/UpdateService/FirmwareInventory/BMC"}})
	if err != nil || ref.URI != "/redfish/v1/TaskService/Tasks/1" {
		t.Errorf("StartUpdate() = %+v, %v", ref, err)
	}
	if diff := cmp.Diff([]string{`POST /redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate {"@Redfish.OperationApplyTime":"Immediate","ImageURI":"http://files/bmc.bin","Targets":["/redfish/v1/UpdateService/FirmwareInventory/BMC"],"TransferProtocol":"HTTP"}`}, s.writes()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	s.raw["POST /redfish/v1/UpdateService/push"] = func(w http.ResponseWriter, r *http.Request) {
		mr, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		for _, want := range []struct{ name, file, kind, body string }{
			{"UpdateParameters", "", "application/json", "{\"Targets\":[]}\n"},
			{"UpdateFile", "bios.bin", "application/octet-stream", "image"},
		} {
			p, err := mr.NextPart()
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(p)
			if p.FormName() != want.name || p.FileName() != want.file || p.Header.Get("Content-Type") != want.kind || string(body) != want.body {
				t.Errorf("part %q file %q %q: %q, want %+v", p.FormName(), p.FileName(), p.Header.Get("Content-Type"), body, want)
			}
		}
		if r.ContentLength <= 0 {
			t.Error("no Content-Length: BMCs refuse chunked uploads")
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"@odata.type":"#Task.v1_7_0.Task","@odata.id":"/redfish/v1/TaskService/Tasks/1","TaskState":"New"}`)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("image")), nil }
	ref, err = c.StartUpdate(t.Context(), bmc.FirmwareUpdate{Name: "dir/bios.bin", Size: 5, Open: open, Push: true, ImageURI: "http://files/bios.bin"})
	if err != nil || ref.URI != "/redfish/v1/TaskService/Tasks/1" {
		t.Errorf("push: %+v, %v", ref, err)
	}
	if _, err := c.StartUpdate(t.Context(), bmc.FirmwareUpdate{ImageURI: "nfs://u:pass@files/x"}); !errors.Is(err, bmc.ErrUnsupported) || strings.Contains(err.Error(), "pass@") {
		t.Errorf("a protocol that is not offered: %v", err)
	}
}

// The older push takes the file alone; targets are named beside it where the service has a place for them.
func TestPlainPush(t *testing.T) {
	const at, target = "/redfish/v1/UpdateService", "/redfish/v1/UpdateService/FirmwareInventory/BMC"
	for name, tt := range map[string]struct {
		service obj
		want    []string
		refused error
	}{
		"no place for targets": {service: obj{}, want: []string{"POST image"}},
		"targets": {service: obj{"HttpPushUriTargets": []any{}}, want: []string{
			`PATCH ` + at + ` {"HttpPushUriTargets":["` + target + `"]}`, "POST image", `PATCH ` + at + ` {"HttpPushUriTargets":[]}`}},
		"somebody else's": {service: obj{"HttpPushUriTargets": []any{"/x"}, "HttpPushUriTargetsBusy": true}, refused: bmc.ErrBusy},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			s.edit(at, obj{"HttpPushUri": at + "/plain", "MultipartHttpPushUri": nil, "Actions": obj{}})
			s.edit(at, tt.service)
			s.raw["POST "+at+"/plain"] = func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				s.wrote = append(s.wrote, "POST "+string(body))
				w.Header().Set("Location", "/redfish/v1/TaskService/Tasks/1")
				w.WriteHeader(http.StatusAccepted)
			}
			ref, err := controller(t, s).StartUpdate(t.Context(), bmc.FirmwareUpdate{Name: "fw.bin", Size: 5, Targets: []string{target},
				Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("image")), nil }})
			if !errors.Is(err, tt.refused) || err == nil && ref.URI != "/redfish/v1/TaskService/Tasks/1" {
				t.Errorf("StartUpdate() = %+v, %v; want %v", ref, err, tt.refused)
			}
			var got []string
			for _, w := range s.writes() {
				if !strings.Contains(w, "/plain") {
					got = append(got, w)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTasks(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	all, err := c.Tasks(t.Context())
	want := []bmc.TaskState{{URI: "/redfish/v1/TaskService/Tasks/1", Name: "Update", State: "Running", Percent: 40}}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	answer := func(status int, body string) {
		s.raw["GET /redfish/v1/T"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	for _, tt := range []struct {
		status int
		body   string
		want   bmc.TaskState
	}{
		{200, `{"TaskState":"Completed","TaskStatus":"OK","PercentComplete":100}`, bmc.TaskState{State: "Completed", Done: true, OK: true, Percent: 100}},
		{200, `{"TaskState":"Completed","TaskStatus":"Critical"}`, bmc.TaskState{State: "Completed", Done: true, Percent: -1}},
		{200, `{"TaskState":"Exception","Messages":[{"Message":"bad image"}]}`, bmc.TaskState{State: "Exception", Done: true, Percent: -1, Messages: []string{"bad image"}}},
		{200, `{"TaskState":"Cancelling"}`, bmc.TaskState{State: "Cancelling", Percent: -1}},
		{200, `{"TaskState":7,"JobState":"CompletedWithErrors"}`, bmc.TaskState{State: "CompletedWithErrors", Done: true, Percent: -1}},
		{200, `{"TaskState":"SomethingNew","PercentComplete":"ten"}`, bmc.TaskState{State: "SomethingNew", Percent: -1}},
		{200, `{"Name":"Task 0","TaskState":"Running","Payload":{"TargetUri":"/redfish/v1/UpdateService/update"}}`,
			bmc.TaskState{Name: "Task 0", Target: "/redfish/v1/UpdateService/update", State: "Running", Percent: -1}},
		{202, ``, bmc.TaskState{State: "Running", Percent: -1}},
		{202, `{"TaskState":"Running","PercentComplete":3}`, bmc.TaskState{State: "Running", Percent: 3}},
		{204, ``, bmc.TaskState{State: "Completed", Done: true, OK: true, Percent: 100}},
		{400, `{"error":{"message":"no such image"}}`, bmc.TaskState{State: "Exception", Done: true, Percent: -1, Messages: []string{"no such image"}}},
		{404, ``, bmc.TaskState{Gone: true, Percent: -1}},
		{410, ``, bmc.TaskState{Gone: true, Percent: -1}},
	} {
		answer(tt.status, tt.body)
		tt.want.URI = "/redfish/v1/T"
		got, err := c.Task(t.Context(), bmc.TaskRef{URI: "/redfish/v1/T"})
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%d %s: %v (-want +got):\n%s", tt.status, tt.body, err, diff)
		}
	}
	answer(500, "")
	if _, err := c.Task(t.Context(), bmc.TaskRef{URI: "/redfish/v1/T"}); !errors.Is(err, bmc.ErrServer) {
		t.Errorf("500: %v; a BMC's trouble is not the task's failure", err)
	}
}

func TestEvents(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	const at = "/redfish/v1/Systems/S1/LogServices/SEL/Entries"
	s.edit(at, obj{"Members": links(at+"/1", at+"/2", at+"/3", at+"/gone")})
	for i, e := range []obj{{"Created": "2026-01-01T00:00:01Z", "Message": "first"}, {"Created": "2026-01-01T00:00:03Z", "Message": "third", "Severity": "Critical"}, {"Created": "2026-01-01T00:00:02Z", "Message": "second"}} {
		s.edit(fmt.Sprintf("%s/%d", at, i+1), e)
	}
	got, err := c.Events(t.Context(), 2)
	if err != nil || len(got) != 2 || got[0].Message != "third" || got[0].Severity != "Critical" || got[1].Message != "second" {
		t.Errorf("Events() = %+v, %v; want the two newest, newest first", got, err)
	}
}

func TestIdentify(t *testing.T) {
	s := newService(t)
	c := controller(t, s)
	id, err := c.Identify(t.Context())
	if err != nil || id.Serial != "SN123" || id.Fingerprint == "" || id.SerialSource != "ComputerSystem.SerialNumber" {
		t.Errorf("Identify() = %+v, %v", id, err)
	}
}

// A system that cannot be read says nothing of who the machine is, not that it is another.
func TestIdentifyNeedsTheSystem(t *testing.T) {
	for status, want := range map[int]error{
		http.StatusInternalServerError: bmc.ErrServer,
		http.StatusServiceUnavailable:  bmc.ErrBusy,
		http.StatusNotFound:            bmc.ErrMalformed,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			s := newService(t)
			s.raw["GET /redfish/v1/Systems/S1"] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
			if id, err := controller(t, s).Identify(t.Context()); !errors.Is(err, want) {
				t.Errorf("Identify() = %+v, %v; want %v", id, err, want)
			}
		})
	}
}
