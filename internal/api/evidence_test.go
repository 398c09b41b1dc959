package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

func TestLargeEvidenceIsReadBySiteOnly(t *testing.T) {
	a := apitest.Start(t, 2)
	ctx := t.Context()
	id := accept(t, a.As(t, operation.Operator), names("srv-01", "srv-02"))
	sum := strings.Repeat("ab", 32)
	a.Store.Keep(sum, json.RawMessage(`{"sel":"long"}`))
	a.Store.Edit(id, "srv-01", func(r *operation.Run) {
		r.Steps[0].Evidence = []operation.Evidence{{Kind: "sel", Title: "log", Data: json.RawMessage(`{"sha256":"` + sum + `","size":40000}`), Blob: sum}}
	})
	ams, fra := a.As(t, operation.Viewer, "ams01"), a.As(t, operation.Viewer, "fra01")
	r, err := ams.Run(ctx, id, "SN001")
	if err != nil || len(r.Steps) == 0 || r.Steps[0].Evidence[0].Blob != sum {
		t.Fatalf("run = %+v, %v", r, err)
	}
	if got, err := ams.Evidence(ctx, sum); err != nil || string(got) != `{"sel":"long"}` {
		t.Errorf("evidence = %s, %v", got, err)
	}
	if _, err := fra.Evidence(ctx, sum); code(err) != fault.NotFound {
		t.Errorf("another site's viewer reads evidence: %v", err)
	}
	if _, err := fra.Run(ctx, id, "srv-01"); code(err) != fault.NotFound {
		t.Errorf("another site's viewer reads a run: %v", err)
	}
	if _, err := ams.Evidence(ctx, "xyz"); code(err) != fault.Invalid {
		t.Errorf("no SHA-256: %v", err)
	}
}

func TestAWorkerGetsThePasswordOfThePlansAccountAndIsAuditedOnceAStep(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	w := a.As(t, operation.Worker, "ams01")
	id := accept(t, a.As(t, operation.Operator), names("srv-01"))
	if _, err := w.Candidates(ctx, 101, "backdoor"); code(err) != fault.Denied {
		t.Errorf("an account that the plan does not name: %v", err)
	}
	for _, step := range []string{"identity", "stage"} {
		a.Store.Move(id, "srv-01", operation.Running, step, operation.StepRunning, nil)
		for range 5 {
			if _, err := w.Candidates(ctx, 101, "root"); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"worker-person secret.read bmc/SN001", "worker-person secret.read bmc/SN001"}
	if diff := cmp.Diff(want, a.Store.Audited()); diff != "" {
		t.Errorf("audit of 10 polls in 2 steps (-want +got):\n%s", diff)
	}
}

func TestAPasswordIsRevealedToAnAdminOnceItIsAudited(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	admin := a.As(t, operation.Admin)
	ask := wire.Reveal{Reason: "console for DC-42"}
	if _, err := a.As(t, operation.Approver).RevealPassword(ctx, "srv-01", ask); code(err) != fault.Denied {
		t.Errorf("an approver: %v", err)
	}
	if _, err := admin.RevealPassword(ctx, "srv-01", wire.Reveal{Reason: " "}); code(err) != fault.Invalid {
		t.Errorf("no reason: %v", err)
	}
	if len(a.Store.Audited()) > 0 {
		t.Errorf("audited what was refused: %q", a.Store.Audited())
	}
	got, err := admin.RevealPassword(ctx, "srv-01", ask)
	if err != nil || len(got) != 1 || got[0].User != "root" || got[0].Password != "factory-of-SN001" {
		t.Errorf("got %v, %v", got, err)
	}
	if got := a.Store.Audited(); !slices.Equal(got, []string{"admin-person secret.reveal bmc/SN001 of srv-01"}) {
		t.Errorf("audit: %q", got)
	}
	a.Store.BreakAudit(fault.New(fault.StoreAway, "away"))
	if got, err := admin.RevealPassword(ctx, "srv-01", ask); code(err) != fault.StoreAway || len(got) > 0 {
		t.Errorf("without an audit row: %v, %v", got, err)
	}
}

func TestTheAuditLogIsNotForTokensOfSomeSites(t *testing.T) {
	a := apitest.Start(t, 1)
	ctx := t.Context()
	for _, actor := range []string{"ada", "bob", "ada"} {
		if err := a.Store.Audit(ctx, operation.AuditEntry{Actor: actor, Action: "token.create", At: a.Clock.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := a.As(t, operation.Viewer).AuditLog(ctx, operation.AuditFilter{Actor: "ada"})
	if err != nil || len(got) != 2 || got[0].Seq != 3 {
		t.Errorf("ada's rows: %+v, %v", got, err)
	}
	if got, err = a.As(t, operation.Viewer).AuditLog(ctx, operation.AuditFilter{Chain: true, Limit: 2}); err != nil || len(got) != 2 || got[0].Seq != 1 {
		t.Errorf("the chain: %+v, %v", got, err)
	}
	if _, err := a.As(t, operation.Operator, "ams01").AuditLog(ctx, operation.AuditFilter{}); code(err) != fault.Denied {
		t.Errorf("a token of one site: %v", err)
	}
}

func TestTheMachinesOfARack(t *testing.T) {
	a := apitest.Start(t, 2)
	ctx := t.Context()
	id := accept(t, a.As(t, operation.Operator), names("srv-01"))
	got, err := a.As(t, operation.Viewer).Assets(ctx, "r12", "")
	if err != nil || len(got) != 2 || got[0].Name != "srv-02" || got[0].Holder != nil || got[1].Holder == nil || got[1].Holder.Operation != id {
		t.Errorf("rack r12: %+v, %v, want both, from the top, one held", got, err)
	}
	if _, err := a.As(t, operation.Viewer).Assets(ctx, "", "ams01"); code(err) != fault.Invalid {
		t.Errorf("a whole site: %v", err)
	}
	if got, err := a.As(t, operation.Viewer, "fra01").Assets(ctx, "r12", ""); err != nil || len(got) != 0 {
		t.Errorf("another site's viewer sees %+v, %v", got, err)
	}
}
