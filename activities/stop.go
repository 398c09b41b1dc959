package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/plan"
)

// stop ends the runs of a configure step that is followed no more: that of its last attempt, and that of the
// attempt before, which may have gone on when it was given up. The summary says what they leave; it is empty
// when there was none.
func (a *Site) stop(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantConfigure, configureHandle](c)
	if err != nil {
		return Result{}, err
	}
	d, err := a.Configs.Driver(want.System.Driver)
	if err != nil {
		return Result{}, err
	}
	var told []string
	var failed error
	for back, h := range []configureHandle{h, before[configureHandle](c)} {
		if h.Phase != phaseTest && h.Phase != phaseReal {
			continue
		}
		run := d.HandleOf(h.request(c, configTarget(c, want.System), want, c.Attempt-back), h.Phase == phaseTest)
		if h.Run != nil {
			run = *h.Run
		}
		if err := d.Cancel(ctx, run); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		what := fmt.Sprintf("%s run %s on %s", h.Phase, run.Job, run.Target)
		if h.Run == nil {
			told = append(told, what+": whether it was accepted is not known, and nothing of it works")
			continue
		}
		told = append(told, what+" "+leaves(d.Poll(ctx, run)))
	}
	if failed != nil {
		return Result{}, failed
	}
	return Result{Done: &Done{Changed: len(told) > 0, Summary: strings.Join(told, "; ")}}, nil
}

// leaves says what a run that was told to end leaves.
func leaves(r configmgmt.Report, err error) string {
	switch {
	case configmgmt.Over(err):
		return fmt.Sprintf("had ended without doing anything: %v", err)
	case err == nil && (r.State == configmgmt.Succeeded || r.State == configmgmt.Failed):
		return "had ended: " + told(r)
	case err == nil && r.State == configmgmt.Lost:
		err = errors.New(r.Detail)
	case err == nil:
		err = errors.New("it is still shown as under way")
	}
	return fmt.Sprintf("was told to end, and works no more; how far it came is not known (%v), and a command that it had started may still run on the host", err)
}
