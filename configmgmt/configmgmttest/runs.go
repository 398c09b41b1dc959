package configmgmttest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/configmgmt"
)

func (s *suite) testRunThenReal(t *testing.T) {
	h, err := s.driver.Plan(t.Context(), s.request(t, Change, 1))
	if err != nil {
		t.Fatal(err)
	}
	r := s.ended(t, h)
	if r.State != configmgmt.Succeeded || !r.Test || r.Changed != 1 || r.Failed != 0 || len(r.Changes) != 1 || r.First != nil {
		t.Errorf("test run: %+v; want one change to be told and no failure", r)
	}
	if s.Host.Changed(t) {
		t.Fatal("the test run changed the host")
	}
	for attempt, want := range []int{1, 0} {
		h := s.apply(t, s.request(t, Change, attempt+1))
		if h.Found || h.Test {
			t.Errorf("handle %+v, want one of a new real run", h)
		}
		if r = s.ended(t, h); r.State != configmgmt.Succeeded || r.Test || r.Changed != want || r.Failed != 0 || r.Steps < 1 {
			t.Errorf("real run %d: %+v; want %d changes and no failure", attempt+1, r, want)
		}
		if !s.Host.Changed(t) {
			t.Fatal("the real run did not change the host")
		}
	}
	if r = s.ended(t, s.apply(t, s.request(t, Clean, 1))); r.State != configmgmt.Succeeded || r.Changed != 0 || r.Steps < 1 {
		t.Errorf("clean run: %+v; want success without a change", r)
	}
}

func (s *suite) askedTwice(t *testing.T) {
	s.Host.Hold(t)
	before := s.Host.Marks(t)
	req := s.request(t, Slow, 1)
	h := s.apply(t, req)
	s.marks(t, before+1)
	if r, err := s.poll(t, h); err != nil || r.State != configmgmt.Running {
		t.Fatalf("poll: %+v, %v; want a running run", r, err)
	}
	// The worker crashed before it could keep the handle, and starts anew.
	again := s.Open(t)
	found, err := again.Apply(t.Context(), req)
	if err != nil || !found.Found || found.Job != h.Job {
		t.Errorf("asked again: %+v, %v; want run %s to be found", found, err, h.Job)
	}
	s.Host.Release(t)
	report := s.ended(t, found)
	if report.State != configmgmt.Succeeded || report.Changed != 1 {
		t.Errorf("report %+v, want success with one change", report)
	}
	// And once more, when it is over.
	if found, err = again.Apply(t.Context(), req); err != nil || !found.Found || found.Job != h.Job {
		t.Errorf("asked when it is over: %+v, %v; want run %s to be found", found, err, h.Job)
	}
	if diff := cmp.Diff(report, s.ended(t, found)); diff != "" {
		t.Errorf("report of the run, read again (-first +again):\n%s", diff)
	}
	if got := s.Host.Marks(t); got != before+1 {
		t.Errorf("it ran %d times, want once", got-before)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func (s *suite) askedAtOnce(t *testing.T) {
	s.Host.Release(t)
	before := s.Host.Marks(t)
	handles := make([]configmgmt.Handle, 4)
	var wg sync.WaitGroup
	for i := range handles {
		wg.Go(func() {
			var err error
			if handles[i], err = s.driver.Apply(t.Context(), s.request(t, Slow, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, h := range handles {
		if h.Job != handles[0].Job {
			t.Fatalf("two runs, %s and %s, of one request", handles[0].Job, h.Job)
		}
		if r := s.ended(t, h); r.State != configmgmt.Succeeded {
			t.Errorf("report %+v, want success", r)
		}
	}
	if got := s.Host.Marks(t); got != before+1 {
		t.Errorf("it ran %d times, want once", got-before)
	}
}

// slow starts a run that holds, and gives it when it works on the host.
func (s *suite) slow(t *testing.T) configmgmt.Handle {
	t.Helper()
	s.Host.Hold(t)
	before := s.Host.Marks(t)
	h := s.apply(t, s.request(t, Slow, 1))
	s.marks(t, before+1)
	return h
}

func (s *suite) busy(t *testing.T) {
	h := s.slow(t)
	second, err := s.driver.Apply(t.Context(), s.request(t, Clean, 1))
	if err == nil { // Salt tells when it is asked how far the run is
		_, err = s.end(t, second)
		if !configmgmt.Over(err) {
			t.Errorf("error %v does not say that the run is over", err)
		}
	}
	_ = kind(t, err, configmgmt.ErrBusy)
	s.Host.Release(t)
	if r := s.ended(t, h); r.State != configmgmt.Succeeded {
		t.Errorf("the first run: %+v, want success", r)
	}
	if r := s.ended(t, s.apply(t, s.request(t, Clean, 2))); r.State != configmgmt.Succeeded {
		t.Errorf("the next attempt: %+v, want success", r)
	}
}

func (s *suite) firstFailure(t *testing.T) {
	r := s.ended(t, s.apply(t, s.request(t, Fail, 1)))
	if r.State != configmgmt.Failed || r.Failed < 1 || r.First == nil {
		t.Fatalf("report %+v, want a failure", r)
	}
	if !strings.Contains(r.First.Step, "root") || !strings.Contains(r.First.Words, Words) {
		t.Errorf("first failure %+v, want the one of root, which says %q", *r.First, Words)
	}
}

func (s *suite) neverRan(t *testing.T) {
	for _, test := range []struct {
		what Kind
		kind error
	}{{Render, configmgmt.ErrRender}, {Nothing, configmgmt.ErrNothing}} {
		t.Run(string(test.what), func(t *testing.T) {
			_, err := s.end(t, s.apply(t, s.request(t, test.what, 1)))
			if e := kind(t, err, test.kind); !e.Over || e.Detail == "" {
				t.Errorf("error %+v, want one that is over and has configuration management's own words", e)
			}
		})
	}
}

func (s *suite) cancel(t *testing.T) {
	h := s.slow(t)
	for range 2 {
		s.ends(t, h)
	}
	if r := s.ended(t, h); r.State != configmgmt.Lost || r.Detail == "" {
		t.Errorf("report %+v, want a lost run and what was seen", r)
	}
	s.Host.Release(t)
	done := s.apply(t, s.request(t, Clean, 1)) // it is not in the way
	if r := s.ended(t, done); r.State != configmgmt.Succeeded {
		t.Errorf("the next run: %+v, want success", r)
	}
	s.ends(t, done) // it is over
	if r := s.ended(t, done); r.State != configmgmt.Succeeded {
		t.Errorf("after that: %+v, want still success", r)
	}
}

// ends cancels a run. A busy host may be silent for a moment.
func (s *suite) ends(t *testing.T, h configmgmt.Handle) {
	t.Helper()
	s.until(t, "the cancelling of run "+h.Job, func() error {
		err := s.driver.Cancel(t.Context(), h)
		if err != nil && !errors.Is(err, configmgmt.ErrHostAway) {
			t.Fatal(err)
		}
		return err
	})
}

// cancelAtOnce ends a run that was accepted just now, by a handle that was not kept: nothing of it begins later.
func (s *suite) cancelAtOnce(t *testing.T) {
	s.Host.Hold(t)
	req := s.request(t, Slow, 1)
	s.ends(t, s.driver.HandleOf(req, false)) // it never was
	h := s.apply(t, req)
	if own := s.driver.HandleOf(req, false); own != h || s.driver.HandleOf(req, true) == h {
		t.Errorf("handle %+v, want %+v", own, h)
	}
	if h.Found {
		t.Error("a run that never was is found")
	}
	s.ends(t, s.driver.HandleOf(req, false))
	after := s.Host.Marks(t)
	if r := s.ended(t, h); r.State != configmgmt.Lost {
		t.Errorf("report %+v, want a lost run", r)
	}
	s.Host.Release(t)
	if r := s.ended(t, s.apply(t, s.request(t, Clean, 1))); r.State != configmgmt.Succeeded {
		t.Errorf("the next run: %+v, want success", r)
	}
	if got := s.Host.Marks(t); got != after {
		t.Errorf("the run began after it was cancelled: %d marks, then %d", after, got)
	}
}

func (s *suite) lost(t *testing.T) {
	h := s.slow(t)
	s.Lose(t, h)
	var r configmgmt.Report
	s.until(t, "the run to be lost", func() (err error) {
		if r, err = s.poll(t, h); errors.Is(err, configmgmt.ErrHostAway) && !configmgmt.Over(err) {
			return err // it is coming back
		}
		if err == nil && r.State == configmgmt.Running {
			return errors.New("it still runs")
		}
		if err != nil {
			t.Fatal(err)
		}
		return nil
	})
	if r.State != configmgmt.Lost || r.Detail == "" {
		t.Errorf("report %+v, want a lost run and what was seen", r)
	}
	s.Host.Release(t)
	s.reachable(t)
	req := s.request(t, Slow, 1)
	if found := s.apply(t, req); !found.Found {
		t.Errorf("a lost run was started again by the same request")
	}
	req.Attempt = 2
	if r := s.ended(t, s.apply(t, req)); r.State != configmgmt.Succeeded {
		t.Errorf("the next attempt: %+v, want success", r)
	}
}

func (s *suite) hostAway(t *testing.T) {
	s.Host.Stop(t)
	_ = kind(t, s.driver.Reach(t.Context(), s.target), configmgmt.ErrHostAway)
	_, err := s.driver.Inspect(t.Context(), s.target, configmgmt.Questions{})
	_ = kind(t, err, configmgmt.ErrHostAway)
	h, err := s.driver.Apply(t.Context(), s.request(t, Clean, 1))
	if err == nil {
		_, err = s.end(t, h)
	}
	_ = kind(t, err, configmgmt.ErrHostAway)
	s.Host.Start(t)
	s.reachable(t)
}

func (s *suite) contextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := s.Host.Marks(t)
	_, err := s.driver.Apply(ctx, s.request(t, Slow, 1))
	_ = kind(t, err, configmgmt.ErrUnreachable)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one that is context.Canceled", err)
	}
	s.Host.Release(t)
	h := s.apply(t, s.request(t, Slow, 1))
	if h.Found {
		t.Error("a call whose context had ended started a run")
	}
	if r := s.ended(t, h); r.State != configmgmt.Succeeded || s.Host.Marks(t) != before+1 {
		t.Errorf("report %+v after %d marks, want success after one", r, s.Host.Marks(t)-before)
	}
}
