package wire

import (
	"net/http"

	"github.com/cagenut/cagenut/internal/fault"
)

// ContentProblem is the media type of a failure (RFC 9457).
const ContentProblem = "application/problem+json"

// Problem is a failure on its way to a caller.
type Problem struct {
	Type    string       `json:"type"`  // urn:cagenut:fault:<code>
	Title   string       `json:"title"` // the HTTP status in words
	Status  int          `json:"status"`
	Detail  string       `json:"detail"` // what happened
	Code    fault.Code   `json:"code"`
	Remedy  string       `json:"remedy,omitempty"`
	Holder  string       `json:"holder,omitempty"`
	Details []fault.Item `json:"details,omitempty"`
	Request string       `json:"request_id,omitempty"`
}

// ProblemOf gives the form of a fault.
func ProblemOf(e *fault.Error, requestID string) Problem {
	status := Status(e.Code)
	return Problem{Type: "urn:cagenut:fault:" + string(e.Code), Title: http.StatusText(status), Status: status,
		Detail: e.Message, Code: e.Code, Remedy: e.Remedy, Holder: e.Holder, Details: e.Details, Request: requestID}
}

// Fault is the way back.
func (p Problem) Fault() *fault.Error {
	return &fault.Error{Code: p.Code, Message: p.Detail, Remedy: p.Remedy, Holder: p.Holder, Details: p.Details}
}

// The exit codes of the command line, the same for every command.
const (
	ExitOK      = 0
	ExitFailure = 1 // the command itself failed
	ExitUsage   = 2
	ExitRefused = 3
	ExitLocked  = 4 // held by another operation
	ExitWaiting = 5 // waiting for a person
	ExitFailed  = 6 // the operation failed or was aborted
	ExitAway    = 7 // the control plane, or what it stands on, cannot be reached
)

// outcome is a row of the table: what a fault is to HTTP, and to a shell.
type outcome struct{ status, exit int }

// outcomes is the one table from fault codes to both. A test holds it total over fault.Codes.
var outcomes = map[fault.Code]outcome{
	fault.Invalid:         {http.StatusUnprocessableEntity, ExitUsage},
	fault.NotFound:        {http.StatusNotFound, ExitRefused},
	fault.Locked:          {http.StatusConflict, ExitLocked},
	fault.Denied:          {http.StatusForbidden, ExitRefused},
	fault.Unauthenticated: {http.StatusUnauthorized, ExitRefused},
	fault.Conflict:        {http.StatusConflict, ExitRefused},

	fault.Incomplete:       {http.StatusUnprocessableEntity, ExitRefused},
	fault.InService:        {http.StatusConflict, ExitRefused},
	fault.IllegalMove:      {http.StatusConflict, ExitRefused},
	fault.NoProfile:        {http.StatusUnprocessableEntity, ExitRefused},
	fault.IdentityMismatch: {http.StatusConflict, ExitRefused},
	fault.DuplicateSerial:  {http.StatusConflict, ExitRefused},
	fault.Downgrade:        {http.StatusConflict, ExitRefused},
	fault.OutsidePlan:      {http.StatusConflict, ExitRefused},
	fault.Drift:            {http.StatusConflict, ExitRefused},
	fault.Aborted:          {http.StatusConflict, ExitFailed},
	fault.BadImage:         {http.StatusUnprocessableEntity, ExitRefused},
	fault.Unsupported:      {http.StatusUnprocessableEntity, ExitRefused},
	fault.NoSecret:         {http.StatusUnprocessableEntity, ExitRefused},

	fault.WrongMachine: {http.StatusConflict, ExitRefused},
	fault.BootUsed:     {http.StatusGone, ExitRefused},
	fault.BootExpired:  {http.StatusGone, ExitRefused},
	fault.BootClaimed:  {http.StatusConflict, ExitRefused},
	fault.ForeignSite:  {http.StatusForbidden, ExitRefused},

	fault.NoDHCP:          {http.StatusBadGateway, ExitFailure},
	fault.NoPhoneHome:     {http.StatusBadGateway, ExitFailure},
	fault.InstallerHangs:  {http.StatusBadGateway, ExitFailure},
	fault.InstallerFailed: {http.StatusBadGateway, ExitFailure},
	fault.WrongOS:         {http.StatusBadGateway, ExitFailure},
	fault.AgentFailed:     {http.StatusBadGateway, ExitFailure},
	fault.BurnInFailed:    {http.StatusBadGateway, ExitFailure},
	fault.NoRootDisk:      {http.StatusConflict, ExitFailure},

	fault.ConfigDenied: {http.StatusBadGateway, ExitFailure},
	fault.HostAway:     {http.StatusBadGateway, ExitFailure},
	fault.NotEnrolled:  {http.StatusBadGateway, ExitFailure},
	fault.KeyMismatch:  {http.StatusConflict, ExitFailure},
	fault.RenderFailed: {http.StatusBadGateway, ExitFailure},
	fault.ConfigFailed: {http.StatusBadGateway, ExitFailure},
	fault.ConfigLost:   {http.StatusBadGateway, ExitFailure},
	fault.CheckFailed:  {http.StatusConflict, ExitFailure},

	fault.PinChanged:     {http.StatusBadGateway, ExitFailure},
	fault.Untrusted:      {http.StatusBadGateway, ExitFailure},
	fault.BadCredentials: {http.StatusBadGateway, ExitFailure},
	fault.Unreachable:    {http.StatusBadGateway, ExitFailure},
	fault.Busy:           {http.StatusServiceUnavailable, ExitFailure},
	fault.Rejected:       {http.StatusBadGateway, ExitFailure},
	fault.NotApplied:     {http.StatusBadGateway, ExitFailure},
	fault.Malformed:      {http.StatusBadGateway, ExitFailure},
	fault.TaskFailed:     {http.StatusBadGateway, ExitFailure},
	fault.NotConverged:   {http.StatusBadGateway, ExitFailure},
	fault.Differs:        {http.StatusConflict, ExitFailure},
	fault.Deadline:       {http.StatusGatewayTimeout, ExitFailure},
	fault.UnknownStep:    {http.StatusConflict, ExitFailure},

	fault.ServerError:     {http.StatusBadGateway, ExitFailure},
	fault.OutsidePrefixes: {http.StatusUnprocessableEntity, ExitRefused},
	fault.InventoryDenied: {http.StatusBadGateway, ExitFailure},
	fault.WorkerLost:      {http.StatusServiceUnavailable, ExitFailure},

	fault.EngineAway:    {http.StatusServiceUnavailable, ExitAway},
	fault.SiteAway:      {http.StatusServiceUnavailable, ExitAway},
	fault.InventoryAway: {http.StatusServiceUnavailable, ExitAway},
	fault.StoreAway:     {http.StatusServiceUnavailable, ExitAway},
	fault.ConfigAway:    {http.StatusServiceUnavailable, ExitAway},
	fault.Internal:      {http.StatusInternalServerError, ExitFailure},
}

// Status is the HTTP status of a fault. A code that the table lacks is a defect: 500.
func Status(c fault.Code) int {
	if o, ok := outcomes[c]; ok {
		return o.status
	}
	return http.StatusInternalServerError
}

// Exit is the exit code of a fault.
func Exit(c fault.Code) int {
	if o, ok := outcomes[c]; ok {
		return o.exit
	}
	return ExitFailure
}
