// Package bmctest is the conformance suite of package bmc: what every driver must do on every target.
// It runs unchanged against the data center in a box and against software that nobody here wrote
// (sushy-emulator, ipmi_sim).
//
// Words
//
//   - Harness: a target with what it takes to open Controllers on it.
//   - Capability: something that a target may lack. A Harness names each one that its target lacks
//     and why; the suite then asserts that the driver says so (bmc.ErrUnsupported). So nothing is
//     skipped in silence: a capability is either proved or proved absent.
//
// The suite changes the target's state and brings it back; a target must not be used by anything
// else meanwhile. Its tests run one after the other.
package bmctest

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// Capability is something that a target may lack.
type Capability string

// The capabilities. One before a slash stands for all that begin with it.
const (
	Serial       Capability = "serial"
	Shutdown     Capability = "shutdown"
	BootProgress Capability = "boot-progress"

	BootOnce   Capability = "boot/once"
	BootAlways Capability = "boot/always"
	BootHTTP   Capability = "boot/http"
	BootSetup  Capability = "boot/bios-setup"
	BootLegacy Capability = "boot/legacy"
	BootUEFI   Capability = "boot/uefi"

	Media Capability = "media"

	AccountList Capability = "accounts/list"
	Password    Capability = "accounts/password"

	Hostname Capability = "settings/hostname"
	NTP      Capability = "settings/ntp_servers"
	DNS      Capability = "settings/dns_servers"
	Syslog   Capability = "settings/syslog"
	Clock    Capability = "settings/clock"
	Settings Capability = "settings"

	BIOS Capability = "bios"

	FirmwareList  Capability = "firmware/list"
	FirmwareFetch Capability = "firmware/fetch"
	FirmwarePush  Capability = "firmware/push"
	Tasks         Capability = "tasks"
	Events        Capability = "events"
)

var capabilities = []Capability{
	Serial, Shutdown, BootProgress, BootOnce, BootAlways, BootHTTP, BootSetup, BootLegacy, BootUEFI, Media,
	AccountList, Password, Settings, Hostname, NTP, DNS, Syslog, Clock, BIOS,
	FirmwareList, FirmwareFetch, FirmwarePush, Tasks, Events,
}

// Harness is a target.
type Harness struct {
	// Open logs in. The suite closes what it opened.
	Open     func(ctx context.Context, user, password string) (bmc.Controller, error)
	User     string
	Password string
	Serial   string // as Identify must give it
	// Lacks names the capabilities that the target does not have, each with the reason.
	Lacks map[Capability]string
	// Refuses names the capabilities that the target announces and then refuses, each with the
	// reason: the driver must pass the refusal on, whatever its kind.
	Refuses map[Capability]string
	// PowerWithin bounds how long the target takes to change power; default 30 s.
	PowerWithin time.Duration

	// OtherPassword is good enough for the target's rules. Needed for Password.
	OtherPassword string
	// ImageURL is an ISO that the target may fetch, and Inserted what it presents as a CD, "" for
	// nothing. Needed for Media.
	ImageURL string
	Inserted func(t testing.TB) string
	// BIOSChange are attributes with other values than they have. After a power cycle they must be
	// current. Needed for BIOS.
	BIOSChange bmc.Attributes
	// Update gives an image for a component that has another version now. Needed for FirmwareFetch
	// and FirmwarePush.
	Update func(t testing.TB) Update
	// Writes gives the requests or effects that changed something since it was last called, but for
	// sessions; nil where the target keeps no journal.
	Writes func(t testing.TB) []string
	// Sessions counts the sessions that are open; nil where the target does not tell.
	Sessions func(t testing.TB) int
}

// Update is a firmware image for one component.
type Update struct {
	Component string // FirmwareComponent.Name; IDs may hold the version
	Version   string // what it will show
	URI       string
	Name      string
	Size      int64
	Open      func() (io.ReadCloser, error)
	Targets   []string
}

// suite is one run.
type suite struct {
	Harness
}

// Run runs the whole suite against the target.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.PowerWithin == 0 {
		h.PowerWithin = 30 * time.Second
	}
	no := maps.Clone(h.Lacks)
	if no == nil {
		no = map[Capability]string{}
	}
	maps.Copy(no, h.Refuses)
	for c, why := range no {
		known := slices.ContainsFunc(capabilities, func(k Capability) bool { return k == c || strings.HasPrefix(string(k), string(c)+"/") })
		if !known || why == "" {
			t.Fatalf("Lacks or Refuses[%q] = %q: name a capability of this package and the reason", c, why)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(no)) {
		t.Logf("not proved on this target: %s: %s", c, no[c])
	}
	s := suite{h}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"credentials", s.credentials},
		{"identify", s.identify},
		{"read", s.read},
		{"power", s.power},
		{"boot", s.boot},
		{"media", s.media},
		{"settings", s.settings},
		{"bios", s.bios},
		{"firmware", s.firmware},
		{"tasks", s.tasks},
		{"events", s.events},
		{"context", s.context},
		{"concurrency", s.concurrency},
		{"accounts", s.accounts},
		{"sessions", s.sessions},
	} {
		t.Run(part.name, part.run)
	}
}

func (s suite) lacks(c Capability) bool { return named(s.Lacks, c) || named(s.Refuses, c) }

func named(list map[Capability]string, c Capability) bool {
	for k := range list {
		if k == c || strings.HasPrefix(string(c), string(k)+"/") {
			return true
		}
	}
	return false
}

// open logs in for the time of a test.
func (s suite) open(t *testing.T) bmc.Controller {
	t.Helper()
	c, err := s.Open(t.Context(), s.User, s.Password)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// must fails the test when a call of a claimed capability fails, or when one of a capability that
// the target lacks does not say so. It tells whether to go on.
func (s suite) must(t *testing.T, c Capability, call string, err error) bool {
	t.Helper()
	if s.lacks(c) {
		// A target may also take a write and do nothing: then the driver must have seen it.
		said := errors.Is(err, bmc.ErrUnsupported) || errors.Is(err, bmc.ErrNotApplied)
		if !said && (err == nil || !named(s.Refuses, c)) {
			t.Errorf("%s: the target lacks %s, and the error is %v; want %v", call, c, err, bmc.ErrUnsupported)
		}
		checkError(t, call, err)
		return false
	}
	if err != nil {
		t.Errorf("%s: %v", call, err)
		return false
	}
	return true
}

// checkError: every error of a driver is a *bmc.Error that names the call and the host.
func checkError(t *testing.T, call string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var e *bmc.Error
	if !errors.As(err, &e) || e.Kind == nil || e.Op == "" || e.Host == "" {
		t.Errorf("%s: error %#v is not a *bmc.Error that names the call and the host", call, err)
	}
}

// until polls until done, for at most d.
func until(t *testing.T, d time.Duration, what string, done func() (ok bool, seen any)) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := done()
		if ok {
			return true
		}
		select {
		case <-ctx.Done():
			t.Errorf("%s: not within %s; last seen %v", what, d, seen)
			return false
		case <-tick.C:
		}
	}
}

// sendsNothing asserts that a repeated request changes nothing, where the target keeps a journal.
func (s suite) sendsNothing(t *testing.T, call string, do func() error) {
	t.Helper()
	if s.Writes != nil {
		s.Writes(t)
	}
	if err := do(); err != nil {
		t.Errorf("%s again: %v", call, err)
	}
	if s.Writes != nil {
		if w := s.Writes(t); len(w) > 0 {
			t.Errorf("%s again, for what already is, sent %v", call, w)
		}
	}
}
