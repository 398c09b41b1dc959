// Package netboxtest connects the conformance suite of the inventory port to anything that speaks
// NetBox's REST API: a real NetBox in test/e2e, the box's own in unit tests.
//
// The service account on it is made by netboxload.Account, the way an administrator would: an account
// and a token without rights, to which our own Setup then gives what Cagenut needs.
package netboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/inventory/inventorytest"
	"github.com/cagenut/cagenut/inventory/netbox"
)

// Server is a NetBox under test.
type Server struct {
	URL        string
	AdminToken string
	Token      string // of the service account
}

// Harness is the suite's harness for a server on which netboxload.Account was called.
func Harness(t *testing.T, s Server) inventorytest.Harness {
	t.Helper()
	var requests atomic.Int64
	return inventorytest.Harness{
		Account:  netboxload.ServiceAccount,
		Source:   s.Client(t, s.Token, func(netbox.Request) { requests.Add(1) }),
		Admin:    s.Client(t, s.AdminToken, nil),
		Requests: func() int { return int(requests.Load()) },
		Load: func(t *testing.T, rack sim.Rack) {
			t.Helper()
			if err := netboxload.LoadRack(t.Context(), s.URL, s.AdminToken, rack); err != nil {
				t.Fatal(err)
			}
		},
		Edit: func(t *testing.T, id asset.ID, fields map[string]any) {
			t.Helper()
			s.Must(t, http.MethodPatch, "dcim/devices/"+id.String()+"/", fields, nil)
		},
		Journal: func(t *testing.T, id asset.ID) []string { return s.Journal(t, id) },
		Changes: func(t *testing.T, id asset.ID) []inventorytest.Change { return s.Changes(t, id) },
	}
}

// Client makes a driver with a token. observe may be nil.
func (s Server) Client(t *testing.T, token string, observe func(netbox.Request)) *netbox.Client {
	t.Helper()
	c, err := netbox.New(netbox.Options{URL: s.URL, Token: token, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Journal gives the entries in a device's journal, oldest first.
func (s Server) Journal(t *testing.T, id asset.ID) []string {
	t.Helper()
	var rows struct {
		Results []struct {
			Kind     struct{ Value string }
			Comments string
		}
	}
	s.Must(t, http.MethodGet, "extras/journal-entries/?limit=1000&ordering=id&"+url.Values{
		"assigned_object_type": {"dcim.device"}, "assigned_object_id": {id.String()}}.Encode(), nil, &rows)
	var out []string
	for _, r := range rows.Results {
		out = append(out, r.Kind.Value+": "+r.Comments)
	}
	return out
}

// Changes gives the changelog of a device, oldest first.
func (s Server) Changes(t *testing.T, id asset.ID) []inventorytest.Change {
	t.Helper()
	var rows struct {
		Results []struct {
			User    string         `json:"user_name"`
			Message string         `json:"message"`
			Before  map[string]any `json:"prechange_data"`
			After   map[string]any `json:"postchange_data"`
		}
	}
	s.Must(t, http.MethodGet, "core/object-changes/?limit=1000&ordering=id&"+url.Values{
		"changed_object_type": {"dcim.device"}, "changed_object_id": {id.String()}}.Encode(), nil, &rows)
	var out []inventorytest.Change
	for _, r := range rows.Results {
		c := inventorytest.Change{User: r.User, Message: r.Message}
		before, after := flat(r.Before), flat(r.After)
		for field, v := range after {
			if before[field] != v {
				c.Fields = append(c.Fields, field)
			}
		}
		slices.Sort(c.Fields)
		out = append(out, c)
	}
	return out
}

// flat gives each field as JSON, custom fields by their own names.
func flat(data map[string]any) map[string]string {
	out := map[string]string{}
	for k, v := range data {
		if custom, ok := v.(map[string]any); ok && k == "custom_fields" {
			for name, value := range custom {
				if value != nil {
					out[name] = fmt.Sprint(value)
				}
			}
			continue
		}
		b, _ := json.Marshal(v) // decoded JSON
		out[k] = string(b)
	}
	return out
}

// Must makes a REST call as administrator and ends the test when it fails.
func (s Server) Must(t *testing.T, method, path string, in, out any) {
	t.Helper()
	if err := s.Call(t.Context(), method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

// Call makes a REST call as administrator. in and out may be nil.
func (s Server) Call(ctx context.Context, method, path string, in, out any) error {
	var payload io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(s.URL, "/")+"/api/"+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken) // NetBox goes by the token's form, not by the word
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: 5 * time.Minute}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: HTTP %d: %.500s", method, path, resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
