package netboxsim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// object is one row. Data has the writable fields; a reference is the other object's ID.
type object struct {
	ID      int64          `json:"id"`
	Kind    string         `json:"kind"`
	Created time.Time      `json:"created"`
	Updated time.Time      `json:"updated"`
	Data    map[string]any `json:"data"`
}

// state is everything that the server knows.
type state struct {
	kinds   map[string]*kind                        // by path
	models  map[string]*kind                        // by model
	objects map[string]map[int64]*object            // by kind and ID
	index   map[string]map[string]map[int64]*object // by kind, key and ID: see index.go
	last    map[string]int64                        // the highest ID ever given, by kind: IDs are not used again
	now     time.Time                               // the time of the last change: times only go up
}

func newState() *state {
	s := &state{kinds: map[string]*kind{}, models: map[string]*kind{}, objects: map[string]map[int64]*object{}, index: map[string]map[string]map[int64]*object{}, last: map[string]int64{}}
	for _, k := range kinds() {
		s.kinds[k.path], s.models[k.model] = k, k
	}
	return s
}

// entry is one line of the journal.
type entry struct {
	Last map[string]int64 `json:"last,omitempty"`
	Put  []*object        `json:"put,omitempty"`
	Drop []dropped        `json:"drop,omitempty"`
}

type dropped struct {
	Kind string `json:"kind"`
	ID   int64  `json:"id"`
}

func (s *state) apply(e entry) {
	for kind, id := range e.Last {
		s.last[kind] = max(s.last[kind], id)
	}
	for _, o := range e.Put {
		if s.objects[o.Kind] == nil {
			s.objects[o.Kind] = map[int64]*object{}
		}
		s.leave(s.objects[o.Kind][o.ID])
		s.objects[o.Kind][o.ID] = o
		s.enter(o)
		s.last[o.Kind] = max(s.last[o.Kind], o.ID)
		if o.Updated.After(s.now) {
			s.now = o.Updated
		}
	}
	for _, d := range e.Drop {
		s.leave(s.objects[d.Kind][d.ID])
		delete(s.objects[d.Kind], d.ID)
	}
}

// store is the journal on disk.
type store struct {
	file *os.File
	size int64
}

// openStore reads the journal of a folder into s and rewrites it as one line, so that it does not
// grow for ever. The rewrite is complete under another name before it takes the journal's place.
func openStore(dir string, s *state) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "netbox.journal")
	if err := replay(path, s); err != nil {
		return nil, err
	}
	whole := entry{Last: s.last}
	for _, kind := range s.objects {
		for _, o := range kind {
			whole.Put = append(whole.Put, o)
		}
	}
	slices.SortFunc(whole.Put, func(a, b *object) int { return a.Updated.Compare(b.Updated) })
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	st := &store{file: f}
	err = st.append(whole)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return st, nil
}

func replay(path string, s *state) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	for r, n := bufio.NewReaderSize(f, 1<<20), 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what stands after the last newline was cut by a kill, and never answered
		}
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s line %d: %w; move the file away to start empty", path, n, err)
		}
		s.apply(e)
	}
}

// append puts one transaction on disk. After a failure the journal is as it was.
func (st *store) append(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err = st.file.WriteAt(line, st.size); err == nil {
		err = st.file.Sync()
	}
	if err != nil {
		return errors.Join(err, st.file.Truncate(st.size))
	}
	st.size += int64(len(line))
	return nil
}

func (st *store) close() error { return st.file.Close() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
