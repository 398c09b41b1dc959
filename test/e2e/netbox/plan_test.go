//go:build e2e

package netbox

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox"
)

// TestPlanFor1000Servers reads everything that a plan for 1,000 servers needs, by name, from a real
// NetBox: at most 40 requests, none of them too long for gunicorn.
func TestPlanFor1000Servers(t *testing.T) {
	fresh(t)
	const servers = 1000
	script, err := filepath.Abs("../scripts/netbox-bulk.py")
	if err != nil {
		t.Fatal(err)
	}
	python := server.env["NETBOX_PYTHON"]
	shell := exec.Command(python, filepath.Join(filepath.Dir(python), "netbox"), "nbshell", "--skip-checks", "-c", fmt.Sprintf("exec(open(%q).read())", script))
	shell.Dir = server.env["NETBOX_ROOT"]
	shell.Env = append(os.Environ(), fmt.Sprintf("SERVERS=%d", servers), "NETBOX_ROOT="+server.env["NETBOX_ROOT"])
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	} else {
		t.Logf("%s", out)
	}

	var requests, failed atomic.Int64
	source := server.Client(t, server.Token, func(r netbox.Request) {
		if requests.Add(1); r.Status != 200 {
			failed.Add(1)
		}
	})
	q := inventory.Query{Site: "bulk"}
	for n := range servers {
		q.Names = append(q.Names, fmt.Sprintf("bulk-server-%06d.ams", n))
	}
	start := time.Now()
	found, err := source.Find(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	finding := requests.Load()
	var ids []asset.ID
	for _, d := range found {
		ids = append(ids, d.ID)
	}
	described, err := source.Describe(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests (%d to find) in %v", requests.Load(), finding, time.Since(start).Round(time.Millisecond))
	if n := requests.Load(); n > 40 || failed.Load() > 0 {
		t.Errorf("%d requests, %d of them failed; want at most 40 and none", n, failed.Load())
	}
	for n, d := range described {
		i := d.Interfaces
		if d.Name != q.Names[n] || d.Serial != fmt.Sprintf("BULK%06d", n) || len(i) != 8 || len(d.PrimaryPool) != 1 ||
			d.PrimaryPool[0] != netip.MustParsePrefix("10.200.0.0/16") || !d.OOB.IsValid() ||
			len(i[0].Addresses) != 1 || i[0].Addresses[0] != d.OOB || !i[0].Mgmt || len(i[7].MACs) != 1 ||
			i[1].Cable == nil || i[1].Cable.Status != "planned" || i[1].Cable.Peer != fmt.Sprintf("bulk-sw-%02d", n/40) || i[3].Cable != nil {
			t.Fatalf("server %d is not complete: %+v", n, d)
		}
	}
	if len(described) != servers {
		t.Errorf("%d servers, want %d", len(described), servers)
	}
}
