package cli

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/api/apitest"
	"github.com/cagenut/cagenut/internal/operation"
)

var update = flag.Bool("update", false, "write the golden files anew")

// result is what a command left.
type result struct {
	code     int
	out, err string
}

func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(t.Context(), Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs}, args)
	return result{code, out.String(), errs.String()}
}

// alone gives the test an environment without logins or variables of ours.
func alone(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "CAGENUT_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Chdir(t.TempDir())
}

// loggedIn starts an API and points the environment at it.
func loggedIn(t *testing.T, machines int, role operation.Role) *apitest.API {
	t.Helper()
	alone(t)
	a := apitest.Start(t, machines)
	t.Setenv("CAGENUT_URL", a.URL)
	t.Setenv("CAGENUT_TOKEN", a.Token(t, "alice", role))
	return a
}

var ids = regexp.MustCompile(`(op|tok)_[0-9A-Z]{26}`)

// golden compares output with a file, with IDs, ages and the server's port made equal.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = ids.ReplaceAllString(got, "${1}_00000000000000000000000000")
	got = regexp.MustCompile(`\d+ ms`).ReplaceAllString(got, "N ms")
	path := filepath.Join(source, "testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it)\n%s", name, diff)
	}
}

var source = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

func install(t *testing.T, names ...string) operation.ID {
	t.Helper()
	r := run(t, "", append([]string{"install", "--until", "hardware", "--reason", "rack r12", "--ticket", "DC-42", "-o", "json"}, names...)...)
	if r.code != 0 {
		t.Fatalf("install: exit %d, %s", r.code, r.err)
	}
	var got struct{ ID operation.ID }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	return got.ID
}
