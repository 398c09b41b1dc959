package boot

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
)

const (
	claimLimit    = 64 << 10
	progressLimit = 16 << 10
	resultLimit   = operation.MaxResultBody + 64<<10

	waitDefault, waitMost = 20, 25 // seconds: below the time-outs of proxies in between
)

func (s *Server) claim(w http.ResponseWriter, r *http.Request) {
	who, ok := question[operation.BootIdentity](w, r, claimLimit)
	if !ok {
		return
	}
	b, err := s.o.API.AgentClaim(r.Context(), sum(r), who, from(r))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.cache.forget(b.ID)
	s.o.Log.Info("an agent claimed its machine", "machine", b.Asset.Name, "operation", b.Operation, "from", from(r))
	tell(w, bootproto.Claimed{Operation: string(b.Operation), Asset: b.Asset.Name, Expires: b.Expires})
}

func (s *Server) next(w http.ResponseWriter, r *http.Request) {
	wait := waitDefault
	if text := r.URL.Query().Get("wait"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			http.Error(w, "wait: give seconds", http.StatusUnprocessableEntity)
			return
		}
		wait = min(n, waitMost)
	}
	c, err := s.o.API.AgentNext(r.Context(), sum(r), wait)
	switch {
	case err != nil:
		s.problem(w, r, err)
	case c == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		tell(w, c)
	}
}

func (s *Server) progress(w http.ResponseWriter, r *http.Request) {
	p, ok := question[operation.Progress](w, r, progressLimit)
	if !ok {
		return
	}
	if err := s.o.API.AgentProgress(r.Context(), sum(r), r.PathValue("id"), p); err != nil {
		s.problem(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) result(w http.ResponseWriter, r *http.Request) {
	result, ok := question[operation.CommandResult](w, r, resultLimit)
	if !ok {
		return
	}
	c, err := s.o.API.AgentResult(r.Context(), sum(r), r.PathValue("id"), result, from(r))
	if err != nil {
		s.problem(w, r, err)
		return
	}
	s.cache.forget(c.Boot)
	tell(w, c)
}

func sum(r *http.Request) operation.BootSum { return operation.SumBootToken(r.PathValue("token")) }

// question reads a JSON body. Fields that this version does not know are let pass: the agent may be newer.
func question[T any](w http.ResponseWriter, r *http.Request, limit int64) (T, bool) {
	var v T
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(&v)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "the body is not the JSON that is taken here", http.StatusUnprocessableEntity)
	}
	return v, err == nil
}

func tell(w http.ResponseWriter, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	give(w, "application/json", append(raw, '\n'))
}

func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the agent hung up
	}
	f := failed(err)
	code := status(f)
	if code == http.StatusInternalServerError {
		s.o.Log.Error("an agent could not be answered", "error", f)
		f = &fault.Error{Code: fault.Internal, Message: "the boot service failed; its log says why"}
	}
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	raw, err := json.Marshal(bootproto.Problem{Code: f.Code, Message: f.Message, Remedy: f.Remedy})
	if err != nil {
		raw = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // the agent may be gone
}
