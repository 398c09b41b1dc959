package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

const (
	maxStreams     = 500              // at once; each polls the store
	keepAlive      = 15 * time.Second // between comments, so that proxies see life
	streamWriteMax = 30 * time.Second // a reader that takes longer for one batch is dropped and resumes
	eventBatch     = 500
)

// events streams what happens (text/event-stream). Each event has its sequence number as its ID, so
// a client that lost its connection goes on with Last-Event-ID and misses nothing. Without it the
// stream begins with the oldest event of the operation, or, without an operation, with what is new.
func (s *Server) events(w http.ResponseWriter, c *call) error {
	f, err := s.eventFilter(c)
	if err != nil {
		return err
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return fault.New(fault.Busy, "%d event streams are open", maxStreams)
	}
	defer s.streams.Add(-1)
	events, err := s.o.Store.Events(c.Context(), f) // errors still get a status
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	last := time.Now()
	for first := true; ; first = false {
		for _, e := range events {
			raw, err := json.Marshal(e)
			if err != nil {
				return fmt.Errorf("encode event %d: %w", e.Seq, err)
			}
			if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Kind, raw); err != nil {
				return nil // the reader is gone
			}
			f.After = e.Seq
		}
		if idle := time.Since(last) > keepAlive; idle || first || len(events) > 0 {
			if len(events) == 0 {
				if _, err := fmt.Fprint(w, ": alive\n\n"); err != nil {
					return nil
				}
			}
			if err := flush(control); err != nil {
				return nil
			}
			last = time.Now()
		}
		if len(events) < eventBatch {
			select {
			case <-c.Context().Done():
				return nil
			case <-time.After(s.o.EventPoll):
			}
		}
		if events, err = s.o.Store.Events(c.Context(), f); err != nil {
			// The stream ends; the client comes back with Last-Event-ID and gets a status then.
			if c.Context().Err() == nil {
				s.o.Log.WarnContext(c.Context(), "event stream ends", "request_id", c.id, "error", err)
			}
			return nil
		}
	}
}

func flush(control *http.ResponseController) error {
	if err := control.SetWriteDeadline(time.Now().Add(streamWriteMax)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return control.Flush()
}

func (s *Server) eventFilter(c *call) (operation.EventFilter, error) {
	f := operation.EventFilter{Sites: c.caller.Sites, Limit: eventBatch}
	if text := c.URL.Query().Get("operation"); text != "" {
		id, err := operation.ParseID(text)
		if err != nil {
			return f, invalid("operation", text, "give an operation's ID")
		}
		d, err := s.o.Store.GetOperation(c.Context(), id)
		if err != nil {
			return f, err
		}
		if !narrow(&d, c.caller) {
			return f, fault.New(fault.NotFound, "no operation %s in your sites", id)
		}
		f.Operation = id
	}
	after := c.Header.Get("Last-Event-ID")
	if after == "" {
		after = c.URL.Query().Get("after")
	}
	if after == "" {
		if f.Operation != "" {
			return f, nil
		}
		seq, err := s.o.Store.LastEvent(c.Context())
		f.After = seq
		return f, err
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || n < 0 {
		return f, invalid("Last-Event-ID", after, "give the ID of the last event that you have, a number")
	}
	f.After = n
	return f, nil
}
