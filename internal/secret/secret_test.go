package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/activities"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/postgres/pgtest"
	"github.com/cagenut/cagenut/internal/secret"
)

var srv = asset.Ref{ID: 1, Name: "srv-1", Serial: "abc123"}

// drivers gives one of each that can keep things, empty.
func drivers(t *testing.T) map[string]secret.Driver {
	t.Helper()
	file, err := secret.NewFile(filepath.Join(t.TempDir(), "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]secret.Driver{"file": file, "database": &secret.Database{Pool: pgtest.New(t).Pool(), Ring: ring(t, 1)}}
}

func ring(t *testing.T, seeds ...byte) *secret.Ring {
	t.Helper()
	var keys [][]byte
	for _, seed := range seeds {
		keys = append(keys, bytes.Repeat([]byte{seed}, 32))
	}
	r, err := secret.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// each runs a test against every driver.
func each(t *testing.T, test func(t *testing.T, d secret.Driver)) {
	for name, d := range drivers(t) {
		t.Run(name, func(t *testing.T) { test(t, d) })
	}
}

// login is a candidate as a test writes it.
type login struct {
	Source         activities.CandidateSource
	User, Password string
}

func candidates(t *testing.T, k *secret.Keeper, a asset.Ref) []login {
	t.Helper()
	got, err := k.Candidates(t.Context(), a, "root")
	if err != nil {
		wantCode(t, err, fault.NoSecret)
	}
	var out []login
	for _, c := range got {
		out = append(out, login{c.Source, c.Credentials.User, c.Credentials.Password})
	}
	return out
}

func wantCode(t *testing.T, err error, want fault.Code) *fault.Error {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != want {
		t.Fatalf("error %v, want code %s", err, want)
	}
	return f
}

// NetBox may be away once a password is known: only a machine that nothing else tells of needs it.
func TestCandidatesWithoutNetBox(t *testing.T) {
	each(t, func(t *testing.T, d secret.Driver) {
		k := &secret.Keeper{Driver: d, MACs: func(context.Context, asset.Ref) ([]string, error) {
			return nil, fault.New(fault.InventoryAway, "NetBox does not answer")
		}}
		_, err := k.Candidates(t.Context(), srv, "root")
		wantCode(t, err, fault.InventoryAway)
		if _, err := k.ImportManifest(t.Context(), strings.NewReader("serial,mac,user,password\nABC123,,ADMIN,bySerial\n")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]login{{"factory", "ADMIN", "bySerial"}}, candidates(t, k, srv)); diff != "" {
			t.Errorf("with NetBox away (-want +got):\n%s", diff)
		}
	})
}

// A machine's whole way: factory, pending, current, and the next change. What the BMC may have is
// among the candidates at every point.
func TestLifeOfAPassword(t *testing.T) {
	each(t, func(t *testing.T, d secret.Driver) {
		k := &secret.Keeper{Driver: d, MACs: func(context.Context, asset.Ref) ([]string, error) { return []string{"aa-bb-cc-00-11-22", "junk"}, nil }}
		ctx := t.Context()
		if got := candidates(t, k, srv); got != nil {
			t.Fatalf("candidates of an unknown machine = %v", got)
		}
		wantCode(t, k.Promote(ctx, srv, "root"), fault.NoSecret)
		manifest := "serial,mac,user,password\nABC123,,ADMIN,bySerial\n,AA:BB:CC:00:11:22,ADMIN,byMAC\n"
		if _, err := k.ImportManifest(ctx, strings.NewReader(manifest)); err != nil {
			t.Fatal(err)
		}
		factory := []login{{"factory", "ADMIN", "bySerial"}, {"factory", "ADMIN", "byMAC"}}
		if diff := cmp.Diff(factory, candidates(t, k, srv)); diff != "" {
			t.Fatalf("after the import (-want +got):\n%s", diff)
		}
		propose := func() string {
			t.Helper()
			c, err := k.Propose(ctx, srv, "root", 20)
			if err != nil || c.Source != activities.SourcePending || c.Credentials.User != "root" {
				t.Fatalf("Propose = %v, %v", c, err)
			}
			return c.Credentials.Password
		}
		first := propose()
		if again := propose(); again != first {
			t.Error("a repeated Propose made a second password")
		}
		if diff := cmp.Diff(append([]login{{"pending", "root", first}}, factory...), candidates(t, k, srv)); diff != "" {
			t.Errorf("with a pending password (-want +got):\n%s", diff)
		}
		for range 2 { // promoting is idempotent
			if err := k.Promote(ctx, srv, "root"); err != nil {
				t.Fatal(err)
			}
		}
		second := propose()
		if second == first {
			t.Error("the next change proposes the same password")
		}
		want := append([]login{{"current", "root", first}, {"pending", "root", second}}, factory...)
		if diff := cmp.Diff(want, candidates(t, k, srv)); diff != "" {
			t.Errorf("in the next change (-want +got):\n%s", diff)
		}
		if _, err := k.Propose(ctx, srv, "operator", 16); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, candidates(t, k, srv)); diff != "" {
			t.Errorf("another account changed this one's (-want +got):\n%s", diff)
		}
		has, err := k.Has(ctx, []secret.Machine{{Ref: srv}, {Ref: asset.Ref{ID: 2, Serial: "X"}},
			{Ref: asset.Ref{ID: 3, Serial: "Y"}, MACs: []string{"AABBCC001122"}}, {Ref: asset.Ref{ID: 4}}})
		if diff := cmp.Diff(map[asset.ID]bool{1: true, 2: false, 3: true, 4: false}, has); diff != "" || err != nil {
			t.Errorf("Has (-want +got), %v:\n%s", err, diff)
		}
	})
}

// A pending password that is longer than the BMC takes is replaced, and stays a candidate: the BMC may
// have taken it after all.
func TestAShorterPasswordReplacesThePending(t *testing.T) {
	each(t, func(t *testing.T, d secret.Driver) {
		k := &secret.Keeper{Driver: d}
		propose := func(length int) string {
			t.Helper()
			c, err := k.Propose(t.Context(), srv, "root", length)
			if err != nil {
				t.Fatal(err)
			}
			return c.Credentials.Password
		}
		long := propose(20)
		short := propose(16)
		if len(short) != 16 || propose(16) != short || propose(20) != short {
			t.Errorf("%d characters, want 16 and the same again", len(short))
		}
		if diff := cmp.Diff([]login{{"pending", "root", short}, {"replaced", "root", long}}, candidates(t, k, srv)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := k.Promote(t.Context(), srv, "root"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]login{{"current", "root", short}}, candidates(t, k, srv)); diff != "" {
			t.Errorf("promoted (-want +got):\n%s", diff)
		}
	})
}

// Many propose at once for one machine: all get the same password, and it is the one that is kept.
func TestProposeRace(t *testing.T) {
	each(t, func(t *testing.T, d secret.Driver) {
		k := &secret.Keeper{Driver: d}
		got := make([]string, 8)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				c, err := k.Propose(t.Context(), srv, "root", 20)
				if err != nil {
					t.Errorf("Propose: %v", err)
				}
				got[i] = c.Credentials.Password
			})
		}
		wg.Wait()
		kept := candidates(t, k, srv)[0].Password
		for _, p := range got {
			if p != kept {
				t.Error("a caller was given a password that is not kept")
			}
		}
	})
}

func TestKeeperInvalid(t *testing.T) {
	k := &secret.Keeper{Driver: drivers(t)["file"]}
	for _, length := range []int{0, 15, 21} {
		_, err := k.Propose(t.Context(), srv, "root", length)
		wantCode(t, err, fault.Invalid)
	}
	_, err := k.Candidates(t.Context(), asset.Ref{ID: 1, Name: "srv-1"}, "root")
	wantCode(t, err, fault.Invalid)
	_, err = k.Candidates(t.Context(), srv, "")
	wantCode(t, err, fault.Invalid)
	wantCode(t, k.Promote(t.Context(), srv, ""), fault.Invalid)
}

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	counts := map[rune]int{}
	const n = 4000
	for range n {
		p, err := secret.Generate(20)
		if err != nil {
			t.Fatal(err)
		}
		if len(p) != 20 || !strings.ContainsAny(p, "abcdefghijklmnopqrstuvwxyz") || !strings.ContainsAny(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") ||
			!strings.ContainsAny(p, "0123456789") {
			t.Fatalf("password of %d characters lacks a class", len(p))
		}
		if seen[p] {
			t.Fatal("the same password twice")
		}
		seen[p] = true
		for _, c := range p {
			counts[c]++
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d different characters, want 62", len(counts))
	}
	// 80,000 characters over 62: about 1,290 each, with a deviation of 36. Bytes taken modulo 62
	// without rejection would give the first eight 1,562.
	for c, got := range counts {
		if got < 1290-300 || got > 1290+250 {
			t.Errorf("character %c came %d times, want about 1,290", c, got)
		}
	}
}

func TestImportManifest(t *testing.T) {
	each(t, func(t *testing.T, d secret.Driver) {
		k := &secret.Keeper{Driver: d}
		load := func(csv string) secret.Report {
			t.Helper()
			r, err := k.ImportManifest(t.Context(), strings.NewReader(csv))
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		// Any order of columns, further columns, a BOM, quotes, Windows line ends.
		csv := "\ufeffPassword, USER,Rack,MAC,Serial\r\n\"p,w\"\"1\",root,r1,aabb.ccdd.eeff,sn1\r\npw2,ADMIN,r1,,SN2\r\n"
		if got := load(csv); got != (secret.Report{Imported: 2}) {
			t.Errorf("first import = %+v", got)
		}
		if got := load(csv); got != (secret.Report{Unchanged: 2}) {
			t.Errorf("second import = %+v", got)
		}
		if got := load("serial,mac,user,password\nSN1,AA:BB:CC:DD:EE:FF,root,new\nSN3,,root,pw3\n"); got != (secret.Report{Changed: 1, Imported: 1}) {
			t.Errorf("changed import = %+v", got)
		}
		if diff := cmp.Diff([]login{{"factory", "root", "new"}}, candidates(t, k, asset.Ref{Name: "x", Serial: "sn1"})); diff != "" {
			t.Errorf("SN1 (-want +got):\n%s", diff)
		}
	})
}

func TestImportManifestBadLines(t *testing.T) {
	const word = "hunter2secret"
	tests := []struct {
		name, csv string
		want      []string // "subject: seen" of every problem, or nil when the file as a whole is bad
	}{
		{"all problems at once, each with its line", "serial,mac,user,password\nSN1,,root," + word + "\n,,root," + word +
			"\nSN3,nonsense,root," + word + "\nSN4,,," + word + "\nSN5,,root,\nSN6,root," + word + "\nSN1,,root," + word + "x\nSN7,,root, " + word + " \n",
			[]string{"line 3: both empty", `line 4: "nonsense"`, `line 5: ""`,
				"line 6: empty, or with space around it or control characters in it (not shown)", "line 7: 3",
				"line 8: another one than in line 2",
				"line 9: empty, or with space around it or control characters in it (not shown)"}},
		{"one MAC on two machines", "serial,mac,user,password\nSN1,AA:BB:CC:DD:EE:FF,root," + word + "\nSN2,aabbccddeeff,root," + word + "\n",
			[]string{"line 3: AA:BB:CC:DD:EE:FF is also that of serial SN1 in line 2"}},
		{"quote inside a field", "serial,mac,user,password\nSN1,,ro\"ot," + word + "\n",
			[]string{"line 2: a quote that does not end, or that stands inside a field"}},
		{"empty file", "", nil},
		{"only a header", "serial,mac,user,password\n", nil},
		{"column missing", "serial,user,password\nSN1,root," + word + "\n", nil},
		{"column twice", "serial,serial,mac,user,password\nSN1,SN1,,root," + word + "\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			d, err := secret.NewFile(dir)
			if err != nil {
				t.Fatal(err)
			}
			k := &secret.Keeper{Driver: d}
			_, err = k.ImportManifest(t.Context(), strings.NewReader(tt.csv))
			f := wantCode(t, err, fault.Invalid)
			var got []string
			for _, item := range f.Details {
				got = append(got, item.Subject+": "+item.Seen)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if all := fmt.Sprintf("%+v %v", *f, err); strings.Contains(all, word) {
				t.Errorf("a password stands in the error: %s", all)
			}
			if files, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(files) != 0 {
				t.Errorf("imported %v, %v, want nothing", files, err)
			}
		})
	}
}

func TestNothingShowsAPassword(t *testing.T) {
	const word = "hunter2secret"
	l := secret.Login{User: "root", Password: word}
	for _, v := range []any{l, secret.Account{Current: word, Pending: word}, secret.Record{Factory: []secret.Login{l}}, &l,
		[]secret.Login{l}, ring(t, 1)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, word) {
				t.Errorf("%s of %T shows the password: %s", verb, v, s)
			}
		}
	}
}

func TestEnv(t *testing.T) {
	vars := map[string]string{"CAGENUT_BMC_PASSWORD_ABC123": "one", "CAGENUT_BMC_PASSWORD": "rest"}
	k := &secret.Keeper{Driver: secret.Env{Lookup: func(n string) (string, bool) { v, ok := vars[n]; return v, ok }}}
	if diff := cmp.Diff([]login{{"current", "root", "one"}}, candidates(t, k, srv)); diff != "" {
		t.Errorf("its own (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]login{{"shared", "root", "rest"}}, candidates(t, k, asset.Ref{Name: "y", Serial: "S/2"})); diff != "" {
		t.Errorf("everybody's (-want +got):\n%s", diff)
	}
	_, err := k.Propose(t.Context(), srv, "root", 20)
	wantCode(t, err, fault.Unsupported)
	_, err = k.ImportManifest(t.Context(), strings.NewReader("serial,mac,user,password\nS,,root,p\n"))
	wantCode(t, err, fault.Unsupported)
	has, err := k.Has(t.Context(), []secret.Machine{{Ref: srv}})
	if err != nil || !has[1] {
		t.Errorf("Has = %v, %v", has, err)
	}
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	d, err := secret.NewFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	k := &secret.Keeper{Driver: d}
	odd := asset.Ref{ID: 1, Name: "odd", Serial: "../../etc/pass wd"}
	if _, err := k.Propose(t.Context(), odd, "root", 20); err != nil {
		t.Fatal(err)
	}
	var files []string
	err = filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
		if !e.IsDir() {
			files = append(files, strings.TrimPrefix(name, dir))
		}
		return nil
	})
	if diff := cmp.Diff([]string{"/bmc/%2E%2E%2F%2E%2E%2FETC%2FPASS%20WD.json", "/lock"}, files); diff != "" || err != nil {
		t.Errorf("files (-want +got), %v:\n%s", err, diff)
	}
	// A write that cannot be finished leaves the old record.
	pending := candidates(t, k, odd)
	wantErr := errors.New("crash")
	if err := d.Update(t.Context(), secret.Ref(odd.Serial), func(r secret.Record) (secret.Record, error) {
		r.Accounts["root"] = secret.Account{}
		return r, wantErr
	}); !errors.Is(err, wantErr) {
		t.Errorf("Update = %v, want the change's error", err)
	}
	if diff := cmp.Diff(pending, candidates(t, k, odd)); diff != "" {
		t.Errorf("after a failed change (-want +got):\n%s", diff)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = secret.NewFile(dir)
	wantCode(t, err, fault.Invalid)
}

func TestDatabaseIsSealed(t *testing.T) {
	s := pgtest.New(t)
	k := &secret.Keeper{Driver: &secret.Database{Pool: s.Pool(), Ring: ring(t, 1)}}
	other := asset.Ref{ID: 2, Name: "srv-2", Serial: "OTHER"}
	c, err := k.Propose(t.Context(), srv, "root", 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Propose(t.Context(), other, "root", 20); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.Pool().QueryRow(t.Context(), `select count(*) from secret where position($1::bytea in sealed) > 0`, []byte(c.Credentials.Password)).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows hold the password in clear, %v", n, err)
	}

	// The key is exchanged: the old one opens, the new one seals, then the old one is not needed.
	both := &secret.Database{Pool: s.Pool(), Ring: ring(t, 2, 1)}
	if n, err := both.Rotate(t.Context()); n != 2 || err != nil {
		t.Errorf("Rotate = %d, %v, want 2", n, err)
	}
	if n, err := both.Rotate(t.Context()); n != 0 || err != nil {
		t.Errorf("second Rotate = %d, %v, want 0", n, err)
	}
	k.Driver = &secret.Database{Pool: s.Pool(), Ring: ring(t, 2)}
	if got := candidates(t, k, srv); len(got) != 1 || got[0].Password != c.Credentials.Password {
		t.Error("after the rotation the password is another")
	}
	old := &secret.Keeper{Driver: &secret.Database{Pool: s.Pool(), Ring: ring(t, 1)}}
	_, err = old.Candidates(t.Context(), srv, "root")
	wantCode(t, err, fault.NoSecret)

	// Rows that were exchanged or changed do not open.
	if _, err := s.Pool().Exec(t.Context(), `update secret a set sealed = b.sealed from secret b where a.ref = 'bmc/ABC123' and b.ref = 'bmc/OTHER'`); err != nil {
		t.Fatal(err)
	}
	_, err = k.Candidates(t.Context(), srv, "root")
	wantCode(t, err, fault.Internal)
	if _, err := s.Pool().Exec(t.Context(), `update secret set sealed = set_byte(sealed, 80, get_byte(sealed, 80) # 1) where ref = 'bmc/OTHER'`); err != nil {
		t.Fatal(err)
	}
	_, err = k.Candidates(t.Context(), other, "root")
	wantCode(t, err, fault.Internal)
}

func TestReadRing(t *testing.T) {
	write := func(content string, mode os.FileMode) string {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	if _, err := secret.ReadRing(write("# new\n"+key+"\n\n", 0o600)); err != nil {
		t.Errorf("good file: %v", err)
	}
	for name, path := range map[string]string{
		"missing":       filepath.Join(t.TempDir(), "none"),
		"readable":      write(key, 0o644),
		"empty":         write("# nothing\n", 0o600),
		"short":         write("AQEB\n", 0o600),
		"not in base64": write("what?\n", 0o600),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := secret.ReadRing(path)
			if f := wantCode(t, err, fault.Invalid); strings.Contains(f.Message, "what?") || strings.Contains(f.Message, "AQEB") {
				t.Errorf("the key stands in the error: %v", f)
			}
		})
	}
}
