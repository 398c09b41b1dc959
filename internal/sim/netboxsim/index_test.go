package netboxsim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The index is what a look at every object would give, whatever came, changed and went.
func TestIndexFollows(t *testing.T) {
	s := newState()
	const path = "dcim/interfaces/"
	for range 500 {
		e := entry{}
		for range 1 + rand.IntN(3) {
			id := int64(1 + rand.IntN(20))
			if rand.IntN(3) == 0 {
				e.Drop = append(e.Drop, dropped{path, id})
				continue
			}
			e.Put = append(e.Put, &object{ID: id, Kind: path, Data: map[string]any{
				"device": int64(rand.IntN(4)), "name": string(rune('a' + rand.IntN(3))), "lag": float64(rand.IntN(3))}})
		}
		s.apply(e)
	}
	seen := func(index map[string]map[int64]*object) map[string][]int64 {
		out := map[string][]int64{}
		for key, objects := range index {
			out[key] = slices.Sorted(maps.Keys(objects))
		}
		return out
	}
	anew := newState()
	for _, o := range s.objects[path] {
		anew.enter(o)
	}
	if diff := cmp.Diff(seen(anew.index[path]), seen(s.index[path])); diff != "" || len(s.index[path]) == 0 {
		t.Errorf("index (-want +got):\n%s", diff)
	}
}
