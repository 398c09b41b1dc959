package activities_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	simulated "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/bmctest"
	"github.com/cagenut/cagenut/bmc/drivers"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/workflows"
)

// serveIPMI runs go-ipmi's server with one machine until the test ends, and gives its address.
func serveIPMI(t *testing.T, serial, user, password string) string {
	t.Helper()
	machine := mock.New()
	if err := machine.Storage().FRU().Write(t.Context(), 0, bmctest.FRUImage("SimVendor", "SV-1000", serial, "PN-77")); err != nil {
		t.Fatal(err)
	}
	info := simulated.DeviceInfo{DeviceID: 1, IPMIVersion: 0x20, FirmwareMajor: 2, FirmwareMinor: 0x14, AdditionalDeviceSupport: 0x08}
	b := simulated.New(info, [16]byte{1}, machine, simulated.WithClock(clock.Real))
	u, err := b.Users.Add(2, user)
	if err != nil {
		t.Fatal(err)
	}
	u.SetPassword([]byte(password))
	u.Enabled = true
	u.ChannelAccess[1] = simulated.UserChannelAccess{MaxPrivilege: simulated.PrivilegeLevelAdministrator, Enabled: true}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.NewServer(b, udp.Wrap(pc))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ctx) }()
	t.Cleanup(func() { cancel(); _ = pc.Close(); <-ended })
	return pc.LocalAddr().String()
}

// A machine with IPMI alone is accepted with a profile that asks for more than IPMI can tell: the plan
// says what is not judged, and so does the step. Accepting it again changes nothing.
func TestAcceptOverIPMI(t *testing.T) {
	const serial, user, password = "SN000001", "ADMIN", "factory1"
	yes := true
	facts := plan.Facts{
		Asset:  asset.Ref{ID: 7, Name: "srv-7", Serial: serial, Site: "ams01", Rack: "r12"},
		Status: asset.Planned, OOB: netip.MustParsePrefix("127.0.0.1/8"),
		Interfaces: []plan.Port{{Name: "eth0", MACs: []string{"02:00:00:00:00:01"}}},
	}
	prof := profile.Profile{Name: "old", Version: 1, BMC: profile.BMC{Protocol: "ipmi", Account: user, Hostname: "{name}-oob"},
		BIOS:     profile.BIOS{BootMode: "uefi"},
		Hardware: profile.Hardware{CPUs: 2, MemoryGiB: 64, Drives: []profile.Drives{{Count: 2}}, Health: "OK", SecureBoot: &yes, TPM: "2.0"}}
	target, problems := workflows.Install(facts, prof, workflows.Resources{}, workflows.UntilHardware)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	target.BMC.Address = serveIPMI(t, serial, user, password)
	opener := drivers.New(drivers.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, StateDir: t.TempDir()})
	t.Cleanup(func() { _ = opener.Close(context.Background()) })
	r := &rig{t: t, target: target, site: &activities.Site{
		BMCs: opener, Clock: time.Now, Poll: 5 * time.Millisecond, Faster: 20,
		Secrets: &keyring{user: user, factory: map[string]string{serial: password}, current: map[string]string{}, pending: map[string]string{}},
		Endpoint: func(_ asset.Ref, b plan.BMC) bmc.Endpoint {
			return bmc.Endpoint{Protocol: bmc.Protocol(b.Protocol), Address: b.Address}
		},
	}}
	for _, first := range []bool{true, false} {
		for _, s := range target.Steps {
			if s.Place != plan.Site || s.NotApplicable != "" {
				continue
			}
			done, err := r.run(s.Name, nil)
			if err != nil {
				t.Fatalf("step %s: %v%s", s.Name, err, details(err))
			}
			if done.Changed != (first && s.Name == "bmc-credentials") {
				t.Errorf("first %t, step %s: changed %t", first, s.Name, done.Changed)
			}
			const lacking = "CPUs, memory, drives, health, Secure Boot, TPM, MACs"
			if s.Name == "hardware" && (!strings.Contains(s.Title, lacking) || !strings.Contains(done.Summary, "not judged: "+lacking)) {
				t.Errorf("what is not judged is not said: title %q, summary %q", s.Title, done.Summary)
			}
		}
	}
}
