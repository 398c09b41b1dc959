// Package arch holds no code: its test holds the rules of who may know whom, which
// docs/architecture.md explains. The linter says some of them while one types
// (.golangci.yml); this test also sees what is reached through others.
package arch

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cagenut/cagenut"

// pkg is what `go list` tells about a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
	Dir        string
	GoFiles    []string
}

// rule forbids packages that match from to import (or, when deep, to reach) packages that match to.
type rule struct {
	why    string
	from   []string // path patterns below the module, "..." matches the rest
	except []string
	to     []string // path patterns; a leading "./" is below the module
	allow  []string // exceptions to to
	deep   bool
	env    bool // forbids reading the environment instead
}

var adapters = []string{"./inventory/netbox", "./bmc/redfish/...", "./bmc/ipmi", "./bmc/broker", "./configmgmt/salt", "./configmgmt/ansible", "./internal/postgres", "./internal/secret", "./internal/boot"}

var rules = []rule{
	{
		why:  "1: pure packages do no I/O",
		from: []string{"internal/asset", "internal/profile", "internal/plan", "internal/audit", "internal/fault", "internal/netconf", "internal/bootproto"},
		to:   []string{"./...", "net/http", "os", "os/...", "database/...", "go.temporal.io/...", "github.com/...", "time/tzdata"},
		allow: []string{"./internal/asset", "./internal/profile", "./internal/plan", "./internal/audit", "./internal/fault",
			"./internal/netconf", "github.com/gowebpki/jcs"},
	},
	{
		why:   "templates are rendered, not fetched",
		from:  []string{"templates"},
		to:    []string{"./...", "os", "os/...", "net/http", "database/...", "go.temporal.io/...", "github.com/..."},
		allow: []string{"./internal/asset", "./internal/profile", "./internal/netconf"},
	},
	{
		why:   "what machines reach knows the API through an interface only",
		from:  []string{"internal/boot"},
		to:    []string{"./...", "os", "os/...", "database/...", "go.temporal.io/...", "github.com/jackc/..."},
		allow: []string{"./templates", "./internal/operation", "./internal/bootproto", "./internal/asset", "./internal/fault"},
	},
	{
		why:   "the agent in RAM is small: it knows the protocol, and nothing of who is behind it",
		from:  []string{"internal/agent/...", "cmd/cagenut-agent"},
		to:    []string{"./...", "go.temporal.io/...", "google.golang.org/...", "github.com/jackc/...", "github.com/spf13/...", "github.com/prometheus/...", "go.opentelemetry.io/..."},
		allow: []string{"./internal/agent/...", "./internal/bootproto", "./internal/profile", "./internal/asset", "./internal/fault", "./internal/netconf", "./internal/version"},
		deep:  true,
	},
	{
		why:  "2: workflows order steps and touch nothing outside",
		from: []string{"workflows"},
		to:   append([]string{"net/http", "os", "github.com/jackc/...", "./internal/api/...", "./internal/web", "./internal/cli", "./internal/sim/...", "./internal/devstack/..."}, adapters...),
	},
	{
		why:  "3: activities know ports, never who implements them",
		from: []string{"activities"},
		to:   append([]string{"./workflows", "./internal/api/...", "./internal/web", "./internal/cli", "./internal/sim/..."}, adapters...),
	},
	{
		why:  "4: an adapter knows its port and the pure packages",
		from: []string{"inventory/netbox", "bmc/redfish/...", "bmc/ipmi", "bmc/broker", "configmgmt", "configmgmt/salt", "configmgmt/ansible"},
		to:   []string{"go.temporal.io/...", "github.com/jackc/...", "./workflows", "./activities", "./internal/postgres", "./internal/api/..."},
		deep: true,
	},
	{
		why:  "4: an adapter never knows another adapter",
		from: []string{"bmc/..."},
		to:   []string{"./inventory/...", "./configmgmt/..."},
		deep: true,
	},
	{
		why:  "4: nor does one of configuration management",
		from: []string{"configmgmt/..."},
		to:   []string{"./inventory/...", "./bmc/..."},
		deep: true,
	},
	{
		why:  "4: Salt does not know Ansible",
		from: []string{"configmgmt/salt"},
		to:   []string{"./configmgmt/ansible"},
		deep: true,
	},
	{
		why:  "4: nor Ansible Salt",
		from: []string{"configmgmt/ansible"},
		to:   []string{"./configmgmt/salt"},
		deep: true,
	},
	{
		why:  "5: API and pages read PostgreSQL and steer through internal/operation",
		from: []string{"internal/api/...", "internal/web/..."},
		to:   append([]string{"./workflows", "./activities", "./internal/sim/...", "github.com/jackc/..."}, adapters...),
	},
	{
		why:  "5: commands talk to the API; what runs servers is wired in internal/server",
		from: []string{"internal/cli"},
		to:   append([]string{"./workflows", "./activities", "go.temporal.io/...", "github.com/jackc/..."}, adapters...),
		// bmc read dials one BMC; the first token and a restored audit chain are PostgreSQL's; config check opens what is configured.
		allow: []string{"./bmc/redfish", "./bmc/redfish/reader", "./bmc/ipmi", "./bmc/broker", "./internal/postgres", "./internal/secret"},
	},
	{
		why:  "7: only the command layer, and internal/server, which wires for it, read the environment",
		from: []string{"internal/...", "workflows", "activities", "inventory/...", "bmc/...", "templates"},
		env:  true,
		except: []string{"internal/cli", "internal/server", "internal/devstack/...", "internal/login", "internal/postgres/pgtest", "internal/sim/...",
			"bmc/redfish/reader/bench", "bmc/redfish/reader/readertest", "inventory/netbox/netboxtest"},
	},
	{
		why:  "6: the box, the development stack and the Temporal server are for development only",
		from: []string{"..."},
		except: []string{"internal/sim/...", "internal/devstack/...", "cmd/cagenut-dev", "test/...", "internal/postgres/pgtest",
			"inventory/inventorytest", "inventory/netbox/netboxtest", "configmgmt/configmgmttest"},
		to: []string{"./internal/sim/...", "./internal/devstack/...", "./internal/postgres/pgtest", "go.temporal.io/server/...",
			"./inventory/inventorytest", "./inventory/netbox/netboxtest", "./configmgmt/configmgmttest"},
		deep: true,
	},
}

func TestWhoMayKnowWhom(t *testing.T) {
	pkgs := list(t)
	for _, r := range rules {
		matched := false
		for _, p := range pkgs {
			name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			if !matchAny(r.from, name) || matchAny(r.except, name) {
				continue
			}
			matched = true
			if r.env {
				readsEnvironment(t, p)
				continue
			}
			known := p.Imports
			if r.deep {
				known = p.Deps
			}
			for _, dep := range known {
				if matchDep(r.to, dep) && !matchDep(r.allow, dep) {
					t.Errorf("rule %s: %s must not know %s", r.why, p.ImportPath, dep)
				}
			}
		}
		if !matched {
			t.Errorf("rule %s: matches no package, so it holds nothing", r.why)
		}
	}
}

// readsEnvironment looks for os.Getenv and the like in a package's own files.
func readsEnvironment(t *testing.T, p pkg) {
	t.Helper()
	for _, name := range p.GoFiles {
		raw, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if found := environment.FindString(comment.ReplaceAllString(string(raw), "")); found != "" {
			t.Errorf("rule 7: %s/%s uses %s: only the command layer reads the environment", p.ImportPath, name, found)
		}
	}
}

var (
	environment = regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Environ)\b`)
	comment     = regexp.MustCompile(`(?m)//.*$`)
)

// TestNoInit holds that nothing happens by being imported.
func TestNoInit(t *testing.T) {
	for _, p := range list(t) {
		for _, name := range p.GoFiles {
			raw, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(raw, []byte("\nfunc init()")) {
				t.Errorf("%s/%s has an init function", p.ImportPath, name)
			}
		}
	}
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Standard,Dir,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	var pkgs []pkg
	for dec.More() {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func matchDep(patterns []string, dep string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if rest, ok := strings.CutPrefix(p, "./"); ok {
			name, inside := strings.CutPrefix(dep, module+"/")
			return inside && match(rest, name)
		}
		return match(p, dep)
	})
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

func match(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == prefix || strings.HasPrefix(name, prefix+"/")
	}
	ok, _ := path.Match(pattern, name)
	return ok
}
