// Package bootproto is what the agent in RAM and the boot service say to each other: who a machine is,
// commands, their arguments and results. docs/boot-protocol.md tells the rules. It stands apart from
// package operation, which names these types too, because the agent must stay small: the package
// knows no workflow engine and does no I/O.
package bootproto

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// BootIdentity is what a machine says of itself. All of it can be made up by whoever has the token:
// it tells mistakes (another machine on the wrong cable) from the machine that is meant.
type BootIdentity struct {
	MACs    []string `json:"macs"`
	Serials []string `json:"serials,omitempty"` // the system's, the board's: which one people type differs by vendor
	UUID    string   `json:"uuid,omitempty"`
}

// nobody are the serial numbers of machines whose vendor did not write any.
var nobody = []string{"", "0", "0123456789", "none", "not specified", "not applicable", "n/a", "default string", "to be filled by o.e.m.",
	"system serial number", "chassis serial number", "base board serial number", "unknown", "empty"}

// Normal gives an identity in the form in which identities are compared.
func (i BootIdentity) Normal() BootIdentity {
	out := BootIdentity{UUID: strings.ToLower(strings.TrimSpace(i.UUID))}
	for _, s := range i.MACs {
		if mac, ok := asset.NormalMAC(s); ok {
			out.MACs = append(out.MACs, mac)
		}
	}
	for _, s := range i.Serials {
		if s = strings.TrimSpace(s); !slices.Contains(nobody, strings.ToLower(s)) {
			out.Serials = append(out.Serials, s)
		}
	}
	return out
}

// Same tells whether two identities are of one machine, as two claims of one token must be.
func (i BootIdentity) Same(other BootIdentity) bool {
	i, other = i.Normal(), other.Normal()
	share := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(s string) bool {
			return slices.ContainsFunc(b, func(t string) bool { return strings.EqualFold(s, t) })
		})
	}
	return share(i.MACs, other.MACs) &&
		(len(i.Serials) == 0 || len(other.Serials) == 0 || share(i.Serials, other.Serials)) &&
		(i.UUID == "" || other.UUID == "" || i.UUID == other.UUID)
}

// Claimed answers an agent's claim.
type Claimed struct {
	Operation string    `json:"operation"`
	Asset     string    `json:"asset"` // its name
	Expires   time.Time `json:"expires"`
}

// Problem is how a failure looks to an agent.
type Problem struct {
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
	Remedy  string     `json:"remedy,omitempty"`
}

// MaxResultBody is the most that is taken of a command's result.
const MaxResultBody = 1 << 20

// Progress tells how far a step, or an agent's command, is.
type Progress struct {
	Text    string `json:"text"`
	Percent int    `json:"percent"` // -1: unknown
}

// The kinds of commands that an agent knows. Others are refused by the agent, not by us: it may be newer.
const (
	AgentReport     = "report"      // what hardware the machine has
	AgentBurnIn     = "burn-in"     //
	AgentDiskLayout = "disk-layout" // erases the disks that Args names
	AgentWriteImage = "write-image" // writes an image to the disks that Args names
	AgentReboot     = "reboot"      // the result is sent before
	AgentStop       = "stop"        // the result is sent, then the machine is switched off
)

// CommandState is how far an agent's command is.
type CommandState string

// The states of an agent's command.
const (
	CommandQueued  CommandState = "queued"
	CommandRunning CommandState = "running" // an agent has it
	CommandDone    CommandState = "done"
	CommandFailed  CommandState = "failed"
)

// Ended tells that the command has its result.
func (s CommandState) Ended() bool { return s == CommandDone || s == CommandFailed }

// AgentCommand is one thing that an agent is to do. Its ID is chosen by who asks: asking again with
// the same one gives what became of it.
type AgentCommand struct {
	ID       string          `json:"id"`
	Boot     int64           `json:"boot"`
	Kind     string          `json:"kind"`
	Args     json.RawMessage `json:"args,omitempty"`
	State    CommandState    `json:"state"`
	Progress *Progress       `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"` // why it failed, in the agent's words
	Queued   time.Time       `json:"queued"`
	Started  time.Time       `json:"started,omitzero"`
	Ended    time.Time       `json:"ended,omitzero"`
}

// Stage is the stage that the command's end is signalled as: its kind, or its kind and -failed.
func (c AgentCommand) Stage() string {
	if c.State == CommandFailed {
		return c.Kind + "-failed"
	}
	return c.Kind
}

// CommandResult is an agent's answer to a command.
type CommandResult struct {
	State  CommandState    `json:"state"` // done or failed
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

var (
	commandID   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	commandKind = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
)

// Check returns fault.Invalid for a command that cannot be queued.
func (c AgentCommand) Check() error {
	switch {
	case !commandID.MatchString(c.ID):
		return fault.New(fault.Invalid, "agent command %q: use 1 to 128 letters, digits and . _ - as its ID", c.ID)
	case !commandKind.MatchString(c.Kind):
		return fault.New(fault.Invalid, "agent command %s: kind %q: use small letters, digits and -", c.ID, c.Kind)
	case len(c.Args) > MaxResultBody:
		return fault.New(fault.Invalid, "agent command %s: args have %d bytes, at most %d", c.ID, len(c.Args), MaxResultBody)
	case len(c.Args) > 0 && !json.Valid(c.Args):
		return fault.New(fault.Invalid, "agent command %s: args are not JSON", c.ID)
	}
	return nil
}

// Check returns fault.Invalid for a result that cannot be kept.
func (r CommandResult) Check(id string) error {
	switch {
	case !r.State.Ended():
		return fault.New(fault.Invalid, "result of agent command %s: state %q: use done or failed", id, r.State)
	case len(r.Result) > MaxResultBody:
		return fault.New(fault.Invalid, "result of agent command %s has %d bytes, at most %d", id, len(r.Result), MaxResultBody)
	case len(r.Result) > 0 && !json.Valid(r.Result):
		return fault.New(fault.Invalid, "result of agent command %s is not JSON", id)
	case len(r.Error) > 4096:
		return fault.New(fault.Invalid, "result of agent command %s: its error has %d characters, at most 4096", id, len(r.Error))
	}
	return nil
}
