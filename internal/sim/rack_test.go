package sim

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultRackIsStableAndUnique(t *testing.T) {
	r := DefaultRack()
	if diff := cmp.Diff(r, DefaultRack(), cmp.Comparer(func(a, b PlannedInterface) bool {
		return a.Name == b.Name && a.MAC == b.MAC
	}), cmp.Comparer(func(a, b Prefix) bool { return a == b }), cmp.Comparer(func(a, b PlannedDevice) bool {
		return a.Name == b.Name && a.Serial == b.Serial && a.OOB == b.OOB
	})); diff != "" {
		t.Errorf("two calls differ (-first +second):\n%s", diff)
	}
	if got := len(r.Servers()); got != 12 {
		t.Fatalf("servers: got %d, want 12", got)
	}
	checkUnique(t, []Rack{r})
}

func TestScaleRacksAreUnique(t *testing.T) {
	racks := ScaleRacks(Site{"Scale", "scale01", "active"}, 1000)
	n := 0
	for _, r := range racks {
		n += len(r.Servers())
	}
	if n != 1000 {
		t.Fatalf("servers: got %d, want 1000", n)
	}
	checkUnique(t, racks)
}

// checkUnique fails on values that the source of truth or a network needs to be unique.
func checkUnique(t *testing.T, racks []Rack) {
	t.Helper()
	seen := map[string]string{}
	once := func(what, value, who string) {
		if value == "" {
			return
		}
		if other, dup := seen[what+value]; dup {
			t.Errorf("%s %s of %s is also that of %s", what, value, who, other)
		}
		seen[what+value] = who
	}
	for _, r := range racks {
		ports := map[string]bool{}
		for _, d := range r.Devices {
			for _, i := range d.Interfaces {
				ports[d.Name+"/"+i.Name] = true
			}
		}
		for _, d := range r.Devices {
			once("name", d.Name, d.Name)
			once("serial", d.Serial, d.Name)
			if d.OOB.IsValid() {
				once("address", d.OOB.Addr().String(), d.Name)
			}
			for _, i := range d.Interfaces {
				once("MAC", i.MAC, d.Name+"/"+i.Name)
				if c := i.Cable; c != nil {
					once("port", c.Device+"/"+c.Port, d.Name)
					if !ports[c.Device+"/"+c.Port] {
						t.Errorf("%s/%s is cabled to %s/%s, which does not exist", d.Name, i.Name, c.Device, c.Port)
					}
				}
			}
		}
	}
}
