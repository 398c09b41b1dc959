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

// lookup finds a resource by its key, in any letter case if need be.
func (w *walker) lookup(key string) *resource {
	if r := w.resources[key]; r != nil {
		return r
	}
	return w.resources[w.folded[strings.ToLower(key)]]
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
