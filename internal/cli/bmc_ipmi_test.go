package cli

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"

	simulated "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/bmctest"
)

// ipmiBMC runs go-ipmi's server with one machine, for admin/pa55word.
func ipmiBMC(t *testing.T) string {
	t.Helper()
	machine := mock.New()
	if err := machine.Storage().FRU().Write(t.Context(), 0, bmctest.FRUImage("SimVendor", "SV-1000", "SN000001", "PN-77")); err != nil {
		t.Fatal(err)
	}
	b := simulated.New(simulated.DeviceInfo{DeviceID: 1, IPMIVersion: 0x20, FirmwareMajor: 2, FirmwareMinor: 0x14, AdditionalDeviceSupport: 0x08},
		[16]byte{1}, machine, simulated.WithClock(clock.Real))
	user, err := b.Users.Add(2, "admin")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte("pa55word"))
	user.Enabled = true
	user.ChannelAccess[1] = simulated.UserChannelAccess{MaxPrivilege: simulated.PrivilegeLevelAdministrator, Enabled: true}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	srv := server.NewServer(b, udp.Wrap(pc))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ctx) }()
	t.Cleanup(func() { cancel(); pc.Close(); <-ended })
	return pc.LocalAddr().String()
}

func TestBMCReadIPMI(t *testing.T) {
	address := ipmiBMC(t)
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "schema", "inventory.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{address, "ipmi://" + address + "/"} {
		code, out, errOut := runRead(t, "pa55word\n", "--protocol", "ipmi", "--url", url, "--user", "admin", "--password-file", "-", "-o", "json")
		if code != ExitOK {
			t.Fatalf("exit %d: %s", code, errOut)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Error(err)
		}
		var inv bmc.Inventory
		if err := json.Unmarshal([]byte(out), &inv); err != nil {
			t.Fatal(err)
		}
		if inv.Identity.Serial != "SN000001" || inv.Protocol != bmc.IPMI || len(inv.Accounts) == 0 || len(inv.Components) == 0 {
			t.Errorf("serial %q over %s, %d accounts, components %+v", inv.Identity.Serial, inv.Protocol, len(inv.Accounts), inv.Components)
		}
	}
	code, out, errOut := runRead(t, "pa55word", "--protocol", "ipmi", "--url", address, "--user", "admin", "--password-file", "-", "--cipher-suite", "3", "--scope", "identity")
	if code != ExitOK || !strings.Contains(out, "SN000001") {
		t.Errorf("exit %d with suite 3: %s%s", code, out, errOut)
	}
}

func TestBMCReadIPMIRefuses(t *testing.T) {
	address := ipmiBMC(t)
	wrong := passwordFile(t, "wrong")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a fingerprint", []string{"--url", address, "--user", "admin", "--fingerprint", "4F"}, ExitUsage, "--fingerprint is about Redfish"},
		{"https", []string{"--url", "https://" + address, "--user", "admin"}, ExitUsage, "host[:port]"},
		{"no user", []string{"--url", address}, ExitUsage, "--user is missing"},
		{"a bad scope", []string{"--url", address, "--user", "admin", "--scope", "all"}, ExitUsage, "identity, hardware, complete"},
		{"a wrong password", []string{"--url", address, "--user", "admin", "--password-file", wrong}, ExitRefused, "refused the credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, errOut := runRead(t, "", append([]string{"--protocol", "ipmi"}, c.args...)...)
			if code != c.code || !strings.Contains(errOut, c.says) {
				t.Errorf("exit %d, stderr %q; want %d and %q", code, errOut, c.code, c.says)
			}
		})
	}
	if code, _, errOut := runRead(t, "", "--protocol", "snmp", "--url", address); code != ExitUsage || !strings.Contains(errOut, "neither redfish nor ipmi") {
		t.Errorf("exit %d, %s", code, errOut)
	}
	if code, _, errOut := runRead(t, "", "--url", "https://"+address, "--cipher-suite", "3"); code != ExitUsage || !strings.Contains(errOut, "about IPMI") {
		t.Errorf("exit %d, %s", code, errOut)
	}
}
