package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/cagenut/cagenut/internal/profile"
)

// functions are those of templates. Each quoting function either keeps a value inside its field or
// fails the rendering: nothing is replaced or left out in silence. execute renders another template.
func functions(execute func(string, Machine) ([]byte, error)) template.FuncMap {
	return template.FuncMap{
		// Quoting.
		"sh":      quoteShell,
		"yaml":    quoteYAML,
		"ks":      quoteKickstart,
		"preseed": plainPreseed,
		"word":    plainWord,
		"words":   joinWords,

		// Forms of values.
		"join":     strings.Join,
		"lower":    strings.ToLower,
		"dashes":   func(mac string) string { return strings.ReplaceAll(strings.ToLower(mac), ":", "-") },
		"url":      url.Parse,
		"octal":    func(mode uint32) string { return fmt.Sprintf("%04o", mode) },
		"pem":      normalPEM,
		"bydev":    func(d profile.Disk) string { return strings.TrimPrefix(d.Path, "/dev/") },
		"diskpath": func(d profile.Disk) string { return d.Path },

		// Parts of files.
		"unit": func() string { return unitPath },
		"hook": func(m Machine) (string, error) {
			data, err := execute("hook/hook.sh", m)
			return string(data), err
		},
		"cmdline": func(what string, m Machine) (string, error) {
			data, err := execute("cmdline/"+what, m)
			line := strings.TrimSpace(string(data))
			if err == nil && strings.ContainsAny(line, "\r\n") {
				return "", fmt.Errorf("cmdline/%s has several lines: put all arguments into one", what)
			}
			return line, err
		},
		"fetch":  fetchHook,
		"span":   partmanSize,
		"raidfs": partmanRAID,
	}
}

// fetchHook is the command by which an installer gets the hook. What the installer fetches itself,
// it trusts by what it trusts.
func fetchHook(m Machine) (string, error) {
	from, err := quoteShell(m.Boot.Base + "/hook.sh")
	return "curl -fsS --retry 10 --max-time 60 -o /run/cagenut.sh " + from, err
}

// partmanSize is a partition's least size, priority and greatest size, in MiB.
func partmanSize(mib int) string {
	if mib == 0 {
		return "4096 10000 -1"
	}
	return fmt.Sprintf("%d %d %d", mib, mib, mib)
}

// partmanRAID is what is on a RAID1, and where it is mounted.
func partmanRAID(p Partition) string {
	switch p.Role {
	case PV:
		return "lvm -"
	case Swap:
		return "swap -"
	}
	return p.Filesystem + " " + p.Path
}

// unitPath is where the first boot's unit is on the machine.
const unitPath = "/etc/systemd/system/cagenut-first-boot.service"

// quoteShell makes one word of a POSIX shell. Inside single quotes nothing is special, lines
// included.
func quoteShell(s string) (string, error) {
	if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		return "", fmt.Errorf("sh: %q cannot be a shell's word", s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", nil
}

// quoteYAML makes one scalar: JSON's strings are YAML's double-quoted ones. What YAML does not print
// is escaped.
func quoteYAML(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("yaml: %q is not UTF-8", s)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return "", fmt.Errorf("yaml: %w", err)
	}
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String(), nil
}

// quoteKickstart makes one word of a kickstart command. A command ends with its line, so a value
// that has several is refused.
func quoteKickstart(s string) (string, error) {
	if err := oneLine("ks", s); err != nil {
		return "", err
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}

// plainPreseed passes a value of a preseed line, which takes the rest of the line as it stands. A
// backslash at its end would take the next line too.
func plainPreseed(s string) (string, error) {
	if err := oneLine("preseed", s); err != nil {
		return "", err
	}
	if strings.HasSuffix(s, `\`) || strings.TrimSpace(s) != s {
		return "", fmt.Errorf("preseed: %q begins or ends with what debconf would not keep", s)
	}
	return s, nil
}

// plainWord passes a word of an iPXE line or of a kernel command line. Neither can quote: iPXE
// replaces ${...} wherever it stands.
func plainWord(s string) (string, error) {
	if s == "" || strings.Trim(s, wordSet) != "" {
		return "", fmt.Errorf("word: %q may hold letters, digits and . _ ~ : / ? @ ! + , ; = %% [ ] - only", s)
	}
	return s, nil
}

const wordSet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:/?@!+,;=%[]-"

// joinWords is plainWord for a list.
func joinWords(list []string) (string, error) {
	for _, s := range list {
		if _, err := plainWord(s); err != nil {
			return "", err
		}
	}
	return strings.Join(list, " "), nil
}

func oneLine(where, s string) error {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == utf8.RuneError {
			return fmt.Errorf("%s: %q holds a line break or a control character", where, s)
		}
	}
	return nil
}
