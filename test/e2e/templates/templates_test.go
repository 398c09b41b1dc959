//go:build e2e

package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/templates"
)

const golden = "../../../templates/testdata"

// checker is a program that judges files: it accepts one with exit code 0 and nothing on standard
// error.
type checker struct {
	name    string
	command []string // the file's name is put behind it
	broken  string   // what it must refuse
}

func (c checker) run(file string) (string, bool) {
	cmd := exec.Command(c.command[0], append(c.command[1:len(c.command):len(c.command)], file)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	text := strings.TrimSpace(string(out) + errs.String())
	if err != nil {
		text += ": " + err.Error()
	}
	return text, err == nil && errs.Len() == 0
}

// accepts judges files after the checker has shown that it refuses something.
func (c checker) accepts(t *testing.T, files ...string) {
	t.Helper()
	if text, ok := c.run(write(t, "broken", c.broken)); ok {
		t.Fatalf("%s accepts %q: %s", c.name, c.broken, text)
	}
	if len(files) == 0 {
		t.Fatalf("%s: no files", c.name)
	}
	for _, f := range files {
		if text, ok := c.run(f); !ok {
			t.Errorf("%s refuses %s: %s", c.name, f, text)
		}
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(golden, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPreseed(t *testing.T) {
	t.Parallel()
	checker{"debconf", []string{"debconf-set-selections", "-c"}, "d-i mirror/suite strin bookworm\n"}.accepts(t, glob(t, "*/preseed.cfg")...)
}

func TestCloudConfig(t *testing.T) {
	t.Parallel()
	cloudInit := checker{"cloud-init", []string{"cloud-init", "schema", "-c"}, "#cloud-config\nruncmd: yes\n"}
	files := glob(t, "*/user-data")
	for _, f := range glob(t, "ubuntu-*/user-data") {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var autoinstall struct {
			Autoinstall struct {
				UserData map[string]any `yaml:"user-data"`
			} `yaml:"autoinstall"`
		}
		if err := yaml.Unmarshal(raw, &autoinstall); err != nil || len(autoinstall.Autoinstall.UserData) == 0 {
			t.Fatalf("%s: %v: no user-data for the installed system", f, err)
		}
		inner, err := yaml.Marshal(autoinstall.Autoinstall.UserData)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, write(t, "user-data", "#cloud-config\n"+string(inner)))
	}
	cloudInit.accepts(t, files...)
}

func TestKickstart(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("../scripts/kickstart-venv.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	command := strings.Fields(string(out))
	if err != nil || len(command) != 2 {
		t.Fatalf("kickstart-venv.sh: %v: %q", err, out)
	}
	set, err := templates.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	for release, version := range map[string]string{"8.10": "RHEL8", "9": "RHEL9", "10": "RHEL10"} {
		var files []string
		for _, s := range templates.Samples() {
			if s.Machine.Method() != profile.Kickstart {
				continue
			}
			s.Machine.OS.Release = release
			f, err := set.File(s.Machine, "kickstart.cfg")
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, write(t, s.Name+".cfg", string(f.Data)))
		}
		for _, name := range []string{"plain", "bonded"} { // the network commands, for those who use them
			_, text := network(t, name+"."+string(netconf.KickstartFormat))
			files = append(files, write(t, name+".ks", text))
		}
		checker{"ksvalidator " + version, append(command, "-v", version), "timezone\n"}.accepts(t, files...)
	}
}

func TestNetplan(t *testing.T) {
	t.Parallel()
	generate := func(text string) (string, bool) {
		root := t.TempDir()
		dir := filepath.Join(root, "etc", "netplan")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "60-cagenut.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("netplan", "generate", "--root-dir", root).CombinedOutput()
		return string(out), err == nil && len(out) == 0
	}
	if out, ok := generate("network:\n  version: 2\n  bonds:\n    bond0:\n      interfaces: [eno9]\n"); ok {
		t.Fatalf("netplan accepts a bond of a port that is not there: %s", out)
	}
	texts := map[string]string{}
	for _, name := range []string{"plain", "bonded"} {
		for _, f := range []netconf.Format{netconf.Netplan, netconf.NetworkConfig} {
			_, texts[name+"."+string(f)] = network(t, name+"."+string(f))
		}
	}
	for _, f := range glob(t, "*/network-config") {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[f] = string(raw)
	}
	for name, text := range texts {
		if out, ok := generate(text); !ok {
			t.Errorf("netplan refuses %s: %s", name, out)
		}
	}
}

func TestIfupdown(t *testing.T) {
	t.Parallel()
	files := make([]string, 0, 2)
	for _, name := range []string{"plain", "bonded"} {
		path, text := network(t, name+"."+string(netconf.Ifupdown))
		if path != "/etc/network/interfaces" {
			t.Fatalf("the last file is %s", path)
		}
		files = append(files, write(t, name, text))
	}
	// It says on standard error what it would do.
	checker{"ifup", []string{"sh", "-c", `ifup --no-act --all --force --interfaces "$0" 2>&1`}, "iface eno1 inet statik\n"}.accepts(t, files...)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	scripts := glob(t, "*/hook.sh")
	checker{"shellcheck", []string{"shellcheck", "-s", "sh"}, "[ $1 = x ]\n"}.accepts(t, scripts...)
	checker{"dash", []string{"dash", "-n"}, "if true; then\n"}.accepts(t, scripts...)
}

// network gives the path and the text of the last file of a golden network.
func network(t *testing.T, name string) (path, text string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../../internal/netconf/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	heads := regexp.MustCompile(`(?m)^### (\S+)\n`).FindAllStringSubmatchIndex(string(raw), -1)
	if len(heads) == 0 {
		t.Fatalf("%s holds no file", name)
	}
	last := heads[len(heads)-1]
	return string(raw[last[2]:last[3]]), string(raw[last[1]:])
}
