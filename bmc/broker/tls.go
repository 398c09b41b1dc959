package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// Fingerprint is the SHA-256 of a certificate's DER form as
// `openssl x509 -noout -fingerprint -sha256` prints it: upper case, with colons.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// ParseFingerprint brings a fingerprint into the form of Fingerprint. Case, colons, spaces and the
// words that openssl prints before it do not matter.
func ParseFingerprint(s string) (string, error) {
	in := s
	if i := strings.LastIndex(s, "="); i >= 0 {
		s = s[i+1:]
	}
	if i := strings.Index(strings.ToLower(s), "sha256:"); i == 0 {
		s = s[len("sha256:"):]
	}
	raw, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimSpace(s)))
	if err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("fingerprint %q is not a SHA-256: give the 64 hex digits that `openssl x509 -noout -fingerprint -sha256` prints", in)
	}
	parts := make([]string, len(raw))
	for i, b := range raw {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":"), nil
}

// trust decides about the certificates that a BMC shows. With a CA the chain decides; with a pin
// the fingerprint; with neither, the first certificate is accepted and every later one must be it.
type trust struct {
	host string
	pin  string

	mu   sync.Mutex
	seen string
}

func (t *trust) fingerprint() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

func (t *trust) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return &bmc.Error{Kind: bmc.ErrCertificate, Op: "TLS handshake", Host: t.host, Detail: "no certificate shown"}
	}
	got := Fingerprint(cs.PeerCertificates[0])
	t.mu.Lock()
	defer t.mu.Unlock()
	want, known := t.pin, "pinned"
	if want == "" {
		want, known = t.seen, "seen before"
	}
	if want != "" && got != want {
		return &bmc.Error{Kind: bmc.ErrPinChanged, Op: "TLS handshake", Host: t.host,
			Detail: fmt.Sprintf("%s %s, shown now %s", known, want, got)}
	}
	t.seen = got
	return nil
}

// newTransport makes the only way to the BMC: it dials one host, checks the address that is really
// dialled, never uses a proxy, and speaks HTTP/1.1 (BMCs' HTTP/2 is young).
func newTransport(t target, tr *trust) *http.Transport {
	cfg := &tls.Config{
		ServerName:   t.name,
		MinVersion:   tls.VersionTLS12,
		CipherSuites: t.TLS.CipherSuites,
		// Go would add a post-quantum key share of 1.2 KB: no BMC knows it, it makes some TLS stacks of
		// theirs stumble over a hello of two segments, and it costs us its computing.
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	if t.TLS.MinVersion != 0 {
		cfg.MinVersion = t.TLS.MinVersion
	}
	if t.cas != nil {
		cfg.RootCAs = t.cas
		// The chain is what is trusted; the fingerprint is only noted, and may change.
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.seen = Fingerprint(cs.PeerCertificates[0])
			return nil
		}
	} else {
		// A BMC's certificate is self-signed: not its chain but its fingerprint is verified.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = tr.verify
	}
	dialer := &net.Dialer{
		Timeout:   10 * time.Second,
		KeepAlive: 30 * time.Second,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return t.allowed(address)
		},
	}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != t.host {
				return nil, &bmc.Error{Kind: bmc.ErrNotAllowed, Op: "dial " + address, Host: t.host, Detail: "another host"}
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    15 * time.Second,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		MaxConnsPerHost:        t.Limits.InFlight,
		MaxIdleConnsPerHost:    t.Limits.InFlight,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// allowed checks an address just before it is dialled, when the name has been resolved.
func (t target) allowed(address string) error {
	return CheckAddress(t.Allow, t.Explicit, t.host, address)
}

// CheckAddress tells whether a resolved ip:port may be dialled for a BMC: it is in one of the
// out-of-band prefixes, or the endpoint was typed by a person. Other protocols' drivers use it too.
func CheckAddress(allow []netip.Prefix, explicit bool, host, address string) error {
	if explicit {
		return nil
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &bmc.Error{Kind: bmc.ErrNotAllowed, Op: "dial " + address, Host: host, Err: err}
	}
	ip := ap.Addr().Unmap().WithZone("")
	for _, p := range allow {
		if p.Contains(ip) {
			return nil
		}
	}
	return &bmc.Error{Kind: bmc.ErrNotAllowed, Op: "dial " + address, Host: host,
		Detail: fmt.Sprintf("%s is in none of the site's out-of-band prefixes %v", ip, allow)}
}

// wireError names why there was no answer.
func wireError(host, op string, err error) *bmc.Error {
	var be *bmc.Error
	if errors.As(err, &be) {
		e := &bmc.Error{Kind: be.Kind, Op: op, Host: host, Status: be.Status, Detail: be.Detail, Err: be.Err}
		if errors.Is(err, errNotSent) && e.Err == nil {
			e.Err = errNotSent
		}
		return e
	}
	var cv *tls.CertificateVerificationError
	if errors.As(err, &cv) {
		return &bmc.Error{Kind: bmc.ErrCertificate, Op: op, Host: host, Err: notSent{cv.Err}}
	}
	e := &bmc.Error{Kind: bmc.ErrUnreachable, Op: op, Host: host, Err: err}
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Error(), "handshake failure") {
		e.Detail = "the BMC takes none of our cipher suites; an old one may need RSA key exchange (bmc.old_ciphers in its profile)"
	}
	return e
}
