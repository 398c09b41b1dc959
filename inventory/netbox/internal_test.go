package netbox

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

func TestBatchesFitOneLineAndLoseNothing(t *testing.T) {
	c, err := New(Options{URL: "https://netbox.example.com/some/path", Token: "x"})
	if err != nil {
		t.Fatal(err)
	}
	var ids []asset.ID
	for i := range 1000 {
		ids = append(ids, asset.ID(math.MaxInt32-int64(i)))
	}
	names := []string{"ordinary", strings.Repeat("x", 5000), "ünïcödé & more", "last"}
	for _, test := range []struct {
		param  string
		values []string
	}{{"device_id", texts(ids)}, {"name", names}, {"id", nil}} {
		var back []string
		for _, b := range batches(test.param, test.values, c.fixedLine(interfaceFields)) {
			q := url.Values{"fields": {interfaceFields}, "limit": {"1000"}, "offset": {"100000"}, "ordering": {"id"}, test.param: b}
			line := "GET /some/path/api/dcim/interfaces/?" + q.Encode() + " HTTP/1.1\r\n"
			if len(line) > 4094 && len(b) > 1 {
				t.Errorf("%s: a line of %d bytes for %d values, gunicorn takes 4094", test.param, len(line), len(b))
			}
			back = append(back, b...)
		}
		if diff := cmp.Diff(test.values, back, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: values in the batches (-want +got):\n%s", test.param, diff)
		}
	}
}

func texts(ids []asset.ID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

// TestDecodeTolerates has answers as NetBox, its older versions and its plugins give them.
func TestDecodeTolerates(t *testing.T) {
	for _, test := range []struct {
		name string
		json string
		want inventory.Device
	}{
		{"nothing but an ID", `{"id": 1}`, inventory.Device{ID: 1}},
		{"nulls", `{"id":1,"name":null,"serial":null,"asset_tag":null,"status":null,"site":null,"rack":null,"position":null,"face":null,
			"role":null,"device_type":null,"platform":null,"tenant":null,"cluster":null,"oob_ip":null,"primary_ip4":null,"tags":null,
			"custom_fields":null,"last_updated":null}`, inventory.Device{ID: 1}},
		{"a status that nobody knows", `{"id":1,"status":{"value":"burn-in","label":"Burn in"}}`, inventory.Device{ID: 1, Status: "burn-in"}},
		{"a status as plain text", `{"id":1,"status":"active"}`, inventory.Device{ID: 1, Status: asset.Active}},
		{"a decimal as text", `{"id":1,"position":"12.5"}`, inventory.Device{ID: 1, Position: 12.5}},
		{"numbers where text is expected", `{"id":1,"name":42,"serial":7}`, inventory.Device{ID: 1, Name: "42", Serial: "7"}},
		{"lists where text is expected", `{"id":1,"name":[],"status":[]}`, inventory.Device{ID: 1}},
		{"an address without a length", `{"id":1,"oob_ip":{"id":5,"address":"10.0.0.1"}}`, inventory.Device{ID: 1, OOBID: 5}},
		{"custom fields of all kinds", `{"id":1,"custom_fields":{"text":"a","number":1.5,"yes":true,"none":null,"empty":"",
			"select":{"value":"x","label":"X"},"plain_select":"x","object":{"id":3,"display":"sw-1","url":"u"},"list":["a", "b"],"json":{"k": 1}}}`,
			inventory.Device{ID: 1, Custom: map[string]string{"text": "a", "number": "1.5", "yes": "true", "empty": "", "none": "", "select": "x", "plain_select": "x",
				"object": "sw-1", "list": `["a","b"]`, "json": `{"k":1}`}}},
		{"tags and time", `{"id":1,"tags":[{"slug":"b"},{"slug":"a"}],"last_updated":"2026-11-23T15:31:26.869173Z"}`,
			inventory.Device{ID: 1, Tags: []string{"a", "b"}, Updated: time.Date(2026, 11, 23, 15, 31, 26, 869173000, time.UTC)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r deviceRecord
			if err := json.Unmarshal([]byte(test.json), &r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, r.device(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("device (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeInterfaceTolerates(t *testing.T) {
	for _, test := range []struct {
		name string
		json string
		want inventory.Interface
	}{
		{"no MAC", `{"id":1,"name":"eth0","mac_addresses":null,"primary_mac_address":null}`, inventory.Interface{ID: 1, Name: "eth0"}},
		{"the primary MAC first, bad ones left out", `{"id":1,"primary_mac_address":{"mac_address":"AA:00:00:00:00:02"},
			"mac_addresses":[{"mac_address":"aa:00:00:00:00:01"},{"mac_address":"aa:00:00:00:00:02"},{"mac_address":"nonsense"}]}`,
			inventory.Interface{ID: 1, MACs: []string{"AA:00:00:00:00:02", "AA:00:00:00:00:01"}}},
		{"a cable to a circuit", `{"id":1,"cable":{"id":9},"link_peers":[{"id":4,"circuit":{"id":2}}]}`, inventory.Interface{ID: 1, Cable: &inventory.Cable{ID: 9}}},
		{"a cable that ends nowhere", `{"id":1,"cable":{"id":9},"link_peers":[]}`, inventory.Interface{ID: 1, Cable: &inventory.Cable{ID: 9}}},
		{"a breakout cable", `{"id":1,"cable":{"id":9},"link_peers":[{"name":"p1","device":{"name":"sw-1"}},{"name":"p2","device":{"name":"sw-1"}}]}`,
			inventory.Interface{ID: 1, Cable: &inventory.Cable{ID: 9, Peer: "sw-1", Port: "p1"}}},
		{"an unknown type", `{"id":1,"type":{"value":"1.6tbase-x-osfp1600","label":"?"}}`, inventory.Interface{ID: 1, Type: "1.6tbase-x-osfp1600"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r interfaceRecord
			if err := json.Unmarshal([]byte(test.json), &r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, r.port()); diff != "" {
				t.Errorf("interface (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSupportedVersions(t *testing.T) {
	for version, want := range map[string]string{
		"4.7.3": "", "4.2.0": "", "4.7.3-Docker-3.2.0": "", "5.0.0-beta1": "", "4.10": "",
		"4.1.11": "too old", "3.7.8": "too old", "": "is this NetBox?", "4": "is this NetBox?", "four.seven": "is this NetBox?",
	} {
		err := supported(version)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("supported(%q) = %v, want %q in it", version, err, want)
		}
	}
}

func TestMessageKeepsTheOperation(t *testing.T) {
	got := message(inventory.StatusChange{Operation: "op_01J", Message: strings.Repeat("ü", 300)})
	if n := len([]rune(got)); n != 200 || !strings.HasPrefix(got, "cagenut op_01J: ü") {
		t.Errorf("message %q of %d characters, want 200 that begin with the operation", got, n)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{
		{URL: "", Token: "x"}, {URL: "netbox.example.com", Token: "x"}, {URL: "ftp://netbox.example.com", Token: "x"},
		{URL: "https://user:secret@netbox.example.com", Token: "x"}, {URL: "https://netbox.example.com?x=1", Token: "x"},
		{URL: "https://netbox.example.com"}, {URL: "https://netbox.example.com", Token: "secret token"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%q) = %v, want an error without secrets", o.URL, err)
		}
	}
	for _, u := range []string{"https://n.example.com", "https://n.example.com/", "https://n.example.com/api/"} {
		if c, err := New(Options{URL: u, Token: "x"}); err != nil || c.base != "https://n.example.com" {
			t.Errorf("New(%q): %v, base %q", u, err, fmt.Sprint(c))
		}
	}
}
