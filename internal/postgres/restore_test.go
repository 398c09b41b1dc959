package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

// cut makes the database one that was restored from a back-up of row n of the chain.
func cut(t *testing.T, s *postgres.Store, n int) {
	t.Helper()
	execSQL(t, s, `alter table audit disable trigger all`)
	execSQL(t, s, `delete from audit where seq > $1`, n)
	execSQL(t, s, `alter table audit enable trigger all`)
}

func TestARestoredDatabaseGoesOnOnceItIsAccepted(t *testing.T) {
	s, seal := sealed(t, 5)
	cut(t, s, 3)
	say(t, s, "after the restore")
	if _, err := seal.Once(t.Context()); err == nil || !strings.Contains(fault.From(err).Remedy, "accept-restore") {
		t.Fatalf("sealed over the gap, or no way is named: %v", err)
	}
	got, err := s.AcceptRestore(t.Context(), seal.Keeper, "ada", "disk died, back-up of the night")
	if err != nil || got.Kept != 3 || got.Seq != 4 || got.LostFrom != 4 || got.LostTo != 5 {
		t.Fatalf("AcceptRestore = %+v, %v", got, err)
	}
	if n := once(t, seal); n != 1 {
		t.Errorf("sealed %d rows, want the one after the restore", n)
	}
	r := verify(t, s)
	if len(r.Problems) > 0 || r.Rows != 5 || len(r.Restores) != 1 || !strings.Contains(r.Restores[0], "disk died") {
		t.Errorf("report = %+v", r)
	}
	// From here on the chain is as strict as before: a cut tail and a changed record of the loss are seen.
	_, err = s.AcceptRestore(t.Context(), seal.Keeper, "eve", "again")
	wantCode(t, err, fault.Conflict)
	cut(t, s, 4)
	if r := verify(t, s); len(r.Problems) == 0 {
		t.Error("the tail was cut after the restore, and nobody sees it")
	}
	execSQL(t, s, `alter table audit disable trigger all`)
	execSQL(t, s, `delete from audit where seq = 4`)
	if r := verify(t, s); len(r.Problems) == 0 {
		t.Error("the record of the loss is gone, and nobody sees it")
	}
}

func TestTwoRestoresInARow(t *testing.T) {
	s, seal := sealed(t, 6)
	for _, n := range []int{4, 2} {
		cut(t, s, n)
		if got, err := s.AcceptRestore(t.Context(), seal.Keeper, "ada", "drill"); err != nil || got.Seq != int64(n+1) {
			t.Fatalf("back to row %d: %+v, %v", n, got, err)
		}
		if r := verify(t, s); len(r.Problems) > 0 {
			t.Errorf("back to row %d: %v", n, r.Problems)
		}
	}
}

func TestAcceptRestoreRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil  func(t *testing.T, s *postgres.Store)
		reason string
		want   fault.Code
	}{
		"nothing was lost": {func(*testing.T, *postgres.Store) {}, "why not", fault.Conflict},
		"no reason":        {func(t *testing.T, s *postgres.Store) { cut(t, s, 3) }, " ", fault.Invalid},
		"a changed row": {func(t *testing.T, s *postgres.Store) {
			cut(t, s, 3)
			execSQL(t, s, `alter table audit disable trigger all`)
			execSQL(t, s, `update audit set actor = 'eve' where seq = 2`)
		}, "restored", fault.Conflict},
		"another chain": {func(t *testing.T, s *postgres.Store) {
			cut(t, s, 0)
			other := &postgres.Sealer{Store: s, Keeper: keeper(t, t.TempDir(), 1)}
			for range 3 {
				say(t, s, "not what was")
			}
			once(t, other)
		}, "restored", fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			s, seal := sealed(t, 5)
			before, _ := seal.Keeper.Heads()
			tc.spoil(t, s)
			_, err := s.AcceptRestore(t.Context(), seal.Keeper, "ada", tc.reason)
			wantCode(t, err, tc.want)
			if after, _ := seal.Keeper.Heads(); len(after) != len(before) {
				t.Error("a head was signed all the same")
			}
		})
	}
}

// The head file may be lost with the machine that it was on, and no back-up of it be there.
func TestALostHeadFileIsSaidInTheChain(t *testing.T) {
	s := pgtest.New(t)
	dir := t.TempDir()
	k := keeper(t, dir, 1)
	s.UseAudit(k)
	seal := &postgres.Sealer{Store: s, Keeper: k}
	say(t, s, "one")
	once(t, seal)
	if err := os.Remove(filepath.Join(dir, "heads.json")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.AcceptRestore(t.Context(), k, "ada", "host died"); err != nil || got.LostTo != 0 || got.Seq != 2 {
		t.Fatalf("AcceptRestore = %+v, %v", got, err)
	}
	say(t, s, "two")
	once(t, seal)
	if r := verify(t, s); len(r.Problems) > 0 || len(r.Restores) != 1 {
		t.Errorf("report = %+v", r)
	}
}

// What was under way when the back-up was made has gone on since, or has ended: the store must take the
// next transition, and an operator must be able to free a machine whose workflow has ended.
func TestRunsOfARestoredDatabaseCanGoOn(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1, 2))
	claim(t, s, op, 1)
	claim(t, s, op, 2)
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 1, State: operation.Running, Step: "preflight",
		Steps: []operation.StepChange{{Step: "preflight", State: operation.StepRunning, Attempt: 1}}})
	record(t, s, operation.Transition{Operation: op, Asset: 1, Seq: 7, State: operation.Done, // 2 to 6 were lost
		Steps: []operation.StepChange{{Step: "identity", State: operation.StepDone, Attempt: 1}}})
	if lost, err := s.AbortLost(t.Context(), op, 2, bob, noon); err != nil || !lost {
		t.Fatalf("AbortLost = %v, %v", lost, err)
	}
	if d, err := s.GetOperation(t.Context(), op); err != nil || d.State != operation.Aborted {
		t.Errorf("operation is %s, %v", d.State, err)
	}
}
