//go:build e2e

package install

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/test/e2e/saltlab"
)

// states are what the box's profiles ask for, as far as it can be made on a minion that shares its
// machine with eleven others. %DIR% is the folder of the hosts.
var states = map[string]string{
	"base/ssh": `
sshd_config:
  file.managed:
    - name: %DIR%/{{ grains.id }}/sshd_config
    - contents: PermitRootLogin prohibit-password
`,
	"base/time": `
timesyncd.conf:
  file.managed:
    - name: %DIR%/{{ grains.id }}/timesyncd.conf
    - contents: NTP=192.0.2.10
`,
	"base/metrics": `
textfiles:
  file.directory:
    - name: %DIR%/{{ grains.id }}/textfiles
node-exporter:
  file.managed:
    - name: %DIR%/{{ grains.id }}/textfiles/role.prom
    - contents: role{minion="{{ grains.id }}"} 1
    - require:
      - file: textfiles
`,
}

// salt is the real Salt of the site.
type salt struct {
	*saltlab.Lab
	venv    string // folder of its programs
	minions string // URL for the box
}

// venv gives the folder of the programs of salt or ansible.
func venv(t *testing.T, what string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), venvs, what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", venvs, what, err)
	}
	return strings.TrimSpace(string(out))
}

// startSalt starts a Salt. network is called before a minion starts.
func startSalt(t *testing.T, network func(minion string) error) salt {
	t.Helper()
	s := salt{venv: venv(t, "salt")}
	s.Lab = saltlab.Start(t, s.venv, nil)
	for name, text := range states {
		s.File(t, "srv/salt/"+name+".sls", strings.ReplaceAll(text, "%DIR%", s.Dir+"/hosts"))
	}
	s.minions = s.Hosts(t, network)
	return s
}

// configure is the site's block of configuration, but for what its machines are told of their master.
func (s salt) configure(t *testing.T, block map[string]any) {
	t.Helper()
	s.File(t, "password", s.Password)
	block["url"], block["user"] = s.URL, saltlab.User
	block["password_file"], block["ca_file"] = filepath.Join(s.Dir, "password"), filepath.Join(s.Dir, "etc/api.crt")
}

// keys are the minions whose keys the master has, by what became of them.
func (s salt) keys(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, kind := range []string{"minions", "minions_pre", "minions_denied", "minions_rejected"} {
		entries, err := os.ReadDir(filepath.Join(s.Dir, "m/pki", kind))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			out[kind] = append(out[kind], e.Name())
		}
	}
	return out
}

// applied is a job of state.apply.
type applied struct {
	Minion, Asked string // Asked: operation and step, by the job's metadata
	Test          bool
}

// runs are all jobs of state.apply that the master knows, in order.
func (s salt) runs(t *testing.T) []applied {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(s.venv, "salt-run"), "-c", filepath.Join(s.Dir, "etc"),
		"jobs.list_jobs", "search_function=state.apply", "--out=json").Output()
	if err != nil {
		t.Fatalf("salt-run: %v", err)
	}
	var jobs map[string]struct {
		Arguments []json.RawMessage
		Target    []string
		Metadata  map[string]string
	}
	if err := json.Unmarshal(out, &jobs); err != nil {
		t.Fatalf("jobs.list_jobs: %v in %s", err, out)
	}
	var list []applied
	for id, j := range jobs {
		r := applied{Minion: strings.Join(j.Target, " "), Asked: j.Metadata["cagenut"]}
		said := false
		for _, a := range j.Arguments {
			var named struct{ Test *bool }
			if json.Unmarshal(a, &named) == nil && named.Test != nil {
				r.Test, said = *named.Test, true
			}
		}
		if !said {
			t.Errorf("job %s does not say whether it is a test: %s", id, out)
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b applied) int {
		return strings.Compare(a.Asked+a.Minion+mode(a.Test), b.Asked+b.Minion+mode(b.Test))
	})
	return list
}

func mode(test bool) string { return map[bool]string{true: " test", false: " real"}[test] }

// asked are those runs that an operation has asked for: "srv-101.example.net real".
func asked(runs []applied, id operation.ID) []string {
	var out []string
	for _, r := range runs {
		if r.Asked == string(id)+"/configure" {
			out = append(out, r.Minion+mode(r.Test))
		}
	}
	return out
}

// made holds that each host has what the states make, and that the master has accepted these keys and
// no others.
func (s salt) made(t *testing.T, hosts []string) {
	t.Helper()
	for _, host := range hosts {
		for name, want := range map[string]string{"sshd_config": "PermitRootLogin prohibit-password\n", "timesyncd.conf": "NTP=192.0.2.10\n",
			"textfiles/role.prom": "role{minion=\"" + host + "\"} 1\n"} {
			got, err := os.ReadFile(s.Host(host, name))
			if err != nil || string(got) != want {
				t.Errorf("%s: %s is %q, %v; want %q", host, name, got, err, want)
			}
		}
	}
	if diff := cmp.Diff(map[string][]string{"minions": hosts}, s.keys(t)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// profiles makes the box's profiles fit for hosts that are all this machine, in a folder of their own:
// what installs the machine's own system, which the hosts tell, and checks that are true here. No service
// is among these, since nothing need run here that an init system knows. One more is for the machine of
// Ansible, which has another role and a port that answers.
func profiles(t *testing.T) (dir string) {
	t.Helper()
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	distro, release := thisSystem(t)
	files, err := filepath.Glob("../../../internal/devstack/profiles/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("the box's profiles: %v, %v", files, err)
	}
	dir = t.TempDir()
	for _, file := range files {
		var p map[string]any
		raw, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(raw, &p)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if system, ok := p["os"].(map[string]any); ok && (system["distro"] != "image" || release != "bookworm") { // the box's image is of that
			system["distro"], system["release"] = distro, release
		}
		checks := map[string]any{"network": true, "mounts": []any{map[string]any{"path": "/", "min_free_mib": 1}},
			"max_clock_skew_ms": 20_000, "kernel": strings.TrimSpace(string(kernel))} // a machine under load is slow to answer
		p["checks"] = checks
		write(t, filepath.Join(dir, filepath.Base(file)), p)
		if match, ok := p["match"].(map[string]any); ok && match["device_types"].([]any)[0] == ansibleType.Slug { //nolint:forcetypeassert // as the profiles are
			match["roles"], p["name"] = []any{ansibleRole.Slug}, "server-ansible"
			p["config_management"] = map[string]any{"driver": "ansible", "playbook": "site.yml", "vars": map[string]any{"text": "hello"}}
			checks["tcp"] = []any{map[string]any{"port": 22}}
			write(t, filepath.Join(dir, "ansible.yaml"), p)
		}
	}
	return dir
}

// write writes a file of YAML.
func write(t *testing.T, file string, what map[string]any) {
	t.Helper()
	raw, err := yaml.Marshal(what)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// thisSystem gives the distribution of this machine as a profile names it.
func thisSystem(t *testing.T) (distro, release string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `. /etc/os-release; case $ID in debian) echo $ID $VERSION_CODENAME;; *) echo $ID $VERSION_ID;; esac`).Output()
	if err != nil {
		t.Fatal(err)
	}
	distro, release, _ = strings.Cut(strings.TrimSpace(string(out)), " ")
	if distro != "debian" && distro != "ubuntu" {
		t.Fatalf("this machine runs %s, which minions would tell; profiles of this test are for Debian and Ubuntu", out)
	}
	return distro, release
}
