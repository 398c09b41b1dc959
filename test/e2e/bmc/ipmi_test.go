//go:build e2e

package bmc_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/bmctest"
	"github.com/cagenut/cagenut/bmc/ipmi"
)

const ipmiPassword, ipmiSerial = "sixteen-chars-ok", "SN000001"

// lanConfig is ipmi_sim's LAN side, simConfig its controller: FRU 0, four sensors, three SEL records.
const (
	lanConfig = `name "bmc1"
set_working_mc 0x20
  startlan 1
    addr %[1]s
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456700000001
  endlan
  chassis_control "%[2]s %[3]s"
  user 1 false "" "x" user 10 none md2 md5 straight
  user 2 true "admin" "%[4]s" admin 10 none md2 md5 straight
  user 3 true "oper" "oper" operator 10 none md2 md5 straight
`
	simConfig = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 1 0x01 0x01
sensor_set_value 0x20 0 1 45 0
sensor_set_threshold 0x20 0 1 settable 111000 0xa0 0x90 0x70 00 00 00
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 000111111000000 000111111000000
sensor_add 0x20 0 2 0x04 0x01
sensor_set_value 0x20 0 2 52 0
sensor_set_event_support 0x20 0 2 enable scanning per-state 000000000000000 000000000000000 000000000000000 000000000000000
mc_add_fru_data 0x20 0 512 file 0 "%s"
sel_add 0x20 0x02 0x10 0x00 0x00 0x60 0x20 0 4 0x01 1 0x01 0x57 0x70 0x70
sel_add 0x20 0x02 0x20 0x00 0x00 0x60 0x20 0 4 0x0c 8 0x6f 0xa0 0 1
sel_add 0x20 0x02 0x30 0x00 0x00 0x60 0x20 0 4 0x08 9 0x6f 0x01 0 0
mc_enable 0x20
`
	sdr = `sdr type 18
	device_slave_address 0x20
	device_channel_number 0
	chassis true
	ipmb_event_gen false
	ipmb_event_recv false
	fru_inventory true
	sel true
	sdr true
	sensor true
	entity_id system_board
	entity_instance 1
	id_string "sim bmc"
endsdr
`
	sensorSDR = `
sdr type 1
	sensor_owner_id 0x20
	sensor_owner_lun 0
	channel_number 0
	sensor_number %[1]d
	entity_id system_board
	entity_instance 1
	sensor_type %[2]s
	init_scanning true
	init_sensor_type true
	default_sensor_scan_on true
	event_reading_type_code 1
	analog_data_format unsigned
	rate_unit none
	modifier_unit none
	percentage false
	base_unit %[3]s
	modifier_unit_code unspecified
	linearization linear
	m %[5]d
	tolerance 0
	b 0
	accuracy 1
	accuracy_exp 0
	sensor_direction input
	r_exp 0
	b_exp 0
	sensor_maximum 255
	sensor_minimum 0
	id_string "%[4]s"
endsdr
`
)

// ipmiSim is a running ipmi_sim.
type ipmiSim struct {
	address string
	dir     string
}

// startIPMI runs one at host:port; the port of the test's choice where it is empty.
func startIPMI(t *testing.T, host, port string) ipmiSim {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := sdr + fmt.Sprintf(sensorSDR, 1, "Temperature", "degrees_C", "CPU1 Temp", 1) + fmt.Sprintf(sensorSDR, 2, "Fan", "RPM", "FAN1", 100)
	compiled, err := exec.CommandContext(t.Context(), "sdrcomp", "-8", file("sensors.sdrs", []byte(text))).Output()
	if err != nil {
		t.Fatalf("sdrcomp: %v; scripts/install-e2e.sh installs openipmi", err)
	}
	file("state/ipmi_sim/bmc1/sdr.20.main", compiled)
	chassis, err := filepath.Abs("../scripts/ipmi-chassis.sh")
	if err != nil {
		t.Fatal(err)
	}
	if port == "" {
		port = freePort(t, "udp")
	}
	lan := file("lan.conf", fmt.Appendf(nil, lanConfig, host+" "+port, chassis, dir, ipmiPassword))
	emu := file("sim.emu", fmt.Appendf(nil, simConfig, file("fru.bin", bmctest.FRUImage("SimVendor", "SV-1000", ipmiSerial, "PN-77"))))
	start(t, "ipmi_sim", "-n", "-c", lan, "-f", emu, "-s", filepath.Join(dir, "state"))
	s := ipmiSim{address: net.JoinHostPort(host, port), dir: dir}
	wait(t, "ipmi_sim", func() error {
		c, err := s.open(t.Context(), "admin", ipmiPassword)
		if err != nil {
			return err
		}
		return c.Close(t.Context())
	})
	return s
}

func (s ipmiSim) open(ctx context.Context, user, password string) (bmc.Controller, error) {
	c, err := ipmi.Open(ctx, ipmi.Config{
		Endpoint: bmc.Endpoint{Protocol: bmc.IPMI, Address: s.address}, Credentials: bmc.Credentials{User: user, Password: password}, Explicit: true,
		NoValidBit: true,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// TestIPMISim runs the suite against OpenIPMI's simulator.
func TestIPMISim(t *testing.T) {
	s := startIPMI(t, "127.0.0.1", "")
	const noCommand = "IPMI has no command for it"
	seen := 0
	bmctest.Run(t, bmctest.Harness{
		User: "admin", Password: ipmiPassword, Serial: ipmiSerial,
		// Not longer than 16: ipmi_sim 2.0.33 accepts the 20 byte form and keeps the old password, as
		// ipmitool shows too.
		OtherPassword: "other-sixteen-ok",
		Open:          s.open,
		Writes: func(t testing.TB) []string {
			log, err := os.ReadFile(filepath.Join(s.dir, "log"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(log)), "\n")
			fresh := lines[min(seen, len(lines)):]
			seen = len(lines)
			return fresh
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
			bmctest.BootUEFI:      "ipmi_sim keeps the boot device of the flags and drops their EFI bit",
			bmctest.BootAlways:    "ipmi_sim keeps the boot device of the flags and drops their persistent bit",
		},
	})
}
