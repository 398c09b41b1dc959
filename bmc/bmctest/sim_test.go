package bmctest_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/bmctest"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

// flavour says how the suite uses a flavour of the box.
type flavour struct {
	bios  bmc.Attributes // a change
	lacks map[bmctest.Capability]string
}

var flavours = map[string]flavour{
	sim.FlavourBase: {bios: bmc.Attributes{"Virtualization": "Enabled", "PowerOnDelaySeconds": "30", "SrIov": "true"}},
	sim.FlavourDell: {bios: bmc.Attributes{"ProcVirtualization": "Enabled"}},
	sim.FlavourHPE:  {bios: bmc.Attributes{"ProcVirtualization": "Enabled"}},
	sim.FlavourLenovo: {
		bios:  bmc.Attributes{"DevicesandIOPorts_SRIOV": "Enabled"},
		lacks: map[bmctest.Capability]string{bmctest.Syslog: "XCC has no place for a syslog server in Redfish"},
	},
	sim.FlavourSupermicro: {bios: bmc.Attributes{"IntelVirtualizationTechnology": "Enable"}},
	sim.FlavourOpenBMC:    {bios: bmc.Attributes{"VirtualizationEnable": true, "BootTimeoutSeconds": 7}},
}

// TestBox runs the suite against every flavour of the data center in a box.
func TestBox(t *testing.T) {
	var specs []sim.MachineSpec
	for _, name := range sim.Flavours() {
		specs = append(specs, sim.MachineSpec{Name: name, Flavour: name})
	}
	box := simtest.StartWith(t, sim.Options{Machines: specs, Speed: 200})
	for _, name := range sim.Flavours() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, box, box.Machine(name), flavours[name])
		})
	}
}

func run(t *testing.T, box *sim.Box, m *sim.Machine, f flavour) {
	spec := m.Spec()
	// One pool, as a worker has: the suite opens many Controllers on one broker.
	pool, state := broker.NewPool(), t.TempDir()
	t.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Errorf("close the pool: %v", err)
		}
	})
	open := func(ctx context.Context, user, password string) (bmc.Controller, error) {
		u, err := url.Parse(m.URL())
		if err != nil {
			return nil, err
		}
		conn, err := pool.Dial(ctx, broker.Config{
			Endpoint: bmc.Endpoint{Address: u.Host}, Credentials: bmc.Credentials{User: user, Password: password},
			Explicit: true, StateDir: state,
		})
		if err != nil {
			return nil, err
		}
		return redfish.New(conn, redfish.Options{}), nil
	}
	const password = "Conformance1Suite2x"
	// Some flavours let nobody do anything before the factory's password is changed.
	factory, err := open(t.Context(), spec.User, spec.Password)
	if err != nil {
		t.Fatal(err)
	}
	if err := factory.SetPassword(t.Context(), spec.User, password); err != nil {
		t.Fatalf("change the factory password: %v", err)
	}
	if err := factory.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(image(r.URL.Path))
	}))
	t.Cleanup(files.Close)
	version := 0
	var since int64
	bmctest.Run(t, bmctest.Harness{
		Open: open, User: spec.User, Password: password, OtherPassword: "Another2Password3y", Serial: spec.Serial,
		ImageURL:   files.URL + "/boot.iso",
		Inserted:   func(testing.TB) string { return m.Summary().Media },
		BIOSChange: f.bios,
		Lacks:      f.lacks,
		Sessions: func(t testing.TB) int {
			if err := pool.CloseIdle(t.Context(), 0); err != nil {
				t.Error(err)
			}
			return m.Summary().Sessions
		},
		Writes: func(testing.TB) []string {
			var out []string
			for _, e := range box.Journal(sim.Query{Machine: spec.Name, Kind: sim.KindRequest, Since: since}) {
				since = e.Seq
				if !strings.Contains(e.Path, "/Sessions") {
					out = append(out, e.Method+" "+e.Path)
				}
			}
			return out
		},
		Update: func(t testing.TB) bmctest.Update {
			version++
			next := "99." + string(rune('0'+version))
			c, err := open(t.Context(), spec.User, password)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			list, err := c.Firmware(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			now := m.Summary().Firmware[sim.ComponentBIOS]
			for _, fw := range list {
				if fw.Version == now {
					path := "/" + sim.ComponentBIOS + "/" + next
					return bmctest.Update{Component: fw.Name, Version: next, URI: files.URL + path, Name: "bios.bin", Size: int64(len(image(path))),
						Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(image(path))), nil }}
				}
			}
			t.Fatalf("no component has version %s: %+v", now, list)
			return bmctest.Update{}
		},
	})
	if s := m.Summary(); s.MaxSessions > 2 {
		t.Errorf("%d sessions were open at once, want at most 2", s.MaxSessions)
	}
}

// image gives the firmware image for a path /component/version, or something that is none.
func image(path string) []byte {
	component, version, ok := strings.Cut(strings.Trim(path, "/"), "/")
	if !ok {
		return []byte("an ISO image")
	}
	return sim.FirmwareImage(component, version)
}
