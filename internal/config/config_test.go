package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const whole = `
database: {url: "postgres://cagenut@db.example/cagenut"}
temporal:
  host: temporal.example:7233
netbox:
  url: https://netbox.example
  token_file: netbox.token
sites:
  ams-01:
    oob_prefixes: [10.0.8.0/22, "fd00:8::/64"]
    window: 12
profiles: profiles
api:
  listen: 127.0.0.1:7780
`

func TestWebhooks(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "cagenut.yaml", whole+`
  url: https://cagenut.example/at/
notify:
  - {url: "https://chat.example/room", secret_file: chat.key, kinds: [waiting]}
  - {url: "http://127.0.0.1:9/", secret_file: /etc/hook.key}
`)
	c, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	want := []Webhook{{URL: "https://chat.example/room", SecretFile: filepath.Join(dir, "chat.key"), Kinds: []string{"waiting"}},
		{URL: "http://127.0.0.1:9/", SecretFile: "/etc/hook.key"}}
	if diff := cmp.Diff(want, c.Notify); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if page := c.API.Page("op_1"); page != "https://cagenut.example/at/operations/op_1" || (API{}).Page("op_1") != "" {
		t.Errorf("page %q", page)
	}
	file = write(t, dir, "bad.yaml", whole+`
notify:
  - {url: "https://u:p@chat.example/room", kinds: [waiting, paused]}
  - {secret_file: k}
  - {url: "https://chat.example/r00m", secret_file: k}
  - {url: "https://chat.example/r00m", secret_file: k}
`)
	_, err = Load(Source{File: file, Env: []string{"CAGENUT_NOTIFY=x"}})
	if err == nil {
		t.Fatal("all that is good")
	}
	for _, key := range []string{"CAGENUT_NOTIFY", "notify[0].url", "notify[0].secret_file", "notify[0].kinds[1] = \"paused\"", "notify[1].url", "notify[3].url"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing is said of %s in\n%v", key, err)
		}
	}
	if strings.Contains(err.Error(), "u:p") || strings.Contains(err.Error(), "r00m") {
		t.Errorf("a URL is shown:\n%v", err)
	}
}

func TestFileEnvironmentAndFlagsLayer(t *testing.T) {
	file := write(t, t.TempDir(), "cagenut.yaml", whole)
	c, err := Load(Source{File: file,
		Env: []string{"HOME=/root", "CAGENUT_TOKEN=not-ours", "CAGENUT_API_LISTEN=127.0.0.1:1", "CAGENUT_TEMPORAL_HOST=env:1", "CAGENUT_WORKER_ACTIVITIES=7"},
		Set: map[string]string{"temporal.host": "flag:1"}})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Temporal.Host, c.API.Listen, c.Temporal.Namespace, c.NetBox.TokenFile, c.Log.Level}
	want := []string{"flag:1", "127.0.0.1:1", "cagenut", filepath.Join(filepath.Dir(file), "netbox.token"), "info"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if c.Worker.Activities != 7 || c.WindowFor("ams-01") != 12 || c.WindowFor("other") != DefaultWindow {
		t.Errorf("activities %d, windows %d, %d", c.Worker.Activities, c.WindowFor("ams-01"), c.WindowFor("other"))
	}
	if got := len(c.Sites["ams-01"].Prefixes()); got != 2 {
		t.Errorf("prefixes: %d, want 2", got)
	}
}

func TestAllProblemsAreListedWithFileLineAndRemedy(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "cagenut.yaml", `temporal:
  hots: temporal:7233
netbox:
  url: ftp://netbox
sites:
  ams-01:
    oob_prefixes: [10.0.8.0/22, 10.0.8.1/22]
    bmc_prot: 1
  Ber:
    window: 9999
    oob_prefixes: []
api:
  listen: 0.0.0.0:80
log: {level: loud}
`)
	_, err := Load(Source{File: file, Env: []string{"CAGENUT_DATABSE_URL=x", "CAGENUT_FIRMWARE_MAX_MIB=lots"}, Set: map[string]string{"api.lisen": "x"}})
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	var got []string
	for _, p := range problems {
		if p.Remedy == "" {
			t.Errorf("no remedy: %s", p)
		}
		head, _, _ := strings.Cut(strings.TrimPrefix(p.String(), dir+"/"), ": ")
		got = append(got, head+" "+p.Key)
	}
	want := []string{
		"cagenut.yaml:2 temporal.hots", "cagenut.yaml:8 sites.ams-01.bmc_prot",
		"CAGENUT_DATABSE_URL ", "CAGENUT_FIRMWARE_MAX_MIB firmware.max_mib", "--set api.lisen",
		"cagenut.yaml:4 netbox.url", "cagenut.yaml:3 netbox.token_file",
		"cagenut.yaml:9 sites.Ber", "cagenut.yaml:11 sites.Ber.oob_prefixes", "cagenut.yaml:10 sites.Ber.window",
		"cagenut.yaml:7 sites.ams-01.oob_prefixes[1]",
		"cagenut.yaml:13 api.listen", "cagenut.yaml:14 log.level",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s\n%v", diff, err)
	}
}

func TestBrokenYAMLNamesTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"syntax":       {"api: {listen: [\n", ".yaml:1"},
		"wrong type":   {"worker:\n  activities: many\n", `.yaml:2: worker.activities = "many": give a whole number`},
		"twice":        {"log: {level: info}\napi: {}\nlog: {level: warn}\n", ".yaml:3"},
		"two docs":     {"log: {level: info}\n---\napi: {}\n", ".yaml:3: the file holds several YAML documents"},
		"no text":      {"state_dir: {}\n", ".yaml:1: state_dir: it is a section"},
		"a list":       {"- a\n- b\n", ".yaml:1"},
		"section list": {"api:\n  - listen\n", ".yaml:2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Source{File: write(t, t.TempDir(), "c.yaml", tc.text)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want it to contain %q", err, tc.want)
			}
		})
	}
}

// A wrong type stops nothing: the others, unknown keys and wrong values are listed with it, and the
// value that could not be read is not judged a second time.
func TestAllWrongTypesAreListedWithTheirKeys(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(Source{File: write(t, dir, "c.yaml", `temporal: {host: [a], tls: 7}
worker:
  activities: many
sites:
  ams01:
    window: {a: 1}
    oob_prefixes: 10.0.0.0/8
  ber01: {oob_prefixes: [10.0.8.0/22, [x]]}
api: {lisen: x}
log: {level: loud}
`)})
	want := []string{`1: temporal.host: it is a list: give a text`, `1: temporal.tls = "7": give a section: keys with values`,
		`3: worker.activities = "many": give a whole number`,
		`6: sites.ams01.window: it is a section with keys of its own: give a whole number`,
		`7: sites.ams01.oob_prefixes = "10.0.0.0/8": give a list`,
		`8: sites.ber01.oob_prefixes[1]: it is a list: give a text`,
		`9: api.lisen: there is no such key: use one of listen, tls, url`,
		`10: log.level = "loud": use one of debug, info, warn, error`}
	if diff := cmp.Diff(want, strings.Split(strings.ReplaceAll(fmt.Sprint(err), dir+"/c.yaml:", ""), "\n")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	_, err = LoadProfileFiles([]string{write(t, dir, "p.yaml", "name: [x]\nversion: one\nmatch: {device_types: [a]}\nbmc: {account: admin, protocol: telnet}\nos: {root_disk: {min_gb: big}}\n")})
	for _, part := range []string{"p.yaml:1: name: it is a list", `p.yaml:2: version = "one": give a whole number`, "p.yaml:4: bmc.protocol", `os.root_disk.min_gb = "big": give a number`} {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("want %q in:\n%v", part, err)
		}
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	c, err := Load(Source{File: write(t, t.TempDir(), "c.yaml", "# nothing yet\n")})
	if err != nil {
		t.Fatal(err)
	}
	if !c.FromNothing() {
		t.Error("comments alone configure something")
	}
	if c.API.Listen != Default().API.Listen {
		t.Errorf("listen %q", c.API.Listen)
	}
}

func TestNeedNamesKeyAndVariable(t *testing.T) {
	c := Default()
	err := c.Need("cagenut serve", "database.url", "secrets.key_file")
	for _, want := range []string{"database.url", "CAGENUT_DATABASE_URL", "secrets.key_file", "cagenut serve"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to contain %q", err, want)
		}
	}
	c.Database.URL, c.Secrets.Driver = "postgres://x", "env"
	if err := c.Need("cagenut serve", "database.url", "secrets.key_file"); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestSecretFilesOfOthersAreRefused(t *testing.T) {
	dir := t.TempDir()
	open := write(t, dir, "open", "hush")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecretFile("k", open); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
	if s, err := ReadSecretFile("k", write(t, dir, "closed", " hush\n")); err != nil || s != "hush" {
		t.Errorf("got %q, %v", s, err)
	}
	if _, err := ReadKeyFile("k", write(t, dir, "key", "AAAA"), 32); err == nil || !strings.Contains(err.Error(), "32 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestEveryKeyHasItsOwnVariable(t *testing.T) {
	seen := map[string]string{}
	for _, k := range Keys() {
		if other, dup := seen[EnvName(k)]; dup {
			t.Errorf("%s and %s have the variable %s", k, other, EnvName(k))
		}
		seen[EnvName(k)] = k
	}
	if seen["CAGENUT_AUDIT_KEY_FILE"] == "" || len(seen) < 30 {
		t.Errorf("keys: %v", seen)
	}
}

const goodProfile = `name: r650
match: {device_types: [poweredge-r650]}
bmc: {account: root, hostname: "{name}-bmc"}
bios:
  attributes: {ProcVirtualization: Enabled, BootRetry: 3}
`

func TestProfilesAreReadWithDefaults(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "r650.yaml", goodProfile)
	write(t, dir, "readme.txt", "not a profile")
	ps, err := LoadProfiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(ps) != 1 || ps[0].Version != 1 || ps[0].BMC.Protocol != "redfish" || len(ps[0].BIOS.Attributes) != 2 {
		t.Errorf("got %+v", ps)
	}
}

// The profiles of docs/profiles.md can be used as they stand there.
func TestDocumentedProfilesAreGood(t *testing.T) {
	doc, err := os.ReadFile("../../docs/profiles.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(doc), "```yaml\n")[1:]
	if len(blocks) < 2 {
		t.Fatalf("%d profiles in the document", len(blocks))
	}
	for i, b := range blocks {
		text, _, _ := strings.Cut(b, "```")
		ps, err := LoadProfileFiles([]string{write(t, t.TempDir(), "profile.yaml", text)})
		if err != nil {
			t.Errorf("profile %d: %v", i+1, err)
		} else if installs := !ps[0].OS.IsZero(); installs != (i == 1) {
			t.Errorf("profile %d: installs a system: %v", i+1, installs)
		}
	}
}

func TestAllProblemsOfAllProfiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", goodProfile)
	write(t, dir, "b.yaml", goodProfile+`firmware:
  components:
    - component: BIOS
      version: "1.2"
      file: bios.bin
    - {component: NIC, version: "2", file: n.bin, reboot: twice}
`)
	write(t, dir, "c.yaml", "name: c\nbogus: 1\n")
	write(t, dir, "d.yml", "name: d\nbmc: {protocol: telnet}\n")
	_, err := LoadProfiles(dir)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	var got []string
	for _, p := range problems {
		head, _, _ := strings.Cut(strings.TrimPrefix(p.String(), dir+"/"), ": ")
		got = append(got, head+" "+p.Key)
	}
	want := []string{"b.yaml:11 firmware.components[1].reboot", "b.yaml:1 name", "c.yaml:2 bogus",
		"c.yaml bmc.account", "c.yaml match.device_types",
		"d.yml:2 bmc.account", "d.yml:2 bmc.protocol", "d.yml match.device_types"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s\n%v", diff, err)
	}
}

func TestNoProfilesIsAProblem(t *testing.T) {
	if _, err := LoadProfiles(t.TempDir()); err == nil {
		t.Error("an empty folder: got nil")
	}
	if _, err := LoadProfiles(filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("no folder: got nil")
	}
}

func TestChecksRunAtOnceAndStuckOnesAreReported(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan struct{})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	checks := []Check{
		{Name: "stuck", Run: func(context.Context) (string, error) { cancel(); <-hang; return "", nil }},
		{Name: "good", Run: func(context.Context) (string, error) { close(entered); return "may write", nil }},
		{Name: "bad", Run: func(context.Context) (string, error) { return "", errors.New("refused") }},
	}
	got := RunChecks(ctx, checks)
	<-entered
	if got[0].OK || !strings.Contains(got[0].Says, "no answer") {
		t.Errorf("stuck: %+v", got[0])
	}
	if got[2].Name != "bad" {
		t.Errorf("order: %+v", got)
	}
}
