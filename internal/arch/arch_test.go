// Package arch holds no code: its test holds the rules of who may know whom, which
// docs/architecture.md explains. The linter says the same of direct imports while one types
// (.golangci.yml); this test also sees what is reached through others.
package arch

import (
	"encoding/json"
	"os/exec"
	"path"
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
}

// rule forbids packages that match from to import (or, when deep, to reach) packages that match to.
type rule struct {
	why    string
	from   []string // path patterns below the module, "..." matches the rest
	except []string
	to     []string // path patterns; a leading "./" is below the module
	allow  []string // exceptions to to
	deep   bool
}

var adapters = []string{"./inventory/netbox", "./bmc/redfish/...", "./bmc/ipmi", "./bmc/broker", "./internal/postgres", "./internal/secret", "./internal/boot"}

var rules = []rule{
	{
		why:  "1: pure packages do no I/O",
		from: []string{"internal/asset", "internal/profile", "internal/plan", "internal/audit", "internal/fault"},
		to:   []string{"./...", "net/http", "os", "os/...", "database/...", "go.temporal.io/...", "github.com/...", "time/tzdata"},
		allow: []string{"./internal/asset", "./internal/profile", "./internal/plan", "./internal/audit", "./internal/fault",
			"github.com/gowebpki/jcs"},
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
		from: []string{"inventory/netbox", "bmc/redfish/...", "bmc/ipmi", "bmc/broker"},
		to:   []string{"go.temporal.io/...", "github.com/jackc/...", "./workflows", "./activities", "./internal/postgres", "./internal/api/..."},
		deep: true,
	},
	{
		why:  "4: an adapter never knows another adapter",
		from: []string{"bmc/..."},
		to:   []string{"./inventory/..."},
		deep: true,
	},
	{
		why:  "5: API and pages read PostgreSQL and steer through internal/operation",
		from: []string{"internal/api/...", "internal/web/..."},
		to:   append([]string{"./workflows", "./activities", "./internal/sim/...", "github.com/jackc/..."}, adapters...),
	},
	{
		why:  "6: the box, the development stack and the Temporal server are for development only",
		from: []string{"..."},
		except: []string{"internal/sim/...", "internal/devstack/...", "cmd/cagenut-dev", "test/...", "internal/postgres/pgtest",
			"inventory/inventorytest", "inventory/netbox/netboxtest"},
		to: []string{"./internal/sim/...", "./internal/devstack/...", "./internal/postgres/pgtest", "go.temporal.io/server/...",
			"./inventory/inventorytest", "./inventory/netbox/netboxtest"},
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

// TestNoInit holds that nothing happens by being imported.
func TestNoInit(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "grep", "-nE", `^func init\(\)`, "--", "*.go").Output()
	if err != nil && len(out) > 0 || len(out) > 0 {
		t.Errorf("init functions:\n%s", out)
	}
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Standard", "./...")
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
