package sim_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// boxDir makes the test binary run a box in that folder instead of tests, to be killed.
const boxDir = "CAGENUT_TEST_BOX_DIR"

// bootURL is the boot service that its hosts ask, when that is set.
const bootURL = "CAGENUT_TEST_BOOT_URL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(boxDir); dir != "" {
		err := sim.Run(context.Background(), sim.Options{Dir: dir, Machines: killed(), Speed: 1, BootURL: os.Getenv(bootURL)}, nil)
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func killed() []sim.MachineSpec {
	return simtest.Fill([]sim.MachineSpec{{Flavour: sim.FlavourBase}, {Flavour: sim.FlavourDell}})
}

// child is a box in another process.
type child struct {
	cmd *exec.Cmd
	sim.Running
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "box.json")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe)}
	c.cmd.Env = append(os.Environ(), boxDir+"="+dir)
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	simtest.Eventually(t, "the box is up", func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "box.json"))
		return err == nil && json.Unmarshal(raw, &c.Running) == nil
	})
	return c
}

// kill is kill -9.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

func (c *child) login(t *testing.T, n int) *simtest.Client {
	m := c.Machines[n]
	return &simtest.Client{T: t, Base: m.URL, User: m.User, Password: sim.FactoryPassword(m.Serial), HTTP: simtest.PinnedClient()}
}

func TestKilledBoxGoesOnWhereItWas(t *testing.T) {
	dir := t.TempDir()
	box := startChild(t, dir)
	c := box.login(t, 0)
	c.Do(http.StatusOK, "PATCH", "/redfish/v1/AccountService/Accounts/1", object{"Password": "Another1Secret"})
	c.Password = "Another1Secret"
	token := login(c, http.StatusCreated).Header.Get("X-Auth-Token")
	c.Do(http.StatusOK, "PATCH", "/redfish/v1/Systems/1/Bios/Settings", object{"Attributes": object{"PowerOnDelaySeconds": 7}})
	push := c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/MultipartUpload", multipartImage(t, "bios", "5.5"), "Content-Type", multipartType)
	resetTo(c, http.StatusNoContent, "ForceOff")
	box.kill() // right after the last answer, with a flash and a power-off under way
	pin := c.HTTP

	box = startChild(t, dir)
	c = box.login(t, 0)
	c.Password, c.HTTP = "Another1Secret", pin
	c.HTTP.CloseIdleConnections()
	bySession := *c
	bySession.Token, bySession.User = token, ""
	bySession.Get("/redfish/v1/Systems")
	simtest.Eventually(t, "the power-off goes on", func() bool { return c.Get("/redfish/v1/Systems/1")["PowerState"] == "Off" })
	task := push.Body["@odata.id"].(string)
	simtest.Eventually(t, "the flash goes on", func() bool { return c.Get(task)["TaskState"] == "Completed" })
	resetTo(c, http.StatusNoContent, "On")
	simtest.Eventually(t, "the new BIOS runs", func() bool { return c.Get("/redfish/v1/Systems/1")["BiosVersion"] == "5.5" })
	if v := simtest.At(c.Get("/redfish/v1/Systems/1/Bios"), "Attributes", "PowerOnDelaySeconds"); v != 7.0 {
		t.Errorf("PowerOnDelaySeconds: %v", v)
	}
	box.kill()

	// In this process, to look inside.
	b := simtest.StartWith(t, sim.Options{Dir: dir, Machines: killed()})
	var got []string
	for _, e := range effects(b, b.Machines()[0]) {
		if !slices.Contains([]string{"boot Hdd"}, e) {
			got = append(got, e)
		}
	}
	want := []string{
		"password-changed admin", "session-opened 4", "bios-pending PowerOnDelaySeconds=7", "power-off", "flash bios=5.5",
		"power-on", "firmware-active bios=5.5", "bios-applied PowerOnDelaySeconds=7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("effects over two kills (-want +got):\n%s", diff)
	}
	var last int64
	for _, e := range b.Journal(sim.Query{}) {
		if e.Seq <= last {
			t.Errorf("journal entry %d after %d", e.Seq, last)
		}
		last = e.Seq
	}
}

func TestHalfWrittenRecordIsCutOff(t *testing.T) {
	dir := t.TempDir()
	specs := simtest.Fill([]sim.MachineSpec{ready(sim.FlavourBase)})
	b, err := sim.New(sim.Options{Dir: dir, Machines: specs})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Machines()[0].PowerLoss(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "box.jsonl")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(`{"machine":"machine-1","state":{"power":"On"`)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err = sim.New(sim.Options{Dir: dir, Machines: specs})
	if err != nil {
		t.Fatal(err)
	}
	if p := b.Machines()[0].Summary().Power; p != "Off" {
		t.Errorf("power: %s, want Off", p)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err = sim.New(sim.Options{Dir: dir, Machines: specs}); err == nil {
		b.Close()
		t.Error("a damaged file was accepted")
	}
}

// A download that was under way when the box died is taken up again.
func TestDownloadIsTakenUpAgain(t *testing.T) {
	server := images(t)
	dir := t.TempDir()
	specs := simtest.Fill([]sim.MachineSpec{ready(sim.FlavourBase)})
	stuck := make(chan struct{})
	first := simtest.StartWith(t, sim.Options{Dir: dir, Machines: specs, Fetch: &http.Client{Transport: never{stuck}}})
	c := simtest.Login(t, first.Machines()[0])
	a := c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate", object{"ImageURI": server.URL + "/psu/3"})
	<-stuck
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := simtest.StartWith(t, sim.Options{Dir: dir, Machines: specs})
	c = simtest.Login(t, second.Machines()[0])
	simtest.Eventually(t, "the update completes", func() bool {
		return c.Get(a.Body["@odata.id"].(string))["TaskState"] == "Completed"
	})
	if v := second.Machines()[0].Summary().Firmware["psu"]; v != "3" {
		t.Errorf("PSU: %s", v)
	}
}

// never is a server that does not answer.
type never struct{ asked chan struct{} }

func (n never) RoundTrip(r *http.Request) (*http.Response, error) {
	close(n.asked)
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestOptionsAreChecked(t *testing.T) {
	good := simtest.Fill([]sim.MachineSpec{{}, {}})
	outside, twins, same := slices.Clone(good), slices.Clone(good), slices.Clone(good)
	outside[1].Addr = outside[1].Addr.Prev()
	for name, o := range map[string]sim.Options{
		"no folder":       {Machines: good},
		"unknown flavour": {Dir: t.TempDir(), Machines: []sim.MachineSpec{{Name: "a", Flavour: "vax", Addr: good[0].Addr}}},
		"no address":      {Dir: t.TempDir(), Machines: []sim.MachineSpec{{Name: "a", Flavour: sim.FlavourBase}}},
		"same address":    {Dir: t.TempDir(), Machines: outside},
		"same name":       {Dir: t.TempDir(), Machines: append(twins, same[0])},
		"negative speed":  {Dir: t.TempDir(), Machines: good, Speed: -1},
	} {
		if b, err := sim.New(o); err == nil {
			b.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	b := simtest.StartWith(t, sim.Options{Machines: good, Admin: "127.0.0.1:0"})
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	public, err := sim.New(sim.Options{Dir: t.TempDir(), Machines: good, Admin: "0.0.0.0:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := public.Start(ctx); err == nil {
		t.Error("the admin API listens beyond loopback")
	}
}
