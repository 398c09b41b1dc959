package sim_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

const multipartType = "multipart/form-data; boundary=cagenut"

func multipartImage(t *testing.T, component, version string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.SetBoundary("cagenut"); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"UpdateParameters": []byte("{}"), "UpdateFile": sim.FirmwareImage(component, version)} {
		p, err := w.CreateFormFile(name, name)
		if err == nil {
			_, err = p.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// images serves firmware images at /<component>/<version>, and a broken one at /broken.
func images(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		component, version, found := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
		image := sim.FirmwareImage(component, version)
		if !found {
			image = image[:len(image)-1]
		}
		w.Write(image)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestFirmwareImage(t *testing.T) {
	good := sim.FirmwareImage("bios", "1.2")
	if img, err := sim.ParseFirmwareImage(good); err != nil || img != (sim.Image{Component: "bios", Version: "1.2"}) {
		t.Errorf("got %v, %v", img, err)
	}
	changed := bytes.Clone(good)
	changed[len(changed)-1] ^= 1
	for name, data := range map[string][]byte{
		"empty": nil, "other file": []byte("hello\n\n"), "short": good[:len(good)-1], "changed": changed,
		"nameless": bytes.Replace(good, []byte("version: 1.2"), []byte("version: "), 1),
	} {
		if img, err := sim.ParseFirmwareImage(data); err == nil {
			t.Errorf("%s: accepted as %v", name, img)
		}
	}
}

// A component of each kind: at the host's reboot, at the BMC's own, at once.
func TestUpdateBecomesVisible(t *testing.T) {
	server := images(t)
	box, clock := timed(t, ready(sim.FlavourBase))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	update := func(component, version string) string {
		a := c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate",
			map[string]any{"ImageURI": server.URL + "/" + component + "/" + version, "TransferProtocol": "HTTP"})
		path := a.Body["@odata.id"].(string)
		simtest.Eventually(t, "the image is downloaded", func() bool {
			return simtest.At(c.Get(path), "Messages", 0, "Message") != "The image is being downloaded." &&
				simtest.At(c.Get(path), "PercentComplete") != 5.0
		})
		return path
	}
	version := func(component string) string { return m.Summary().Firmware[component] }

	task := update(sim.ComponentBIOS, "1.3.0")
	if s := c.Get(task)["TaskState"]; s != "Running" {
		t.Errorf("task while writing: %v", s)
	}
	clock.Advance(time.Second)
	if s := c.Get(task)["TaskState"]; s != "Completed" {
		t.Errorf("task after writing: %v", s)
	}
	if v := version(sim.ComponentBIOS); v != "1.2.0" {
		t.Errorf("BIOS before the reboot: %s", v)
	}
	resetTo(c, http.StatusNoContent, "ForceRestart")
	clock.Advance(5 * time.Second)
	if v := c.Get("/redfish/v1/Systems/1")["BiosVersion"]; v != "1.3.0" {
		t.Errorf("BIOS after the reboot: %v", v)
	}

	update(sim.ComponentPSU, "2")
	clock.Advance(time.Second)
	if v := version(sim.ComponentPSU); v != "2" {
		t.Errorf("PSU: %s", v)
	}

	task = update(sim.ComponentBMC, "2.9.0") // a downgrade
	clock.Advance(time.Second)
	if a, err := c.Try("GET", task, nil); err == nil {
		t.Errorf("the BMC answered %d while it restarts", a.Status)
	}
	clock.Advance(2 * time.Second)
	c.Do(http.StatusNotFound, "GET", task, nil)
	if v := c.Get("/redfish/v1/Managers/BMC")["FirmwareVersion"]; v != "2.9.0" {
		t.Errorf("BMC: %v", v)
	}
	want := []string{
		"flash bios=1.3.0", "host-reboot ForceRestart", "firmware-active bios=1.3.0", "boot Hdd",
		"flash psu=2", "firmware-active psu=2", "flash bmc=2.9.0", "firmware-active bmc=2.9.0", "bmc-reboot firmware update",
	}
	if diff := cmp.Diff(want, effects(box, m)); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestUpdateRefusals(t *testing.T) {
	server := images(t)
	box, clock := timed(t, ready(sim.FlavourBase))
	c := simtest.Login(t, box.Machines()[0])
	const action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate"
	for _, body := range []map[string]any{
		{}, {"ImageURI": "ftp://192.0.2.1/x"}, {"ImageURI": "x.bin"}, {"ImageURI": "http://192.0.2.1/x", "TransferProtocol": "NFS"},
	} {
		c.Do(http.StatusBadRequest, "POST", action, body)
	}
	for _, path := range []string{"/broken", "/flux/1"} {
		a := c.Do(http.StatusAccepted, "POST", action, map[string]any{"ImageURI": server.URL + path})
		task := a.Body["@odata.id"].(string)
		simtest.Eventually(t, "the task fails", func() bool { return c.Get(task)["TaskState"] == "Exception" })
	}
	c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/MultipartUpload", multipartImage(t, "bios", "2"), "Content-Type", multipartType)
	c.Do(http.StatusServiceUnavailable, "POST", action, map[string]any{"ImageURI": server.URL + "/bios/3"})
	clock.Advance(time.Second)
	c.Do(http.StatusAccepted, "POST", action, map[string]any{"ImageURI": server.URL + "/bios/3"})
	c.Do(http.StatusUnsupportedMediaType, "POST", "/redfish/v1/UpdateService/MultipartUpload", []byte("x"), "Content-Type", "application/octet-stream")
}

func TestDellUpdateIsAJobThatWaits(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourDell))
	c := simtest.Login(t, box.Machines()[0])
	a := c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/MultipartUpload", multipartImage(t, "bios", "1.6.0"), "Content-Type", multipartType)
	task := a.Header.Get("Location")
	if len(a.Raw) != 0 || !strings.HasPrefix(task, "/redfish/v1/TaskService/Tasks/JID_") {
		t.Fatalf("got body %q and Location %q", a.Raw, task)
	}
	clock.Advance(time.Second)
	if s := c.Get(task)["TaskState"]; s != "Pending" {
		t.Errorf("task before the reboot: %v", s)
	}
	resetTo(c, http.StatusNoContent, "ForceRestart")
	clock.Advance(5 * time.Second)
	job := strings.Replace(task, "/redfish/v1/TaskService/Tasks", "/redfish/v1/Managers/iDRAC.Embedded.1/Oem/Dell/Jobs", 1)
	if s := c.Get(job)["JobState"]; s != "Completed" {
		t.Errorf("job after the reboot: %v", s)
	}
	var ids []string
	for i := 0; ; i++ {
		id, more := simtest.At(c.Get("/redfish/v1/UpdateService/FirmwareInventory"), "Members", i, "@odata.id").(string)
		if !more {
			break
		}
		if strings.HasSuffix(id, "BIOS.Setup.1-1") {
			ids = append(ids, id[strings.LastIndexByte(id, '/')+1:])
		}
	}
	if diff := cmp.Diff([]string{"Previous-159-1.5.6__BIOS.Setup.1-1", "Installed-159-1.6.0__BIOS.Setup.1-1"}, ids); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func TestBarePush(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourOpenBMC))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	push := c.Get("/redfish/v1/UpdateService")["HttpPushUri"].(string)
	c.Do(http.StatusAccepted, "POST", push, sim.FirmwareImage("nic", "77"), "Content-Type", "application/octet-stream")
	clock.Advance(time.Second)
	resetTo(c, http.StatusNoContent, "ForceRestart")
	clock.Advance(5 * time.Second)
	if v := m.Summary().Firmware["nic"]; v != "77" {
		t.Errorf("NIC: %s", v)
	}
}
