package operation

import "github.com/cagenut/cagenut/internal/bootproto"

// The agent in RAM knows these types from package bootproto, in place of this one.
type (
	// BootIdentity is what a machine says of itself.
	BootIdentity = bootproto.BootIdentity
	// Progress is how far a step, or a command, is.
	Progress = bootproto.Progress
	// HardwareReport is the result of AgentReport.
	HardwareReport = bootproto.HardwareReport
	// Port is a network port.
	Port = bootproto.Port
	// BurnInArgs are the arguments of AgentBurnIn.
	BurnInArgs = bootproto.BurnInArgs
	// BurnInResult is its result.
	BurnInResult = bootproto.BurnInResult
	// DiskArgs are the arguments of AgentDiskLayout.
	DiskArgs = bootproto.DiskArgs
	// DiskResult is its result.
	DiskResult = bootproto.DiskResult
	// ImageArgs are the arguments of AgentWriteImage.
	ImageArgs = bootproto.ImageArgs
	// ImageResult is its result.
	ImageResult = bootproto.ImageResult
	// AgentCommand is one thing that an agent is to do.
	AgentCommand = bootproto.AgentCommand
	// CommandState is how far it is.
	CommandState = bootproto.CommandState
	// CommandResult is an agent's answer to it.
	CommandResult = bootproto.CommandResult
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
