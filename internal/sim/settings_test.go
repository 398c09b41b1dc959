package sim_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

type object = map[string]any

func TestBIOSAppliesAtTheNextReboot(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourBase))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	const bios, settings = "/redfish/v1/Systems/1/Bios", "/redfish/v1/Systems/1/Bios/Settings"
	set := func(want int, attrs object) simtest.Answer {
		return c.Do(want, "PATCH", settings, object{"Attributes": attrs})
	}
	reboot := func() {
		resetTo(c, http.StatusNoContent, "ForceRestart")
		clock.Advance(5 * time.Second)
	}
	// Refused whole: TurboMode depends on PowerProfile as it is, not as it will be.
	a := set(http.StatusBadRequest, object{"PowerProfile": "Custom", "TurboMode": "Disabled"})
	if p := simtest.At(a.Body, "error", "@Message.ExtendedInfo", 0, "RelatedProperties", 0); p != "#/Attributes/TurboMode" {
		t.Errorf("refused because of %v", p)
	}
	for name, v := range map[string]any{"PowerProfile": "Fast", "PowerOnDelaySeconds": 900, "HyperThreading": "yes", "Nope": 1, "BiosDate": "x"} {
		set(http.StatusBadRequest, object{name: v})
	}
	set(http.StatusOK, object{"PowerProfile": "Custom", "PowerOnDelaySeconds": 30, "BootMode": "Legacy"})
	if v := simtest.At(c.Get(bios), "Attributes", "PowerProfile"); v != "Balanced" {
		t.Errorf("before the reboot: %v", v)
	}
	if v := simtest.At(c.Get(settings), "Attributes", "PowerProfile"); v != "Custom" {
		t.Errorf("pending: %v", v)
	}
	reboot()
	set(http.StatusOK, object{"TurboMode": "Disabled"})
	reboot()
	want := object{"PowerProfile": "Custom", "PowerOnDelaySeconds": 30.0, "BootMode": "Legacy", "TurboMode": "Disabled"}
	got := c.Get(bios)["Attributes"].(object)
	for name := range got {
		if _, asked := want[name]; !asked {
			delete(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if mode := simtest.At(c.Get("/redfish/v1/Systems/1"), "Boot", "BootSourceOverrideMode"); mode != "Legacy" {
		t.Errorf("boot mode: %v", mode)
	}
	c.Do(http.StatusBadRequest, "PATCH", "/redfish/v1/Systems/1/SecureBoot", object{"SecureBootEnable": true})
	if n := len(box.Journal(sim.Query{Effect: sim.EffectBIOSApplied})); n != 2 {
		t.Errorf("bios-applied: got %d, want 2", n)
	}
}

func TestDellSettingsWaitForAJob(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourDell))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	const settings = "/redfish/v1/Systems/System.Embedded.1/Bios/Settings"
	c.Do(http.StatusOK, "PATCH", settings, object{"Attributes": object{"SriovGlobalEnable": "Enabled"}})
	resetTo(c, http.StatusNoContent, "ForceRestart")
	clock.Advance(5 * time.Second)
	if v := m.Summary().BIOS["SriovGlobalEnable"]; v != "Disabled" {
		t.Errorf("applied without a job: %v", v)
	}
	if diff := cmp.Diff(object{"SriovGlobalEnable": "Enabled"}, c.Get(settings)["Attributes"]); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	a := c.Do(http.StatusAccepted, "PATCH", settings, object{
		"Attributes": object{"ProcVirtualization": "Enabled"}, "@Redfish.SettingsApplyTime": object{"ApplyTime": "OnReset"},
	})
	resetTo(c, http.StatusNoContent, "ForceRestart")
	clock.Advance(5 * time.Second)
	if s := c.Get(a.Header.Get("Location"))["TaskState"]; s != "Completed" {
		t.Errorf("job: %v", s)
	}
	if b := m.Summary().BIOS; b["SriovGlobalEnable"] != "Enabled" || b["ProcVirtualization"] != "Enabled" {
		t.Errorf("BIOS: %v", b)
	}
}

// Each flavour has its own places for the same settings.
func TestManagerSettings(t *testing.T) {
	ntp, dns := []string{"192.0.2.1", "192.0.2.2"}, []string{"192.0.2.53"}
	standard := func(manager, nic string) map[string]object {
		return map[string]object{
			manager + "/NetworkProtocol":           {"NTP": object{"NTPServers": ntp, "ProtocolEnabled": true}},
			manager + "/EthernetInterfaces/" + nic: {"StaticNameServers": dns, "HostName": "bmc-a"},
		}
	}
	with := func(m map[string]object, path string, body object) map[string]object { m[path] = body; return m }
	for flavour, writes := range map[string]map[string]object{
		sim.FlavourBase:       standard("/redfish/v1/Managers/BMC", "eth0"),
		sim.FlavourOpenBMC:    standard("/redfish/v1/Managers/bmc", "eth0"),
		sim.FlavourSupermicro: with(standard("/redfish/v1/Managers/1", "1"), "/redfish/v1/Managers/1/Oem/Supermicro/Syslog", object{"EnableSyslog": true, "SyslogServer": "192.0.2.9", "SyslogPortNumber": 514}),
		sim.FlavourDell: {"/redfish/v1/Managers/iDRAC.Embedded.1/Oem/Dell/DellAttributes/iDRAC.Embedded.1": {"Attributes": object{
			"NIC.1.DNSRacName": "bmc-a", "NTPConfigGroup.1.NTP1": ntp[0], "NTPConfigGroup.1.NTP2": ntp[1], "NTPConfigGroup.1.NTPEnable": "Enabled",
			"IPv4Static.1.DNS1": dns[0], "SysLog.1.Server1": "192.0.2.9", "SysLog.1.SysLogEnable": "Enabled",
		}}},
		sim.FlavourHPE: {
			"/redfish/v1/Managers/1/DateTime":             {"StaticNTPServers": ntp},
			"/redfish/v1/Managers/1/EthernetInterfaces/1": {"StaticNameServers": dns},
			"/redfish/v1/Managers/1/NetworkProtocol":      {"HostName": "bmc-a", "Oem": object{"Hpe": object{"RemoteSyslogServer": "192.0.2.9", "RemoteSyslogEnabled": true}}},
		},
	} {
		t.Run(flavour, func(t *testing.T) {
			s := ready(flavour)
			s.ClockSkew = time.Hour
			box, clock := timed(t, s)
			m := box.Machines()[0]
			c := simtest.Login(t, m)
			for path, body := range writes {
				c.HTTP = simtest.PinnedClient() // one flavour's certificate follows the name
				c.Do(0, "PATCH", path, body)
			}
			if flavour == sim.FlavourBase || flavour == sim.FlavourOpenBMC {
				c.Do(http.StatusCreated, "POST", "/redfish/v1/EventService/Subscriptions", object{
					"Destination": "syslog://192.0.2.9:514", "Protocol": "SyslogUDP", "SubscriptionType": "Syslog", "Context": "",
				})
			}
			got := m.Summary()
			if diff := cmp.Diff([]any{"bmc-a", ntp, dns, "192.0.2.9"}, []any{got.HostName, got.NTP, got.DNS, got.Syslog}); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			clock.Advance(time.Second)
			c.HTTP = simtest.PinnedClient()
			path := simtest.At(c.Get("/redfish/v1/Managers"), "Members", 0, "@odata.id").(string)
			now, err := time.Parse(time.RFC3339, c.Get(path)["DateTime"].(string))
			if err != nil || !now.Equal(clock.Now()) {
				t.Errorf("the clock is %v (%v), want %v", now, err, clock.Now())
			}
		})
	}
}

func TestCertificateFollowsTheHostName(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourHPE))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	before := m.Summary().Fingerprint
	c.Do(http.StatusOK, "PATCH", "/redfish/v1/Managers/1/NetworkProtocol", object{"HostName": "bmc-b"})
	if _, err := c.Try("GET", "/redfish/v1", nil); err == nil {
		t.Error("the old pin still fits")
	}
	c.HTTP = simtest.PinnedClient()
	cert := c.Get("/redfish/v1/Managers/1/NetworkProtocol/HTTPS/Certificates/1")
	if cn := simtest.At(cert, "Subject", "CommonName"); cn != "bmc-b" {
		t.Errorf("CommonName: %v", cn)
	}
	if after := m.Summary().Fingerprint; after == before || after != cert["Fingerprint"] {
		t.Errorf("fingerprints: %s before, %s after, %v told", before, after, cert["Fingerprint"])
	}
}

func TestVolumes(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourBase))
	c := simtest.Login(t, box.Machines()[0])
	const raid = "/redfish/v1/Systems/1/Storage/RAID1"
	both := []object{{"@odata.id": raid + "/Drives/Bay0"}, {"@odata.id": raid + "/Drives/Bay1"}}
	body := object{"RAIDType": "RAID1", "Name": "os", "Links": object{"Drives": both}}
	c.Do(http.StatusBadRequest, "POST", raid+"/Volumes", body) // the factory's volume has them
	c.Do(http.StatusNoContent, "DELETE", raid+"/Volumes/0", nil)
	c.Do(http.StatusBadRequest, "POST", raid+"/Volumes", object{"RAIDType": "RAID5", "Links": object{"Drives": both}})
	c.Do(http.StatusAccepted, "POST", raid+"/Volumes", body)
	clock.Advance(time.Second)
	path := simtest.At(c.Get(raid+"/Volumes"), "Members", 0, "@odata.id").(string)
	if v := c.Get(path); v["RAIDType"] != "RAID1" || v["CapacityBytes"] != 480e9 || v["Name"] != "os" {
		t.Errorf("volume: %v", v)
	}
	if n := simtest.At(c.Get(raid+"/Drives/Bay1"), "Links", "Volumes", 0, "@odata.id"); n != path {
		t.Errorf("the drive's volume: %v", n)
	}
}
