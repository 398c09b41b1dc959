package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// command is an operator's command on its way through the run.
type command struct {
	operation.Command
	action operation.Action
	taken  bool
	early  bool // answered before it took effect
	reply  operation.Reply
	refuse *fault.Error
}

// answer ends a command: it took effect, or f says why it could not.
func (c *command) answer(r *run, f *fault.Error) {
	c.taken, c.refuse, c.reply = true, f, r.reply()
}

// listen sets the handlers of commands and events.
func (r *run) listen(ctx workflow.Context) error {
	for _, action := range operation.Actions() {
		handler := func(ctx workflow.Context, c operation.Command) (operation.Reply, error) {
			return r.handle(ctx, action, c)
		}
		validator := func(c operation.Command) error {
			if f := r.judge(action, c); f != nil {
				return operation.AsTemporal(f)
			}
			return nil
		}
		err := workflow.SetUpdateHandlerWithOptions(ctx, string(action), handler, workflow.UpdateHandlerOptions{Validator: validator})
		if err != nil {
			return fmt.Errorf("set the handler of %s: %w", action, err)
		}
	}
	events := workflow.GetSignalChannel(ctx, operation.SignalReached)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var e operation.Reached
			if !events.Receive(ctx, &e) {
				return
			}
			r.hear(e)
		}
	})
	return nil
}

// handle gives a command to the run and waits until it took effect. A pause or an abort that comes
// while an activity runs is answered at once: it takes effect right after it.
func (r *run) handle(ctx workflow.Context, a operation.Action, c operation.Command) (operation.Reply, error) {
	cmd, repeated := r.seen[c.ID]
	if !repeated {
		cmd = &command{Command: c, action: a}
		r.send(cmd)
	}
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	later := func() bool { return r.calling && r.state != operation.Waiting }
	if err := workflow.Await(ctx, func() bool { return cmd.taken || later() }); err != nil {
		return operation.Reply{}, err
	}
	switch {
	case cmd.refuse != nil:
		return operation.Reply{}, operation.AsTemporal(cmd.refuse)
	case cmd.taken:
		return cmd.reply, nil
	}
	cmd.early = true
	return r.reply(), nil
}

func (r *run) reply() operation.Reply {
	if len(r.steps) == 0 || r.state.Ended() {
		return operation.Reply{State: r.state}
	}
	return operation.Reply{State: r.state, Step: r.current().Name}
}

func (r *run) send(c *command) {
	r.seen[c.ID] = c
	r.inbox = append(r.inbox, c)
}

// receive takes the oldest command out of the inbox, nil when there is none.
func (r *run) receive() *command {
	if len(r.inbox) == 0 {
		return nil
	}
	c := r.inbox[0]
	r.inbox = r.inbox[1:]
	return c
}

// judge tells whether a command may be accepted as things stand. It is the validator of every
// Update, and asked again when the command's turn comes. It changes nothing.
func (r *run) judge(a operation.Action, c operation.Command) *fault.Error {
	switch {
	case c.ID == "":
		return fault.New(fault.Invalid, "%s: the command's id is empty; give it a unique one", a)
	case c.Actor == "":
		return fault.New(fault.Invalid, "%s: the command's actor is empty; name who asks", a)
	case c.Operation != r.in.Operation:
		f := fault.New(fault.Locked, "%s: asset %s is held by operation %s, not by %s", a, r.in.Asset, r.in.Operation, c.Operation)
		f.Holder = string(r.in.Operation)
		return f
	}
	if first, ok := r.seen[c.ID]; ok && first.action == a && first.taken {
		return nil // a repetition
	}
	step := r.reply().Step
	conflict := func(remedy, format string, args ...any) *fault.Error {
		f := fault.New(fault.Conflict, format, args...)
		f.Remedy = remedy
		return f
	}
	switch {
	case r.state.Ended():
		return conflict("look at it with `cagenut op show`", "%s: the run has ended as %s", a, r.state)
	case c.Step != "" && c.Step != step:
		return conflict("look at it with `cagenut op show`, then decide again", "%s: the command is for step %s, the run is at %q", a, c.Step, step)
	case a == operation.Abort:
		return nil
	case r.aborting || r.wants(operation.Abort):
		return conflict("wait until the abort is done", "%s: the run is being aborted", a)
	}
	switch a {
	case operation.Pause:
		if r.state == operation.Waiting {
			return conflict("retry, skip or abort it", "pause: the run stands still already: step %s waits for a person", step)
		}
	case operation.Resume:
		if r.state != operation.Paused && !r.wants(operation.Pause) {
			return conflict("resume goes with pause; a step that waits is retried, skipped or aborted", "resume: the run is %s, not paused", r.state)
		}
	case operation.Retry:
		if r.state != operation.Away && !r.waits() {
			return conflict("retry goes with a step that waits", "retry: the run is %s and waits for nobody", r.state)
		}
	case operation.Skip:
		return r.judgeSkip(c, conflict)
	case operation.Complete:
		return r.judgeComplete(c, conflict)
	default:
		return fault.New(fault.Invalid, "action %q is unknown; use one of %v", a, operation.Actions())
	}
	return nil
}

type refusal func(remedy, format string, args ...any) *fault.Error

func (r *run) judgeSkip(c operation.Command, conflict refusal) *fault.Error {
	switch {
	case !r.waits():
		return conflict("skip goes with a step that waits", "skip: the run is %s and waits for nobody", r.state)
	case c.Reason == "":
		return fault.New(fault.Invalid, "skip: the reason is empty; say why the step is not needed")
	case r.current().Unskippable:
		f := fault.New(fault.Denied, "skip: step %s cannot be skipped", r.current().Name)
		f.Remedy = "mend the cause and retry, or abort"
		return f
	}
	return nil
}

func (r *run) judgeComplete(c operation.Command, conflict refusal) *fault.Error {
	if !r.waits() {
		return conflict("complete goes with a work order or an event that is waited for", "complete: the run is %s and waits for nobody", r.state)
	}
	s := r.current()
	switch s.Mode {
	case plan.Human:
		for _, kind := range s.Evidence {
			if !slices.ContainsFunc(c.Evidence, func(e operation.Evidence) bool { return e.Kind == kind }) {
				return fault.New(fault.Invalid, "complete: evidence %q is missing; step %s asks for %v", kind, s.Name, s.Evidence)
			}
		}
	case plan.Await:
		if c.Reason == "" {
			return fault.New(fault.Invalid, "complete: the reason is empty; say how you know that it has happened")
		}
	default:
		return conflict("retry, skip or abort it", "complete: step %s is done by Cagenut, not by a person", s.Name)
	}
	return nil
}

// waits tells whether the current step waits for a person, or may be ended by one.
func (r *run) waits() bool {
	return r.state == operation.Waiting || r.awaiting && r.state == operation.Running
}

// wants tells whether a command waits for its turn.
func (r *run) wants(a operation.Action) bool {
	return slices.ContainsFunc(r.inbox, func(c *command) bool { return c.action == a })
}

// take gives the next command that still may take effect; the others are answered with the reason.
// nil: there is none.
func (r *run) take() *command {
	for {
		cmd := r.receive()
		if cmd == nil {
			return nil
		}
		delete(r.seen, cmd.ID) // it is not its own repetition
		asked := cmd.Command
		if cmd.early && (cmd.action == operation.Pause || cmd.action == operation.Abort) {
			asked.Step = "" // it was accepted for the call that ran: that this ended the step does not undo it
		}
		f := r.judge(cmd.action, asked)
		r.seen[cmd.ID] = cmd
		if f == nil {
			return cmd
		}
		cmd.answer(r, f)
	}
}

// attend takes the waiting commands and stays while the run is paused. It returns next when the run
// may go on as it was going, and otherwise what the operator said: again, passed or abort.
func (r *run) attend(ctx workflow.Context) verdict {
	since := workflow.Now(ctx)
	defer func() { r.stopped += workflow.Now(ctx).Sub(since) }()
	for {
		cmd := r.take()
		switch {
		case cmd == nil && r.state != operation.Paused:
			return next
		case cmd == nil:
			r.hold(ctx)
			continue
		}
		switch cmd.action {
		case operation.Pause:
			r.obey(ctx, cmd, operation.Paused)
		case operation.Resume:
			r.obey(ctx, cmd, operation.Running)
		case operation.Abort:
			r.aborting, r.by = true, cmd
			return abort
		default:
			if r.state == operation.Away { // retry: the site is tried now, as it is all the time
				r.obey(ctx, cmd, operation.Away)
				continue
			}
			return r.settle(cmd)
		}
	}
}

// obey takes over the state that a command asks for and records it.
func (r *run) obey(ctx workflow.Context, cmd *command, s operation.State) {
	r.state, r.by = s, cmd
	r.record(ctx, operation.Transition{}, r.change())
}

// settle carries out what an operator decided about a step that waits. The transition that begins
// what follows records it.
func (r *run) settle(cmd *command) verdict {
	s := r.current()
	r.state, r.by = operation.Running, cmd
	switch cmd.action {
	case operation.Skip:
		s.state = operation.StepSkipped
		r.end(operation.StepChange{Summary: "skipped by " + cmd.Actor + ": " + cmd.Reason})
		return passed
	case operation.Complete:
		s.state = operation.StepDone
		text := "completed by " + cmd.Actor
		if cmd.Reason != "" {
			text += ": " + cmd.Reason
		}
		r.end(operation.StepChange{Summary: text, Evidence: cmd.Evidence})
		return passed
	}
	s.acceptPin = cmd.AcceptPin // retry
	return again
}

// hold waits for a command.
func (r *run) hold(ctx workflow.Context) {
	if err := workflow.Await(ctx, func() bool { return len(r.inbox) > 0 }); err != nil {
		workflow.GetLogger(ctx).Error("a wait was cut short", "error", err)
	}
}
