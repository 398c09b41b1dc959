package ansible

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whoever waits for a host's lock waits no longer than its caller does.
func TestALockEndsWithItsContext(t *testing.T) {
	d := &Driver{o: Options{Dir: t.TempDir()}}
	if err := os.Mkdir(filepath.Join(d.o.Dir, "hosts"), 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := d.lock(t.Context(), "test", "web-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockLook)
	defer cancel()
	if _, err := d.lock(ctx, "test", "web-1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held lock: %v, want the deadline's error", err)
	}
	time.AfterFunc(3*lockLook, func() { _ = held.Close() })
	got, err := d.lock(t.Context(), "test", "web-1")
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Close()
}
