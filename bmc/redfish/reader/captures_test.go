//go:build e2e

package reader_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
)

// capture is a recorded BMC: bodies by path.
type capture map[string][]byte

func (c capture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, ok := c[strings.TrimSuffix(r.URL.Path, "/")]
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "read only", http.StatusMethodNotAllowed)
	case !ok:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}
}

// captures finds the recorded BMCs: tar.gz files or folders in $CAGENUT_SHARED/redfish-trees, and
// folders named in $CAGENUT_CAPTURES.
func captures(t *testing.T) map[string]capture {
	t.Helper()
	shared := os.Getenv("CAGENUT_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "..", "shared")
	}
	all := map[string]capture{}
	archives, err := filepath.Glob(filepath.Join(shared, "redfish-trees", "*.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archives {
		all[strings.TrimSuffix(filepath.Base(f), ".tar.gz")] = unpack(t, f)
	}
	for _, dir := range filepath.SplitList(os.Getenv("CAGENUT_CAPTURES")) {
		all[filepath.Base(dir)] = load(t, dir)
	}
	if len(all) == 0 {
		t.Fatalf("no captures in %s: set CAGENUT_SHARED to the folder that holds redfish-trees", shared)
	}
	return all
}

func keyOfFile(name string) (string, bool) {
	name = filepath.ToSlash(name)
	i := strings.Index(name, "redfish/v1")
	if i < 0 || !strings.HasSuffix(name, ".json") {
		return "", false
	}
	return "/" + strings.TrimSuffix(path.Dir(name[i:]), "/"), true
}

func unpack(t *testing.T, file string) capture {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	c := capture{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := keyOfFile(h.Name); ok {
			if c[key], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func load(t *testing.T, dir string) capture {
	t.Helper()
	c := capture{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		key, ok := keyOfFile(p)
		if !ok {
			return nil
		}
		c[key], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, c capture, o reader.Options) *bmc.Inventory {
	t.Helper()
	server := httptest.NewTLSServer(c)
	defer server.Close()
	o.URL = server.URL
	inv, err := reader.Read(t.Context(), httpGetter{server.URL, server.Client()}, o)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

var (
	serialName  = regexp.MustCompile(`(?i)serialnumber|servicetag|^serial$|serialno$`)
	macName     = regexp.MustCompile(`(?i)macaddress`)
	versionName = regexp.MustCompile(`(?i)firmwareversion|biosversion|firmwarepackageversion|^versionstring$|^revision$|efiversion|familyversion|firmwarerevision`)
	macForm     = regexp.MustCompile(`^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$`)
	nothing     = regexp.MustCompile(`(?i)^(n/?a|none|null|unknown|not available|not specified|not present|[0:. -]*|(ff[:-]?)*)$`)
)

// exempt gives the reason why a resource's values need not be in the output, or "".
func exempt(key string, pending map[string]bool) string {
	switch {
	case pending[key]:
		return "settings for the next boot are not hardware"
	case strings.Contains(key, "/JsonSchemas"), strings.Contains(key, "/Registries"):
		return "describes the API"
	case strings.Contains(key, "/TelemetryService"):
		return "reports repeat what the resources say"
	case strings.Contains(key, "/Entries"):
		return "logs tell of the past"
	case strings.Contains(key, "/SessionService"), strings.Contains(key, "/TaskService"), strings.Contains(key, "/JobService"):
		return "doings, not things"
	}
	return ""
}

// TestEveryValue collects by brute force every serial, MAC and firmware version in the files of a
// capture and wants each in the JSON of a complete reading.
func TestEveryValue(t *testing.T) {
	for name, c := range captures(t) {
		t.Run(name, func(t *testing.T) {
			inv := read(t, c, reader.Options{})
			var out bytes.Buffer
			enc := json.NewEncoder(&out)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(inv); err != nil {
				t.Fatal(err)
			}
			if dir := os.Getenv("CAGENUT_DUMP"); dir != "" {
				os.WriteFile(filepath.Join(dir, name+".json"), out.Bytes(), 0o600)
			}
			var printed any
			if err := json.Unmarshal(out.Bytes(), &printed); err != nil {
				t.Fatal(err)
			}
			have := map[string]bool{}
			texts(printed, "", func(_, s string) { have[strings.ToUpper(s)] = true })

			pending := map[string]bool{}
			decoded := map[string]any{}
			for key, body := range c {
				var v any
				if json.Unmarshal(body, &v) != nil {
					continue
				}
				decoded[key] = v
				if m, ok := v.(map[string]any); ok {
					if s, ok := m["@Redfish.Settings"].(map[string]any); ok {
						if o, ok := s["SettingsObject"].(map[string]any); ok {
							if id, _ := o["@odata.id"].(string); strings.TrimSuffix(id, "/") != key {
								pending[strings.TrimSuffix(id, "/")] = true
							}
						}
					}
				}
			}
			linked := reachable(decoded)
			wanted, missing := 0, map[string]string{}
			for key, v := range decoded {
				kind, _ := v.(map[string]any)["@odata.type"].(string)
				texts(v, "", func(name, s string) {
					is := serialName.MatchString(name) || macName.MatchString(name) || macForm.MatchString(s) || versionName.MatchString(name) ||
						name == "Version" && strings.HasPrefix(kind, "#SoftwareInventory")
					if !is || nothing.MatchString(strings.TrimSpace(s)) || strings.Contains(name, "@") || !linked[key] || exempt(key, pending) != "" {
						return
					}
					wanted++
					want := strings.ToUpper(s)
					if macForm.MatchString(s) {
						want = strings.ReplaceAll(want, "-", ":")
					}
					if !have[want] {
						missing[name+"="+s] = key
					}
				})
			}
			if wanted == 0 {
				t.Error("the capture holds no serial, MAC or version: the test proves nothing")
			}
			for value, key := range missing {
				t.Errorf("not in the output: %s of %s", value, key)
			}
			unread := map[string]int{}
			for _, u := range inv.Unread {
				unread[u.Reason]++
				if u.Reason != reader.ReasonNotFound {
					t.Logf("unread %+v", u)
				}
			}
			t.Logf("%d values; %d requests of %d files; unread %v; systems %d chassis %d managers %d cpus %d dimms %d controllers %d drives %d volumes %d nics %d pcie %d psus %d fans %d temps %d fw %d accounts %d certs %d events %d components %d, %d KB; identity %+v",
				wanted, inv.Requests.Count, len(c), unread, len(inv.Systems), len(inv.Chassis), len(inv.Managers), len(inv.Processors), len(inv.Memory),
				len(inv.Storage), len(inv.Drives), len(inv.Volumes), len(inv.NetworkInterfaces), len(inv.PCIeDevices), len(inv.PowerSupplies), len(inv.Fans),
				len(inv.Temperatures), len(inv.Firmware), len(inv.Accounts), len(inv.Certificates), len(inv.Events), len(inv.Components), out.Len()/1024, inv.Identity)
		})
	}
}

// reachable gives the resources that some chain of links from the ServiceRoot leads to.
func reachable(decoded map[string]any) map[string]bool {
	seen := map[string]bool{}
	next := []string{"/redfish/v1"}
	for len(next) > 0 {
		key := next[0]
		next = next[1:]
		if seen[key] || decoded[key] == nil {
			continue
		}
		seen[key] = true
		texts(decoded[key], "", func(name, s string) {
			if name == "@odata.id" || name == "href" {
				s, _, _ = strings.Cut(s, "#")
				next = append(next, strings.TrimSuffix(s, "/"))
			}
		})
	}
	return seen
}

func texts(v any, name string, f func(name, s string)) {
	switch v := v.(type) {
	case string:
		f(name, v)
	case []any:
		for _, e := range v {
			texts(e, name, f)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			texts(v[k], k, f)
		}
	}
}
