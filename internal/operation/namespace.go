package operation

import (
	"context"
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

// EnsureNamespace makes the namespace and its search attributes where they are missing, and returns
// when they can be used. What is there already is left as it is. It is what `cagenut migrate` does.
func EnsureNamespace(ctx context.Context, c Connection, retention time.Duration) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	what := "make namespace " + o.Namespace + " at " + c.Address
	spaces, err := client.NewNamespaceClient(o)
	if err != nil {
		return toFault(err, what)
	}
	defer spaces.Close()
	err = spaces.Register(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: o.Namespace, WorkflowExecutionRetentionPeriod: durationpb.New(retention),
		Description: "data-center provisioning by Cagenut",
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return toFault(err, what)
	}
	t, err := client.NewLazyClient(o)
	if err != nil {
		return toFault(err, what)
	}
	defer t.Close()
	// Temporal's caches learn of a new namespace within seconds; until then it is not found.
	if err := poll(ctx, func() error { return addSearchAttributes(ctx, t, o.Namespace) }); err != nil {
		return toFault(err, what)
	}
	for _, key := range SearchAttributes() {
		query := &workflowservice.CountWorkflowExecutionsRequest{Namespace: o.Namespace, Query: key.GetName() + " IS NULL"}
		err := poll(ctx, func() error {
			_, err := t.WorkflowService().CountWorkflowExecutions(ctx, query)
			return err
		})
		if err != nil {
			return toFault(err, "use search attribute "+key.GetName()+" at "+c.Address)
		}
	}
	return nil
}

func addSearchAttributes(ctx context.Context, t client.Client, namespace string) error {
	have, err := t.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return err
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, key := range SearchAttributes() {
		if _, ok := have.CustomAttributes[key.GetName()]; !ok {
			missing[key.GetName()] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = t.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	})
	return err
}

// poll tries until it works, the context ends, or the failure is not one that passes by itself.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		var denied *serviceerror.PermissionDenied
		if err == nil || errors.As(err, &denied) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
