package salt

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestSystem(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian\nVERSION_ID=\"12\"\n":                                           "debian 12",
		"NAME='Ubuntu'\nVERSION_ID='24.04'\nID=ubuntu\nID_LIKE=debian":             "ubuntu 24.04",
		"ID=\"rocky\"\r\nID_LIKE=\"rhel centos fedora\"\r\nVERSION_ID=\"9.4\"\r\n": "rocky 9.4",
		"# a comment\n\nID=arch\n":                                                 "arch",
		"ID=\"\nVERSION_ID=":                                                       `"`,
		"":                                                                         "",
		"VERSION_ID_LIKE=1\nXID=2":                                                 "",
	} {
		if got := system(release); got != want {
			t.Errorf("system of %q is %q, want %q", release, got, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		`{"address": "192.0.2.7", "netmask": "255.255.255.128"}`: "192.0.2.7/25",
		`{"address": "192.0.2.7", "netmask": "255.255.255.255"}`: "192.0.2.7/32",
		`{"address": "2001:db8::7", "prefixlen": "64"}`:          "2001:db8::7/64",
		`{"address": "2001:db8::7", "prefixlen": 48}`:            "2001:db8::7/48",
		`{"address": "2001:db8::7"}`:                             "",
		`{"address": "192.0.2.7", "netmask": "255.0.255.0"}`:     "",
		`{"address": "192.0.2.7", "netmask": null}`:              "",
		`{"address": "192.0.2.7", "prefixlen": "33"}`:            "",
		`{"address": "web1", "netmask": "255.255.255.0"}`:        "",
	} {
		var a address
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		if got, err := a.prefix(); (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%s is %v, %v; want %q", text, got, err, want)
		}
	}
}

// TestGranted reads permissions in the forms that external_auth takes.
func TestGranted(t *testing.T) {
	for perms, want := range map[string]string{
		`["file.read"]`:          "file.read",
		`["file.*"]`:             "file.read",
		`[{"*": ["file.read"]}]`: "file.read",
		`[{"*": ".*"}]`:          "file.read",
		`[{"*": [{"file.read$": {"args": ["/etc/os-release$"]}}]}]`: "file.read",
		`["@wheel"]`:                   "@wheel key.print",
		`[{"@wheel": ["key.print"]}]`:  "@wheel key.print",
		`["@key"]`:                     "@wheel key.print",
		`["@runner"]`:                  "@runner jobs.list_job",
		`[{"@runner": ["jobs.list"]}]`: "",
		`["file.readdir", "@runner"]`:  "",
	} {
		var list []any
		if err := json.Unmarshal([]byte(perms), &list); err != nil {
			t.Fatal(err)
		}
		have := granted(list)
		for _, need := range []string{"file.read", "@wheel key.print"} {
			if got := slices.ContainsFunc(grants(need), func(g string) bool { return slices.Contains(have, g) }); got != (need == want) {
				t.Errorf("%s grants %s: %t", perms, need, got)
			}
		}
	}
}
