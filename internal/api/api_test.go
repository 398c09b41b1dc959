package api_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

func names(n ...string) wire.Install {
	return wire.Install{Targets: wire.Targets{Names: n}, Until: "hardware", Reason: "rack r12", Ticket: "DC-42"}
}

func code(err error) fault.Code {
	if err == nil {
		return ""
	}
	return fault.From(err).Code
}

func accept(t *testing.T, c *client.Client, in wire.Install) operation.ID {
	t.Helper()
	a, err := c.Install(t.Context(), in, fmt.Sprintf("key-of-%s-%v", t.Name(), in.Names))
	if err != nil {
		t.Fatal(err)
	}
	return a.ID
}

func TestADryRunPlansAndStoresNothing(t *testing.T) {
	a := apitest.Start(t, 3)
	op := a.As(t, operation.Operator)
	in := wire.Install{Targets: wire.Targets{Rack: "r12", Site: "ams01"}, Until: "hardware", DryRun: true}
	got, err := op.Install(t.Context(), in, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Plan.Verify(); err != nil {
		t.Error(err)
	}
	if got.ID != "" || len(got.Plan.Targets) != 3 || got.Window != 8 {
		t.Errorf("got ID %q, %d targets, window %d", got.ID, len(got.Plan.Targets), got.Window)
	}
	if list, err := op.Operations(t.Context(), operation.Filter{}); err != nil || len(list) != 0 {
		t.Errorf("operations: %v, %v", list, err)
	}
}

func TestInstallIsAcceptedOnceForOneKey(t *testing.T) {
	a := apitest.Start(t, 3)
	op := a.As(t, operation.Operator)
	first, err := op.Install(t.Context(), names("srv-01", "SRV-02", "srv-01"), "key-0001")
	if err != nil {
		t.Fatal(err)
	}
	if !first.Created || len(first.Plan.Targets) != 2 {
		t.Errorf("created %v, %d targets", first.Created, len(first.Plan.Targets))
	}
	again, err := op.Install(t.Context(), names("srv-01", "SRV-02", "srv-01"), "key-0001")
	if err != nil || again.ID != first.ID || again.Created {
		t.Errorf("the same key: %v, %v; want %s and created false", again.ID, err, first.ID)
	}
	if _, err := op.Install(t.Context(), names("srv-03"), "key-0001"); code(err) != fault.Conflict {
		t.Errorf("the key for another request: got %v, want conflict", err)
	}
	_, err = op.Install(t.Context(), names("srv-02"), "key-0002")
	if f := fault.From(err); err == nil || f.Code != fault.Locked || f.Holder != string(first.ID) {
		t.Errorf("a held machine: got %v (holder %q), want locked by %s", err, f.Holder, first.ID)
	}
}

func TestAPlanThatWasLookedAtIsTheOneThatRuns(t *testing.T) {
	a := apitest.Start(t, 1)
	op := a.As(t, operation.Operator)
	in := names("srv-01")
	in.DryRun = true
	looked, err := op.Install(t.Context(), in, "")
	if err != nil {
		t.Fatal(err)
	}
	in.DryRun, in.PlanHash = false, looked.Plan.Hash
	a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Staged })
	if _, err := op.Install(t.Context(), in, "key-0001"); code(err) != fault.Drift {
		t.Errorf("after a change: got %v, want drift", err)
	}
	a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Planned })
	if _, err := op.Install(t.Context(), in, "key-0001"); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestAllGapsOfAllMachinesAreAnsweredAtOnce(t *testing.T) {
	a := apitest.Start(t, 4)
	a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Serial, d.Face = "", "" })
	a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Type.Slug = "unheard-of" })
	a.Safe.Unknown = []asset.ID{103}
	_, err := a.As(t, operation.Operator).Install(t.Context(), names("srv-01", "srv-02", "srv-03", "srv-04"), "key-0001")
	f := fault.From(err)
	var got []string
	for _, d := range f.Details {
		got = append(got, d.Subject)
		if d.Remedy == "" {
			t.Errorf("%s has no remedy", d.Subject)
		}
	}
	want := []string{"srv-01 serial", "srv-01 position", "srv-02 profile", "srv-03 BMC password"}
	if diff := cmp.Diff(want, got); diff != "" || f.Code != fault.Incomplete {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if !strings.Contains(f.Message, "3 of 4") {
		t.Errorf("message %q", f.Message)
	}
}

// What the runbook finds missing (here a file) stands beside the record's gaps and those of the
// server's own configuration.
func TestGapsOfTheRunbookAndOfTheSite(t *testing.T) {
	a := apitest.Start(t, 2)
	a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Face, d.OOB = "", netip.MustParsePrefix("10.9.9.9/24") })
	a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Site = inventory.Named{Slug: "lon99", Name: "London"} })
	a.MissingFile = "bios.bin"
	_, err := a.As(t, operation.Operator).Install(t.Context(), names("srv-01", "srv-02"), "key-0001")
	var got []string
	for _, d := range fault.From(err).Details {
		got = append(got, d.Subject)
	}
	want := []string{"srv-01 position", "srv-01 oob_ip", "srv-01 oob_ip", "srv-01 firmware file bios.bin", "srv-02 site lon99", "srv-02 firmware file bios.bin"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestWhatMayNotBeInstalledIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(a *apitest.API)
		in   wire.Install
		want fault.Code
	}{
		"an active machine": {func(a *apitest.API) {
			a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Active })
		}, names("srv-01"), fault.InService},
		"a failed machine without a history": {func(a *apitest.API) {
			a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Failed })
		}, names("srv-01"), fault.InService},
		"a failed install that never got active": {func(a *apitest.API) {
			a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Failed })
			a.Store.Remember(101, operation.InstallHistory{InstallBegan: true, Staged: time.Now()})
		}, names("srv-01"), ""},
		"a failed one that somebody had in service": {func(a *apitest.API) {
			a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Failed })
			a.Store.Remember(101, operation.InstallHistory{InstallBegan: true, Staged: time.Now()})
			a.Fleet.NoteActive(101)
		}, names("srv-01"), fault.InService},
		"a failed one that we never staged": {func(a *apitest.API) {
			a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Status = asset.Failed })
			a.Store.Remember(101, operation.InstallHistory{InstallBegan: true})
		}, names("srv-01"), fault.InService},
		"a serial that another device has": {func(a *apitest.API) {
			a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Serial = "sn001" })
		}, names("srv-01"), fault.DuplicateSerial},
		"an active one among incomplete ones": {func(a *apitest.API) {
			a.Fleet.Edit("srv-01", func(d *inventory.Device) { d.Serial = "" })
			a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Status = asset.Active })
		}, names("srv-01", "srv-02"), fault.InService},
		"nobody":          {nil, wire.Install{Until: "hardware", Reason: "r", Ticket: "t"}, fault.Invalid},
		"a site alone":    {nil, wire.Install{Targets: wire.Targets{Site: "ams01"}, Until: "hardware", Reason: "r", Ticket: "t"}, fault.Invalid},
		"a blank name":    {nil, names("srv-01", " "), fault.Invalid},
		"an unknown name": {nil, names("srv-01", "srv-99"), fault.NotFound},
		"no reason":       {nil, wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "hardware", Ticket: "t"}, fault.Invalid},
		"no ticket":       {nil, wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "hardware", Reason: "r"}, fault.Invalid},
		"an unknown stage": {nil, wire.Install{Targets: wire.Targets{Names: []string{"srv-01"}}, Until: "moon", Reason: "r",
			Ticket: "t"}, fault.Invalid},
		"profiles with problems": {func(a *apitest.API) {
			a.SetProfiles(nil, config.Problems{{File: "a.yaml", Line: 3, Remedy: "x"}})
		}, names("srv-01"), fault.Incomplete},
		"a NetBox that is away": {func(a *apitest.API) {
			a.Fleet.Break(&inventory.Error{Kind: inventory.ErrUnreachable, Op: "find"})
		}, names("srv-01"), fault.InventoryAway},
		"a store that is away": {func(a *apitest.API) {
			a.Store.Break(fault.New(fault.StoreAway, "PostgreSQL does not answer"))
		}, names("srv-01"), fault.StoreAway},
	} {
		t.Run(name, func(t *testing.T) {
			a := apitest.Start(t, 2)
			c := a.As(t, operation.Operator)
			if tc.edit != nil {
				tc.edit(a)
			}
			_, err := c.Install(t.Context(), tc.in, "key-0001")
			if code(err) != tc.want {
				t.Errorf("got %q (%v), want %q", code(err), err, tc.want)
			}
			if err != nil && fault.From(err).Remedy == "" {
				t.Errorf("no remedy: %v", err)
			}
			a.Store.Break(nil)
			if list, err := a.Store.ListOperations(t.Context(), operation.Filter{}); err != nil || (len(list) == 0) != (tc.want != "") {
				t.Errorf("stored: %v, %v", list, err)
			}
		})
	}
}

func TestCommandsSayToHowManyTheyApplied(t *testing.T) {
	a := apitest.Start(t, 4)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01", "srv-02", "srv-03", "srv-04"))
	a.Store.Move(id, "srv-01", operation.Running, "identity", operation.StepRunning, nil)
	a.Store.Move(id, "srv-02", operation.Waiting, "identity", operation.StepParked, fault.New(fault.Unreachable, "no answer"))
	a.Store.Move(id, "srv-03", operation.Done, "stage", operation.StepDone, nil)
	got, err := op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Pause, All: true})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range got.Runs {
		lines = append(lines, fmt.Sprint(r.Asset.Name, " ", r.Applied, " ", r.Error != nil))
	}
	want := []string{"srv-01 true false", "srv-02 false true", "srv-03 false true", "srv-04 true false"}
	if diff := cmp.Diff(want, lines); diff != "" || got.Applied != 2 || got.Of != 4 {
		t.Errorf("applied to %d of %d (-want +got)\n%s", got.Applied, got.Of, diff)
	}
	// The ended run was not asked, the operation itself was, and the audit row stands.
	if diff := cmp.Diff([]string{"pause 0", "pause 101", "pause 102", "pause 104"}, a.Runs.Told()); diff != "" {
		t.Errorf("told (-want +got)\n%s", diff)
	}
	if got := a.Store.Audited(); !slices.Contains(got, "operator-person operation.pause "+string(id)) {
		t.Errorf("audit: %q", got)
	}
	one, err := op.Command(t.Context(), id, wire.Command{ID: "command-2", Action: operation.Skip, Assets: []string{"SRV-02"}, Reason: "not needed"})
	if err != nil || one.Applied != 1 || one.Of != 1 {
		t.Errorf("skip one: %+v, %v", one, err)
	}
}

func TestBadCommandsReachNobody(t *testing.T) {
	a := apitest.Start(t, 2)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01", "srv-02"))
	for name, tc := range map[string]struct {
		cmd  wire.Command
		want fault.Code
	}{
		"nobody":              {wire.Command{ID: "command-1", Action: operation.Pause}, fault.Invalid},
		"all and one":         {wire.Command{ID: "command-1", Action: operation.Pause, All: true, Assets: []string{"srv-01"}}, fault.Invalid},
		"a stranger":          {wire.Command{ID: "command-1", Action: operation.Pause, Assets: []string{"srv-01", "srv-77"}}, fault.NotFound},
		"no such action":      {wire.Command{ID: "command-1", Action: "explode", All: true}, fault.Invalid},
		"skip without reason": {wire.Command{ID: "command-1", Action: operation.Skip, All: true}, fault.Invalid},
		"a pin for many":      {wire.Command{ID: "command-1", Action: operation.Retry, All: true, AcceptPin: "AB"}, fault.Invalid},
		"no ID":               {wire.Command{Action: operation.Pause, All: true}, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := op.Command(t.Context(), id, tc.cmd); code(err) != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	a.Store.Break(fault.New(fault.StoreAway, "away"))
	if _, err := op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Pause, All: true}); code(err) != fault.StoreAway {
		t.Errorf("no audit row can be written: got %v", err)
	}
	if told := a.Runs.Told(); len(told) != 0 {
		t.Errorf("told %q", told)
	}
	a.Store.Break(nil)
	a.Runs.Break(fault.New(fault.EngineAway, "Temporal does not answer"))
	if _, err := op.Command(t.Context(), id, wire.Command{ID: "command-1", Action: operation.Pause, All: true}); code(err) != fault.EngineAway {
		t.Errorf("Temporal away: got %v", err)
	}
}

func TestEventsComeOnceEachAcrossABreak(t *testing.T) {
	a := apitest.Start(t, 1)
	op := a.As(t, operation.Operator)
	id := accept(t, op, names("srv-01"))
	a.Store.Move(id, "srv-01", operation.Running, "identity", operation.StepRunning, nil)
	var seen []int64
	enough := errors.New("enough")
	err := op.Watch(t.Context(), id, 0, time.Minute, func(e operation.Event) error {
		seen = append(seen, e.Seq)
		switch e.Seq {
		case 2:
			a.Store.Break(fault.New(fault.StoreAway, "PostgreSQL restarts")) // the stream breaks here
			go func() {
				defer a.Store.Break(nil)
				a.Store.Move(id, "srv-01", operation.Running, "stage", operation.StepRunning, nil)
				a.Store.Move(id, "srv-01", operation.Done, "stage", operation.StepDone, nil)
			}()
		case 5:
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5}, seen); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWatchEndsWhenTheAPIRefusesOrStaysAway(t *testing.T) {
	a := apitest.Start(t, 1)
	never := func(operation.Event) error { return nil }
	if err := a.As(t, operation.Viewer).Watch(t.Context(), "op_01ARZ3NDEKTSV4RRFFQ69G5FAV", 0, time.Minute, never); code(err) != fault.NotFound {
		t.Errorf("an unknown operation: %v", err)
	}
	gone, err := client.New("http://127.0.0.1:1", "", "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Watch(t.Context(), "", 0, time.Nanosecond, never); wire.Exit(code(err)) != wire.ExitAway {
		t.Errorf("nobody there: %v", err)
	}
}
