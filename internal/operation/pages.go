package operation

import (
	"encoding/json"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
)

// The rows of this file are what pages show of many runs: bounded in number, and without evidence.

// RunFilter selects runs for a list. At least one of Operation, States, Asset and Failed must be set:
// empty is not all.
type RunFilter struct {
	Operation ID
	Asset     asset.ID
	States    []State // live ones are found quickly over all operations, ended ones within an operation
	Failed    bool    // runs that failed, of the newest operations that have some
	Step      string
	Rack      string
	Name      string   // begins with
	Site      string   // slug
	Sites     []string // what the caller may see; empty: everything
	Skip      int
	Limit     int // 0: 100; at most 500
}

// RunRow is a run in a list. Its Steps are left out; Current is the step at which it is.
type RunRow struct {
	Run
	Kind    string // of the operation
	Actor   string // of the operation
	Current *Step  // without writes and evidence; nil before the first one
	Behind  int    // steps that are behind it
	Of      int    // steps in all
}

// Live counts runs that have not ended, of one operation, site, state and step.
type Live struct {
	Operation ID
	Site      string
	State     State
	Step      string
	Runs      int
	Since     time.Time // the oldest last change among them; zero while queued
}

// RackLoad is how the newest run of each asset of a rack stands, in numbers.
type RackLoad struct {
	Site, Rack string
	Counts     map[State]int
}

// StatusMove is one change of an asset's status as we saw or made it.
type StatusMove struct {
	From, To  asset.Status // From is empty the first time
	Cause     string       // observed, moved
	Operation ID           // empty when a person did it in the source of truth
	At        time.Time
}

// Proof is one piece of evidence with where it comes from.
type Proof struct {
	Operation ID
	Step      string
	Kind      string
	Title     string
	At        time.Time
	Data      json.RawMessage
}

// Backlog is what this server's own duties have not done yet.
type Backlog struct {
	Unsent       int       // requests that Temporal has not been told of
	OldestUnsent time.Time // when it was asked for; zero: none
	LastError    string    // of the last try to send; empty: none
	Unsealed     int       // audit rows that are not chained, counted up to 10,000
	OldestRow    time.Time // of those; zero: none
}
