package configmgmt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// Request asks for a run.
type Request struct {
	Operation string `json:"operation"` // ID of the operation, e.g. op_01J...
	Step      string `json:"step"`      // of its plan: one operation may have several runs on a host
	Attempt   int    `json:"attempt"`   // from 1; a higher one is a new run on purpose
	Target    Target `json:"target"`
	Spec      Spec   `json:"spec"`
}

// Key names the run for ever: 32 hexadecimal digits. The Spec is not in it, because a plan is frozen:
// operation and step already say which.
func (r Request) Key(test bool) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q %t", r.Operation, r.Step, r.Attempt, r.Target.Name, test))
	return hex.EncodeToString(sum[:16])
}

// Asked is when the operation was made, as its ID tells; the zero Unix time when it does not.
func (r Request) Asked() time.Time {
	id := r.Operation
	if _, after, ok := strings.Cut(id, "_"); ok {
		id = after
	}
	if u, err := ulid.ParseStrict(id); err == nil {
		return ulid.Time(u.Time()).UTC()
	}
	return time.Unix(0, 0).UTC()
}

var (
	// names hold nothing that Salt or Ansible would take for a pattern, a path or an option.
	names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)
	sls   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]*$`)
	words = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
)

// Check tells what is wrong with a target: an ErrInvalid, or nil.
func (t Target) Check(op string) error {
	if !names.MatchString(t.Name) {
		return &Error{Kind: ErrInvalid, Op: op, Detail: fmt.Sprintf("target name %q: use letters, digits, dots, dashes and underscores", t.Name)}
	}
	return nil
}

// Check tells what is wrong with a request for a driver, "salt" or "ansible": an ErrInvalid, or nil.
func (r Request) Check(op, driver string) error {
	if err := r.Target.Check(op); err != nil {
		return err
	}
	problem := r.problem(driver)
	if problem == "" {
		return nil
	}
	return &Error{Kind: ErrInvalid, Op: op, Host: r.Target.Name, Detail: problem}
}

func (r Request) problem(driver string) string {
	switch {
	case r.Operation == "":
		return "no operation: a run that nobody asked for could not be found again"
	case r.Step == "":
		return "no step"
	case r.Attempt < 1:
		return fmt.Sprintf("attempt %d: count from 1", r.Attempt)
	}
	if driver == "salt" {
		return r.Spec.Salt.problem()
	}
	return r.Spec.Ansible.problem()
}

func (s *SaltSpec) problem() string {
	switch {
	case s == nil:
		return "the profile says nothing for Salt"
	case s.Highstate && len(s.States) > 0:
		return "both states and highstate: choose one"
	case !s.Highstate && len(s.States) == 0:
		return "no states: empty is not all; say highstate for what the top file gives"
	case s.Env != "" && !words.MatchString(s.Env):
		return fmt.Sprintf("environment %q: use letters, digits, dashes and underscores", s.Env)
	}
	for _, n := range s.States {
		if !sls.MatchString(n) {
			return fmt.Sprintf("state %q: use the name of an SLS file, such as web.nginx", n)
		}
	}
	return ""
}

func (s *AnsibleSpec) problem() string {
	switch {
	case s == nil:
		return "the profile says nothing for Ansible"
	case s.Playbook == "" || path.IsAbs(s.Playbook) || path.Clean(s.Playbook) != s.Playbook || strings.HasPrefix(s.Playbook, "..") || strings.HasPrefix(s.Playbook, "-"):
		return fmt.Sprintf("playbook %q: use a path below the project, such as site.yml", s.Playbook)
	}
	for _, l := range []struct {
		what  string
		names []string
	}{{"group", s.Groups}, {"tag", s.Tags}, {"tag to skip", s.SkipTags}} {
		for _, n := range l.names {
			if !words.MatchString(n) {
				return fmt.Sprintf("%s %q: use letters, digits, dashes and underscores", l.what, n)
			}
		}
	}
	return ""
}
