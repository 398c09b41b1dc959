package templates

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

func builtin(t *testing.T) *Set {
	t.Helper()
	s, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func machine(t *testing.T, name string) Machine {
	t.Helper()
	for _, s := range Samples() {
		if s.Name == name {
			return s.Machine
		}
	}
	t.Fatalf("no sample %s", name)
	return Machine{}
}

// Every file of every sample, byte for byte: look at every line of the diff, then run with -update.
// test/e2e/templates gives what stands in testdata to the formats' own checkers.
func TestGolden(t *testing.T) {
	s := builtin(t)
	if *update {
		if err := os.RemoveAll("testdata"); err != nil {
			t.Fatal(err)
		}
	}
	want, got := map[string]string{}, map[string]string{}
	for _, sample := range Samples() {
		files, err := s.Files(sample.Machine)
		if err != nil {
			t.Fatalf("%s: %v", sample.Name, err)
		}
		for _, f := range files {
			name := filepath.Join("testdata", sample.Name, f.Name)
			got[name] = string(f.Data)
			if *update {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stored, err := filepath.Glob("testdata/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stored {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = string(raw)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a file tells a machine to fetch from its one-time URL is served, or is a stage.
func TestEverythingAdvertisedIsServed(t *testing.T) {
	s := builtin(t)
	for _, sample := range Samples() {
		files, err := s.Files(sample.Machine)
		if err != nil {
			t.Fatal(err)
		}
		served := map[string]bool{"": true} // NoCloud adds the names itself
		for _, f := range files {
			served[f.Name] = true
		}
		for _, f := range files {
			for _, rest := range strings.Split(string(f.Data), sample.Machine.Boot.Base+"/")[1:] {
				name := rest[:strings.IndexAny(rest+" ", "' \n\"")]
				if !served[name] {
					t.Errorf("%s: %s names %q, which is not served", sample.Name, f.Name, name)
				}
			}
		}
	}
}

func TestListNamesEveryEmbeddedFile(t *testing.T) {
	var have []string
	err := fs.WalkDir(embedded, "files", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			have = append(have, strings.TrimSuffix(strings.TrimPrefix(path, "files/"), suffix))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, i := range builtin(t).List() {
		listed = append(listed, i.Name)
		if i.What == "" || i.Overridden {
			t.Errorf("%+v", i)
		}
	}
	if diff := cmp.Diff(have, listed); diff != "" || !slices.IsSorted(listed) {
		t.Errorf("(-embedded +listed):\n%s", diff)
	}
}

func TestOverrides(t *testing.T) {
	file := func(text string) fstest.MapFS {
		return fstest.MapFS{"nocloud/meta-data.tmpl": {Data: []byte(text)}, "README.md": {Data: []byte("{{")}, ".git/x.tmpl": {Data: []byte("{{")}}
	}
	s, err := Load(file("instance-id: mine-{{.Operation}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if errs := s.Check(); len(errs) > 0 {
		t.Errorf("Check: %v", errs)
	}
	f, err := s.File(machine(t, "image-uefi"), "meta-data")
	if err != nil || string(f.Data) != "instance-id: mine-op_01JCAGENUT0000000000000000\n" {
		t.Errorf("%q, %v", f.Data, err)
	}
	for _, i := range s.List() {
		if i.Overridden != (i.Name == "nocloud/meta-data") {
			t.Errorf("%+v", i)
		}
	}
	for name, tc := range map[string]struct {
		overrides fs.FS
		want      []string
	}{
		"syntax":           {file("a\nb\n{{if}}\n"), []string{"nocloud/meta-data.tmpl:3: ", "correct the template"}},
		"unknown function": {file("\n{{shell .Operation}}"), []string{"nocloud/meta-data.tmpl:2: ", `"shell" not defined`}},
		"unknown name":     {fstest.MapFS{"debian/preseed.tmpl": {Data: []byte("x")}}, []string{"debian/preseed.tmpl: no template has this name", "debian/preseed.cfg"}},
		"empty":            {file(" \n"), []string{"it is empty"}},
		"defines another":  {file(`{{define "hook/hook.sh"}}{{end}}x`), []string{`it defines "hook/hook.sh"`}},
		"two at once": {fstest.MapFS{"a.tmpl": {Data: []byte("x")}, "hook/hook.sh.tmpl": {Data: []byte("{{")}},
			[]string{"a.tmpl: ", "hook/hook.sh.tmpl:1: "}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(tc.overrides)
			for _, part := range tc.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("Load: %v; want %q", err, part)
				}
			}
		})
	}
	// What only fails when it is rendered is seen by Check, with file and line.
	s, err = Load(file("a\n{{.Hostname}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if errs := s.Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "nocloud/meta-data.tmpl:2: ") {
		t.Errorf("Check: %v", errs)
	}
	s, err = Load(fstest.MapFS{"cmdline/agent.tmpl": {Data: []byte("quiet\nshell\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if errs := s.Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "cmdline/agent has several lines") {
		t.Errorf("Check of two lines: %v", errs)
	}
	s, err = Load(file("a\n{{.Hostname}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var loadErr LoadError
	if _, err := s.Files(machine(t, "image-uefi")); !errors.As(err, &loadErr) || loadErr.Line != 2 {
		t.Errorf("Files: %v", err)
	}
}

func TestFile(t *testing.T) {
	s := builtin(t)
	if _, err := s.File(machine(t, "image-uefi"), "preseed.cfg"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a preseed for an image: %v", err)
	}
	var problems Problems
	if _, err := s.File(Machine{}, "hook.sh"); !errors.As(err, &problems) {
		t.Errorf("no machine: %v", err)
	}
	local, err := s.Local()
	if err != nil || !strings.HasPrefix(string(local), "#!ipxe\n") {
		t.Errorf("local boot: %q, %v", local, err)
	}
}

// Many machines are answered at once; the race detector watches.
func TestASetServesManyAtOnce(t *testing.T) {
	s := builtin(t)
	var all sync.WaitGroup
	for _, sample := range slices.Repeat(Samples(), 3) {
		all.Go(func() {
			if _, err := s.Files(sample.Machine); err != nil {
				t.Errorf("%s: %v", sample.Name, err)
			}
		})
	}
	all.Wait()
}
