package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// When a new version of a component runs.
const (
	afterHost = "host" // after the host's next boot
	afterBMC  = "bmc"  // after the BMC's restart, which it does by itself
	atOnce    = "now"
)

// component is a firmware component of a flavour.
type component struct {
	key     string // of the firmware image format
	id      string // in the firmware inventory
	name    string
	version string // of the factory
	after   string
	release string
}

func (f *flavour) component(key string) (component, bool) {
	for _, c := range f.components {
		if c.key == key {
			return c, true
		}
	}
	return component{}, false
}

// simpleUpdate is UpdateService.SimpleUpdate: the BMC fetches the image by itself.
func simpleUpdate(c *call) *answer {
	raw, _ := c.body["ImageURI"].(string)
	u, err := url.Parse(raw)
	protocol, _ := c.body["TransferProtocol"].(string)
	switch {
	case raw == "":
		return failure(400, "ActionParameterMissing", "The action %s requires the parameter %s to be present.", "UpdateService.SimpleUpdate", "ImageURI")
	case err != nil || u.Host == "" && protocol == "":
		return failure(400, "ActionParameterValueFormatError", "The parameter %s of the action %s is not a URI.", "ImageURI", "UpdateService.SimpleUpdate")
	case protocol != "" && protocol != "HTTP" && protocol != "HTTPS":
		return failure(400, "ActionParameterNotSupported", "The parameter %s with the value %s is not supported.", "TransferProtocol", short(protocol))
	}
	if u.Scheme == "" {
		raw = strings.ToLower(protocol) + "://" + raw
	} else if u.Scheme != "http" && u.Scheme != "https" {
		return failure(400, "ActionParameterNotSupported", "The scheme %s of ImageURI is not supported.", short(u.Scheme))
	}
	t, busy := c.newUpdate()
	if busy != nil {
		return busy
	}
	t.URI, t.Message = raw, "The image is being downloaded."
	if !t.Stuck {
		id := t.ID
		c.after = func(ctx context.Context) { c.m.download(ctx, id, raw) }
	}
	return c.accepted(t)
}

// pushUpdate takes the image in the body, as multipart/form-data (DSP0266 multipart push) or bare.
func pushUpdate(c *call) *answer {
	data := c.raw
	if kind, params, err := mime.ParseMediaType(c.header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		if data, err = fileOf(c.raw, params["boundary"]); err != nil {
			return failure(400, "MalformedMultipart", "The multipart body is not usable: %s.", err)
		}
	} else if c.f.pushMultipart && !c.f.pushBare {
		return failure(415, "HeaderInvalid", "Header 'Content-Type: %s' is invalid.", short(c.header.Get("Content-Type")))
	}
	t, busy := c.newUpdate()
	if busy != nil {
		return busy
	}
	c.m.imageArrived(t, c.now, data)
	return c.accepted(t)
}

// fileOf takes UpdateFile out of a multipart body and checks UpdateParameters.
func fileOf(body []byte, boundary string) ([]byte, error) {
	in := multipart.NewReader(bytes.NewReader(body), boundary)
	var file []byte
	for {
		part, err := in.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		switch part.FormName() {
		case "UpdateParameters":
			var params obj
			if err := json.Unmarshal(data, &params); err != nil {
				return nil, fmt.Errorf("UpdateParameters is not JSON: %w", err)
			}
		case "UpdateFile":
			file = data
		}
	}
	if file == nil {
		return nil, errors.New("the part UpdateFile is missing")
	}
	return file, nil
}

// newUpdate makes a task unless an update is under way.
func (c *call) newUpdate() (*task, *answer) {
	st := &c.m.st
	for _, t := range st.Tasks {
		if t.Kind == taskUpdate && t.State == "Running" {
			return nil, failure(503, "ResourceInUse", "The change to the requested resource failed because the update %s is in progress.", t.ID).
				with("Retry-After", "1")
		}
	}
	st.Tasks = append(st.Tasks, task{
		ID: c.f.taskID(st.next()), Kind: taskUpdate, Name: "Firmware update", State: "Running", Start: c.now,
		Message: "The image is being checked.", Stuck: c.stuckTask,
	})
	c.m.dirty = true
	return &st.Tasks[len(st.Tasks)-1], nil
}

// accepted answers 202 with the task.
func (c *call) accepted(t *task) *answer {
	path := c.f.taskPath(t.ID)
	location := path
	if c.f.taskMonitors {
		location = "/redfish/v1/TaskService/TaskMonitors/" + t.ID
	}
	if c.f.bareAccepted {
		return (&answer{status: http.StatusAccepted}).with("Location", location)
	}
	return (&answer{status: http.StatusAccepted, body: c.taskBody(t, path)}).with("Location", location)
}

// download fetches an image in the background and takes it further when it is there. A box that
// dies meanwhile downloads again at its next start.
func (m *Machine) download(ctx context.Context, id, uri string) {
	m.box.background(func() {
		data, err := m.box.fetch(ctx, uri)
		if ctx.Err() != nil {
			return
		}
		// A failure to store is the store's to report: it refuses everything from then on.
		_ = m.change(func(now time.Time) {
			t := m.st.taskOf(id)
			if t == nil || t.done() {
				return
			}
			if t.URI = ""; err != nil {
				m.fail(t, now, "The image could not be downloaded: "+err.Error()+".")
				return
			}
			m.imageArrived(t, now, data)
		})
	})
}

func (b *Box) fetch(ctx context.Context, uri string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, errors.New("the URI is not usable")
	}
	resp, err := b.fetcher.Do(req)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the URI, which may carry a token
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxImage+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxImage {
		return nil, fmt.Errorf("the image is larger than %d bytes", maxImage)
	}
	return data, nil
}

func (m *Machine) fail(t *task, now time.Time, why string) {
	t.State, t.End, t.Message = "Exception", now, why
	m.log(&m.st, now, "Warning", "UpdateFailed", why)
}

// imageArrived checks an image and starts writing it.
func (m *Machine) imageArrived(t *task, now time.Time, data []byte) {
	img, err := ParseFirmwareImage(data)
	if err == nil {
		if _, has := m.f.component(img.Component); !has {
			err = fmt.Errorf("the image is for component %q, which this system does not have", img.Component)
		}
	}
	if err != nil {
		m.fail(t, now, "The image was refused: "+err.Error()+".")
		return
	}
	t.Image, t.Flash, t.Message = img, now, "The image is being written."
	if !t.Stuck {
		m.later(now, timeFlash, doFlash, t.ID)
	}
	m.dirty = true
}

// flashEnds is when an image is written.
func (m *Machine) flashEnds(now time.Time, id string) {
	st := &m.st
	t := st.taskOf(id)
	if t == nil || t.done() {
		return
	}
	comp, _ := m.f.component(t.Image.Component)
	what := t.Image.Component + "=" + t.Image.Version
	m.effect(now, EffectFlash, what)
	m.log(st, now, "OK", "FirmwareWritten", fmt.Sprintf("Firmware %s %s was written.", comp.name, t.Image.Version))
	if comp.after == afterHost {
		if st.Staged == nil {
			st.Staged = map[string]string{}
		}
		st.Staged[comp.key] = t.Image.Version
		t.Message = "The new version runs after the next reboot of the host."
		if m.f.jobWaits {
			t.State = "Pending"
			return
		}
		t.State, t.End = "Completed", now
		return
	}
	t.State, t.End, t.Message = "Completed", now, "The update is complete."
	m.activate(now, comp.key, t.Image.Version)
	if comp.after == afterBMC {
		m.rebootBMC(now, "firmware update")
	}
}

func (m *Machine) activate(now time.Time, key, version string) {
	st := &m.st
	if st.Previous == nil {
		st.Previous = map[string]string{}
	}
	if old := st.Firmware[key]; old != version {
		st.Previous[key] = old
	}
	st.Firmware[key] = version
	m.effect(now, EffectFirmwareActive, key+"="+version)
}

// applyFirmware is the part of a host's boot that activates what was staged.
func (m *Machine) applyFirmware(now time.Time) {
	st := &m.st
	for _, comp := range m.f.components {
		if version, staged := st.Staged[comp.key]; staged {
			m.activate(now, comp.key, version)
		}
	}
	st.Staged = nil
	for i := range st.Tasks {
		if t := &st.Tasks[i]; t.Kind == taskUpdate && t.State == "Pending" && !t.Stuck {
			t.State, t.End, t.Message = "Completed", now, "The update is complete."
		}
	}
}

// percent is how far a task is.
func (m *Machine) percent(t *task, now time.Time) int {
	switch {
	case t.State == "Completed":
		return 100
	case t.Stuck:
		return 42
	case t.State == "Pending":
		return 0
	case t.Flash.IsZero():
		return 5
	}
	done := float64(now.Sub(t.Flash)) / float64(m.scaled(timeFlash))
	return min(99, 10+int(89*max(0, done)))
}
