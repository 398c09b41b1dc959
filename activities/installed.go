package activities

import (
	"context"
	"errors"
	"fmt"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// installedHandle is where the step is.
type installedHandle struct {
	Watch watch `json:"watch,omitzero"`
}

// installed proves that the machine runs this very system already, or does not. What cannot be proved
// is installed; only when configuration management itself is away does that wait.
func (a *Site) installed(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantInstalled, installedHandle](c)
	if err != nil {
		return Result{}, err
	}
	is := c.Known.Installed
	switch {
	case is == nil || is.Digest == "":
		return notInstalled("nothing that Cagenut installed is on the machine")
	case is.Digest != want.System.Digest:
		return notInstalled("another system is on the machine: %s, made from other things by %s", is.OS, is.Operation)
	case is.Fingerprint == "":
		return notInstalled("%s is on the machine, and nothing to prove it by", is.OS)
	}
	driver, host, err := a.hostOf(c, want.System)
	if err != nil {
		return Result{}, err
	}
	key, err := driver.Enrolled(ctx, host)
	if errors.Is(err, configmgmt.ErrNotEnrolled) || err == nil && !sameKey(key, is.Fingerprint) {
		return notInstalled("not proved: %s is enrolled under another key than %s phoned home, or under none", host.Name, c.Asset.Name)
	}
	if err != nil {
		return Result{}, err
	}
	facts, err := driver.Inspect(ctx, host, configmgmt.Questions{})
	switch {
	case errors.Is(err, configmgmt.ErrHostAway): // it may be off, or on its way up
		if h.Watch.look("", a.Clock(), 3*a.patience(hostLook)) > a.patience(hostAnswers) {
			return notInstalled("not proved: the host does not answer")
		}
		return again(a.patience(hostLook), h, "waiting whether the host answers")
	case errors.Is(err, configmgmt.ErrNotEnrolled), errors.Is(err, configmgmt.ErrFingerprint):
		return notInstalled("not proved: the host does not answer under the key that it phoned home")
	case err != nil:
		return Result{}, err
	case facts.OS != is.OS:
		return notInstalled("%s runs on the host, where %s was installed", facts.OS, is.OS)
	}
	proved := *is
	proved.Proved = c.Operation
	done := &Done{Summary: fmt.Sprintf("already so: %s, kernel %s, installed by %s", facts.OS, facts.Kernel, is.Operation), Learned: &operation.Known{Installed: &proved}}
	done.Evidence, err = proof("installed", "The system that is on the machine", map[string]any{"host": host.Name, "fingerprint": key, "os": facts.OS,
		"kernel": facts.Kernel, "digest": is.Digest, "operation": is.Operation, "at": is.At})
	return Result{Done: done}, err
}

func notInstalled(text string, args ...any) (Result, error) {
	return Result{Done: &Done{Summary: fmt.Sprintf(text, args...) + ": it is installed"}}, nil
}
