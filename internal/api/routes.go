package api

import (
	"net/http"
	"time"

	"github.com/cagenut/cagenut/internal/api/wire"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/inventory"
)

// route is one endpoint. The OpenAPI document is made from the same rows.
type route struct {
	method, path string
	role         operation.Role // needed; empty: open to everybody
	worker       bool           // open to workers too
	limit        int64          // bytes of body; 0: 1 MiB
	timeout      time.Duration  // 0: one minute; negative: none
	quiet        bool           // not logged when all is well
	handle       func(w http.ResponseWriter, c *call) error

	summary string
	params  []param
	body    any    // the type that is asked with; nil: none
	media   string // of the body where it is not JSON
	status  int    // of success
	answer  any    // the type that is answered with; nil: no body, or of another kind
	answers string // media type of the answer where it is not JSON
}

// param is a query parameter or a header.
type param struct {
	in, name, about string
	required        bool
}

const longer = 5 * time.Minute // for what reads thousands of devices

func (s *Server) routes() []route {
	const (
		viewer, operator, admin, worker = operation.Viewer, operation.Operator, operation.Admin, operation.Worker

		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	)
	limit := param{in: "query", name: "limit", about: "at most so many"}
	return append([]route{
		{method: get, path: "/healthz", quiet: true, handle: s.healthz, summary: "The process lives", status: 200, answer: map[string]string{}},
		{method: get, path: "/readyz", quiet: true, handle: s.readyz, summary: "The server can do its work; 503 names what fails", status: 200, answer: map[string]string{}},
		{method: get, path: "/openapi.json", quiet: true, handle: s.openapiJSON, summary: "This document", status: 200, answers: "application/json"},
		{method: get, path: "/v1/whoami", role: viewer, worker: true, handle: s.whoami, summary: "The caller's token and the server's version", status: 200, answer: wire.Who{}},

		{method: post, path: "/v1/operations", role: operator, timeout: longer, limit: 4 << 20, handle: s.install,
			summary: "Install machines, or with dry_run only plan it. All gaps of all machines are answered at once",
			params:  []param{{in: "header", name: wire.IdempotencyKey, about: "new for every new request; a repeated one gives the first operation. Needed unless dry_run"}},
			body:    wire.Install{}, status: 202, answer: wire.Accepted{}},
		{method: get, path: "/v1/operations", role: viewer, handle: s.listOperations, summary: "Operations, newest first",
			params: []param{{in: "query", name: "state", about: "repeatable"}, {in: "query", name: "site", about: "slug"},
				{in: "query", name: "actor", about: "who asked"}, {in: "query", name: "before", about: "older than this ID"}, limit},
			status: 200, answer: []operation.Summary{}},
		{method: get, path: "/v1/operations/{id}", role: viewer, handle: s.getOperation, summary: "One operation with its runs and steps", status: 200, answer: operation.Detail{}},
		{method: get, path: "/v1/operations/{id}/plan", role: viewer, handle: s.getPlan, summary: "The frozen plan of an operation", status: 200, answer: plan.Plan{}},
		{method: post, path: "/v1/operations/{id}/commands", role: operator, timeout: longer, handle: s.command,
			summary: "Pause, resume, retry, skip, abort or complete runs of an operation", body: wire.Command{}, status: 200, answer: wire.Commanded{}},
		{method: get, path: "/v1/operations/{id}/runs/{asset}", role: viewer, handle: s.getRun,
			summary: "One machine's part of an operation with its steps, writes, evidence and attempts, by name, serial or NetBox ID", status: 200, answer: operation.Run{}},
		{method: get, path: "/v1/evidence/{sha256}", role: viewer, handle: s.getEvidence,
			summary: "Evidence that is too large for its run, by the SHA-256 in its field blob", status: 200, answers: "application/json"},
		{method: get, path: "/v1/events", role: viewer, timeout: -1, handle: s.events, summary: "What happens, as server-sent events; each data line is an Event",
			params: []param{{in: "query", name: "operation", about: "only of this operation, from its beginning"},
				{in: "query", name: "after", about: "begin after this event"}, {in: "header", name: "Last-Event-ID", about: "go on after this event"}},
			status: 200, answers: "text/event-stream", answer: operation.Event{}},

		{method: get, path: "/v1/assets", role: viewer, timeout: longer, handle: s.listAssets, summary: "The devices of a rack with status and holder, from the top",
			params: []param{{in: "query", name: "rack", about: "name", required: true}, {in: "query", name: "site", about: "slug, where the rack's name is not unique"}}, status: 200, answer: []wire.AssetRow{}},
		{method: post, path: "/v1/assets/{asset}/bmc-password", role: admin, handle: s.revealPassword,
			summary: "The logins that are known for a machine's BMC; who asked, and why, is in the audit log first", body: wire.Reveal{}, status: 200, answer: []wire.Candidate{}},
		{method: get, path: "/v1/assets/{asset}", role: viewer, handle: s.getAsset, summary: "A device by name, serial or NetBox ID, and what stands against installing it", status: 200, answer: wire.Asset{}},
		{method: get, path: "/v1/assets/{asset}/history", role: viewer, handle: s.assetHistory, summary: "The runs of a device, newest first", params: []param{limit}, status: 200, answer: []operation.Run{}},
		{method: get, path: "/v1/profiles", role: viewer, handle: s.listProfiles, summary: "The profiles", status: 200, answer: []wire.Profile{}},
		{method: get, path: "/v1/profiles/{profile}", role: viewer, handle: s.getProfile, summary: "One profile by name or name@version", status: 200, answer: wire.Profile{}},
		{method: get, path: "/v1/profile-check", role: viewer, handle: s.checkProfiles, summary: "Read the server's profiles anew and list every problem", status: 200, answer: wire.ProfileCheck{}},
		{method: get, path: "/v1/sites", role: viewer, handle: s.sites, summary: "Sites with their workers, versions and clocks", status: 200, answer: []operation.Site{}},
		{method: get, path: "/v1/doctor", role: viewer, handle: s.doctor, summary: "Look at everything that an operation needs", status: 200, answer: []config.Checked{}},

		{method: get, path: "/v1/tokens", role: admin, handle: s.listTokens, summary: "Tokens, without their secrets", status: 200, answer: []operation.Token{}},
		{method: post, path: "/v1/tokens", role: admin, handle: s.createToken, summary: "Make a token; its secret is answered this once", body: wire.NewToken{}, status: 201, answer: wire.CreatedToken{}},
		{method: del, path: "/v1/tokens/{id}", role: admin, handle: s.revokeToken, summary: "Revoke a token", status: 204},
		{method: post, path: "/v1/bmc/manifest", role: admin, limit: 16 << 20, handle: s.importManifest, summary: "Import factory passwords of BMCs", media: "text/csv", status: 200, answer: wire.Imported{}},
		{method: post, path: "/v1/netbox/setup", role: admin, timeout: longer, handle: s.netboxSetup, summary: "Compare, or with apply complete, what Cagenut needs in NetBox", body: wire.Setup{}, status: 200, answer: []inventory.SetupItem{}},
		{method: post, path: "/v1/netbox/webhook", limit: 4 << 20, quiet: true, handle: s.netboxHook,
			summary: "What NetBox tells of changes, signed with the webhook's secret",
			params:  []param{{in: "header", name: "X-Hook-Signature", about: "hex HMAC-SHA512 of the body", required: true}}, media: "application/json", status: 204},
		{method: get, path: "/v1/audit", role: viewer, handle: s.listAudit, summary: "Rows of the audit log, newest first; with after, those behind that place of the chain, oldest first. Not for tokens of some sites",
			params: []param{{in: "query", name: "operation", about: "only of this operation"}, {in: "query", name: "actor", about: "only of this person"},
				{in: "query", name: "since", about: "not older (RFC 3339)"}, {in: "query", name: "after", about: "behind this seq of the chain"}, limit},
			status: 200, answer: []operation.AuditEntry{}},
		{method: get, path: "/v1/audit/verification", role: viewer, timeout: 30 * time.Minute, handle: s.verifyAudit, summary: "Recompute the audit chain and compare it with its signed head", status: 200, answer: operation.AuditReport{}},

		{method: get, path: "/v1/firmware", role: viewer, worker: true, handle: s.listFirmware, summary: "The firmware catalogue", status: 200, answer: []operation.FirmwareFile{}},
		{method: put, path: "/v1/firmware/{sha256}", role: admin, timeout: time.Hour, limit: s.o.MaxFirmware, handle: s.addFirmware, summary: "Add a file; nothing is kept unless its SHA-256 is right",
			params: []param{{in: "query", name: "name", about: "the file's name", required: true}}, media: "application/octet-stream", status: 201, answer: operation.FirmwareFile{}},
		{method: del, path: "/v1/firmware/{sha256}", role: admin, handle: s.removeFirmware, summary: "Remove a file, unless an open operation's plan needs it", status: 204},
		{method: get, path: "/v1/firmware/{sha256}", role: worker, timeout: time.Hour, handle: s.getFirmware, summary: "A file, for the workers of sites", status: 200, answers: "application/octet-stream"},
		{method: get, path: "/v1/firmware-check", role: operator, timeout: time.Hour, handle: s.verifyFirmware, summary: "Read every stored file and compare its SHA-256", status: 200, answer: []wire.FirmwareCheck{}},

		{method: post, path: "/v1/worker/heartbeat", role: worker, quiet: true, handle: s.heartbeat, summary: "A site's worker lives", body: operation.Heartbeat{}, status: 200, answer: wire.HeartbeatAnswer{}},
		{method: post, path: "/v1/worker/secrets/candidates", role: worker, handle: s.secretCandidates, summary: "Logins worth trying on a BMC of the worker's site that an operation holds", body: wire.SecretRequest{}, status: 200, answer: []wire.Candidate{}},
		{method: post, path: "/v1/worker/secrets/propose", role: worker, handle: s.secretPropose, summary: "Make a new password durable as pending, and answer it", body: wire.SecretRequest{}, status: 200, answer: wire.Candidate{}},
		{method: post, path: "/v1/worker/secrets/promote", role: worker, handle: s.secretPromote, summary: "The pending password is now the BMC's", body: wire.SecretRequest{}, status: 204},
	}, s.bootRoutes()...)
}

func (s *Server) openapiJSON(w http.ResponseWriter, _ *call) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(s.openapi)
	return err
}
