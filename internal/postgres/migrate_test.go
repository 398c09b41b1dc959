package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func TestMigrate(t *testing.T) {
	url := pgtest.EmptyURL(t)
	s := pgtest.Open(t, url)
	wantCode(t, s.CheckVersion(t.Context()), fault.StoreAway) // nothing is there

	// Two at once: one does it, the other finds it done.
	applied := make([][]string, 2)
	var wg sync.WaitGroup
	for i := range applied {
		store := pgtest.Open(t, url)
		wg.Go(func() {
			var err error
			if applied[i], err = store.Migrate(t.Context()); err != nil {
				t.Errorf("Migrate: %v", err)
			}
		})
	}
	wg.Wait()
	if a, b := len(applied[0]), len(applied[1]); a+b == 0 || (a > 0 && b > 0) {
		t.Errorf("applied %v and %v, want all of them once", applied[0], applied[1])
	}
	if err := s.CheckVersion(t.Context()); err != nil {
		t.Errorf("CheckVersion after Migrate: %v", err)
	}
}

func TestMigrateRefusesOtherDatabases(t *testing.T) {
	tests := []struct {
		name, spoil string
		want        string
	}{
		{"newer", `insert into schema_version (version, name, sha256) values (9999, '9999_future.sql', 'x')`, "9999_future.sql"},
		{"other content", `update schema_version set sha256 = 'x' where version = 1`, "0001_init.sql"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := pgtest.New(t)
			execSQL(t, s, tt.spoil)
			_, err := s.Migrate(t.Context())
			if f := wantCode(t, err, fault.Conflict); !strings.Contains(f.Message, tt.want) {
				t.Errorf("message %q does not name %s", f.Message, tt.want)
			}
			wantCode(t, s.CheckVersion(t.Context()), fault.Conflict)
		})
	}
}

func TestCheckVersionOfAnOlderDatabase(t *testing.T) {
	s := pgtest.New(t)
	execSQL(t, s, `delete from schema_version where version = (select max(version) from schema_version)`)
	if f := wantCode(t, s.CheckVersion(t.Context()), fault.Conflict); !strings.Contains(f.Remedy, "cagenut migrate") {
		t.Errorf("remedy %q does not name `cagenut migrate`", f.Remedy)
	}
}

func TestCheckSteps(t *testing.T) {
	s := pgtest.New(t)
	op := create(t, s, request(t, 1))
	if err := s.CheckSteps(t.Context(), []string{"preflight/1", "identity/1"}); err != nil {
		t.Errorf("all kinds known: %v", err)
	}
	f := wantCode(t, s.CheckSteps(t.Context(), []string{"preflight/1", "identity/2"}), fault.Conflict)
	if len(f.Details) != 1 || f.Details[0].Subject != "identity/1" || !strings.Contains(f.Details[0].Seen, string(op)) {
		t.Errorf("details = %+v, want identity/1 and its operation", f.Details)
	}
	finish(t, s, op, 1, operation.Aborted)
	if err := s.CheckSteps(t.Context(), nil); err != nil {
		t.Errorf("nothing is open: %v", err)
	}
}
