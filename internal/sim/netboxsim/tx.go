package netboxsim

import (
	"crypto/rand"
	"maps"
	"slices"
	"time"
)

// tx is what one request reads and changes. Reads see the transaction's own changes.
type tx struct {
	state   *state
	user    *object // nil: the server itself
	reads   bool    // the token may not write
	base    string  // scheme and host for URLs
	now     time.Time
	request string                       // random, the same in all rows of the changelog that one request makes
	dirty   map[string]map[int64]*object // nil object: deleted
	last    map[string]int64
}

func (s *Server) begin(user *object) *tx {
	now := s.clock().UTC().Truncate(time.Microsecond)
	if !now.After(s.state.now) { // two changes never have the same time: ETags are made of it
		now = s.state.now.Add(time.Microsecond)
	}
	return &tx{state: s.state, user: user, now: now, request: rand.Text(), dirty: map[string]map[int64]*object{}, last: map[string]int64{}}
}

// commit makes a transaction durable, then visible.
func (s *Server) commit(t *tx) error {
	e := entry{Last: t.last}
	for _, kind := range slices.Sorted(maps.Keys(t.dirty)) {
		for _, id := range slices.Sorted(maps.Keys(t.dirty[kind])) {
			if o := t.dirty[kind][id]; o != nil {
				e.Put = append(e.Put, o)
			} else {
				e.Drop = append(e.Drop, dropped{kind, id})
			}
		}
	}
	if len(e.Put)+len(e.Drop) == 0 {
		return nil
	}
	if s.store != nil {
		if err := s.store.append(e); err != nil {
			return err
		}
	}
	s.state.apply(e)
	return nil
}

func (t *tx) kind(path string) *kind { return t.state.kinds[path] }

// model gives the kind of a model such as dcim.device, nil when the server does not have it.
func (t *tx) model(name string) *kind { return t.state.models[name] }

// get gives an object, nil when there is none. It must not be changed: see edit.
func (t *tx) get(kind string, id int64) *object {
	if o, ok := t.dirty[kind][id]; ok {
		return o
	}
	return t.state.objects[kind][id]
}

// edit gives a copy of an object that may be changed; the change belongs to the transaction.
func (t *tx) edit(kind string, id int64) *object {
	o := t.get(kind, id)
	if o == nil {
		return nil
	}
	if _, ok := t.dirty[kind][id]; !ok {
		o = &object{ID: o.ID, Kind: o.Kind, Created: o.Created, Updated: o.Updated, Data: maps.Clone(o.Data)}
		t.mark(o.Kind, o.ID, o)
	}
	o.Updated = t.now
	return o
}

// put adds an object and gives it an ID.
func (t *tx) put(o *object) *object {
	t.last[o.Kind] = max(t.last[o.Kind], t.state.last[o.Kind]) + 1
	o.ID, o.Created, o.Updated = t.last[o.Kind], t.now, t.now
	t.mark(o.Kind, o.ID, o)
	return o
}

func (t *tx) drop(kind string, id int64) { t.mark(kind, id, nil) }

func (t *tx) mark(kind string, id int64, o *object) {
	if t.dirty[kind] == nil {
		t.dirty[kind] = map[int64]*object{}
	}
	t.dirty[kind][id] = o
}

// all lists a kind by ID.
func (t *tx) all(kind string) []*object {
	var out []*object
	for id, o := range t.state.objects[kind] {
		if _, changed := t.dirty[kind][id]; !changed {
			out = append(out, o)
		}
	}
	for _, o := range t.dirty[kind] {
		if o != nil {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, byID)
	return out
}

// ref is a field's value as an ID, 0 when it is none.
func (o *object) ref(field string) int64 { return number(o.Data[field]) }

func (o *object) str(field string) string { s, _ := o.Data[field].(string); return s }

// number reads an integer as it was set (int64) or as it came from JSON (float64).
func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}
