//go:build e2e

// Package install accepts the box's default rack over a real NetBox 4.7.3, with the product's programs
// in processes of their own, and looks at the result through NetBox's API and changelog.
//
// NETBOX_DIR names the folder of a NetBox that test/e2e/scripts/netbox-up.sh started or is to start;
// without it the test starts one of its own and stops it. `make build` must have made bin/.
package install

import (
	"bufio"
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

const script = "../scripts/netbox-up.sh"

// server is set by TestMain before any test runs and never changes.
var server netboxtest.Server

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
	for _, what := range []string{"up", "reset"} {
		if err := command(dir, what); err != nil {
			return fail(err)
		}
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

// counter stands between the product and NetBox and counts what goes through.
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
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = to.Host
	}}
	c := &counter{seen: map[string]int{}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.all++
		c.seen[r.Method+" "+strings.Trim(r.URL.Path, "/0123456789")]++
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	c.URL = web.URL
	return c
}

// since gives how many requests came since the last call, and which.
func (c *counter) since() (int, map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, seen := c.all, c.seen
	c.all, c.seen = 0, map[string]int{}
	return n, seen
}
