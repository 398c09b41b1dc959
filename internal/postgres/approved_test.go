package postgres_test

import (
	"strings"
	"testing"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func tryClaim(t *testing.T, s *postgres.Store, op operation.ID, id asset.ID) error {
	t.Helper()
	_, err := s.Claim(t.Context(), activities.ClaimRequest{Operation: op, Asset: id, RunID: "run-1"})
	return err
}

// TestClaimRefusesWhatWasNotApproved edits the database as an intruder would.
func TestClaimRefusesWhatWasNotApproved(t *testing.T) {
	for name, edit := range map[string]string{
		"another BMC":           `update run set target = jsonb_set(target, '{bmc,address}', '"10.0.0.99"') where asset = 1`,
		"a step less":           `update run set target = jsonb_set(target, '{steps}', (target -> 'steps') - 0) where asset = 1`,
		"another machine's BMC": `update run set target = jsonb_set(target, '{bmc,address}', '"10.0.0.99"') where asset = 2`,
		"swapped targets":       `update run r set target = o.target from run o where o.asset = 3 - r.asset`,
		"another end":           `update operation set until = 'os'`,
		"no approval":           `delete from approval`,
		"another's approval":    `update approval set plan_hash = repeat('0', 64)`,
	} {
		t.Run(name, func(t *testing.T) {
			s := pgtest.New(t)
			op := create(t, s, request(t, 1, 2))
			execSQL(t, s, edit)
			wantCode(t, tryClaim(t, s, op, 1), fault.OutsidePlan)
			run, err := s.GetRun(t.Context(), op, 1)
			if err != nil || run.State != operation.Failed || run.Error == nil || run.Error.Code != fault.OutsidePlan {
				t.Errorf("the run is %s, %v, %v, want it failed with the reason", run.State, run.Error, err)
			}
			create(t, s, request(t, 1)) // the machine is free
		})
	}
}

// A plan that was verified once is not read again, and a machine's part that is changed afterwards is
// seen all the same.
func TestClaimComparesWithThePlanThatWasVerified(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2, 3))
	claim(t, s, op, 1)
	execSQL(t, s, `update run set target = jsonb_set(target, '{bmc,account}', '"eve"') where asset = 2`)
	wantCode(t, tryClaim(t, s, op, 2), fault.OutsidePlan)
	claim(t, s, op, 3)
	execSQL(t, s, `update operation set plan_hash = repeat('0', 64)`)
	wantCode(t, tryClaim(t, s, op, 3), fault.OutsidePlan)
}

// Who seals a plan of his own and approves it leaves the request of the audit log behind.
func TestClaimHoldsThePlanToTheAuditLog(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	own := request(t, 1)
	own.Plan.Targets[0].BMC.Address = "10.0.0.99"
	forged := reseal(t, own.Plan)
	execSQL(t, s, `update run set target = jsonb_set(target, '{bmc,address}', '"10.0.0.99"')`)
	execSQL(t, s, `update operation set plan_hash = $1`, forged.Hash)
	execSQL(t, s, `update approval set plan_hash = $1`, forged.Hash)
	if _, err := s.GetPlan(t.Context(), op); err != nil {
		t.Fatalf("the forgery is not whole: %v", err)
	}
	if f := wantCode(t, tryClaim(t, s, op, 1), fault.OutsidePlan); !strings.Contains(f.Message, "audit log") {
		t.Errorf("message %q does not name the audit log", f.Message)
	}
}

// A target that cannot be read any more approves nothing, and holds no machine.
func TestClaimOfWhatCannotBeRead(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	execSQL(t, s, `update run set target = jsonb_set(target, '{steps}', '"none"') where asset = 1`)
	for _, id := range []asset.ID{1, 2} { // one plan, one hash
		_, err := s.Claim(t.Context(), activities.ClaimRequest{Operation: op, Asset: id, RunID: "run-1"})
		wantCode(t, err, fault.OutsidePlan)
	}
	holders, err := s.CurrentHolders(t.Context(), []asset.ID{1, 2})
	if err != nil || len(holders) != 0 {
		t.Errorf("held by %v, %v", holders, err)
	}
}

// NetBox's webhook may tell of our own write before the transition does: that is one move, not two.
func TestWebhookBeforeTheTransition(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	claim(t, s, op, 1)
	if err := s.ObserveStatus(t.Context(), 1, asset.Staged, noon); err != nil {
		t.Fatal(err)
	}
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Running, Steps: []operation.StepChange{
		{Step: "identity", State: operation.StepDone, Attempt: 1, Writes: []plan.Write{{System: "netbox", Field: "status", Before: "planned", After: "staged"}}}}})
	moves, err := s.StatusMoves(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range moves {
		if m.From == asset.Staged && m.To == asset.Planned {
			t.Errorf("a move that never was: %+v", moves)
		}
	}
}
