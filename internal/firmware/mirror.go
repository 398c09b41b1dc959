package firmware

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/cagenut/cagenut/internal/fault"
)

// Origin is where a mirror fetches files: the API, from a byte offset on.
type Origin interface {
	DownloadFirmware(ctx context.Context, sha256 string, offset int64) (io.ReadCloser, error)
}

// Mirror is a site worker's copy of the files that its machines need.
type Mirror struct {
	store  *Store
	origin Origin
	base   string // as BMCs see us: http(s)://host:port; empty: files cannot be pulled
	flight singleflight.Group
}

// NewMirror keeps its files in dir. base is where BMCs reach Handler; empty means that this site
// serves no files and firmware can only be pushed.
func NewMirror(dir string, max int64, origin Origin, base string) (*Mirror, error) {
	store, err := Open(dir, max)
	if err != nil {
		return nil, err
	}
	return &Mirror{store: store, origin: origin, base: strings.TrimSuffix(base, "/")}, nil
}

// fetchTimeout is enough for the largest image over a slow line to a site.
const fetchTimeout = 30 * time.Minute

// ensure has the file here, verified. Callers that want the same file at once share one download,
// which goes on when the first of them gives up.
func (m *Mirror) ensure(ctx context.Context, sum string) error {
	if f, err := m.store.Open(sum); err == nil {
		return f.Close()
	} else if fault.From(err).Code != fault.NotFound {
		return err
	}
	done := m.flight.DoChan(sum, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		body, err := m.origin.DownloadFirmware(ctx, sum, 0)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		_, err = m.store.Add(ctx, body, sum)
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// URL is where the BMC at an address can fetch the image; it is here and verified before that is said.
func (m *Mirror) URL(ctx context.Context, sum, name, bmcAddress string) (string, error) {
	if m.base == "" {
		e := fault.New(fault.Unsupported, "this site serves no files, so the BMC at %s cannot fetch %s", bmcAddress, name)
		e.Remedy = "set sites.<slug>.serve and serve_url, or push the file (push: multipart in the profile)"
		return "", e
	}
	if err := m.ensure(ctx, sum); err != nil {
		return "", err
	}
	return m.base + "/firmware/" + sum + "/" + url.PathEscape(name), nil
}

// Open reads an image. It was compared with its SHA-256 just before.
func (m *Mirror) Open(ctx context.Context, sum string) (io.ReadCloser, int64, error) {
	if err := m.ensure(ctx, sum); err != nil {
		return nil, 0, err
	}
	if err := m.store.Verify(ctx, sum); err != nil {
		return nil, 0, err
	}
	f, err := m.store.Open(sum)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("firmware: size of %s: %w", sum, err)
	}
	return f, size, nil
}

// Handler serves the files that are here to BMCs: GET and HEAD, with ranges, by SHA-256. It knows no
// passwords: firmware is no secret, and BMCs cannot log in. Nothing else is served, and nothing is
// fetched because a stranger asks.
func (m *Mirror) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /firmware/{sha256}/{name}", func(w http.ResponseWriter, r *http.Request) {
		sum := r.PathValue("sha256")
		f, err := m.store.Open(sum)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("ETag", `"`+sum+`"`)
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	return mux
}
