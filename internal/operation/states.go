package operation

import (
	"fmt"
	"slices"
)

// live are the states of what has begun and has not ended. Any of them may follow any other: which
// one holds depends on the site, the machine and the operator, and a later transition may tell of
// several changes at once.
var live = []State{Running, Paused, Waiting, Away}

// ended are the last states.
var ended = []State{Done, Aborted, Failed}

// StateMove is one allowed change of state of an operation or of a run.
type StateMove struct{ From, To State }

// StateMoves returns every allowed change of state, in a fixed order. The same rows stand in
// PostgreSQL (table state_move); a test of internal/postgres proves the two equal.
func StateMoves() []StateMove {
	moves := []StateMove{
		{Queued, Running},
		{Queued, Paused},
		{Queued, Aborted}, // before anything was begun
		{Queued, Failed},
	}
	for _, from := range live {
		for _, to := range slices.Concat(live, ended) {
			if from != to {
				moves = append(moves, StateMove{from, to})
			}
		}
	}
	return moves
}

// CanMove returns nil when an operation or a run may go from one state to another. Staying where
// one is is not a move and always allowed; nothing leads out of an end state, and nothing back to
// queued.
func CanMove(from, to State) error {
	if from == to || slices.Contains(StateMoves(), StateMove{from, to}) {
		return nil
	}
	return fmt.Errorf("an operation cannot go from %s to %s", from, to)
}

// Combine gives the state of an operation from how many of its runs are in each state. While one
// run is live or queued the operation is: whatever wants a person shows first.
func Combine(runs map[State]int) State {
	total := 0
	for _, n := range runs {
		total += n
	}
	switch ended := runs[Done] + runs[Aborted] + runs[Failed]; {
	case total == runs[Queued]:
		return Queued
	case ended < total && runs[Waiting] > 0:
		return Waiting
	case ended < total && runs[Away] > 0:
		return Away
	case ended < total && runs[Paused] > 0 && runs[Running] == 0:
		return Paused
	case ended < total:
		return Running
	case runs[Failed] > 0:
		return Failed
	case runs[Aborted] > 0:
		return Aborted
	}
	return Done
}
