//go:build e2e

package kills

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/test/e2e/stack"
)

// cutFor is how long the site's link is away.
const cutFor = time.Minute

// TestLinkCut cuts the link between a site and the rest, Temporal and the API, for a minute in the middle of
// installs: nothing comes through, in either way, and nobody is told. The site is shown as away, and when the
// link is back everything goes on by itself.
func TestLinkCut(t *testing.T) {
	t.Parallel()
	began := time.Now()
	l := newLink(t)
	flavours := sim.Flavours()
	s := stack.Start(t, stack.Options{Racks: stack.Fleet(slices.Concat(flavours, flavours)...), Hurry: hurry, Config: l.option})
	names, off := s.Names(), s.BeganOff()
	want, names := undisturbed(s, names[:len(flavours)]), names[len(flavours):]
	// All kinds of moments: machines begin one after another, and the link goes when the first are being written.
	id := s.Install(names...)
	s.Until(4*time.Minute, "disks are erased", func() error {
		erased, err := s.Box().Journal(t.Context(), sim.Query{Effect: sim.EffectErase})
		erased = slices.DeleteFunc(erased, func(e sim.Entry) bool { return !slices.Contains(names, e.Machine) })
		if err == nil && len(erased) < 2 {
			err = fmt.Errorf("%d were", len(erased))
		}
		return err
	})
	l.cut()
	cut := time.Now()
	s.Until(cutFor-5*time.Second, "the site is shown as away", func() error {
		d := s.Operation(id)
		away := 0
		for _, r := range d.Runs {
			if r.State == operation.Away {
				away++
			}
		}
		out, errs, code := s.CLI("site", "list")
		if away == 0 || code != 0 || !strings.Contains(out, "away") {
			return fmt.Errorf("%d runs wait for their site; %s%s", away, out, errs)
		}
		t.Logf("%d of %d runs wait for their site after %.0f s without the link", away, len(names), time.Since(cut).Seconds())
		return nil
	})
	<-time.After(cutFor - time.Since(cut)) // the minute that the link is to be away
	l.mend()
	s.Done(id, 6*time.Minute)
	asUndisturbed(t, s, names, off, want)
	t.Logf("the link was cut for %s, %d machines active in %.0f s", cutFor, len(names), time.Since(began).Seconds())
}

// link passes on what the site's worker has with Temporal and the API, byte by byte, unless it is cut: then
// what is sent waits, and so does who is new, as on a line that loses every packet.
type link struct {
	t *testing.T

	mu      sync.Mutex
	whole   chan struct{} // closed while it is not cut
	through map[string]string
}

func newLink(t *testing.T) *link {
	l := &link{t: t, whole: make(chan struct{}), through: map[string]string{}}
	l.mend()
	t.Cleanup(func() { l.mend() })
	return l
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole = make(chan struct{})
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.whole:
	default:
		close(l.whole)
	}
}

// wait waits while the link is cut.
func (l *link) wait() {
	l.mu.Lock()
	whole := l.whole
	l.mu.Unlock()
	<-whole
}

// option leads the site's worker over the link.
func (l *link) option(program string, c map[string]any) {
	if program != stack.Site {
		return
	}
	over := func(address string) string {
		if l.through[address] == "" {
			l.through[address] = l.relay(address)
		}
		return l.through[address]
	}
	temporal, worker := c["temporal"].(map[string]any), c["worker"].(map[string]any)
	temporal["host"] = over(temporal["host"].(string))
	worker["url"] = "http://" + over(strings.TrimPrefix(worker["url"].(string), "http://"))
}

// relay listens for connections to an address and gives where.
func (l *link) relay(to string) string {
	listener, err := (&net.ListenConfig{}).Listen(l.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			go func() {
				defer near.Close()
				l.wait()
				far, err := (&net.Dialer{}).Dial("tcp", to) //nolint:noctx // ends with the connection
				if err != nil {
					return // as if nobody listened
				}
				defer far.Close()
				go l.pass(far, near)
				l.pass(near, far)
			}()
		}
	}()
	return listener.Addr().String()
}

// pass copies from one side to the other until either ends.
func (l *link) pass(to, from net.Conn) {
	defer to.Close()
	block := make([]byte, 32<<10)
	for {
		n, err := from.Read(block)
		l.wait()
		if n > 0 {
			if _, werr := to.Write(block[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
