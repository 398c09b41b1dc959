package operation

import (
	"slices"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/plan"
)

// The rows of this file are what PostgreSQL gives and the API shows: plain values without secrets,
// with one JSON form for both. Zero times are left out of the JSON.

// Request is what the store keeps when an operation is accepted, together with its outbox row.
type Request struct {
	ID     ID
	Key    string // idempotency key, unique for its actor; a repeated key gives the first operation
	Digest string // SHA-256 of what was asked, so that a repeated key with another question is refused
	Actor  string
	Reason string
	Ticket string
	Window int    // runs at once
	Racks  []Rack // with a window of their own
	Plan   plan.Plan
	At     time.Time
}

// Filter selects operations. The zero Filter selects the newest ones.
type Filter struct {
	States []State
	Site   string   // slug: operations with an asset there
	Sites  []string // what the caller may see; empty: everything
	Asset  asset.ID
	Actor  string
	Before ID  // older than this one, for paging
	Limit  int // 0: 50; at most 500
}

// Summary is an operation in a list.
type Summary struct {
	ID      ID            `json:"id"`
	Kind    string        `json:"kind"`
	Until   string        `json:"until"`
	State   State         `json:"state"`
	Actor   string        `json:"actor"`
	Reason  string        `json:"reason"`
	Ticket  string        `json:"ticket"`
	Hash    string        `json:"plan_hash"`
	Window  int           `json:"window"`
	Sites   []string      `json:"sites"`          // slugs, sorted
	Assets  int           `json:"assets"`         // how many
	Counts  map[State]int `json:"counts"`         // of the runs, by state
	Held    bool          `json:"held,omitempty"` // the whole is paused: no queued run is started
	Created time.Time     `json:"created"`
	Started time.Time     `json:"started,omitzero"`
	Ended   time.Time     `json:"ended,omitzero"`
}

// Detail is an operation with its runs, by asset name.
type Detail struct {
	Summary
	Error *fault.Error `json:"error,omitempty"`
	Runs  []Run        `json:"runs"`
}

// Run is one asset's part of an operation.
type Run struct {
	Operation ID           `json:"operation"`
	Asset     asset.Ref    `json:"asset"`
	Profile   string       `json:"profile"` // name@version
	State     State        `json:"state"`
	Step      string       `json:"step,omitempty"` // the current one
	Seq       int64        `json:"seq"`            // of the last transition
	Error     *fault.Error `json:"error,omitempty"`
	Left      []string     `json:"left,omitempty"` // what an abort left behind
	Started   time.Time    `json:"started,omitzero"`
	Updated   time.Time    `json:"updated,omitzero"`
	Ended     time.Time    `json:"ended,omitzero"`
	Steps     []Step       `json:"steps,omitempty"` // in the plan's order; not in lists
}

// Step is one step of a run as it stands.
type Step struct {
	Name        string       `json:"name"`
	Kind        string       `json:"kind"`
	Title       string       `json:"title"`
	State       StepState    `json:"state"`
	Attempt     int          `json:"attempt"`
	Round       int          `json:"round,omitempty"`
	Unskippable bool         `json:"unskippable,omitempty"`
	Progress    *Progress    `json:"progress,omitempty"`
	Error       *fault.Error `json:"error,omitempty"`
	Summary     string       `json:"summary,omitempty"`
	Writes      []plan.Write `json:"writes,omitempty"` // really made
	Evidence    []Evidence   `json:"evidence,omitempty"`
	Attempts    []Attempt    `json:"attempts,omitempty"` // all of them, the current one too
	Started     time.Time    `json:"started,omitzero"`
	Ended       time.Time    `json:"ended,omitzero"`
}

// Attempt is one try of a step with how it ended.
type Attempt struct {
	Number  int          `json:"number"` // from 1
	State   StepState    `json:"state"`
	Rounds  int          `json:"rounds,omitempty"`
	Error   *fault.Error `json:"error,omitempty"`
	Summary string       `json:"summary,omitempty"`
	Started time.Time    `json:"started"`
	Ended   time.Time    `json:"ended,omitzero"`
}

// Event is one thing that happened, in the order in which the store saw it.
type Event struct {
	Seq       int64        `json:"seq"` // rises over all events; Last-Event-ID of the stream
	At        time.Time    `json:"at"`
	Operation ID           `json:"operation"`
	Asset     asset.ID     `json:"asset,omitempty"` // 0: about the whole operation
	Name      string       `json:"name,omitempty"`  // of the asset
	Kind      string       `json:"kind"`            // requested, transition, command, ended
	State     State        `json:"state,omitempty"` // of the run, or of the operation when Asset is 0
	Step      string       `json:"step,omitempty"`
	StepState StepState    `json:"step_state,omitempty"`
	Progress  *Progress    `json:"progress,omitempty"`
	Text      string       `json:"text"` // a sentence for people
	Actor     string       `json:"actor,omitempty"`
	Action    Action       `json:"action,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Error     *fault.Error `json:"error,omitempty"`
}

// EventFilter selects events after a sequence number.
type EventFilter struct {
	After     int64
	Operation ID       // empty: of all operations
	Sites     []string // what the caller may see; empty: everything
	Limit     int      // 0: 500
}

// Holder is the operation that holds an asset: its run is queued or has not ended.
type Holder struct {
	Operation ID        `json:"operation"`
	Asset     asset.Ref `json:"asset"` // as the plan froze it
	State     State     `json:"state"` // of the run
	Actor     string    `json:"actor"`
	Step      string    `json:"-"` // the current one
	Account   string    `json:"-"` // of the BMC, as the plan froze it
}

// Told is the holder as planning tells it.
func (h Holder) Told() plan.Holder {
	return plan.Holder{Operation: string(h.Operation), Actor: h.Actor, State: string(h.State), Asset: h.Asset.Name}
}

// InstallHistory is what our own records tell of an asset's past.
type InstallHistory struct {
	EverActive   bool `json:"ever_active"`   // an operation of ours brought it into service
	InstallBegan bool `json:"install_began"` // an install of ours began and never reached active
	// Staged is when an operation of ours last moved it to staged; zero: never.
	Staged time.Time `json:"staged,omitzero"`
}

// Role is what a token may do. Each person's role holds those before it: viewer, operator,
// approver, admin. A worker token is none of these: it serves its sites and reads nothing else.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Approver Role = "approver"
	Admin    Role = "admin"
	Worker   Role = "worker"
)

// Roles lists all roles.
func Roles() []Role { return []Role{Viewer, Operator, Approver, Admin, Worker} }

// Allows tells whether a token of role r may do what needs the role need.
func (r Role) Allows(need Role) bool {
	if r == Worker || need == Worker {
		return r == need
	}
	order := Roles()[:4]
	i := slices.Index(order, r)
	return i >= 0 && i >= slices.Index(order, need)
}

// Token is a token without its secret part.
type Token struct {
	ID       string    `json:"id"`     // tok_<ULID>
	Person   string    `json:"person"` // whom it belongs to; a worker's name for workers
	Role     Role      `json:"role"`
	Sites    []string  `json:"sites"` // slugs; empty: all sites. A worker token names its sites
	Created  time.Time `json:"created"`
	By       string    `json:"created_by"`
	Expires  time.Time `json:"expires,omitzero"` // zero: never
	LastUsed time.Time `json:"last_used,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
}

// AllowsSite tells whether the token covers a site.
func (t Token) AllowsSite(slug string) bool {
	return (len(t.Sites) == 0 && t.Role != Worker) || slices.Contains(t.Sites, slug)
}

// Live tells whether the token can be used at a time.
func (t Token) Live(now time.Time) bool {
	return t.Revoked.IsZero() && (t.Expires.IsZero() || now.Before(t.Expires))
}

// Heartbeat is what a worker says of itself, every 10 seconds or so.
type Heartbeat struct {
	Site    string    `json:"site"`   // slug; empty: a central worker
	Worker  string    `json:"worker"` // host name and process, unique
	Version string    `json:"version"`
	Queue   string    `json:"queue"`
	Steps   []string  `json:"steps"`           // kind/version that it knows
	Clock   time.Time `json:"clock"`           // the worker's own, when it sent this
	At      time.Time `json:"at,omitzero"`     // ours, when it came; set by the API
	SkewMS  int64     `json:"clock_skew_ms"`   // Clock - At; includes the network's delay
	Serve   string    `json:"serve,omitempty"` // base URL at which BMCs fetch firmware from it
	State   string    `json:"state,omitempty"` // up or away, by At and our clock; only in answers
}

// Site is a site with its workers.
type Site struct {
	Slug    string      `json:"slug"`
	Name    string      `json:"name,omitempty"`
	State   string      `json:"state"` // up, away (no fresh heartbeat), none (never seen a worker)
	Workers []Heartbeat `json:"workers"`
}

// FirmwareFile is one file of the firmware store, known by its SHA-256.
type FirmwareFile struct {
	SHA256 string    `json:"sha256"`
	Name   string    `json:"name"`
	Size   int64     `json:"size"` // bytes
	Added  time.Time `json:"added"`
	By     string    `json:"added_by"`
}

// AuditEntry is one row for the audit chain: somebody did, or tried, something.
type AuditEntry struct {
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	Action    string    `json:"action"`  // e.g. token.create, operation.pause
	Subject   string    `json:"subject"` // what it was done to
	Operation ID        `json:"operation,omitempty"`
	Asset     asset.ID  `json:"asset,omitempty"`
	Request   string    `json:"request,omitempty"` // request ID
	Detail    string    `json:"detail,omitempty"`  // JSON or a sentence; never a secret
	Seq       int64     `json:"seq,omitempty"`     // its place in the chain; 0: not yet chained
}

// AuditFilter selects rows of the audit log. The zero AuditFilter selects the newest.
type AuditFilter struct {
	Operation ID
	Actor     string
	Since     time.Time
	Chain     bool  // chained rows only, in the chain's order: for exports in pieces
	After     int64 // with Chain: rows behind this place
	Limit     int   // 0: 100; at most 10,000
}

// AuditReport is the outcome of verifying the audit chain against its signed head.
type AuditReport struct {
	Rows     int64     `json:"rows"`     // chained
	Unsealed int64     `json:"unsealed"` // inserted and not yet chained
	Head     string    `json:"head"`     // hash of the last chained row
	SignedAt time.Time `json:"signed_at,omitzero"`
	Problems []string  `json:"problems"`           // empty: the chain is whole
	Restores []string  `json:"restores,omitempty"` // restored databases that were accepted, with what was lost
}
