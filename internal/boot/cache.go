package boot

import (
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// cache keeps for a moment what the API said of a record, so that the files of one boot are one
// question. That the API did not answer is never kept, and neither is that a MAC boots its disk: the
// operation may open a record the next moment.
type cache struct {
	keep time.Duration

	mu   sync.Mutex
	rows map[string]row
}

type row struct {
	record operation.BootRecord
	err    error
	until  time.Time
}

const (
	cached  = 20_000 // rows
	byMAC   = "mac/"
	byToken = "token/"
)

func (c *cache) get(key string, now time.Time, ask func() (operation.BootRecord, error)) (operation.BootRecord, error) {
	c.mu.Lock()
	known, ok := c.rows[key]
	c.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.record, known.err
	}
	record, err := ask()
	if f := fault.From(err); f != nil && (f.Class() == fault.Retry || f.Code == fault.Internal) {
		return record, err
	}
	if what, _ := record.Answer(now); strings.HasPrefix(key, byMAC) && (err != nil || what == operation.AnswerLocal) {
		return record, err
	}
	c.put(key, row{record, err, now.Add(c.keep)}, now)
	return record, err
}

func (c *cache) put(key string, r row, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		c.rows = map[string]row{}
	}
	if len(c.rows) >= cached {
		for k, r := range c.rows {
			if !now.Before(r.until) {
				delete(c.rows, k)
			}
		}
		if len(c.rows) >= cached {
			clear(c.rows)
		}
	}
	c.rows[key] = r
}

// forget drops what is known of a record.
func (c *cache) forget(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, r := range c.rows {
		if r.record.ID == id {
			delete(c.rows, k)
		}
	}
}

// forgetToken drops what is known of the record of a token.
func (c *cache) forgetToken(sum operation.BootSum) {
	c.mu.Lock()
	known, ok := c.rows[byToken+string(sum)]
	c.mu.Unlock()
	if ok && known.record.ID != 0 {
		c.forget(known.record.ID)
	}
}

// limiter is a bucket of requests for each address.
type limiter struct {
	rate, burst float64

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

const addresses = 20_000

func (l *limiter) allow(address string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buckets == nil {
		l.buckets = map[string]bucket{}
	}
	b, known := l.buckets[address]
	if !known {
		if len(l.buckets) >= addresses {
			for a, b := range l.buckets {
				if b.left+now.Sub(b.at).Seconds()*l.rate >= l.burst {
					delete(l.buckets, a)
				}
			}
			if len(l.buckets) >= addresses {
				return false // a flood from everywhere: those who are known go on
			}
		}
		b = bucket{l.burst, now}
	}
	b.left, b.at = min(l.burst, b.left+max(0, now.Sub(b.at).Seconds())*l.rate), now
	ok := b.left >= 1
	if ok {
		b.left--
	}
	l.buckets[address] = b
	return ok
}
