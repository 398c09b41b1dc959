package wire

import (
	"encoding/json"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

// BootLookup is a site worker's question for a boot record of its own site: by token, or by MAC.
type BootLookup struct {
	Token operation.BootSum `json:"token,omitempty"`
	MAC   string            `json:"mac,omitempty"`
	// Mint, with MAC, is the SHA-256 of a token that the worker made: it is good from now on, unless
	// the machine is to boot its disk.
	Mint operation.BootSum `json:"mint,omitempty"`
}

// BootReport is what a booting machine told the worker of its site.
type BootReport struct {
	Token operation.BootSum `json:"token"`
	Stage string            `json:"stage"`
	Body  []byte            `json:"body"`
	From  string            `json:"from"` // address of the machine
}

// AgentClaim is an agent that says which machine it runs on.
type AgentClaim struct {
	Token operation.BootSum      `json:"token"`
	Who   operation.BootIdentity `json:"who"`
	From  string                 `json:"from"`
}

// AgentNext is an agent that asks what to do, and waits for it.
type AgentNext struct {
	Token   operation.BootSum `json:"token"`
	WaitSec int               `json:"wait_sec"` // at most 30
}

// AgentTask answers AgentNext. Without a command there is nothing to do yet.
type AgentTask struct {
	Command *operation.AgentCommand `json:"command,omitempty"`
}

// AgentProgress tells how far a command is.
type AgentProgress struct {
	Token    operation.BootSum  `json:"token"`
	Command  string             `json:"command"`
	Progress operation.Progress `json:"progress"`
}

// AgentResult tells what became of a command.
type AgentResult struct {
	Token   operation.BootSum       `json:"token"`
	Command string                  `json:"command"`
	Result  operation.CommandResult `json:"result"`
	From    string                  `json:"from"`
}

// BootOpen asks to open a boot record for a step of a run. The clock is the server's.
type BootOpen struct {
	Operation operation.ID      `json:"operation"`
	Asset     asset.ID          `json:"asset"`
	Step      string            `json:"step"`
	Purpose   operation.Purpose `json:"purpose"`
	Attempt   int               `json:"attempt"`
	Token     operation.BootSum `json:"token"` // SHA-256 of the one-time token, which does not travel
	MACs      []string          `json:"macs"`
	Serial    string            `json:"serial,omitempty"`
	UUID      string            `json:"uuid,omitempty"`
	Machine   json.RawMessage   `json:"machine"`
	ValidSec  int               `json:"valid_sec"` // until it expires, at most a week
}

// BootQuestion asks for the newest boot record of a step's attempt, with what the machine told. Without
// a step it is the newest of the operation.
type BootQuestion struct {
	Operation operation.ID `json:"operation"`
	Asset     asset.ID     `json:"asset"`
	Step      string       `json:"step,omitempty"`
	Attempt   int          `json:"attempt,omitempty"`
}

// BootClose closes a boot record.
type BootClose struct {
	Boot int64 `json:"boot"`
}

// AgentOrder queues a command for the agent of a boot record, once by its ID.
type AgentOrder struct {
	Boot int64           `json:"boot"`
	ID   string          `json:"id"`
	Kind string          `json:"kind"`
	Args json.RawMessage `json:"args,omitempty"`
}
