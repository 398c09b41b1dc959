package netbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/inventory"
)

// The oldest NetBox that has what the driver relies on: MAC addresses as objects and prefixes scoped
// to sites. From 4.6 on a status is written by compare-and-set; before, NetBox has no ETags and two
// writers can overtake each other between the read and the write.
const oldestMajor, oldestMinor = 4, 2

// Ping tells NetBox's version, whose token this is, and which of the things that Cagenut needs it
// cannot see. It refuses a NetBox that is too old with ErrInvalid.
func (c *Client) Ping(ctx context.Context) (inventory.Status, error) {
	var about struct {
		Version text `json:"netbox-version"`
	}
	if err := c.get(ctx, "ask NetBox for its status", "/api/status/", &about); err != nil {
		return inventory.Status{}, err
	}
	s := inventory.Status{Version: string(about.Version)}
	if err := supported(s.Version); err != nil {
		return s, &inventory.Error{Kind: inventory.ErrInvalid, Op: "check the version of NetBox", Err: err}
	}
	var me struct {
		Username text `json:"username"`
	}
	err := c.get(ctx, "ask NetBox whose token this is", "/api/authentication-check/", &me)
	if err != nil && !errors.Is(err, inventory.ErrMalformed) { // an HTML 404 before NetBox had the page
		return s, err
	}
	if s.User = string(me.Username); s.User != "" {
		supers, err := c.count(ctx, "users/users/", url.Values{"username": {s.User}, "is_superuser": {"true"}})
		if err != nil && !errors.Is(err, inventory.ErrDenied) { // only who may see accounts can be one
			return s, err
		}
		s.Super = supers == 1
	}
	s.Missing, err = c.missing(ctx)
	return s, err
}

// missing lists what Setup would make, as far as this token can see it.
func (c *Client) missing(ctx context.Context) ([]string, error) {
	var out []string
	for _, t := range readTypes {
		if _, err := c.count(ctx, t.path, url.Values{"fields": {"id"}}); errors.Is(err, inventory.ErrDenied) {
			out = append(out, "permission to view "+t.name)
		} else if err != nil {
			return out, err
		}
	}
	for _, w := range []struct {
		path, needs string
		methods     []string
	}{
		{"dcim/devices/", "permission to change dcim.device", []string{http.MethodPut, http.MethodPatch}},
		{"extras/journal-entries/", "permission to view and add extras.journalentry", []string{http.MethodPost}},
	} {
		may, err := c.may(ctx, w.path, w.methods...)
		switch {
		case errors.Is(err, inventory.ErrDenied) && w.path == "dcim/devices/": // already listed: who may not view a type may not ask of it
		case errors.Is(err, inventory.ErrDenied):
			out = append(out, w.needs)
		case err != nil:
			return out, err
		case !may:
			out = append(out, w.needs+" (or the token is read-only)")
		}
	}
	for _, n := range []need{operationField(), ownTag()} {
		there, err := c.count(ctx, n.path, url.Values{"name": {n.name}})
		switch {
		case errors.Is(err, inventory.ErrDenied): // already listed
		case err != nil:
			return out, err
		case there == 0:
			out = append(out, n.kind+" "+n.name)
		}
	}
	return out, nil
}

// may tells whether the token may write objects by one of these methods, without writing one: NetBox lists under
// OPTIONS the writes for which it has checked the account's permissions and that the token can write.
// Constraints of a permission are not in it: NetBox applies those to each device.
func (c *Client) may(ctx context.Context, path string, methods ...string) (bool, error) {
	var about struct {
		Actions map[string]json.RawMessage `json:"actions"`
	}
	err := c.ask(ctx, http.MethodOptions, "ask NetBox what this token may do at "+path, "/api/"+path, &about)
	return slices.ContainsFunc(methods, func(m string) bool { _, ok := about.Actions[m]; return ok }), err
}

// count tells how many objects a filter selects.
func (c *Client) count(ctx context.Context, path string, filter url.Values) (int, error) {
	filter.Set("limit", "1")
	var p page[ref]
	err := c.get(ctx, "look at "+path, "/api/"+path+"?"+filter.Encode(), &p)
	return p.Count, err
}

// supported checks a version such as 4.7.3 or 4.7.3-Docker-3.2.0.
func supported(version string) error {
	var n [2]int
	parts := strings.SplitN(version, ".", 3)
	for i := range n {
		var err error
		if len(parts) <= i {
			return fmt.Errorf("NetBox says its version is %q: want one such as 4.7.3; is this NetBox?", version)
		}
		if n[i], err = strconv.Atoi(parts[i]); err != nil {
			return fmt.Errorf("NetBox says its version is %q: want one such as 4.7.3; is this NetBox?", version)
		}
	}
	if n[0] < oldestMajor || (n[0] == oldestMajor && n[1] < oldestMinor) {
		return fmt.Errorf("NetBox %s is too old: Cagenut needs %d.%d or later, and is tested with 4.7; upgrade NetBox", version, oldestMajor, oldestMinor)
	}
	return nil
}
