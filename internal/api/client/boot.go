package client

import (
	"context"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

// BootByToken gives the open boot record of a token. The token itself does not travel.
func (c *Client) BootByToken(ctx context.Context, sum operation.BootSum) (operation.BootRecord, error) {
	return post[operation.BootRecord](ctx, c, "/v1/worker/boot/lookup", wire.BootLookup{Token: sum})
}

// BootByMAC gives the open boot record of the machine with a MAC, and makes a token good for it whose
// SHA-256 is mint, unless the machine is to boot its disk.
func (c *Client) BootByMAC(ctx context.Context, mac string, mint operation.BootSum) (operation.BootRecord, error) {
	return post[operation.BootRecord](ctx, c, "/v1/worker/boot/lookup", wire.BootLookup{MAC: mac, Mint: mint})
}

// BootEvent passes on what a machine reported.
func (c *Client) BootEvent(ctx context.Context, sum operation.BootSum, stage string, body []byte, from string) (operation.Heard, error) {
	return post[operation.Heard](ctx, c, "/v1/worker/boot/event", wire.BootReport{Token: sum, Stage: stage, Body: body, From: from})
}

// AgentClaim says which machine an agent runs on.
func (c *Client) AgentClaim(ctx context.Context, sum operation.BootSum, who operation.BootIdentity, from string) (operation.BootRecord, error) {
	return post[operation.BootRecord](ctx, c, "/v1/worker/agent/claim", wire.AgentClaim{Token: sum, Who: who, From: from})
}

// AgentNext gives an agent's next command; nil when none came within waitSec seconds.
func (c *Client) AgentNext(ctx context.Context, sum operation.BootSum, waitSec int) (*operation.AgentCommand, error) {
	task, err := post[wire.AgentTask](ctx, c, "/v1/worker/agent/next", wire.AgentNext{Token: sum, WaitSec: waitSec})
	return task.Command, err
}

// AgentProgress tells how far a command is.
func (c *Client) AgentProgress(ctx context.Context, sum operation.BootSum, command string, p operation.Progress) error {
	_, err := post[struct{}](ctx, c, "/v1/worker/agent/progress", wire.AgentProgress{Token: sum, Command: command, Progress: p})
	return err
}

// AgentResult tells what became of a command.
func (c *Client) AgentResult(ctx context.Context, sum operation.BootSum, command string, r operation.CommandResult, from string) (operation.AgentCommand, error) {
	return post[operation.AgentCommand](ctx, c, "/v1/worker/agent/result", wire.AgentResult{Token: sum, Command: command, Result: r, From: from})
}

// BootOpen opens a boot record for a step of a run, and is harmless to repeat.
func (c *Client) BootOpen(ctx context.Context, o operation.BootOpen) (operation.BootRecord, error) {
	return post[operation.BootRecord](ctx, c, "/v1/worker/boot/open", wire.BootOpen{Operation: o.Operation, Asset: o.Asset, Step: o.Step,
		Purpose: o.Purpose, Attempt: o.Attempt, Token: o.TokenSum, MACs: o.MACs, Serial: o.Serial, UUID: o.UUID, Machine: o.Machine,
		ValidSec: int(o.Expires.Sub(o.At) / time.Second)})
}

// BootState gives the newest record of a step's attempt, or of the operation when step is empty, with
// what the machine told.
func (c *Client) BootState(ctx context.Context, op operation.ID, a asset.ID, step string, attempt int) (operation.BootState, error) {
	return post[operation.BootState](ctx, c, "/v1/worker/boot/state", wire.BootQuestion{Operation: op, Asset: a, Step: step, Attempt: attempt})
}

// BootClose closes a record, and with it its tokens.
func (c *Client) BootClose(ctx context.Context, boot int64) error {
	_, err := post[struct{}](ctx, c, "/v1/worker/boot/close", wire.BootClose{Boot: boot})
	return err
}

// AgentCommand queues a command for a record's agent, once by its ID, and gives what became of it.
func (c *Client) AgentCommand(ctx context.Context, cmd operation.AgentCommand) (operation.AgentCommand, error) {
	return post[operation.AgentCommand](ctx, c, "/v1/worker/agent/command", wire.AgentOrder{Boot: cmd.Boot, ID: cmd.ID, Kind: cmd.Kind, Args: cmd.Args})
}
