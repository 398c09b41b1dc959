package sim

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// Sessions is how many sessions a BMC has and had.
type Sessions struct {
	Machine string `json:"machine"`
	Open    int    `json:"open"`
	Max     int    `json:"max"` // ever at once
	Limit   int    `json:"limit"`
}

// Sessions tells of every BMC how many sessions it has and had.
func (b *Box) Sessions() []Sessions {
	out := []Sessions{}
	for _, m := range b.machines {
		s := m.Summary()
		out = append(out, Sessions{Machine: s.Name, Open: s.Sessions, Max: s.MaxSessions, Limit: sessionLimit})
	}
	return out
}

// Summaries tells the state of every machine.
func (b *Box) Summaries() []Summary {
	out := []Summary{}
	for _, m := range b.machines {
		out = append(out, m.Summary())
	}
	return out
}

// adminHandler is the admin API. It needs no login: it listens on loopback only.
//
//	GET    /journal?machine=&kind=&effect=&since=   entries, oldest first
//	GET    /requests                                how many each machine and NetBox got, reads too
//	GET    /machines                                summaries
//	GET    /machines/{name}                         one summary
//	POST   /machines/{name}/power-loss              pulls the cord
//	GET    /sessions                                open, most ever, limit
//	GET    /faults    POST /faults                  the rules; adds one
//	DELETE /faults    DELETE /faults/{id}           drops all, or one
//	GET    /holds                                   requests that are kept back
//	POST   /holds/{id}/release                      lets one go on
func (b *Box) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		since, err := strconv.ParseInt(q.Get("since"), 10, 64)
		if err != nil && q.Get("since") != "" {
			refuse(w, http.StatusBadRequest, "since: "+q.Get("since")+": use the seq of an entry")
			return
		}
		tell(w, b.Journal(Query{Machine: q.Get("machine"), Kind: q.Get("kind"), Effect: q.Get("effect"), Since: since}))
	})
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { tell(w, b.Requests()) })
	mux.HandleFunc("GET /machines", func(w http.ResponseWriter, _ *http.Request) { tell(w, b.Summaries()) })
	mux.HandleFunc("GET /machines/{name}", b.named(func(w http.ResponseWriter, m *Machine) { tell(w, m.Summary()) }))
	mux.HandleFunc("POST /machines/{name}/power-loss", b.named(func(w http.ResponseWriter, m *Machine) {
		if err := m.PowerLoss(); err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		tell(w, m.Summary())
	}))
	mux.HandleFunc("GET /sessions", func(w http.ResponseWriter, _ *http.Request) { tell(w, b.Sessions()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { tell(w, b.Faults()) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		in := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
		in.DisallowUnknownFields()
		err := in.Decode(&f)
		if err == nil {
			f, err = b.AddFault(f)
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		tell(w, f)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) { b.RemoveFault(""); tell(w, b.Faults()) })
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !b.RemoveFault(r.PathValue("id")) {
			refuse(w, http.StatusNotFound, "no fault "+r.PathValue("id"))
			return
		}
		tell(w, b.Faults())
	})
	mux.HandleFunc("GET /holds", func(w http.ResponseWriter, _ *http.Request) { tell(w, b.Holds()) })
	mux.HandleFunc("POST /holds/{id}/release", func(w http.ResponseWriter, r *http.Request) {
		if !b.Release(r.PathValue("id")) {
			refuse(w, http.StatusNotFound, "no hold "+r.PathValue("id")+": it was released, or its client is gone")
			return
		}
		tell(w, b.Holds())
	})
	return mux
}

func (b *Box) named(fn func(http.ResponseWriter, *Machine)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m := b.Machine(r.PathValue("name"))
		if m == nil {
			refuse(w, http.StatusNotFound, "no machine "+r.PathValue("name"))
			return
		}
		fn(w, m)
	}
}

func tell(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(encode(v), '\n')) // the client may be gone
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(map[string]string{"error": why}), '\n')) // the client may be gone
}
