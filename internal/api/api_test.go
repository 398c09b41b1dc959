package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api"
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
			a.Store.Remember(101, operation.InstallHistory{InstallBegan: true})
		}, names("srv-01"), ""},
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

func TestRolesAndSites(t *testing.T) {
	a := apitest.Start(t, 2)
	a.Fleet.Edit("srv-02", func(d *inventory.Device) { d.Site = inventory.Named{ID: 2, Slug: "fra01"} })
	ctx := t.Context()
	admin, op, viewer := a.As(t, operation.Admin), a.As(t, operation.Operator), a.As(t, operation.Viewer)
	fra := a.As(t, operation.Operator, "fra01")
	id := accept(t, op, names("srv-01", "srv-02"))

	if _, err := viewer.Install(ctx, names("srv-01"), "key-0009"); code(err) != fault.Denied {
		t.Errorf("a viewer installs: %v", err)
	}
	if _, err := op.Tokens(ctx); code(err) != fault.Denied {
		t.Errorf("an operator lists tokens: %v", err)
	}
	if _, err := admin.Tokens(ctx); err != nil {
		t.Errorf("an admin lists tokens: %v", err)
	}
	if _, err := fra.Install(ctx, names("srv-01"), "key-0009"); code(err) != fault.Denied {
		t.Errorf("another site's machine: %v", err)
	}
	d, err := fra.Operation(ctx, id)
	if err != nil || len(d.Runs) != 1 || d.Runs[0].Asset.Name != "srv-02" {
		t.Errorf("fra01 sees %+v, %v; want srv-02 only", d.Runs, err)
	}
	if _, err := fra.Plan(ctx, id); code(err) != fault.Denied {
		t.Errorf("fra01 reads the whole plan: %v", err)
	}
	if _, err := fra.Asset(ctx, "srv-01"); code(err) != fault.Denied {
		t.Errorf("fra01 reads srv-01: %v", err)
	}
	a.Store.Move(id, "srv-01", operation.Running, "identity", operation.StepRunning, nil)
	a.Store.Move(id, "srv-02", operation.Running, "identity", operation.StepRunning, nil)
	if got, err := fra.Command(ctx, id, wire.Command{ID: "command-1", Action: operation.Pause, All: true}); err != nil || got.Of != 1 {
		t.Errorf("fra01 pauses all: %+v, %v; want its one run", got, err)
	}
	if told := a.Runs.Told(); !slices.Equal(told, []string{"pause 102"}) {
		t.Errorf("told %q, want only fra01's run", told)
	}
}

func TestTokens(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	admin := a.As(t, operation.Admin)
	for name, ask := range map[string]wire.NewToken{
		"no person":              {Role: operation.Viewer},
		"no such role":           {Person: "eve", Role: "root"},
		"a worker of everything": {Person: "w", Role: operation.Worker},
		"no such site":           {Person: "bob", Role: operation.Operator, Sites: []string{"mars"}},
		"an admin of a site":     {Person: "bob", Role: operation.Admin, Sites: []string{"ams01"}},
		"negative days":          {Person: "bob", Role: operation.Viewer, Days: -1},
	} {
		if _, err := admin.CreateToken(ctx, ask); code(err) != fault.Invalid {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	made, err := admin.CreateToken(ctx, wire.NewToken{Person: "bob", Role: operation.Operator, Sites: []string{"ams01"}, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	bob, err := client.New(a.URL, made.Secret, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := bob.Whoami(ctx); err != nil || who.Token.Person != "bob" || who.Token.By != "admin-person" {
		t.Errorf("whoami: %+v, %v", who, err)
	}
	a.Clock.Move(25 * time.Hour)
	if _, err := bob.Whoami(ctx); code(err) != fault.Unauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after a day: %v", err)
	}
	a.Clock.Move(-25 * time.Hour)
	if err := admin.RevokeToken(ctx, made.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Whoami(ctx); code(err) != fault.Unauthenticated || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("revoked: %v", err)
	}
	for _, secret := range []string{"", "cagenut_wrong", "Basic abc"} {
		c, err := client.New(a.URL, secret, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Operations(ctx, operation.Filter{}); code(err) != fault.Unauthenticated {
			t.Errorf("token %q: %v", secret, err)
		}
	}
}

func TestAWorkerGetsSecretsOfItsOwnHeldMachinesOnly(t *testing.T) {
	a := apitest.Start(t, 2)
	ctx := t.Context()
	ams, fra := a.As(t, operation.Worker, "ams01"), a.As(t, operation.Worker, "fra01")
	if _, err := ams.Candidates(ctx, 101, "root"); code(err) != fault.Denied {
		t.Errorf("a machine that nobody works on: %v", err)
	}
	accept(t, a.As(t, operation.Operator), names("srv-01"))
	got, err := ams.Candidates(ctx, 101, "root")
	if err != nil || len(got) != 1 || got[0].Password != "factory-of-SN001" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := fra.Candidates(ctx, 101, "root"); code(err) != fault.Denied {
		t.Errorf("another site's worker: %v", err)
	}
	if _, err := a.As(t, operation.Admin).Candidates(ctx, 101, "root"); code(err) != fault.Denied {
		t.Errorf("an admin reads a password: %v", err)
	}
	if c, err := ams.Propose(ctx, 101, "root", 18); err != nil || len(c.Password) != 18 {
		t.Errorf("propose: %v", err)
	}
	if _, err := ams.Propose(ctx, 101, "root", 30); code(err) != fault.Invalid {
		t.Errorf("propose 30 characters: %v", err)
	}
	if err := ams.Promote(ctx, 101, "root"); err != nil {
		t.Errorf("promote: %v", err)
	}
	want := []string{"worker-person secret.read bmc/SN001", "worker-person secret.propose bmc/SN001", "worker-person secret.propose bmc/SN001", "worker-person secret.promote bmc/SN001"}
	if diff := cmp.Diff(want, a.Store.Audited()); diff != "" {
		t.Errorf("audit (-want +got)\n%s", diff)
	}
	if _, err := ams.Operations(ctx, operation.Filter{}); code(err) != fault.Denied {
		t.Errorf("a worker reads operations: %v", err)
	}
}

func TestHeartbeatsShowSitesVersionsAndClocks(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	w := a.As(t, operation.Worker, "ams01")
	beat := operation.Heartbeat{Site: "ams01", Worker: "w1", Version: "old", Queue: "site-ams01", Clock: a.Clock.Now().Add(5 * time.Second)}
	if got, err := w.Heartbeat(ctx, beat); err != nil || got.SkewMS != 5000 {
		t.Fatalf("got %+v, %v", got, err)
	}
	beat.Site, beat.Queue = "fra01", "site-fra01"
	if _, err := w.Heartbeat(ctx, beat); code(err) != fault.Denied {
		t.Errorf("another site: %v", err)
	}
	viewer := a.As(t, operation.Viewer)
	states := func() map[string]string {
		list, err := viewer.Sites(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, s := range list {
			out[s.Slug] = s.State
		}
		return out
	}
	if diff := cmp.Diff(map[string]string{"": "none", "ams01": "up", "fra01": "none"}, states()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	report, err := viewer.Doctor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(report, func(c config.Checked) bool { return c.Name == "Workers" })
	for _, want := range []string{"central: no worker", "site fra01: no worker", "off by 5s", "runs version old"} {
		if report[i].OK || !strings.Contains(report[i].Says, want) {
			t.Errorf("doctor says %q, want it to contain %q", report[i].Says, want)
		}
	}
	a.Clock.Move(time.Minute)
	if got := states()["ams01"]; got != "away" {
		t.Errorf("after a minute: %q, want away", got)
	}
}

func TestFirmware(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	admin := a.As(t, operation.Admin)
	body := []byte("BIOS 2.1")
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if _, err := admin.AddFirmware(ctx, "bios.bin", hash, 3, strings.NewReader("bad")); code(err) != fault.BadImage {
		t.Errorf("another content: %v", err)
	}
	for range 2 {
		f, err := admin.AddFirmware(ctx, "bios.bin", hash, int64(len(body)), bytes.NewReader(body))
		if err != nil || f.Size != int64(len(body)) {
			t.Fatalf("got %+v, %v", f, err)
		}
	}
	if _, err := admin.AddFirmware(ctx, "../../x", hash, int64(len(body)), bytes.NewReader(body)); code(err) != fault.Invalid {
		t.Errorf("a path as a name: %v", err)
	}
	other := sha256.Sum256([]byte("other"))
	if _, err := admin.AddFirmware(ctx, "bios.bin", hex.EncodeToString(other[:]), 5, strings.NewReader("other")); code(err) != fault.Conflict {
		t.Errorf("the name for other bytes: %v", err)
	}
	if list, err := admin.Firmware(ctx); err != nil || len(list) != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	r, err := a.As(t, operation.Worker, "ams01").DownloadFirmware(ctx, hash, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "2.1" {
		t.Errorf("from byte 5: %q, %v", got, err)
	}
	if got, err := admin.VerifyFirmware(ctx); err != nil || len(got) != 1 || got[0].Error != nil {
		t.Errorf("verify: %+v, %v", got, err)
	}
}

func TestAssetsProfilesSetupAndManifest(t *testing.T) {
	a := apitest.Start(t, 2)
	ctx := t.Context()
	admin := a.As(t, operation.Admin)
	id := accept(t, admin, names("srv-01"))
	for _, ref := range []string{"srv-01", "sn001", "101"} {
		got, err := admin.Asset(ctx, ref)
		if err != nil || got.Device.ID != 101 || got.Holder == nil || got.Holder.Operation != id || got.Profile != "box@3" || got.Blocking.Code != fault.Locked {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	if _, err := admin.Asset(ctx, "a/b?c"); code(err) != fault.NotFound {
		t.Errorf("an odd name: %v", err)
	}
	if runs, err := admin.AssetHistory(ctx, "srv-01", 5); err != nil || len(runs) != 1 {
		t.Errorf("history: %v, %v", runs, err)
	}
	if p, err := admin.Profile(ctx, "box"); err != nil || p.Ref != "box@3" {
		t.Errorf("profile: %v, %v", p, err)
	}
	a.SetProfiles(nil, config.Problems{{File: "box.yaml", Line: 2, Key: "bmc", Remedy: "mend it"}})
	if c, err := admin.CheckProfiles(ctx); err != nil || len(c.Problems) != 1 || c.Problems[0].Line != 2 {
		t.Errorf("check: %+v, %v", c, err)
	}
	for _, step := range []struct {
		apply bool
		want  string
	}{{false, "missing"}, {true, "created"}, {true, "present"}} {
		if items, err := admin.NetBoxSetup(ctx, step.apply); err != nil || items[0].State != step.want {
			t.Errorf("setup %v: %+v, %v; want %s", step.apply, items, err, step.want)
		}
	}
	if got, err := admin.ImportManifest(ctx, strings.NewReader("SN001,pw\nSN002,pw\n")); err != nil || got.Imported != 2 {
		t.Errorf("import: %+v, %v", got, err)
	}
	if _, err := admin.ImportManifest(ctx, strings.NewReader("SN001\n")); code(err) != fault.Invalid {
		t.Errorf("a bad manifest: %v", err)
	}
	if r, err := admin.VerifyAudit(ctx); err != nil || r.Head == "" {
		t.Errorf("audit: %+v, %v", r, err)
	}
}

func TestWhatIsNotAskedRightIsSaidSo(t *testing.T) {
	a := apitest.Start(t, 1)
	token := a.Token(t, "op", operation.Operator)
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"no such endpoint": {"GET", "/v2/nothing", "", 404, "/openapi.json"},
		"wrong method":     {"DELETE", "/v1/operations", "", 404, "no endpoint DELETE"},
		"unknown field":    {"POST", "/v1/operations", `{"nmaes":["srv-01"]}`, 422, "nmaes"},
		"two values":       {"POST", "/v1/operations", `{} {}`, 422, "more than one"},
		"not JSON":         {"POST", "/v1/operations", `reason=x`, 422, "invalid character"},
		"too large":        {"POST", "/v1/operations", `{"reason":"` + strings.Repeat("x", 5<<20) + `"}`, 422, "larger than"},
		"bad ID":           {"GET", "/v1/operations/op_123", "", 422, "26 letters"},
		"bad state":        {"GET", "/v1/operations?state=odd", "", 422, "queued"},
		"bad limit":        {"GET", "/v1/operations?limit=100000", "", 422, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, a.URL+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set(wire.RequestID, "my-request")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tc.status || !strings.Contains(string(raw), tc.says) || res.Header.Get("Content-Type") != wire.ContentProblem {
				t.Errorf("HTTP %d %s, want %d with %q", res.StatusCode, raw, tc.status, tc.says)
			}
			if res.Header.Get(wire.RequestID) != "my-request" {
				t.Errorf("request ID %q", res.Header.Get(wire.RequestID))
			}
		})
	}
}

func TestInternalFailuresKeepTheirCauseInside(t *testing.T) {
	a := apitest.Start(t, 1)
	viewer := a.As(t, operation.Viewer)
	a.Store.Break(errors.New("pq: password authentication failed for user root"))
	_, err := viewer.Operations(t.Context(), operation.Filter{})
	if code(err) != fault.Internal || strings.Contains(err.Error(), "password") || !strings.Contains(fault.From(err).Remedy, "request") {
		t.Errorf("got %v (%s)", err, fault.From(err).Remedy)
	}
}

func TestReadiness(t *testing.T) {
	a := apitest.Start(t, 1)
	status := func(path string) int {
		res, err := http.Get(a.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if got := []int{status("/healthz"), status("/readyz")}; !slices.Equal(got, []int{200, 200}) {
		t.Errorf("all is well: %v", got)
	}
	a.Store.Break(errors.New("away"))
	if got := []int{status("/healthz"), status("/readyz")}; !slices.Equal(got, []int{200, 503}) {
		t.Errorf("no store: %v", got)
	}
}

func TestTheClientKeepsItsTokenToItself(t *testing.T) {
	for _, base := range []string{"http://cagenut.example", "ftp://x", "https://user:pw@x", "cagenut.example"} {
		if _, err := client.New(base, "cagenut_x", "test", nil); code(err) != fault.Invalid {
			t.Errorf("%s: got %v", base, err)
		}
	}
	if _, err := client.New("https://cagenut.example", "cagenut_x", "test", nil); err != nil {
		t.Errorf("https: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := client.New("http://127.0.0.1:1", "cagenut_x", "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Whoami(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	if _, err := api.New(api.Options{}); err == nil || !strings.Contains(err.Error(), "Store") {
		t.Errorf("got %v", err)
	}
}
