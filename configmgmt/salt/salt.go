// Package salt is the configuration-management driver for Salt, over salt-api (rest_cherrypy), tested
// with Salt 3008.3.
//
// Words
//
//   - Call: one function in one request. salt-api answers HTTP 200 for nearly everything, errors too;
//     what happened is read from the answer's form (client.go, report.go).
//   - Job ID: Salt lets the caller choose it, and so it is the Key of the request with a date in
//     front. A submit first asks the master for that very job. If the crash of a predecessor left
//     its request in flight, so that both reach the master, the minion drops the second: it runs a
//     job ID once. Searching all jobs for our metadata would read the master's whole job cache for
//     each host. The metadata is there all the same, for people.
//   - Lost: the master has no result, and the minion, which answers, does not know the job. Since a
//     job is known to the minion a moment after it was published, and no more a moment before its
//     result is stored, that is believed when it is seen twice, Options.Settle apart.
//   - Fingerprint: SHA-256 over the lines of the key's PEM between its dashes, as the minion's own
//     key.finger computes it. The master hashes the whole file and never agrees, so that its answer
//     is not asked for: the key itself is.
//
// Keys are accepted by literal ID (key.accept_dict), never by a pattern. Accepting and deleting are
// proved by reading the keys again.
//
// A Driver is safe for concurrent use. Between calls it keeps a login token and idle connections, no
// job and no key.
package salt

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

const (
	requestTimeout = 60 * time.Second // of a whole request; the slowest wait for a minion's answer below
	minionTimeout  = 5                // seconds that the master waits for a minion that should answer at once
	maxAnswer      = 16 << 20         // bytes; a highstate of 1,000 states is 1 MB
	inFlight       = 8                // salt-api has 100 threads by default, for everybody
)

// Options are how to reach salt-api. URL, User and Password are required.
type Options struct {
	URL      string // https://salt.example.com:8000, with a path if salt-api has a root prefix
	User     string
	Password string         // or shared secret; never logged
	Eauth    string         // "" means sharedsecret
	RootCAs  *x509.CertPool // nil: the system's
	// Settle is how far apart a run must be seen as gone twice before it is called lost. 0: 5 s.
	Settle time.Duration
	// Observe, when set, is called after each HTTP request. It must not block.
	Observe func(Request)
}

// Request is one HTTP request as an observer sees it.
type Request struct {
	Call   string // "login", or client and function
	Status int    // 0: no answer
	Took   time.Duration
}

// Driver is a configmgmt.Driver over salt-api.
type Driver struct {
	http    *http.Client
	base    string
	login   map[string]string
	settle  time.Duration
	observe func(Request)
	slots   chan struct{}

	mu    sync.Mutex // held while logging in: others wait for that token
	token string
	perms []string
	until time.Time
}

var _ configmgmt.Driver = (*Driver)(nil)

// New makes a driver. It dials nothing; Ping tells whether salt-api is there.
func New(o Options) (*Driver, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("salt-api URL %q: want http(s)://host[:port][/path]", o.URL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("salt-api URL of host %s: want no user, query or fragment in it", u.Host)
	}
	if o.User == "" || o.Password == "" {
		return nil, fmt.Errorf("salt-api at %s: want a user and a password", u.Host)
	}
	login := map[string]string{"username": o.User, "password": o.Password, "eauth": cmp.Or(o.Eauth, "sharedsecret")}
	return &Driver{
		http: &http.Client{
			Transport: transport(o.RootCAs),
			Timeout:   requestTimeout,
			// A redirect is a wrong URL, and following it could carry the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		base: strings.TrimRight(u.String(), "/"), login: login,
		settle: cmp.Or(o.Settle, 5*time.Second), observe: o.Observe, slots: make(chan struct{}, inFlight),
	}, nil
}

// Close gives back the connections.
func (d *Driver) Close() error {
	d.http.CloseIdleConnections()
	return nil
}
