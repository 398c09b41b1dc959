// Package plan turns facts and a profile into the frozen, typed list of steps that an operation
// carries out. The plan is the program: what was approved is exactly what runs.
//
// Words
//
//   - Facts: what was read about one asset before planning (facts.go).
//   - Step: one thing done or awaited, with its effect, deadline, policy and every write it may make.
//   - Target: one asset with its steps. Profiles differ, so steps do.
//   - Plan: the targets of one operation, with a SHA-256 over its canonical JSON (RFC 8785). An
//     approval names that hash; executing may narrow a plan (already so), never widen it.
//
// Runbooks (package workflows) compose steps; this package says what a step is and judges facts.
// It is pure: no I/O, no clock, no goroutines.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/cagenut/cagenut/internal/asset"
)

// Schema is the version of the plan's JSON form.
const Schema = 1

// UntilActive is the last stage of an install, where none is asked for: the machine is in service.
const UntilActive = "active"

// Mode says how the executor drives a step.
type Mode string

// The modes.
const (
	Act      Mode = "act"      // observe, do, read back
	Converge Mode = "converge" // observe, diff, act, reboot, again until nothing differs
	Await    Mode = "await"    // an event from outside, an operator, or a slow probe
	Human    Mode = "human"    // a work order that a person completes
)

// Place says whose worker runs a step.
type Place string

// The places.
const (
	Central Place = "central" // beside PostgreSQL and NetBox
	Site    Place = "site"    // beside the machine's BMC
)

// Undo says whether a step can be taken back.
type Undo string

// The kinds of undo.
const (
	Reversible  Undo = "reversible"  // nothing outside changed, or it can be changed back
	Compensable Undo = "compensable" // bookkeeping that an abort takes back
	NoReturn    Undo = "no-return"   // cannot be taken back; abort says what it leaves
	ReadOnly    Undo = "read-only"   // changes nothing outside
)

// Step is one step of a plan.
type Step struct {
	Name        string          `json:"name"` // unique in its target, e.g. "bios"
	Kind        string          `json:"kind"`
	Version     int             `json:"version"`
	Title       string          `json:"title"` // a sentence for people
	Mode        Mode            `json:"mode"`
	Place       Place           `json:"place"`
	Undo        Undo            `json:"undo"`
	Destructive bool            `json:"destructive"` // identity is proved again before it
	Unskippable bool            `json:"unskippable"`
	DeadlineSec int             `json:"deadline_seconds"`
	Policy      string          `json:"policy"` // a name in workflows/policies.go
	MaxRounds   int             `json:"max_rounds,omitempty"`
	MaxReboots  int             `json:"max_reboots,omitempty"`
	Stage       string          `json:"stage,omitempty"`         // await: the event that ends it
	ProbeSec    int             `json:"probe_seconds,omitempty"` // await: how often to look by itself; 0: never
	Want        json.RawMessage `json:"want,omitempty"`          // desired values: one struct of steps.go a kind
	Writes      []Write         `json:"writes"`
	Evidence    []string        `json:"evidence,omitempty"` // what it leaves
	// NotApplicable says why this machine needs no such step; it is shown and not run.
	NotApplicable string `json:"not_applicable,omitempty"`
}

// Deadline is how long the step may take, pauses not counted.
func (s Step) Deadline() time.Duration { return time.Duration(s.DeadlineSec) * time.Second }

// Write is one change that a step may make outside Cagenut.
type Write struct {
	System string `json:"system"` // netbox, bmc
	Object string `json:"object"` // e.g. "device srv-101" or "BIOS"
	Field  string `json:"field"`
	Before string `json:"before"` // "unknown" where nothing was read
	After  string `json:"after"`  // a value, or the rule that makes it
}

// Unknown is the Before of a write whose present value was not read.
const Unknown = "unknown"

// Read is one value that planning depended on; when its hash changes, the plan has drifted.
type Read struct {
	Object string `json:"object"`
	Field  string `json:"field"`
	SHA256 string `json:"sha256"`
}

// Target is one asset's part of a plan.
type Target struct {
	Asset   asset.Ref    `json:"asset"`
	Profile string       `json:"profile"` // name@version
	Vendor  string       `json:"vendor"`  // the manufacturer in NetBox; for statistics
	Status  asset.Status `json:"status"`  // when it was planned
	BMC     BMC          `json:"bmc"`
	Steps   []Step       `json:"steps"`
	Reads   []Read       `json:"reads"`
}

// BMC is where the asset's management controller is. It holds no secret: the password is found by
// the asset's serial.
type BMC struct {
	Protocol string `json:"protocol"`
	Address  string `json:"address"` // host or host:port
	Account  string `json:"account"`
	// System is the Redfish Id of the asset's system on a BMC that serves several; empty: found by serial.
	System         string `json:"system,omitempty"`
	OldCiphers     bool   `json:"old_ciphers,omitempty"`     // see profile.BMC
	PasswordLength int    `json:"password_length,omitempty"` // of passwords to make; 0: 20
}

// Plan is the frozen work of one operation.
type Plan struct {
	Schema   int      `json:"schema"`
	Kind     string   `json:"kind"`     // install, ...
	Until    string   `json:"until"`    // the last stage, e.g. hardware
	Capacity string   `json:"capacity"` // effect on what is in service
	Targets  []Target `json:"targets"`
	Hash     string   `json:"hash"` // SHA-256 of the canonical JSON with this field empty
}

// Seal validates the plan, computes its hash and returns it sealed.
func Seal(p Plan) (Plan, error) {
	if err := p.validate(); err != nil {
		return Plan{}, err
	}
	p.Schema = Schema
	h, err := p.sum()
	if err != nil {
		return Plan{}, err
	}
	p.Hash = h
	return p, nil
}

// Verify returns an error when the plan is not what its hash says.
func (p Plan) Verify() error {
	h, err := p.sum()
	if err != nil {
		return err
	}
	if h != p.Hash {
		return fmt.Errorf("plan: content has hash %s, the plan says %s: it was changed after it was sealed", h, p.Hash)
	}
	return nil
}

func (p Plan) sum() (string, error) {
	p.Hash = ""
	return Digest(p)
}

// Digest gives the SHA-256, in hex, of a value's canonical JSON (RFC 8785).
func Digest(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("plan: digest: %w", err)
	}
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return "", fmt.Errorf("plan: digest: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// Target gives the part of one asset.
func (p Plan) Target(id asset.ID) (Target, bool) {
	i := slices.IndexFunc(p.Targets, func(t Target) bool { return t.Asset.ID == id })
	if i < 0 {
		return Target{}, false
	}
	return p.Targets[i], true
}

func (p Plan) validate() error {
	if p.Kind == "" {
		return fmt.Errorf("plan: kind is empty")
	}
	if len(p.Targets) == 0 {
		return fmt.Errorf("plan: no targets: empty is not all")
	}
	ids, serials := map[asset.ID]bool{}, map[string]string{}
	for _, t := range p.Targets {
		if t.Asset.ID <= 0 || t.Asset.Serial == "" {
			return fmt.Errorf("plan: target %q needs a NetBox ID and a serial", t.Asset.Name)
		}
		if ids[t.Asset.ID] {
			return fmt.Errorf("plan: target %s (%s) stands twice", t.Asset.Name, t.Asset.ID)
		}
		if other, dup := serials[t.Asset.Serial]; dup {
			return fmt.Errorf("plan: targets %s and %s have the same serial %s", other, t.Asset.Name, t.Asset.Serial)
		}
		ids[t.Asset.ID], serials[t.Asset.Serial] = true, t.Asset.Name
		if len(t.Steps) == 0 {
			return fmt.Errorf("plan: target %s has no steps", t.Asset.Name)
		}
		names := map[string]bool{}
		for _, s := range t.Steps {
			if err := s.validate(); err != nil {
				return fmt.Errorf("plan: target %s: step %q: %w", t.Asset.Name, s.Name, err)
			}
			if names[s.Name] {
				return fmt.Errorf("plan: target %s: step %q stands twice", t.Asset.Name, s.Name)
			}
			names[s.Name] = true
		}
	}
	return nil
}

func (s Step) validate() error {
	switch {
	case s.Name == "" || s.Kind == "" || s.Version <= 0 || s.Title == "":
		return fmt.Errorf("needs a name, a kind, a version and a title")
	case s.NotApplicable != "":
		return nil
	case !slices.Contains([]Mode{Act, Converge, Await, Human}, s.Mode):
		return fmt.Errorf("unknown mode %q", s.Mode)
	case !slices.Contains([]Place{Central, Site}, s.Place):
		return fmt.Errorf("unknown place %q", s.Place)
	case !slices.Contains([]Undo{Reversible, Compensable, NoReturn, ReadOnly}, s.Undo):
		return fmt.Errorf("unknown undo %q", s.Undo)
	case s.DeadlineSec <= 0:
		return fmt.Errorf("needs a deadline")
	case s.Policy == "":
		return fmt.Errorf("needs a policy")
	case s.Mode == Await && s.Stage == "" && s.ProbeSec <= 0:
		return fmt.Errorf("awaits and needs a stage or a probe")
	case s.Mode == Converge && s.MaxRounds <= 0:
		return fmt.Errorf("converges and needs max_rounds")
	case s.Undo == ReadOnly && len(s.Writes) > 0:
		return fmt.Errorf("is read-only and lists %d writes", len(s.Writes))
	}
	return nil
}
