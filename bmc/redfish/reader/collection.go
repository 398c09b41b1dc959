package reader

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// collection takes in one page of a collection. Call with mu held.
func (w *walker) collection(it item, e *cached, members value, expanded bool) {
	owner := it.key
	if it.page > 0 {
		owner = it.owner
	}
	from := it
	from.key = owner
	var bare []link
	full, over := 0, false
	at := -1
	members.each(func(_ string, m value) bool {
		at++
		if w.members[owner] >= w.opt.Bounds.Members {
			over = true
			return false
		}
		w.members[owner]++
		if !m.isObject() {
			w.note(owner, ReasonWrongType, "a member is not an object")
			return true
		}
		ref := m.first("@odata.id", "href")
		path, reason := "", ReasonMalformed
		if ref != "" {
			path, reason = resolve(ref, w.host)
		}
		if whole(m, expanded) {
			full++
			key := keyOf(path)
			if reason != "" {
				key = owner + "/" + m.first("Id", "MemberId")
			}
			w.member(key, m, it.depth)
			return true
		}
		if m.len() > 1 || ref == "" && m.len() > 0 {
			w.summary(fmt.Sprintf("%s#/Members/%d/%d", owner, it.page, at), m)
		}
		if ref == "" && m.len() > 0 {
			return true // all there is of it
		}
		if reason != "" {
			w.note(clip(ref, 300), reason, "member of "+owner)
			return true
		}
		bare = append(bare, link{path: path, key: keyOf(path), via: "Members"})
		return true
	})
	if expanded {
		switch {
		case full > 0:
			w.expandHits++
		case len(bare) > 0:
			w.expandMissed()
		}
	}
	if isLog(it, owner, e.v) && len(bare) > w.opt.Bounds.LogEntries {
		bare = newest(bare, w.opt.Bounds.LogEntries)
	}
	for _, l := range bare {
		if rank, ok := w.wants(l, from); ok {
			w.push(item{link: l, rank: rank, depth: it.depth + 1, member: true})
		}
	}
	// Links beside Members and inside whole members; those to members were seen to above.
	rest := make([]link, 0, len(e.links))
	for _, l := range e.links {
		if l.via != "Members" || members.len() == 0 { // old services have their members in links
			rest = append(rest, l)
		}
	}
	w.followAll(from, rest)
	w.noteBad(e.bad)
	if over {
		w.note(owner, ReasonEndless, fmt.Sprintf("more than %d members", w.opt.Bounds.Members))
		return
	}
	w.nextPage(it, owner, e.v)
}

// member takes in a member that came with its collection. Its links are among the collection's.
func (w *walker) member(key string, m value, depth int) {
	w.seen[key] = true
	if settingsPath := settings(m, w.host); settingsPath != "" {
		w.settingsFound(item{link: link{key: key}, depth: depth + 1}, settingsPath, m)
	}
	w.add(key, m)
}

// summaryKind is the type of what a collection tells of a member beside the link to it. No part is made
// of it, but a serial that stands nowhere else is not lost: the link may lead to nothing.
const summaryKind = "#summary"

func (w *walker) summary(key string, m value) {
	w.resources[key] = &resource{key: key, kind: summaryKind, v: m, got: w.opt.Now()}
}

// nextLink gives a collection's next page, which some write in their own way.
func nextLink(v value) string {
	if ref := v.first("Members@odata.nextLink", "@odata.nextLink"); ref != "" {
		return ref
	}
	ref := ""
	v.each(func(name string, child value) bool {
		if n := len(name) - len("nextLink"); n >= 0 && strings.EqualFold(name[n:], "nextLink") {
			ref = child.str()
			if child.isObject() {
				ref = child.first("@odata.id", "href")
			}
		}
		return ref == ""
	})
	return ref
}

// whole tells whether a member stands in its collection with all its properties: always asked
// before trusting $expand. Without $expand a service may list summaries, so more is wanted then.
func whole(m value, expanded bool) bool {
	properties := 0
	m.each(func(name string, _ value) bool {
		if name[:min(1, len(name))] != "@" && name != "href" && name != "links" {
			properties++
		}
		return true
	})
	if expanded {
		return properties >= 2
	}
	return properties >= 5 && m.get("@odata.type").isString() && m.get("Id").isString()
}

func isLog(it item, owner string, v value) bool {
	return lastSegment(owner) == "Entries" || it.via == "Entries" || typeName(v) == "LogEntryCollection"
}

// newest keeps the n log entries with the highest numbers. Where entries have no numbers, it keeps
// the first ones, which is where services that page put the newest.
func newest(entries []link, n int) []link {
	number := func(l link) int {
		i, err := strconv.Atoi(lastSegment(l.key))
		if err != nil {
			return -1
		}
		return i
	}
	slices.SortStableFunc(entries, func(a, b link) int { return number(b) - number(a) })
	return entries[:n]
}

// nextPage queues a collection's next page. Logs are read one page each.
func (w *walker) nextPage(it item, owner string, v value) {
	ref := nextLink(v)
	if isLog(it, owner, v) {
		return
	}
	if ref == "" {
		if says := int(v.get("Members@odata.count").integer()); it.page == 0 && says > v.get("Members").len() {
			w.note(owner, ReasonTruncated, fmt.Sprintf("says that it has %d members and lists %d", says, v.get("Members").len()))
		}
		return
	}
	path, reason := resolve(ref, w.host)
	switch {
	case reason != "":
		w.note(clip(ref, 300), reason, "next page of "+owner)
	case w.seen[path] || !strings.Contains(path, "?") && keyOf(path) == owner:
		w.note(path, ReasonCyclic, "the next page of "+owner+" was read before")
	case it.page+1 >= w.opt.Bounds.Pages:
		w.note(path, ReasonEndless, fmt.Sprintf("%s has more than %d pages", owner, w.opt.Bounds.Pages))
	default:
		w.push(item{link: link{path: path, key: keyOf(path), via: it.via}, rank: it.rank, depth: it.depth, page: it.page + 1, owner: owner})
	}
}
