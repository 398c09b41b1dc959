package api

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// Store is what the API needs of PostgreSQL. Errors carry a fault code: NotFound, Locked, Conflict,
// StoreAway; anything else is shown as Internal.
type Store interface {
	BootStore

	// CreateOperation stores a request, its queued runs, its approval, its audit row and its outbox
	// row in one transaction. When the actor used the key before, it gives that operation and false.
	// A machine that another operation holds is fault.Locked with the holder, and nothing is stored.
	CreateOperation(ctx context.Context, r operation.Request) (id operation.ID, created bool, err error)
	// OperationByKey finds the operation that an actor created with a key; fault.NotFound without one.
	OperationByKey(ctx context.Context, actor, key string) (id operation.ID, digest string, err error)
	ListOperations(ctx context.Context, f operation.Filter) ([]operation.Summary, error)
	GetOperation(ctx context.Context, id operation.ID) (operation.Detail, error)
	GetPlan(ctx context.Context, id operation.ID) (plan.Plan, error)
	// GetRun gives one run with its steps, writes, evidence and attempts; fault.NotFound without one.
	GetRun(ctx context.Context, id operation.ID, a asset.ID) (operation.Run, error)
	// EvidenceBlob gives large evidence by its SHA-256: that of a machine in one of sites, or of any when
	// there are none; else fault.NotFound.
	EvidenceBlob(ctx context.Context, sha256 string, sites []string) (json.RawMessage, error)
	// AbortUnsent aborts queued runs that no workflow was started for, and gives those that it aborted.
	AbortUnsent(ctx context.Context, id operation.ID, assets []asset.ID, by operation.Command, at time.Time) ([]asset.ID, error)
	// AbortLost ends a run that has begun and whose workflow is gone; false: it has ended, or not begun.
	AbortLost(ctx context.Context, id operation.ID, a asset.ID, by operation.Command, at time.Time) (bool, error)
	// Hold notes whether the whole operation is paused.
	Hold(ctx context.Context, id operation.ID, held bool) error
	// AssetHistory gives the runs of an asset with their steps, newest first, at most limit.
	AssetHistory(ctx context.Context, id asset.ID, limit int) ([]operation.Run, error)
	// Events gives events in the order of Seq.
	Events(ctx context.Context, f operation.EventFilter) ([]operation.Event, error)
	// LastEvent is the Seq of the newest event, 0 when there is none.
	LastEvent(ctx context.Context) (int64, error)
	// Known gives what operations have learned of an asset; the zero value when nothing is known.
	Known(ctx context.Context, a asset.Ref) (operation.Known, error)
	// CurrentHolders gives the holders of those assets that are held.
	CurrentHolders(ctx context.Context, ids []asset.ID) (map[asset.ID]operation.Holder, error)
	// InstallHistories gives what is known of those assets that have a past with us.
	InstallHistories(ctx context.Context, ids []asset.ID) (map[asset.ID]operation.InstallHistory, error)

	// ObserveStatus keeps the status in which a device was seen in NetBox.
	ObserveStatus(ctx context.Context, id asset.ID, status asset.Status, at time.Time) error

	// SaveHeartbeat keeps the last heartbeat of a worker, by site and name, and gives how far its clock is
	// ahead of the store's.
	SaveHeartbeat(ctx context.Context, h operation.Heartbeat) (skew time.Duration, err error)
	Heartbeats(ctx context.Context) ([]operation.Heartbeat, error)

	// CreateToken keeps a token by the SHA-256 of its secret.
	CreateToken(ctx context.Context, t operation.Token, sum [32]byte) error
	ListTokens(ctx context.Context) ([]operation.Token, error)
	RevokeToken(ctx context.Context, id, by string, at time.Time) error
	// Authenticate gives the token with this SHA-256, live or not, and notes when it was last used;
	// fault.Unauthenticated when there is none.
	Authenticate(ctx context.Context, sum [32]byte, now time.Time) (operation.Token, error)

	SaveFirmware(ctx context.Context, f operation.FirmwareFile) error
	ListFirmware(ctx context.Context) ([]operation.FirmwareFile, error)
	// RemoveFirmware takes a file out of the catalogue. One that an open operation's plan needs is
	// fault.Locked with that operation.
	RemoveFirmware(ctx context.Context, sha256 string) error

	// Audit adds a row to the audit chain. A row with an operation is also an event of it.
	Audit(ctx context.Context, e operation.AuditEntry) error
	// AuditOnce adds a row with an operation and an asset unless the same is there; it is no event.
	AuditOnce(ctx context.Context, e operation.AuditEntry) error
	// AuditLog gives rows of the audit log, newest first, or with Chain in the order of the chain.
	AuditLog(ctx context.Context, f operation.AuditFilter) ([]operation.AuditEntry, error)
	// VerifyAudit recomputes the whole chain and compares it with the signed head.
	VerifyAudit(ctx context.Context) (operation.AuditReport, error)
	Ping(ctx context.Context) error
}

// Steerer tells running operations what an operator wants. Its errors carry a fault code: NotFound
// when nothing runs any more, Invalid when the command does not fit the state (with the reason),
// SiteAway or Internal when Temporal does not answer.
type Steerer interface {
	// Command goes to one run, or to the operation's own workflow when id is 0.
	Command(ctx context.Context, id asset.ID, action operation.Action, c operation.Command) (operation.Reply, error)
}

// Secrets keeps passwords of BMCs. Nothing that it returns is logged.
type Secrets interface {
	// Has tells for each serial whether a password is known for its BMC, our own or imported, by
	// serial or by one of the MACs.
	Has(ctx context.Context, machines []Machine) (map[asset.ID]bool, error)
	// ImportManifest reads a CSV of factory passwords. A bad row is fault.Invalid with every bad row
	// in its details, and nothing is imported.
	ImportManifest(ctx context.Context, csv io.Reader) (wire.Imported, error)
	// Candidates, Propose and Promote are what the steps of a site's worker need.
	Candidates(ctx context.Context, a asset.Ref, account string) ([]Candidate, error)
	Propose(ctx context.Context, a asset.Ref, account string, length int) (Candidate, error)
	Promote(ctx context.Context, a asset.Ref, account string) error
}

// Machine is how a password is found: by serial, else by the BMC's MACs.
type Machine struct {
	Ref  asset.Ref
	MACs []string // of management interfaces
}

// Candidate is a login worth trying.
type Candidate struct {
	Source   string
	User     string
	Password string
}

// String hides the password.
func (c Candidate) String() string { return c.Source + " " + c.User + ":***" }

// GoString hides the password from %#v.
func (c Candidate) GoString() string { return "api.Candidate{" + c.String() + "}" }

// Firmware keeps firmware files by SHA-256.
type Firmware interface {
	// Add stores a stream and gives its size. A stream whose SHA-256 is not sha256, or that is larger
	// than the limit, is fault.BadImage, and nothing is kept.
	Add(ctx context.Context, r io.Reader, sha256 string) (size int64, err error)
	// Open gives a file; fault.NotFound when it is not there.
	Open(sha256 string) (io.ReadSeekCloser, error)
	// Verify reads a file and compares its SHA-256; fault.BadImage when it differs or is missing.
	Verify(ctx context.Context, sha256 string) error
	// Remove deletes a file; one that is not there is success.
	Remove(sha256 string) error
}

// Planner composes the steps for one machine: a runbook of package workflows, bound by the command
// layer. files is the firmware catalogue. It is pure.
type Planner func(f plan.Facts, p profile.Profile, files []operation.FirmwareFile, until string) (plan.Target, error)
