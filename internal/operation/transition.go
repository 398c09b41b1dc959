package operation

import (
	"encoding/json"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// Transition is one change of a run: it ends a step, begins the next, or tells of a change within
// one. Recording it twice is harmless: it is keyed by operation, asset and Seq, and a Seq that is
// not newer than the last is ignored.
type Transition struct {
	Operation ID           `json:"operation"`
	Asset     asset.ID     `json:"asset"`
	Seq       int64        `json:"seq"` // 1, 2, 3 within the run
	At        time.Time    `json:"at"`
	State     State        `json:"state"`          // of the run, after this
	Step      string       `json:"step,omitempty"` // the step that is current after this
	Steps     []StepChange `json:"steps,omitempty"`
	Actor     string       `json:"actor,omitempty"` // when an operator caused it
	Action    Action       `json:"action,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Error     *fault.Error `json:"error,omitempty"` // why the run waits or failed
	Left      []string     `json:"left,omitempty"`  // what an abort left behind
	Learned   *Known       `json:"learned,omitempty"`
	Vendor    string       `json:"vendor,omitempty"` // of the machine, for statistics
}

// SeqLost is the Seq of the transition that ends a run whose workflow is gone without a word. It is
// later than any other, and a run that has ended ignores it.
const SeqLost = 1 << 40

// StepChange is the new state of one step. Writes and Evidence are those since the transition
// before: the store adds them to what it has.
type StepChange struct {
	Step     string       `json:"step"`
	State    StepState    `json:"state"`
	Attempt  int          `json:"attempt"`
	Round    int          `json:"round,omitempty"`
	Progress *Progress    `json:"progress,omitempty"`
	Error    *fault.Error `json:"error,omitempty"`
	Summary  string       `json:"summary,omitempty"`
	Writes   []plan.Write `json:"writes,omitempty"` // what was really changed, before -> after
	Evidence []Evidence   `json:"evidence,omitempty"`
	// Took is how long the attempt lasted, pauses included, in the transition that ends or parks it.
	Took time.Duration `json:"took,omitempty"`
}

// Progress tells how far a step is.
type Progress struct {
	Text    string `json:"text"`
	Percent int    `json:"percent"` // -1: unknown
}

// Evidence is what a step leaves as proof. The store keeps Data over 32 KiB apart: where evidence is
// read with its run, Data is then {"sha256": ..., "size": ...} and Blob says so.
type Evidence struct {
	Kind  string          `json:"kind"` // e.g. identity, sel, bios-diff, hardware
	Title string          `json:"title"`
	Data  json.RawMessage `json:"data"`

	// Set where evidence is read, never where it is made.
	Attempt int       `json:"attempt,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Digest  string    `json:"digest,omitempty"` // SHA-256 of the canonical JSON of the whole data; the audit chain names it
	Blob    string    `json:"blob,omitempty"`   // SHA-256 under which the data is to be had, when it is large
}

// Known is what Cagenut keeps about an asset's BMC between steps and operations. It holds
// references, never secrets.
type Known struct {
	Serial string   `json:"serial,omitempty"`
	Pin    string   `json:"pin,omitempty"`    // SHA-256 of the BMC's certificate
	Secret string   `json:"secret,omitempty"` // reference to its password
	Quirks []string `json:"quirks,omitempty"`
}
