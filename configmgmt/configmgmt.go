// Package configmgmt is the port to configuration management: what turns an installed operating
// system into the server that its profile asks for. Drivers are configmgmt/salt (over salt-api) and
// configmgmt/ansible (ansible-runner as a child process); configmgmttest is the conformance suite
// that both pass, against the real programs and, for Salt, against the data center in a box.
//
// Words
//
//   - Target: one host, by the name that configuration management knows it by. There are no groups
//     and no globs: one run is of one host.
//   - Spec: what to apply, as the profile says: Salt states or an Ansible playbook.
//   - Run: one job on one target. A test run (Plan) changes nothing and tells what would change; a
//     real run (Apply) changes.
//   - Request: who asks for a run. Its Key (operation, step, attempt, target, test or real) names the
//     run for ever: asking twice gives the same run, never a second one, also when a crash came
//     between asking and the answer. A new run of the same is a new attempt.
//   - Handle: a run that was asked for. It is small and serialisable; whoever holds it may Poll it,
//     from another process too.
//   - Enrolment: the proof that a name belongs to a host, by the fingerprint of a key that the host
//     phoned home: the minion's public key for Salt, the SSH host key for Ansible. Nothing runs on a
//     host that is not enrolled.
//
// A run ends in one of three ways. It did its states or tasks: a Report that Succeeded or Failed. It
// never got to them (a template that does not render, a host that is busy with another run): an Error
// with Over set, and only a new attempt can help. Nobody knows (the host restarted, the process was
// killed): a Report that is Lost; look at the host with a test run before anything else.
//
// A Driver is safe for concurrent use and keeps nothing between calls that a restart would miss.
// Every method ends when its context does. Errors are of type *Error (errors.go). No secret belongs
// into a Spec: Salt shows it in its job cache, Ansible on the disk of the worker.
package configmgmt

import (
	"context"
	"time"
)

// Driver is the port.
type Driver interface {
	// Plan starts a test run and Apply a real one; both return when it was accepted. A run of the same
	// Key that exists already is given back with Found set. ErrNotEnrolled, ErrBusy and ErrInvalid
	// mean that nothing was started.
	Plan(ctx context.Context, r Request) (Handle, error)
	Apply(ctx context.Context, r Request) (Handle, error)
	// Poll tells how far a run is. While it runs it costs one or two requests; before a run is called
	// Lost it is looked at twice, some seconds apart. ErrHostAway without Over means that the run may
	// still go on behind a broken network.
	Poll(ctx context.Context, h Handle) (Report, error)
	// HandleOf gives the handle of a request's run without asking anybody: whoever lost the answer to Plan or
	// Apply may poll or cancel a run that way. Whether there is one is not known by it.
	HandleOf(r Request, test bool) Handle
	// Cancel ends a run, also one that was accepted just now, and returns when nothing of it works any more. A
	// run that is over, or that never was, is success. What it had already done stays done: Poll then says
	// Lost, unless it finished first. What a state had started on a Salt host, such as a package manager, may
	// outlive the run. ErrHostAway: the host was silent, and the run may go on; ask again.
	Cancel(ctx context.Context, h Handle) error
	// Ping tells whether configuration management is there and what we may not do in it.
	Ping(ctx context.Context) (Status, error)
	// Reach tells whether the host answers: nil, ErrNotEnrolled or ErrHostAway. A host that was just
	// enrolled takes seconds to.
	Reach(ctx context.Context, t Target) error
	// Inspect asks a host for facts, and changes nothing on it. Errors are those of Reach, and ErrRejected
	// for a question that the host cannot answer: half of an answer is none.
	Inspect(ctx context.Context, t Target, q Questions) (Facts, error)
	// Enrolled gives the fingerprint that a target is enrolled with, in the form that Enroll takes;
	// ErrNotEnrolled when it is with none.
	Enrolled(ctx context.Context, t Target) (string, error)
	// Enroll accepts the key of a target when, and only when, its fingerprint is the one given.
	// Already accepted with it is success. ErrNotEnrolled: no key has been seen yet, ask again.
	// ErrFingerprint: a key is there, and it is another one; nothing was accepted.
	Enroll(ctx context.Context, t Target, fingerprint string) error
	// Revoke forgets every key of a target, and proves it by looking. Nothing there is success.
	Revoke(ctx context.Context, t Target) error
	// Close gives back connections. Runs go on.
	Close() error
}

// Target is one host.
type Target struct {
	Name string `json:"name"` // Salt's minion ID, Ansible's inventory name
	// Address is where SSH listens: host, or host:port. Salt does not use it.
	Address string `json:"address,omitempty"`
}

// Spec is what to apply. The driver's own part must be set.
type Spec struct {
	Salt    *SaltSpec    `json:"salt,omitempty"`
	Ansible *AnsibleSpec `json:"ansible,omitempty"`
}

// SaltSpec is what a Salt run applies.
type SaltSpec struct {
	States []string `json:"states,omitempty"` // SLS names, in order
	// Highstate applies what the master's top file gives the minion, instead of States.
	Highstate bool           `json:"highstate,omitempty"`
	Env       string         `json:"env,omitempty"`    // saltenv; empty: the minion's own
	Pillar    map[string]any `json:"pillar,omitempty"` // in addition to the master's; no secrets
}

// AnsibleSpec is what an Ansible run applies.
type AnsibleSpec struct {
	Playbook string         `json:"playbook"`            // path below the project
	Groups   []string       `json:"groups,omitempty"`    // inventory groups that the host is in
	Vars     map[string]any `json:"vars,omitempty"`      // extra variables; no secrets
	Tags     []string       `json:"tags,omitempty"`      // empty: all
	SkipTags []string       `json:"skip_tags,omitempty"` // empty: none
}

// Handle is a run that was asked for.
type Handle struct {
	Driver string `json:"driver"` // salt or ansible
	Job    string `json:"job"`    // Salt's job ID, the name of Ansible's run folder
	Target string `json:"target"` // name
	Test   bool   `json:"test,omitempty"`
	// Found tells that the run existed already when it was asked for.
	Found bool `json:"found,omitempty"`
}

// State is how a run stands.
type State string

// The states of a run.
const (
	Running   State = "running"
	Succeeded State = "succeeded" // every state or task is as asked, or was made so
	Failed    State = "failed"    // at least one is not; First says which and why
	Lost      State = "lost"      // it ended, and nobody knows how far it came
)

// Report is how a run stands, and what it did.
type Report struct {
	State   State    `json:"state"`
	Test    bool     `json:"test,omitempty"`
	Steps   int      `json:"steps"`             // states or tasks that it came to
	Changed int      `json:"changed"`           // of them; in a test run: would be changed
	Failed  int      `json:"failed"`            // of them, with those that others took down with them
	Changes []string `json:"changes,omitempty"` // names of what changed or would, at most MaxChanges
	First   *Failure `json:"first,omitempty"`   // the failure to look at
	Detail  string   `json:"detail,omitempty"`  // for Running and Lost: what was seen
}

// Failure is a state or task that failed by itself: not one that was left out because of another.
type Failure struct {
	Step  string `json:"step"`  // its name, and where it stands
	Words string `json:"words"` // configuration management's own, bounded and scrubbed
}

// MaxChanges bounds Report.Changes.
const MaxChanges = 100

// Status is what configuration management says of itself and of us.
type Status struct {
	Name    string    `json:"name"`              // with its version where it tells
	User    string    `json:"user,omitempty"`    // that we are
	Missing []string  `json:"missing,omitempty"` // permissions or programs that we lack
	Expires time.Time `json:"expires,omitzero"`  // of the login, when it tells
}
