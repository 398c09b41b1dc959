package netbox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	gonetbox "github.com/netbox-community/go-netbox/v4"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/inventory"
)

// maxMessage is the length of a changelog message in NetBox, in characters.
const maxMessage = 200

// attempts is how often SetStatus compares and writes. The second one is needed only when somebody
// changed something else of the device between our read and our write.
const attempts = 3

// SetStatus moves a device by compare-and-set: one read, unless it was read just before, and one write, and after a lost race one more
// read. See inventory.Source.
//
// When the write's answer is lost, the device is read again. If it then stands at To with our
// operation's ID, which it did not have before, the write was applied: that is reported as a change.
func (c *Client) SetStatus(ctx context.Context, s inventory.StatusChange) (bool, error) {
	op := fmt.Sprintf("set status of device %d from %s to %s", s.ID, s.From, s.To)
	if err := asset.CanMove(s.From, s.To); err != nil {
		return false, &inventory.Error{Kind: inventory.ErrConflict, Op: op, Err: err}
	}
	id, err := nativeID(op, s.ID)
	if err != nil {
		return false, err
	}
	var lost error // the last write without an answer, or refused with 412
	for try := range attempts {
		var d inventory.Device
		if try == 0 && known(s.Read, s.ID) {
			d = *s.Read
		} else if d, err = c.tagged(ctx, op, s.ID); err != nil {
			return false, err
		}
		now := d.Status
		by, marked := d.Custom[OperationField]
		if now == s.To {
			ours := marked && s.Operation != "" && by == s.Operation
			return ours && errors.Is(lost, inventory.ErrUnreachable), nil
		}
		if now != s.From {
			return false, &inventory.Error{Kind: inventory.ErrConflict, Op: op,
				Detail: fmt.Sprintf("the device is %s now: somebody moved it, so decide again what it needs", now)}
		}
		lost = c.writeStatus(ctx, op, id, d.ETag, marked, s)
		if lost == nil {
			return true, nil
		}
		if !errors.Is(lost, errPrecondition) && !errors.Is(lost, inventory.ErrUnreachable) && !errors.Is(lost, inventory.ErrServer) {
			return false, lost
		}
	}
	return false, lost
}

// errPrecondition marks a write that NetBox refused with 412: the device changed since it was read.
var errPrecondition = errors.New("the device was changed by somebody else at the same time")

// writeStatus sends the one PATCH. marked says that the device has the operation field.
func (c *Client) writeStatus(ctx context.Context, op string, id int32, etag string, marked bool, s inventory.StatusChange) error {
	status := gonetbox.DeviceStatusValue(s.To)
	patch := gonetbox.PatchedWritableDeviceWithConfigContextRequest{
		Status:               &status,
		AdditionalProperties: map[string]any{"changelog_message": message(s)},
	}
	if marked && s.Operation != "" {
		patch.CustomFields = map[string]any{OperationField: s.Operation}
	}
	x := &call{header: http.Header{}}
	if etag != "" {
		x.header.Set("If-Match", etag) // with its W/, as it came
	}
	err := c.send(ctx, op, x, nil, func(ctx context.Context) (*http.Response, error) {
		_, resp, err := c.api.DcimAPI.DcimDevicesPartialUpdate(ctx, id).PatchedWritableDeviceWithConfigContextRequest(patch).Execute()
		return resp, err
	})
	var e *inventory.Error
	if errors.As(err, &e) {
		switch x.status {
		case http.StatusPreconditionFailed:
			e.Err = errPrecondition
		case http.StatusNotFound:
			// It was there a moment ago: NetBox hides what a constrained permission does not cover.
			e.Kind = inventory.ErrDenied
			e.Detail = "the token may read this device but not change it: its permission covers devices in the lifecycle's statuses only. Remedy: an administrator of NetBox runs `cagenut netbox setup --apply`."
		}
	}
	return err
}

// message is the changelog message, cut to what NetBox takes. The operation's ID comes first, so that
// it is never what is cut.
func message(s inventory.StatusChange) string {
	m := []rune(strings.TrimSpace(strings.TrimSpace("cagenut "+s.Operation) + ": " + s.Message))
	if len(m) > maxMessage {
		m = m[:maxMessage]
	}
	return string(m)
}
