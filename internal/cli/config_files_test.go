package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigCheckOpensEveryFileAndMakesNothing(t *testing.T) {
	alone(t)
	for name, text := range map[string]string{
		"token": "nbt_abc.def\n", "ca.pem": "no certificate", "seed": "c2hvcnQ=\n",
		"cagenut.yaml": `
state_dir: state
profiles: none
netbox: {url: "http://127.0.0.1:9", token_file: token, ca_file: ca.pem, user: cagenut}
audit: {key_file: seed, head_file: heads/audit.json}
secrets: {key_file: missing.key}
firmware: {dir: deep/firmware}
`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, "", "config", "check")
	if r.code != ExitFailure {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	lines := map[string]string{}
	for line := range strings.SplitSeq(r.out, "\n") {
		if f := strings.Fields(line); len(f) > 1 {
			lines[f[1]+" "+f[0]] = line
		}
	}
	for key, says := range map[string]string{
		"netbox.token_file ok":    "can be read",
		"netbox.ca_file FAILED":   "no PEM certificate",
		"audit.key_file FAILED":   "32 bytes",
		"secrets.key_file FAILED": "missing",
		"State ok":                "can be made",
		"Firmware ok":             "can be made",
	} {
		if !strings.Contains(lines[key], says) {
			t.Errorf("%s: %q does not say %q\n%s", key, lines[key], says, r.out)
		}
	}
	for _, dir := range []string{"state", "deep", "heads"} {
		if _, err := os.Stat(filepath.Join(".", dir)); err == nil {
			t.Errorf("the check made %s", dir)
		}
	}
}
