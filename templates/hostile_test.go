package templates

import (
	"fmt"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/profile"
)

// hostile are values that want out of their field, in one format or another.
var hostile = []string{
	" ", "a\nb", "a\n%end\nreboot\n%post\n", "\nd-i partman-auto/disk string /dev/sda", "a\rb", "a\x00b", "a\u2028b", "a\u0085b", "\x1b[2J", "\xff",
	"'", `"`, "`reboot`", "'; reboot; '", `"; reboot; "`, "$(reboot)", "${net0/mac}", "$HOME", "a || reboot", "a && reboot", "a; reboot",
	"{{.Operation}}", "{{", "#", "a #b", ": b", "- a", "[a]", "{a: b}", "&a", "*a", "!!binary a", "| a", "> a", "%include /x", "@/etc/passwd",
	`\`, `a\`, `\n`, "a=b --c", "../../x", "?x=y", "http://user:secret@example.net/x", "\u202egpj", "ключ",
}

// Whatever stands in whichever field, a file either is not rendered or says what it said before in
// as many words: no value breaks out.
func TestNoValueBreaksOut(t *testing.T) {
	s := builtin(t)
	for _, sample := range Samples() {
		if !strings.HasSuffix(sample.Name, "-raid-lvm") && sample.Name != "image-uefi" {
			continue // these hold all that the others do
		}
		t.Run(sample.Name, func(t *testing.T) {
			t.Parallel() // it renders thousands of files
			before, err := s.Files(sample.Machine)
			if err != nil {
				t.Fatal(err)
			}
			shapes, texts := map[string]string{}, map[string]string{}
			for _, f := range before {
				shapes[f.Name], texts[f.Name] = shape(t, f), string(f.Data)
			}
			refused, kept := 0, 0
			eachString(t, sample.Machine, func(field string, m Machine, value string) {
				after, err := s.Files(m)
				if err != nil {
					refused++
					return
				}
				kept++
				for _, f := range after {
					if texts[f.Name] == string(f.Data) {
						continue
					}
					if diff := cmp.Diff(shapes[f.Name], shape(t, f)); diff != "" {
						t.Errorf("%s: %s = %q breaks out in %s:\n%s", sample.Name, field, value, f.Name, diff)
					}
				}
			})
			if refused == 0 || kept == 0 {
				t.Errorf("%s: %d values refused and %d kept: the test tests nothing", sample.Name, refused, kept)
			}
		})
	}
}

// eachString calls f with copies of a machine in which one string is hostile: in place of what was
// there, and behind it.
func eachString(t *testing.T, m Machine, f func(field string, m Machine, value string)) {
	t.Helper()
	var walk func(v reflect.Value, path string, with func(func(reflect.Value)) Machine)
	walk = func(v reflect.Value, path string, with func(func(reflect.Value)) Machine) {
		switch v.Kind() {
		case reflect.String:
			for _, h := range hostile {
				for _, value := range []string{h, v.String() + h} {
					f(path, with(func(at reflect.Value) { at.SetString(value) }), value)
				}
			}
		case reflect.Struct:
			if !v.Type().Field(0).IsExported() { // addresses are typed
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name, func(set func(reflect.Value)) Machine {
					return with(func(at reflect.Value) { set(at.Field(i)) })
				})
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), func(set func(reflect.Value)) Machine {
					return with(func(at reflect.Value) {
						fresh := reflect.MakeSlice(at.Type(), at.Len(), at.Len())
						reflect.Copy(fresh, at)
						set(fresh.Index(i))
						at.Set(fresh)
					})
				})
			}
		}
	}
	walk(reflect.ValueOf(m), "Machine", func(set func(reflect.Value)) Machine {
		fresh := m
		set(reflect.ValueOf(&fresh).Elem())
		return fresh
	})
}

var doubleQuoted = regexp.MustCompile(`"(?:[^"\\\n]|\\[^\n])*"`)

// shellSkeleton is a script without its comments, and with Q for each single-quoted word.
func shellSkeleton(text string) string {
	var out strings.Builder
	double := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			out.WriteString(text[i:min(i+2, len(text))])
			i++
			continue
		case c == '"':
			double = !double
		case c == '\'' && !double:
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return "a quote is open at the end"
			}
			i += 1 + end
			c = 'Q'
		case c == '#' && !double && (i == 0 || strings.ContainsRune(" \n;", rune(text[i-1]))):
			i += strings.IndexByte(text[i:], '\n')
			c = '\n'
		}
		out.WriteByte(c)
	}
	joined := out.String()
	for strings.Contains(joined, `Q\'Q`) { // a quote in a word
		joined = strings.ReplaceAll(joined, `Q\'Q`, "Q")
	}
	return joined
}

// shape is what a file says with its values left out.
func shape(t *testing.T, f File) string {
	t.Helper()
	text := string(f.Data)
	switch {
	case f.Type == yamlKind:
		return yamlShape(t, f.Name, text)
	case f.Name == "hook.sh":
		// Outside single quotes nothing changes but words that are checked letter by letter.
		return words(shellSkeleton(text))
	case f.Name == "kickstart.cfg":
		return words(doubleQuoted.ReplaceAllString(text, "Q"))
	case f.Name == "preseed.cfg":
		var out []string
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\\\n") {
				t.Errorf("preseed.cfg: %q goes on in the next line", line)
			}
			fields := strings.Fields(line)
			out = append(out, strings.Join(fields[:min(3, len(fields))], " "))
			if strings.HasPrefix(line, "#") {
				out[len(out)-1] = "#"
			}
		}
		return strings.Join(out, "\n")
	}
	return words(text)
}

// words counts the words of each line, and keeps what a shell or iPXE would act upon.
func words(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, fmt.Sprint(len(strings.Fields(line)), strings.Map(func(r rune) rune {
			if strings.ContainsRune("$`|&<>(){}\"'\\", r) {
				return r
			}
			return -1
		}, line)))
	}
	return strings.Join(out, "\n")
}

func yamlShape(t *testing.T, name, text string) string {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%s is no YAML: %v", name, err)
		return ""
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			out := map[string]any{}
			for k, x := range v {
				out[k] = walk(x)
			}
			return out
		case []any:
			out := make([]any, len(v))
			for i, x := range v {
				out[i] = walk(x)
			}
			return out
		}
		return fmt.Sprintf("%T", v)
	}
	return fmt.Sprint(walk(v)) // fmt sorts keys
}

// What the quoting functions let through comes out as it went in.
func TestQuotingRoundTrips(t *testing.T) {
	for _, h := range hostile {
		if q, err := quoteShell(h); err == nil {
			out, err := exec.Command("sh", "-c", "printf '%s.' "+q).Output()
			if err != nil || string(out) != h+"." {
				t.Errorf("sh %q: %q, %v", h, out, err)
			}
		}
		if q, err := quoteYAML(h); err == nil {
			var got map[string]string
			if err := yaml.Unmarshal([]byte("a: "+q+"\nb: x\n"), &got); err != nil || got["a"] != h || got["b"] != "x" {
				t.Errorf("yaml %q as %s: %q, %v", h, q, got, err)
			}
		}
		if q, err := quoteKickstart(h); err == nil && doubleQuoted.FindString(q) != q {
			t.Errorf("ks %q as %s ends early", h, q)
		}
		if s, err := plainPreseed(h); err == nil && (s != h || strings.ContainsAny(s, "\n\r") || strings.HasSuffix(s, `\`)) {
			t.Errorf("preseed %q as %q", h, s)
		}
		if s, err := plainWord(h); err == nil && strings.ContainsAny(s, " \t\n$`'\"\\|&<>(){}#") {
			t.Errorf("word %q as %q", h, s)
		}
	}
}

func TestValidateNamesFieldValueAndRemedy(t *testing.T) {
	for field, change := range map[string]func(*Machine){
		"operation":                 func(m *Machine) { m.Operation = "" },
		"asset.id":                  func(m *Machine) { m.Asset.ID = 0 },
		"asset.name":                func(m *Machine) { m.Asset.Name = "" },
		"asset.serial":              func(m *Machine) { m.Asset.Serial = "" },
		"asset.site":                func(m *Machine) { m.Asset.Site = "" },
		"firmware":                  func(m *Machine) { m.Firmware = "" },
		"boot_mac":                  func(m *Machine) { m.BootMAC = "" },
		"network.hostname":          func(m *Machine) { m.Network.Hostname = "" },
		"network.dns":               func(m *Machine) { m.Network.DNS = nil },
		"os.release":                func(m *Machine) { m.OS.Release = "" },
		"os.root_disk":              func(m *Machine) { m.OS.RootDisk = profile.RootDisk{} },
		"disks":                     func(m *Machine) { m.Disks = m.Disks[:1] },
		"disks[0].path":             func(m *Machine) { m.Disks = twoDisks(); m.Disks[0].Path = "/dev/sda" },
		"disks[1].path":             func(m *Machine) { m.Disks = twoDisks(); m.Disks[1] = m.Disks[0] },
		"ssh_keys[0]":               func(m *Machine) { m.SSHKeys = []string{"ops"} },
		"ssh_keys":                  func(m *Machine) { m.SSHKeys = nil },
		"boot.base":                 func(m *Machine) { m.Boot.Base = "http://boot.example.net/install/short" },
		"boot.ca":                   func(m *Machine) { m.Boot.CA = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" },
		"boot.agent.kernel":         func(m *Machine) { m.Boot.Agent.Kernel = "" },
		"boot.installer.initrd":     func(m *Machine) { m.Boot.Installer.Initrd = "" },
		"site.mirror":               func(m *Machine) { m.Site.Mirror = "" },
		"site.security":             func(m *Machine) { m.Site.Security = "ftp://x/y" },
		"site.proxy":                func(m *Machine) { m.Site.Proxy = "http://user:pw@proxy:3128" },
		"site.ntp":                  func(m *Machine) { m.Site.NTP = nil },
		"site.repos[0].name":        func(m *Machine) { m.Site.Repos = []Repo{{"", "http://x/y"}} },
		"config.driver":             func(m *Machine) { m.Config.Driver = "puppet" },
		"config.salt.masters":       func(m *Machine) { m.Config.Salt.Masters = nil },
		"config.salt.master_finger": func(m *Machine) { m.Config.Salt.MasterFinger = "" },
		"config.ansible.public_key": func(m *Machine) { m.Config = Config{Driver: "ansible"} },
	} {
		m := machine(t, "debian-uefi-raid-lvm")
		change(&m)
		problems := m.Validate()
		if len(problems) != 1 || problems[0].Field != field || problems[0].Remedy == "" {
			t.Errorf("%s: %v", field, problems)
		}
		if strings.Contains(fmt.Sprint(problems), "PRIVATE KEY") {
			t.Errorf("%s: a secret is shown: %v", field, problems)
		}
	}
}

// The token of a one-time URL is a password, and what a person put before an @ may be one: whatever else
// is wrong with the URL, the problem shows neither, for problems go into logs and answers.
func TestValidateShowsNoSecretOfAURL(t *testing.T) {
	const token = "S3cretT0kenS3cretT0ken"
	for _, base := range []string{
		"ftp://boot.example.net/i/" + token, "http://boot.example.net/i/" + token + "/", "http://boot.example.net/i/" + token + "?x=1",
		"http://boot.example.net/i/x#" + token, "http://u:" + token + "@boot.example.net/i/x", "http://boot.example.net/../" + token,
		"//" + token, "boot.example.net/" + token, token, "http:/" + token, "http://[::1/" + token, "http://boot.example.net/i/%zz" + token,
	} {
		m := machine(t, "debian-uefi-raid-lvm")
		m.Boot.Base = base
		if problems := m.Validate(); len(problems) == 0 || strings.Contains(fmt.Sprint(problems), token) {
			t.Errorf("%s: %v", base, problems)
		}
	}
	for _, proxy := range []string{"http://user:" + token + "@proxy:3128", "http://user:" + token + "@[::1", token + "@proxy"} {
		m := machine(t, "debian-uefi-raid-lvm")
		m.Site.Proxy = proxy
		if problems := m.Validate(); len(problems) != 1 || strings.Contains(fmt.Sprint(problems), token) {
			t.Errorf("%s: %v", proxy, problems)
		}
	}
}
