package web

import (
	"context"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/inventory"
)

// Store is what pages read of PostgreSQL. Every method is bounded, whatever the size of an operation.
// Errors carry a fault code: NotFound, StoreAway; anything else is shown as a failure of the page.
type Store interface {
	ListOperations(ctx context.Context, f operation.Filter) ([]operation.Summary, error)
	// OperationHead gives an operation without its runs.
	OperationHead(ctx context.Context, id operation.ID) (operation.Detail, error)
	// ListRuns gives runs without evidence; more tells that the limit cut the list.
	ListRuns(ctx context.Context, f operation.RunFilter) (runs []operation.RunRow, more bool, err error)
	// GetRun gives one run with its steps, writes, evidence and attempts.
	GetRun(ctx context.Context, id operation.ID, a asset.ID) (operation.Run, error)
	// LiveRuns counts what has not ended, of one operation or (empty) of all.
	LiveRuns(ctx context.Context, id operation.ID, sites []string) ([]operation.Live, error)
	// RackLoads gives the racks in which there was work lately; empty site: of all sites.
	RackLoads(ctx context.Context, site string, sites []string) ([]operation.RackLoad, error)
	// NewestRuns gives the newest run of those assets that have one; at most 1,000 at once.
	NewestRuns(ctx context.Context, ids []asset.ID) (map[asset.ID]operation.Run, error)
	StatusMoves(ctx context.Context, id asset.ID) ([]operation.StatusMove, error)
	// Known gives what operations have learned of an asset; the zero value when nothing is known.
	Known(ctx context.Context, a asset.Ref) (operation.Known, error)
	// LatestProof gives the newest evidence of a kind; fault.NotFound without any.
	LatestProof(ctx context.Context, id asset.ID, kind string) (operation.Proof, error)
	// LatestEvents gives the newest events first; Events gives those after a number, in order.
	LatestEvents(ctx context.Context, f operation.EventFilter) ([]operation.Event, error)
	Events(ctx context.Context, f operation.EventFilter) ([]operation.Event, error)
	LastEvent(ctx context.Context) (int64, error)
	Heartbeats(ctx context.Context) ([]operation.Heartbeat, error)
	Backlog(ctx context.Context) (operation.Backlog, error)
}

// Inventory is what pages read of NetBox; inventory.Source has it.
type Inventory interface {
	Find(ctx context.Context, q inventory.Query) ([]inventory.Device, error)
	Describe(ctx context.Context, ids []asset.ID) ([]inventory.Device, error)
	Rack(ctx context.Context, site, name string) (inventory.Rack, error)
}

// translate gives any error its fault: of the ports that pages ask themselves, only the inventory's have
// errors of their own.
func translate(err error) *fault.Error { return inventory.Fault(err) }
