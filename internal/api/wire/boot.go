package wire

import "github.com/cagenut/cagenut/internal/operation"

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
