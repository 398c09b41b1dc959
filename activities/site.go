package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
)

// Site holds the activities of a queue "site-<slug>": those that touch BMCs, booting machines and
// configuration management. It knows neither PostgreSQL nor NetBox.
type Site struct {
	BMCs    BMCs
	Secrets Secrets
	Images  Images
	Boots   Boots
	Configs ConfigManagements
	// PowerOn tells how long to wait before a host of the rack may be switched on: 0 takes the turn. It
	// keeps a rack's hosts from drawing their inrush current at once. nil: at once.
	PowerOn func(rack string) time.Duration
	// Endpoint completes a plan's BMC address with what the site's configuration says: port and CA.
	Endpoint func(a asset.Ref, b plan.BMC) bmc.Endpoint
	// Dial connects to machines whose pages and ports are checked. nil: as the worker's own network does.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Clock func() time.Time
	// Process names this process among all that work or worked for the site.
	Process string
	// Poll is the pause between two looks at something that changes slowly (power, a task).
	Poll time.Duration
	// Faster divides how long hardware may take, so that a test sees in seconds how production gives
	// up in minutes. 0 and 1 change nothing; it goes with workflows.Timing.Faster.
	Faster int
}

// patience is how long a may wait for something that takes hardware at most d.
func (a *Site) patience(d time.Duration) time.Duration { return d / time.Duration(max(a.Faster, 1)) }

// Register makes them known to a worker.
func (a *Site) Register(r Registry) {
	r.RegisterActivityWithOptions(a.Step, activity.RegisterOptions{Name: ActivityStep})
}

// Step does one bounded piece of a step of place Site.
func (a *Site) Step(ctx context.Context, c Call) (Result, error) {
	return dispatch(ctx, a.handlers(), c)
}

func (a *Site) handlers() map[kind]handler {
	return map[kind]handler{
		{plan.KindIdentity, 1}:    a.identity,
		{plan.KindCredentials, 1}: a.credentials,
		{plan.KindSettings, 1}:    a.settings,
		{plan.KindFirmware, 1}:    a.firmware,
		{plan.KindBIOS, 1}:        a.bios,
		{plan.KindHardware, 1}:    a.hardware,
		{plan.KindDiagnose, 1}:    a.diagnose,
		{plan.KindStop, 1}:        a.stop,
		{plan.KindAgent, 1}:       a.agent,
		{plan.KindBurnIn, 1}:      a.burnIn,
		{plan.KindDisks, 1}:       a.diskLayout,
		{plan.KindOS, 1}:          a.osInstall,
		{plan.KindInstalled, 1}:   a.installed,
		{plan.KindConfigure, 1}:   a.configure,
		{plan.KindValidate, 1}:    a.validate,
	}
}

// Kinds lists the steps that a site's worker knows, as kind/version.
func (a *Site) Kinds() []string { return kindsOf(a.handlers()) }

// login is an open controller with the login that worked.
type login struct {
	bmc.Controller
	source CandidateSource
}

// open logs in with the first password that the BMC accepts. The pin is what the run knows; only
// the identity step may call it without one.
func (a *Site) open(ctx context.Context, c Call) (*login, error) {
	if c.Known.Pin == "" && c.BMC.Protocol == string(bmc.Redfish) {
		return nil, fault.New(fault.Untrusted, "no certificate is pinned for the BMC of %s: the identity step has not run", c.Asset.Name)
	}
	e := a.Endpoint(c.Asset, c.BMC)
	e.Pin = c.Known.Pin
	return a.openAt(ctx, c, e)
}

func (a *Site) openAt(ctx context.Context, c Call, e bmc.Endpoint) (*login, error) {
	candidates, err := a.Secrets.Candidates(ctx, c.Asset, c.BMC.Account)
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, fault.New(fault.NoSecret, "no password is known for account %s of serial %s", c.BMC.Account, c.Asset.Serial)
	}
	l, before, tried, err := a.tryEach(ctx, c, e, candidates)
	if l == nil && err == nil && len(before) > 0 && a.BMCs.ForgetRefused(e, credentialsOf(before)) {
		// All were refused, some of them longer ago: since then somebody may have set the password.
		l, _, _, err = a.tryEach(ctx, c, e, before)
	}
	if l != nil || err != nil {
		return l, err
	}
	return nil, fault.New(fault.BadCredentials, "the BMC at %s refused account %s with every password known for it (%s)",
		e.Address, c.BMC.Account, strings.Join(tried, ", "))
}

func credentialsOf(list []Candidate) []bmc.Credentials {
	out := make([]bmc.Credentials, len(list))
	for i, c := range list {
		out[i] = c.Credentials
	}
	return out
}

// tryEach logs in with the first candidate that the BMC accepts. Without a login and an error all were
// refused: tried says which, before are those for which that is known from an earlier call.
//
// Where there are more than the BMC's login budget, it is an error of class retry: the next call goes on
// with the ones that were not tried.
func (a *Site) tryEach(ctx context.Context, c Call, e bmc.Endpoint, candidates []Candidate) (l *login, before []Candidate, tried []string, err error) {
	for _, candidate := range candidates {
		ctrl, err := a.BMCs.Open(ctx, e, candidate.Credentials)
		switch {
		case err == nil:
			return &login{Controller: ctrl, source: candidate.Source}, nil, nil, nil
		case errors.Is(err, bmc.ErrRefusedBefore):
			before = append(before, candidate)
		case errors.Is(err, bmc.ErrBreakerOpen) && len(tried) > 0:
			return nil, nil, nil, fault.Wrap(err, fault.Busy, "the BMC at %s refused account %s with %d of %d passwords known for it (%s): %v",
				e.Address, c.BMC.Account, len(tried), len(candidates), strings.Join(tried, ", "), err)
		case !errors.Is(err, bmc.ErrBadCredentials):
			return nil, nil, nil, err
		}
		tried = append(tried, string(candidate.Source))
	}
	return nil, before, tried, nil
}

// prove reads the BMC's identity and stops when it is not the asset's.
func prove(ctx context.Context, c Call, ctrl bmc.Controller, serial string) (bmc.Identity, error) {
	id, err := ctrl.Identify(ctx)
	if err != nil {
		return id, err
	}
	if asset.SameSerial(id.Serial, serial) {
		return id, nil
	}
	f := fault.New(fault.IdentityMismatch, "the BMC at %s belongs to serial %q (%s %s, from %s); NetBox has serial %q for %s",
		c.BMC.Address, id.Serial, id.Manufacturer, id.Model, id.SerialSource, serial, c.Asset.Name)
	f.Details = []fault.Item{{Subject: "serial", Expected: serial, Seen: id.Serial}}
	for name, other := range id.OtherSerials {
		if asset.SameSerial(other, serial) {
			f.Details = append(f.Details, fault.Item{Subject: name, Seen: other,
				Remedy: "NetBox holds this serial of the same machine; enter " + id.Serial + " instead, `cagenut op abort` and install again"})
		}
	}
	return id, f
}

// passwordHandle says how far a step is that may change the password.
type passwordHandle struct {
	Change  bool `json:"change,omitempty"`  // it is about to
	Changed bool `json:"changed,omitempty"` // it has, and that is recorded
}

// ours tells whether a password that worked is one that Cagenut made for this machine.
func ours(s CandidateSource) bool {
	return s == SourceCurrent || s == SourcePending || s == SourceOlder
}

// identity proves which machine this is, and pins its certificate.
//
// A BMC that demands a new password before it shows anything (DSP0266 PasswordChangeRequired) is
// given its own first: the factory password that it accepted is the one on this serial's manifest.
// The serial is proved directly after, before anything else is changed.
func (a *Site) identity(ctx context.Context, c Call) (Result, error) {
	want, h, err := begin[plan.WantIdentity, passwordHandle](c)
	if err != nil {
		return Result{}, err
	}
	e := a.Endpoint(c.Asset, c.BMC)
	e.Pin = c.Known.Pin
	if c.AcceptPin != "" {
		e.Pin = c.AcceptPin
	}
	ctrl, err := a.openAt(ctx, c, e)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	id, err := prove(ctx, c, ctrl, want.Serial)
	source := ctrl.source
	switch {
	case errors.Is(err, bmc.ErrPasswordChange) && !h.Change:
		return again(0, passwordHandle{Change: true}, "the BMC demands a new password first")
	case errors.Is(err, bmc.ErrPasswordChange) && !h.Changed:
		next, perr := a.replacePassword(ctx, c, e, ctrl, 0)
		if perr != nil {
			return Result{}, perr
		}
		defer func() { _ = next.Close(ctx) }()
		source = SourceCurrent
		id, err = prove(ctx, c, next, want.Serial)
	}
	var fresh []plan.Write // the change, now or by a call whose answer was lost
	if h.Change && !h.Changed && ours(source) {
		fresh = []plan.Write{passwordWrite(c)}
	}
	if err != nil && len(fresh) > 0 { // the change is told although the serial is not proved
		return wrote(passwordHandle{Change: true, Changed: true}, fresh, "the BMC has a password of its own")
	}
	if err != nil {
		return Result{}, err
	}
	done := &Done{Changed: h.Change && ours(source), Writes: fresh}
	data, err := json.Marshal(id)
	if err != nil {
		return Result{}, fmt.Errorf("identity: encode: %w", err)
	}
	done.Summary = fmt.Sprintf("%s %s, serial %s", id.Manufacturer, id.Model, id.Serial)
	done.Learned = &operation.Known{Serial: id.Serial, Pin: id.Fingerprint}
	done.Evidence = append(done.Evidence, operation.Evidence{Kind: "identity", Title: "Identity as the BMC gives it", Data: data})
	return Result{Done: done}, nil
}

// reopen opens the BMC, in a step whose own write may have changed its certificate: where that is
// expected, a new one is pinned, but only after the serial is proved again over it. It returns what
// was learned, if anything.
func (a *Site) reopen(ctx context.Context, c Call, expected bool) (*login, *operation.Known, error) {
	ctrl, err := a.open(ctx, c)
	if err == nil && expected { // a kept connection meets the new certificate only when it is used
		if _, err = prove(ctx, c, ctrl, c.Asset.Serial); err != nil {
			_ = ctrl.Close(ctx)
		}
	}
	if err == nil || !expected || !errors.Is(err, bmc.ErrPinChanged) {
		return ctrl, nil, err
	}
	e := a.Endpoint(c.Asset, c.BMC)
	e.Pin = ""
	ctrl, err = a.openAt(ctx, c, e)
	if err != nil {
		return nil, nil, err
	}
	id, err := prove(ctx, c, ctrl, c.Asset.Serial)
	if err != nil {
		_ = ctrl.Close(ctx)
		return nil, nil, err
	}
	return ctrl, &operation.Known{Pin: id.Fingerprint}, nil
}

// diagnose collects what helps a person to see why a step failed. What cannot be read is said in
// the evidence; only a BMC that cannot be reached at all fails it.
func (a *Site) diagnose(ctx context.Context, c Call) (Result, error) {
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	report := struct {
		Power  string      `json:"power"`
		Boot   string      `json:"boot_progress"`
		Events []bmc.Event `json:"events"`
		Unread []string    `json:"unread,omitempty"`
	}{}
	note := func(what string, err error) {
		if err != nil {
			report.Unread = append(report.Unread, what+": "+err.Error())
		}
	}
	power, err := ctrl.PowerState(ctx)
	note("power", err)
	report.Power = string(power)
	report.Boot, err = ctrl.BootProgress(ctx)
	note("boot progress", err)
	report.Events, err = ctrl.Events(ctx, diagnoseEvents)
	note("event log", err)
	data, err := json.Marshal(report)
	if err != nil {
		return Result{}, fmt.Errorf("diagnose: encode: %w", err)
	}
	return Result{Done: &Done{
		Summary:  fmt.Sprintf("power %s, boot progress %q, %d newest events", report.Power, report.Boot, len(report.Events)),
		Evidence: []operation.Evidence{{Kind: "diagnosis", Title: "Power, boot progress and the event log's tail", Data: data}},
	}}, nil
}

// diagnoseEvents is how much of the event log goes into evidence: enough to see the last boot.
const diagnoseEvents = 20

// begin reads what a call asks for and where the step is.
func begin[W, H any](c Call) (want W, h H, err error) {
	if want, err = plan.Decode[W](c.Step); err != nil {
		return want, h, err
	}
	h, err = resume[H](c)
	return want, h, err
}

// relearned tells at once that a step's own write changed the certificate: the step may yet park.
func relearned(handle any, k *operation.Known) (Result, error) {
	r, err := again(0, handle, "the BMC shows a new certificate, and its serial is proved over it")
	if err == nil {
		r.Again.Learned = k
	}
	return r, err
}

// wrote tells what has just been written and asks for another call.
func wrote(handle any, writes []plan.Write, text string, args ...any) (Result, error) {
	r, err := again(0, handle, text, args...)
	if err == nil {
		r.Again.Writes = writes
	}
	return r, err
}

// untold are the writes whose fields are not yet recorded.
func untold(writes []plan.Write, told []string) []plan.Write {
	var out []plan.Write
	for _, w := range writes {
		if !slices.Contains(told, w.Field) {
			out = append(out, w)
		}
	}
	return out
}

// again asks for another call with the handle.
func again(after time.Duration, handle any, text string, args ...any) (Result, error) {
	raw, err := json.Marshal(handle)
	if err != nil {
		return Result{}, fmt.Errorf("encode handle %T: %w", handle, err)
	}
	return Result{Again: &Again{After: after, Handle: raw, Progress: operation.Progress{Text: fmt.Sprintf(text, args...), Percent: -1}}}, nil
}

// resume reads a handle; an absent one is the zero value.
func resume[T any](c Call) (T, error) {
	var h T
	if len(c.Handle) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(c.Handle, &h); err != nil {
		return h, fmt.Errorf("step %s/%d: handle: %w", c.Step.Kind, c.Step.Version, err)
	}
	return h, nil
}

// before is the last handle of the attempt before; the zero value where there was none.
func before[T any](c Call) T {
	c.Handle = c.Last
	h, err := resume[T](c)
	if err != nil { // of another version: it says nothing
		var none T
		return none
	}
	return h
}
