// Package wire is what travels between the API and its clients: the questions, the answers that are
// not already rows of package operation, and how a failure looks on the way (problem.go). Server and
// client import it; it imports neither. All types are plain values.
package wire

import (
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

// Headers of ours.
const (
	IdempotencyKey = "Idempotency-Key"
	RequestID      = "X-Request-Id"
)

// Targets names machines. At least one of Names, IDs and Rack must be set: empty is not all.
type Targets struct {
	Names []string   `json:"names,omitempty"`
	IDs   []asset.ID `json:"ids,omitempty"`
	Rack  string     `json:"rack,omitempty"`
	Site  string     `json:"site,omitempty"` // narrows the others, never alone
}

// Install asks for an install, or with DryRun for its plan only.
type Install struct {
	Targets
	Until  string `json:"until"` // hardware, addresses, os, active; empty: active
	Reason string `json:"reason"`
	Ticket string `json:"ticket"`
	Window int    `json:"window,omitempty"` // 0: the sites' own
	DryRun bool   `json:"dry_run,omitempty"`
	// PlanHash, when set, must be the hash of the plan that is made now: what was looked at is what runs.
	PlanHash string `json:"plan_hash,omitempty"`
}

// Accepted answers an Install. A dry run has no ID.
type Accepted struct {
	ID      operation.ID `json:"id,omitempty"`
	Created bool         `json:"created"` // false: the idempotency key was used before
	Window  int          `json:"window"`
	Plan    plan.Plan    `json:"plan"`
	// LeftOut are the devices of a rack that an install does not take, each with its status.
	LeftOut []fault.Item `json:"left_out,omitempty"`
}

// Command asks for an operator's action. All and Assets exclude each other, and one is needed.
type Command struct {
	ID     string           `json:"id"` // chosen by the caller; repeating it is harmless
	Action operation.Action `json:"action"`
	All    bool             `json:"all,omitempty"`
	Assets []string         `json:"assets,omitempty"` // names or IDs
	Reason string           `json:"reason,omitempty"`
	Step   string           `json:"step,omitempty"`
	// AcceptPin, with retry, is the certificate fingerprint that may replace the pinned one.
	AcceptPin string `json:"accept_pin,omitempty"`
	// Evidence goes with complete.
	Evidence []operation.Evidence `json:"evidence,omitempty"`
}

// Commanded says to how many runs a command applied, and why not to the others.
type Commanded struct {
	Action  operation.Action `json:"action"`
	Applied int              `json:"applied"`
	Of      int              `json:"of"`
	Runs    []CommandedRun   `json:"runs"`
}

// CommandedRun is the outcome for one run.
type CommandedRun struct {
	Asset   asset.Ref       `json:"asset"`
	Applied bool            `json:"applied"`
	State   operation.State `json:"state"` // after the command
	Error   *fault.Error    `json:"error,omitempty"`
}

// Asset is an asset as NetBox has it, with what we know beside it.
type Asset struct {
	Device   inventory.Device         `json:"device"`
	Profile  string                   `json:"profile,omitempty"` // name@version
	Holder   *operation.Holder        `json:"holder,omitempty"`
	History  operation.InstallHistory `json:"history"`
	System   *operation.Installed     `json:"system,omitempty"`   // that we installed last and have not erased
	Blocking *fault.Error             `json:"blocking,omitempty"` // why an install would be refused now
}

// AssetRow is an asset in a list.
type AssetRow struct {
	ID       asset.ID          `json:"id"`
	Name     string            `json:"name"`
	Serial   string            `json:"serial"`
	Status   asset.Status      `json:"status"`
	Site     string            `json:"site"` // slug
	Rack     string            `json:"rack"`
	Position float64           `json:"position"`
	Type     string            `json:"type"` // slug
	Role     string            `json:"role"` // slug
	Holder   *operation.Holder `json:"holder,omitempty"`
}

// Profile is a profile with where it stands.
type Profile struct {
	Ref     string          `json:"ref"` // name@version
	Profile profile.Profile `json:"profile"`
}

// ProfileCheck is the outcome of reading the profiles anew.
type ProfileCheck struct {
	Profiles []string         `json:"profiles"` // name@version
	Problems []config.Problem `json:"problems"`
}

// NewToken asks for a token.
type NewToken struct {
	Person string         `json:"person"`
	Role   operation.Role `json:"role"`
	Sites  []string       `json:"sites,omitempty"`
	Days   int            `json:"days,omitempty"` // until it expires; 0: never
}

// CreatedToken is a new token. Secret is shown this once.
type CreatedToken struct {
	Token  operation.Token `json:"token"`
	Secret string          `json:"secret"`
}

// String hides the secret.
func (t CreatedToken) String() string { return "token " + t.Token.ID }

// GoString hides the secret from %#v.
func (t CreatedToken) GoString() string { return t.String() }

// Imported is the outcome of importing factory passwords.
type Imported struct {
	Imported  int `json:"imported"`  // new here
	Changed   int `json:"changed"`   // another password than before
	Unchanged int `json:"unchanged"` // known already
}

// FirmwareCheck is the outcome of verifying one stored file.
type FirmwareCheck struct {
	File  operation.FirmwareFile `json:"file"`
	Error *fault.Error           `json:"error,omitempty"`
}

// Setup asks to compare, or with Apply to complete, what Cagenut needs in NetBox.
type Setup struct {
	Apply bool `json:"apply"`
}

// Who is the caller as the API sees it.
type Who struct {
	Token   operation.Token `json:"token"`
	Version string          `json:"version"` // of the server
}

// SecretRequest is a site worker's question for passwords of one machine of its own site.
type SecretRequest struct {
	Asset   asset.ID `json:"asset"`
	Account string   `json:"account"`
	Length  int      `json:"length,omitempty"` // for propose
}

// Reveal asks for the logins of a machine's BMC, for a person.
type Reveal struct {
	Account string `json:"account,omitempty"` // empty: the profile's
	Reason  string `json:"reason"`
}

// Candidate is a login worth trying. It is never logged.
type Candidate struct {
	Source   string `json:"source"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// String hides the password.
func (c Candidate) String() string { return c.Source + " " + c.User + ":***" }

// GoString hides the password from %#v.
func (c Candidate) GoString() string { return "wire.Candidate{" + c.String() + "}" }

// HeartbeatAnswer tells a worker the API's time, so that it can say itself how far it is off.
type HeartbeatAnswer struct {
	SkewMS int64 `json:"clock_skew_ms"`
}
