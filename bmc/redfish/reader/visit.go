package reader

import (
	"context"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

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
