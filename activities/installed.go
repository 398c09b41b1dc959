package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/fault"
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
// which we put there, by the key that it has had since, and by the release that it says it is: updates
// within one are no reason to erase it. Another release under the very key of our install was brought there
// in place too, and a person decides. Only a host that is silent or another one is not proved:
// configuration management that is away is no reason to install.
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
	case profile.Line(facts.OS) != profile.Line(is.OS):
		f := fault.New(fault.WrongOS, "nothing was erased: %s answers with the key of its install by operation %s, and runs %q, where %q was installed", t.Name, is.Operation, facts.OS, is.OS)
		f.Remedy = "find out who brought it to another release; `cagenut op skip` of this step installs it anew, which erases it; to keep it: `cagenut op abort`"
		f.Details = []fault.Item{{Subject: "os-release", Expected: profile.Line(is.OS), Seen: facts.OS}}
		return Result{}, f
	}
	proved := *is
	proved.Proved = c.Operation
	done := &Done{Learned: &operation.Known{Installed: &proved},
		Summary: fmt.Sprintf("already so: %s, kernel %s, from operation %s, answers with its own key", facts.OS, facts.Kernel, is.Operation)}
	why := "made from what is wanted (digest), and answers with the key that it phoned home then; its system is the one that was installed"
	if strings.TrimSpace(facts.OS) != strings.TrimSpace(is.OS) {
		done.Summary += ", updated in place from " + is.OS
		why += ", updated in place within its release"
	}
	done.Evidence, err = proof("installed", "The system that runs, and by what it was known", map[string]any{
		"os": facts.OS, "installed_os": is.OS, "release": profile.Line(is.OS), "kernel": facts.Kernel, "installed_kernel": is.Kernel,
		"wanted_digest": want.System.Digest, "installed_digest": is.Digest, "fingerprint": pin, "installed_fingerprint": is.Fingerprint,
		"operation": is.Operation, "why": why})
	return Result{Done: done}, err
}
