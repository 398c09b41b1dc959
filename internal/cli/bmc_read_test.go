package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
	"github.com/cagenut/cagenut/bmc/redfish/reader/readertest"
)

// testBMC is a service that wants root/calvin for all but the ServiceRoot, by Basic authentication.
func testBMC(t *testing.T, tree readertest.Tree) (url, fingerprint string) {
	t.Helper()
	service := readertest.NewService(readertest.Config{Tree: tree})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.NotFound(w, r) // no sessions
			return
		}
		user, password, _ := r.BasicAuth()
		if strings.Trim(r.URL.Path, "/") != "redfish/v1" && (user != "root" || password != "calvin") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, broker.Fingerprint(server.Certificate())
}

// runRead runs `cagenut bmc read` alone and gives its exit code and output.
func runRead(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	s := Streams{In: strings.NewReader(stdin), Out: &out, Err: &errOut}
	code = Main(context.Background(), s, append([]string{"bmc", "read"}, args...))
	return code, out.String(), errOut.String()
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestBMCReadJSONFollowsTheSchema(t *testing.T) {
	url, fingerprint := testBMC(t, readertest.Synthetic())
	code, out, errOut := runRead(t, "", "--url", url, "--user", "root", "--password-file", passwordFile(t, "calvin\n"), "--fingerprint", fingerprint, "-o", "json")
	if code != ExitOK {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "schema", "inventory.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
	var inv bmc.Inventory
	dec := json.NewDecoder(strings.NewReader(out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&inv); err != nil {
		t.Fatal(err)
	}
	if inv.Identity.Serial != "SN0001" || inv.Identity.Fingerprint != fingerprint || len(inv.Drives) != 8 {
		t.Errorf("serial %q, fingerprint %q, %d drives; want SN0001, %s and 8", inv.Identity.Serial, inv.Identity.Fingerprint, len(inv.Drives), fingerprint)
	}
	if strings.Contains(out+errOut, "calvin") {
		t.Error("the password is in the output")
	}
}

func TestBMCReadYAMLAndTable(t *testing.T) {
	url, fingerprint := testBMC(t, readertest.Synthetic())
	args := []string{"--url", url, "--user", "root", "--password-file", "-", "--fingerprint", strings.ToLower(strings.ReplaceAll(fingerprint, ":", ""))}
	code, out, errOut := runRead(t, "calvin\r\n", append(args, "-o", "yaml")...)
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(out), &doc); code != ExitOK || err != nil || doc["identity"].(map[string]any)["serial"] != "SN0001" {
		t.Errorf("exit %d, %v: %s", code, err, errOut)
	}
	code, out, errOut = runRead(t, "calvin", args...)
	if code != ExitOK {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	for _, want := range []string{"SN0001", "8x 1.92 TB, NVMe, SSD, SSD", "16x 32 GiB DDR5", "02:00:00:00:00:03"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
}

func TestBMCReadIncomplete(t *testing.T) {
	tree := readertest.Synthetic()
	delete(tree, "/redfish/v1/Systems/1/Memory/7")
	url, fingerprint := testBMC(t, tree)
	args := []string{"--url", url, "--user", "root", "--password-file", passwordFile(t, "calvin"), "--fingerprint", fingerprint, "-o", "json"}
	code, out, errOut := runRead(t, "", args...)
	if code != ExitOK || !strings.Contains(errOut, "1 resource could not be read (1x not_found)") || !strings.Contains(out, `"complete": false`) {
		t.Errorf("exit %d, stderr %q: want 0 and a warning", code, errOut)
	}
	if code, _, _ = runRead(t, "", append(args, "--strict")...); code != ExitFailure {
		t.Errorf("exit %d with --strict, want %d", code, ExitFailure)
	}
}

func TestBMCReadRefuses(t *testing.T) {
	url, fingerprint := testBMC(t, readertest.Synthetic())
	good, bad := passwordFile(t, "calvin"), passwordFile(t, "wrong")
	other := "00" + fingerprint[2:]
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no URL", nil, ExitUsage, "--url is missing"},
		{"a password in the URL", []string{"--url", "https://root:secret@bmc"}, ExitUsage, "use --user"},
		{"http to elsewhere", []string{"--url", "http://192.0.2.1"}, ExitUsage, "clear"},
		{"a path", []string{"--url", url + "/ui/login"}, ExitUsage, "leave out"},
		{"a bad scope", []string{"--url", url, "--scope", "all"}, ExitUsage, "identity, hardware, complete"},
		{"a bad format", []string{"--url", url, "-o", "xml"}, ExitUsage, "table, json, yaml"},
		{"a bad fingerprint", []string{"--url", url, "--fingerprint", "12:34"}, ExitUsage, "SHA-256"},
		{"no password", []string{"--url", url, "--user", "root", "--fingerprint", fingerprint}, ExitUsage, passwordVariable},
		{"no password file", []string{"--url", url, "--user", "root", "--password-file", "/nonexistent", "--fingerprint", fingerprint}, ExitUsage, "/nonexistent"},
		{"too much in flight", []string{"--url", url, "--in-flight", "100"}, ExitUsage, "between 1 and 16"},
		{"an unknown flag", []string{"--password", "x"}, ExitUsage, "unknown flag"},
		{"a certificate that nobody knows", []string{"--url", url, "--user", "root", "--password-file", good}, ExitRefused, "--fingerprint " + fingerprint},
		{"another certificate", []string{"--url", url, "--user", "root", "--password-file", good, "--fingerprint", other}, ExitRefused, "certificate changed"},
		{"a wrong password", []string{"--url", url, "--user", "root", "--password-file", bad, "--fingerprint", fingerprint}, ExitRefused, "refused the credentials"},
		{"a system that is not there", []string{"--url", url, "--user", "root", "--password-file", good, "--fingerprint", fingerprint, "--system", "9"}, ExitUsage, "the BMC serves 1"},
		{"nobody there", []string{"--url", "https://127.0.0.1:1", "--fingerprint", fingerprint}, ExitFailure, "127.0.0.1:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := runRead(t, "", c.args...)
			if code != c.code || !strings.Contains(errOut, c.says) {
				t.Errorf("exit %d, stderr %q; want %d and %q", code, errOut, c.code, c.says)
			}
			if strings.Contains(out+errOut, "secret") || strings.Contains(out+errOut, "wrong") && c.name == "a wrong password" && strings.Contains(errOut, "\"wrong\"") {
				t.Error("a password is in the output")
			}
		})
	}
}

// Open services on loopback, such as mock-ups, need neither user nor certificate.
func TestBMCReadPlainHTTP(t *testing.T) {
	server := httptest.NewServer(readertest.NewService(readertest.Config{Tree: readertest.Synthetic()}))
	t.Cleanup(server.Close)
	code, out, errOut := runRead(t, "", "--url", server.URL+"/redfish/v1/", "--scope", "identity", "-o", "json")
	if code != ExitOK || !strings.Contains(out, "SN0001") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}
