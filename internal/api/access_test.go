package api_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

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
