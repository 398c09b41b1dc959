package server

import (
	"log/slog"
	"net/http"

	"github.com/cagenut/cagenut/internal/boot"
	"github.com/cagenut/cagenut/templates"
)

// siteHandler is what a site's worker serves on sites.<slug>.serve: firmware to BMCs, and the boot
// service to machines.
func siteHandler(firmware http.Handler, api boot.API, set *templates.Set, url string, log *slog.Logger) (http.Handler, error) {
	machines, err := boot.New(boot.Options{API: api, Templates: set, Base: url, Log: log})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/firmware/", firmware)
	mux.Handle("/boot/", machines)
	mux.Handle("/agent/", machines)
	return mux, nil
}
