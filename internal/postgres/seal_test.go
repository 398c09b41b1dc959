package postgres_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
)

func keeper(t *testing.T, dir string, seed byte) *postgres.AuditKeeper {
	t.Helper()
	key := filepath.Join(dir, fmt.Sprintf("key%d", seed))
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{seed}, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := postgres.NewAuditKeeper(key, filepath.Join(dir, "heads.json"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealed gives a store with n sealed audit rows, sealed two at a time, each pair with its head.
func sealed(t *testing.T, n int) (*postgres.Store, *postgres.Sealer) {
	t.Helper()
	s := pgtest.New(t)
	k := keeper(t, t.TempDir(), 1)
	s.UseAudit(k)
	seal := &postgres.Sealer{Store: s, Keeper: k}
	for i := range n {
		say(t, s, fmt.Sprintf("thing-%d", i+1))
		if i%2 == 1 || i == n-1 {
			once(t, seal)
		}
	}
	return s, seal
}

func say(t *testing.T, s *postgres.Store, subject string) {
	t.Helper()
	// With a time that has more digits than PostgreSQL keeps.
	if err := s.Audit(t.Context(), operation.AuditEntry{At: noon.Add(123456789), Actor: "ada", Action: "test.do", Subject: subject, Detail: `{"a":"b\u0000"}`}); err != nil {
		t.Fatal(err)
	}
}

func once(t *testing.T, s *postgres.Sealer) int {
	t.Helper()
	n, err := s.Once(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func verify(t *testing.T, s *postgres.Store) operation.AuditReport {
	t.Helper()
	r, err := s.VerifyAudit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAuditChainIsWhole(t *testing.T) {
	s, seal := sealed(t, 5)
	say(t, s, "not sealed yet")
	r := verify(t, s)
	if len(r.Problems) != 0 || r.Rows != 5 || r.Unsealed != 1 || len(r.Head) != 64 || r.SignedAt.IsZero() {
		t.Errorf("report = %+v, want 5 rows, 1 unsealed, no problems", r)
	}
	if n := once(t, seal); n != 1 {
		t.Errorf("sealed %d, want 1", n)
	}
	if n := once(t, seal); n != 0 {
		t.Errorf("sealed %d of nothing", n)
	}
	if r := verify(t, s); len(r.Problems) != 0 || r.Rows != 6 {
		t.Errorf("report = %+v", r)
	}
}

func TestAuditLogIsAppendOnly(t *testing.T) {
	s, _ := sealed(t, 2)
	say(t, s, "unsealed")
	for _, sql := range []string{
		`update audit set actor = 'eve' where seq = 1`,
		`update audit set seq = null, prev = null, hash = null where seq = 2`,
		`delete from audit where seq = 2`,
		`update audit set actor = 'eve' where seq is null`,
		`update audit set actor = 'eve', seq = 3, prev = '', hash = '' where seq is null`,
		`delete from audit where seq is null`,
		`truncate audit`,
	} {
		if _, err := s.Pool().Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v, want it refused", sql, err)
		}
	}
	if n := count(t, s, `select count(*) from audit`); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}
}

// A tamperer who is superuser disables the triggers. What he does is found.
func TestAuditTampering(t *testing.T) {
	tests := []struct {
		name string
		sql  []string
		want []string // beginnings of the problems
	}{
		{"edited row", []string{`update audit set detail = '{"a":"c"}' where seq = 2`}, []string{"row 2 (test.do by ada"}},
		{"edited row, hash made to fit", []string{`update audit set hash = sha256('x') where seq = 2`},
			[]string{"row 2 (", "row 2 is not the one that was signed", "row 3 does not follow"}},
		{"deleted row", []string{`delete from audit where seq = 3`}, []string{"row 3 is missing"}},
		{"deleted rows", []string{`delete from audit where seq in (2, 3)`}, []string{"rows 2 to 3 are missing"}},
		{"deleted first row", []string{`delete from audit where seq = 1`}, []string{"row 1 is missing"}},
		{"deleted row, the rest moved up", []string{`delete from audit where seq = 3`, `update audit set seq = seq - 1 where seq = 4`,
			`update audit set seq = seq - 1 where seq = 5`},
			[]string{"row 3 does not follow row 2", "row 3 (", "row 4 (", "row 4 is not the one", "the chain ends at row 4"}},
		{"deleted tail", []string{`delete from audit where seq >= 4`}, []string{"the chain ends at row 3, but row 5 was signed"}},
		{"all deleted", []string{`delete from audit`}, []string{"the chain ends at row 0, but row 5 was signed"}},
		{"reordered", []string{`update audit set seq = -1 where seq = 2`, `update audit set seq = 2 where seq = 3`, `update audit set seq = 3 where seq = -1`},
			[]string{"row 2 does not follow row 1", "row 2 (", "row 2 is not the one", "row 3 does not follow row 2", "row 3 (", "row 4 does not follow"}},
		{"unsealed again", []string{`update audit set seq = null, prev = null, hash = null where seq = 5`}, []string{"the chain ends at row 4"}},
		{"content of two rows exchanged", []string{`update audit a set subject = b.subject from audit b where (a.seq, b.seq) in ((1, 2), (2, 1))`},
			[]string{"row 1 (", "row 2 ("}},
		{"inserted row", []string{`insert into audit (at, actor, action, subject, operation, asset, request, detail, seq, prev, hash)
			select at, 'eve', action, subject, operation, asset, request, detail, 6, hash, sha256('y') from audit where seq = 5`}, []string{"row 6 ("}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, seal := sealed(t, 5)
			execSQL(t, s, `alter table audit disable trigger all`)
			for _, sql := range tt.sql {
				execSQL(t, s, sql)
			}
			execSQL(t, s, `alter table audit enable trigger all`)
			got := verify(t, s).Problems
			if len(got) != len(tt.want) {
				t.Fatalf("problems %q, want those that begin with %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("problem %q, want one that begins with %q", got[i], tt.want[i])
				}
			}
			// Where the signed end is concerned, nothing may be sealed over it.
			if strings.Contains(strings.Join(got, ""), "the chain ends") {
				say(t, s, "later")
				_, err := seal.Once(t.Context())
				wantCode(t, err, fault.Conflict)
				if len(verify(t, s).Problems) == 0 {
					t.Error("the next seal hid the tampering")
				}
			}
		})
	}
}

// Who rewrites the whole chain so that it fits cannot sign its head.
func TestAuditRewrittenChain(t *testing.T) {
	s, _ := sealed(t, 4)
	heads, err := keeper(t, t.TempDir(), 1).Heads()
	if err != nil || heads != nil {
		t.Fatalf("heads of a new folder = %v, %v", heads, err)
	}
	execSQL(t, s, `alter table audit disable trigger all`)
	execSQL(t, s, `update audit set actor = 'eve' where seq = 1`)
	execSQL(t, s, `update audit set seq = null, prev = null, hash = null`)
	execSQL(t, s, `alter table audit enable trigger all`)
	forged := keeper(t, t.TempDir(), 2) // with a key of his own
	once(t, &postgres.Sealer{Store: s, Keeper: forged})
	if got := verify(t, s).Problems; len(got) != 2 || !strings.Contains(got[0], "row 2 is not the one that was signed") {
		t.Errorf("problems against the true heads = %q", got)
	}
	// With his heads put in place of ours: they are not signed with our key.
	theirs, err := forged.Heads()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.VerifyAuditHeads(t.Context(), theirs, keeper(t, t.TempDir(), 1).Public())
	if err != nil || len(r.Problems) != len(theirs) || !strings.Contains(r.Problems[0], "not signed with this key") {
		t.Errorf("problems with forged heads = %q, %v", r.Problems, err)
	}
	r, err = s.VerifyAuditHeads(t.Context(), nil, forged.Public())
	if err != nil || len(r.Problems) != 1 {
		t.Errorf("problems without heads = %q, %v", r.Problems, err)
	}
}

// The sealer is killed at each row of a batch, and between the database and the head file. The next
// one goes on, and the chain is whole.
func TestSealerKilled(t *testing.T) {
	t.Run("in the transaction", func(t *testing.T) {
		s, seal := sealed(t, 2)
		for i := range 3 {
			say(t, s, fmt.Sprintf("late-%d", i))
		}
		execSQL(t, s, `create function pull_the_plug() returns trigger language plpgsql as $$
			begin if new.seq = 4 then perform pg_terminate_backend(pg_backend_pid()); end if; return null; end $$`)
		execSQL(t, s, `create trigger zz_plug after update on audit for each row execute function pull_the_plug()`)
		_, err := seal.Once(t.Context())
		wantCode(t, err, fault.StoreAway)
		execSQL(t, s, `drop trigger zz_plug on audit`)
		if r := verify(t, s); len(r.Problems) != 0 || r.Rows != 2 || r.Unsealed != 3 {
			t.Errorf("after the kill: %+v, want 2 rows, 3 unsealed", r)
		}
		if n := once(t, seal); n != 3 {
			t.Errorf("the next sealer sealed %d, want 3", n)
		}
		if r := verify(t, s); len(r.Problems) != 0 || r.Rows != 5 {
			t.Errorf("after the next sealer: %+v", r)
		}
	})
	t.Run("before the head is written", func(t *testing.T) {
		for _, before := range []int{0, 2} {
			s := pgtest.New(t)
			dir := t.TempDir()
			k := keeper(t, dir, 1)
			s.UseAudit(k)
			seal := &postgres.Sealer{Store: s, Keeper: k}
			once(t, seal) // writes the first head, of the empty chain
			for i := range before {
				say(t, s, fmt.Sprintf("early-%d", i))
			}
			once(t, seal)
			// The kill is a head file that stays as it was.
			old, err := os.ReadFile(filepath.Join(dir, "heads.json"))
			if err != nil {
				t.Fatal(err)
			}
			say(t, s, "late")
			once(t, seal)
			if err := os.WriteFile(filepath.Join(dir, "heads.json"), old, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := verify(t, s); len(r.Problems) != 0 || r.Rows != int64(before)+1 {
				t.Errorf("after the kill: %+v, want no problem", r)
			}
			once(t, seal) // signs what was chained
			heads, err := k.Heads()
			if err != nil || heads[len(heads)-1].Seq != int64(before)+1 {
				t.Errorf("last head = %+v, %v, want row %d", heads[len(heads)-1], err, before+1)
			}
		}
	})
}

func TestSealerRefusesWithoutItsHead(t *testing.T) {
	s, _ := sealed(t, 2)
	dir := t.TempDir()
	_, err := (&postgres.Sealer{Store: s, Keeper: keeper(t, dir, 1)}).Once(t.Context())
	if f := wantCode(t, err, fault.Conflict); !strings.Contains(f.Message, "heads.json is missing") {
		t.Errorf("message = %q", f.Message)
	}
	// A file whose last head somebody else signed.
	raw, err := json.Marshal(map[string]any{"heads": []postgres.Head{{Seq: 2, Hash: "00", At: noon, Signature: "AAAA"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "heads.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = (&postgres.Sealer{Store: s, Keeper: keeper(t, dir, 1)}).Once(t.Context())
	wantCode(t, err, fault.Conflict)
}

// Several sealers and many writers: one chain, without gaps, and heads that fit.
func TestSealersAtOnce(t *testing.T) {
	url := pgtest.URL(t)
	s := pgtest.Open(t, url)
	k := keeper(t, t.TempDir(), 1)
	s.UseAudit(k)
	ctx, cancel := context.WithCancel(t.Context())
	var sealers, writers sync.WaitGroup
	for range 3 {
		seal := &postgres.Sealer{Store: pgtest.Open(t, url), Keeper: k, Every: 5 * time.Millisecond}
		sealers.Go(func() {
			if err := seal.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	const each = 20
	for w := range 4 {
		writers.Go(func() {
			for i := range each {
				if err := s.Audit(t.Context(), operation.AuditEntry{At: noon, Actor: "ada", Action: "test.do", Subject: fmt.Sprint(w, i)}); err != nil {
					t.Errorf("Audit: %v", err)
				}
			}
		})
	}
	writers.Wait()
	waitFor(t, "all rows are sealed", func() bool { return count(t, s, `select count(*) from audit where seq is null`) == 0 })
	cancel()
	sealers.Wait()
	r := verify(t, s)
	if diff := cmp.Diff([]string{}, r.Problems); diff != "" || r.Rows != 4*each {
		t.Errorf("%d rows, problems (-want +got):\n%s", r.Rows, diff)
	}
	heads, err := k.Heads()
	if err != nil || len(heads) > 100 || heads[len(heads)-1].Seq != 4*each {
		t.Errorf("%d heads, last %d, %v", len(heads), heads[len(heads)-1].Seq, err)
	}
}

func TestVerifyAuditWithoutKey(t *testing.T) {
	_, err := pgtest.New(t).VerifyAudit(t.Context())
	wantCode(t, err, fault.Unsupported)
}

func TestNewAuditKeeperRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, files := range map[string][2]string{
		"missing":      {filepath.Join(dir, "none"), "h"},
		"readable":     {write("readable", good, 0o644), "h"},
		"short":        {write("short", "AAAA", 0o600), "h"},
		"no head file": {write("good", good, 0o600), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := postgres.NewAuditKeeper(files[0], files[1])
			wantCode(t, err, fault.Invalid)
		})
	}
}
