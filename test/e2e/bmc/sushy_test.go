//go:build e2e

package bmc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/bmctest"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish"
)

const (
	sushySystem = "00000000-0000-4000-8000-000000000001"
	sushySerial = "437XR1138R2"
	sushyMAC    = "52:54:00:00:00:01"
)

// sushyConfig is the emulator's configuration, in Python.
const sushyConfig = `
SUSHY_EMULATOR_LISTEN_IP = %[7]q
SUSHY_EMULATOR_LISTEN_PORT = %[1]s
SUSHY_EMULATOR_SSL_CERT = %[2]q
SUSHY_EMULATOR_SSL_KEY = %[3]q
SUSHY_EMULATOR_AUTH_FILE = %[4]q
SUSHY_EMULATOR_STATE_DIR = %[5]q
SUSHY_EMULATOR_FAKE_DRIVER = True
SUSHY_EMULATOR_FEATURE_SET = 'full'
SUSHY_EMULATOR_FAKE_SYSTEMS = [
    {'uuid': %[6]q, 'name': 'node-01', 'power_state': 'Off', 'external_notifier': False,
     'nics': [{'mac': %[8]q, 'ip': '192.0.2.1'}]}]
SUSHY_EMULATOR_STORAGE = {%[6]q: [{'Id': '1', 'Name': 'Local Storage Controller',
    'StorageControllers': [{'MemberId': '0', 'Name': 'Contoso RAID', 'SpeedGbps': 12}],
    'Drives': ['32ADF365C6C1B7BD']}]}
SUSHY_EMULATOR_DRIVES = {(%[6]q, '1'): [{'Id': '32ADF365C6C1B7BD', 'Name': 'Drive Sample',
    'Model': 'C123', 'Revision': '100A', 'CapacityBytes': 899527000000,
    'FailurePredicted': False, 'Status': {'State': 'Enabled', 'Health': 'OK'},
    'SerialNumber': 'SN0001', 'Protocol': 'SAS', 'MediaType': 'SSD'}]}
`

// sushy is a running sushy-emulator over TLS with Basic authentication.
type sushy struct {
	address string
	pin     string
	client  *http.Client
}

const sushyPassword = "sushi-and-rice"

// startSushy runs one at host:port; a free port where it is empty.
func startSushy(t *testing.T, host, port string) sushy {
	t.Helper()
	python := script(t, "sushy-venv.sh")
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, certPEM, keyPEM := selfSigned(t, host)
	hash := exec.CommandContext(t.Context(), python, "-c", "import bcrypt, sys; print(bcrypt.hashpw(sys.stdin.buffer.read(), bcrypt.gensalt(4)).decode())")
	in, err := hash.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { defer in.Close(); _, _ = io.WriteString(in, sushyPassword) }()
	hashed, err := hash.Output()
	if err != nil {
		t.Fatalf("bcrypt: %v", err)
	}
	if port == "" {
		port = freePort(t, "tcp")
	}
	config := fmt.Sprintf(sushyConfig, port, file("cert.pem", certPEM), file("key.pem", keyPEM),
		file("htpasswd", "admin:"+string(hashed)), dir, sushySystem, host, sushyMAC)
	start(t, python, "-m", "sushy_tools.emulator.main", "--config", file("emulator.conf", config))
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	s := sushy{
		address: net.JoinHostPort(host, port), pin: broker.Fingerprint(cert),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}
	// Each kind of resource opens its database at its first request, and answers 500 to another first
	// request at the same moment: so they come one after another.
	for _, path := range []string{"", "Systems/" + sushySystem, "Systems/" + sushySystem + "/Storage", "Systems/" + sushySystem + "/VirtualMedia", "Chassis", "Managers"} {
		wait(t, "sushy-emulator", func() error { _, err := s.get("/redfish/v1/" + path); return err })
	}
	return s
}

// get looks at the emulator directly, not through what is tested.
func (s sushy) get(path string) (map[string]any, error) {
	req, err := http.NewRequest(http.MethodGet, "https://"+s.address+path, nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("admin", sushyPassword)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	var o map[string]any
	return o, json.NewDecoder(resp.Body).Decode(&o)
}

func selfSigned(t *testing.T, host string) (cert *x509.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bmc"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// TestSushy runs the suite against sushy-emulator with its fake driver.
func TestSushy(t *testing.T) {
	s := startSushy(t, "127.0.0.1", "")
	image := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "an image") }))
	t.Cleanup(image.Close)
	bmctest.Run(t, bmctest.Harness{
		User: "admin", Password: sushyPassword,
		Serial: sushySerial, // of the chassis: all of its chassis have this one
		Open: func(ctx context.Context, user, password string) (bmc.Controller, error) {
			conn, err := broker.Dial(ctx, broker.Config{
				Endpoint: bmc.Endpoint{Address: s.address, Pin: s.pin}, Credentials: bmc.Credentials{User: user, Password: password},
				Explicit: true, StateDir: t.TempDir(),
			})
			if err != nil {
				return nil, err
			}
			return redfish.New(conn, redfish.Options{Settle: 3 * time.Second}), nil
		},
		ImageURL: image.URL + "/boot.iso",
		Inserted: func(t testing.TB) string {
			o, err := s.get("/redfish/v1/Systems/" + sushySystem + "/VirtualMedia/Cd")
			if err != nil {
				t.Fatal(err)
			}
			if o["Inserted"] != true {
				return ""
			}
			return o["Image"].(string)
		},
		Lacks: map[bmctest.Capability]string{
			bmctest.BootProgress: "it has no BootProgress",
			bmctest.BootOnce:     "it shows every override as Continuous",
			bmctest.BootSetup:    "BiosSetup is not among its targets",
			bmctest.BootHTTP:     "it fetches the URI at once and turns the override into Cd",
			"accounts":           "it has no AccountService",
			bmctest.Hostname:     "its managers have a clock and no other setting",
			bmctest.NTP:          "its managers have a clock and no other setting",
			bmctest.DNS:          "its managers have a clock and no other setting",
			bmctest.Syslog:       "its managers have a clock and no other setting",
			bmctest.BIOS:         "the fake driver answers 501",
			bmctest.FirmwareList: "the link to its FirmwareInventory leads nowhere",
			bmctest.FirmwarePush: "the link of HttpPushUri leads nowhere",
			bmctest.Tasks:        "the fake driver makes none",
			bmctest.Events:       "it has no logs",
		},
		Refuses: map[bmctest.Capability]string{
			bmctest.FirmwareFetch: "it announces SimpleUpdate, and the fake driver has no BIOS version to update",
		},
	})
}
