package ipmi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	simulated "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/bmctest"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/ipmi"
)

const password = "pa55word"

// host is a machine whose operating system obeys: the server hands a soft shutdown to WarmReset.
type host struct {
	*mock.HAL
	lost *lost
}

func (h host) Storage() hal.StorageHAL { return storage{h.HAL.Storage(), h.lost} }

type storage struct {
	hal.StorageHAL
	lost *lost
}

// lost says that readings of the FRU, but for the next, get no answer until the channel is closed: the
// server looks at it for Get Device ID.
type lost struct {
	atomic.Pointer[chan struct{}]
	reads atomic.Int64
}

func (s storage) FRU() hal.FRUStore { return frus{s.StorageHAL.FRU(), s.lost} }

type frus struct {
	hal.FRUStore
	lost *lost
}

func (f frus) Read(ctx context.Context, id uint8) ([]byte, error) {
	if until := f.lost.Load(); until != nil && f.lost.reads.Add(1) > 1 {
		<-*until
	}
	return f.FRUStore.Read(ctx, id)
}

func (h host) Chassis() hal.ChassisHAL { return chassis{h.HAL.Chassis()} }

type chassis struct{ hal.ChassisHAL }

func (c chassis) WarmReset(ctx context.Context) error { return c.SetPower(ctx, false) }

// serve runs go-ipmi's server with one machine until the test ends, and gives its address.
func serve(t *testing.T) string {
	t.Helper()
	address, _ := serveLossy(t)
	return address
}

// serveLossy is serve, with what makes the FRU's answers get lost.
func serveLossy(t *testing.T) (address string, gone *lost) {
	t.Helper()
	gone = &lost{}
	machine := mock.New()
	if err := machine.Chassis().SetBootFlags(t.Context(), &types.BootOptionParam_BootFlags{}); err != nil {
		t.Fatal(err)
	}
	if err := machine.Storage().FRU().Write(t.Context(), 0, bmctest.FRUImage("SimVendor", "SV-1000", "SN000001", "PN-77")); err != nil {
		t.Fatal(err)
	}
	info := simulated.DeviceInfo{DeviceID: 1, IPMIVersion: 0x20, FirmwareMajor: 2, FirmwareMinor: 0x14, AdditionalDeviceSupport: 0x08}
	b := simulated.New(info, [16]byte{1}, host{machine, gone}, simulated.WithClock(clock.Real))
	user, err := b.Users.Add(2, "admin")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte(password))
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
	return pc.LocalAddr().String(), gone
}

func config(address string) ipmi.Config {
	return ipmi.Config{
		Endpoint:    bmc.Endpoint{Protocol: bmc.IPMI, Address: address},
		Credentials: bmc.Credentials{User: "admin", Password: password},
		Allow:       []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
}

// TestSuite runs the conformance suite against go-ipmi's own server: it keeps the EFI and persistent
// bits and 20 character passwords, which ipmi_sim does not.
func TestSuite(t *testing.T) {
	address := serve(t)
	const noCommand = "IPMI has no command for it"
	bmctest.Run(t, bmctest.Harness{
		User: "admin", Password: password, OtherPassword: "twenty-characters-ok", Serial: "SN000001",
		Open: func(ctx context.Context, user, password string) (bmc.Controller, error) {
			cfg := config(address)
			cfg.Credentials = bmc.Credentials{User: user, Password: password}
			c, err := ipmi.Open(ctx, cfg)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		Lacks: map[bmctest.Capability]string{
			bmctest.BootProgress:  noCommand,
			bmctest.BootHTTP:      noCommand,
			bmctest.Media:         noCommand,
			bmctest.Settings:      noCommand,
			bmctest.BIOS:          noCommand,
			bmctest.FirmwareFetch: noCommand,
			bmctest.FirmwarePush:  noCommand,
			bmctest.Tasks:         noCommand,
			bmctest.Events:        "the server has no SEL",
		},
	})
}

func TestLoginBudgetIsShared(t *testing.T) {
	address := serve(t)
	cfg := config(address)
	cfg.Guard = broker.NewGuard(broker.Limits{FailedLogins: 2}, nil)
	for i := range 2 {
		cfg.Credentials.Password = fmt.Sprint("wrong-one", i)
		_, err := ipmi.Open(t.Context(), cfg)
		if !errors.Is(err, bmc.ErrBadCredentials) || strings.Contains(err.Error(), "wrong-one") {
			t.Errorf("a wrong password: %v", err)
		}
	}
	cfg.Credentials.Password = password
	if _, err := ipmi.Open(t.Context(), cfg); !errors.Is(err, bmc.ErrBreakerOpen) {
		t.Errorf("after the budget: %v, want %v", err, bmc.ErrBreakerOpen)
	}
	cfg.Credentials.Password = "wrong-one1"
	if _, err := ipmi.Open(t.Context(), cfg); !errors.Is(err, bmc.ErrRefusedBefore) {
		t.Errorf("a wrong password again: %v, want %v", err, bmc.ErrRefusedBefore)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ipmi.Config)
		want   error
	}{
		{"an address outside the prefixes", func(c *ipmi.Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, bmc.ErrNotAllowed},
		{"no prefix", func(c *ipmi.Config) { c.Allow = nil }, bmc.ErrNotAllowed},
		{"a password that IPMI cannot hold", func(c *ipmi.Config) { c.Credentials.Password = strings.Repeat("x", 21) }, bmc.ErrBadCredentials},
		{"nobody there", func(c *ipmi.Config) {}, bmc.ErrUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			cfg := config(silent.LocalAddr().String())
			cfg.Timeout, cfg.Attempts = 50*time.Millisecond, 2
			tt.change(&cfg)
			_, err = ipmi.Open(t.Context(), cfg)
			var e *bmc.Error
			if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Host == "" || e.Op == "" {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// A FRU that cannot be read is no proof that the machine has no serial.
func TestALostFRUIsNoIdentity(t *testing.T) {
	address, gone := serveLossy(t)
	cfg := config(address)
	cfg.Timeout, cfg.Attempts = 50*time.Millisecond, 2
	c, err := ipmi.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	until := make(chan struct{})
	gone.Store(&until)
	if id, err := c.Identify(t.Context()); !errors.Is(err, bmc.ErrUnreachable) || !strings.Contains(err.Error(), "Read FRU Data 0") {
		t.Errorf("Identify() = %+v, %v; want %v of the FRU", id, err, bmc.ErrUnreachable)
	}
	close(until)
	if id, err := c.Identify(t.Context()); err != nil || id.Serial != "SN000001" {
		t.Errorf("Identify() afterwards = %+v, %v", id, err)
	}
}

func TestIdentityAndVersion(t *testing.T) {
	c, err := ipmi.Open(t.Context(), config(serve(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	id, err := c.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id.Serial != "SN000001" || id.SerialSource != "FRU.Product.SerialNumber" || id.OtherSerials["FRU.Board.SerialNumber"] != "B-SN000001" ||
		id.Manufacturer != "SimVendor" || id.Model != "SV-1000" || id.Firmware != "2.14" {
		t.Errorf("Identify() = %+v", id)
	}
	if err := c.SetPassword(t.Context(), "admin", strings.Repeat("x", 21)); !errors.Is(err, bmc.ErrRejected) {
		t.Errorf("a password of 21 characters: %v", err)
	}
}
