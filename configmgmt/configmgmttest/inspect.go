package configmgmttest

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// everything is every question; nobody has a service of that name.
var everything = configmgmt.Questions{Services: []string{"cagenut-no-such.service"}, Mounts: true, Links: true, Clock: true,
	Reach: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}

// inspect asks an enrolled host.
func (s *suite) inspect(t *testing.T) {
	var f configmgmt.Facts
	s.until(t, "the host's facts", func() (err error) {
		f, err = s.driver.Inspect(t.Context(), s.target, everything)
		if err != nil && !errors.Is(err, configmgmt.ErrHostAway) {
			t.Fatal(err)
		}
		return err
	})
	if id, version, _ := strings.Cut(f.OS, " "); id == "" || id != strings.ToLower(id) || version == "" {
		t.Errorf("system %q, want ID and VERSION_ID", f.OS)
	}
	if f.Kernel == "" {
		t.Error("no kernel")
	}
	if state := f.Services[everything.Services[0]]; state == "" || state == configmgmt.Active {
		t.Errorf("a service that is not there is %q", state)
	}
	if !slices.ContainsFunc(f.Mounts, func(m configmgmt.Mount) bool { return m.Path == "/" && m.Filesystem != "" && m.FreeMiB > 0 }) {
		t.Errorf("mounts %+v, want one of / with its file system and room", f.Mounts)
	}
	if len(f.Links) == 0 || slices.ContainsFunc(f.Links, func(l configmgmt.Link) bool { return l.Name == "lo" || l.MAC != strings.ToLower(l.MAC) }) {
		t.Errorf("links %+v, want some, without the loopback, with MACs in small letters", f.Links)
	}
	if !f.Reached[everything.Reach[0]] {
		t.Errorf("the host does not reach itself: %v", f.Reached)
	}
	if c := f.Clock; c.Within <= 0 || c.Host.IsZero() || c.Skew.Abs() > c.Within+5*time.Second {
		t.Errorf("clock %+v, want ours", c)
	}
	if f, err := s.driver.Inspect(t.Context(), s.target, configmgmt.Questions{}); err != nil || f.OS == "" || f.Services != nil || f.Mounts != nil || f.Links != nil || f.Reached != nil || !f.Clock.Host.IsZero() {
		t.Errorf("without questions: %+v, %v; want system and kernel alone", f, err)
	}
}

// enrolled holds what Enroll and Revoke say.
func (s *suite) enrolled(t *testing.T) {
	fingerprint, err := s.driver.Enrolled(t.Context(), s.target)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.driver.Enroll(t.Context(), s.target, fingerprint); err != nil {
		t.Errorf("what is enrolled cannot be enrolled: %v", err)
	}
	_ = kind(t, s.driver.Enroll(t.Context(), s.target, other(fingerprint)), configmgmt.ErrFingerprint)
}
