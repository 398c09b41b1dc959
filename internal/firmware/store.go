// Package firmware keeps firmware files by their SHA-256, and brings them to where BMCs can fetch
// them.
//
// Words
//
//   - Store: the control plane's folder of files (this file).
//   - Mirror: a site worker's copy: a file is fetched from the control plane when it is first needed
//     and served to BMCs over HTTP by its SHA-256 (mirror.go).
//
// A file is written under a temporary name, synced, compared and only then renamed to its SHA-256, so
// a crash at any line leaves either the whole file or none. Files are never changed. Store and Mirror
// are safe for concurrent use, also by several processes on one folder.
package firmware

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
)

// Store is a folder of files.
type Store struct {
	dir string
	max int64
}

// Open makes the folder when it is not there. max is the largest file in bytes.
func Open(dir string, max int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("firmware folder: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".incoming-*"))
	if err != nil {
		return nil, fmt.Errorf("firmware folder: %w", err)
	}
	for _, name := range left {
		// Another process may be writing one; what is a day old is a crash's.
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			os.Remove(name)
		}
	}
	return &Store{dir: dir, max: max}, nil
}

var shaForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s *Store) path(sum string) (string, error) {
	if !shaForm.MatchString(sum) {
		return "", fault.New(fault.Invalid, "sha256: %q: give 64 hexadecimal digits in small letters", sum)
	}
	return filepath.Join(s.dir, sum), nil
}

// Add stores a stream and gives its size. A stream with another SHA-256 than sum, or larger than the
// limit, is fault.BadImage, and nothing is kept. What is there already is success.
func (s *Store) Add(ctx context.Context, r io.Reader, sum string) (int64, error) {
	path, err := s.path(sum)
	if err != nil {
		return 0, err
	}
	tmp, err := os.CreateTemp(s.dir, ".incoming-*")
	if err != nil {
		return 0, fmt.Errorf("firmware: %w", err)
	}
	defer os.Remove(tmp.Name()) // gone already after the rename
	defer tmp.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, h), io.LimitReader(readerOf(ctx, r), s.max+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil:
		return 0, fault.Wrap(err, fault.BadImage, "the file broke off after %d bytes; nothing was kept", n)
	case n > s.max:
		return 0, fault.New(fault.BadImage, "the file is larger than %d MiB (firmware.max_mib); nothing was kept", s.max>>20)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return 0, fault.New(fault.BadImage, "the file's SHA-256 is %s, not %s; nothing was kept", got, sum)
	}
	if err := errors.Join(tmp.Sync(), tmp.Close(), os.Rename(tmp.Name(), path), syncDir(s.dir)); err != nil {
		return 0, fmt.Errorf("firmware: keep %s: %w", sum, err)
	}
	return n, nil
}

// Open gives a file; fault.NotFound when it is not there.
func (s *Store) Open(sum string) (io.ReadSeekCloser, error) {
	path, err := s.path(sum)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		e := fault.New(fault.NotFound, "firmware file %s is not in the store's folder", sum)
		e.Remedy = "add it again: `cagenut firmware add FILE`"
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("firmware: %w", err)
	}
	return f, nil
}

// Verify reads a file and compares its SHA-256; fault.BadImage when it differs or is missing.
func (s *Store) Verify(ctx context.Context, sum string) error {
	f, err := s.Open(sum)
	if err != nil {
		if e := fault.From(err); e.Code == fault.NotFound {
			return fault.New(fault.BadImage, "%s", e.Message)
		}
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, readerOf(ctx, f)); err != nil {
		return fmt.Errorf("firmware: read %s: %w", sum, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fault.New(fault.BadImage, "firmware file %s has the SHA-256 %s: it was changed or is damaged", sum, got)
	}
	return nil
}

// Remove deletes a file. One that is not there is success.
func (s *Store) Remove(sum string) error {
	path, err := s.path(sum)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("firmware: %w", err)
	}
	return nil
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readerOf is r until the context ends.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
