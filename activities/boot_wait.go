package activities

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// How long a machine may be silent. Each counts from the stage before, and all are shorter than the
// deadlines of the steps, so that the fault says what was missing.
const (
	// bootLook is the pause between two looks at a record: the run is woken by whatever the machine tells.
	bootLook = 60 * time.Second
	// bootAsks is from power on to the first question: ten minutes of POST with much memory, then DHCP
	// on ports that have no link first.
	bootAsks = 20 * time.Minute
	// bootKernel is from there until the kernel speaks: it is fetched, and for Ubuntu a medium of 3 GB too.
	bootKernel = 20 * time.Minute
	// bootBegins is from an installer's answers to its first report, and on to its partitions.
	bootBegins = 15 * time.Minute
	// bootWrites is for the packages, from a slow mirror.
	bootWrites = 60 * time.Minute
	// bootFirst is from the installed system to its first boot: POST once more, and package hooks.
	bootFirst = 30 * time.Minute
	// bootOff is how long an installer takes to switch the machine off.
	bootOff = 10 * time.Minute
	// agentTakes is how long an agent that lives takes to fetch a command.
	agentTakes = 3 * time.Minute
	// agentSilent is how long one may work without a word of progress.
	agentSilent = 20 * time.Minute
)

// watch counts the time in which somebody looked: a pause and a site that was away count for nothing.
type watch struct {
	Stage  string        `json:"stage,omitempty"` // that is waited from
	Waited time.Duration `json:"waited,omitempty"`
	Seen   time.Time     `json:"seen,omitzero"`
}

// look counts on, anew when the stage is another one. A look counts for most at most.
func (w *watch) look(stage string, now time.Time, most time.Duration) time.Duration {
	if w.Stage != stage || w.Seen.IsZero() {
		*w = watch{Stage: stage, Seen: now}
	}
	w.Waited += min(now.Sub(w.Seen), most)
	w.Seen = now
	return w.Waited
}

// silence is how long nothing has been heard since a stage.
func (a *Site) silence(h *bootHandle, stage string) time.Duration {
	return h.Watch.look(stage, a.Clock(), 3*a.patience(bootLook))
}

// listen asks for a call when the machine tells something, and for a look after a while all the same.
func (a *Site) listen(h bootHandle, percent int, text string, args ...any) (Result, error) {
	r, err := again(a.patience(bootLook), h, text, args...)
	if err == nil {
		r.Again.Listen, r.Again.Progress.Percent = true, percent
	}
	return r, err
}

// silent is the fault when nothing came for too long since a stage.
func (a *Site) silent(h *bootHandle, c Call, stage string, most time.Duration) error {
	waited := a.silence(h, stage)
	if waited <= a.patience(most) {
		return nil
	}
	waited = waited.Round(time.Second)
	switch stage {
	case "":
		return fault.New(fault.NoDHCP, "%s is on for %s, and nothing asked for DHCP, or it got no answer", c.Asset.Name, waited)
	case operation.StageAsked:
		return fault.New(fault.NoPhoneHome, "%s was told %s ago what to boot: its kernel did not come up, cannot reach the boot service, or came with an old one-time URL", c.Asset.Name, waited)
	}
	return fault.New(fault.InstallerHangs, "%s reported nothing for %s after %s", c.Asset.Name, waited, stage)
}

// event is the newest event of a stage.
func event(s operation.BootState, stage string) (operation.BootEvent, bool) {
	for _, e := range slices.Backward(s.Events) {
		if e.Stage == stage {
			return e, true
		}
	}
	return operation.BootEvent{}, false
}

func has(s operation.BootState, stage string) bool {
	_, ok := event(s, stage)
	return ok
}

// farthest is the last of stages, which are in their order, that a machine has reached; empty: none.
func farthest(s operation.BootState, stages ...string) string {
	for _, stage := range slices.Backward(stages) {
		if has(s, stage) {
			return stage
		}
	}
	return ""
}

// refused gives the fault of a machine that is not the record's.
func refused(s operation.BootState) error {
	e, ok := event(s, operation.StageRefused)
	if !ok {
		return nil
	}
	report := operation.ParseReport(e.Body)
	why := string(e.Body)
	if r := report["reason"]; len(r) > 0 {
		why = r[0]
	}
	code := fault.WrongMachine
	if s.Record.Claimed != nil && slices.Contains(report["stage"], operation.StageClaimed) {
		code = fault.BootClaimed
	}
	return fault.New(code, "a report for %s was refused: %s", s.Record.Asset.Name, strings.TrimSpace(why))
}

// story is what a machine told, as evidence.
func story(s operation.BootState) []map[string]string {
	out := make([]map[string]string, len(s.Events))
	for i, e := range s.Events {
		out[i] = map[string]string{"stage": e.Stage, "at": e.At.UTC().Format(time.RFC3339), "from": e.From}
	}
	return out
}

// proof is evidence of plain data.
func proof(kind, title string, v any) ([]operation.Evidence, error) {
	data, err := json.Marshal(v)
	return []operation.Evidence{{Kind: kind, Title: title, Data: data}}, err
}
