package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// call is one request to one BMC while it is being answered.
type call struct {
	m       *Machine
	f       *flavour
	now     time.Time
	method  string
	path    string // without a slash at the end
	id      string // last segment, for members of a collection
	query   url.Values
	header  http.Header
	remote  string
	raw     []byte
	body    obj
	user    string
	session string // ID, when a session asks
	fault   string // ID of the rule that touched it

	stuckTask    bool
	powerIgnored bool
	serial       string                // to answer with in place of the machine's own
	after        func(context.Context) // to start once the change is on disk
}

func (c *call) mutates() bool { return c.method != http.MethodGet && c.method != http.MethodHead }

// route is what a resource answers to. Methods that are nil answer 405.
type route struct {
	get     func(*call) obj // nil: there is no such resource now
	patch   func(*call) *answer
	post    func(*call) *answer
	del     func(*call) *answer
	members *route              // for children that come and go; their last segment is call.id
	raw     bool                // the POST body is not JSON
	slow    bool                // answers take longer than others, as logs do
	answer  func(*call) *answer // a GET that is no plain resource
}

// find gives the route of a path.
func (f *flavour) find(path string) (*route, string) {
	if r, found := f.routes[path]; found {
		return r, ""
	}
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if r, found := f.routes[path[:i]]; found && r.members != nil {
			return r.members, path[i+1:]
		}
	}
	return nil, ""
}

type connEpoch struct{}

// ServeHTTP answers one request to the BMC.
func (m *Machine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	c, err := m.read(r)
	if err != nil {
		reset(w)
		return
	}
	if m.slot != nil {
		select {
		case m.slot <- struct{}{}:
			defer func() { <-m.slot }()
		case <-ctx.Done():
			return
		}
	}
	if !m.delay(ctx, c) {
		return
	}
	var spoil Fault
	for _, rule := range m.box.faults.Take(m.spec.Name, c.method, c.path, Before) {
		c.fault = rule.ID
		switch rule.Action {
		case ActDrip, ActMalformed:
			spoil = rule // it happens, only the answer is spoilt
			continue
		}
		if done := m.before(ctx, w, c, rule); done {
			return
		}
	}
	epoch, _ := ctx.Value(connEpoch{}).(int)
	a := m.handle(c, epoch)
	if a == nil {
		reset(w)
		return
	}
	for _, rule := range m.box.faults.Take(m.spec.Name, c.method, c.path, After) {
		switch rule.Action {
		case ActDrip, ActMalformed:
			spoil = rule
			continue
		}
		if done := m.spoil(ctx, w, c, rule); done {
			return
		}
	}
	m.write(ctx, w, c, a, spoil)
}

func (m *Machine) read(r *http.Request) (*call, error) {
	limit := int64(1 << 20)
	path := trimURL(r.URL.Path)
	if rt, _ := m.f.find(path); rt != nil && rt.raw {
		limit = maxImage + 1<<20
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, errors.New("body too large")
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return &call{
		m: m, f: m.f, method: r.Method, path: path, query: r.URL.Query(), header: r.Header, raw: raw, remote: host,
	}, nil
}

// delay waits as long as a BMC of this flavour thinks about an answer.
func (m *Machine) delay(ctx context.Context, c *call) bool {
	d := float64(m.f.latency) * m.box.opts.Latency * (0.5 + rand.Float64())
	if rt, _ := m.f.find(c.path); rt != nil && rt.slow {
		d *= 3
	}
	return pause(ctx, time.Duration(d))
}

// pause waits; it tells whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// before carries out a rule ahead of the request's effect and tells whether that was the answer.
func (m *Machine) before(ctx context.Context, w http.ResponseWriter, c *call, rule Fault) bool {
	switch rule.Action {
	case ActWrongSerial:
		c.serial = rule.Serial
		return false
	case ActStuckTask:
		c.stuckTask = true
		return false
	case ActPowerIgnored:
		c.powerIgnored = true
		return false
	case ActExpiredSession:
		_ = m.change(func(time.Time) { m.endSession(c.header.Get("X-Auth-Token")) }) // the store reports
		return false
	case ActCertificate:
		_ = m.change(func(now time.Time) { m.renewCertificate(now, "fault") })
		m.note(c, 0)
		reset(w)
		return true
	}
	status := 0
	switch rule.Action {
	case ActHold, ActLatency:
		gone := m.spoil(ctx, w, c, rule)
		if gone {
			m.note(c, 0)
		}
		return gone
	case ActHTML, ActBig:
		status = http.StatusOK
	case ActStatus:
		status = rule.Status
	}
	m.note(c, status) // on disk before the answer, like all others
	return m.spoil(ctx, w, c, rule)
}

// note writes a mutating request into the journal that never reached its handler.
func (m *Machine) note(c *call, status int) {
	if c.mutates() {
		_ = m.change(func(now time.Time) { m.out = append(m.out, c.entry(now, status)) })
	}
}

// created answers a POST that made a member of a collection. The call keeps the path that was asked
// for: the journal and the rules go by it.
func (c *call) created(collection, id string, get func(*call) obj) *answer {
	at := *c
	at.id, at.path = id, collection+"/"+id
	return (&answer{status: http.StatusCreated, body: get(&at)}).with("Location", at.path)
}

func (c *call) entry(now time.Time, status int) Entry {
	return Entry{
		Time: now, Machine: c.m.spec.Name, Kind: KindRequest, Method: c.method, Path: c.path, User: c.user,
		Status: status, Fault: c.fault,
	}
}

// spoil carries out a rule in place of, or ahead of, the answer; it tells whether there is nothing
// left to answer.
func (m *Machine) spoil(ctx context.Context, w http.ResponseWriter, c *call, rule Fault) bool {
	return m.box.faults.Spoil(ctx, w, rule, m.spec.Name, c.method, c.path, m.box.now())
}

// handle carries out a request and returns when its effect is on disk. nil: the BMC is away.
func (m *Machine) handle(c *call, epoch int) *answer {
	m.mu.Lock()
	c.now = m.box.now()
	m.settle(c.now)
	if m.away(c.now) || epoch != m.epoch {
		m.commit()
		m.mu.Unlock()
		return nil
	}
	a := m.route(c)
	if c.serial != "" {
		a.raw, a.kind = bytes.ReplaceAll(encode(a.body), []byte(m.spec.Serial), []byte(c.serial)), jsonType
	}
	if a.raw == nil && a.body != nil {
		m.finish(c, a)
	}
	if c.mutates() {
		m.out = append([]Entry{c.entry(c.now, a.status)}, m.out...)
	}
	if m.epoch != epoch {
		a.with("Connection", "close")
	}
	n := m.commit()
	m.mu.Unlock()
	if c.mutates() {
		if err := m.box.store.wait(n); err != nil {
			m.box.opts.Logger.Error("box state is not kept", "error", err)
			return failure(http.StatusInternalServerError, "InternalError", "The state could not be kept.")
		}
	}
	if c.after != nil {
		c.after(m.box.ctx)
	}
	return a
}

const jsonType = "application/json; charset=utf-8"

// route finds who answers and lets it. The caller holds the lock.
func (m *Machine) route(c *call) *answer {
	r, id := m.f.find(c.path)
	if len(c.raw) > 0 && (r == nil || !r.raw) {
		if json.Unmarshal(c.raw, &c.body) != nil {
			return failure(http.StatusBadRequest, "MalformedJSON", "The request body submitted was malformed JSON and could not be parsed by the receiving service.")
		}
	}
	if refused := c.authenticate(); refused != nil {
		return refused
	}
	if r == nil {
		return notFound(c.path)
	}
	c.id = id
	switch c.method {
	case http.MethodGet, http.MethodHead:
		if r.answer != nil {
			return r.answer(c)
		}
		if r.get == nil {
			break
		}
		body := r.get(c)
		if body == nil {
			return notFound(c.path)
		}
		if refused := c.expand(body); refused != nil {
			return refused
		}
		return ok(body).with("Allow", r.allow())
	case http.MethodPatch:
		if r.patch == nil {
			break
		}
		if refused := c.precondition(r); refused != nil {
			return refused
		}
		return r.patch(c)
	case http.MethodPost:
		if r.post != nil {
			return r.post(c)
		}
	case http.MethodDelete:
		if r.del == nil {
			break
		}
		if r.get != nil && r.get(c) == nil {
			return notFound(c.path)
		}
		return r.del(c)
	}
	return failure(http.StatusMethodNotAllowed, "OperationNotAllowed", "The HTTP method is not allowed on this resource.").with("Allow", r.allow())
}

func (r *route) allow() string {
	var out []string
	for _, x := range []struct {
		has  bool
		name string
	}{{r.get != nil || r.answer != nil, "GET, HEAD"}, {r.patch != nil, "PATCH"}, {r.post != nil, "POST"}, {r.del != nil, "DELETE"}} {
		if x.has {
			out = append(out, x.name)
		}
	}
	return strings.Join(out, ", ")
}

// precondition holds a PATCH against If-Match.
func (c *call) precondition(r *route) *answer {
	if r.get == nil {
		return nil
	}
	body := r.get(c)
	if body == nil {
		return notFound(c.path)
	}
	want := c.header.Get("If-Match")
	switch {
	case want == "" && c.f.needsIfMatch:
		return failure(http.StatusPreconditionRequired, "PreconditionRequired", "A precondition header or annotation is required to change this resource.")
	case want == "" || want == "*" || sameTag(want, etag(body)):
		return nil
	}
	return failure(http.StatusPreconditionFailed, "PreconditionFailed", "The ETag supplied did not match the ETag required to change this resource.").
		with("ETag", etag(body))
}

func sameTag(a, b string) bool { return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/") }

// etag is a hash of what a resource says, but for its clock.
func etag(body obj) string {
	if t, has := body["DateTime"]; has {
		delete(body, "DateTime")
		defer func() { body["DateTime"] = t }()
	}
	return tagOf(encode(body))
}

func tagOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return fmt.Sprintf(`W/"%X"`, sum[:8])
}

// finish encodes an answer and puts its ETag on.
func (m *Machine) finish(c *call, a *answer) {
	a.kind = jsonType
	_, is := a.body["@odata.id"]
	if a.status != http.StatusOK || !is {
		a.raw = encode(a.body)
		return
	}
	raw := encode(a.body)
	tag := tagOf(raw)
	if a.body["DateTime"] != nil {
		tag = etag(a.body)
	}
	a.with("ETag", tag)
	if match := c.header.Get("If-None-Match"); match != "" && sameTag(match, tag) && !c.mutates() {
		a.status, a.body, a.raw = http.StatusNotModified, nil, nil
		return
	}
	// In front of the other properties, so that the body is encoded once.
	a.raw = append(fmt.Appendf(nil, `{"@odata.etag":%q,`, tag), raw[1:]...)
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("sim: encode an answer: " + err.Error()) // built from plain data
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (m *Machine) write(ctx context.Context, w http.ResponseWriter, c *call, a *answer, spoil Fault) {
	h := w.Header()
	h.Set("OData-Version", "4.0")
	h.Set("Cache-Control", "no-cache")
	h.Set("Server", m.f.server)
	for k, v := range a.header {
		h[k] = v
	}
	if len(a.raw) > 0 {
		h.Set("Content-Type", a.kind)
	}
	body := a.raw
	if spoil.Action == ActMalformed {
		body = body[:len(body)*2/3]
	}
	w.WriteHeader(a.status)
	if c.method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		return
	}
	if spoil.Action != ActDrip {
		_, _ = w.Write(body) // the client may be gone
		return
	}
	flush := http.NewResponseController(w)
	for i := range body {
		if _, err := w.Write(body[i : i+1]); err != nil || flush.Flush() != nil ||
			!pause(ctx, time.Duration(spoil.DelayMS)*time.Millisecond) {
			return
		}
	}
}

// reset ends a connection without an answer, as a BMC does that is gone.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	abort(conn)
}

func abort(conn net.Conn) {
	if t, layered := conn.(interface{ NetConn() net.Conn }); layered {
		conn = t.NetConn()
	}
	if tcp, plain := conn.(*net.TCPConn); plain {
		_ = tcp.SetLinger(0) // a reset, not a goodbye
	}
	_ = conn.Close()
}
