package activities

import (
	"context"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// A call that hangs ends before Temporal gives it up, so that the run is told what hung.
func TestACallEndsBeforeItIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	hangs := map[kind]handler{{"hang", 1}: func(ctx context.Context, _ Call) (Result, error) {
		<-ctx.Done()
		return Result{}, &inventory.Error{Kind: inventory.ErrUnreachable, Op: "read device 1", Err: context.Cause(ctx)}
	}}
	_, err := dispatch(ctx, hangs, Call{Step: plan.Step{Kind: "hang", Version: 1}})
	if ctx.Err() != nil {
		t.Error("it ended with the call's own time")
	}
	if f, ours := operation.FaultOf(err); !ours || f.Code != fault.InventoryAway {
		t.Errorf("it ended with %v, want %s", err, fault.InventoryAway)
	}
}
