// Package simclient speaks to the admin API of a data center in a box that runs in another process,
// for test harnesses. The words are those of package sim. A Client is safe for concurrent use.
package simclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
)

// Client is an admin API.
type Client struct{ base string }

// New makes a client of the API at base, such as sim.Running.Admin.
func New(base string) *Client { return &Client{base: base} }

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("box %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("box %s %s: %w", method, path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("box: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // only for the error
		return fmt.Errorf("box %s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(said))
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("box %s %s: %w", method, path, err)
	}
	return nil
}

// Journal gives the entries that a query selects, oldest first.
func (c *Client) Journal(ctx context.Context, q sim.Query) (out []sim.Entry, err error) {
	v := url.Values{"machine": {q.Machine}, "kind": {q.Kind}, "effect": {q.Effect}, "since": {strconv.FormatInt(q.Since, 10)}}
	return out, c.do(ctx, http.MethodGet, "/journal?"+v.Encode(), nil, &out)
}

// Requests tells how many requests each machine's BMC got since the box's start, and sim.NetBox.
func (c *Client) Requests(ctx context.Context) (out map[string]int, err error) {
	return out, c.do(ctx, http.MethodGet, "/requests", nil, &out)
}

// Machines gives the state of every machine.
func (c *Client) Machines(ctx context.Context) (out []sim.Summary, err error) {
	return out, c.do(ctx, http.MethodGet, "/machines", nil, &out)
}

// Machine gives the state of one machine.
func (c *Client) Machine(ctx context.Context, name string) (out sim.Summary, err error) {
	return out, c.do(ctx, http.MethodGet, "/machines/"+url.PathEscape(name), nil, &out)
}

// PowerLoss pulls a machine's cord.
func (c *Client) PowerLoss(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/machines/"+url.PathEscape(name)+"/power-loss", nil, nil)
}

// Sessions tells of every BMC how many sessions it has and had.
func (c *Client) Sessions(ctx context.Context) (out []sim.Sessions, err error) {
	return out, c.do(ctx, http.MethodGet, "/sessions", nil, &out)
}

// AddFault adds a rule and gives it back with its ID.
func (c *Client) AddFault(ctx context.Context, f sim.Fault) (out sim.Fault, err error) {
	return out, c.do(ctx, http.MethodPost, "/faults", f, &out)
}

// Faults lists the rules with how often each fired.
func (c *Client) Faults(ctx context.Context) (out []sim.Fault, err error) {
	return out, c.do(ctx, http.MethodGet, "/faults", nil, &out)
}

// RemoveFault drops a rule, or all when id is empty.
func (c *Client) RemoveFault(ctx context.Context, id string) error {
	path := "/faults"
	if id != "" {
		path += "/" + url.PathEscape(id)
	}
	return c.do(ctx, http.MethodDelete, path, nil, nil)
}

// Holds lists the requests that are kept back.
func (c *Client) Holds(ctx context.Context) (out []sim.Hold, err error) {
	return out, c.do(ctx, http.MethodGet, "/holds", nil, &out)
}

// WaitHold waits until a request of the rule is kept back. It ends with the context.
func (c *Client) WaitHold(ctx context.Context, fault string) (sim.Hold, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		holds, err := c.Holds(ctx)
		if err != nil {
			return sim.Hold{}, err
		}
		for _, h := range holds {
			if h.Fault == fault {
				return h, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sim.Hold{}, fmt.Errorf("box: no request was held by rule %s: %w", fault, ctx.Err())
		}
	}
}

// Release lets a kept request go on.
func (c *Client) Release(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/holds/"+url.PathEscape(id)+"/release", nil, nil)
}
