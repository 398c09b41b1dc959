package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cagenut/cagenut/internal/atomicfile"
	"github.com/cagenut/cagenut/internal/fault"
)

// File keeps each record in a file of its own, readable by its owner only. A change is written to a
// new file, flushed and renamed, so a reader or a crash sees the old or the new one, whole.
type File struct{ dir string }

// NewFile uses a folder, which is made when it is missing. A folder that others may read is refused.
func NewFile(dir string) (*File, error) {
	if dir == "" {
		return nil, fault.New(fault.Invalid, "secrets folder is empty: set secrets.dir")
	}
	for _, d := range []string{dir, filepath.Join(dir, "bmc"), filepath.Join(dir, "mac")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "secrets folder: %v", err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "secrets folder: %v", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "secrets folder %s has mode %04o: others may look into it; chmod 0700 it", dir, mode)
	}
	return &File{dir: dir}, nil
}

// path is the file of a reference. Characters that mean something to a file system are escaped.
func (f *File) path(ref string) (string, error) {
	kind, name, ok := strings.Cut(ref, "/")
	if !ok || (kind != "bmc" && kind != "mac") || name == "" || len(name) > 80 {
		return "", fault.New(fault.Invalid, "secret reference %q: want bmc/<SERIAL> or mac/<MAC>, at most 80 characters", ref)
	}
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return filepath.Join(f.dir, kind, b.String()+".json"), nil
}

// Get reads a record.
func (f *File) Get(_ context.Context, ref string) (Record, error) {
	path, err := f.path(ref)
	if err != nil {
		return Record{}, err
	}
	return read(ref, path)
}

func read(ref, path string) (Record, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fault.Wrap(err, fault.Internal, "secret %s: %v", ref, err)
	}
	var r Record
	if err := json.Unmarshal(raw, &r); err != nil {
		// The decoder's own message may quote the content.
		return Record{}, fault.New(fault.Internal, "secret %s: %s is not what was written there: restore it", ref, path)
	}
	return r, nil
}

// Update changes a record under the folder's lock, which other processes respect too.
func (f *File) Update(_ context.Context, ref string, change func(Record) (Record, error)) error {
	path, err := f.path(ref)
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(f.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "secrets folder: %v", err)
	}
	defer lock.Close() // frees the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fault.Wrap(err, fault.Internal, "secrets folder: lock: %v", err)
	}
	old, err := read(ref, path)
	if err != nil {
		return err
	}
	next, err := change(old.clone())
	if err != nil {
		return err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return fault.New(fault.Internal, "secret %s: cannot be encoded", ref)
	}
	after, err := json.Marshal(next)
	if err != nil {
		return fault.New(fault.Internal, "secret %s: cannot be encoded", ref)
	}
	if bytes.Equal(before, after) {
		return nil
	}
	if err := atomicfile.Write(path, after); err != nil {
		return fault.Wrap(err, fault.Internal, "secret %s: %v", ref, err)
	}
	return nil
}

// Has looks for the files.
func (f *File) Has(ctx context.Context, refs []string) (map[string]bool, error) {
	out := make(map[string]bool, len(refs))
	for _, ref := range refs {
		r, err := f.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		out[ref] = !r.empty()
	}
	return out, nil
}
