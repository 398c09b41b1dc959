package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// How long configuration management, or a host behind it, may be silent or busy. Like those of boots these
// count from the last that was heard, and are shorter than the deadlines of the steps.
const (
	// configLook is the pause between two looks.
	configLook = 5 * time.Second
	// configCounts is the most that one look may count for: a longer time was a pause.
	configCounts = time.Minute
	// configHost is for a host that boots, or whose minion has just been let in.
	configHost = 5 * time.Minute
	// configKey is from the first boot to the first key: the package starts its service late.
	configKey = 10 * time.Minute
	// configSilent is for a host in the middle of a run: states restart networks, and kernels.
	configSilent = 10 * time.Minute
	// configBusy is for somebody else's run on the host.
	configBusy = 30 * time.Minute
)

// configTarget is the machine as configuration management knows it.
func configTarget(c Call, s plan.System) configmgmt.Target {
	t := configmgmt.Target{Name: s.Host}
	if n := c.Known.Network; n != nil && n.Address().IsValid() {
		t.Address = n.Address().String()
	}
	return t
}

// configWrite is a write to what configuration management has of the machine, or made of it.
func configWrite(s plan.System, field, after string) plan.Write {
	return plan.Write{System: s.Driver, Object: "host " + s.Host, Field: field, Before: plan.Unknown, After: after}
}

// patient asks for another call after an error that may pass by itself, and gives up when it has lasted for
// most. The watch is the handle's.
func (a *Site) patient(err error, most time.Duration, w *watch, handle any) (Result, error) {
	f := *translate(err)
	if waited := w.look(string(f.Code), a.Clock(), a.patience(configCounts)); waited > a.patience(most) {
		f.Message += fmt.Sprintf(" (for %s)", waited.Round(time.Second))
		return Result{}, &f
	}
	return again(a.patience(configLook), handle, "%s; trying again", f.Message)
}

// sameKey compares two fingerprints of a key, in whatever form.
func sameKey(x, y string) bool {
	plain := func(s string) string {
		if hex, err := configmgmt.Fingerprint(s); err == nil {
			return hex
		}
		return strings.TrimRight(strings.TrimPrefix(strings.TrimSpace(s), "SHA256:"), "=") // base64: letter case counts
	}
	return plain(x) == plain(y)
}

// lookHandle is how long a step that only looks has waited.
type lookHandle struct {
	Watch watch `json:"watch,omitzero"`
}

// installed looks whether the machine already runs the system that is wanted. It is proved by its digest,
// which we put there, by the key that it has had since, and by what it says of itself. Only a host that is
// silent or another one is not proved: configuration management that is away is no reason to install.
func (a *Site) installed(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantInstalled, lookHandle](c)
	if err != nil {
		return Result{}, err
	}
	not := func(why string, args ...any) (Result, error) {
		return Result{Done: &Done{Summary: fmt.Sprintf("not proved: "+why+", so it is installed", args...)}}, nil
	}
	is := c.Known.Installed
	switch {
	case is == nil || is.Digest == "" || is.Fingerprint == "":
		return Result{Done: &Done{Summary: "nothing that we installed is known on the machine"}}, nil
	case is.Digest != want.System.Digest:
		return Result{Done: &Done{Summary: fmt.Sprintf("another system is on the machine: %s, digest %.12s, from operation %s", is.OS, is.Digest, is.Operation)}}, nil
	}
	d, err := a.Configs.Driver(want.System.Driver)
	if err != nil {
		return Result{}, err
	}
	t := configTarget(c, want.System)
	pin, err := d.Enrolled(ctx, t)
	var facts configmgmt.Facts
	if err == nil {
		if !sameKey(pin, is.Fingerprint) {
			return not("%s is enrolled with the key %s, and was installed with %s", t.Name, pin, is.Fingerprint)
		}
		facts, err = d.Inspect(ctx, t, configmgmt.Questions{})
	}
	switch {
	case errors.Is(err, configmgmt.ErrNotEnrolled), errors.Is(err, configmgmt.ErrFingerprint):
		return not("%v", err)
	case errors.Is(err, configmgmt.ErrHostAway): // it may be booting
		r, perr := a.patient(err, configHost, &h.Watch, &h)
		if perr != nil {
			return not("the host does not answer: %v", perr)
		}
		return r, nil
	case err != nil:
		return Result{}, err
	case !profile.SameRelease(facts.OS, is.OS):
		return not("%s runs %q, where %q was installed", t.Name, facts.OS, is.OS)
	}
	proved := *is
	proved.Proved = c.Operation
	done := &Done{Learned: &operation.Known{Installed: &proved},
		Summary: fmt.Sprintf("already so: %s, kernel %s, from operation %s, answers with its own key", facts.OS, facts.Kernel, is.Operation)}
	done.Evidence, err = proof("installed", "The system that runs, and by what it was known", map[string]any{
		"os": facts.OS, "installed": is.OS, "kernel": facts.Kernel, "digest": is.Digest, "fingerprint": pin, "operation": is.Operation})
	return Result{Done: done}, err
}
