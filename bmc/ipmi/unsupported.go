package ipmi

import (
	"context"

	"github.com/cagenut/cagenut/bmc"
)

// What IPMI has no commands for. A profile for such a machine says so (bmc: ipmi), and the plan
// then leaves these steps out.

func (c *Controller) unsupported(op string) error {
	return &bmc.Error{Kind: bmc.ErrUnsupported, Op: op, Host: c.host, Detail: "IPMI cannot do it"}
}

// never is unsupported, but gives precedence to a context that has ended.
func (c *Controller) never(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return &bmc.Error{Kind: bmc.ErrIncomplete, Op: op, Host: c.host, Err: err}
	}
	return c.unsupported(op)
}

// InsertMedia is not supported.
func (c *Controller) InsertMedia(ctx context.Context, _ string) error {
	return c.never(ctx, "insert virtual media")
}

// EjectMedia is not supported.
func (c *Controller) EjectMedia(ctx context.Context) error {
	return c.never(ctx, "eject virtual media")
}

// ManagerSettings is not supported.
func (c *Controller) ManagerSettings(ctx context.Context) (bmc.ManagerSettings, []string, error) {
	return bmc.ManagerSettings{}, nil, c.never(ctx, "read the BMC's settings")
}

// SetManagerSettings is not supported.
func (c *Controller) SetManagerSettings(ctx context.Context, _ bmc.ManagerSettings) error {
	return c.never(ctx, "set the BMC's settings")
}

// BIOS is not supported.
func (c *Controller) BIOS(ctx context.Context) (bmc.BIOSState, error) {
	return bmc.BIOSState{}, c.never(ctx, "read the BIOS")
}

// SetBIOS is not supported.
func (c *Controller) SetBIOS(ctx context.Context, _ bmc.Attributes) error {
	return c.never(ctx, "set BIOS attributes")
}

// StartUpdate is not supported.
func (c *Controller) StartUpdate(ctx context.Context, _ bmc.FirmwareUpdate) (bmc.TaskRef, error) {
	return bmc.TaskRef{}, c.never(ctx, "update firmware")
}

// Task is not supported.
func (c *Controller) Task(ctx context.Context, _ bmc.TaskRef) (bmc.TaskState, error) {
	return bmc.TaskState{}, c.never(ctx, "read a task")
}

// Tasks is not supported.
func (c *Controller) Tasks(ctx context.Context) ([]bmc.TaskState, error) {
	return nil, c.never(ctx, "list tasks")
}
