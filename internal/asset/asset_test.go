package asset

import "testing"

func TestNormalMAC(t *testing.T) {
	for in, want := range map[string]string{
		"aa:bb:cc:dd:ee:0f":       "AA:BB:CC:DD:EE:0F",
		"AA-BB-CC-DD-EE-0F":       "AA:BB:CC:DD:EE:0F",
		"aabb.ccdd.ee0f":          "AA:BB:CC:DD:EE:0F",
		"AABBCCDDEE0F":            "AA:BB:CC:DD:EE:0F",
		"":                        "",
		"aa:bb:cc:dd:ee":          "",
		"aa:bb:cc:dd:ee:0f:11:22": "",
		"gg:bb:cc:dd:ee:0f":       "",
	} {
		got, ok := NormalMAC(in)
		if got != want || ok != (want != "") {
			t.Errorf("NormalMAC(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

func TestSameSerial(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{{"ABC1", " abc1 ", true}, {"ABC1", "ABC2", false}, {"", "", false}, {"  ", "", false}} {
		if got := SameSerial(tc.a, tc.b); got != tc.want {
			t.Errorf("SameSerial(%q, %q) = %v", tc.a, tc.b, got)
		}
	}
}

func TestParseIDRefusesWhatIsNoDevice(t *testing.T) {
	for _, s := range []string{"", "0", "-1", "x", "1.5", "99999999999999999999"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %d", s, id)
		}
	}
	if id, err := ParseID("42"); err != nil || id != 42 {
		t.Errorf("ParseID(42) = %d, %v", id, err)
	}
}

func TestLifecycle(t *testing.T) {
	statuses := []Status{Planned, Staged, Active, Failed, Decommissioning, Offline, InStock, "quarantine"}
	allowed := map[Move]bool{}
	for _, m := range Moves() {
		allowed[m] = true
	}
	for _, from := range statuses {
		for _, to := range statuses {
			if err := CanMove(from, to); (err == nil) != allowed[Move{from, to}] {
				t.Errorf("CanMove(%s, %s) = %v", from, to, err)
			}
		}
	}
	for from, want := range map[Status]bool{Active: true, Failed: true, Decommissioning: true, "quarantine": true, Planned: false, Staged: false, Offline: false, InStock: false} {
		if got := from.InService(); got != want {
			t.Errorf("%s.InService() = %v", from, got)
		}
	}
}

// The way out of service leads through a wipe: nothing that was active is planned again directly.
func TestNoShortCutOutOfService(t *testing.T) {
	for _, m := range Moves() {
		if m.From == Active && (m.To == Planned || m.To == Staged || m.To == Offline || m.To == InStock) {
			t.Errorf("%s -> %s", m.From, m.To)
		}
	}
}
