//go:build e2e

// Package netbox runs the NetBox driver against a real NetBox 4.7.3.
//
// NETBOX_DIR names the folder of a NetBox that test/e2e/scripts/netbox-up.sh started or is to start,
// so that the stages of e2e share one; without it the tests start one of their own and stop it. Each
// test resets the database first.
package netbox

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/inventory/netbox/netboxtest"
)

const script = "../scripts/netbox-up.sh"

// real is the NetBox that TestMain started, with what its env file says.
type real struct {
	netboxtest.Server
	dir string
	env map[string]string
}

// server is set by TestMain before any test runs and never changes.
var server real

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir := os.Getenv("NETBOX_DIR")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "cagenut-netbox"); err != nil {
			return fail(err)
		}
		defer os.RemoveAll(dir)
		defer command(dir, "stop")
	}
	if err := command(dir, "up"); err != nil {
		return fail(err)
	}
	f, err := os.Open(filepath.Join(dir, "env"))
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	server = real{dir: dir, env: map[string]string{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), "=")
		server.env[k] = v
	}
	server.Server = netboxtest.Server{URL: server.env["NETBOX_URL"], AdminToken: server.env["NETBOX_TOKEN"], Token: server.env["NETBOX_CAGENUT_TOKEN"]}
	return m.Run()
}

// fresh empties NetBox's database: the service account is there, with the rights that Setup gave it.
func fresh(t *testing.T) {
	t.Helper()
	if err := command(server.dir, "reset"); err != nil {
		t.Fatal(err)
	}
}

func command(dir, what string) error {
	c := exec.Command(script, dir, what)
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s %s: %w", script, dir, what, err)
	}
	return nil
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
