// Package operation is the contract between those who ask for work (API), those who do it
// (workflows) and those who remember it (PostgreSQL): names, IDs, states, inputs and the commands
// with which an operator steers. client.go holds the client that starts and steers over Temporal.
//
// Words
//
//   - Operation: a plan being carried out. Workflow op/<operation-id> runs its assets in a window.
//   - Run: one asset's part. Workflow asset/<netbox-id>: that ID is the lock on the machine.
//   - Transition: one change of a run, recorded once in PostgreSQL (transition.go).
//   - Command: what an operator tells an operation or one of its runs to do.
package operation

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/cagenut/cagenut/internal/asset"
)

// ID is an operation's ID, op_ and a ULID. Everything that an operation writes outside carries it.
type ID string

// NewID makes an ID that sorts by time.
func NewID(now time.Time) ID {
	return ID("op_" + ulid.MustNew(ulid.Timestamp(now), rand.Reader).String())
}

// ParseID reads an ID.
func ParseID(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, "op_")
	if _, err := ulid.ParseStrict(rest); !ok || err != nil {
		return "", fmt.Errorf("operation ID %q: want op_ and 26 letters and digits; `cagenut op list` shows them", s)
	}
	return ID("op_" + strings.ToUpper(rest)), nil
}

// WorkflowID is the workflow that carries the operation out.
func WorkflowID(id ID) string { return "op/" + string(id) }

// AssetWorkflowID is the workflow, and so the lock, of everything that changes an asset.
func AssetWorkflowID(id asset.ID) string { return "asset/" + id.String() }

// QueueCentral is the task queue of the central workers.
const QueueCentral = "central"

// QueueSite is the task queue of a site's worker.
func QueueSite(slug string) string { return "site-" + slug }

// Workflow and activity names, as registered. They never change; versions.go of package workflows
// says how a workflow changes.
const (
	WorkflowOperation = "operation"
	WorkflowAsset     = "asset"
)

// State is the state of an operation or of one run.
type State string

// The states. A run or an operation that is Waiting stands still until a person acts (a parked
// step); one that is Away stands still until its site's worker answers.
const (
	Queued  State = "queued"
	Running State = "running"
	Paused  State = "paused"
	Waiting State = "waiting"
	Away    State = "waiting-for-site"
	Done    State = "done"
	Aborted State = "aborted"
	Failed  State = "failed" // ended without being done: the claim was lost, or the plan is bad
)

// Ended tells whether nothing more will happen.
func (s State) Ended() bool { return s == Done || s == Aborted || s == Failed }

// StepState is the state of one step of a run.
type StepState string

// The step states.
const (
	StepPending       StepState = "pending"
	StepRunning       StepState = "running"
	StepDone          StepState = "done"
	StepAlready       StepState = "already-so" // done, and nothing had to be changed
	StepSkipped       StepState = "skipped"
	StepParked        StepState = "parked"
	StepAborted       StepState = "aborted"
	StepNotApplicable StepState = "not-applicable"
)

// Ended tells whether the run has left the step behind.
func (s StepState) Ended() bool {
	switch s {
	case StepDone, StepAlready, StepSkipped, StepAborted, StepNotApplicable:
		return true
	}
	return false
}

// Start is the input of WorkflowOperation. The plan stays in PostgreSQL: payloads hold references.
type Start struct {
	Operation ID         `json:"operation"`
	Assets    []asset.ID `json:"assets"`
	Window    int        `json:"window"` // runs at once
	// Racks are those in which fewer runs may go on at once. Machines of other racks do not wait for them.
	Racks []Rack `json:"racks,omitempty"`
	// Carried is set only when the workflow continues as new.
	Carried *Carried `json:"carried,omitempty"`
}

// Rack is the machines of a rack, and how many of them may be worked on at once.
type Rack struct {
	Window int        `json:"window"`
	Assets []asset.ID `json:"assets"`
}

// Carried is what WorkflowOperation takes along when it continues as new: Start.Assets are then
// those that have not been started.
type Carried struct {
	Live   []asset.ID `json:"live"` // started, and not known to have ended
	Paused bool       `json:"paused,omitempty"`
	Tally  Tally      `json:"tally"`
	// AbortedBy is the command that aborts the operation; nil: nobody does.
	AbortedBy *Command `json:"aborted_by,omitempty"`
}

// Tally counts the runs of an operation that have ended. It is the result of WorkflowOperation.
type Tally struct {
	Done    int `json:"done"`
	Aborted int `json:"aborted"`
	Failed  int `json:"failed"`
}

// StartAsset is the input of WorkflowAsset.
type StartAsset struct {
	Operation ID       `json:"operation"`
	Asset     asset.ID `json:"asset"`
}

// Outcome is the result of WorkflowAsset and what it signals to its operation.
type Outcome struct {
	Asset asset.ID `json:"asset"`
	State State    `json:"state"`
}

// SignalFinished is the name of the signal that carries an Outcome from a run to its operation.
const SignalFinished = "finished"

// SignalReached is the name of the signal that tells a run what its machine reached (an installer's
// phone-home, an agent's result). It carries a Reached.
const SignalReached = "reached"

// Reached is one event from a machine, on which an await step waits. PostgreSQL has it before the
// run does, and the outbox may send it twice.
type Reached struct {
	Operation ID     `json:"operation"`
	Sequence  int64  `json:"sequence"` // unique in the run; a repeated one is dropped
	Stage     string `json:"stage"`    // what the step names in plan.Step.Stage
	Digest    string `json:"digest"`   // SHA-256 of what the machine sent
}

// Action is what an operator can tell an operation or a run to do. Each is a Temporal Update of
// the same name, with a Command as its argument and a Reply as its result.
type Action string

// The actions.
const (
	Pause    Action = "pause"    // after the activity that runs now
	Resume   Action = "resume"   //
	Retry    Action = "retry"    // a parked step, from its beginning
	Skip     Action = "skip"     // a parked step that may be skipped; needs a reason
	Abort    Action = "abort"    // undo bookkeeping, say what is left, end
	Complete Action = "complete" // a work order
)

// Actions lists all actions.
func Actions() []Action { return []Action{Pause, Resume, Retry, Skip, Abort, Complete} }

// Command is one operator's action. A run refuses a command that names another operation.
type Command struct {
	ID        string `json:"id"` // makes repeating the command harmless; also the Update ID
	Operation ID     `json:"operation"`
	Actor     string `json:"actor"`
	Reason    string `json:"reason,omitempty"`
	Step      string `json:"step,omitempty"`       // when set, the command applies only while this step is current
	AcceptPin string `json:"accept_pin,omitempty"` // with Retry: the fingerprint that may replace the pinned one
	// Evidence goes with Complete: one piece for each kind that the step asks for (plan.Step.Evidence).
	Evidence []Evidence `json:"evidence,omitempty"`
}

// Reply says what a command left: the state after it, or, where an activity is running that the
// command has to wait for (pause, abort), the state in which it was accepted.
type Reply struct {
	State State  `json:"state"`
	Step  string `json:"step,omitempty"`
}
