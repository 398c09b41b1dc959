package netbox

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/cagenut/cagenut/inventory"
)

// lineBudget bounds path and query: gunicorn refuses request lines over 4,094 bytes, and something in
// between may add a path prefix.
const lineBudget = 3800

// maxPages ends a list that never ends: 500 pages are 500,000 objects.
const maxPages = 500

// batches cuts values into runs of which each fits into one request line as repeated param=value.
// fixed is the length of everything else in the line. A value is never dropped: one that is too long
// by itself makes a batch of its own.
func batches[T any](param string, values []T, fixed int) [][]T {
	var out [][]T
	start, used := 0, fixed
	for i, v := range values {
		cost := len(param) + len("=&") + len(url.QueryEscape(fmt.Sprint(v)))
		if i > start && used+cost > lineBudget {
			out = append(out, values[start:i])
			start, used = i, fixed
		}
		used += cost
	}
	if start < len(values) {
		out = append(out, values[start:])
	}
	return out
}

// fixedLine is the length of a request line around its batch: path, fields, paging, other filters.
func (c *Client) fixedLine(fields string, filters ...string) int {
	n := len(c.base) + 120 + len(url.QueryEscape(fields))
	for _, f := range filters {
		n += 20 + len(url.QueryEscape(f))
	}
	return n
}

// page is one page of a list.
type page[T any] struct {
	Count   int `json:"count"`
	Results []T `json:"results"`
}

// listAll reads the list that filter selects, page by page. request asks for the page at an offset,
// ordered by ID, so that pages do not overlap. The filter goes around go-netbox, whose query has
// neither fields nor IDs of 64 bits.
func listAll[T any](ctx context.Context, c *Client, op string, filter url.Values,
	request func(ctx context.Context, offset int32) (*http.Response, error),
) ([]T, error) {
	var all []T
	for range maxPages {
		var p page[T]
		x := &call{query: filter}
		err := c.send(ctx, op, x, &p, func(ctx context.Context) (*http.Response, error) {
			return request(ctx, int32(len(all)))
		})
		if err != nil {
			return nil, err
		}
		all = append(all, p.Results...)
		if len(p.Results) == 0 || len(all) >= p.Count {
			return all, nil
		}
	}
	return nil, &inventory.Error{Kind: inventory.ErrMalformed, Op: op, Detail: fmt.Sprintf("the list does not end after %d pages", maxPages)}
}
