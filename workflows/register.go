package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/internal/operation"
)

// Registry is where workflows are registered by name; a Temporal worker is one.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
}

// Register makes the workflows known to a central worker.
func Register(r Registry, t Timing) {
	e := executor{timing: t}
	r.RegisterWorkflowWithOptions(e.Asset, workflow.RegisterOptions{Name: operation.WorkflowAsset})
	r.RegisterWorkflowWithOptions(e.Operation, workflow.RegisterOptions{Name: operation.WorkflowOperation})
}

// executor holds what the workflows need beside their input. It is read-only.
type executor struct{ timing Timing }
