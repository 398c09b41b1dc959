package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
)

// Temporal is what a Client needs of the Temporal SDK's client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, o client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
}

// Client starts operations and steers them. Its methods are safe for concurrent use, end when their
// context does, and return *fault.Error.
type Client struct{ temporal Temporal }

// NewClient makes a Client. The connection stays the caller's to close.
func NewClient(t Temporal) *Client { return &Client{temporal: t} }

// Start starts an operation. Starting it again is success: the relay may have crashed in between.
func (c *Client) Start(ctx context.Context, s Start) error {
	if len(s.Assets) == 0 {
		return fault.New(fault.Invalid, "start %s: no assets: empty is not all", s.Operation)
	}
	_, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                                       WorkflowID(s.Operation),
		TaskQueue:                                QueueCentral,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		TypedSearchAttributes:                    temporal.NewSearchAttributes(SearchOperation.ValueSet(string(s.Operation))),
	}, WorkflowOperation, s)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if err != nil && !errors.As(err, &started) {
		return toFault(err, "start operation "+string(s.Operation))
	}
	return nil
}

// Command tells one run what to do, or the operation's own workflow when id is 0, and gives what it
// found. Nothing live there is fault.NotFound; a refusal keeps the run's own code and words. Whoever
// steers a whole operation tells its own workflow first, so that nothing new starts meanwhile, and
// then each of its runs; retry, skip and complete go to runs alone.
func (c *Client) Command(ctx context.Context, id asset.ID, a Action, cmd Command) (Reply, error) {
	if id == 0 {
		return c.update(ctx, WorkflowID(cmd.Operation), a, cmd)
	}
	return c.update(ctx, AssetWorkflowID(id), a, cmd)
}

// update sends a command as an Update whose ID is the command's, so that sending it again gives the
// first one's answer.
func (c *Client) update(ctx context.Context, workflowID string, a Action, cmd Command) (Reply, error) {
	what := fmt.Sprintf("%s %s", a, workflowID)
	h, err := c.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: cmd.ID, WorkflowID: workflowID, UpdateName: string(a), Args: []any{cmd},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return Reply{}, toFault(err, what)
	}
	var r Reply
	if err := h.Get(ctx, &r); err != nil {
		return Reply{}, toFault(err, what)
	}
	return r, nil
}

// toFault gives an error of Temporal its code.
func toFault(err error, what string) *fault.Error {
	if f, ours := FaultOf(err); ours {
		return f
	}
	var (
		notFound *serviceerror.NotFound
		late     *client.WorkflowUpdateServiceTimeoutOrCanceledError
		denied   *serviceerror.PermissionDenied
		noSpace  *serviceerror.NamespaceNotFound
		app      *temporal.ApplicationError
	)
	switch {
	case errors.As(err, &noSpace):
		f := fault.Wrap(err, fault.EngineAway, "%s: Temporal has no namespace %q", what, noSpace.Namespace)
		f.Remedy = "run `cagenut migrate`, which makes it"
		return f
	case errors.As(err, &notFound):
		return fault.Wrap(err, fault.NotFound, "%s: nothing is running there", what)
	case errors.As(err, &late), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.EngineAway, "%s: no answer in time from Temporal or from a central worker", what)
	case errors.As(err, &denied):
		return fault.Wrap(err, fault.EngineAway, "%s: Temporal refuses us: %s", what, denied.Message)
	case errors.As(err, &app): // a failure in a worker that is none of our faults
		return fault.Wrap(err, fault.Internal, "%s: %s", what, app.Message())
	}
	return fault.Wrap(err, fault.EngineAway, "%s: Temporal does not answer: %v", what, err)
}

// Connection says how to reach Temporal.
type Connection struct {
	Address   string // host:port of the frontend
	Namespace string // empty: Namespace
	// Key encrypts payloads with AES-256-GCM (32 bytes); nil: they are readable in Temporal. It must
	// be the same in every process.
	Key     []byte
	Options func(*client.Options) // TLS, logger, metrics; nil: none
}

// Dial connects to Temporal. The caller closes the client.
func Dial(ctx context.Context, c Connection) (client.Client, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	t, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, toFault(err, "connect to Temporal at "+c.Address)
	}
	return t, nil
}

func (c Connection) options() (client.Options, error) {
	o := client.Options{HostPort: c.Address, Namespace: c.Namespace}
	if o.Namespace == "" {
		o.Namespace = Namespace
	}
	if c.Key != nil {
		conv, fail, err := Encrypted(c.Key)
		if err != nil {
			return o, err
		}
		o.DataConverter, o.FailureConverter = conv, fail
	}
	if c.Options != nil {
		c.Options(&o)
	}
	return o, nil
}

// Retention is how long Temporal keeps the history of what has ended; PostgreSQL keeps what counts.
const Retention = 30 * 24 * time.Hour
