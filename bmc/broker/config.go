package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// Config says which BMC to talk to, and how.
type Config struct {
	Endpoint bmc.Endpoint
	// Credentials with an empty User make the Conn anonymous.
	Credentials bmc.Credentials
	// Allow are the out-of-band prefixes. The address that a name resolves to must be in one.
	Allow []netip.Prefix
	// Explicit says that a person typed this endpoint: it may be dialled wherever it is, and
	// nothing else may.
	Explicit bool
	// StateDir is the folder of the session journals, owned by one process. Empty: no journal.
	StateDir string
	Limits   Limits
	TLS      OldTLS
	// BasicOnly is a quirk: the service has sessions, but they must not be used.
	BasicOnly bool
	// Observe, when set, is told of every answer. It must return quickly and is called concurrently.
	Observe func(Observation)
	Clock   Clock // nil: the machine's
}

// Limits bound what is asked of a BMC. A zero field takes the default.
type Limits struct {
	InFlight      int           // requests at the same time; 4
	Request       time.Duration // one request with its body; 30 s (real BMCs have tails of 3-23 s)
	Total         time.Duration // one call with its retries and logins; 90 s
	Body          int64         // bytes of one answer; 8 MiB
	RetryAfter    time.Duration // longest Retry-After that is waited for; 10 s
	Retries       int           // of a GET; 2
	FailedLogins  int           // before logins stop; 3
	LoginPause    time.Duration // for which logins stop; 5 min
	BreakerFails  int           // requests in a row without an answer; 5
	BreakerPause  time.Duration // for which nothing is sent; 30 s
	SessionIdle   time.Duration // after which the BMC has surely dropped a session it never named; 30 min
	LogoutTimeout time.Duration // for giving a session back when the caller's time is over; 10 s
}

func (l Limits) withDefaults() Limits {
	def := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	defInt := func(p *int, n int) {
		if *p <= 0 {
			*p = n
		}
	}
	defInt(&l.InFlight, 4)
	def(&l.Request, 30*time.Second)
	def(&l.Total, 90*time.Second)
	if l.Body <= 0 {
		l.Body = 8 << 20
	}
	def(&l.RetryAfter, 10*time.Second)
	defInt(&l.Retries, 2)
	defInt(&l.FailedLogins, 3)
	def(&l.LoginPause, 5*time.Minute)
	defInt(&l.BreakerFails, 5)
	def(&l.BreakerPause, 30*time.Second)
	def(&l.SessionIdle, 30*time.Minute)
	def(&l.LogoutTimeout, 10*time.Second)
	return l
}

// OldTLS is what the firmware of an old BMC needs, by quirk. The zero value is TLS 1.2 or later
// with Go's default cipher suites.
type OldTLS struct {
	MinVersion   uint16   `json:"min_version,omitempty"`   // e.g. tls.VersionTLS10
	CipherSuites []uint16 `json:"cipher_suites,omitempty"` // e.g. tls.TLS_RSA_WITH_AES_128_CBC_SHA; TLS 1.3 takes no notice
}

// Observation is one answer, or none, for metrics.
type Observation struct {
	Method   string
	Class    string // the path without its identifiers, see PathClass
	Status   int    // 0: no answer
	Err      error  // one of bmc's sentinels, nil when there was an answer
	Duration time.Duration
}

// Clock is the time, so that tests need not wait.
type Clock interface {
	Now() time.Time
	// Sleep waits for d or until ctx ends, whose error it then returns.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// target is a checked Config.
type target struct {
	Config
	host string // host:port, the key of the broker
	name string // host alone, as the TLS server name
	pin  string // normalised
	cas  *x509.CertPool
}

func (c Config) check() (target, error) {
	t := target{Config: c}
	t.Limits = c.Limits.withDefaults()
	if t.Clock == nil {
		t.Clock = systemClock{}
	}
	if c.Endpoint.Protocol != "" && c.Endpoint.Protocol != bmc.Redfish {
		return t, fmt.Errorf("endpoint %q: the broker speaks %q, not %q", c.Endpoint.Address, bmc.Redfish, c.Endpoint.Protocol)
	}
	var err error
	if t.name, t.host, err = SplitAddress(c.Endpoint.Address, "443"); err != nil {
		return t, err
	}
	if len(c.Allow) == 0 && !c.Explicit {
		return t, &bmc.Error{Kind: bmc.ErrNotAllowed, Op: "dial", Host: t.host,
			Detail: "no out-of-band prefix is configured for this site"}
	}
	if c.Endpoint.Pin != "" {
		if t.pin, err = ParseFingerprint(c.Endpoint.Pin); err != nil {
			return t, fmt.Errorf("endpoint %q: pin: %w", c.Endpoint.Address, err)
		}
	}
	if c.Endpoint.CA != "" {
		t.cas = x509.NewCertPool()
		if !t.cas.AppendCertsFromPEM([]byte(c.Endpoint.CA)) {
			return t, fmt.Errorf("endpoint %q: ca: no PEM certificate in it; give the CA's certificate in PEM form", c.Endpoint.Address)
		}
	}
	if v := c.TLS.MinVersion; v != 0 && (v < tls.VersionTLS10 || v > tls.VersionTLS13) {
		return t, fmt.Errorf("endpoint %q: TLS version %#x is unknown; use 1.0 to 1.3", c.Endpoint.Address, v)
	}
	return t, nil
}

// SplitAddress takes the address of a bmc.Endpoint apart: a host, host:port, or an IPv6 address with
// or without brackets. hostPort has defaultPort where none is given.
func SplitAddress(a, defaultPort string) (name, hostPort string, err error) {
	bad := func(why string) error {
		return fmt.Errorf("endpoint address %q: %s; give host or host:port", a, why)
	}
	if a == "" {
		return "", "", bad("empty")
	}
	if strings.ContainsAny(a, "/@?# ") {
		return "", "", bad("not an address alone")
	}
	if ip, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil {
		return ip.String(), net.JoinHostPort(ip.String(), defaultPort), nil
	}
	name, port := a, defaultPort
	if strings.Contains(a, ":") {
		if name, port, err = net.SplitHostPort(a); err != nil {
			return "", "", bad(err.Error())
		}
	}
	u, err := url.Parse("https://" + net.JoinHostPort(name, port) + "/")
	if err != nil || u.Hostname() == "" || port == "" {
		return "", "", bad("not a host and port")
	}
	return strings.ToLower(name), net.JoinHostPort(strings.ToLower(name), port), nil
}
