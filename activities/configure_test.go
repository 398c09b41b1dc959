package activities

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

const (
	configOp = operation.ID("op_01JD0000000000000000000000")
	ownKey   = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

var saltSystem = plan.System{Digest: "d1", Host: "srv-1.example.net", Driver: "salt"}

// ownSystem is what this operation has put on the machine.
func ownSystem() *operation.Installed {
	return &operation.Installed{Digest: "d1", OS: "debian 12", Kernel: "6.1.0-1", Fingerprint: ownKey, Operation: configOp, Proved: configOp}
}

func configCall(kind string, want any) Call {
	prefix := netip.MustParsePrefix("192.0.2.11/24")
	return Call{Operation: configOp, Asset: asset.Ref{ID: 1, Name: "srv-1", Serial: "SN1"}, Attempt: 1,
		Step: plan.Step{Name: kind, Kind: kind, Version: 1, Want: plan.Encode(want)},
		Known: operation.Known{Installed: ownSystem(), Network: &netconf.Network{Hostname: "srv-1", Links: []netconf.Link{
			{Name: "eno1", Kind: netconf.Ethernet, MAC: "02:00:00:00:00:01", Addresses: []netip.Prefix{prefix}, Gateway4: netip.MustParseAddr("192.0.2.1")}}}}}
}

func configureCall() Call {
	return configCall(plan.KindConfigure, plan.WantConfigure{System: saltSystem, Config: profile.ConfigManagement{Driver: "salt", States: []string{"base", "web"}, Vars: map[string]any{"role": "web"}}})
}

const (
	toldKey = "salt host srv-1.example.net: key accepted: " + ownKey
	toldRun = "salt host srv-1.example.net: configuration states base, web, as run "
)

// plainly cuts the run's name off.
func plainly(writes []string) []string {
	var out []string
	for _, w := range writes {
		before, _, ok := strings.Cut(w, ", as run ")
		if ok {
			w = before + ", as run "
		}
		out = append(out, w)
	}
	return out
}

func TestConfigure(t *testing.T) {
	for name, tc := range map[string]struct {
		world       Scripted
		writes      []string
		tests, real int
		evidence    int
		changed     bool
	}{
		"a fresh host":                     {Scripted{changes: 3}, []string{toldKey, toldRun}, 1, 1, 2, true},
		"its key comes late":               {Scripted{changes: 3, unseen: 20, away: 30}, []string{toldKey, toldRun}, 1, 1, 2, true},
		"known already":                    {Scripted{Key: ownKey, changes: 3}, []string{toldRun}, 1, 1, 2, true},
		"nothing to change":                {Scripted{}, []string{toldKey}, 1, 0, 1, false},
		"a test run that fails":            {Scripted{changes: 3, failTest: true}, []string{toldKey, toldRun}, 1, 1, 2, true},
		"busy before a run":                {Scripted{changes: 3, busy: 9}, []string{toldKey, toldRun}, 1, 1, 2, true},
		"runs that are refused":            {Scripted{changes: 3, busyRun: 2}, []string{toldKey, toldRun}, 3, 1, 2, true},
		"a test run is lost":               {Scripted{changes: 3, lostTest: 1}, []string{toldKey, toldRun}, 2, 1, 2, true},
		"the host is silent under a run":   {Scripted{changes: 3, awayRun: 50}, []string{toldKey, toldRun}, 1, 1, 2, true},
		"nothing to change after two lost": {Scripted{lostTest: 2}, []string{toldKey}, 3, 0, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &tc.world
			d.shows = ownKey
			got, _, f := walk(t, &Site{Configs: d}, configureCall())
			if f != nil {
				t.Fatal(f)
			}
			same(t, "writes", tc.writes, plainly(got.writes))
			same(t, "test and real runs", []int{tc.tests, tc.real}, []int{len(d.tests), len(d.real)})
			if got.done.Changed != tc.changed || len(got.evidence) != tc.evidence {
				t.Errorf("changed %t, %d pieces of evidence: %s", got.done.Changed, len(got.evidence), got.done.Summary)
			}
			want := configmgmt.Request{Operation: string(configOp), Step: "configure", Attempt: 1,
				Target: configmgmt.Target{Name: "srv-1.example.net", Address: "192.0.2.11"},
				Spec:   configmgmt.Spec{Salt: &configmgmt.SaltSpec{States: []string{"base", "web"}, Pillar: map[string]any{"role": "web"}}}}
			same(t, "request", want, d.tests[0])
		})
	}
}

// Every fault parks with its code and says what was seen; a retry without it goes on, with a run of its own.
func TestConfigureFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		world  Scripted
		want   fault.Code
		says   string
		writes []string // of both attempts
		real   int      // runs, of both attempts
	}{
		"no key ever":              {Scripted{unseen: forever}, fault.NotEnrolled, "in its own words (for 10m", []string{toldKey, toldRun}, 1},
		"the host is away":         {Scripted{Key: ownKey, away: forever}, fault.HostAway, "(for", []string{toldRun}, 1},
		"away under a run":         {Scripted{awayRun: forever}, fault.HostAway, "(for", []string{toldKey, toldRun}, 1},
		"another key":              {Scripted{shows: "another"}, fault.KeyMismatch, "nothing was accepted", []string{toldKey, toldRun}, 1},
		"another key is let in":    {Scripted{Key: "another", shows: "another"}, fault.KeyMismatch, "nothing was accepted", []string{toldRun}, 1},
		"away":                     {Scripted{broken: refusal(configmgmt.ErrUnreachable, false)}, fault.ConfigAway, "in its own words", []string{toldKey, toldRun}, 1},
		"login refused":            {Scripted{broken: refusal(configmgmt.ErrDenied, false)}, fault.ConfigDenied, "in its own words", []string{toldKey, toldRun}, 1},
		"does not render":          {Scripted{overTest: refusal(configmgmt.ErrRender, true)}, fault.RenderFailed, "in its own words", []string{toldKey, toldRun}, 1},
		"nothing applies":          {Scripted{overTest: refusal(configmgmt.ErrNothing, true)}, fault.ConfigFailed, "nothing applies", []string{toldKey, toldRun}, 1},
		"busy for ever":            {Scripted{busy: forever}, fault.Busy, "(for 3", []string{toldKey, toldRun}, 1},
		"every run is refused":     {Scripted{busyRun: forever}, fault.Busy, "(for 3", []string{toldKey, toldRun}, 1},
		"every test run is lost":   {Scripted{lostTest: forever}, fault.ConfigLost, "3 test runs", []string{toldKey, toldRun}, 1},
		"the real run is lost":     {Scripted{lostReal: 1}, fault.ConfigLost, "how far it came", []string{toldKey, toldRun, toldRun}, 2},
		"a state fails":            {Scripted{failReal: true}, fault.ConfigFailed, "web.nginx: nginx: no such package", []string{toldKey, toldRun, toldRun}, 2},
		"an answer makes no sense": {Scripted{broken: refusal(configmgmt.ErrMalformed, false)}, fault.Malformed, "malformed", []string{toldKey, toldRun}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := &tc.world
			d.changes = 3
			if d.shows == "" {
				d.shows = ownKey
			}
			a := &Site{Configs: d}
			first, c, f := walk(t, a, configureCall())
			if f == nil || f.Code != tc.want || !strings.Contains(f.Message, tc.says) || f.Remedy == "" {
				t.Fatalf("got %+v, want %s with %q", f, tc.want, tc.says)
			}
			if strings.Contains(f.Remedy, "BMC") {
				t.Errorf("remedy %q", f.Remedy)
			}
			if f.Code == fault.KeyMismatch && (d.enrolled > 0 || len(d.tests)+len(d.real) > 0) {
				t.Errorf("accepted: %+v", d)
			}
			*d = Scripted{Key: d.Key, shows: ownKey, changes: d.changes, enrolled: d.enrolled, runs: d.runs, tests: d.tests, real: d.real}
			if d.Key == "another" { // as the remedy says
				d.Key = ownKey
			}
			second, _, f := walk(t, a, *c)
			if f != nil {
				t.Fatalf("retry: %v", f)
			}
			same(t, "writes", tc.writes, plainly(append(first.writes, second.writes...)))
			if len(d.real) != tc.real || d.real[tc.real-1].Attempt != 2 || d.enrolled > 1 {
				t.Errorf("%d real runs, %d keys let in", len(d.real), d.enrolled)
			}
		})
	}
}

// A key that was let in when the call's answer was lost for good is told by the next attempt.
func TestAKeyWhoseWriteWasNotTold(t *testing.T) {
	d := &Scripted{shows: ownKey, changes: 1}
	a := &Site{Configs: d}
	c := configureCall()
	r, err := a.Step(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Handle = r.Again.Handle
	if _, err := a.Step(t.Context(), c); err != nil || d.Key != ownKey {
		t.Fatalf("key %q, %v", d.Key, err)
	}
	c.Last, c.Handle, c.Attempt = c.Handle, nil, 2
	got, _, f := walk(t, a, c)
	if f != nil {
		t.Fatal(f)
	}
	same(t, "writes", []string{toldKey, toldRun}, plainly(got.writes))
}

// A real run whose answer was lost for good has changed the machine: a retry that finds nothing left to
// change tells of it all the same, also when an attempt between the two came no farther than the key.
func TestARealRunWhoseWriteWasNotTold(t *testing.T) {
	d := &Scripted{shows: ownKey, Key: ownKey, changes: 1}
	a := &Site{Configs: d}
	c := configureCall()
	for len(d.real) == 0 {
		r, err := a.Step(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.real) == 0 {
			c.Handle = r.Again.Handle
		}
	}
	c.Last, c.Handle, c.Attempt = c.Handle, nil, 2
	d.away = forever
	_, next, f := walk(t, a, c)
	if f == nil || f.Code != fault.HostAway {
		t.Fatalf("got %v", f)
	}
	d.away = 0
	got, _, f := walk(t, a, *next)
	if f != nil {
		t.Fatal(f)
	}
	same(t, "writes", []string{toldRun}, plainly(got.writes))
	same(t, "attempts with real runs", []int{1, 3}, []int{d.real[0].Attempt, d.real[len(d.real)-1].Attempt})
}

func TestConfigureNeedsAProvedSystem(t *testing.T) {
	for name, is := range map[string]*operation.Installed{
		"nothing":               nil,
		"another system":        {Digest: "d2", Fingerprint: ownKey, Proved: configOp},
		"proved by another":     {Digest: "d1", Fingerprint: ownKey, Proved: "op_OTHER"},
		"without a fingerprint": {Digest: "d1", Proved: configOp},
	} {
		c := configureCall()
		c.Known.Installed = is
		d := &Scripted{shows: ownKey}
		if _, _, f := walk(t, &Site{Configs: d}, c); f == nil || f.Code != fault.Incomplete || d.enrolled > 0 {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestConfigSpec(t *testing.T) {
	want := plan.WantConfigure{System: saltSystem}
	same(t, "highstate", configmgmt.Spec{Salt: &configmgmt.SaltSpec{Highstate: true}}, configSpec(want))
	want = plan.WantConfigure{System: plan.System{Driver: "ansible"}, Config: profile.ConfigManagement{Driver: "ansible", Playbook: "site.yml", Vars: map[string]any{"a": 1}}}
	same(t, "playbook", configmgmt.Spec{Ansible: &configmgmt.AnsibleSpec{Playbook: "site.yml", Vars: map[string]any{"a": 1}}}, configSpec(want))
}

// Every way in which the port fails has a code, and a remedy that does not speak of BMCs.
func TestEveryErrorOfConfigurationManagementHasACode(t *testing.T) {
	for err, want := range map[error]fault.Code{
		configmgmt.ErrUnreachable: fault.ConfigAway, configmgmt.ErrServer: fault.ConfigAway, configmgmt.ErrProgram: fault.ConfigAway,
		configmgmt.ErrCertificate: fault.Untrusted, configmgmt.ErrDenied: fault.ConfigDenied, configmgmt.ErrHostAway: fault.HostAway,
		configmgmt.ErrNotEnrolled: fault.NotEnrolled, configmgmt.ErrFingerprint: fault.KeyMismatch, configmgmt.ErrRender: fault.RenderFailed,
		configmgmt.ErrBusy: fault.Busy, configmgmt.ErrNothing: fault.ConfigFailed, configmgmt.ErrMode: fault.ConfigFailed,
		configmgmt.ErrRejected: fault.Rejected, configmgmt.ErrMalformed: fault.Malformed, configmgmt.ErrTooLarge: fault.Malformed, configmgmt.ErrInvalid: fault.Invalid,
	} {
		if f := translate(refusal(err, false)); f.Code != want || strings.Contains(f.Remedy, "BMC") || !errors.Is(f, err) {
			t.Errorf("%v: %s, %q; want %s", err, f.Code, f.Remedy, want)
		}
	}
}

func TestInstalled(t *testing.T) {
	other, plain := ownSystem(), ownSystem()
	other.Digest, plain.Fingerprint = "d2", ""
	colons := strings.ToUpper(ownKey[:2]) + ":" + strings.ToUpper(ownKey[2:])
	debian := configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-9"}
	// runs is a machine that we installed with one system, and that now runs another under the same key.
	runs := func(then, now string) (*operation.Installed, Scripted) {
		is := ownSystem()
		is.OS = then
		return is, Scripted{Key: ownKey, facts: configmgmt.Facts{OS: now, Kernel: "6.1.0-9"}}
	}
	updated, point := runs("debian 12.5", "debian 12.8")
	rocky, minor := runs("rocky 9.4", "rocky 9.5")
	noble, year := runs("ubuntu 24.04", "ubuntu 24.10")
	rhel, clone := runs("rhel 9.4", "rocky 9.4")
	for name, tc := range map[string]struct {
		is    *operation.Installed
		world Scripted
		says  string
		code  fault.Code
		ours  bool
	}{
		"nothing known":        {nil, Scripted{}, "nothing that we installed", "", false},
		"nothing any more":     {&operation.Installed{}, Scripted{}, "nothing that we installed", "", false},
		"no fingerprint":       {plain, Scripted{}, "nothing that we installed", "", false},
		"another system":       {other, Scripted{}, "another system is on the machine: debian 12, digest d2", "", false},
		"the same":             {ownSystem(), Scripted{Key: ownKey, facts: debian}, "already so: debian 12", "", true},
		"the same, with colon": {ownSystem(), Scripted{Key: colons, facts: debian}, "already so", "", true},
		"booting":              {ownSystem(), Scripted{Key: ownKey, facts: debian, away: 40}, "already so", "", true},
		"silent":               {ownSystem(), Scripted{Key: ownKey, facts: debian, away: forever}, "does not answer", "", false},
		"not enrolled":         {ownSystem(), Scripted{facts: debian}, "not proved: srv-1: scripted: host is not enrolled", "", false},
		"another key":          {ownSystem(), Scripted{Key: "x", facts: debian}, "not proved: srv-1.example.net is enrolled with the key x", "", false},
		"updated":              {updated, point, "already so: debian 12.8, kernel 6.1.0-9, from operation " + string(configOp) + ", answers with its own key, updated in place from debian 12.5", "", true},
		"updated, RHEL":        {rocky, minor, "updated in place from rocky 9.4", "", true},
		"another year.month":   {noble, year, "", fault.WrongOS, false},
		"another distribution": {rhel, clone, "", fault.WrongOS, false},
		"another release":      {ownSystem(), Scripted{Key: ownKey, facts: configmgmt.Facts{OS: "debian 13"}}, "", fault.WrongOS, false},
		"updated, another key": {updated, Scripted{Key: "x", facts: point.facts}, "is enrolled with the key x", "", false},
		"away":                 {ownSystem(), Scripted{Key: ownKey, broken: refusal(configmgmt.ErrUnreachable, false)}, "", fault.ConfigAway, false},
		"failing":              {ownSystem(), Scripted{Key: ownKey, broken: refusal(configmgmt.ErrServer, false)}, "", fault.ConfigAway, false},
		"denied":               {ownSystem(), Scripted{Key: ownKey, broken: refusal(configmgmt.ErrDenied, false)}, "", fault.ConfigDenied, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &tc.world
			c := configCall(plan.KindInstalled, plan.WantInstalled{System: saltSystem})
			c.Operation, c.Known.Installed = "op_LATER", tc.is
			got, _, f := walk(t, &Site{Configs: d}, c)
			if tc.code != "" {
				if f == nil || f.Code != tc.code || len(got.writes) > 0 {
					t.Errorf("got %+v, want %s", f, tc.code)
				} else if f.Code == fault.WrongOS && !strings.Contains(f.Remedy, "op skip") {
					t.Errorf("remedy %q does not say how it is installed anew", f.Remedy)
				}
				return
			}
			if f != nil || !strings.Contains(got.done.Summary, tc.says) || got.done.Changed || len(got.writes) > 0 || d.enrolled+d.Revoked+len(d.runs) > 0 {
				t.Fatalf("got %+v, %v; want %q", got.done, f, tc.says)
			}
			if proved := got.done.Learned; (proved != nil) != tc.ours {
				t.Errorf("learned %+v", proved)
			} else if tc.ours && (!proved.Installed.Is("d1", "op_LATER") || proved.Installed.Operation != configOp || len(got.evidence) != 1) {
				t.Errorf("proved %+v", proved.Installed)
			} else if tc.ours {
				var seen map[string]string
				if err := json.Unmarshal(got.evidence[0].Data, &seen); err != nil {
					t.Fatal(err)
				}
				if seen["os"] != d.facts.OS || seen["installed_os"] != tc.is.OS || seen["wanted_digest"] != seen["installed_digest"] || seen["fingerprint"] != d.Key ||
					strings.Contains(seen["why"], "updated in place") != (d.facts.OS != tc.is.OS) {
					t.Errorf("evidence %v", seen)
				}
			}
		})
	}
}
