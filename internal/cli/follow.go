package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// followFlags say whether a command waits for the operation, and whether it shows progress.
type followFlags struct {
	wait, watch bool
	patience    time.Duration
}

func (f *followFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.wait, "wait", false, "wait for the end; the exit code tells how it ended")
	c.Flags().BoolVar(&f.watch, "watch", false, "wait and show progress")
	c.Flags().DurationVar(&f.patience, "patience", time.Minute, "how long the control plane may be away while waiting")
}

func (f *followFlags) on() bool { return f.wait || f.watch }

func (f *followFlags) check(dryRun bool) error {
	if dryRun && f.on() {
		return usage("--dry-run starts nothing that --wait or --watch could wait for")
	}
	return nil
}

const (
	settle    = 150 * time.Millisecond // events come in bursts; the operation is read once a burst
	lookAgain = 2 * time.Second        // and now and then without one
	lastLines = 2 * time.Second        // for events that follow the state
)

// run follows an operation until nothing more happens without a person, and gives the exit code.
// Ctrl-C ends the waiting, never the operation.
func (f *followFlags) run(s Streams, c *cobra.Command, cl *client.Client, id operation.ID) error {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	view := f.view(s, c)
	events, watchErr := make(chan operation.Event, 256), make(chan error, 1)
	go func() {
		watchErr <- cl.Watch(ctx, id, 0, f.patience, func(e operation.Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	shown := map[asset.ID]operation.State{}
	look := time.NewTimer(0)
	defer look.Stop()
	var settled *operation.Detail
	for {
		select {
		case e := <-events:
			if e.Step == "" || !e.State.Ended() { // the last step's event may carry the end, and is not the last line
				shown[e.Asset] = e.State
			}
			if err := view.event(e); err != nil {
				return err
			}
			if settled == nil {
				look.Reset(settle)
			} else if caughtUp(*settled, shown) {
				return f.end(s, c, view, *settled)
			}
		case <-look.C:
			if settled != nil { // the last lines did not come; the state is known all the same
				return f.end(s, c, view, *settled)
			}
			d, err := cl.Operation(ctx, id)
			if err != nil {
				if ctx.Err() != nil {
					return interrupted(id)
				}
				if wire.Exit(fault.From(err).Code) != ExitAway {
					return err
				}
				look.Reset(lookAgain) // the event stream decides when patience ends
				continue
			}
			if err := view.state(d); err != nil {
				return err
			}
			look.Reset(lookAgain)
			if isSettled(d) {
				settled = &d
				if !view.lines() || caughtUp(d, shown) {
					return f.end(s, c, view, d)
				}
				look.Reset(lastLines)
			}
		case err := <-watchErr:
			if c.Context().Err() != nil || errors.Is(err, context.Canceled) {
				return interrupted(id)
			}
			return err
		}
	}
}

func interrupted(id operation.ID) error {
	return fmt.Errorf("stopped waiting; operation %s goes on (cagenut op watch %s)", id, id)
}

// isSettled tells whether nothing more happens without a person: every run has ended, waits or is
// paused, or is queued behind such ones. A run that waits keeps its place in the window, and an
// operation that is paused as a whole starts nothing, so queued runs may stay so for ever.
func isSettled(d operation.Detail) bool {
	if d.State.Ended() {
		return true
	}
	queued := false
	for _, r := range d.Runs {
		switch r.State {
		case operation.Running, operation.Away:
			return false
		case operation.Queued:
			queued = true
		}
	}
	// The counts are of all runs, also of those in sites that the caller does not see.
	moving := d.Counts[operation.Running] + d.Counts[operation.Away]
	inWindow := moving + d.Counts[operation.Waiting] + d.Counts[operation.Paused]
	if queued && (moving > 0 || !d.Held && inWindow < max(d.Window, 1)) {
		return false
	}
	return len(d.Runs) > 0
}

// caughtUp tells whether the events have told every state that the operation shows; its own, under
// no asset, when it has ended: that is the last event of all.
func caughtUp(d operation.Detail, shown map[asset.ID]operation.State) bool {
	if d.State.Ended() && shown[0] != d.State {
		return false
	}
	for _, r := range d.Runs {
		if r.State != operation.Queued && shown[r.Asset.ID] != r.State { // nothing has happened to a queued one
			return false
		}
	}
	return true
}

func (f *followFlags) end(s Streams, c *cobra.Command, view view, d operation.Detail) error {
	if err := view.state(d); err != nil {
		return err
	}
	if !f.watch || format(c) == "yaml" {
		if err := s.print(c, d, func(t *table) { detailTable(t, d, time.Now()) }); err != nil {
			return err
		}
	}
	return outcome(d)
}

// outcome is nil when everything is done, else the exit code with what there is to do.
func outcome(d operation.Detail) error {
	var waiting, paused, queued, bad int
	var first string
	for _, r := range d.Runs {
		switch {
		case r.State == operation.Waiting:
			waiting++
			if first == "" {
				first = r.Asset.Name
			}
		case r.State == operation.Paused:
			paused++
		case r.State == operation.Queued:
			queued++
		case r.State.Ended() && r.State != operation.Done:
			bad++
		}
	}
	behind := ""
	if queued > 0 {
		behind = fmt.Sprintf(", and %d queued behind them", queued)
	}
	switch {
	case waiting > 0:
		return &ExitError{Code: ExitWaiting, Err: fmt.Errorf("%d of %s wait for a person%s; `cagenut op show %s --asset %s` says why",
			waiting, count(d.Assets, "machine"), behind, d.ID, first)}
	case paused > 0 || queued > 0:
		return &ExitError{Code: ExitWaiting, Err: fmt.Errorf("%d of %s are paused%s; `cagenut op resume %s --all` lets them go on",
			paused, count(d.Assets, "machine"), behind, d.ID)}
	case bad > 0:
		return &ExitError{Code: ExitFailed, Err: fmt.Errorf("%d of %s failed or were aborted; `cagenut op show %s` says which", bad, count(d.Assets, "machine"), d.ID)}
	case d.State == operation.Failed || d.State == operation.Aborted:
		return &ExitError{Code: ExitFailed, Err: fmt.Errorf("operation %s ended as %s", d.ID, d.State)}
	}
	return nil
}

// view shows progress.
type view interface {
	event(operation.Event) error
	state(operation.Detail) error
	lines() bool // whether it shows every event
}

// view chooses how to show progress: nothing (--wait), one JSON object a line, a table that is
// redrawn on a terminal, or one line a change.
func (f *followFlags) view(s Streams, c *cobra.Command) view {
	switch file, isFile := s.Out.(*os.File); {
	case !f.watch || format(c) == "yaml":
		return quietView{}
	case format(c) == "json":
		return jsonView{s.Out}
	case isFile && redraws(os.Getenv("TERM")) && term.IsTerminal(int(file.Fd())):
		return &screenView{out: s.Out, size: func() (int, int, error) { return term.GetSize(int(file.Fd())) }, clock: time.Now}
	}
	return lineView{s.Out}
}

// redraws tells whether a terminal of this kind moves its cursor: a dumb one, such as an editor's, or
// one that nobody names, would show the escapes.
func redraws(kind string) bool { return kind != "" && kind != "dumb" }

type quietView struct{}

func (quietView) event(operation.Event) error  { return nil }
func (quietView) state(operation.Detail) error { return nil }
func (quietView) lines() bool                  { return false }

// jsonView writes each event as one line of JSON.
type jsonView struct{ out io.Writer }

func (v jsonView) event(e operation.Event) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %d as JSON: %w", e.Seq, err)
	}
	_, err = v.out.Write(append(raw, '\n'))
	return err
}
func (jsonView) state(operation.Detail) error { return nil }
func (jsonView) lines() bool                  { return true }

// lineView writes one line a change, for logs and pipes.
type lineView struct{ out io.Writer }

func (v lineView) event(e operation.Event) error {
	who, what := e.Name, string(e.State)
	if who == "" {
		who = string(e.Operation)
	}
	if e.Step != "" {
		what = e.Step + " " + string(e.StepState)
	}
	text := e.Text
	if e.Action != "" {
		text = fmt.Sprintf("%s by %s. %s", e.Action, e.Actor, text)
	}
	_, err := fmt.Fprintln(v.out, clean(fmt.Sprintf("%s  %-12s %-24s %s", e.At.UTC().Format("15:04:05"), who, what, text)))
	return err
}
func (lineView) state(operation.Detail) error { return nil }
func (lineView) lines() bool                  { return true }
