// Package templates holds what machines boot and install from: iPXE scripts, kernel arguments,
// preseed, autoinstall, kickstart and cloud-init files.
//
// Words
//
//   - Machine: the one typed input of every template (machine.go). It is validated as a whole before
//     anything is rendered (validate.go), and a value that is missing is an error, never a blank.
//   - Template: a text/template in files/, named by its path there without .tmpl. A user's folder may
//     hold others of the same names, which then take their place; other names are refused.
//   - Set: the templates that are in force. List says where each comes from, Check renders them all
//     for Samples.
//   - File: what the boot service serves below the machine's one-time URL (Machine.Boot.Base).
//   - Stage: what the machine reports while it installs; hook/hook.sh reports them all.
//   - Quoting: every format has a function (quote.go) that keeps a value inside its field or fails.
//     A template of a user's that writes {{.X}} without one has the validation alone to trust.
//
// The package does no I/O but through the fs.FS that Load is given. A Set is read-only after Load
// and so safe for concurrent use.
package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/cagenut/cagenut/internal/profile"
)

//go:embed files
var embedded embed.FS

const suffix = ".tmpl"

// about says what each template is, and is the list of their names.
var about = []struct{ name, what string }{
	{"cmdline/agent", "kernel arguments of the agent in RAM"},
	{"cmdline/autoinstall", "kernel arguments of Ubuntu's installer"},
	{"cmdline/kickstart", "kernel arguments of RHEL's installer"},
	{"cmdline/preseed", "kernel arguments of Debian's installer"},
	{"debian/preseed.cfg", "Debian's answers"},
	{"hook/hook.sh", "reports the stages and finishes the installed system"},
	{"ipxe/agent.ipxe", "boots the agent in RAM"},
	{"ipxe/installer.ipxe", "boots the installer"},
	{"ipxe/local.ipxe", "boots the disk; also what an unknown machine gets"},
	{"nocloud/meta-data", "cloud-init's instance"},
	{"nocloud/network-config", "cloud-init's network"},
	{"nocloud/user-data", "cloud-init's configuration of an image"},
	{"rhel/kickstart.cfg", "answers for RHEL and its family"},
	{"ubuntu/user-data", "Ubuntu's autoinstall"},
}

// Set is the templates in force.
type Set struct {
	all        *template.Template
	funcs      template.FuncMap
	overridden map[string]bool
}

// Info describes a template of a set.
type Info struct {
	Name       string `json:"name"`
	What       string `json:"what"`
	Overridden bool   `json:"overridden"` // it comes from the user's folder
}

// LoadError is something that is wrong with a user's template.
type LoadError struct {
	File   string
	Line   int // 0: unknown
	Reason string
	Remedy string
}

func (e LoadError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	return at + ": " + e.Reason + ": " + e.Remedy
}

// Load parses the built-in templates and, over them, those of a user's folder; nil is none. The
// error joins a LoadError for everything that is wrong.
func Load(overrides fs.FS) (*Set, error) {
	builtin, err := fs.Sub(embedded, "files")
	if err != nil {
		return nil, err
	}
	s := &Set{overridden: map[string]bool{}}
	s.funcs = functions(s.execute)
	s.all = template.New("").Option("missingkey=error").Funcs(s.funcs)
	for _, a := range about {
		text, err := fs.ReadFile(builtin, a.name+suffix)
		if err != nil {
			return nil, fmt.Errorf("built-in template %s: %w", a.name, err)
		}
		if _, err := s.all.New(a.name).Parse(string(text)); err != nil {
			return nil, loadError(a.name+suffix, err)
		}
	}
	if overrides == nil {
		return s, nil
	}
	var problems []error
	err = fs.WalkDir(overrides, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			problems = append(problems, LoadError{File: path, Reason: reason(err), Remedy: "make it readable for this user"})
			return nil
		case path != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || !strings.HasSuffix(path, suffix):
			return nil
		}
		if err := s.override(overrides, path); err != nil {
			problems = append(problems, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return s, nil
}

func (s *Set) override(overrides fs.FS, path string) error {
	name := strings.TrimSuffix(path, suffix)
	if !slices.ContainsFunc(about, func(a struct{ name, what string }) bool { return a.name == name }) {
		return LoadError{File: path, Reason: "no template has this name", Remedy: "use one of " + strings.Join(names(), ", ")}
	}
	text, err := fs.ReadFile(overrides, path)
	if err != nil {
		return LoadError{File: path, Reason: reason(err), Remedy: "make it readable for this user"}
	}
	// Parsed apart first: what a file defines beside itself would otherwise replace others.
	own, err := template.New(name).Funcs(s.funcs).Parse(string(text))
	if err != nil {
		return loadError(path, err)
	}
	for _, t := range own.Templates() {
		if t.Name() != name {
			return LoadError{File: path, Reason: "it defines " + strconv.Quote(t.Name()), Remedy: "put one template a file"}
		}
	}
	if own.Tree == nil || len(strings.TrimSpace(string(text))) == 0 {
		return LoadError{File: path, Reason: "it is empty", Remedy: "remove it, and the built-in template is used"}
	}
	if _, err := s.all.AddParseTree(name, own.Tree); err != nil {
		return loadError(path, err)
	}
	s.overridden[name] = true
	return nil
}

// The library's messages begin with "template: NAME:LINE:" or "template: NAME:LINE:COLUMN:".
var atLine = regexp.MustCompile(`^template: [^:]*:(\d+)(?::\d+)?: (.*)$`)

func loadError(file string, err error) error {
	if m := atLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return LoadError{File: file, Line: line, Reason: m[2], Remedy: "correct the template"}
	}
	return LoadError{File: file, Reason: err.Error(), Remedy: "correct the template"}
}

func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

func names() []string {
	out := make([]string, len(about))
	for i, a := range about {
		out[i] = a.name
	}
	return out
}

// List describes the templates by name.
func (s *Set) List() []Info {
	out := make([]Info, len(about))
	for i, a := range about {
		out[i] = Info{Name: a.name, What: a.what, Overridden: s.overridden[a.name]}
	}
	return out
}

// Check renders everything for every sample and gives an error for each template that cannot be.
func (s *Set) Check() []error {
	var out []error
	if _, err := s.Local(); err != nil {
		out = append(out, err)
	}
	seen := map[string]bool{}
	for _, sample := range Samples() {
		for _, served := range served(sample.Machine) {
			if _, err := s.execute(served.template, sample.Machine); err != nil && !seen[err.Error()] {
				seen[err.Error()] = true
				out = append(out, fmt.Errorf("for the sample %s: %w", sample.Name, err))
			}
		}
	}
	return out
}

// File is a rendered file, by its name below the machine's one-time URL.
type File struct {
	Name string
	Type string // media type
	Data []byte
}

// Files renders all that is served to a machine. The error is of type Problems when the machine is
// not known well enough.
func (s *Set) Files(m Machine) ([]File, error) {
	if problems := m.Validate(); len(problems) > 0 {
		return nil, Problems(problems)
	}
	var out []File
	for _, f := range served(m) {
		data, err := s.execute(f.template, m)
		if err != nil {
			return nil, err
		}
		out = append(out, File{f.name, f.kind, data})
	}
	return out, nil
}

// File renders one file that is served to a machine; fs.ErrNotExist when there is none of the name.
func (s *Set) File(m Machine, name string) (File, error) {
	if problems := m.Validate(); len(problems) > 0 {
		return File{}, Problems(problems)
	}
	for _, f := range served(m) {
		if f.name != name {
			continue
		}
		data, err := s.execute(f.template, m)
		if err != nil {
			return File{}, err
		}
		return File{f.name, f.kind, data}, nil
	}
	return File{}, fmt.Errorf("template: %s is not served to a machine that is installed by %s: %w", name, m.Method(), fs.ErrNotExist)
}

// Local renders the script that boots the disk. It needs no machine: it is what anything gets that
// is not being installed.
func (s *Set) Local() ([]byte, error) { return s.execute("ipxe/local.ipxe", Machine{}) }

const (
	plainKind = "text/plain; charset=utf-8"
	yamlKind  = "text/yaml; charset=utf-8"
)

type service struct{ name, template, kind string }

// served says which files a machine is served, and from which templates.
func served(m Machine) []service {
	out := []service{
		{"agent.ipxe", "ipxe/agent.ipxe", plainKind},
		{"agent.cmdline", "cmdline/agent", plainKind},
		{"local.ipxe", "ipxe/local.ipxe", plainKind},
		{"hook.sh", "hook/hook.sh", plainKind},
	}
	if m.Method() != profile.WriteImage {
		out = append(out, service{"installer.ipxe", "ipxe/installer.ipxe", plainKind}, service{"installer.cmdline", "cmdline/" + m.Method(), plainKind})
	}
	switch m.Method() {
	case profile.Preseed:
		out = append(out, service{"preseed.cfg", "debian/preseed.cfg", plainKind})
	case profile.Autoinstall:
		out = append(out, service{"user-data", "ubuntu/user-data", yamlKind}, service{"meta-data", "nocloud/meta-data", yamlKind}, service{"vendor-data", "", plainKind})
	case profile.Kickstart:
		out = append(out, service{"kickstart.cfg", "rhel/kickstart.cfg", plainKind})
	case profile.WriteImage:
		out = append(out, service{"user-data", "nocloud/user-data", yamlKind}, service{"meta-data", "nocloud/meta-data", yamlKind},
			service{"network-config", "nocloud/network-config", yamlKind}, service{"vendor-data", "", plainKind})
	}
	return out
}

func (s *Set) execute(name string, m Machine) ([]byte, error) {
	if name == "" { // cloud-init asks for vendor-data too, and logs a 404 as an error
		return []byte{}, nil
	}
	var b bytes.Buffer
	if err := s.all.ExecuteTemplate(&b, name, m); err != nil {
		file := name + suffix
		if !s.overridden[name] {
			file = "built-in " + file
		}
		return nil, loadError(file, err)
	}
	return b.Bytes(), nil
}
