package sim

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Options are what a box is made from.
type Options struct {
	// Dir holds the state. Required. Opening the same folder again goes on where it was.
	Dir string
	// Machines to run. Their names and addresses must be unique.
	Machines []MachineSpec
	// Port is the port of every BMC; 0 chooses one that is free on all addresses.
	Port int
	// Admin is the address of the admin API, on loopback; empty: 127.0.0.1:0.
	Admin string
	// Clock tells the time; nil: time.Now.
	Clock func() time.Time
	// Speed divides how long machines take for things; 0 means 1.
	Speed float64
	// Latency scales the flavours' mean answer times; 0: none, 1: as real ones.
	Latency float64
	// AtOnce is how many requests a BMC serves at once; 0: any number.
	AtOnce int
	// Faults are rules that the box's NetBox and Salt obey too; nil: the box's own.
	Faults *Faults
	// Fetch downloads firmware images; nil: a client with the system's certificate authorities.
	Fetch *http.Client
	// BootURL is the boot service of the site, http(s)://host:port: what a DHCP server would hand out.
	// Empty: hosts do nothing when they boot.
	BootURL string
	// Minions is the box's Salt, where the hosts' minions are; nil: nobody hears of them.
	Minions Minions
	// Logger is for what goes wrong with the box itself; nil: slog.Default.
	Logger *slog.Logger
}

// Minions are the minions of hosts whose system came up. Its methods must not wait.
type Minions interface {
	// Fingerprint is that of the key that a minion makes of a seed.
	Fingerprint(id, seed string) (string, error)
	// Start starts a minion with that key. One that runs with it goes on.
	Start(id, seed string) error
	// Stop ends a minion whose host lost its power. One that is not there is success.
	Stop(id string) error
}

// Box is a running data center. Make one with New.
type Box struct {
	opts     Options
	machines []*Machine
	byName   map[string]*Machine
	journal  journal
	faults   *Faults
	store    *store
	fetcher  *http.Client

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	closing sync.Once
	closed  error // what Close found

	port      int
	admin     net.Listener
	servers   []*http.Server
	listeners []net.Listener
}

// New opens the state folder and makes the machines. Nothing listens before Start.
func New(o Options) (*Box, error) {
	if o.Dir == "" {
		return nil, errors.New("sim: Options.Dir is empty: name a folder for the state")
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.Speed < 0 || o.Latency < 0 {
		return nil, fmt.Errorf("sim: speed %v and latency %v: use 0 or more", o.Speed, o.Latency)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Admin == "" {
		o.Admin = "127.0.0.1:0"
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("sim: make the state folder: %w", err)
	}
	if o.Faults == nil {
		o.Faults = &Faults{}
	}
	b := &Box{opts: o, byName: map[string]*Machine{}, fetcher: o.Fetch, port: o.Port, faults: o.Faults}
	if b.fetcher == nil {
		b.fetcher = &http.Client{Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 4}}
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	addrs := map[netip.Addr]string{}
	for _, spec := range o.Machines {
		spec, err := spec.fill()
		if err != nil {
			return nil, fmt.Errorf("sim: %w", err)
		}
		if spec.Name == NetBox || spec.Name == Salt {
			return nil, fmt.Errorf("sim: a machine cannot be named %s: rules know something else by that name", spec.Name)
		}
		if b.byName[spec.Name] != nil {
			return nil, fmt.Errorf("sim: two machines are named %s", spec.Name)
		}
		if other := addrs[spec.Addr]; other != "" {
			return nil, fmt.Errorf("sim: machines %s and %s are both at %s", other, spec.Name, spec.Addr)
		}
		m := &Machine{spec: spec, f: flavours[spec.Flavour], box: b, wake: make(chan struct{}, 1), hostClient: hostClientOf(spec.Addr)}
		if o.AtOnce > 0 {
			m.slot = make(chan struct{}, o.AtOnce)
		}
		b.byName[spec.Name], addrs[spec.Addr] = m, spec.Name
		b.machines = append(b.machines, m)
	}
	if err := b.load(); err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	return b, nil
}

// load brings the machines to where they were.
func (b *Box) load() error {
	st, states, entries, err := openStore(filepath.Join(b.opts.Dir, "box.jsonl"), growth)
	if err != nil {
		return err
	}
	b.store = st
	b.journal.load(entries)
	last := int64(0)
	for _, m := range b.machines {
		if raw, known := states[m.spec.Name]; known {
			if err := json.Unmarshal(raw, &m.st); err != nil {
				return errors.Join(fmt.Errorf("state of %s: %w; remove the folder to start afresh", m.spec.Name, err), st.close())
			}
			continue
		}
		m.st = m.factory(b.now())
		m.dirty = true
		last = m.commit()
	}
	return st.wait(last)
}

func (b *Box) now() time.Time { return b.opts.Clock() }

// Start listens on every address and serves until Close, or until ctx ends.
func (b *Box) Start(ctx context.Context) error {
	var lc net.ListenConfig
	admin, err := lc.Listen(ctx, "tcp", b.opts.Admin)
	if err != nil {
		return fmt.Errorf("sim: admin API: %w", err)
	}
	if a, is := admin.Addr().(*net.TCPAddr); !is || !a.IP.IsLoopback() {
		return errors.Join(fmt.Errorf("sim: admin API: %s is not on loopback", b.opts.Admin), admin.Close())
	}
	if err := b.listen(ctx); err != nil {
		return errors.Join(fmt.Errorf("sim: %w", err), admin.Close())
	}
	b.admin = admin
	b.serve(admin, b.adminHandler(), nil)
	for i, m := range b.machines {
		m.mu.Lock()
		m.settle(b.now())
		m.commit()
		m.mu.Unlock()
		m.resume(b.ctx)
		l := tls.NewListener(bmcListener{b.listeners[i], m}, m.tlsConfig())
		b.serve(l, m, func(ctx context.Context, _ net.Conn) context.Context {
			m.mu.Lock()
			defer m.mu.Unlock()
			return context.WithValue(ctx, connEpoch{}, m.epoch)
		})
	}
	if b.opts.BootURL != "" {
		for _, m := range b.machines {
			b.background(func() { m.hostLoop(b.ctx) })
		}
	}
	context.AfterFunc(ctx, func() {
		if err := b.Close(); err != nil {
			b.opts.Logger.Error("box did not close well", "error", err)
		}
	})
	return nil
}

// listen takes one port on all addresses.
func (b *Box) listen(ctx context.Context) error {
	var lc net.ListenConfig
	for try := 0; ; try++ {
		port := b.port
		var err error
		for _, m := range b.machines {
			var l net.Listener
			l, err = lc.Listen(ctx, "tcp", net.JoinHostPort(m.spec.Addr.String(), strconv.Itoa(port)))
			if err != nil {
				break
			}
			port = l.Addr().(*net.TCPAddr).Port
			b.listeners = append(b.listeners, l)
		}
		if err == nil {
			b.port = port
			return nil
		}
		for _, l := range b.listeners {
			err = errors.Join(err, l.Close())
		}
		b.listeners = nil
		if b.port != 0 || try == 20 {
			return fmt.Errorf("listen for the BMCs: %w", err)
		}
	}
}

func (b *Box) serve(l net.Listener, h http.Handler, conn func(context.Context, net.Conn) context.Context) {
	s := &http.Server{
		Handler: h, ConnContext: conn, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return b.ctx },
		ErrorLog:    log.New(io.Discard, "", 0), // handshakes that clients break off
	}
	b.servers = append(b.servers, s)
	b.background(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			b.opts.Logger.Error("box stopped serving", "address", l.Addr().String(), "error", err)
		}
	})
}

func (b *Box) background(fn func()) {
	b.wg.Add(1)
	go func() { defer b.wg.Done(); fn() }()
}

// Close ends everything and closes the state folder. Closing twice is fine.
func (b *Box) Close() error {
	b.closing.Do(func() {
		b.cancel()
		var err error
		for _, s := range b.servers {
			err = errors.Join(err, s.Close())
		}
		b.wg.Wait()
		b.closed = errors.Join(err, b.store.close())
	})
	return b.closed
}

// bmcListener drops connections while the BMC restarts.
type bmcListener struct {
	net.Listener
	m *Machine
}

func (l bmcListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.m.mu.Lock()
		now := l.m.box.now()
		l.m.settle(now)
		l.m.commit()
		away := l.m.away(now)
		l.m.mu.Unlock()
		if !away {
			return c, nil
		}
		abort(c)
	}
}

func (m *Machine) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		SessionTicketsDisabled: true, // so that every connection shows the certificate
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.certificate()
		},
	}
}

// Port is the port of all BMCs.
func (b *Box) Port() int { return b.port }

// AdminURL is where the admin API is, without a slash at the end.
func (b *Box) AdminURL() string { return "http://" + b.admin.Addr().String() }

// Machines lists the machines in the order of Options.Machines.
func (b *Box) Machines() []*Machine { return append([]*Machine(nil), b.machines...) }

// Machine finds a machine by name; nil when there is none.
func (b *Box) Machine(name string) *Machine { return b.byName[name] }

// Journal selects journal entries, oldest first.
func (b *Box) Journal(q Query) []Entry { return b.journal.query(q) }

// AddFault adds a rule and gives it back with its ID.
func (b *Box) AddFault(f Fault) (Fault, error) { return b.faults.Add(f) }

// RemoveFault drops a rule, or all when id is empty; false when there is no such rule.
func (b *Box) RemoveFault(id string) bool { return b.faults.Remove(id) }

// Faults lists the rules with how often each fired.
func (b *Box) Faults() []Fault { return b.faults.List() }

// Holds lists the requests that are kept back.
func (b *Box) Holds() []Hold { return b.faults.waiting() }

// Release lets a kept request go on; false when it is not held any more.
func (b *Box) Release(id string) bool { return b.faults.release(id) }

// URL is where a machine's BMC is, without a slash at the end.
func (m *Machine) URL() string { return "https://" + m.box.addressOf(m) }

func (b *Box) addressOf(m *Machine) string {
	return net.JoinHostPort(m.spec.Addr.String(), strconv.Itoa(b.port))
}
