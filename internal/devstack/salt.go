package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

// saltUser is the account of the product at the box's Salt.
const saltUser = "cagenut"

// minions are the box's hosts in the box's Salt.
type minions struct{ *saltsim.Server }

func (m minions) Fingerprint(seed string) string { return saltsim.Fingerprint(saltsim.Key(seed)) }

func (m minions) Start(id, seed string) error { return m.Server.Start(id, saltsim.Key(seed)) }

// states are what the profiles of the box ask for.
func states() map[string]saltsim.SLS {
	made := func(states ...saltsim.State) saltsim.SLS { return saltsim.SLS{States: states, Takes: time.Second} }
	return map[string]saltsim.SLS{
		"base.ssh": made(
			saltsim.State{ID: "sshd_config", Module: "file", Func: "managed", Name: "/etc/ssh/sshd_config", Changes: true},
			saltsim.State{ID: "sshd", Module: "service", Func: "running", Needs: "sshd_config"}),
		"base.time": made(
			saltsim.State{ID: "timesyncd.conf", Module: "file", Func: "managed", Name: "/etc/systemd/timesyncd.conf", Changes: true},
			saltsim.State{ID: "systemd-timesyncd", Module: "service", Func: "running", Needs: "timesyncd.conf"}),
		"base.metrics": made(
			saltsim.State{ID: "node-exporter", Module: "pkg", Func: "installed", Name: "prometheus-node-exporter", Changes: true},
			saltsim.State{ID: "node-exporter.service", Module: "service", Func: "running", Name: "prometheus-node-exporter", Changes: true, Needs: "node-exporter"}),
	}
}

// salt serves the box's Salt until ctx ends.
func (s *Stack) salt(ctx context.Context) (server *saltsim.Server, serve func() error, err error) {
	server, err = saltsim.Open(saltsim.Options{User: saltUser, Password: s.set.SaltPassword, Dir: s.path("salt"), Files: states(),
		Top: []string{"base.ssh", "base.time"}})
	if err != nil {
		return nil, nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.set.Salt)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the box's Salt: %w", err), server.Close())
	}
	srv := &http.Server{Handler: server, ReadHeaderTimeout: 10 * time.Second}
	return server, func() error {
		stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
		defer stop()
		err := srv.Serve(listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		return errors.Join(err, server.Close())
	}, nil
}
