package saltsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
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
		if !s.spoil(w, r, "login", Before) {
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
		call := strings.TrimSpace(l.Client + " " + l.Fun + " " + strings.Join(l.targets(), ","))
		if s.spoil(w, r, call, Before) {
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
		if s.spoil(w, r, call, After) {
			return
		}
		out = append(out, v)
	}
	answerJSON(w, map[string]any{"return": out})
}

// spoil answers in place of the server when a fault says so.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, call, phase string) bool {
	f := s.faults.take(call, phase)
	if f == nil {
		return false
	}
	switch f.Action {
	case ActStatus:
		page(w, f.Status)
	case ActReset:
		panic(http.ErrAbortHandler)
	case ActHang:
		<-r.Context().Done()
	case ActHTML:
		page(w, http.StatusOK)
	case ActBig:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"return": ["`)
		line := strings.Repeat("x", 1<<20)
		for range 64 {
			if _, err := io.WriteString(w, line); err != nil {
				break
			}
		}
	case ActAnswer:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, f.Body)
	case ActForget:
		s.Restart()
		page(w, http.StatusUnauthorized)
	}
	return true
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
