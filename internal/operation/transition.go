package operation

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/netconf"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
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

// Known is what Cagenut keeps about an asset between steps and operations. It holds references, never
// secrets.
type Known struct {
	Serial string   `json:"serial,omitempty"`
	Pin    string   `json:"pin,omitempty"`    // SHA-256 of the BMC's certificate
	Secret string   `json:"secret,omitempty"` // reference to its password
	Quirks []string `json:"quirks,omitempty"`
	// Network is the machine's, as NetBox had it when this operation gave it its addresses.
	Network *netconf.Network `json:"network,omitempty"`
	// Disks are those that the profile's hints chose, as the agent saw them.
	Disks []profile.Disk `json:"disks,omitempty"`
	// Installed is the system on the disks; one without a digest says that there is none any more.
	Installed *Installed `json:"installed,omitempty"`
}

// Installed is a system that an operation of ours put on a machine, and by what it can be known again.
type Installed struct {
	Digest      string    `json:"digest,omitempty"`      // plan.System's
	OS          string    `json:"os,omitempty"`          // as its os-release says: ID and VERSION_ID
	Kernel      string    `json:"kernel,omitempty"`      // release that first came up
	Fingerprint string    `json:"fingerprint,omitempty"` // of the key that configuration management knows the host by, SHA-256
	Operation   ID        `json:"operation,omitempty"`   // that installed it
	At          time.Time `json:"at,omitzero"`
	// Proved is the operation that last saw this system run; its later steps leave it alone.
	Proved ID `json:"proved,omitempty"`
}

// Is tells that an operation has proved that the machine runs the system with this digest.
func (i *Installed) Is(digest string, proved ID) bool {
	return i != nil && i.Digest != "" && i.Digest == digest && i.Proved == proved
}

// Merge gives what is known after something was learned: fields that are empty in l stay as they were.
func (k Known) Merge(l Known) Known {
	k.Serial, k.Pin, k.Secret = cmp.Or(l.Serial, k.Serial), cmp.Or(l.Pin, k.Pin), cmp.Or(l.Secret, k.Secret)
	if len(l.Quirks) > 0 {
		k.Quirks = l.Quirks
	}
	if l.Network != nil {
		k.Network = l.Network
	}
	if len(l.Disks) > 0 {
		k.Disks = l.Disks
	}
	if l.Installed != nil {
		k.Installed = l.Installed
	}
	return k
}
