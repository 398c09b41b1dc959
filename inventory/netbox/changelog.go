package netbox

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
)

// changeRecord is a row of the changelog, as far as it tells of a device's status.
type changeRecord struct {
	Time   time.Time    `json:"time"`
	Before *statusShown `json:"prechange_data"`
	After  *statusShown `json:"postchange_data"`
}

type statusShown struct {
	Status string `json:"status"`
}

func (s *statusShown) active() bool { return s != nil && s.Status == string(asset.Active) }

// clockSlack is how far our clock and NetBox's may be apart.
const clockSlack = 5 * time.Minute

// WasActive reads the changelog, which NetBox keeps for 90 days unless told otherwise. See
// inventory.Source.
func (c *Client) WasActive(ctx context.Context, id asset.ID, since time.Time) (bool, error) {
	filter := url.Values{"changed_object_type": {"dcim.device"}, "changed_object_id": {id.String()}}
	rows, err := listAll[changeRecord](ctx, c, "changelog of device "+id.String(), filter, func(ctx context.Context, offset int32) (*http.Response, error) {
		// go-netbox has no such list: it moved to core with NetBox 4.1.
		path := fmt.Sprintf("/api/core/object-changes/?ordering=id&limit=%d&offset=%d&fields=time,prechange_data,postchange_data", pageSize, offset)
		return c.request(http.MethodGet, path, nil)(ctx)
	})
	if err != nil {
		return false, err
	}
	reaches := slices.ContainsFunc(rows, func(r changeRecord) bool { return !r.Time.After(since.Add(clockSlack)) })
	active := slices.ContainsFunc(rows, func(r changeRecord) bool {
		return r.Time.After(since.Add(-clockSlack)) && (r.Before.active() || r.After.active())
	})
	return active || !reaches, nil
}
