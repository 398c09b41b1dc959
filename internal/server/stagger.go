package server

import (
	"sync"
	"time"
)

// stagger lets the hosts of a rack be switched on one after the other, so that they do not draw their
// inrush current at once. Racks do not wait for each other. It counts for one worker: a site's second
// one counts for itself.
type stagger struct {
	every time.Duration
	clock func() time.Time

	mu   sync.Mutex
	last map[string]time.Time // when a host of the rack was switched on
}

// wait gives how long to wait before a host of the rack may be switched on: 0 takes the turn.
func (s *stagger) wait(rack string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if left := s.every - now.Sub(s.last[rack]); left > 0 && !s.last[rack].After(now) {
		return left
	}
	if s.last == nil {
		s.last = map[string]time.Time{}
	}
	s.last[rack] = now
	return 0
}
