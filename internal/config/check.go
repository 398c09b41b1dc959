package config

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Check dials one thing that the configuration names.
type Check struct {
	Name   string // e.g. "NetBox"
	Target string // e.g. its URL; never a secret
	// Run says in a sentence what was found and what Cagenut may do there.
	Run func(ctx context.Context) (says string, err error)
}

// Checked is the outcome of a Check.
type Checked struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	OK     bool   `json:"ok"`
	Says   string `json:"says"`
	TookMS int64  `json:"took_ms"`
}

// checkTimeout is enough for a TLS handshake over a slow link, and short enough that a person waits.
const checkTimeout = 10 * time.Second

// RunChecks runs all checks at once and gives their outcomes in the order of the checks. A check
// that does not end with its context is reported, not waited for.
func RunChecks(ctx context.Context, checks []Check) []Checked {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out := make([]Checked, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { out[i] = runCheck(ctx, c) })
	}
	wg.Wait()
	return out
}

func runCheck(ctx context.Context, c Check) Checked {
	type answer struct {
		says string
		err  error
	}
	began, ch := time.Now(), make(chan answer, 1)
	go func() {
		says, err := c.Run(ctx)
		ch <- answer{says, err}
	}()
	var a answer
	select {
	case a = <-ch:
	case <-ctx.Done():
		a.err = fmt.Errorf("no answer: %w", ctx.Err())
	}
	r := Checked{Name: c.Name, Target: c.Target, OK: a.err == nil, Says: a.says, TookMS: time.Since(began).Milliseconds()}
	if a.err != nil {
		r.Says = a.err.Error()
	}
	return r
}
