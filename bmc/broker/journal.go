package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

const journalSuffix = ".sessions"

// session is one that may exist on the BMC.
type session struct {
	n    int
	at   time.Time
	user string
	uri  string // empty: asked for, and the answer never seen
	key  key
}

// key is what a later process needs to give a session back without the password: the session's own
// token, which may delete it (DSP0266 13.3.4.6) and is worth nothing afterwards, the certificate that
// was shown to us then, and how the BMC was spoken to.
type key struct {
	Token string `json:"token,omitempty"`
	Pin   string `json:"pin,omitempty"`
	TLS   OldTLS `json:"tls,omitzero"`
}

// record is one line of a journal. A session goes asked -> open -> closed; a crash between asked
// and open leaves one whose URI is unknown.
type record struct {
	N       int       `json:"n"`
	Event   string    `json:"event"` // asked, open, closed
	At      time.Time `json:"at"`
	Address string    `json:"address,omitempty"`
	User    string    `json:"user,omitempty"`
	URI     string    `json:"uri,omitempty"`
	key
}

// journal counts the sessions that we may hold on one BMC, in a file when there is a state folder.
// The file is locked for as long as it is open: two processes cannot share a state folder.
type journal struct {
	host string

	mu   sync.Mutex
	file *os.File // nil: in memory only
	next int
	held map[int]session
}

// openJournal opens or makes the journal of a BMC. Lines that a crash cut short are left out: they
// were never acted upon, since every line is on disk before its effect is begun.
func openJournal(dir, host string) (*journal, error) {
	j := &journal{host: host, held: map[int]session{}}
	if dir == "" {
		return j, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("session journal of %s: %w", host, err)
	}
	path := filepath.Join(dir, journalName(host))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("session journal of %s: %w", host, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("session journal %s is in use by another process or pool: give each its own state folder: %w", path, err)
	}
	recs, err := readJournal(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("session journal %s: %w", path, err)
	}
	for _, r := range recs {
		j.next = max(j.next, r.N)
		switch r.Event {
		case "asked", "open":
			j.held[r.N] = session{n: r.N, at: r.At, user: r.User, uri: r.URI, key: r.key}
		case "closed":
			delete(j.held, r.N)
		}
	}
	// Written anew, so that a half line at the end cannot swallow the next record.
	j.file = f
	if err := j.rewrite(); err != nil {
		f.Close()
		return nil, fmt.Errorf("session journal %s: %w", path, err)
	}
	return j, nil
}

func journalName(host string) string {
	return strings.NewReplacer(":", "_", "[", "", "]", "", "%", "_").Replace(host) + journalSuffix
}

func readJournal(r io.Reader) ([]record, error) {
	all, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return nil, err
	}
	var recs []record
	for line := range bytes.Lines(all) {
		var rec record
		if json.Unmarshal(line, &rec) == nil && rec.N > 0 {
			recs = append(recs, rec)
		}
	}
	return recs, nil
}

// rewrite leaves only what is held. The old lines stay until the new ones are on disk: the new
// content is appended, synced, and only then is the file cut when nothing is held.
func (j *journal) rewrite() error {
	if len(j.held) == 0 {
		if err := j.file.Truncate(0); err != nil {
			return err
		}
		_, err := j.file.Seek(0, io.SeekStart)
		return err
	}
	end, err := j.file.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return err
	}
	_, err = j.file.Write([]byte("\n"))
	return err
}

func (j *journal) append(r record) error {
	if j.file == nil {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err = j.file.Write(append(line, '\n')); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("session journal of %s: %w", j.host, err)
	}
	return nil
}

// ask records that a session will be asked for. It refuses when two may exist already.
func (j *journal) ask(at time.Time, user string) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.held) >= maxSessions {
		unanswered := 0
		for _, s := range j.held {
			if s.uri == "" {
				unanswered++
			}
		}
		if unanswered == len(j.held) {
			return 0, &bmc.Error{Kind: bmc.ErrUnreachable, Op: "open a session", Host: j.host,
				Detail: fmt.Sprintf("it answered none of %d requests for one; each may have made a session that ends by itself", unanswered)}
		}
		return 0, &bmc.Error{Kind: bmc.ErrBusy, Op: "open a session", Host: j.host,
			Detail: fmt.Sprintf("%d sessions of ours are still open there and could not be closed", len(j.held))}
	}
	n := j.next + 1
	if err := j.append(record{N: n, Event: "asked", At: at, Address: j.host, User: user}); err != nil {
		return 0, err
	}
	j.next = n
	j.held[n] = session{n: n, at: at, user: user}
	return n, nil
}

func (j *journal) opened(n int, at time.Time, uri string, k key) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.held[n]
	s.uri, s.key = uri, k
	j.held[n] = s
	return j.append(record{N: n, Event: "open", At: at, Address: j.host, User: s.user, URI: uri, key: k})
}

func (j *journal) closed(n int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.held[n]; !ok {
		return nil
	}
	delete(j.held, n)
	if j.file != nil && len(j.held) == 0 {
		return j.rewrite()
	}
	return j.append(record{N: n, Event: "closed"})
}

// others are the held sessions that no Conn in this process uses.
func (j *journal) others(used map[int]bool) []session {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []session
	for n, s := range j.held {
		if !used[n] {
			out = append(out, s)
		}
	}
	return out
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	f := j.file
	j.file = nil
	return f.Close()
}

// leftBehind lists the addresses in dir whose journals hold sessions.
func leftBehind(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), journalSuffix) {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		recs, err := readJournal(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		held, host := map[int]bool{}, ""
		for _, r := range recs {
			if r.Address != "" {
				host = r.Address
			}
			held[r.N] = r.Event != "closed"
			if !held[r.N] {
				delete(held, r.N)
			}
		}
		if len(held) > 0 && host != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}
