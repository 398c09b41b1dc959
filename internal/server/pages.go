package server

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/web"
)

// pagesOff explains why there are no pages.
const pagesOff = `Cagenut's pages have no sign-in yet, so they are served only where api.listen is a loopback address.
This server listens on %s. The API is here all the same: /openapi.json lists it.

To see the pages, run another ` + "`cagenut serve --listen 127.0.0.1:7781`" + ` beside this one, with the same configuration,
and reach it through a tunnel: ssh -L 7781:127.0.0.1:7781 SERVER, then open http://localhost:7781/
`

// withPages puts the pages beside the API: what the API has an endpoint for is the API's, and so is
// everything below /v1. On a listener that others can reach, the pages are off.
func withPages(a *api.Server, l net.Listener, o web.Options) (http.Handler, error) {
	if !loopback(l.Addr()) {
		o.Log.Info("pages are off: they have no sign-in, and this listener is not loopback", "address", l.Addr().String())
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" || a.Has(r) {
				a.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, pagesOff, l.Addr())
		}), nil
	}
	pages, err := web.New(o)
	if err != nil {
		return nil, err
	}
	o.Log.Info("pages are on", "address", l.Addr().String())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.Has(r) || r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") {
			a.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
