package postgres_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/postgres"
)

// A PostgreSQL that is away is named with its address and the cause, and without what is secret.
func TestAwaySaysWhereAndWhy(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shut := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	closing, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	go func() {
		for {
			c, err := closing.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		url  string
		want []string
	}{
		"nobody listens": {"postgres://u:hush@" + shut + "/d", []string{"PostgreSQL does not answer at " + shut + ": connection refused"}},
		"two hosts":      {"postgres://u:hush@" + shut + ",127.0.0.2:1/d", []string{"at " + shut + ", 127.0.0.2:1: connection refused"}},
		"no socket": {"postgres://u:hush@/d?host=" + dir + "&port=5432",
			[]string{"at " + filepath.Join(dir, ".s.PGSQL.5432") + ": no such file or directory"}},
		"it closes": {"postgres://u:hush@" + closing.Addr().String() + "/d?sslmode=disable", []string{"at " + closing.Addr().String() + ": "}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := postgres.Open(t.Context(), tc.url)
			f := fault.From(err)
			if err == nil || f.Code != fault.StoreAway || strings.Contains(f.Message, "hush") {
				t.Fatalf("got %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(f.Message, want) {
					t.Errorf("got %q, want it to contain %q", f.Message, want)
				}
			}
		})
	}
}
