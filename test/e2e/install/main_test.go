//go:build e2e

// Package install takes the box's default rack from planned to active over a real NetBox 4.7.3, a real
// Salt and a real Ansible, with the product's programs in processes of their own, and looks at the result
// in NetBox's API and changelog, in Salt, and in what our API tells.
//
// The machines of the box have no network but their BMCs'. What a minion tells of links, and what SSH
// connects to, is real all the same: the test runs in a network namespace that has a link for each of
// their ports (network_test.go), for which it must be root. NetBox and all else run in there too.
// `make build` must have made bin/.
package install

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cagenut/cagenut/inventory/netbox/netboxtest"
)

const (
	script = "../scripts/netbox-up.sh"
	venvs  = "../scripts/configmgmt-venv.sh"
)

// server is set by TestMain before any test runs and never changes.
var server netboxtest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir := os.Getenv(inside)
	if dir == "" {
		return again()
	}
	if err := errors.Join(ip("link set lo up\n"), command(dir, "up"), command(dir, "reset")); err != nil {
		return fail(err)
	}
	f, err := os.Open(filepath.Join(dir, "env"))
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	env := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), "=")
		env[k] = v
	}
	server = netboxtest.Server{URL: env["NETBOX_URL"], AdminToken: env["NETBOX_TOKEN"], Token: env["NETBOX_CAGENUT_TOKEN"]}
	return m.Run()
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

// counter stands between the product and NetBox and counts what is answered: on a machine under load a
// request may be given up and made again, which is not what is measured.
type counter struct {
	URL string

	mu   sync.Mutex
	seen map[string]int // by method and path without IDs
	all  int
}

func count(t *testing.T, target string) *counter {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{seen: map[string]int{}}
	web := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = to.Host
		},
		ModifyResponse: func(r *http.Response) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all++
			c.seen[r.Request.Method+" "+strings.Trim(r.Request.URL.Path, "/0123456789")]++
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.seen[givenUp]++
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	t.Cleanup(web.Close)
	c.URL = web.URL
	return c
}

// givenUp is how a counter counts what was not waited for. The call that gave up makes all of its requests
// again, so that each may cost that many more.
const (
	givenUp = "given up"
	remade  = 6
)

// since gives how many requests were answered since the last call, and which.
func (c *counter) since() (int, map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, seen := c.all, c.seen
	c.all, c.seen = 0, map[string]int{}
	return n, seen
}
