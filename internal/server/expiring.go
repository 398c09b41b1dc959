package server

import (
	"sync"
	"time"
)

// expiring remembers values for a while. Failures are not remembered.
type expiring[K comparable, V any] struct {
	keep time.Duration
	mu   sync.Mutex
	by   map[K]dated[V]
}

type dated[V any] struct {
	value V
	until time.Time
}

func newExpiring[K comparable, V any](keep time.Duration) *expiring[K, V] {
	return &expiring[K, V]{keep: keep, by: map[K]dated[V]{}}
}

// get gives the remembered value, or makes it. Two callers may make the same one at once.
func (e *expiring[K, V]) get(key K, make func() (V, error)) (V, error) {
	now := time.Now()
	e.mu.Lock()
	d, ok := e.by[key]
	e.mu.Unlock()
	if ok && now.Before(d.until) {
		return d.value, nil
	}
	v, err := make()
	if err != nil {
		return v, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, d := range e.by {
		if now.After(d.until) {
			delete(e.by, k)
		}
	}
	e.by[key] = dated[V]{v, now.Add(e.keep)}
	return v, nil
}
