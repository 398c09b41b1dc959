package redfish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// uploadTimeout bounds a push: 1 GiB at the 2 MB/s that a slow BMC takes.
const uploadTimeout = 10 * time.Minute

// Firmware lists the components with their versions (DSP0268 SoftwareInventory).
func (c *Controller) Firmware(ctx context.Context) ([]bmc.FirmwareComponent, error) {
	s, err := c.updateService(ctx)
	if err != nil {
		return nil, err
	}
	if s.link("FirmwareInventory") == "" {
		return nil, c.unsupported("list firmware", "FirmwareInventory")
	}
	all, err := c.members(ctx, s, "FirmwareInventory")
	if err != nil {
		return nil, err
	}
	out := []bmc.FirmwareComponent{}
	for _, o := range all {
		f := bmc.FirmwareComponent{ID: o.str("Id"), Name: o.str("Name"), Version: o.str("Version"),
			State: o.str("Status", "State"), Released: o.str("ReleaseDate"), URI: o.id()}
		if u, known := o.boolean("Updateable"); known {
			f.Updatable = &u
		}
		if related := o.links("RelatedItem"); len(related) > 0 {
			f.Device = related[0]
		}
		out = append(out, f)
	}
	return out, nil
}

func (c *Controller) updateService(ctx context.Context) (object, error) {
	p, err := c.where(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.optional(ctx, p.root.link("UpdateService"))
	if err == nil && s == nil {
		err = c.unsupported("update firmware", "UpdateService")
	}
	return s, err
}

// StartUpdate hands an image to the BMC once: by SimpleUpdate, which lets the BMC fetch it, or by
// push when that is asked for or the BMC cannot fetch.
func (c *Controller) StartUpdate(ctx context.Context, u bmc.FirmwareUpdate) (bmc.TaskRef, error) {
	s, err := c.updateService(ctx)
	if err != nil {
		return bmc.TaskRef{}, err
	}
	simple := s.obj("Actions", "#UpdateService.SimpleUpdate")
	protocol := ""
	if p, err := url.Parse(u.ImageURI); err == nil {
		protocol = strings.ToUpper(p.Scheme)
	}
	canFetch := simple.str("target") != "" && u.ImageURI != ""
	if canFetch {
		if v := c.allowed(ctx, simple, "TransferProtocol"); len(v) > 0 && !slices.Contains(v, protocol) {
			canFetch = false
		}
	}
	switch {
	case canFetch && !u.Push:
		return c.simpleUpdate(ctx, simple, u, protocol)
	case u.Open != nil && s.str("MultipartHttpPushUri") != "":
		return c.multipartPush(ctx, s, u)
	case u.Open != nil && s.str("HttpPushUri") != "":
		return c.plainPush(ctx, s, u)
	case canFetch:
		return c.simpleUpdate(ctx, simple, u, protocol)
	}
	return bmc.TaskRef{}, c.unsupported("update firmware", fmt.Sprintf("way to take this image (by %s from %q, or by push)", protocol, redacted(u.ImageURI)))
}

func redacted(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return ""
}

func (c *Controller) simpleUpdate(ctx context.Context, action object, u bmc.FirmwareUpdate, protocol string) (bmc.TaskRef, error) {
	body := map[string]any{"ImageURI": u.ImageURI}
	if len(action.strs("TransferProtocol@Redfish.AllowableValues")) > 0 {
		body["TransferProtocol"] = protocol
	}
	if len(u.Targets) > 0 {
		body["Targets"] = u.Targets
	}
	// Sent only where offered: other BMCs refuse the whole request for it.
	if slices.Contains(action.strs("@Redfish.OperationApplyTimeSupport", "SupportedValues"), "Immediate") {
		body["@Redfish.OperationApplyTime"] = "Immediate"
	}
	r, err := c.conn.Do(ctx, http.MethodPost, action.str("target"), body, broker.Options{})
	return c.taskRef(r), err
}

// plainPush is the older way, which takes the file alone: the BMC sees from the image what it is for. Where
// the service has a place for targets (DSP0268 UpdateService 1.2), they are named there before and taken
// back after, since they hold for whoever pushes next.
func (c *Controller) plainPush(ctx context.Context, service object, u bmc.FirmwareUpdate) (bmc.TaskRef, error) {
	_, named := service.at("HttpPushUriTargets").([]any)
	named = named && len(u.Targets) > 0
	if busy, _ := service.boolean("HttpPushUriTargetsBusy"); busy && named {
		return bmc.TaskRef{}, c.fail(bmc.ErrBusy, "push "+u.Name, "somebody else has named targets for a push (HttpPushUriTargetsBusy)")
	}
	// HttpPushUriTargetsBusy is respected and not set: a crash would leave it set for ever.
	targets := func(list []string) error {
		return c.change(ctx, service.id(), "", map[string]any{"HttpPushUriTargets": list})
	}
	if named {
		if err := targets(u.Targets); err != nil {
			return bmc.TaskRef{}, err
		}
	}
	r, err := c.conn.Do(ctx, http.MethodPost, service.str("HttpPushUri"), nil, broker.Options{Stream: u.Open, Length: u.Size,
		ContentType: "application/octet-stream", Timeout: uploadTimeout})
	if named {
		_ = targets([]string{}) // the image is handed over or not: that they stay named does not change which
	}
	return c.taskRef(r), err
}

// multipartPush sends DSP0266 12.6.2's two parts, the file as a stream.
func (c *Controller) multipartPush(ctx context.Context, service object, u bmc.FirmwareUpdate) (bmc.TaskRef, error) {
	parameters := map[string]any{"Targets": u.Targets}
	if u.Targets == nil {
		parameters["Targets"] = []string{}
	}
	if slices.Contains(service.strs("MultipartHttpPushUri@Redfish.OperationApplyTimeSupport", "SupportedValues"), "Immediate") {
		parameters["@Redfish.OperationApplyTime"] = "Immediate"
	}
	head, tail, contentType, err := multipartFrame(parameters, path.Base("/"+u.Name))
	if err != nil {
		return bmc.TaskRef{}, err
	}
	length := int64(-1)
	if u.Size > 0 {
		length = int64(len(head)) + u.Size + int64(len(tail))
	}
	open := func() (io.ReadCloser, error) {
		f, err := u.Open()
		if err != nil {
			return nil, fmt.Errorf("open firmware image %s: %w", u.Name, err)
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), f, bytes.NewReader(tail)), f}, nil
	}
	r, err := c.conn.Do(ctx, http.MethodPost, service.str("MultipartHttpPushUri"), nil,
		broker.Options{Stream: open, Length: length, ContentType: contentType, Timeout: uploadTimeout})
	return c.taskRef(r), err
}

// multipartFrame gives what stands before and after the file, so that its length is known.
func multipartFrame(parameters any, name string) (head, tail []byte, contentType string, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part := func(disposition, kind string) (io.Writer, error) {
		return w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {kind}})
	}
	p, err := part(`form-data; name="UpdateParameters"`, "application/json")
	if err != nil {
		return nil, nil, "", err
	}
	if err := json.NewEncoder(p).Encode(parameters); err != nil {
		return nil, nil, "", err
	}
	if _, err := part(fmt.Sprintf(`form-data; name="UpdateFile"; filename=%q`, name), "application/octet-stream"); err != nil {
		return nil, nil, "", err
	}
	head = bytes.Clone(b.Bytes())
	b.Reset()
	if err := w.Close(); err != nil {
		return nil, nil, "", err
	}
	return head, b.Bytes(), w.FormDataContentType(), nil
}

// taskRef finds the task in an answer: a Location, a Task as body, or none (Known: the caller must
// look at the component).
func (c *Controller) taskRef(r broker.Response) bmc.TaskRef {
	if r.Location != "" {
		return bmc.TaskRef{URI: r.Location}
	}
	o, err := decode(r.Body)
	if err != nil {
		return bmc.TaskRef{}
	}
	if strings.Contains(o.str("@odata.type"), "Task.") || o.has("TaskState") {
		return bmc.TaskRef{URI: o.id()}
	}
	return bmc.TaskRef{}
}
