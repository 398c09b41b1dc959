package workflows

import (
	"errors"
	"fmt"
	"slices"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// fleet is the state of an operation: which machines wait for their turn, and whose run lives.
//
// A run that waits for a person keeps its place in the window. That is meant: a baseline that is
// wrong parks a window full of machines, not the whole site.
type fleet struct {
	timing   Timing
	in       operation.Start
	pending  []asset.ID
	live     []asset.ID
	starting int // runs that are live, and neither known to have started nor recorded as refused
	tally    operation.Tally
	paused   bool
	aborting bool
	stopping bool              // the runs are being cancelled, one by one
	by       operation.Command // who aborted
	woken    bool              // something changed since the loop looked
}

// Operation runs the machines of an operation, at most in.Window at once, and of a rack no more than it
// allows. It ends when every run
// has ended; a run that fails stops none of the others.
func (e executor) Operation(ctx workflow.Context, in operation.Start) (operation.Tally, error) {
	if len(in.Assets) == 0 && in.Carried == nil {
		return operation.Tally{}, operation.AsTemporal(fault.New(fault.Invalid, "operation %s names no assets: empty is not all", in.Operation))
	}
	o := &fleet{timing: e.timing, in: in, pending: slices.Clone(in.Assets)}
	if err := o.listen(ctx); err != nil {
		return operation.Tally{}, err
	}
	work, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	workflow.Go(work, func(c workflow.Context) {
		ctx.Done().Receive(c, nil)
		o.cancel(c)
	})
	if c := in.Carried; c != nil {
		o.live, o.paused, o.tally = slices.Clone(c.Live), c.Paused, c.Tally
		if c.AbortedBy != nil {
			o.abort(*c.AbortedBy)
		}
		for _, id := range c.Live {
			workflow.Go(work, func(c workflow.Context) { o.adopt(c, id) })
		}
	}
	finished := workflow.GetSignalChannel(ctx, operation.SignalFinished)
	for {
		o.woken = false
		if o.hear(finished); len(o.pending)+len(o.live) == 0 {
			break
		}
		next := o.next()
		suggested := workflow.GetInfo(ctx).GetContinueAsNewSuggested()
		switch {
		case o.aborting && len(o.pending) > 0:
			o.drop(work)
		case o.mayRenew(ctx):
			return operation.Tally{}, workflow.NewContinueAsNewError(ctx, operation.WorkflowOperation, o.carry())
		case !suggested && !o.paused && next >= 0:
			id := o.pending[next]
			o.pending = slices.Delete(o.pending, next, next+1)
			o.live = append(o.live, id)
			o.starting++
			workflow.Go(work, func(c workflow.Context) { o.start(c, id) })
		default:
			if err := workflow.Await(work, func() bool { return o.woken || finished.Len() > 0 || o.mayRenew(ctx) }); err != nil {
				return o.tally, err
			}
		}
	}
	err := workflow.Await(work, func() bool { return workflow.AllHandlersFinished(ctx) })
	return o.tally, err
}

// next is the place of the next machine to start: the first whose rack has room, so that other racks go
// on while one is full. -1: none may start now.
func (o *fleet) next() int {
	if len(o.live) >= max(o.in.Window, 1) {
		return -1
	}
	return slices.IndexFunc(o.pending, func(id asset.ID) bool {
		for _, r := range o.in.Racks {
			if !slices.Contains(r.Assets, id) {
				continue
			}
			inRack := 0
			for _, live := range o.live {
				if slices.Contains(r.Assets, live) {
					inRack++
				}
			}
			if inRack >= max(r.Window, 1) {
				return false
			}
		}
		return true
	})
}

// mayRenew tells whether the history has grown enough to continue as new, and nothing is in between.
func (o *fleet) mayRenew(ctx workflow.Context) bool {
	return workflow.GetInfo(ctx).GetContinueAsNewSuggested() && o.starting == 0 && !o.stopping && workflow.AllHandlersFinished(ctx)
}

// carry is the input of the workflow's next run.
func (o *fleet) carry() operation.Start {
	next := o.in
	next.Assets = o.pending
	next.Carried = &operation.Carried{Live: o.live, Paused: o.paused, Tally: o.tally}
	if o.aborting {
		next.Carried.AbortedBy = &o.by
	}
	return next
}

// start runs one machine to its end. Where another workflow still holds the machine, it is tried
// again for a while: the run before may be in its last moments after PostgreSQL has seen its end.
// Later than that, the machine is held by another operation, and that is said.
func (o *fleet) start(ctx workflow.Context, id asset.ID) {
	began := workflow.Now(ctx)
	for {
		outcome, err := o.child(ctx, id, func() { o.starting--; o.woken = true })
		switch {
		case err == nil:
			o.ended(outcome)
			return
		case !held(err) || workflow.Now(ctx).Sub(began) >= o.timing.Held:
			o.refuse(ctx, id, err)
			o.starting--
			return
		}
		_, waitErr := workflow.AwaitWithTimeout(ctx, o.timing.Held/10, func() bool { return o.aborting })
		if o.aborting || waitErr != nil {
			o.abandon(ctx, id)
			o.starting--
			o.ended(operation.Outcome{Asset: id, State: operation.Aborted})
			return
		}
	}
}

// adopt looks after a run that began before the workflow continued as new. Its end comes as a
// signal. To learn of one that ended without (an administrator terminated it), its start is tried:
// while it lives, that is refused; if not, the new one finds its claim taken and touches nothing.
// One that had not even claimed begins now, unless the operation is being aborted.
func (o *fleet) adopt(ctx workflow.Context, id asset.ID) {
	for slices.Contains(o.live, id) {
		outcome, err := o.child(ctx, id, func() {
			if o.aborting {
				o.cancelRun(ctx, id)
			}
		})
		if err == nil {
			if outcome.State == operation.Failed {
				o.lost(ctx, id)
			}
			o.ended(outcome)
			return
		}
		gone := func() bool { return !slices.Contains(o.live, id) }
		if _, err := workflow.AwaitWithTimeout(ctx, o.timing.Adopt, gone); err != nil {
			return
		}
	}
}

// child starts the workflow of a machine and waits for its end. started is called in between. An
// error says that it was not started; a child that ended badly is an outcome, and is recorded.
func (o *fleet) child(ctx workflow.Context, id asset.ID, started func()) (operation.Outcome, error) {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: operation.AssetWorkflowID(id),
		// A run goes on whatever becomes of the operation's workflow.
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		TypedSearchAttributes: assetSearch(o.in.Operation, id),
	})
	f := workflow.ExecuteChildWorkflow(ctx, operation.WorkflowAsset, operation.StartAsset{Operation: o.in.Operation, Asset: id})
	if err := f.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
		return operation.Outcome{}, err
	}
	started()
	var out operation.Outcome
	switch err := f.Get(ctx, &out); {
	case temporal.IsCanceledError(err): // a cancelled run has recorded its abort itself
		out = operation.Outcome{Asset: id, State: operation.Aborted}
	case err != nil:
		workflow.GetLogger(ctx).Error("a run ended without telling how", "asset", id, "error", err)
		out = operation.Outcome{Asset: id, State: operation.Failed}
		o.lost(ctx, id)
	}
	return out, nil
}

// lost records that a run's workflow is gone without having told how the run ended: terminated in
// Temporal, or at the limit of its history. Without that, the machine would stay locked. A run that
// told its end before is left as it is.
func (o *fleet) lost(ctx workflow.Context, id asset.ID) {
	f := fault.New(fault.Internal, "the workflow %s ended without telling how: it was terminated, or its history was full", operation.AssetWorkflowID(id))
	f.Remedy = "look at the machine and at what the operation's steps wrote so far, then install it again: every step looks before it acts"
	record(ctx, o.timing, operation.Transition{
		Operation: o.in.Operation, Asset: id, Seq: operation.SeqLost, At: workflow.Now(ctx), State: operation.Failed, Error: f,
	})
}

// held tells whether a start was refused because the machine's workflow runs already.
func held(err error) bool {
	var running *temporal.ChildWorkflowExecutionAlreadyStartedError
	return errors.As(err, &running)
}

// refuse records that a machine's run could not be started.
func (o *fleet) refuse(ctx workflow.Context, id asset.ID, err error) {
	f := fault.New(fault.Locked, "asset %s is held by another operation's run", id)
	if !held(err) {
		f = fault.Wrap(err, fault.Internal, "the run of asset %s could not be started: %v", id, err)
	}
	record(ctx, o.timing, operation.Transition{
		Operation: o.in.Operation, Asset: id, Seq: 1, At: workflow.Now(ctx), State: operation.Failed, Error: f,
	})
	o.ended(operation.Outcome{Asset: id, State: operation.Failed})
}

// ended takes a run out of the window, once.
func (o *fleet) ended(out operation.Outcome) {
	i := slices.Index(o.live, out.Asset)
	if i < 0 {
		return // the signal and the child tell the same
	}
	o.live = slices.Delete(o.live, i, i+1)
	o.count(out.State)
}

func (o *fleet) count(s operation.State) {
	switch s {
	case operation.Done:
		o.tally.Done++
	case operation.Aborted:
		o.tally.Aborted++
	default:
		o.tally.Failed++
	}
	o.woken = true
}

// drop marks the machines that were not started as aborted.
func (o *fleet) drop(ctx workflow.Context) {
	for len(o.pending) > 0 {
		id := o.pending[0]
		o.abandon(ctx, id)
		o.pending = o.pending[1:]
		o.count(operation.Aborted)
	}
}

func (o *fleet) abandon(ctx workflow.Context, id asset.ID) {
	record(ctx, o.timing, operation.Transition{
		Operation: o.in.Operation, Asset: id, Seq: 1, At: workflow.Now(ctx), State: operation.Aborted,
		Actor: o.by.Actor, Action: operation.Abort, Reason: o.by.Reason,
	})
}

// cancel is the abort of an operation whose workflow was cancelled: the runs are cancelled too.
func (o *fleet) cancel(ctx workflow.Context) {
	o.stopping = true
	defer func() { o.stopping = false }()
	o.abort(operation.Command{ID: "cancel", Operation: o.in.Operation, Actor: "temporal", Reason: "the workflow was cancelled"})
	if err := workflow.Await(ctx, func() bool { return o.starting == 0 }); err != nil {
		return
	}
	for _, id := range slices.Clone(o.live) {
		o.cancelRun(ctx, id)
	}
}

// cancelRun cancels a run's workflow, which the run takes for an abort.
func (o *fleet) cancelRun(ctx workflow.Context, id asset.ID) {
	err := workflow.RequestCancelExternalWorkflow(ctx, operation.AssetWorkflowID(id), "").Get(ctx, nil)
	if err != nil { // it has ended in between
		workflow.GetLogger(ctx).Warn("run not cancelled", "asset", id, "error", err)
	}
}

func (o *fleet) abort(c operation.Command) {
	if !o.aborting {
		o.aborting, o.paused, o.by = true, false, c
	}
	o.woken = true
}

// hear takes in the ends that runs have signalled. It is called by the loop itself and not in a
// coroutine of its own: then no signal can be between the two when the workflow continues as new.
func (o *fleet) hear(finished workflow.ReceiveChannel) {
	for {
		var out operation.Outcome
		if !finished.ReceiveAsync(&out) {
			return
		}
		o.ended(out)
	}
}

// listen sets the handlers of commands. Commands on the operation steer what
// has not been started; the client tells the live runs itself.
func (o *fleet) listen(ctx workflow.Context) error {
	for _, action := range []operation.Action{operation.Pause, operation.Resume, operation.Abort} {
		handler := func(ctx workflow.Context, c operation.Command) (operation.Reply, error) {
			switch action {
			case operation.Pause, operation.Resume:
				o.paused, o.woken = action == operation.Pause, true
			case operation.Abort:
				o.abort(c)
			}
			// Whoever asked tells the runs next, so none may begin unseen after this answer.
			work, release := workflow.NewDisconnectedContext(ctx)
			defer release()
			settled := func() bool { return o.starting == 0 && (!o.aborting || len(o.pending) == 0) }
			if err := workflow.Await(work, settled); err != nil {
				return operation.Reply{}, err
			}
			o.woken = true
			return operation.Reply{State: o.state()}, nil
		}
		validator := func(c operation.Command) error {
			if f := o.judge(action, c); f != nil {
				return operation.AsTemporal(f)
			}
			return nil
		}
		err := workflow.SetUpdateHandlerWithOptions(ctx, string(action), handler, workflow.UpdateHandlerOptions{Validator: validator})
		if err != nil {
			return fmt.Errorf("set the handler of %s: %w", action, err)
		}
	}
	return nil
}

func (o *fleet) judge(a operation.Action, c operation.Command) *fault.Error {
	switch {
	case c.ID == "" || c.Actor == "":
		return fault.New(fault.Invalid, "%s: the command needs an id and an actor", a)
	case c.Operation != o.in.Operation:
		return fault.New(fault.Invalid, "%s: the command is for operation %s, this is %s", a, c.Operation, o.in.Operation)
	case o.aborting && a != operation.Abort:
		f := fault.New(fault.Conflict, "%s: the operation is being aborted", a)
		f.Remedy = "wait until the abort is done"
		return f
	}
	return nil
}

// state is what a command finds: of what has not been started, not of the runs.
func (o *fleet) state() operation.State {
	switch {
	case o.aborting && len(o.live) == 0:
		return operation.Aborted
	case o.paused:
		return operation.Paused
	}
	return operation.Running
}
