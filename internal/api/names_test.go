package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

func TestOneRuleForTheNamesOfMachines(t *testing.T) {
	a := apitest.Start(t, 3)
	admin := a.As(t, operation.Admin)
	a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Serial = "101" })    // the ID of srv-01
	a.Fleet.Edit("srv-03", func(d *inventory.Device) { d.Serial = "srv-01" }) // its name
	for ref, want := range map[string]string{
		"101": "", "srv-01": "", "id:101": "srv-01", "name:srv-01": "srv-01", "serial:101": "srv-02", "serial:srv-01": "srv-03",
		"srv-02": "srv-02", "102": "srv-02",
	} {
		got, err := admin.Asset(t.Context(), ref)
		if want == "" && code(err) != fault.Invalid || want != "" && (err != nil || got.Device.Name != want) {
			t.Errorf("asset %q is %q, %v, want %q", ref, got.Device.Name, err, want)
		}
	}
	for _, ref := range []string{"id:", "id:x", "serial:none", "name:"} {
		if _, err := admin.Asset(t.Context(), ref); code(err) != fault.NotFound {
			t.Errorf("asset %q: %v", ref, err)
		}
	}
}

func TestInstallTakesNamesAndWhatSaysWhatItIs(t *testing.T) {
	a := apitest.Start(t, 4)
	op := a.As(t, operation.Operator)
	ask := names("srv-01", "id:102", "serial:sn003", "name:srv-01")
	ask.DryRun = true
	got, err := op.Install(t.Context(), ask, "")
	if err != nil {
		t.Fatal(err)
	}
	var planned []string
	for _, target := range got.Plan.Targets {
		planned = append(planned, target.Asset.Name)
	}
	if diff := cmp.Diff([]string{"srv-01", "srv-02", "srv-03"}, slices.Sorted(slices.Values(planned))); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	a.Fleet.Edit("srv-04", func(d *inventory.Device) { d.Serial = "SN003" })
	for ref, want := range map[string]fault.Code{
		"SN001": fault.NotFound, "101": fault.NotFound, "id:x": fault.Invalid, "id:999": fault.NotFound, "serial:": fault.Invalid,
		"serial:none": fault.NotFound, "serial:SN003": fault.Invalid,
	} {
		ask := names(ref)
		ask.DryRun = true
		_, err := op.Install(t.Context(), ask, "")
		if code(err) != want || ref == "SN001" && !strings.Contains(fault.From(err).Remedy, "serial:") {
			t.Errorf("install %q: %v, want %s", ref, err, want)
		}
	}
}
