package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// fetchWait is how long to wait for another process that downloads PostgreSQL.
const fetchWait = 5 * time.Minute

// acquire takes the lock of a cluster, waiting for a server that is being stopped. The lock belongs
// to the open file, so the kernel frees it when the last process that holds the file has ended.
func acquire(ctx context.Context, name string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pgdev: lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("pgdev: lock %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("pgdev: %s is in use by another process: stop that one, or choose another folder",
				filepath.Dir(name))
		case <-tick.C:
		}
	}
}

// RemoveStale removes the clusters that match a pattern and that nobody holds: what is left when a
// test and its keeper were both killed. Clusters in use are left alone.
func RemoveStale(ctx context.Context, pattern string) error {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("pgdev: pattern %q: %w", pattern, err)
	}
	var errs []error
	for _, dir := range dirs {
		// Young folders may belong to a process that has not taken its lock yet.
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := acquire(ctx, filepath.Join(dir, "lock"), time.Nanosecond)
		if err != nil {
			continue
		}
		c := &cluster{o: Options{DataDir: dir}, data: filepath.Join(dir, "pgdata"), as: serverUser()}
		if c.version() != "" {
			if c.bin, err = installed(ctx, c.version()); err == nil {
				err = c.endLeftover(ctx)
			}
		}
		errs = append(errs, err, os.RemoveAll(dir), lock.Close())
	}
	return errors.Join(errs...)
}
