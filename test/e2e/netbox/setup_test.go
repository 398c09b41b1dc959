//go:build e2e

package netbox

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox/netboxtest"
)

// TestSetupFromNothing takes away what Setup made, then runs it dry, for real, and again. In between
// the service account can do what Setup granted, and no more.
func TestSetupFromNothing(t *testing.T) {
	fresh(t)
	for path, names := range map[string][]string{
		"extras/event-rules/": {"cagenut"}, "extras/webhooks/": {"cagenut"}, "extras/tags/": {"cagenut"},
		"extras/custom-fields/": {"cagenut_operation"}, "users/permissions/": {"cagenut read", "cagenut write status", "cagenut write addresses", "cagenut release addresses", "cagenut write journal"},
	} {
		for _, name := range names {
			var there struct{ Results []struct{ ID int64 } }
			server.Must(t, http.MethodGet, path+"?"+url.Values{"name": {name}}.Encode(), nil, &there)
			for _, o := range there.Results {
				server.Must(t, http.MethodDelete, fmt.Sprintf("%s%d/", path, o.ID), nil, nil)
			}
		}
	}
	source, admin := server.Client(t, server.Token, nil), server.Client(t, server.AdminToken, nil)
	if s, err := source.Ping(t.Context()); err != nil || len(s.Missing) == 0 || s.Super {
		t.Fatalf("Ping without rights = %+v, %v; want a list of what is missing", s, err)
	}
	_, err := source.Find(t.Context(), inventory.Query{Names: []string{"x"}})
	if !errors.Is(err, inventory.ErrDenied) {
		t.Fatalf("Find without rights = %v, want ErrDenied", err)
	}

	o := inventory.SetupOptions{User: netboxload.ServiceAccount, WebhookURL: "http://127.0.0.1:9/hook", WebhookKey: "e2e-key"}
	rows := func() int {
		var page struct{ Count int }
		server.Must(t, http.MethodGet, "core/object-changes/?limit=1", nil, &page)
		return page.Count
	}
	for _, step := range []struct {
		name   string
		apply  bool
		state  string
		change bool
	}{{"dry run", false, "missing", false}, {"apply", true, "created", true}, {"apply again", true, "present", false}} {
		before := rows()
		items, err := admin.Setup(t.Context(), o, step.apply)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		want := map[string]string{
			"custom field cagenut_operation": step.state, "tag cagenut": step.state, "permission cagenut read": step.state,
			"permission cagenut write status":    step.state,
			"permission cagenut write addresses": step.state, "permission cagenut release addresses": step.state, "permission cagenut write journal": step.state, "webhook cagenut": step.state, "event rule cagenut": step.state,
		}
		got := map[string]string{}
		for _, i := range items {
			got[i.Kind+" "+i.Name] = i.State
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		if changed := rows() != before; changed != step.change {
			t.Errorf("%s: changed something: %v, want %v", step.name, changed, step.change)
		}
	}
	s, err := source.Ping(t.Context())
	if diff := cmp.Diff(inventory.Status{Version: "4.7.3", User: netboxload.ServiceAccount}, s); diff != "" || err != nil {
		t.Errorf("Ping after Setup (-want +got), %v:\n%s", err, diff)
	}

	// The account may not touch what is not a device, nor a device outside the lifecycle's reach.
	var site struct{ ID int64 }
	server.Must(t, http.MethodPost, "dcim/sites/", map[string]any{"name": "Theirs", "slug": "theirs"}, &site)
	account := netboxtest.Server{URL: server.URL, AdminToken: server.Token}
	for path, body := range map[string]any{
		"dcim/sites/":             map[string]any{"name": "Mine", "slug": "mine"},
		"extras/journal-entries/": map[string]any{"assigned_object_type": "dcim.site", "assigned_object_id": site.ID, "comments": "mine"},
		"users/permissions/": map[string]any{"name": "all", "object_types": []string{"dcim.site"}, "actions": []string{"add"},
			"users": []int{1}},
	} {
		if err := account.Call(t.Context(), http.MethodPost, path, body, nil); err == nil {
			t.Errorf("the service account could POST %s", path)
		}
	}
}

// TestTokens reads with a v1 token, with a wrong one, and from a page that is not NetBox's API.
func TestTokens(t *testing.T) {
	fresh(t)
	if s, err := server.Client(t, server.env["NETBOX_TOKEN_V1"], nil).Ping(t.Context()); err != nil || s.User != "admin" || !s.Super {
		t.Errorf("Ping with a v1 token = %+v, %v; want the superuser admin", s, err)
	}
	for _, wrong := range []string{"nbt_testkey00001.bbbb", "1111111111111111111111111111111111111111"} {
		if _, err := server.Client(t, wrong, nil).Device(t.Context(), asset.ID(1)); !errors.Is(err, inventory.ErrDenied) {
			t.Errorf("a wrong token: %v, want ErrDenied", err)
		}
	}
	elsewhere := netboxtest.Server{URL: server.URL + "/dcim"}
	if _, err := elsewhere.Client(t, server.Token, nil).Sites(t.Context()); !errors.Is(err, inventory.ErrMalformed) {
		t.Errorf("a wrong URL: %v, want ErrMalformed", err)
	}
}
