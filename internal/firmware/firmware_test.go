package firmware

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/cagenut/cagenut/internal/fault"
)

var image = bytes.Repeat([]byte("firmware"), 1000)

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "fw"), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func files(t *testing.T, s *Store) int {
	t.Helper()
	list, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestAFileIsKeptWholeOrNotAtAll(t *testing.T) {
	for name, tc := range map[string]struct {
		body io.Reader
		sum  string
		want fault.Code
	}{
		"another SHA-256": {bytes.NewReader(image), sumOf([]byte("x")), fault.BadImage},
		"too large":       {io.MultiReader(bytes.NewReader(image), strings.NewReader("x")), sumOf(append(image[:len(image):len(image)], 'x')), fault.BadImage},
		"broken off":      {io.MultiReader(bytes.NewReader(image[:100]), iotest.ErrReader(errors.New("reset"))), sumOf(image), fault.BadImage},
		"no SHA-256":      {bytes.NewReader(image), "../../etc/passwd", fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if _, err := s.Add(t.Context(), tc.body, tc.sum); fault.From(err).Code != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if n := files(t, s); n != 0 {
				t.Errorf("%d files were left", n)
			}
		})
	}
	s := open(t)
	for range 2 {
		if n, err := s.Add(t.Context(), bytes.NewReader(image), sumOf(image)); err != nil || n != int64(len(image)) {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if n := files(t, s); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
}

func TestDamageAndLossAreSeen(t *testing.T) {
	s := open(t)
	sum := sumOf(image)
	if err := s.Verify(t.Context(), sum); fault.From(err).Code != fault.BadImage {
		t.Errorf("missing: got %v", err)
	}
	if _, err := s.Add(t.Context(), bytes.NewReader(image), sum); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), sum); err != nil {
		t.Errorf("whole: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, sum), image[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), sum); fault.From(err).Code != fault.BadImage {
		t.Errorf("damaged: got %v", err)
	}
}

// slowOrigin answers when it is told to.
type slowOrigin struct {
	body  []byte
	calls atomic.Int64
	open  chan struct{}
}

func (o *slowOrigin) DownloadFirmware(ctx context.Context, _ string, _ int64) (io.ReadCloser, error) {
	o.calls.Add(1)
	<-o.open
	return io.NopCloser(bytes.NewReader(o.body)), nil
}

func TestAMirrorFetchesOnceAndServesByHash(t *testing.T) {
	origin := &slowOrigin{body: image, open: make(chan struct{})}
	m, err := NewMirror(t.TempDir(), int64(len(image)), origin, "http://site/")
	if err != nil {
		t.Fatal(err)
	}
	sum := sumOf(image)
	srv := httptest.NewServer(m.Handler())
	defer srv.Close()
	if code, _ := fetch(t, srv.URL+"/firmware/"+sum+"/a.bin"); code != http.StatusNotFound {
		t.Errorf("before it was needed: HTTP %d, want 404", code)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.URL(gone, sum, "a.bin", "10.0.0.1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if u, err := m.URL(t.Context(), sum, "a b.bin", "10.0.0.1"); err != nil || u != "http://site/firmware/"+sum+"/a%20b.bin" {
				t.Errorf("got %q, %v", u, err)
			}
		})
	}
	close(origin.open)
	wg.Wait()
	if n := origin.calls.Load(); n > 2 {
		t.Errorf("%d downloads, want one shared (or two when the first had just ended)", n)
	}
	if code, body := fetch(t, srv.URL+"/firmware/"+sum+"/a.bin"); code != http.StatusOK || !bytes.Equal(body, image) {
		t.Errorf("HTTP %d with %d bytes", code, len(body))
	}
	if code, _ := fetch(t, srv.URL+"/firmware/..%2f..%2fetc/passwd"); code != http.StatusNotFound {
		t.Errorf("outside: HTTP %d, want 404", code)
	}
	r, size, err := m.Open(t.Context(), sum)
	if err != nil || size != int64(len(image)) {
		t.Fatalf("open: %d, %v", size, err)
	}
	r.Close()
}

func TestAMirrorRefusesWhatTheOriginGetsWrong(t *testing.T) {
	origin := &slowOrigin{body: []byte("<html>proxy error</html>"), open: make(chan struct{})}
	close(origin.open)
	m, err := NewMirror(t.TempDir(), 1<<20, origin, "http://site")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.URL(t.Context(), sumOf(image), "a", "b"); fault.From(err).Code != fault.BadImage {
		t.Errorf("got %v, want bad_image", err)
	}
	mute, err := NewMirror(t.TempDir(), 1, origin, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mute.URL(t.Context(), sumOf(image), "a", "b"); fault.From(err).Code != fault.Unsupported {
		t.Errorf("no address: got %v, want unsupported", err)
	}
}

func fetch(t *testing.T, url string) (int, []byte) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}
