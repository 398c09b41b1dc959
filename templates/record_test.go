package templates

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is rendered from a record is what is rendered from the machine, byte for byte.
func TestRecord(t *testing.T) {
	s := builtin(t)
	for _, sample := range Samples() {
		raw, err := sample.Machine.Record()
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		if strings.Contains(string(raw), "Zk3vT9sQ1xW7yB5nM2pL8a") {
			t.Errorf("%s: the record holds the token", sample.Name)
		}
		back, err := FromRecord(raw, sample.Machine.Boot.Base)
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		want, err := s.Files(sample.Machine)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Files(back)
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", sample.Name, diff)
		}
	}
	bad := Samples()[0].Machine
	bad.BootMAC = "x"
	if _, err := bad.Record(); err == nil || !strings.Contains(err.Error(), "boot_mac") {
		t.Errorf("a machine that cannot be rendered: %v", err)
	}
}
