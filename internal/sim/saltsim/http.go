package saltsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/sim"
)

// maxBody bounds a request's body.
const maxBody = 4 << 20

// low is one call as it comes in.
type low struct {
	Client     string          `json:"client"`
	Fun        string          `json:"fun"`
	Target     json.RawMessage `json:"tgt"`
	TargetType string          `json:"tgt_type"`
	Arg        []any           `json:"arg"`
	Kwarg      kwarg           `json:"kwarg"`
	JID        string          `json:"jid"`
	Match      json.RawMessage `json:"match"`
	Metadata   json.RawMessage `json:"metadata"`
	FullReturn bool            `json:"full_return"`

	facts configmgmt.Facts // of the minion that a local call is for
}

// kwarg are the arguments of state.apply.
type kwarg struct {
	Test     bool           `json:"test"`
	Mods     []string       `json:"mods"`
	Saltenv  string         `json:"saltenv,omitempty"`
	Pillar   map[string]any `json:"pillar,omitempty"`
	WithKind bool           `json:"__kwarg__"`
}

// page answers as CherryPy does: in HTML, whatever was accepted.
func page(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<html>\n<head>\n    <title>%d %s</title>\n</head><body></body></html>\n", status, http.StatusText(status))
}

func answerJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		page(w, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // the client is gone: nothing to do
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		page(w, http.StatusRequestEntityTooLarge)
		return
	}
	switch {
	case r.URL.Path == "/" && r.Method == http.MethodGet:
		answerJSON(w, map[string]any{"return": "Welcome", "clients": []string{"local", "local_async", "runner", "wheel"}})
	case r.URL.Path == "/login" && r.Method == http.MethodPost:
		if !s.spoil(w, r, "login", sim.Before) {
			s.login(w, body)
		}
	case r.URL.Path == "/" && r.Method == http.MethodPost:
		s.run(w, r, body)
	default:
		page(w, http.StatusNotFound)
	}
}

func (s *Server) login(w http.ResponseWriter, body []byte) {
	var in struct {
		User, Username, Password, Eauth string
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Username != s.o.User || in.Password != s.o.Password || in.Eauth != "sharedsecret" {
		page(w, http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	s.last++
	token, now := fmt.Sprintf("%040x", s.last), s.o.Clock()
	s.tokens[token] = true
	s.mu.Unlock()
	answerJSON(w, map[string]any{"return": []any{map[string]any{"token": token, "start": now.Unix(), "expire": now.Unix() + 12*3600,
		"user": in.Username, "eauth": in.Eauth, "perms": []any{".*", "@runner", "@wheel"}}}})
}

// run makes the calls of a request.
func (s *Server) run(w http.ResponseWriter, r *http.Request, body []byte) {
	token := r.Header.Get("X-Auth-Token")
	s.mu.Lock()
	known := s.tokens[token]
	s.mu.Unlock()
	var lows []low
	switch err := json.Unmarshal(body, &lows); {
	case !known:
		page(w, http.StatusUnauthorized)
		return
	case err != nil || len(lows) == 0:
		page(w, http.StatusBadRequest)
		return
	}
	out := []any{}
	for _, l := range lows {
		call := strings.TrimSpace(l.Client + " " + l.Fun + " " + strings.Join(s.about(l), ","))
		if s.spoil(w, r, call, sim.Before) {
			return
		}
		if to := l.targets(); l.Client == "local" && len(to) > 0 {
			l.facts = s.facts(to[0])
		}
		s.mu.Lock()
		v, err := s.call(l, call)
		s.mu.Unlock()
		if err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"status": 500, "return": "An unexpected error occurred"}`)
			return
		}
		if s.spoil(w, r, call, sim.After) {
			return
		}
		out = append(out, v)
	}
	answerJSON(w, map[string]any{"return": out})
}

// spoil answers in place of the server when a rule says so.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, call, phase string) bool {
	for _, f := range s.faults.Take(sim.Salt, r.Method, call, phase) {
		switch {
		case f.Action == sim.ActExpiredSession: // it has restarted
			s.Restart()
			page(w, http.StatusUnauthorized)
			return true
		case f.Action == sim.ActStatus && f.Body == "":
			page(w, f.Status)
			return true
		case s.faults.Spoil(r.Context(), w, f, sim.Salt, r.Method, call, s.o.Clock()):
			return true
		}
	}
	return false
}

// about gives the minions that a call is about, for rules.
func (s *Server) about(l low) []string {
	var match string
	var lists map[string][]string
	switch {
	case l.Fun == "jobs.list_job":
		s.mu.Lock()
		defer s.mu.Unlock()
		if j := s.jobs[l.JID]; j != nil {
			return []string{j.Minion}
		}
	case json.Unmarshal(l.Match, &match) == nil:
		return []string{match}
	case json.Unmarshal(l.Match, &lists) == nil:
		return lists[pending]
	}
	return l.targets()
}

// targets gives the minions that a call names. The real one knows globs too; nobody here uses them.
func (l low) targets() []string {
	var list []string
	if json.Unmarshal(l.Target, &list) == nil {
		return list
	}
	var one string
	if json.Unmarshal(l.Target, &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}
