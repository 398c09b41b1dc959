package operation

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

var bootNow = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func bootRecord() BootRecord {
	return BootRecord{Operation: "op_X", Asset: asset.Ref{ID: 1, Name: "srv-1"}, Purpose: ForInstall, MACs: []string{"02:00:00:00:00:01", "02:00:00:00:00:02"},
		Serial: "SN1", UUID: "aa-bb", Run: Running, Opened: bootNow, Expires: bootNow.Add(time.Hour)}
}

func TestProve(t *testing.T) {
	mac := []string{"02-00-00-00-00-02"}
	for name, c := range map[string]struct {
		is   BootIdentity
		fail bool
	}{
		"mac alone":                  {BootIdentity{MACs: mac}, false},
		"nothing":                    {BootIdentity{}, true},
		"another mac":                {BootIdentity{MACs: []string{"02:00:00:00:00:03"}, Serials: []string{"SN1"}}, true},
		"the board has another":      {BootIdentity{MACs: mac, Serials: []string{"BOARD9", "sn1 "}}, false},
		"another serial":             {BootIdentity{MACs: mac, Serials: []string{"SN2"}}, true},
		"a serial that nobody wrote": {BootIdentity{MACs: mac, Serials: []string{"To Be Filled By O.E.M.", "Not Specified"}}, false},
		"another uuid":               {BootIdentity{MACs: mac, UUID: "aa-cc"}, true},
		"uuid in capitals":           {BootIdentity{MACs: mac, UUID: "AA-BB"}, false},
	} {
		err := bootRecord().Prove(c.is)
		if c.fail != (err != nil) || (err != nil && fault.From(err).Code != fault.WrongMachine) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What has begun to overwrite a disk is never begun again by a boot.
func TestAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*BootRecord)
		want   Answer
	}{
		"open":             {func(*BootRecord) {}, AnswerInstall},
		"early again":      {func(b *BootRecord) { b.Stages = []string{StageAsked, "early"} }, AnswerInstall},
		"partitioned":      {func(b *BootRecord) { b.Stages = []string{"early", "partitioned"} }, AnswerLocal},
		"failed":           {func(b *BootRecord) { b.Stages = []string{"failed"} }, AnswerLocal},
		"closed":           {func(b *BootRecord) { b.Revoked = bootNow }, AnswerLocal},
		"expired":          {func(b *BootRecord) { b.Expires = bootNow }, AnswerLocal},
		"run ended":        {func(b *BootRecord) { b.Run = Done }, AnswerLocal},
		"parked":           {func(b *BootRecord) { b.Run = Waiting }, AnswerLocal},
		"paused":           {func(b *BootRecord) { b.Run = Paused }, AnswerInstall}, // what has begun goes on
		"agent":            {func(b *BootRecord) { b.Purpose, b.Stages = ForAgent, []string{StageClaimed} }, AnswerAgent},
		"agent, installed": {func(b *BootRecord) { b.Purpose, b.Stages = ForAgent, []string{"installed"} }, AnswerLocal},
		"unknown":          {func(b *BootRecord) { b.Purpose = "wipe" }, AnswerLocal},
	} {
		b := bootRecord()
		c.change(&b)
		got, why := b.Answer(bootNow)
		if got != c.want || (got == AnswerLocal) != (why != "") {
			t.Errorf("%s: %s, %q, want %s", name, got, why, c.want)
		}
	}
}

func TestReports(t *testing.T) {
	body := []byte("stage=early\nproduct_serial=SN1\nproduct_uuid=AA-BB\nboard_serial=B1\nmac=02:00:00:00:00:01\nmac=02:00:00:00:00:02\r\nnonsense\nkernel=6.1=x\n")
	want := BootIdentity{MACs: []string{"02:00:00:00:00:01", "02:00:00:00:00:02"}, Serials: []string{"SN1", "B1"}, UUID: "AA-BB"}
	if diff := cmp.Diff(want, IdentityOf(body)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := ParseReport(body)["kernel"]; len(got) != 1 || got[0] != "6.1=x" {
		t.Errorf("kernel: %q", got)
	}
	if DigestOf("a", []byte("b")) == DigestOf("b", []byte("b")) {
		t.Error("two stages with one body have one digest")
	}
}

func TestBootTokens(t *testing.T) {
	a, sumA, errA := NewBootToken()
	b, sumB, errB := NewBootToken()
	if err := errors.Join(errA, errB); err != nil || a == b || sumA == sumB || len(a) < 22 || sumA != SumBootToken(a) {
		t.Errorf("%s %s %s %s %v", a, b, sumA, sumB, err)
	}
	if _, ok := sumA.Bytes(); !ok {
		t.Errorf("%s is no sum", sumA)
	}
	if _, ok := BootSum("zz").Bytes(); ok {
		t.Error("zz is taken for a sum")
	}
}

func TestClaimsOfOneMachine(t *testing.T) {
	a := BootIdentity{MACs: []string{"02:00:00:00:00:01"}, Serials: []string{"SN1"}, UUID: "aa"}
	if !a.Same(BootIdentity{MACs: []string{"02-00-00-00-00-01", "02:00:00:00:00:02"}, Serials: []string{"sn1"}, UUID: "AA"}) {
		t.Error("the same machine is another")
	}
	for _, other := range []BootIdentity{{MACs: []string{"02:00:00:00:00:09"}, Serials: []string{"SN1"}}, {MACs: a.MACs, Serials: []string{"SN2"}}, {MACs: a.MACs, UUID: "bb"}} {
		if a.Same(other) {
			t.Errorf("%+v is taken for the same machine", other)
		}
	}
}

func TestReportsAreFitForPeople(t *testing.T) {
	got := ParseReport([]byte("reason=a\x1b[31mb\xff\nos=" + strings.Repeat("x", 5000)))
	if r, n := got["reason"][0], len(got["os"][0]); r != "a[31mb" || n != 4000 {
		t.Errorf("reason %q, %d bytes of os", r, n)
	}
}
