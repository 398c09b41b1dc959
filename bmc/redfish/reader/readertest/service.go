package readertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"time"
)

// Config says how a Service behaves.
type Config struct {
	Tree    Tree
	Latency time.Duration // before each answer
	AtOnce  int           // answers worked on at the same time; 0: no limit. BMCs serve about two
	Expand  bool          // understand $expand on collections, one level
	ETags   bool          // send them, and answer 304
}

// Service answers for a tree.
type Service struct {
	Config
	gate     chan struct{}
	expanded map[string][]byte
	etags    map[string]string
}

// NewService prepares a service: expanded bodies and ETags are worked out beforehand, so that
// answering costs the same with and withs.
func NewService(c Config) *Service {
	s := &Service{Config: c, expanded: map[string][]byte{}, etags: map[string]string{}}
	if s.AtOnce > 0 {
		s.gate = make(chan struct{}, s.AtOnce)
	}
	for key, body := range s.Tree {
		if s.Expand {
			if e, ok := s.Tree.expand(body); ok {
				s.expanded[key] = e
			}
		}
		if s.ETags {
			s.etags[key] = fmt.Sprintf("%q", fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)))
			s.etags[key+"?"] = fmt.Sprintf("%q", fmt.Sprintf("%08x", crc32.ChecksumIEEE(s.expanded[key])))
		}
	}
	return s
}

// expand puts a collection's members in place of the links to them.
func (t Tree) expand(body []byte) ([]byte, bool) {
	var c map[string]json.RawMessage
	var members []json.RawMessage
	if json.Unmarshal(body, &c) != nil || json.Unmarshal(c["Members"], &members) != nil || len(members) == 0 {
		return nil, false
	}
	for i, m := range members {
		var ref struct {
			ID string `json:"@odata.id"`
		}
		if json.Unmarshal(m, &ref) == nil && t[strings.TrimSuffix(ref.ID, "/")] != nil {
			members[i] = t[strings.TrimSuffix(ref.ID, "/")]
		}
	}
	var out bytes.Buffer
	whole, err := json.Marshal(members)
	if err != nil {
		return nil, false
	}
	c["Members"] = whole
	if json.NewEncoder(&out).Encode(c) != nil {
		return nil, false
	}
	return out.Bytes(), true
}

// ServeHTTP answers GET for the tree, and opens and closes sessions without asking who.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case r.Method == http.MethodPost && key == "/redfish/v1/SessionService/Sessions":
		w.Header().Set("X-Auth-Token", "token")
		w.Header().Set("Location", key+"/1")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"@odata.id":"%s/1","Id":"1","Name":"Session","UserName":"root"}`, key) //nolint:gosec // key is the constant above
		return
	case r.Method == http.MethodDelete && strings.HasPrefix(key, "/redfish/v1/SessionService/Sessions/"):
		w.WriteHeader(http.StatusNoContent)
		return
	case r.Method != http.MethodGet:
		http.Error(w, "read only", http.StatusMethodNotAllowed)
		return
	}
	if s.gate != nil {
		s.gate <- struct{}{}
		defer func() { <-s.gate }()
	}
	select {
	case <-time.After(s.Latency):
	case <-r.Context().Done():
		return
	}
	body, ok := s.Tree[key]
	etag := s.etags[key]
	if s.Expand && strings.Contains(r.URL.RawQuery, "$expand=") {
		if e, has := s.expanded[key]; has {
			body, etag = e, s.etags[key+"?"]
		}
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("OData-Version", "4.0")
	_, _ = w.Write(body) // who has gone needs no answer
}
