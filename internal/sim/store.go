package sim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// store is the box's memory on disk: one file of records, each the whole new state of a machine
// together with the journal entries of the same change. A record is on disk before the answer that
// it belongs to is sent. Many changes share one fsync.
//
// A half-written last record is what a kill leaves; it belongs to an answer that was never sent,
// and is cut off when the file is opened.
type store struct {
	path  string
	limit int64 // the file is written anew when it has grown by so much

	mu      sync.Mutex
	cond    *sync.Cond
	queue   []byte
	queued  int64 // records handed to the queue so far
	written int64 // records on disk so far
	err     error // the first failure; nothing is accepted after it
	closed  bool
	done    chan struct{}
	file    *os.File
	// What a new file would hold: all that was ever put.
	states  map[string]json.RawMessage
	entries []Entry
}

// record is one line of the file.
type record struct {
	Machine string          `json:"machine"`
	State   json.RawMessage `json:"state,omitempty"`
	Entries []Entry         `json:"entries,omitempty"`
}

// growth is how much a store's file may grow before superseded states are thrown out, in bytes.
const growth = 64 << 20

// openStore reads the file, writes it anew without superseded states, and starts the writer.
func openStore(path string, limit int64) (*store, map[string]json.RawMessage, []Entry, error) {
	states, entries, err := readStore(path)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := compact(path, states, entries); err != nil {
		return nil, nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open the box's state: %w", err)
	}
	s := &store{
		path: path, limit: limit, file: f, done: make(chan struct{}), states: states, entries: entries,
	}
	s.cond = sync.NewCond(&s.mu)
	go s.run()
	return s, maps.Clone(states), slices.Clone(entries), nil
}

func readStore(path string) (map[string]json.RawMessage, []Entry, error) {
	states := map[string]json.RawMessage{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return states, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open the box's state: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	var entries []Entry
	in := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return states, entries, nil // what is left of line was never answered
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the box's state %s: %w", path, err)
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, nil, fmt.Errorf("the box's state %s is damaged in line %d: %w; remove the folder to start afresh", path, n, err)
		}
		if r.State != nil {
			states[r.Machine] = r.State
		}
		entries = append(entries, r.Entries...)
	}
}

// compact replaces the file by an equal one with one state for each machine.
func compact(path string, states map[string]json.RawMessage, entries []Entry) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "state-*.tmp")
	if err != nil {
		return fmt.Errorf("write the box's state: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // fails after the rename, as it should
	defer func() { _ = tmp.Close() }()           // synced before
	out := bufio.NewWriter(tmp)
	enc := json.NewEncoder(out)
	err = enc.Encode(record{Entries: entries})
	for name, st := range states {
		err = errors.Join(err, enc.Encode(record{Machine: name, State: st}))
	}
	err = errors.Join(err, out.Flush(), tmp.Sync(), os.Rename(tmp.Name(), path), syncDir(filepath.Dir(path)))
	if err != nil {
		return fmt.Errorf("write the box's state %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only synced
	return d.Sync()
}

// put queues a record and gives the number to wait for. The caller keeps a machine's records in
// order by holding the machine's lock.
func (s *store) put(r record) int64 {
	line, err := json.Marshal(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("encode the state of %s: %w", r.Machine, err)
	}
	if s.closed && s.err == nil {
		s.err = errors.New("the box is closed")
	}
	s.queue = append(append(s.queue, line...), '\n')
	if r.State != nil {
		s.states[r.Machine] = r.State
	}
	s.entries = append(s.entries, r.Entries...)
	s.queued++
	s.cond.Broadcast()
	return s.queued
}

// wait returns when record n is on disk.
func (s *store) wait(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.written < n && s.err == nil {
		s.cond.Wait()
	}
	return s.err
}

func (s *store) run() {
	defer close(s.done)
	grown := int64(0)
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed && s.err == nil {
			s.cond.Wait()
		}
		if s.err != nil || len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		batch, upTo := s.queue, s.queued
		s.queue = nil
		var states map[string]json.RawMessage
		var entries []Entry
		if grown += int64(len(batch)); grown > s.limit {
			states, entries = maps.Clone(s.states), s.entries // with all of the batch
		}
		s.mu.Unlock()

		var err error
		if states != nil {
			grown = 0
			err = s.renew(states, entries)
		} else if _, err = s.file.Write(batch); err == nil {
			err = s.file.Sync()
		}

		s.mu.Lock()
		if err != nil {
			s.err = fmt.Errorf("write the box's state %s: %w", s.path, err)
		} else {
			s.written = upTo
		}
		s.cond.Broadcast()
		s.mu.Unlock()
	}
}

// renew replaces the file by one without superseded states.
func (s *store) renew(states map[string]json.RawMessage, entries []Entry) error {
	if err := compact(s.path, states, entries); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	old := s.file
	s.file = f
	return old.Close()
}

// close writes what is queued and closes the file.
func (s *store) close() error {
	s.mu.Lock()
	s.closed = true
	s.cond.Broadcast()
	s.mu.Unlock()
	<-s.done
	return errors.Join(s.err, s.file.Close())
}
