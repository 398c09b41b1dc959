package configmgmttest

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
)

// nothingElse is what the host does not run: no system has a service of that name.
const nothingElse = "cagenut-nothing-of-that-name.service"

// ask asks the host until it answers: one that is busy may be away for a moment.
func (s *suite) ask(t *testing.T, q configmgmt.Questions) configmgmt.Facts {
	t.Helper()
	var f configmgmt.Facts
	s.until(t, "the host's facts", func() (err error) {
		if f, err = s.driver.Inspect(t.Context(), s.target, q); err != nil && !errors.Is(err, configmgmt.ErrHostAway) {
			t.Fatal(err)
		}
		return err
	})
	return f
}

func (s *suite) inspect(t *testing.T) {
	want := s.Facts(t)
	q := configmgmt.Questions{Services: append(slices.Sorted(maps.Keys(want.Services)), nothingElse), Mounts: true, Links: true, Clock: true,
		Reach: slices.SortedFunc(maps.Keys(want.Reached), netip.Addr.Compare)}
	got := s.ask(t, q)

	if got.OS != want.OS || got.Kernel != want.Kernel {
		t.Errorf("system %q, kernel %q; want %q, %q", got.OS, got.Kernel, want.OS, want.Kernel)
	}
	if is, told := got.Services[nothingElse]; !told || is == configmgmt.Active || is == "" {
		t.Errorf("a service that is not there is %q, told %t; want any word but %q", is, told, configmgmt.Active)
	}
	delete(got.Services, nothingElse)
	if diff := cmp.Diff(want.Services, got.Services, cmp.FilterValues(func(a, b map[string]string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	for _, m := range want.Mounts {
		i := slices.IndexFunc(got.Mounts, func(o configmgmt.Mount) bool { return o.Path == m.Path })
		if i < 0 || got.Mounts[i].Filesystem != m.Filesystem {
			t.Errorf("mounts %+v, want %+v among them", got.Mounts, m)
		} else if free := got.Mounts[i].FreeMiB; free < m.FreeMiB*9/10-100 || free > m.FreeMiB*11/10+100 { // others write, too
			t.Errorf("%s has %d MiB free, want about %d", m.Path, free, m.FreeMiB)
		}
	}
	if diff := cmp.Diff(sorted(want.Links), sorted(got.Links), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Reached, got.Reached); diff != "" {
		t.Errorf("reached (-want +got):\n%s", diff)
	}
	if c := got.Clock; c.Host.IsZero() || c.Within <= 0 || c.Skew.Abs() > c.Within+2*time.Second {
		t.Errorf("clock %+v, want one beside ours", c)
	}

	// What is not asked for is not told.
	if diff := cmp.Diff(configmgmt.Facts{OS: want.OS, Kernel: want.Kernel}, s.ask(t, configmgmt.Questions{})); diff != "" {
		t.Errorf("facts without a question (-want +got):\n%s", diff)
	}
	_, err := s.driver.Inspect(t.Context(), configmgmt.Target{Name: "*"}, q)
	_ = kind(t, err, configmgmt.ErrInvalid)
}

// sorted brings links and their addresses into one order, without what each link makes for itself.
func sorted(links []configmgmt.Link) []configmgmt.Link {
	out := slices.SortedFunc(slices.Values(links), func(a, b configmgmt.Link) int { return strings.Compare(a.Name, b.Name) })
	for i := range out {
		own := slices.DeleteFunc(slices.Clone(out[i].Addresses), func(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() })
		out[i].Addresses = slices.SortedFunc(slices.Values(own), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	}
	return out
}

// isEnrolled checks with which fingerprint the host is enrolled; "" means that it is not.
func (s *suite) isEnrolled(t *testing.T, want string) {
	t.Helper()
	got, err := s.driver.Enrolled(t.Context(), s.target)
	if want == "" {
		_ = kind(t, err, configmgmt.ErrNotEnrolled)
		return
	}
	if err != nil || plain.Replace(got) != plain.Replace(want) {
		t.Errorf("enrolled with %q, %v; want %q", got, err, want)
	}
	// It is in the form that is taken.
	if err := s.driver.Enroll(t.Context(), s.target, got); err != nil {
		t.Errorf("enroll with what Enrolled gave: %v", err)
	}
}
