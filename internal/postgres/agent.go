package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

const commandRow = `select id, boot, kind, args, state, progress, percent, result, error, queued, started, ended from agent_command `

func scanCommand(row pgx.Row) (operation.AgentCommand, error) {
	var c operation.AgentCommand
	var text *string
	var percent *int
	var started, ended *time.Time
	err := row.Scan(&c.ID, &c.Boot, &c.Kind, &c.Args, &c.State, &text, &percent, &c.Result, &c.Error, &c.Queued, &started, &ended)
	if text != nil && percent != nil {
		c.Progress = &operation.Progress{Text: *text, Percent: *percent}
	}
	c.Queued, c.Started, c.Ended = c.Queued.UTC(), timeOf(started), timeOf(ended)
	return c, err
}

// QueueCommand gives the agent of an open record something to do. A command that is there already
// comes back as it stands; another one under the same ID is fault.Invalid. What the agent was told before and has
// not ended is withdrawn, as failed: its step was skipped or begun anew.
func (s *Store) QueueCommand(ctx context.Context, c operation.AgentCommand) (operation.AgentCommand, error) {
	if err := c.Check(); err != nil {
		return operation.AgentCommand{}, err
	}
	what := fmt.Sprintf("queue agent command %s", c.ID)
	var args any
	if len(c.Args) > 0 {
		var err error
		if args, err = cleanJSON(c.Args); err != nil {
			return operation.AgentCommand{}, fault.Wrap(err, fault.Invalid, "%s: %v", what, err)
		}
	}
	var out operation.AgentCommand
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		record, err := lockBoot(ctx, tx, what, c.Boot)
		if err != nil {
			return err
		}
		var same bool
		err = tx.QueryRow(ctx, `select boot = $2 and kind = $3 and args is not distinct from $4::jsonb from agent_command where id = $1`,
			c.ID, c.Boot, c.Kind, args).Scan(&same)
		switch {
		case err == nil && !same:
			return fault.New(fault.Invalid, "%s: that ID was used for another command", what)
		case err == nil:
			out, err = scanCommand(tx.QueryRow(ctx, commandRow+`where id = $1`, c.ID))
			return err
		case !noRows(err):
			return err
		}
		if err := record.Live(c.Queued); err != nil {
			return err
		}
		if record.Purpose != operation.ForAgent {
			return fault.New(fault.Invalid, "%s: boot record %d is for %s: no agent comes", what, record.ID, record.Purpose)
		}
		if _, err = tx.Exec(ctx, `update agent_command set state = 'failed', error = $2, ended = $3 where boot = $1 and state in ('queued', 'running')`,
			c.Boot, "withdrawn for "+c.ID, c.Queued); err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `insert into agent_command (id, boot, kind, args, queued) values ($1, $2, $3, $4, $5)`,
			c.ID, c.Boot, c.Kind, args, c.Queued); err != nil {
			return err
		}
		out, err = scanCommand(tx.QueryRow(ctx, commandRow+`where id = $1`, c.ID))
		return err
	})
	return out, err
}

// GetCommand tells how a command stands; fault.NotFound without one.
func (s *Store) GetCommand(ctx context.Context, id string) (operation.AgentCommand, error) {
	c, err := scanCommand(s.pool.QueryRow(ctx, commandRow+`where id = $1`, id))
	if noRows(err) {
		return c, fault.New(fault.NotFound, "there is no agent command %s", id)
	}
	return c, translate("agent command "+id, err)
}

// ClaimAgent binds the agent's machine to the record. The same machine may claim again, after a
// restart. Another machine than the record's is fault.WrongMachine, another one than claimed it
// before fault.BootClaimed; both are noted as events.
func (s *Store) ClaimAgent(ctx context.Context, boot int64, who operation.BootIdentity, from string, at time.Time) (operation.BootRecord, error) {
	what := fmt.Sprintf("claim boot record %d", boot)
	var record operation.BootRecord
	var refused error
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		refused = nil
		var err error
		if record, err = lockBoot(ctx, tx, what, boot); err != nil {
			return err
		}
		switch {
		case record.Live(at) != nil:
			return record.Live(at)
		case record.Purpose != operation.ForAgent:
			return fault.New(fault.Conflict, "%s: it is for %s, not for an agent", what, record.Purpose)
		}
		refused = record.Prove(who)
		if refused == nil && record.Claimed != nil && !record.Claimed.Same(who) {
			refused = fault.New(fault.BootClaimed, "%s: %s was claimed by the machine with MACs %v; this one has %v", what, record.Asset.Name,
				record.Claimed.MACs, who.MACs)
		}
		event := operation.BootEvent{Stage: operation.StageClaimed, From: from, At: at}
		switch {
		case refused != nil:
			return noteRefused(ctx, tx, record, event, refused)
		case record.Claimed != nil:
			return nil
		}
		claimed, err := jsonOf(who)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `update boot_record set claimed = $2 where id = $1`, boot, claimed); err != nil {
			return err
		}
		event.Body = []byte("mac=" + record.MACs[0] + "\n")
		if _, err = addEvent(ctx, tx, record, event); err != nil {
			return err
		}
		record, err = scanBoot(tx.QueryRow(ctx, bootRow+`where b.id = $1`, boot))
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return operation.BootRecord{}, err
	}
	return record, nil
}

// NextCommand gives the oldest command of a record that has not ended, and notes that the agent has
// it; nil when there is none. An agent that died over a command gets the same again. One that it never had is kept
// back while its run is paused or waits for a person, who wants the machine as it is.
func (s *Store) NextCommand(ctx context.Context, boot int64, at time.Time) (*operation.AgentCommand, error) {
	what := fmt.Sprintf("next agent command of boot record %d", boot)
	record, err := s.GetBoot(ctx, boot)
	if err == nil {
		err = record.Live(at)
	}
	switch {
	case err != nil:
		return nil, err
	case record.Claimed == nil:
		e := fault.New(fault.Conflict, "%s: no agent has claimed it", what)
		e.Remedy = "claim it first"
		return nil, e
	}
	may := []operation.CommandState{operation.CommandRunning}
	if record.Run != operation.Waiting && record.Run != operation.Paused {
		may = append(may, operation.CommandQueued)
	}
	c, err := scanCommand(s.pool.QueryRow(ctx, `update agent_command set state = 'running', started = coalesce(started, $2)
		where id = (select id from agent_command where boot = $1 and state = any($3) order by ordinal limit 1)
			and state = any($3)
		returning id, boot, kind, args, state, progress, percent, result, error, queued, started, ended`, boot, at, may))
	if noRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, translate(what, err)
	}
	return &c, nil
}

// AgentProgress notes how far a running command is. Of a command that has ended nothing changes.
func (s *Store) AgentProgress(ctx context.Context, boot int64, id string, p operation.Progress, at time.Time) error {
	what := "progress of agent command " + id
	return s.inTx(ctx, what, func(tx pgx.Tx) error {
		record, err := lockBoot(ctx, tx, what, boot)
		if err == nil {
			err = record.Live(at)
		}
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `update agent_command set
				progress = case when state = 'running' then $3 else progress end, percent = case when state = 'running' then $4 else percent end
			where boot = $1 and id = $2`, boot, id, clean(p.Text), p.Percent)
		if err == nil && tag.RowsAffected() == 0 {
			return fault.New(fault.NotFound, "%s: boot record %d has no such command", what, boot)
		}
		return err
	})
}

// FinishCommand keeps a command's result, once, and in the same transaction what tells the run: the
// stage is the command's kind, with -failed when it failed. The first result counts: a repeated one
// gives the command as it stands, also when the record was closed since.
func (s *Store) FinishCommand(ctx context.Context, boot int64, id string, r operation.CommandResult, from string, at time.Time) (operation.AgentCommand, error) {
	what := "result of agent command " + id
	if err := r.Check(id); err != nil {
		return operation.AgentCommand{}, err
	}
	var result any
	if len(r.Result) > 0 {
		var err error
		if result, err = cleanJSON(r.Result); err != nil {
			return operation.AgentCommand{}, fault.Wrap(err, fault.Invalid, "%s: %v", what, err)
		}
	}
	var out operation.AgentCommand
	err := s.inTx(ctx, what, func(tx pgx.Tx) error {
		record, err := lockBoot(ctx, tx, what, boot)
		if err != nil {
			return err
		}
		out, err = scanCommand(tx.QueryRow(ctx, commandRow+`where id = $1 and boot = $2`, id, boot))
		switch {
		case noRows(err):
			return fault.New(fault.NotFound, "%s: boot record %d has no such command", what, boot)
		case err != nil || out.State.Ended():
			return err
		}
		if err := record.Live(at); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `update agent_command set state = $2, result = $3, error = $4, started = coalesce(started, $5), ended = $5 where id = $1`,
			id, r.State, result, clean(r.Error), at); err != nil {
			return err
		}
		if out, err = scanCommand(tx.QueryRow(ctx, commandRow+`where id = $1`, id)); err != nil {
			return err
		}
		body := slices.Concat([]byte("command="+id+"\n"), reasonLine(out.Error))
		_, err = addEvent(ctx, tx, record, operation.BootEvent{Stage: out.Stage(), Body: body, From: from, At: at})
		return err
	})
	return out, err
}

func reasonLine(why string) []byte {
	if why == "" {
		return nil
	}
	return fmt.Appendf(nil, "reason=%s\n", why)
}
