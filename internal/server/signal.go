package server

import (
	"context"
	"encoding/json"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/postgres"
)

// signalFromOutbox tells a run what its machine reached. A run that is gone waits for nothing any
// more: the row is done, and says so.
func signalFromOutbox(ctx context.Context, d *Dialer, item postgres.OutboxItem) error {
	var s operation.Signal
	if err := json.Unmarshal(item.Payload, &s); err != nil || s.Asset == 0 {
		return fault.Wrap(err, fault.Internal, "outbox item %d names no asset: %v", item.ID, err)
	}
	c, err := d.operations()
	if err != nil {
		return err
	}
	gone, err := c.Tell(ctx, s)
	if err == nil && gone {
		return postgres.Gone{Why: "nothing runs as " + operation.AssetWorkflowID(s.Asset) + " any more, so nobody waits for it"}
	}
	return err
}
