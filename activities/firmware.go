package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// firmwareHandle is where the firmware step is. One round installs one image.
type firmwareHandle struct {
	Phase    string      `json:"phase,omitempty"` // "", push, task, reboot, settle
	Image    plan.Image  `json:"image,omitzero"`
	URI      string      `json:"uri,omitempty"` // of the component
	Before   string      `json:"before,omitempty"`
	Baseline []string    `json:"baseline,omitempty"` // tasks that were there before the push
	Task     bmc.TaskRef `json:"task,omitzero"`
	Adopted  bool        `json:"adopted,omitempty"` // the task ran when this attempt began, or was found to be another's
	Since    time.Time   `json:"since,omitzero"`    // when the phase began
	Gone     time.Time   `json:"gone,omitzero"`     // since when the BMC has no task for us
	Waiting  time.Time   `json:"waiting,omitzero"`  // since when the task waits for something
	Cycle    cycle       `json:"cycle,omitzero"`
	Rebooted bool        `json:"rebooted,omitempty"`
	Changed  bool        `json:"changed,omitempty"`
	By       string      `json:"by,omitempty"`   // the process that served the image; empty: not known
	Anew     bool        `json:"anew,omitempty"` // it was handed over a second time, since that process had ended
}

// How long a BMC may be away while it flashes itself, and until a new version shows. A task that
// runs has no limit but the step's deadline.
const (
	firmwareAway   = 20 * time.Minute
	firmwareSettle = 15 * time.Minute
	// firmwareWaits is how long a task may say that it waits before we believe that it waits for the
	// host's reboot: some say so briefly before they begin.
	firmwareWaits = 30 * time.Second
	// firmwareGone is how long a task must be unknown before it counts as ended: a BMC that has just
	// started answers before it has read its tasks.
	firmwareGone = 2 * time.Minute
	// firmwareUntold is how long an update may take of which the BMC gives no task at all, before the
	// host is rebooted for it: fetching 200 MB over a slow management link and writing them.
	firmwareUntold = 15 * time.Minute
)

// firmware brings components to the profile's versions, one image a round: observe, hand over the
// image, follow the task although the BMC goes away, reboot where the profile says so, and read the
// version back. Only the version read back is success.
//
// A crash between handing over and its answer does not flash twice: the list of tasks from before
// stands in the handle, and a task that is not in it is ours. Nor does a retry while an update still
// runs: that one is followed first.
func (a *Site) firmware(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantFirmware, firmwareHandle](c)
	if err != nil {
		return Result{}, err
	}
	ctrl, learned, err := a.reopen(ctx, c, h.Phase != "")
	if err != nil {
		return a.whileAway(h, err)
	}
	defer func() { _ = ctrl.Close(ctx) }()
	if learned != nil {
		return relearned(h, learned)
	}
	var r Result
	switch h.Phase {
	case "push":
		r, err = a.push(ctx, c, ctrl, h)
	case "task":
		r, err = a.followTask(ctx, ctrl, h)
	case "reboot":
		r, err = a.reboot(ctx, ctrl, h)
	default:
		r, err = a.compareFirmware(ctx, c, ctrl, want, h)
	}
	if err != nil {
		return a.whileAway(h, err)
	}
	return r, nil
}

// whileAway waits when an error only means that the BMC restarts for the firmware. What it said of a
// task before does not count after.
func (a *Site) whileAway(h firmwareHandle, err error) (Result, error) {
	if !h.away(err, a.Clock(), a.patience(firmwareAway)) {
		return Result{}, err
	}
	if h.Task.URI != "" {
		h.Gone = time.Time{}
	}
	return again(a.Poll, h, "the BMC is away while %s is installed", h.Image.Component)
}

// away tells whether an error only means that the BMC restarts for the firmware.
func (h firmwareHandle) away(err error, now time.Time, most time.Duration) bool {
	if h.Phase == "" || h.Phase == "push" || now.Sub(h.Since) > most {
		return false
	}
	for _, kind := range []error{bmc.ErrUnreachable, bmc.ErrBusy, bmc.ErrServer, bmc.ErrMalformed, bmc.ErrIncomplete, bmc.ErrBreakerOpen} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// compareFirmware observes the versions, ends the step, or chooses the next image.
func (a *Site) compareFirmware(ctx context.Context, c Call, ctrl bmc.Controller, want plan.WantFirmware, h firmwareHandle) (Result, error) {
	have, err := ctrl.Firmware(ctx)
	if err != nil {
		return Result{}, err
	}
	next, component, err := nextImage(want, have)
	if h.Phase == "settle" {
		// A BMC that has just started lists its components one after the other: what is missing is
		// not yet there.
		seen, missing := findComponent(have, h.Image.Component)
		switch waits := a.Clock().Sub(h.Since) < a.patience(firmwareSettle); {
		case missing != nil && waits:
			return again(a.Poll, h, "%s is not yet in the BMC's list, waiting for %s", h.Image.Component, h.Image.Version)
		case missing == nil && seen.Version != h.Image.Version && waits:
			return again(a.Poll, h, "%s shows %s, waiting for %s", h.Image.Component, seen.Version, h.Image.Version)
		case missing == nil && seen.Version != h.Image.Version && h.Adopted:
			return again(0, firmwareHandle{Changed: h.Changed, Adopted: true}, "%s shows %s: the update that was under way was not for %s",
				h.Image.Component, seen.Version, h.Image.Version)
		case missing == nil && seen.Version != h.Image.Version:
			return Result{}, fault.New(fault.NotApplied, "%s was installed without an error and still shows version %s, not %s",
				h.Image.Component, seen.Version, h.Image.Version)
		case err != nil && waits && fault.From(err).Code == fault.Differs:
			return again(a.Poll, h, "waiting for the BMC to list all components: %v", err)
		}
	}
	if err != nil {
		return Result{}, err
	}
	if next == nil {
		return firmwareDone(h, want, have)
	}
	if h.Phase == "" && !h.Adopted {
		if last, on, err := stillOn(ctx, c, ctrl, *next); err != nil || on {
			if err != nil {
				return Result{}, err
			}
			last.Since, last.Adopted, last.Changed = a.Clock(), true, h.Changed
			return again(0, last, "%s %s was handed over by the attempt before: following it", next.Component, next.Version)
		}
	}
	tasks, err := ctrl.Tasks(ctx)
	if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
		return Result{}, err
	}
	n := firmwareHandle{Phase: "push", Image: *next, URI: component.URI, Before: component.Version, Since: a.Clock(), Changed: h.Changed}
	for _, t := range tasks {
		if updating(t, *next) {
			n.Phase, n.Task, n.Adopted, n.Baseline = "task", bmc.TaskRef{URI: t.URI}, true, nil
			return again(0, n, "an update is under way already (%s %s): following it first", t.Name, t.State)
		}
		n.Baseline = append(n.Baseline, t.URI)
	}
	r, err := again(0, n, "%s: %s -> %s", component.Name, component.Version, next.Version)
	if err == nil {
		r.Again.NewRound = true
	}
	return r, err
}

// stillOn tells whether the update that the attempt before handed over is still under way: its task has
// not ended, or waits for the reboot that this image needs. It is found by its task, whatever the BMC
// calls it.
func stillOn(ctx context.Context, c Call, ctrl bmc.Controller, next plan.Image) (firmwareHandle, bool, error) {
	last, err := resume[firmwareHandle](Call{Step: c.Step, Handle: c.Last})
	if err != nil || last.Task.URI == "" || last.Phase != "task" && last.Phase != "reboot" ||
		last.Image.Component != next.Component || last.Image.Version != next.Version {
		return last, false, err
	}
	state, err := ctrl.Task(ctx, last.Task)
	if err != nil || state.Gone || state.Done && (!state.OK || last.Rebooted || next.Reboot != "host") {
		return last, false, err
	}
	return firmwareHandle{Phase: "task", Image: next, URI: last.URI, Before: last.Before, Task: last.Task, Rebooted: last.Rebooted}, true, nil
}

// updating tells whether a task is an update under way: one that an earlier attempt started, or somebody
// else. No other image may be handed over meanwhile. One that waits for a reboot which this image does
// not bring would be followed for ever; it is the BMC's to refuse another beside it.
func updating(t bmc.TaskState, next plan.Image) bool {
	if t.Done || t.Gone || t.Waits && next.Reboot != "host" {
		return false
	}
	return isUpdate(t)
}

// isUpdate tells whether a task installs firmware: by the service that it was asked of where the BMC
// tells that, since many call their tasks "Task 0", else by its words.
func isUpdate(t bmc.TaskState) bool {
	if containsFold(t.Target, "/UpdateService") {
		return true
	}
	for _, word := range []string{"firmware", "update", "flash"} {
		if containsFold(t.Name, word) {
			return true
		}
	}
	said := strings.Join(t.Messages, " ")
	return containsFold(said, "firmware") || containsFold(said, "image")
}

// push hands the image over, unless a task that is not in the baseline shows that it was.
func (a *Site) push(ctx context.Context, c Call, ctrl bmc.Controller, h firmwareHandle) (Result, error) {
	tasks, err := ctrl.Tasks(ctx)
	if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
		return Result{}, err
	}
	for _, t := range tasks {
		if !slices.Contains(h.Baseline, t.URI) {
			h.Phase, h.Task, h.Since, h.Changed = "task", bmc.TaskRef{URI: t.URI}, a.Clock(), true
			return wrote(h, h.handedOver(), "%s: going on with the task that was started before", h.Image.Component)
		}
	}
	have, err := ctrl.Firmware(ctx)
	if err != nil {
		return Result{}, err
	}
	if seen, err := findComponent(have, h.Image.Component); err == nil && seen.Version == h.Image.Version {
		h.Phase, h.Since, h.Changed = "settle", a.Clock(), true
		return wrote(h, h.handedOver(), "%s shows %s", h.Image.Component, seen.Version)
	}
	if _, err := prove(ctx, c, ctrl, c.Asset.Serial); err != nil {
		return Result{}, err
	}
	u := bmc.FirmwareUpdate{Name: h.Image.File, Size: h.Image.Size, Push: h.Image.Push == "multipart"}
	if h.URI != "" {
		u.Targets = []string{h.URI}
	}
	if h.Image.Push != "pull" {
		u.Open = func() (io.ReadCloser, error) {
			content, _, err := a.Images.Open(ctx, h.Image.SHA256)
			return content, err
		}
	}
	if h.Image.Push != "multipart" {
		u.ImageURI, err = a.Images.URL(ctx, h.Image.SHA256, h.Image.File, c.BMC.Address)
		if f := fault.From(err); err != nil && (h.Image.Push == "pull" || f.Code != fault.Unsupported) {
			return Result{}, err
		} // a site that serves no files pushes them
	}
	task, err := ctrl.StartUpdate(ctx, u)
	if err != nil {
		return Result{}, err
	}
	h.Phase, h.Task, h.Since, h.Changed, h.By = "task", task, a.Clock(), true, a.Process
	r, err := wrote(h, h.handedOver(), "%s %s handed to the BMC", h.Image.Component, h.Image.Version)
	if err == nil {
		r.Again.After = a.Poll
	}
	return r, err
}

// handedOver is the write that is recorded when the BMC has the image, whatever becomes of it.
func (h firmwareHandle) handedOver() []plan.Write {
	return []plan.Write{{System: "bmc", Object: "firmware", Field: h.Image.Component, Before: h.Before, After: h.Image.Version}}
}

// followTask waits for the BMC's own task. One that waits for the host's reboot (iDRAC's jobs do) gets
// it, and is followed again.
func (a *Site) followTask(ctx context.Context, ctrl bmc.Controller, h firmwareHandle) (Result, error) {
	state := bmc.TaskState{Gone: true}
	if h.Task.URI != "" {
		var err error
		if state, err = ctrl.Task(ctx, h.Task); err != nil {
			return Result{}, err
		}
	}
	now := a.Clock()
	h.Since = now // it lives: being away counts from here
	if state.Gone {
		return a.withoutTask(ctx, ctrl, h, now)
	}
	h.Gone = time.Time{}
	switch {
	case state.Done && !state.OK && h.Image.Push != "multipart" && h.By != a.Process && !h.Anew:
		return a.handOverAnew(ctx, ctrl, h)
	case state.Done && !state.OK:
		return Result{}, fault.New(fault.TaskFailed, "installing %s %s ended as %s: %s",
			h.Image.Component, h.Image.Version, state.State, strings.Join(state.Messages, "; "))
	case state.Done:
		return a.flashed(h)
	case !state.Waits:
		h.Waiting = time.Time{}
	case h.Waiting.IsZero():
		h.Waiting = now
	case h.Image.Reboot == "host" && !h.Rebooted && now.Sub(h.Waiting) >= a.patience(firmwareWaits):
		return rebootForFirmware(h)
	}
	r, err := again(a.Poll, h, "%s: %s", h.Image.Component, state.State)
	if err == nil {
		r.Again.Progress.Percent = state.Percent
	}
	return r, err
}

// handOverAnew hands an image over once more after the worker that served it has ended: what failed is most
// likely the BMC's download, which is no fault of the BMC's, and nothing was written.
func (a *Site) handOverAnew(ctx context.Context, ctrl bmc.Controller, h firmwareHandle) (Result, error) {
	tasks, err := ctrl.Tasks(ctx)
	if err != nil && !errors.Is(err, bmc.ErrUnsupported) {
		return Result{}, err
	}
	n := firmwareHandle{Phase: "push", Image: h.Image, URI: h.URI, Before: h.Before, Since: a.Clock(), Changed: h.Changed, Anew: true}
	for _, t := range tasks {
		n.Baseline = append(n.Baseline, t.URI)
	}
	return again(0, n, "%s: the update failed, and the worker that served its image had ended: once more", h.Image.Component)
}

// withoutTask judges an update of which the BMC has no task: it gave none, or knows it no longer. A
// 404 alone proves nothing, and a host that is switched off while its firmware is written may be lost:
// the update counts as written when the version shows, or when it has had its time.
func (a *Site) withoutTask(ctx context.Context, ctrl bmc.Controller, h firmwareHandle, now time.Time) (Result, error) {
	if h.Rebooted { // it was written before; settling waits for the version
		return a.flashed(h)
	}
	if h.Gone.IsZero() {
		h.Gone = now
	}
	have, err := ctrl.Firmware(ctx)
	if err != nil {
		return Result{}, err
	}
	seen, missing := findComponent(have, h.Image.Component)
	if missing == nil && seen.Version == h.Image.Version {
		return a.flashed(h)
	}
	limit, why := firmwareGone, "the BMC no longer knows the update's task"
	if h.Task.URI == "" {
		limit, why = firmwareUntold, "the BMC gave no task for the update"
	}
	if now.Sub(h.Gone) >= a.patience(limit) {
		return a.flashed(h)
	}
	return again(a.Poll, h, "%s: %s; waiting for version %s", h.Image.Component, why, h.Image.Version)
}

// flashed goes on after the image was written: with the host's reboot where the profile says so, else
// with reading the version back.
func (a *Site) flashed(h firmwareHandle) (Result, error) {
	if h.Image.Reboot == "host" && !h.Rebooted {
		return rebootForFirmware(h)
	}
	h.Phase, h.Since = "settle", a.Clock()
	return again(0, h, "%s: reading the version back", h.Image.Component)
}

func rebootForFirmware(h firmwareHandle) (Result, error) {
	h.Phase, h.Cycle = "reboot", cycle{Task: h.Task.URI}
	r, err := again(0, h, "rebooting the host to start %s %s", h.Image.Component, h.Image.Version)
	if err == nil {
		r.Again.Reboot = true
	}
	return r, err
}

// reboot does the next bit of the host's reboot; afterwards the task, where there is one, is followed
// to its end.
func (a *Site) reboot(ctx context.Context, ctrl bmc.Controller, h firmwareHandle) (Result, error) {
	waiting, err := h.Cycle.advance(ctx, ctrl, a.Clock(), a.patience(powerDeadline))
	if err != nil {
		return Result{}, err
	}
	if waiting != "" {
		return again(a.Poll, h, "%s", waiting)
	}
	h.Phase, h.Since, h.Rebooted = "task", a.Clock(), true
	return again(a.Poll, h, "%s: following the update to its end", h.Image.Component)
}

func firmwareDone(h firmwareHandle, want plan.WantFirmware, have []bmc.FirmwareComponent) (Result, error) {
	data, err := json.Marshal(have)
	if err != nil {
		return Result{}, fmt.Errorf("firmware: encode: %w", err)
	}
	return Result{Done: &Done{
		Changed:  h.Changed,
		Summary:  fmt.Sprintf("%d components are at the profile's versions", len(want.Components)),
		Evidence: []operation.Evidence{{Kind: "firmware", Title: "Firmware versions, read back", Data: data}},
	}}, nil
}

// nextImage gives the first image that a component still needs, or nil. It refuses a downgrade that
// the profile does not allow, and lists all components that the machine does not have.
func nextImage(want plan.WantFirmware, have []bmc.FirmwareComponent) (*plan.Image, bmc.FirmwareComponent, error) {
	var missing []fault.Item
	for _, image := range want.Components {
		if _, err := findComponent(have, image.Component); err != nil {
			missing = append(missing, fault.Item{Subject: image.Component, Expected: "one component", Seen: err.Error()})
		}
	}
	if len(missing) > 0 {
		f := fault.New(fault.Differs, "the profile names firmware components that this machine does not have, or has several of: %s", missing[0].Subject)
		f.Details = missing
		return nil, bmc.FirmwareComponent{}, f
	}
	for _, image := range want.Components {
		seen, _ := findComponent(have, image.Component)
		if seen.Version == image.Version {
			continue
		}
		if compareVersions(seen.Version, image.Version) > 0 && !image.AllowDowngrade {
			return nil, seen, fault.New(fault.Downgrade, "%s has version %s, newer than the profile's %s", seen.Name, seen.Version, image.Version)
		}
		for _, via := range image.Via {
			if compareVersions(seen.Version, via.Version) < 0 {
				via.Component = image.Component
				return &via, seen, nil
			}
		}
		return &image, seen, nil
	}
	return nil, bmc.FirmwareComponent{}, nil
}

// findComponent finds the one component that a profile means: by ID, else by name, else by a part
// of either (iDRAC's IDs hold the version), letter case ignored. Entries that a BMC keeps for previous
// or staged images (Dell's "Previous-...", "Available-...") are not installed and do not count.
func findComponent(have []bmc.FirmwareComponent, name string) (bmc.FirmwareComponent, error) {
	ways := []func(bmc.FirmwareComponent) bool{
		func(f bmc.FirmwareComponent) bool { return strings.EqualFold(f.ID, name) },
		func(f bmc.FirmwareComponent) bool { return strings.EqualFold(f.Name, name) },
		func(f bmc.FirmwareComponent) bool { return containsFold(f.ID, name) || containsFold(f.Name, name) },
	}
	for _, way := range ways {
		var found []bmc.FirmwareComponent
		for _, f := range have {
			if way(f) && !strings.HasPrefix(f.ID, "Previous-") && !strings.HasPrefix(f.ID, "Available-") {
				found = append(found, f)
			}
		}
		switch len(found) {
		case 0:
			continue
		case 1:
			return found[0], nil
		}
		names := make([]string, len(found))
		for i, f := range found {
			names[i] = f.ID
		}
		return bmc.FirmwareComponent{}, fmt.Errorf("%q matches %s: name one by its ID", name, list(names))
	}
	names := make([]string, len(have))
	for i, f := range have {
		names[i] = f.ID
	}
	return bmc.FirmwareComponent{}, fmt.Errorf("none; the machine has %s", list(names))
}
