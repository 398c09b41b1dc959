package operation

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"

	"github.com/cagenut/cagenut/internal/asset"
)

// Signal is what an outbox row of a machine's event says: tell the asset's run what it reached.
type Signal struct {
	Asset   asset.ID `json:"asset"`
	Reached Reached  `json:"reached"`
}

// Tell gives a run an event of its machine. Telling it twice is harmless: the run drops what it has
// heard. gone means that nothing runs there any more, so that nobody waits for the event.
func (c *Client) Tell(ctx context.Context, s Signal) (gone bool, err error) {
	err = c.temporal.SignalWorkflow(ctx, AssetWorkflowID(s.Asset), "", SignalReached, s.Reached)
	var notFound *serviceerror.NotFound
	switch {
	case err == nil:
		return false, nil
	case errors.As(err, &notFound):
		return true, nil
	}
	return false, toFault(err, "tell "+AssetWorkflowID(s.Asset)+" that it reached "+s.Reached.Stage)
}
