package configmgmt_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
)

func TestWords(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "  the disk is full\r\n", "the disk is full"},
		{"an assignment", "db password=hunter2, user=x", "db password=***, user=x"},
		{"JSON", `{"api_key": "abc def", "name": "x"}`, `{"api_key": ***, "name": "x"}`},
		{"YAML", "secret: abc\nname: x", "secret: ***\nname: x"},
		{"a header", "Authorization: Bearer abc.def\nx", "Authorization: ***\nx"},
		{"a URL", "fetch https://u:p4ss@mirror/x", "fetch https://u:***@mirror/x"},
		{"a key", "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb", "a\n***\nb"},
		{"a cut key", "a\n-----BEGIN PRIVATE KEY-----\nMII", "a\n***"},
		{"a password's policy", "the passwords differ", "the passwords differ"},
		{"control characters", "a\x1b[31mb\x00", "a[31mb"},
		{"long", strings.Repeat("é", 2000), strings.Repeat("é", 1000) + "..."},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, configmgmt.Words(test.in)); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzWords(f *testing.F) {
	f.Add("password=hunter2")
	f.Fuzz(func(t *testing.T, s string) {
		if got := configmgmt.Words(s); len(got) > 2100 || strings.Contains(got, "\x00") {
			t.Errorf("Words(%q) = %q", s, got)
		}
	})
}

func TestKey(t *testing.T) {
	base := configmgmt.Request{Operation: "op_01K3Z5T9Q4W8R2YB6N7M1XCVDE", Step: "configure", Attempt: 1, Target: configmgmt.Target{Name: "srv-101"}}
	seen := map[string]string{base.Key(false): "the base"}
	for name, change := range map[string]func(*configmgmt.Request){
		"operation": func(r *configmgmt.Request) { r.Operation = "op_2" },
		"step":      func(r *configmgmt.Request) { r.Step = "validate" },
		"attempt":   func(r *configmgmt.Request) { r.Attempt = 2 },
		"target":    func(r *configmgmt.Request) { r.Target.Name = "srv-102" },
	} {
		r := base
		change(&r)
		for _, test := range []bool{true, false} {
			if other, ok := seen[r.Key(test)]; ok {
				t.Errorf("another %s has the key of %s", name, other)
			}
			seen[r.Key(test)] = name
		}
	}
	// The address may change between attempts of the activity, and the spec is frozen.
	r := base
	r.Target.Address, r.Spec = "192.0.2.1", configmgmt.Spec{Salt: &configmgmt.SaltSpec{Highstate: true}}
	if r.Key(false) != base.Key(false) {
		t.Error("address or spec change the key")
	}
	if got := base.Asked(); got.Year() != 2025 {
		t.Errorf("the operation was made at %v, want the time in its ID", got)
	}
	if got := (configmgmt.Request{Operation: "op_1"}).Asked(); !got.Equal(time.Unix(0, 0)) {
		t.Errorf("an operation without a time was made at %v", got)
	}
}

func TestSpecProblems(t *testing.T) {
	for _, test := range []struct {
		name   string
		driver string
		spec   configmgmt.Spec
		bad    bool
	}{
		{"states", "salt", configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{"web.nginx", "base"}, Env: "prod"}}, false},
		{"highstate", "salt", configmgmt.Spec{Salt: &configmgmt.SaltSpec{Highstate: true}}, false},
		{"both", "salt", configmgmt.Spec{Salt: &configmgmt.SaltSpec{Highstate: true, States: []string{"x"}}}, true},
		{"a state that is two", "salt", configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{"a,b"}}}, true},
		{"an environment with spaces", "salt", configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{"a"}, Env: "a b"}}, true},
		{"for the other driver", "ansible", configmgmt.Spec{Salt: &configmgmt.SaltSpec{Highstate: true}}, true},
		{"playbook", "ansible", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "play/site.yml", Tags: []string{"web"}, Groups: []string{"web_servers"}}}, false},
		{"an absolute playbook", "ansible", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "/etc/site.yml"}}, true},
		{"a playbook outside", "ansible", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "../site.yml"}}, true},
		{"a playbook that is an option", "ansible", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "--check"}}, true},
		{"a tag that is an option", "ansible", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "a.yml", Tags: []string{"x --check"}}}, true},
		{"a group that is a pattern", "ansible", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "a.yml", Groups: []string{"*"}}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := configmgmt.Request{Operation: "op_1", Step: "s", Attempt: 1, Target: configmgmt.Target{Name: "a"}, Spec: test.spec}
			if err := r.Check("run", test.driver); errors.Is(err, configmgmt.ErrInvalid) != test.bad {
				t.Errorf("Check = %v, want bad %t", err, test.bad)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	const plain = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	colons := "00:11:22:33:44:55:66:77:88:99:AA:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"
	for _, in := range []string{plain, strings.ToUpper(plain), colons, " " + colons + "\n", "local:\n    " + colons + "\n"} {
		if got, err := configmgmt.Fingerprint(in); err != nil || got != plain {
			t.Errorf("Fingerprint(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", plain[2:], plain + "00", "remote: " + plain, strings.Replace(plain, "00", "zz", 1)} {
		if got, err := configmgmt.Fingerprint(in); err == nil {
			t.Errorf("Fingerprint(%q) = %q, want an error", in, got)
		}
	}
}

// TestHandleStays holds the JSON of a handle: histories of Temporal have it.
func TestHandleStays(t *testing.T) {
	b, err := json.Marshal(configmgmt.Handle{Driver: "salt", Job: "j", Target: "a", Test: true, Found: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"driver":"salt","job":"j","target":"a","test":true,"found":true}`, string(b)); diff != "" {
		t.Errorf("handle (-want +got):\n%s", diff)
	}
}

func TestErrorText(t *testing.T) {
	e := &configmgmt.Error{Kind: configmgmt.ErrRender, Op: "poll job 1", Host: "srv-101", Status: 1, Detail: "line 3", Err: errors.New("cause")}
	if diff := cmp.Diff("srv-101: poll job 1: configuration does not render or compile (1): line 3: cause", e.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if configmgmt.Over(e) || !configmgmt.Over(errors.Join(&configmgmt.Error{Kind: configmgmt.ErrBusy, Over: true})) {
		t.Error("Over does not follow the error")
	}
}
