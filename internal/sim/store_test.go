package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The file stays small, and what was put is there after opening it again.
func TestStoreThrowsOutSupersededStates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.jsonl")
	s, _, _, err := openStore(path, 4000)
	if err != nil {
		t.Fatal(err)
	}
	const machines, puts = 4, 100
	var wg sync.WaitGroup
	for m := range machines {
		wg.Go(func() {
			name := fmt.Sprint("m", m)
			for i := range puts {
				n := s.put(record{Machine: name, State: json.RawMessage(fmt.Sprint(i)), Entries: []Entry{{Seq: int64(m*puts + i + 1), Machine: name}}})
				if err := s.wait(n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	states, entries, err := readStore(path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, st := range states {
		got[name] = string(st)
	}
	if diff := cmp.Diff(map[string]string{"m0": "99", "m1": "99", "m2": "99", "m3": "99"}, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	seen := map[int64]bool{}
	for _, e := range entries {
		if seen[e.Seq] {
			t.Errorf("entry %d twice", e.Seq)
		}
		seen[e.Seq] = true
	}
	if len(seen) != machines*puts {
		t.Errorf("entries: %d, want %d", len(seen), machines*puts)
	}
	if one := len(`{"machine":"m0","state":99}`); len(raw) > 4000+machines*puts*(100+one) {
		t.Errorf("the file has %d bytes", len(raw))
	}
	if s.wait(s.put(record{Machine: "m0"})) == nil {
		t.Error("a closed store took a record")
	}
}
