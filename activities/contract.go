// Package activities is how one step is done: a file per step kind, over the ports (bmc, inventory)
// and the small interfaces that only this package needs (this file).
//
// Words
//
//   - Call: the executor asks for one bounded piece of a step's work.
//   - Result: Done, or Again: come back later with this handle. A step never loops by itself longer
//     than about 30 seconds; the executor (workflows/asset.go) does timers, rounds and deadlines.
//   - Handle: where a step is, small and serialisable. A worker that is killed between a call's
//     effect and its result is called again with the old handle, so every call observes before it
//     acts, and "already so" is success.
//
// Errors that leave this package are *fault.Error inside a Temporal application error; errors.go
// translates. Activities hold no state of their own and are safe for concurrent use.
package activities

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// ActivityStep is the registered name of the activity that does a step. One activity serves every
// kind: a worker that lacks a kind answers fault.UnknownStep, and the run parks.
const ActivityStep = "step"

// The local activities of the central worker.
const (
	ActivityClaim  = "claim"
	ActivityRecord = "record"
)

// Call is the input of the step activity.
type Call struct {
	Operation operation.ID    `json:"operation"`
	Asset     asset.Ref       `json:"asset"`
	BMC       plan.BMC        `json:"bmc"`
	Step      plan.Step       `json:"step"`
	Known     operation.Known `json:"known"`
	Attempt   int             `json:"attempt"`
	Round     int             `json:"round"`
	Handle    json.RawMessage `json:"handle,omitempty"` // nil: the beginning
	Last      json.RawMessage `json:"last,omitempty"`   // the last handle of the attempt before; nil: there was none
	AcceptPin string          `json:"accept_pin,omitempty"`
	Undo      bool            `json:"undo,omitempty"` // an abort takes the step's bookkeeping back
}

// Result is the answer: exactly one of the two is set.
type Result struct {
	Done  *Done  `json:"done,omitempty"`
	Again *Again `json:"again,omitempty"`
}

// Done ends a step.
type Done struct {
	Changed  bool                 `json:"changed"` // false: already so
	Summary  string               `json:"summary"`
	Writes   []plan.Write         `json:"writes,omitempty"` // really made, not told before
	Evidence []operation.Evidence `json:"evidence,omitempty"`
	Learned  *operation.Known     `json:"learned,omitempty"` // non-empty fields replace what was known
}

// Again asks to be called later. NewRound and Reboot announce what the next call begins: the
// executor counts them and parks the step before that call when the plan's bound is reached.
//
// Writes and Learned are recorded with this answer, so they outlive a step that parks later: a step
// tells them as soon as the other side has accepted, and never a second time in Done. Whether the
// effect of an accepted write came too is for the step's end to say.
type Again struct {
	After    time.Duration        `json:"after"`
	Handle   json.RawMessage      `json:"handle"`
	Progress operation.Progress   `json:"progress"`
	Listen   bool                 `json:"listen,omitempty"`    // at once, too, when the machine tells something
	NewRound bool                 `json:"new_round,omitempty"` // the executor counts rounds and reboots
	Reboot   bool                 `json:"reboot,omitempty"`
	Writes   []plan.Write         `json:"writes,omitempty"` // really made, not told before
	Evidence []operation.Evidence `json:"evidence,omitempty"`
	Learned  *operation.Known     `json:"learned,omitempty"` // non-empty fields replace what was known
}

// ClaimRequest asks to take a queued run. A claim held by the same RunID is success.
type ClaimRequest struct {
	Operation operation.ID `json:"operation"`
	Asset     asset.ID     `json:"asset"`
	RunID     string       `json:"run_id"`
}

// Claim is what a run carries out.
type Claim struct {
	Target  plan.Target     `json:"target"`
	Hash    string          `json:"hash"` // of the plan
	Known   operation.Known `json:"known"`
	LastSeq int64           `json:"last_seq"`
}

// Store is what activities need of PostgreSQL; central workers only.
type Store interface {
	// Claim moves a run from queued to running and returns its part of the plan. Another run's claim
	// is fault.Locked; an operation that was aborted before is fault.Aborted.
	Claim(ctx context.Context, r ClaimRequest) (Claim, error)
	// Record applies a transition once; see operation.Transition.
	Record(ctx context.Context, t operation.Transition) error
}

// Secrets finds and keeps passwords by reference. A site's worker reaches it through the API.
// References are of the form bmc/<serial>, in capitals.
type Secrets interface {
	// Candidates gives every login worth trying for a BMC, best first: the current password, one
	// that is pending (a crash may have come after the change), the factory's by serial, then by MAC.
	Candidates(ctx context.Context, a asset.Ref, account string) ([]Candidate, error)
	// Propose makes a new password durable as pending before the BMC is touched, and returns it.
	// When one is pending already, that one is returned: a repeated call never makes a second, unless
	// the pending one is longer than is asked for now. It then stays a candidate, since the BMC may
	// have taken it after all.
	Propose(ctx context.Context, a asset.Ref, account string, length int) (Candidate, error)
	// Promote makes the pending password the current one, after a login with it. It is idempotent.
	Promote(ctx context.Context, a asset.Ref, account string) error
}

// CandidateSource says where a password came from.
type CandidateSource string

// The sources.
const (
	SourceCurrent CandidateSource = "current"
	SourcePending CandidateSource = "pending"
	SourceShared  CandidateSource = "shared"   // the one that all machines have, and that cannot be kept anew
	SourceOlder   CandidateSource = "replaced" // pending once, and replaced by a shorter one
	SourceFactory CandidateSource = "factory"
)

// Candidate is a login worth trying.
type Candidate struct {
	Source      CandidateSource
	Credentials bmc.Credentials
}

// BMCs opens controllers through the worker's brokers.
type BMCs interface {
	// Open logs in to the BMC. With an empty pin it is first contact: the certificate is accepted and
	// reported in Identity.Fingerprint. The controller may be shared; Close returns it to the broker.
	// Credentials that this BMC refused before are not sent again: bmc.ErrRefusedBefore.
	Open(ctx context.Context, e bmc.Endpoint, c bmc.Credentials) (bmc.Controller, error)
	// ForgetRefused lets these be sent again, when the BMC's login budget has room; false
	// says that it has not and that nothing was forgotten.
	ForgetRefused(e bmc.Endpoint, all []bmc.Credentials) bool
}

// Images are the firmware files as this worker can serve them.
type Images interface {
	// URL is where the BMC at address can fetch the image; the worker serves it there by SHA-256.
	URL(ctx context.Context, sha256, name, bmcAddress string) (string, error)
	// Open reads an image, verified against its SHA-256 while it is read.
	Open(ctx context.Context, sha256 string) (io.ReadCloser, int64, error)
}

// Boots opens and follows the boot records of a site's machines. A site's worker reaches it through
// the API.
type Boots interface {
	// Open opens a record for a step's attempt, closing what else was open for the asset. It is harmless
	// to repeat: the record is as it was first opened. One that was closed since is fault.BootUsed.
	Open(ctx context.Context, o operation.BootOpen) (operation.BootRecord, error)
	// State gives the newest record that a step's attempt opened, with what the machine told;
	// fault.NotFound without one. Step and attempt empty and 0: the newest of the operation's.
	State(ctx context.Context, op operation.ID, a asset.ID, step string, attempt int) (operation.BootState, error)
	// Close closes a record: its tokens are good for nothing any more. It is harmless to repeat.
	Close(ctx context.Context, boot int64) error
	// Command queues a command for the record's agent, once by its ID, and gives what became of it.
	Command(ctx context.Context, c operation.AgentCommand) (operation.AgentCommand, error)
}

// ConfigManagements gives the site's configuration management.
type ConfigManagements interface {
	// Driver gives a driver, salt or ansible, which is the worker's: nobody else closes it. One that the
	// site's configuration does not set up is fault.Incomplete and names what to set.
	Driver(name string) (configmgmt.Driver, error)
}

// Notices tells people. Telling the same (by its Key) twice is harmless.
type Notices interface {
	Notify(ctx context.Context, n operation.Notice) error
}
