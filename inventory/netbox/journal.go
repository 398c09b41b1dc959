package netbox

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/inventory"
)

type journalRecord struct {
	Kind     choice `json:"kind"`
	Comments string `json:"comments"`
}

// Journal looks for the operation's entry and writes it when there is none: two requests, and one for an
// entry that is there. See inventory.Source.
func (c *Client) Journal(ctx context.Context, e inventory.JournalEntry) (bool, error) {
	if err := e.Validate(); err != nil {
		return false, err
	}
	op := fmt.Sprintf("write in the journal of device %s", e.Device)
	filter := url.Values{"fields": {"kind,comments"}, "assigned_object_type": {"dcim.device"}, "assigned_object_id": {e.Device.String()}, "q": {e.Operation}}
	there, err := listAll[journalRecord](ctx, c, op, filter, func(ctx context.Context, offset int32) (*http.Response, error) {
		_, resp, err := c.api.ExtrasAPI.ExtrasJournalEntriesList(ctx).Limit(pageSize).Offset(offset).Ordering("id").Execute()
		return resp, err
	})
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(there, func(r journalRecord) bool {
		return string(r.Kind) == e.Kind && strings.Contains(r.Comments, e.Operation)
	}) {
		return false, nil
	}
	body := map[string]any{"assigned_object_type": "dcim.device", "assigned_object_id": int64(e.Device), "kind": e.Kind, "comments": e.Text}
	if err := c.post(ctx, op, "/api/extras/journal-entries/", body, &struct{}{}); err != nil {
		return false, err
	}
	return true, nil
}
