// Package netbox is the inventory driver for NetBox 4.2 and later, tested with 4.7.3.
//
// Requests are built by go-netbox; its answers are not used. NetBox has moved on since that client
// was generated, and its strict decoding fails on good answers, a PATCH that was applied among them.
// So the transport keeps each answer's bytes, the HTTP status decides what happened, and small
// structs of our own (decode.go) read the few fields that Cagenut needs, tolerating statuses, choices
// and types that it does not know.
//
// Words
//
//   - A read is retried twice on a broken connection or a 5xx answer. A write is never sent twice
//     blindly: SetStatus reads the device again and compares before it writes again.
//   - A page is up to 1,000 objects. gunicorn refuses a request line over 4,094 bytes, so that lists
//     of IDs or names are cut into batches that fit (batch.go).
//   - Compare-and-set: NetBox answers a device with a weak ETag; the write carries it in If-Match and
//     is refused with 412 when anybody changed the device in between.
//
// The driver writes two things: a device's status, and its custom field cagenut_operation when Setup
// made that field. It needs no superuser; docs/netbox.md lists the permissions.
//
// A Client is safe for concurrent use and has at most 8 requests in flight. It holds no state between
// calls: NetBox is asked each time.
package netbox

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	gonetbox "github.com/netbox-community/go-netbox/v4"

	"github.com/cagenut/cagenut/inventory"
)

// OperationField is the custom field that carries the ID of the operation that wrote last.
const OperationField = inventory.OperationField

// Tag marks what Setup made.
const Tag = "cagenut"

const (
	inFlight       = 8
	pageSize       = 1000             // NetBox's MAX_PAGE_SIZE; a smaller one is followed too
	requestTimeout = 90 * time.Second // a page of 1,000 interfaces takes 2-9 s, ten times that on a bad day
	maxAnswer      = 64 << 20         // bytes; a page of 1,000 devices is 1 MB
)

// Options are how to reach NetBox. URL and Token are required.
type Options struct {
	URL     string         // https://netbox.example.com, with a path if NetBox has one; without /api
	Token   string         // v1 or v2 (nbt_...); never logged
	RootCAs *x509.CertPool // nil: the system's
	// PrimaryRole is the slug of the prefix role from which primary addresses are taken. Empty means
	// "primary".
	PrimaryRole string
	// Observe, when set, is called after each HTTP request, retries included. It must not block.
	Observe func(Request)
	// Backoff gives the pause before retry n, counted from 1. Nil: 0.2 s and 0.8 s, with jitter.
	Backoff func(n int) time.Duration
}

// Request is one HTTP request as an observer sees it.
type Request struct {
	Method string
	Path   string // without the query
	Status int    // 0: no answer
	Took   time.Duration
}

// Client is an inventory.Source over NetBox.
type Client struct {
	api         *gonetbox.APIClient
	http        *http.Client
	base        string
	primaryRole string
}

var _ inventory.Source = (*Client)(nil)

// New makes a client. It dials nothing; Ping tells whether NetBox is there and new enough.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("NetBox URL %q: want http(s)://host[:port][/path]", o.URL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("NetBox URL of host %s: want no user, query or fragment in it", u.Host)
	}
	if o.Token == "" || strings.ContainsAny(o.Token, " \r\n\t") {
		return nil, fmt.Errorf("NetBox token for %s: want one without spaces, as NetBox showed it when it was made", u.Host)
	}
	if o.PrimaryRole == "" {
		o.PrimaryRole = "primary"
	}
	if o.Backoff == nil {
		o.Backoff = func(n int) time.Duration {
			base := 200 * time.Millisecond << (2 * (n - 1))
			return base/2 + rand.N(base) //nolint:gosec // spreads retries, guards nothing
		}
	}
	base := strings.TrimSuffix(strings.TrimRight(u.String(), "/"), "/api")
	client := &http.Client{
		Transport: &transport{
			next:          pool(o.RootCAs),
			authorization: authorization(o.Token),
			slots:         make(chan struct{}, inFlight),
			observe:       o.Observe,
			backoff:       o.Backoff,
		},
		// A redirect is a wrong URL, and following it could carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cfg := gonetbox.NewConfiguration()
	cfg.Servers = gonetbox.ServerConfigurations{{URL: base}}
	cfg.HTTPClient = client
	cfg.UserAgent = "cagenut"
	return &Client{api: gonetbox.NewAPIClient(cfg), http: client, base: base, primaryRole: o.PrimaryRole}, nil
}

// authorization picks the keyword by the token's form: v2 tokens say nbt_ and are bearer tokens.
func authorization(token string) string {
	if strings.HasPrefix(token, "nbt_") {
		return "Bearer " + token
	}
	return "Token " + token
}
