package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// How long a download goes on without a byte before it has failed, and the pause between tries.
const (
	fetchPatience = 10 * time.Minute
	fetchPause    = time.Second
	fetchStalls   = time.Minute // of one connection
)

// download reads a file over HTTP, and goes on where it was when the network comes back.
type download struct {
	ctx  context.Context
	http *http.Client
	url  string
	log  func(error)

	body   io.ReadCloser
	stop   context.CancelFunc // ends the connection
	watch  *time.Timer        // does so when it stalls
	at     int64
	size   int64 // -1: not told
	tag    string
	broken time.Time // since when there is no byte; zero: it works
}

func fetch(ctx context.Context, client *http.Client, url string, log func(error)) *download {
	return &download{ctx: ctx, http: client, url: url, log: log, size: -1}
}

// final is a failure that trying again does not change.
type final struct{ error }

// Read gives bytes, or fails for good.
func (d *download) Read(p []byte) (int, error) {
	for {
		err := d.connect()
		if err == nil {
			d.watch.Reset(fetchStalls)
			var n int
			n, err = d.body.Read(p)
			d.at += int64(n)
			switch {
			case n > 0:
				d.broken = time.Time{}
				return n, nil
			case errors.Is(err, io.EOF) && (d.size < 0 || d.at == d.size):
				return 0, io.EOF
			case errors.Is(err, io.EOF):
				err = io.ErrUnexpectedEOF
			case err == nil:
				continue
			}
			d.Close()
		}
		var f final
		if errors.As(err, &f) {
			return 0, fmt.Errorf("fetch the image: %w", f.error)
		}
		if d.ctx.Err() != nil {
			return 0, d.ctx.Err()
		}
		if d.broken.IsZero() {
			d.broken = time.Now()
			d.log(err)
		}
		if time.Since(d.broken) > fetchPatience {
			return 0, fmt.Errorf("fetch the image: nothing came for %s, at byte %d: %w", fetchPatience, d.at, err)
		}
		select {
		case <-d.ctx.Done():
			return 0, d.ctx.Err()
		case <-time.After(fetchPause):
		}
	}
}

// connect asks for what is missing, unless it is on its way.
func (d *download) connect() error {
	if d.body != nil {
		return nil
	}
	ctx, stop := context.WithCancel(d.ctx)
	watch := time.AfterFunc(fetchStalls, stop)
	res, err := d.ask(ctx) //nolint:bodyclose // Close does
	if err != nil {
		watch.Stop()
		stop()
		return err
	}
	d.body, d.stop, d.watch = res.Body, stop, watch
	return nil
}

func (d *download) ask(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, final{err}
	}
	req.Header.Set("Accept-Encoding", "identity") // the SHA-256 is of the file as it is
	if d.at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
		if d.tag != "" {
			req.Header.Set("If-Range", d.tag)
		}
	}
	res, err := d.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, err
	}
	switch s := res.StatusCode; {
	case s == http.StatusOK && d.at == 0:
		d.size, d.tag = res.ContentLength, res.Header.Get("ETag")
		return res, nil
	case s == http.StatusPartialContent && d.at > 0:
		var first, last, size int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err == nil && first == d.at {
			return res, nil
		}
		err = final{fmt.Errorf("its server gave other bytes than those from %d: %q", d.at, res.Header.Get("Content-Range"))}
	case s == http.StatusOK:
		err = final{fmt.Errorf("it broke off at byte %d, and its server cannot go on from there, or has another file now", d.at)}
	case s >= 500, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		err = fmt.Errorf("HTTP %d", s)
	default:
		err = final{fmt.Errorf("HTTP %d", s)}
	}
	_ = res.Body.Close()
	return nil, err
}

// Close ends the connection.
func (d *download) Close() {
	if d.body != nil {
		d.watch.Stop()
		d.stop()
		_ = d.body.Close()
		d.body = nil
	}
}
