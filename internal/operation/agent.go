package operation

import "github.com/cagenut/cagenut/internal/bootproto"

// BootIdentity and the others are what the agent in RAM says and is told. They stand in package
// bootproto, which the agent knows in place of this one.
type (
	BootIdentity   = bootproto.BootIdentity
	Progress       = bootproto.Progress
	HardwareReport = bootproto.HardwareReport
	Port           = bootproto.Port
	BurnInArgs     = bootproto.BurnInArgs
	BurnInResult   = bootproto.BurnInResult
	DiskArgs       = bootproto.DiskArgs
	DiskResult     = bootproto.DiskResult
	ImageArgs      = bootproto.ImageArgs
	ImageResult    = bootproto.ImageResult
	AgentCommand   = bootproto.AgentCommand
	CommandState   = bootproto.CommandState
	CommandResult  = bootproto.CommandResult
)

// MaxResultBody is the most that is taken in of an agent's result.
const MaxResultBody = bootproto.MaxResultBody

// The kinds of commands, and their states.
const (
	AgentReport     = bootproto.AgentReport
	AgentBurnIn     = bootproto.AgentBurnIn
	AgentDiskLayout = bootproto.AgentDiskLayout
	AgentWriteImage = bootproto.AgentWriteImage
	AgentReboot     = bootproto.AgentReboot
	AgentStop       = bootproto.AgentStop

	CommandQueued  = bootproto.CommandQueued
	CommandRunning = bootproto.CommandRunning
	CommandDone    = bootproto.CommandDone
	CommandFailed  = bootproto.CommandFailed
)
