package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/profile"
)

func step(name string) Step {
	return Step{Name: name, Kind: KindHardware, Version: 1, Title: "Read it", Mode: Act, Place: Site, Undo: ReadOnly, DeadlineSec: 60, Policy: "bmc-read"}
}

func target(id int, serial string, steps ...Step) Target {
	return Target{Asset: asset.Ref{ID: asset.ID(id), Name: "srv-" + serial, Serial: serial, Site: "ams01"}, Steps: steps}
}

func TestSealRefusesWhatCannotBeCarriedOut(t *testing.T) {
	bad := func(change func(*Step)) Plan {
		s := step("a")
		change(&s)
		return Plan{Kind: "install", Targets: []Target{target(1, "A", s)}}
	}
	for name, tc := range map[string]struct {
		plan Plan
		want string
	}{
		"no targets":       {Plan{Kind: "install"}, "empty is not all"},
		"no kind":          {Plan{Targets: []Target{target(1, "A", step("a"))}}, "kind"},
		"no steps":         {Plan{Kind: "install", Targets: []Target{target(1, "A")}}, "no steps"},
		"no serial":        {Plan{Kind: "install", Targets: []Target{target(1, "", step("a"))}}, "serial"},
		"target twice":     {Plan{Kind: "install", Targets: []Target{target(1, "A", step("a")), target(1, "B", step("a"))}}, "stands twice"},
		"serial twice":     {Plan{Kind: "install", Targets: []Target{target(1, "A", step("a")), target(2, "A", step("a"))}}, "same serial"},
		"step twice":       {Plan{Kind: "install", Targets: []Target{target(1, "A", step("a"), step("a"))}}, "stands twice"},
		"no deadline":      {bad(func(s *Step) { s.DeadlineSec = 0 }), "deadline"},
		"no policy":        {bad(func(s *Step) { s.Policy = "" }), "policy"},
		"no version":       {bad(func(s *Step) { s.Version = 0 }), "version"},
		"unknown mode":     {bad(func(s *Step) { s.Mode = "loop" }), "mode"},
		"endless converge": {bad(func(s *Step) { s.Mode = Converge }), "max_rounds"},
		"read-only writes": {bad(func(s *Step) { s.Writes = []Write{{}} }), "read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Seal(tc.plan); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Seal: %v; want an error with %q", err, tc.want)
			}
		})
	}
}

// Whatever changes in a sealed plan, Verify sees it.
func TestVerifySeesEveryChange(t *testing.T) {
	sealed, err := Seal(Plan{Kind: "install", Until: "hardware", Targets: []Target{target(1, "A", step("a"), step("b")), target(2, "B", step("a"))}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sealed.Verify(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Plan){
		"kind":   func(p *Plan) { p.Kind = "reimage" },
		"serial": func(p *Plan) { p.Targets[0].Asset.Serial = "C" },
		"order": func(p *Plan) {
			p.Targets[0].Steps[0], p.Targets[0].Steps[1] = p.Targets[0].Steps[1], p.Targets[0].Steps[0]
		},
		"a target": func(p *Plan) { p.Targets = p.Targets[:1] },
		"a write":  func(p *Plan) { p.Targets[1].Steps[0].Writes = []Write{{System: "bmc", Field: "x"}} },
		"deadline": func(p *Plan) { p.Targets[1].Steps[0].DeadlineSec++ },
	} {
		changed, err := Seal(Plan{Kind: "install", Until: "hardware", Targets: []Target{target(1, "A", step("a"), step("b")), target(2, "B", step("a"))}})
		if err != nil {
			t.Fatal(err)
		}
		change(&changed)
		if changed.Verify() == nil {
			t.Errorf("%s: the change was not seen", name)
		}
	}
}

// The hash is of the content, not of how a map happens to be ordered.
func TestDigestIsOfTheContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOf(rapid.String(), rapid.Int32()).Draw(t, "m")
		a, err := Digest(m)
		if err != nil {
			t.Fatal(err)
		}
		clone := map[string]int32{}
		for k, v := range m {
			clone[k] = v
		}
		if b, _ := Digest(clone); a != b {
			t.Errorf("%s != %s", a, b)
		}
	})
}

func ready() Facts {
	return Facts{
		Asset:  asset.Ref{ID: 1, Name: "srv-101", Serial: "S1", Site: "ams01", Rack: "r12"},
		Status: asset.Planned, Type: "r750", Role: "compute", Position: 3, Face: "front",
		OOB: netip.MustParsePrefix("10.1.0.5/24"), OOBInterface: "bmc",
		PrimaryPool: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")},
		Interfaces:  []Port{{Name: "bmc", Mgmt: true, Cable: "msw1:1"}, {Name: "eth0", MACs: []string{"AA:BB:CC:DD:EE:01"}, Cable: "sw1:1"}},
		HasSecret:   true,
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Facts)
		code   fault.Code
		gaps   []string
	}{
		"complete":                   {change: func(*Facts) {}},
		"staged goes on":             {change: func(f *Facts) { f.Status = asset.Staged }},
		"a primary IP needs no pool": {change: func(f *Facts) { f.Primary, f.PrimaryPool = f.PrimaryPool, nil }},
		"active":                     {change: func(f *Facts) { f.Status = asset.Active }, code: fault.InService},
		"unknown status":             {change: func(f *Facts) { f.Status = "quarantine" }, code: fault.InService},
		"decommissioning":            {change: func(f *Facts) { f.Status = asset.Decommissioning }, code: fault.InService},
		"offline":                    {change: func(f *Facts) { f.Status = asset.Offline }, code: fault.IllegalMove},
		"failed without a past":      {change: func(f *Facts) { f.Status = asset.Failed }, code: fault.InService},
		"failed and once active":     {change: func(f *Facts) { f.Status, f.InstallBegan, f.EverActive = asset.Failed, true, true }, code: fault.InService},
		"failed install":             {change: func(f *Facts) { f.Status, f.InstallBegan = asset.Failed, true }},
		"held":                       {change: func(f *Facts) { f.Holder = Holder{Operation: "op_1"} }, code: fault.Locked},
		"serial twice":               {change: func(f *Facts) { f.SameSerial = []string{"srv-9"} }, code: fault.DuplicateSerial, gaps: []string{"serial"}},
		"serial twice, among other gaps": {change: func(f *Facts) { f.SameSerial, f.HasSecret = []string{"srv-9"}, false }, code: fault.DuplicateSerial,
			gaps: []string{"serial", "BMC password"}},
		"a cabled port without a MAC": {change: func(f *Facts) {
			f.Interfaces = append(f.Interfaces, Port{Name: "eth9", Cable: "sw:1"})
		}, code: fault.Incomplete, gaps: []string{"MAC address of eth9"}},
		"what the site lacks": {change: func(f *Facts) { f.SiteGaps = []fault.Item{{Subject: "site ams01", Remedy: "configure it"}} },
			code: fault.Incomplete, gaps: []string{"site ams01"}},
		"OOB on a data interface": {change: func(f *Facts) { f.OOBInterface = "" }, code: fault.Incomplete, gaps: []string{"oob_ip"}},
		"BMC without a cable":     {change: func(f *Facts) { f.Interfaces[0].Cable = "" }, code: fault.Incomplete, gaps: []string{"cable of bmc"}},
		"no password":             {change: func(f *Facts) { f.HasSecret = false }, code: fault.Incomplete, gaps: []string{"BMC password"}},
		"an empty record, all gaps at once": {change: func(f *Facts) { *f = Facts{Asset: asset.Ref{Name: "x"}, Status: asset.Planned} }, code: fault.Incomplete,
			gaps: []string{"serial", "site", "rack", "position", "device type", "role", "oob_ip", "MAC addresses", "cables", "primary IP", "BMC password"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := ready()
			tc.change(&f)
			got := Check(f, &profile.Profile{}, nil)
			if got == nil {
				if tc.code != "" {
					t.Fatalf("accepted; want %s", tc.code)
				}
				return
			}
			var gaps []string
			for _, d := range got.Details {
				gaps = append(gaps, d.Subject)
				if d.Remedy == "" {
					t.Errorf("%s has no remedy", d.Subject)
				}
			}
			if got.Code != tc.code || cmp.Diff(tc.gaps, gaps) != "" {
				t.Errorf("%s %v; want %s %v", got.Code, gaps, tc.code, tc.gaps)
			}
		})
	}
}

func TestDriftNamesWhatChanged(t *testing.T) {
	before := Reads(ready())
	if d := Drift(before, Reads(ready())); d != nil {
		t.Fatalf("no change drifted: %v", d)
	}
	f := ready()
	f.Asset.Serial, f.Interfaces[1].Cable = "S2", "sw1:2"
	if d := cmp.Diff([]string{"device srv-101: serial", "device srv-101: interfaces"}, Drift(before, Reads(f))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	s := step("a")
	s.Want = Encode(WantIdentity{Serial: "S1"})
	if w, err := Decode[WantIdentity](s); err != nil || w.Serial != "S1" {
		t.Errorf("got %v, %v", w, err)
	}
	s.Want = []byte(`{"serial":"S1","fingerprint":"x"}`)
	if _, err := Decode[WantIdentity](s); err == nil {
		t.Error("a field of a newer version was passed over")
	}
}

func TestALockSaysWhoseItIsAndWhatFreesTheMachine(t *testing.T) {
	got := Check(Facts{Asset: asset.Ref{Name: "srv-1"}, Holder: Holder{"op_1", "bob", "waiting", "srv-1"}}, nil, nil)
	want := &fault.Error{Code: fault.Locked, Holder: "op_1", Message: "srv-1 is held by operation op_1 of bob (waiting)",
		Remedy: "wait for it, or agree with bob and run `cagenut op abort op_1 --asset srv-1`"}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(fault.Error{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
