// Package simtest starts a data center in a box inside a test, and gives what a test needs to speak
// to it: a pinned HTTP client, and waiting without sleeping.
package simtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/sim"
)

// Start runs machines on free addresses and a free port of loopback until the test ends. A spec
// without a name, flavour or address gets one: machine-<n>, base, 127.78.x.y. Machines are ten
// times as fast as at Speed 1.
func Start(t testing.TB, specs ...sim.MachineSpec) *sim.Box {
	t.Helper()
	return StartWith(t, sim.Options{Machines: specs})
}

// StartWith is Start with options; an empty Dir is a temporary folder, Speed 0 is 10.
func StartWith(t testing.TB, o sim.Options) *sim.Box {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Speed == 0 {
		o.Speed = 10
	}
	o.Machines = Fill(o.Machines)
	b, err := sim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close the box: %v", err)
		}
	})
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Fill completes specs as Start does. Specs without an address get one by their place in the list.
func Fill(specs []sim.MachineSpec) []sim.MachineSpec {
	out := append([]sim.MachineSpec(nil), specs...)
	for i := range out {
		s := &out[i]
		if s.Name == "" {
			s.Name = fmt.Sprintf("machine-%d", i+1)
		}
		if s.Flavour == "" {
			s.Flavour = sim.FlavourBase
		}
		if s.Serial == "" {
			s.Serial = "SN" + strings.ToUpper(s.Name)
		}
		if !s.Addr.IsValid() {
			s.Addr = netip.AddrFrom4([4]byte{127, 78, byte((i + 1) / 250), byte((i+1)%250 + 1)})
		}
	}
	return out
}

// Client speaks to one BMC as a test does: with a login, JSON in and out. The certificate that the
// BMC shows first is pinned.
type Client struct {
	T        testing.TB
	Base     string
	User     string
	Password string
	Token    string // instead of the login when set
	HTTP     *http.Client
}

// Login makes a client that logs in to a machine with its factory account.
func Login(t testing.TB, m *sim.Machine) *Client {
	t.Helper()
	s := m.Spec()
	return &Client{T: t, Base: m.URL(), User: s.User, Password: s.Password, HTTP: PinnedClient()}
}

// PinnedClient makes an HTTP client that trusts the first certificate it sees and no other.
func PinnedClient() *http.Client {
	var pin atomic.Pointer[[32]byte]
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // the pin below is what counts
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			sum := sha256.Sum256(raw[0])
			if !pin.CompareAndSwap(nil, &sum) && *pin.Load() != sum {
				return fmt.Errorf("certificate %X is not the pinned one", sum[:4])
			}
			return nil
		},
	}}}
}

// Answer is what a BMC said.
type Answer struct {
	Status int
	Header http.Header
	Raw    []byte
	Body   map[string]any // nil when Raw is not a JSON object
}

// Try sends a request and gives the answer, or the error of the connection. body is JSON unless it
// is bytes. headers come in pairs.
func (c *Client) Try(method, path string, body any, headers ...string) (Answer, error) {
	c.T.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			c.T.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, c.Base+path, in)
	if err != nil {
		c.T.Fatal(err)
	}
	if c.Token != "" {
		req.Header.Set("X-Auth-Token", c.Token)
	} else if c.User != "" {
		req.SetBasicAuth(c.User, c.Password)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	if a.Raw, err = io.ReadAll(resp.Body); err != nil {
		return Answer{}, err
	}
	if json.Unmarshal(a.Raw, &a.Body) != nil {
		a.Body = nil
	}
	return a, nil
}

// Do is Try that fails the test unless the status is the wanted one; 0 wants any.
func (c *Client) Do(want int, method, path string, body any, headers ...string) Answer {
	c.T.Helper()
	a, err := c.Try(method, path, body, headers...)
	if err != nil {
		c.T.Fatalf("%s %s: %v", method, path, err)
	}
	if want != 0 && a.Status != want {
		c.T.Fatalf("%s %s: got %d, want %d: %s", method, path, a.Status, want, a.Raw)
	}
	return a
}

// Get reads a resource.
func (c *Client) Get(path string) map[string]any {
	c.T.Helper()
	return c.Do(http.StatusOK, http.MethodGet, path, nil).Body
}

// At walks into JSON objects by keys and lists by numbers; nil when the way ends.
func At(v any, way ...any) any {
	for _, w := range way {
		switch w := w.(type) {
		case string:
			o, _ := v.(map[string]any)
			v = o[w]
		case int:
			l, _ := v.([]any)
			if w >= len(l) {
				return nil
			}
			v = l[w]
		}
	}
	return v
}

// Eventually waits until cond holds, for ten seconds at most.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
