package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
)

// screenView redraws a table in place on a terminal. What needs a person stands on top, what is done
// at the bottom, and what does not fit is counted.
type screenView struct {
	out   io.Writer
	size  func() (width, height int, err error)
	clock func() time.Time
	drawn int // lines of the last drawing
}

func (v *screenView) event(operation.Event) error { return nil } // the state is read after each burst
func (v *screenView) lines() bool                 { return false }

func (v *screenView) state(d operation.Detail) error {
	width, height, err := v.size()
	if err != nil || width < 20 || height < 5 {
		width, height = 100, 40
	}
	lines := screen(d, v.clock(), width, height)
	var b bytes.Buffer
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + l + "\n")
	}
	b.WriteString("\x1b[J")
	v.drawn = len(lines)
	_, err = v.out.Write(b.Bytes())
	return err
}

// urgency orders runs on the screen.
var urgency = []operation.State{operation.Waiting, operation.Failed, operation.Away, operation.Paused, operation.Running, operation.Queued, operation.Aborted, operation.Done}

// screen draws an operation in at most height-1 lines of at most width characters.
func screen(d operation.Detail, now time.Time, width, height int) []string {
	runs := slices.Clone(d.Runs)
	slices.SortStableFunc(runs, func(a, b operation.Run) int {
		return cmp.Or(slices.Index(urgency, a.State)-slices.Index(urgency, b.State), strings.Compare(a.Asset.Name, b.Asset.Name))
	})
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tSTATE\tSTEP\tFOR\t")
	shown := min(len(runs), height-4)
	for _, r := range runs[:shown] {
		n, step := current(r)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", clean(r.Asset.Name), mark(r.State), clean(n), span(r.Started, r.Ended, now), clean(says(r, step)))
	}
	w.Flush() // the writer below is memory
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if rest := len(runs) - shown; rest > 0 {
		lines = append(lines, fmt.Sprintf("... and %d more", rest))
	}
	lines = append(lines, fmt.Sprintf("%s  %s  %s", d.ID, d.State, tallyOf(d)))
	for i, l := range lines {
		if r := []rune(l); len(r) > width-1 {
			lines[i] = string(r[:width-2]) + "…"
		}
	}
	return lines
}

// mark shows a state in words: a screen may have no colours, and some people do not see them.
func mark(s operation.State) string {
	switch s {
	case operation.Waiting:
		return "WAITS FOR YOU"
	case operation.Failed:
		return "FAILED"
	}
	return string(s)
}

// current gives "3/8 bios" and the step that it is.
func current(r operation.Run) (string, *operation.Step) {
	ended := 0
	for i := range r.Steps {
		if r.Steps[i].Name == r.Step && !r.State.Ended() {
			return fmt.Sprintf("%d/%d %s", i+1, len(r.Steps), r.Step), &r.Steps[i]
		}
		if r.State == operation.Aborted && r.Steps[i].State == operation.StepAborted { // what follows was never begun
			return fmt.Sprintf("%d/%d %s", i+1, len(r.Steps), r.Steps[i].Name), &r.Steps[i]
		}
		if r.Steps[i].State.Ended() {
			ended++
		}
	}
	if len(r.Steps) == 0 {
		return r.Step, nil
	}
	return fmt.Sprintf("%d/%d", ended, len(r.Steps)), nil
}

// says is what there is to say of a run: its trouble, else its progress.
func says(r operation.Run, step *operation.Step) string {
	switch {
	case r.Error != nil:
		return r.Error.Message
	case len(r.Left) > 0:
		return "left: " + strings.Join(r.Left, "; ")
	case step != nil && step.Error != nil:
		return step.Error.Message
	case step != nil && step.Progress != nil && step.Progress.Percent >= 0:
		return fmt.Sprintf("%s (%d%%)", step.Progress.Text, step.Progress.Percent)
	case step != nil && step.Progress != nil:
		return step.Progress.Text
	}
	return ""
}

// tallyOf counts the runs by state, in the order of urgency.
func tallyOf(d operation.Detail) string {
	counts := map[operation.State]int{}
	for _, r := range d.Runs {
		counts[r.State]++
	}
	var parts []string
	for _, s := range urgency {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	return strings.Join(parts, ", ")
}
