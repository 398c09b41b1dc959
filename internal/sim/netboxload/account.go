package netboxload

import (
	"context"
	"net/http"
	"net/url"

	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox"
)

// ServiceAccount is the name of the account that Account makes.
const ServiceAccount = "cagenut"

// Account makes the service account with a v2 token, as an administrator would, and lets Setup give
// it its rights. It returns the token, which NetBox shows only once: each call makes a new one.
func Account(ctx context.Context, baseURL, adminToken string) (string, error) {
	l := newLoader(ctx, baseURL, adminToken)
	var users struct{ Results []struct{ ID int64 } }
	if err := l.call(http.MethodGet, "users/users/?"+url.Values{"username": {ServiceAccount}}.Encode(), nil, &users); err != nil {
		return "", err
	}
	var user struct{ ID int64 }
	if len(users.Results) > 0 {
		user = users.Results[0]
	} else if err := l.call(http.MethodPost, "users/users/", body{
		"username": ServiceAccount, "password": "Test-only-" + ServiceAccount + "-1", "is_active": true}, &user); err != nil {
		return "", err
	}
	var token struct{ Key, Token string }
	if err := l.call(http.MethodPost, "users/tokens/", body{
		"user": user.ID, "version": 2, "write_enabled": true, "description": "made by netboxload"}, &token); err != nil {
		return "", err
	}
	admin, err := netbox.New(netbox.Options{URL: baseURL, Token: adminToken})
	if err != nil {
		return "", err
	}
	if _, err := admin.Setup(ctx, inventory.SetupOptions{User: ServiceAccount}, true); err != nil {
		return "", err
	}
	return "nbt_" + token.Key + "." + token.Token, nil
}
