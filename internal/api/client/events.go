package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

// Watch gives every event after a sequence number to f, in order, once each (0: from the beginning of
// the operation, or, without an operation, what is new), and comes back by itself
// when the connection breaks: with Last-Event-ID nothing is missed. It ends when f returns an error
// (which it returns), when the context ends, when the API refuses, or when the API has not answered
// for patience.
func (c *Client) Watch(ctx context.Context, op operation.ID, after int64, patience time.Duration, f func(operation.Event) error) error {
	lastGood := time.Now()
	for {
		var stop stopped
		got, err := c.stream(ctx, op, after, func(e operation.Event) error {
			after, lastGood = e.Seq, time.Now()
			if err := f(e); err != nil {
				return stopped{err}
			}
			return nil
		})
		if got {
			lastGood = time.Now()
		}
		var refused *fault.Error
		switch {
		case errors.As(err, &stop):
			return stop.error
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && refused.Class() != fault.Retry:
			return err
		case time.Since(lastGood) > patience:
			if err == nil {
				err = c.away(ctx, errors.New("the event stream ends again and again"))
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnect):
		}
	}
}

const (
	reconnect = 500 * time.Millisecond // before the stream is opened again
	silence   = 45 * time.Second       // three of the API's signs of life: the connection is dead
)

// stopped is an error of the caller's own function.
type stopped struct{ error }

// stream reads one connection until it ends. got tells that the API had accepted it.
func (c *Client) stream(ctx context.Context, op operation.ID, after int64, f func(operation.Event) error) (got bool, err error) {
	r := request{method: http.MethodGet, path: "/v1/events", query: url.Values{},
		header: map[string]string{"Accept": "text/event-stream"}}
	if after > 0 {
		r.header["Last-Event-ID"] = strconv.FormatInt(after, 10)
	}
	if op != "" {
		r.query.Set("operation", string(op))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.send(ctx, r)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		watchdog.Reset(silence)
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // our API writes one data line an event, and its ID is in the data too
		}
		var e operation.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return true, fault.Wrap(err, fault.Malformed, "an event of %s is not JSON: %v", c.base, err)
		}
		if err := f(e); err != nil {
			return true, err
		}
	}
	return true, nil // a broken connection is no error here: the caller comes back
}
