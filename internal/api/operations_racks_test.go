package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

// An operation carries the racks' own windows; without a stage it is the whole install.
func TestAnInstallCarriesTheRacksWindow(t *testing.T) {
	a := apitest.Start(t, 3)
	a.RackWindow = 2
	in := names("srv-01", "srv-02", "srv-03")
	in.Until = ""
	id := accept(t, a.As(t, operation.Operator), in)
	got := a.Store.Request(id)
	if diff := cmp.Diff([]operation.Rack{{Window: 2, Assets: []asset.ID{101, 102, 103}}}, got.Racks); diff != "" {
		t.Errorf("racks (-want +got):\n%s", diff)
	}
	if got.Plan.Until != "active" {
		t.Errorf("until %q, want the last stage", got.Plan.Until)
	}
}
