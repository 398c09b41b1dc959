package reader

import (
	"container/heap"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/quirks"
)

// resource is one thing that was read.
type resource struct {
	key  string // its path without a trailing slash
	kind string // see resourceType
	v    value
	got  time.Time
}

// item is one path that is to be fetched.
type item struct {
	link
	rank   int
	depth  int
	seq    int
	member bool   // of a collection
	page   int    // of the collection in owner, 0 for its first
	owner  string // key of the collection that this is a page of
	quiet  bool   // found by guessing: not finding it is not worth telling
}

type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

const (
	rootPath = "/redfish/v1/"
	rootKey  = "/redfish/v1"

	maxUnread        = 2000 // entries in Inventory.Unread
	unauthorizedStop = 3    // 401s in a row after which asking on might lock the account
	silenceStop      = 6    // requests in a row without an answer after which the BMC counts as gone
	retryAfter       = 300 * time.Millisecond
)

// walker is one walk. The fields below mu are guarded by it.
type walker struct {
	get  Getter
	opt  Options
	host string

	mu        sync.Mutex
	wake      *sync.Cond
	queue     queue
	seq       int
	inFlight  int
	limit     int // requests at once
	seen      map[string]bool
	done      map[string]bool   // collections that were answered, or were not
	waiting   map[string][]item // members that something links to, until their collection is done
	later     []item            // members that something links to, until nothing else is left
	resources map[string]*resource
	folded    map[string]string // keys of resources, by the key in lower case
	pending   map[string]bool   // settings for the next boot
	biosLater map[string]bool   // of these, the ones that are read
	members   map[string]int    // of each collection, so far
	facts     quirks.Facts
	profile   quirks.Profile
	skip      quirks.Paths // of the profile
	settings  quirks.Paths // the profile's pending objects
	unread    []bmc.Unread
	used      map[string]bool // paths for Cache.keep
	firstErr  error

	expand       string
	expandMisses int
	expandHits   int
	slash        bool // this service wants paths to end in a slash
	slashTries   int

	stopped      string // reason code, once the walk was given up
	unauthorized int    // in a row
	silent       int    // in a row

	requests, notModified, maxInFlight int
	bytes                              int64
	latencies                          []bmc.SlowRequest
	began                              time.Time
	wall                               time.Duration
}

func newWalker(get Getter, o Options) *walker {
	w := &walker{get: get, opt: o, host: hostOf(o.URL), limit: o.InFlight,
		seen: map[string]bool{}, done: map[string]bool{}, waiting: map[string][]item{}, resources: map[string]*resource{}, folded: map[string]string{}, pending: map[string]bool{},
		biosLater: map[string]bool{}, members: map[string]int{}, used: map[string]bool{}}
	w.wake = sync.NewCond(&w.mu)
	w.learn(quirks.Facts{})
	return w
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// learn takes over what the quirks say of the facts. Call with mu held or before the walk.
func (w *walker) learn(f quirks.Facts) {
	if f == w.facts && w.profile.Names != nil {
		return
	}
	w.facts = f
	w.profile = quirks.For(f)
	w.skip, w.settings = quirks.NewPaths(w.profile.Skip), quirks.NewPaths(w.profile.Pending)
	w.limit = w.opt.InFlight
	if n := w.profile.InFlight; n > 0 && n < w.limit {
		w.limit = n
	}
	for _, root := range w.profile.Roots {
		w.push(item{link: link{path: root, key: keyOf(root), via: "quirk"}, rank: rankRest, depth: 1, quiet: true})
	}
}

// push queues an item unless its resource was queued before. Call with mu held.
func (w *walker) push(it item) {
	id := it.key
	if it.page > 0 {
		id = it.path
	}
	if w.seen[id] {
		return
	}
	w.seen[id] = true
	if it.depth > w.opt.Bounds.Depth {
		w.note(it.path, ReasonDepth, fmt.Sprintf("%d links from the ServiceRoot, the bound is %d", it.depth, w.opt.Bounds.Depth))
		return
	}
	w.seq++
	it.seq = w.seq
	heap.Push(&w.queue, it)
}

// note adds to Inventory.Unread. Call with mu held.
func (w *walker) note(uri, reason, detail string) {
	switch {
	case len(w.unread) < maxUnread:
		w.unread = append(w.unread, bmc.Unread{URI: uri, Reason: reason, Detail: clip(detail, 300)})
	case len(w.unread) == maxUnread:
		w.unread = append(w.unread, bmc.Unread{URI: rootPath, Reason: ReasonBudget, Detail: "more could not be read than is listed here"})
	}
}

// run walks until nothing is left to fetch, the bounds are used up or ctx ends.
func (w *walker) run(ctx context.Context) {
	w.began = time.Now()
	w.mu.Lock()
	w.push(item{link: link{path: rootPath, key: rootKey}, rank: rankMachine})
	w.mu.Unlock()

	stopWaking := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stop(reasonOfContext(ctx))
	})
	defer stopWaking()
	var workers sync.WaitGroup
	for range w.opt.InFlight {
		workers.Go(func() { w.work(ctx) })
	}
	workers.Wait()

	w.mu.Lock()
	defer w.mu.Unlock()
	w.wall = time.Since(w.began)
	if w.stopped != "" {
		w.releaseLater()
	}
	for w.queue.Len() > 0 {
		it := heap.Pop(&w.queue).(item)
		w.note(it.path, w.stopped, "not asked for: the reading had ended")
	}
	if w.stopped == "" {
		w.opt.Cache.keep(w.used)
	}
}

// stop gives the walk up; the first reason stays. Call with mu held.
func (w *walker) stop(reason string) {
	if w.stopped == "" {
		w.stopped = reason
	}
	w.wake.Broadcast()
}

func (w *walker) work(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.stopped == "" && (w.queue.Len() == 0 || w.inFlight >= w.limit) {
			if w.queue.Len() == 0 && w.inFlight == 0 {
				if w.releaseLater() {
					w.wake.Broadcast()
					continue
				}
				return
			}
			w.wake.Wait()
		}
		if w.stopped != "" {
			return
		}
		it := heap.Pop(&w.queue).(item)
		w.inFlight++
		w.maxInFlight = max(w.maxInFlight, w.inFlight)
		w.mu.Unlock()
		w.visit(ctx, it)
		w.mu.Lock()
		w.inFlight--
		w.wake.Broadcast()
	}
}

// visit fetches one item and takes in what it leads to.
func (w *walker) visit(ctx context.Context, it item) {
	w.mu.Lock()
	expand := ""
	if w.expand != "" && !w.opt.NoExpand && expandable(it) {
		expand = w.expand
	}
	w.mu.Unlock()

	var e *cached
	var fail *failure
	if expand != "" {
		e, fail = w.fetch(ctx, keyOf(it.path)+"?$expand="+expand, it.rank == rankMachine)
		if fail != nil && fail.aboutRequest() {
			w.mu.Lock()
			w.expandMissed()
			w.mu.Unlock()
			expand = ""
		}
	}
	if expand == "" {
		e, fail = w.fetchEither(ctx, it.path, it.rank == rankMachine)
	}
	defer func(asked string) {
		w.mu.Lock()
		w.release(asked)
		w.mu.Unlock()
	}(it.key)
	if fail != nil && fail.reason == ReasonNotFound {
		w.mu.Lock()
		path, known := w.respelled(it.path)
		w.mu.Unlock()
		if known {
			return
		}
		if path != it.path {
			it.path, it.key = path, keyOf(path)
			e, fail = w.fetchEither(ctx, path, it.rank == rankMachine)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if fail != nil {
		w.failed(it, fail)
		return
	}
	if !e.v.isObject() {
		w.note(it.path, ReasonWrongType, "the answer is JSON, but not an object")
		if e.v.isArray() { // what stands in it is not lost
			w.add(it.key, e.v)
			w.followAll(it, e.links)
		}
		return
	}
	w.take(it, e, expand != "")
}

// maxSlashTries bounds how often a missing resource is asked for once more with the other ending.
const maxSlashTries = 3

// fetchEither fetches a path with or without its last slash: there are services that know their
// resources by one of the two only. Which one is learnt from the first answers.
func (w *walker) fetchEither(ctx context.Context, path string, whole bool) (*cached, *failure) {
	w.mu.Lock()
	if w.slash && !strings.HasSuffix(path, "/") && !strings.Contains(path, "?") {
		path += "/"
	}
	w.mu.Unlock()
	e, fail := w.fetch(ctx, path, whole)
	if fail == nil || fail.status/100 != 3 && fail.reason != ReasonNotFound || strings.Contains(path, "?") {
		return e, fail
	}
	other := strings.TrimSuffix(path, "/")
	if other == path {
		other += "/"
	}
	w.mu.Lock()
	try := fail.status/100 == 3 || w.slashTries < maxSlashTries
	if fail.status/100 != 3 {
		w.slashTries++
	}
	w.mu.Unlock()
	if !try {
		return nil, fail
	}
	e, again := w.fetch(ctx, other, whole)
	if again != nil {
		return nil, fail
	}
	w.mu.Lock()
	w.slash = strings.HasSuffix(other, "/")
	w.mu.Unlock()
	return e, nil
}

// respelled gives a path with the letter case that its resource's parents are known by: there are
// services that link to /redfish/v1/systems/1/bios and mean /redfish/v1/Systems/1/bios. known is
// set when that resource was asked for already. Call with mu held.
func (w *walker) respelled(path string) (better string, known bool) {
	for parent := keyOf(path); parent != ""; parent = parentOf(parent) {
		spelling := w.folded[strings.ToLower(parent)]
		if spelling == "" {
			continue
		}
		if spelling == parent || len(spelling) != len(parent) || !strings.HasPrefix(path, parent) {
			return path, false
		}
		better = spelling + path[len(parent):]
		known = w.seen[keyOf(better)]
		w.seen[keyOf(better)] = true
		return better, known
	}
	return path, false
}

// lookup finds a resource by its key, in any letter case if need be.
func (w *walker) lookup(key string) *resource {
	if r := w.resources[key]; r != nil {
		return r
	}
	return w.resources[w.folded[strings.ToLower(key)]]
}

// expandMissed counts a $expand that brought nothing. Call with mu held.
func (w *walker) expandMissed() {
	w.expandMisses++
	if w.expandMisses >= 2 && w.expandHits == 0 || w.expandMisses >= 8 {
		w.expand = ""
	}
}

// failed takes in that an item could not be read. Call with mu held.
func (w *walker) failed(it item, f *failure) {
	if w.firstErr == nil {
		w.firstErr = f.err
	}
	if it.quiet && (f.reason == ReasonNotFound || it.guess && quietly[f.reason]) {
		return
	}
	w.note(it.path, f.reason, f.detail)
	switch f.reason {
	case ReasonPinChanged, ReasonTLS, ReasonBreaker, ReasonBudget:
		w.stop(f.reason)
	}
}

// quietly are failures of what was only taken for a link.
var quietly = map[string]bool{ReasonUnsupported: true, ReasonRejected: true, ReasonHTML: true, ReasonMalformed: true, ReasonForbidden: true}

// take adds a fetched resource and queues what it links to. Call with mu held.
func (w *walker) take(it item, e *cached, expanded bool) {
	if it.key == rootKey {
		w.takeRoot(e.v)
	}
	if settingsPath := settings(e.v, w.host); settingsPath != "" {
		w.settingsFound(it, settingsPath, e.v)
	}
	members := e.v.get("Members")
	if !members.exists() || members.isObject() && members.first("@odata.id", "href") != "" {
		w.add(it.key, e.v)
		w.followAll(it, e.links)
		w.noteBad(e.bad)
		return
	}
	if !members.isArray() && !members.isObject() {
		w.note(it.path, ReasonWrongType, "Members is not an array")
		return
	}
	if it.page == 0 {
		w.add(it.key, e.v)
	}
	w.collection(it, e, members, expanded)
}

// add keeps a resource for building. Call with mu held.
func (w *walker) add(key string, v value) {
	if _, twice := w.resources[key]; twice {
		return
	}
	r := &resource{key: key, kind: resourceType(v, key), v: v, got: w.opt.Now()}
	w.resources[key] = r
	w.folded[strings.ToLower(key)] = key
	switch r.kind {
	case "ServiceRoot", "Manager", "ComputerSystem":
		w.learn(w.factsFrom(w.facts, r))
	}
}

func (w *walker) takeRoot(v value) {
	w.expand = expandValue(v, w.profile)
}

func (w *walker) settingsFound(it item, path string, owner value) {
	key := keyOf(path)
	if key == it.key {
		return // settings that apply at once
	}
	w.pending[key] = true
	if w.opt.Scope == bmc.ScopeComplete && resourceType(owner, it.key) == "Bios" {
		w.biosLater[key] = true
		w.push(item{link: link{path: path, key: key, via: "Settings"}, rank: rankRest, depth: it.depth + 1})
	}
}

func (w *walker) noteBad(bad []badLink) {
	for _, b := range bad {
		if !w.seen[b.uri] {
			w.seen[b.uri] = true
			w.note(b.uri, b.reason, b.detail)
		}
	}
}

// followAll queues the wanted links. Call with mu held.
func (w *walker) followAll(it item, all []link) {
	if w.isPending(it.key) {
		return
	}
	for _, l := range all {
		if w.seen[l.key] || memberLike(l) {
			continue
		}
		if rank, ok := w.wants(l, it); ok && !l.guess {
			w.push(item{link: l, rank: rank, depth: it.depth + 1})
		}
	}
	for _, l := range all {
		// Plain strings come after everything else: what they lead to mostly has a real link somewhere.
		if l.guess && !w.seen[l.key] && w.opt.Scope == bmc.ScopeComplete && !w.skip.Match(l.key) {
			w.later = append(w.later, item{link: l, rank: rankRest, depth: it.depth + 1, quiet: true})
		}
	}
	for _, l := range all {
		if w.seen[l.key] || !memberLike(l) || l.guess {
			continue
		}
		rank, ok := w.wants(l, it)
		if !ok {
			continue
		}
		next := item{link: l, rank: rank, depth: it.depth + 1, member: true}
		switch collection := parentOf(l.key); {
		case w.seen[collection] && !w.done[collection]:
			w.waiting[collection] = append(w.waiting[collection], next)
		case l.aside:
			w.later = append(w.later, next)
		default:
			w.push(next)
		}
	}
}

// memberLike tells whether a link leads past a collection to one of its members. Such links wait:
// the collection may come expanded, with the member in it.
func memberLike(l link) bool {
	return l.via != "Members" && collectionTypes[lastSegment(parentOf(l.key))] != ""
}

// release queues the members that waited for a collection. Call with mu held.
func (w *walker) release(collection string) {
	w.done[collection] = true
	for _, it := range w.waiting[collection] {
		w.push(it)
	}
	delete(w.waiting, collection)
}

// releaseLater queues what waited until nothing else was left, and tells whether that was anything.
// Call with mu held.
func (w *walker) releaseLater() bool {
	all := w.later
	w.later = nil
	for _, it := range all {
		w.push(it)
	}
	for collection := range w.waiting { // never asked for: beyond the bounds
		w.release(collection)
	}
	return w.queue.Len() > 0
}

// isPending tells whether a path holds settings for the next boot, which are not hardware.
func (w *walker) isPending(key string) bool {
	return w.pending[key] || w.settings.Match(key)
}
