//go:build e2e

package reader_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/redfish/reader"
	"github.com/cagenut/cagenut/bmc/redfish/reader/readertest"
)

// captures finds the recorded BMCs: archives in $CAGENUT_SHARED/redfish-trees (or ../shared beside
// the repository), and the folders and archives named in $CAGENUT_CAPTURES.
func captures(t *testing.T) map[string]readertest.Tree {
	t.Helper()
	shared := os.Getenv("CAGENUT_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "..", "shared")
	}
	names, err := filepath.Glob(filepath.Join(shared, "redfish-trees", "*.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no captures in %s/redfish-trees: set CAGENUT_SHARED to the folder that holds redfish-trees", shared)
	}
	all := map[string]readertest.Tree{}
	for _, name := range append(names, filepath.SplitList(os.Getenv("CAGENUT_CAPTURES"))...) {
		tree, err := readertest.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".tar.gz")] = tree
	}
	return all
}

func read(t *testing.T, tree readertest.Tree, o reader.Options) *bmc.Inventory {
	t.Helper()
	server := httptest.NewServer(readertest.NewService(readertest.Config{Tree: tree, Expand: !o.NoExpand}))
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
func exempt(key string, pending, linked map[string]bool) string {
	switch {
	case pending[key]:
		return "settings for the next boot are not hardware"
	case !linked[key]:
		return "no link leads to it"
	}
	for part, why := range map[string]string{
		"/JsonSchemas": "describes the API", "/Registries": "describes the API", "/TelemetryService": "reports repeat what the resources say",
		"/SessionService": "doings, not things", "/TaskService": "doings, not things", "/JobService": "doings, not things",
		"/Entries": "logs tell of the past",
	} {
		if strings.Contains(key, part) {
			return why
		}
	}
	return ""
}

// TestEveryValue collects by brute force every serial, MAC and firmware version in the files of a
// capture and wants each in the JSON of a complete reading, with and without $expand.
func TestEveryValue(t *testing.T) {
	for name, tree := range captures(t) {
		for _, noExpand := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "/plain", false: "/expanded"}[noExpand], func(t *testing.T) {
				everyValue(t, tree, read(t, tree, reader.Options{NoExpand: noExpand}))
			})
		}
	}
}

func everyValue(t *testing.T, tree readertest.Tree, inv *bmc.Inventory) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(inv); err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("CAGENUT_DUMP"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+".json"), out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var printed any
	if err := json.Unmarshal(out.Bytes(), &printed); err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "..", "docs", "schema", "inventory.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(printed); err != nil {
		t.Error(err)
	}
	have := map[string]bool{}
	texts(printed, "", func(_, s string) { have[strings.ToUpper(s)] = true })

	decoded := map[string]any{}
	for key, body := range tree {
		var v any
		if json.Unmarshal(body, &v) == nil {
			decoded[key] = v
		}
	}
	pending, linked := pendingObjects(decoded), reachable(decoded)
	wanted, exempted := 0, map[string]int{}
	for key, v := range decoded {
		o, _ := v.(map[string]any)
		kind, _ := o["@odata.type"].(string)
		texts(v, "", func(name, s string) {
			is := serialName.MatchString(name) || macName.MatchString(name) || macForm.MatchString(s) || versionName.MatchString(name) ||
				name == "Version" && strings.HasPrefix(kind, "#SoftwareInventory")
			if !is || nothing.MatchString(strings.TrimSpace(s)) || strings.Contains(name, "@") {
				return
			}
			want := strings.ToUpper(s)
			if macForm.MatchString(s) {
				want = strings.ReplaceAll(want, "-", ":")
			}
			if why := exempt(key, pending, linked); why != "" {
				if !have[want] {
					exempted[why]++
					t.Logf("exempt, %s: %s=%s of %s", why, name, s, key)
				}
				return
			}
			wanted++
			if !have[want] {
				t.Errorf("not in the output: %s=%s of %s", name, s, key)
			}
		})
	}
	if wanted == 0 {
		t.Error("the capture holds no serial, MAC or version: the test proves nothing")
	}
	unread := map[string]int{}
	for _, u := range inv.Unread {
		unread[u.Reason]++
		if u.Reason != reader.ReasonNotFound {
			t.Logf("unread %+v", u)
		}
	}
	t.Logf("%d values wanted, exempt and missing %v; %d requests for %d files; unread %v", wanted, exempted, inv.Requests.Count, len(tree), unread)
	t.Logf("systems %d chassis %d managers %d processors %d memory %d controllers %d drives %d volumes %d nics %d pcie %d psus %d fans %d temperatures %d firmware %d accounts %d certificates %d events %d components %d, %d KB; %+v",
		len(inv.Systems), len(inv.Chassis), len(inv.Managers), len(inv.Processors), len(inv.Memory), len(inv.Storage), len(inv.Drives), len(inv.Volumes),
		len(inv.NetworkInterfaces), len(inv.PCIeDevices), len(inv.PowerSupplies), len(inv.Fans), len(inv.Temperatures), len(inv.Firmware),
		len(inv.Accounts), len(inv.Certificates), len(inv.Events), len(inv.Components), out.Len()/1024, inv.Identity)
}

// pendingObjects are the targets of @Redfish.Settings.
func pendingObjects(decoded map[string]any) map[string]bool {
	pending := map[string]bool{}
	for key, v := range decoded {
		m, _ := v.(map[string]any)
		s, _ := m["@Redfish.Settings"].(map[string]any)
		o, _ := s["SettingsObject"].(map[string]any)
		id, _ := o["@odata.id"].(string)
		if id = strings.TrimSuffix(id, "/"); id != "" && id != key {
			pending[id] = true
		}
	}
	return pending
}

// reachable gives the resources that some chain of links from the ServiceRoot leads to.
func reachable(decoded map[string]any) map[string]bool {
	seen := map[string]bool{}
	spelling := map[string]string{} // services that do not mind letter case mix it in links
	for key := range decoded {
		spelling[strings.ToLower(key)] = key
	}
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
				next = append(next, spelling[strings.ToLower(strings.TrimSuffix(s, "/"))])
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
