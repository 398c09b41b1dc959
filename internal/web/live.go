package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/operation"
)

const (
	maxStreams     = 64               // at once; each polls the store, and a page without one reloads itself now and then
	keepAlive      = 15 * time.Second // between comments, so that both sides see when the other is gone
	streamWriteMax = 20 * time.Second // a reader that takes longer is dropped, and comes back
	eventBatch     = 500
)

// live streams that something changed (text/event-stream). A message carries the number of the last
// event that it stands for, and nothing that is worth keeping from anybody: the page is fetched anew.
// However much happens, there is one message for each look at the store. A reader that lost its
// connection goes on with Last-Event-ID and is told at once when it missed something.
//
// The parameters narrow what counts: operation, asset (needs operation), site.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		w.Header().Set("Retry-After", "15")
		http.Error(w, fmt.Sprintf("%d pages are live already; this one reloads now and then", maxStreams), http.StatusServiceUnavailable)
		return
	}
	defer s.streams.Add(-1)
	f, only, err := s.liveFilter(r)
	if bad := (badQuestion{}); errors.As(err, &bad) {
		http.Error(w, bad.Error(), http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, translate(err).Message, http.StatusServiceUnavailable)
		return
	}
	events, err := s.o.Store.Events(r.Context(), f) // errors still get a status
	if err != nil {
		http.Error(w, translate(err).Message, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	last := time.Now()
	for first := true; ; first = false {
		changed := 0
		for _, e := range events {
			f.After = e.Seq
			if only == 0 || e.Asset == 0 || e.Asset == only {
				changed++
			}
		}
		switch {
		case changed > 0:
			_, err = fmt.Fprintf(w, "id: %d\nevent: changed\ndata: %d\n\n", f.After, changed)
		case first || time.Since(last) > keepAlive:
			_, err = fmt.Fprint(w, ": alive\n\n")
		default:
			err = errNothing
		}
		if err == nil {
			err = flush(control)
			last = time.Now()
		}
		if err != nil && !errors.Is(err, errNothing) {
			return // the reader is gone
		}
		if len(events) < eventBatch {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(s.o.EventPoll):
			}
		}
		if events, err = s.o.Store.Events(r.Context(), f); err != nil {
			// The stream ends; the reader comes back with Last-Event-ID and gets a status then.
			if r.Context().Err() == nil {
				s.o.Log.WarnContext(r.Context(), "live stream ends", "error", err)
			}
			return
		}
	}
}

// badQuestion is an error of the reader's.
type badQuestion struct{ error }

var errNothing = errors.New("nothing to tell")

func flush(control *http.ResponseController) error {
	if err := control.SetWriteDeadline(time.Now().Add(streamWriteMax)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return control.Flush()
}

func (s *Server) liveFilter(r *http.Request) (f operation.EventFilter, only asset.ID, err error) {
	q := r.URL.Query()
	f.Limit = eventBatch
	if text := q.Get("site"); text != "" {
		f.Sites = []string{text}
	}
	if text := q.Get("operation"); text != "" {
		if f.Operation, err = operation.ParseID(text); err != nil {
			return f, 0, badQuestion{err}
		}
		if text := q.Get("asset"); text != "" {
			if only, err = asset.ParseID(text); err != nil {
				return f, 0, badQuestion{err}
			}
		}
	}
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = q.Get("after")
	}
	if after == "" {
		f.After, err = s.o.Store.LastEvent(r.Context())
		return f, only, err
	}
	if f.After, err = strconv.ParseInt(after, 10, 64); err != nil || f.After < 0 {
		return f, 0, badQuestion{fmt.Errorf("after: %q: give the number of an event", after)}
	}
	return f, only, nil
}
