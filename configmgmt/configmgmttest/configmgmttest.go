// Package configmgmttest is the conformance suite of package configmgmt: what every driver must do,
// unchanged, against the real programs and against the box.
//
// Words
//
//   - Harness: a configuration management under test, with a driver on it and what changes the world
//     behind the driver's back.
//   - Host: one host in it. Its fingerprint is what it would phone home.
//   - Kind: a spec by what it does. The harness gives the states or the playbook that do it.
//
// The suite uses one host, and changes it; nothing else may use it meanwhile. Its tests run one after
// the other. The suite never waits for a time, only for something to be seen.
package configmgmttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// Kind is a spec by what it does.
type Kind string

// The kinds.
const (
	Clean   Kind = "clean"   // everything is as asked already; at least one state or task
	Change  Kind = "change"  // changes one thing on the host, the first time
	Slow    Kind = "slow"    // leaves one mark each time it runs, then lasts until the host is released
	Fail    Kind = "fail"    // a state or task named "root" fails with Words; one that needs it follows
	Render  Kind = "render"  // does not render or parse
	Nothing Kind = "nothing" // has nothing for this host
)

// Kinds are all kinds.
var Kinds = []Kind{Clean, Change, Slow, Fail, Render, Nothing}

// Words are what the failing state of Fail says.
const Words = "the disk is full"

// Harness is a configuration management under test. Its functions end the test when they fail.
type Harness struct {
	// Open makes a driver, as a worker does that starts. The suite closes it.
	Open func(t *testing.T) configmgmt.Driver
	// Spec gives the spec of a kind.
	Spec func(kind Kind) configmgmt.Spec
	// Host is up, and not enrolled.
	Host Host
	// Facts are what the host is, known in another way than from the driver: its system and kernel, some
	// services, some mounts, all links but loopback, and some addresses with whether they are reached.
	Facts func(t *testing.T) configmgmt.Facts
	// Lose ends a running run so that nobody will know how far it came; the host is up afterwards.
	Lose func(t *testing.T, h configmgmt.Handle)
	// Within bounds how long anything takes to be seen. 0: 60 s. Every is how often is looked for it.
	// 0: 20 ms; more where looking slows down what is looked at.
	Within, Every time.Duration
}

// Host is the host of a harness.
type Host interface {
	Target() configmgmt.Target
	// Fingerprint is the one of the key that the host has now.
	Fingerprint(t *testing.T) string
	// Rekey gives the host a new key, as if it had been installed again, and starts it.
	Rekey(t *testing.T)
	// Changed tells whether Change has changed the host.
	Changed(t *testing.T) bool
	// Marks counts the marks that Slow left.
	Marks(t *testing.T) int
	// Release lets a run of Slow that holds, and every later one until Hold, come to its end.
	Release(t *testing.T)
	// Hold makes the next runs of Slow hold.
	Hold(t *testing.T)
	// Stop makes the host silent; Start brings it back.
	Stop(t *testing.T)
	Start(t *testing.T)
}

// suite is one run.
type suite struct {
	Harness
	driver configmgmt.Driver
	target configmgmt.Target
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.Within == 0 {
		h.Within = time.Minute
	}
	if h.Every == 0 {
		h.Every = 20 * time.Millisecond
	}
	s := &suite{Harness: h, driver: h.Open(t), target: h.Host.Target()}
	t.Cleanup(func() {
		if err := s.driver.Close(); err != nil {
			t.Errorf("close the driver: %v", err)
		}
	})
	for _, test := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"Ping", (*suite).ping},
		{"NotEnrolled", (*suite).notEnrolled},
		{"Enroll", (*suite).enroll},
		{"Invalid", (*suite).invalid},
		{"Inspect", (*suite).inspect},
		{"TestRunThenReal", (*suite).testRunThenReal},
		{"AskedTwiceRunsOnce", (*suite).askedTwice},
		{"AskedAtOnceRunsOnce", (*suite).askedAtOnce},
		{"Busy", (*suite).busy},
		{"FirstFailure", (*suite).firstFailure},
		{"NeverRan", (*suite).neverRan},
		{"Cancel", (*suite).cancel},
		{"CancelAtOnce", (*suite).cancelAtOnce},
		{"Lost", (*suite).lost},
		{"HostAway", (*suite).hostAway},
		{"ContextEnds", (*suite).contextEnds},
		{"Reinstalled", (*suite).reinstalled},
		{"Revoke", (*suite).revoke},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(s, t) }) && test.name == "Enroll" {
			t.FailNow() // nothing else can work
		}
	}
}

// request asks for a run of a kind. Steps are named after the test.
func (s *suite) request(t *testing.T, kind Kind, attempt int) configmgmt.Request {
	return configmgmt.Request{Operation: "op_01K3Z5T9Q4W8R2YB6N7M1XCVDE", Step: t.Name() + "/" + string(kind), Attempt: attempt,
		Target: s.target, Spec: s.Spec(kind)}
}

// apply starts a real run.
func (s *suite) apply(t *testing.T, r configmgmt.Request) configmgmt.Handle {
	t.Helper()
	h, err := s.driver.Apply(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// poll polls through JSON, as whoever keeps a handle does.
func (s *suite) poll(t *testing.T, h configmgmt.Handle) (configmgmt.Report, error) {
	t.Helper()
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var kept configmgmt.Handle
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	return s.driver.Poll(t.Context(), kept)
}

// end polls until a run does not run any more, and gives its report or its error.
func (s *suite) end(t *testing.T, h configmgmt.Handle) (configmgmt.Report, error) {
	t.Helper()
	var report configmgmt.Report
	var over error
	s.until(t, "the end of run "+h.Job, func() error {
		report, over = s.poll(t, h)
		if over == nil && report.State == configmgmt.Running {
			return errors.New("it still runs")
		}
		return nil
	})
	return report, over
}

// ended is end for runs that must give a report.
func (s *suite) ended(t *testing.T, h configmgmt.Handle) configmgmt.Report {
	t.Helper()
	r, err := s.end(t, h)
	if err != nil {
		t.Fatalf("poll: %v", err)
	}
	return r
}

// until tries again until there is no error.
func (s *suite) until(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(s.Within)
	defer deadline.Stop()
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("waited %v for %s: %v", s.Within, what, err)
		case <-tick.C:
		}
	}
}

// marks waits until Slow has left n marks.
func (s *suite) marks(t *testing.T, n int) {
	t.Helper()
	s.until(t, fmt.Sprintf("%d marks", n), func() error {
		if got := s.Host.Marks(t); got < n {
			return fmt.Errorf("%d marks", got)
		}
		return nil
	})
}

// kind checks that err is a *configmgmt.Error of a kind.
func kind(t *testing.T, err, want error) *configmgmt.Error {
	t.Helper()
	var e *configmgmt.Error
	if !errors.As(err, &e) || !errors.Is(err, want) {
		t.Fatalf("error %v, want a *configmgmt.Error that is %q", err, want)
	}
	return e
}

func (s *suite) reachable(t *testing.T) {
	t.Helper()
	s.until(t, "the host to answer", func() error { return s.driver.Reach(t.Context(), s.target) })
}

func (s *suite) ping(t *testing.T) {
	st, err := s.driver.Ping(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Name == "" || len(st.Missing) > 0 {
		t.Errorf("status %+v, want a name and nothing missing", st)
	}
}

func (s *suite) notEnrolled(t *testing.T) {
	_, err := s.driver.Apply(t.Context(), s.request(t, Change, 1))
	_ = kind(t, err, configmgmt.ErrNotEnrolled)
	_ = kind(t, s.driver.Reach(t.Context(), s.target), configmgmt.ErrNotEnrolled)
	_, err = s.driver.Inspect(t.Context(), s.target, configmgmt.Questions{})
	_ = kind(t, err, configmgmt.ErrNotEnrolled)
	s.isEnrolled(t, "")
	if s.Host.Changed(t) {
		t.Error("a host that is not enrolled was changed")
	}
	if err := s.driver.Revoke(t.Context(), configmgmt.Target{Name: "nobody-of-that-name", Address: s.target.Address}); err != nil {
		t.Errorf("revoke of what is not there: %v", err)
	}
}

// plain takes out the colons of a fingerprint, which are a matter of taste.
var plain = strings.NewReplacer(":", "")

// other changes one character of a fingerprint.
func other(fingerprint string) string {
	b := []byte(fingerprint)
	for i := len(b) - 2; i >= 0; i-- {
		if b[i] != ':' {
			b[i] = map[bool]byte{true: 'a', false: 'b'}[b[i] == 'b' || b[i] == 'B']
			break
		}
	}
	return string(b)
}

func (s *suite) enroll(t *testing.T) {
	right := s.Host.Fingerprint(t)
	for _, bad := range []string{"", "x", right[:len(right)-8]} {
		_ = kind(t, s.driver.Enroll(t.Context(), s.target, bad), configmgmt.ErrInvalid)
	}
	s.until(t, "the host's key", func() error {
		err := s.driver.Enroll(t.Context(), s.target, other(right))
		if errors.Is(err, configmgmt.ErrNotEnrolled) || errors.Is(err, configmgmt.ErrHostAway) {
			return err
		}
		e := kind(t, err, configmgmt.ErrFingerprint)
		if !strings.Contains(plain.Replace(e.Detail), plain.Replace(other(right))) {
			t.Errorf("error %q does not name the fingerprint that was phoned home", e)
		}
		return nil
	})
	_ = kind(t, s.driver.Reach(t.Context(), s.target), configmgmt.ErrNotEnrolled) // nothing was accepted
	s.isEnrolled(t, "")
	for range 2 {
		if err := s.driver.Enroll(t.Context(), s.target, right); err != nil {
			t.Fatal(err)
		}
	}
	_ = kind(t, s.driver.Enroll(t.Context(), s.target, other(right)), configmgmt.ErrFingerprint)
	s.isEnrolled(t, right)
	s.reachable(t)
}

func (s *suite) invalid(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*configmgmt.Request)
	}{
		{"no operation", func(r *configmgmt.Request) { r.Operation = "" }},
		{"no step", func(r *configmgmt.Request) { r.Step = "" }},
		{"no attempt", func(r *configmgmt.Request) { r.Attempt = 0 }},
		{"no target", func(r *configmgmt.Request) { r.Target.Name = "" }},
		{"a pattern", func(r *configmgmt.Request) { r.Target.Name = "*" }},
		{"a part of a pattern", func(r *configmgmt.Request) { r.Target.Name = r.Target.Name[:1] + "*" }},
		{"an option", func(r *configmgmt.Request) { r.Target.Name = "-x" }},
		{"a path", func(r *configmgmt.Request) { r.Target.Name = "../x" }},
		{"no spec", func(r *configmgmt.Request) { r.Spec = configmgmt.Spec{} }},
		{"an empty spec", func(r *configmgmt.Request) {
			r.Spec = configmgmt.Spec{Salt: &configmgmt.SaltSpec{}, Ansible: &configmgmt.AnsibleSpec{}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := s.request(t, Change, 1)
			test.spoil(&r)
			for _, start := range []func(context.Context, configmgmt.Request) (configmgmt.Handle, error){s.driver.Plan, s.driver.Apply} {
				_, err := start(t.Context(), r)
				_ = kind(t, err, configmgmt.ErrInvalid)
			}
		})
	}
	for _, h := range []configmgmt.Handle{{}, {Driver: "other", Job: "x", Target: s.target.Name}} {
		_, err := s.driver.Poll(t.Context(), h)
		_ = kind(t, err, configmgmt.ErrInvalid)
		_ = kind(t, s.driver.Cancel(t.Context(), h), configmgmt.ErrInvalid)
	}
	_ = kind(t, s.driver.Reach(t.Context(), configmgmt.Target{}), configmgmt.ErrInvalid)
	_ = kind(t, s.driver.Revoke(t.Context(), configmgmt.Target{Name: "*"}), configmgmt.ErrInvalid)
	_, err := s.driver.Enrolled(t.Context(), configmgmt.Target{Name: "*"})
	_ = kind(t, err, configmgmt.ErrInvalid)
}

func (s *suite) reinstalled(t *testing.T) {
	old := s.Host.Fingerprint(t)
	s.Host.Rekey(t)
	fresh := s.Host.Fingerprint(t)
	if old == fresh {
		t.Fatal("the host has still its old key")
	}
	// The old key is accepted, and the new one does not get in by the same name.
	_ = kind(t, s.driver.Enroll(t.Context(), s.target, fresh), configmgmt.ErrFingerprint)
	s.isEnrolled(t, old)
	if err := s.driver.Reach(t.Context(), s.target); err == nil {
		t.Error("the host is reached by a key that nobody accepted")
	}
	if err := s.driver.Revoke(t.Context(), s.target); err != nil {
		t.Fatal(err)
	}
	s.Host.Start(t) // an agent that was refused may have ended
	s.until(t, "the new key to be accepted", func() error {
		err := s.driver.Enroll(t.Context(), s.target, fresh)
		if err != nil && !errors.Is(err, configmgmt.ErrNotEnrolled) {
			t.Fatal(err)
		}
		return err
	})
	s.isEnrolled(t, fresh)
	s.reachable(t)
	if r := s.ended(t, s.apply(t, s.request(t, Clean, 1))); r.State != configmgmt.Succeeded {
		t.Errorf("report %+v, want success", r)
	}
}

func (s *suite) revoke(t *testing.T) {
	for range 2 {
		if err := s.driver.Revoke(t.Context(), s.target); err != nil {
			t.Fatal(err)
		}
	}
	_ = kind(t, s.driver.Reach(t.Context(), s.target), configmgmt.ErrNotEnrolled)
	s.isEnrolled(t, "")
	_, err := s.driver.Apply(t.Context(), s.request(t, Clean, 1))
	_ = kind(t, err, configmgmt.ErrNotEnrolled)
}
