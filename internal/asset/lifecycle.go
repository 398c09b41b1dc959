package asset

import (
	"fmt"
	"slices"
)

// Status is a NetBox device status. NetBox lets sites add statuses of their own (FIELD_CHOICES), so
// a Status read from there may be none of the constants below; no move from or to such a status is
// allowed.
type Status string

// The statuses that Cagenut moves an asset between.
const (
	Planned         Status = "planned"         // intended, not yet proved
	Staged          Status = "staged"          // identity proved, being prepared
	Active          Status = "active"          // in service
	Failed          Status = "failed"          // was in service and is broken
	Decommissioning Status = "decommissioning" // on its way out
	Offline         Status = "offline"         // out of service, wiped
	InStock         Status = "inventory"       // on a shelf, wiped
)

// Move is one allowed change of status.
type Move struct{ From, To Status }

// moves is the lifecycle. The same rows stand in PostgreSQL (table lifecycle_move); a test of
// internal/postgres proves the two equal.
var moves = []Move{
	{Planned, Staged},
	{Staged, Planned}, // aborted before the operating system was written
	{Staged, Active},
	{Active, Failed},
	{Failed, Active},
	{Failed, Staged}, // an install that never reached active is taken up again
	{Staged, Decommissioning},
	{Active, Decommissioning},
	{Failed, Decommissioning},
	{Decommissioning, Offline},
	{Decommissioning, InStock},
	{Offline, Planned},
	{InStock, Planned},
}

// Moves returns every allowed move, in a fixed order.
func Moves() []Move { return slices.Clone(moves) }

// CanMove returns nil when an asset may go from one status to another, and an error that lists what
// is possible from there when it may not. Staying where one is is not a move.
func CanMove(from, to Status) error {
	var possible []Status
	for _, m := range moves {
		if m.From != from {
			continue
		}
		if m.To == to {
			return nil
		}
		possible = append(possible, m.To)
	}
	if len(possible) == 0 {
		return fmt.Errorf("status %q is not one that Cagenut moves a device out of", from)
	}
	return fmt.Errorf("a device cannot go from %s to %s; from %s it can go to %v", from, to, from, possible)
}

// InService tells whether a device in this status may carry production load. Anything that is not
// known to be idle counts as in service.
func (s Status) InService() bool {
	switch s {
	case Planned, Staged, Offline, InStock:
		return false
	}
	return true
}
