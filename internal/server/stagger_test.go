package server

import (
	"testing"
	"time"
)

func TestHostsOfARackAreSwitchedOnOneAfterTheOther(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := &stagger{every: 2 * time.Second, clock: func() time.Time { return now }}
	for i, c := range []struct {
		after time.Duration
		rack  string
		want  time.Duration
	}{
		{0, "r1", 0}, {0, "r1", 2 * time.Second}, {0, "r2", 0}, // another rack does not wait
		{500 * time.Millisecond, "r1", 1500 * time.Millisecond}, {1500 * time.Millisecond, "r1", 0}, {0, "r1", 2 * time.Second},
		{-time.Hour, "r1", 0}, // a clock that was set back holds nobody up
	} {
		now = now.Add(c.after)
		if got := s.wait(c.rack); got != c.want {
			t.Errorf("%d: rack %s waits %s, want %s", i, c.rack, got, c.want)
		}
	}
}
