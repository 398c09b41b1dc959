package devstack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/saltsim"
)

// saltUser is the account of the product at the box's Salt.
const saltUser = "cagenut"

// minions are the box's hosts in the box's Salt.
type minions struct{ *saltsim.Server }

func (m minions) Fingerprint(_, seed string) (string, error) {
	return saltsim.Fingerprint(saltsim.Key(seed)), nil
}

func (m minions) Start(id, seed string) error { return m.Server.Start(id, saltsim.Key(seed)) }

// states are what the profiles of the box ask for.
func states() map[string]saltsim.SLS {
	made := func(states ...saltsim.State) saltsim.SLS { return saltsim.SLS{States: states, Takes: time.Second} }
	return map[string]saltsim.SLS{
		"base.ssh": made(
			saltsim.State{ID: "sshd_config", Module: "file", Func: "managed", Name: "/etc/ssh/sshd_config", Changes: true},
			saltsim.State{ID: "ssh", Module: "service", Func: "running", Needs: "sshd_config"}),
		"base.time": made(
			saltsim.State{ID: "timesyncd.conf", Module: "file", Func: "managed", Name: "/etc/systemd/timesyncd.conf", Changes: true},
			saltsim.State{ID: "systemd-timesyncd", Module: "service", Func: "running", Needs: "timesyncd.conf"}),
		"base.metrics": made(
			saltsim.State{ID: "node-exporter", Module: "pkg", Func: "installed", Name: "prometheus-node-exporter", Changes: true},
			saltsim.State{ID: "node-exporter.service", Module: "service", Func: "running", Name: "prometheus-node-exporter", Changes: true, Needs: "node-exporter"}),
	}
}

// salt serves the box's Salt until ctx ends; rules spoil its answers. box gives the data center in a box once
// it is there.
func (s *Stack) salt(ctx context.Context, rules *sim.Faults, box func() *sim.Box) (server *saltsim.Server, serve func() error, err error) {
	server, err = saltsim.Open(saltsim.Options{User: saltUser, Password: s.set.SaltPassword, Dir: s.path("salt"), Files: states(), Faults: rules,
		Top: []string{"base.ssh", "base.time"}, Facts: func(id string) (configmgmt.Facts, bool) { return factsOf(box(), id) }})
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

// factsOf is what a host of the box tells of itself, beside what its Salt made of it.
func factsOf(box *sim.Box, minion string) (f configmgmt.Facts, found bool) {
	if box == nil {
		return f, false
	}
	on, macs, found := box.HostOf(minion)
	if !found {
		return f, false
	}
	f = configmgmt.Facts{OS: on.OS, Kernel: sim.HostKernel, Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 400_000}}}
	for i, mac := range macs {
		link := configmgmt.Link{Name: fmt.Sprintf("eth%d", i), MAC: strings.ToLower(mac), Up: true}
		if strings.EqualFold(mac, cmp.Or(on.BootMAC, macs[0])) {
			for _, a := range on.Addresses {
				if p, err := netip.ParsePrefix(a); err == nil {
					link.Addresses = append(link.Addresses, p)
				}
			}
		}
		f.Links = append(f.Links, link)
	}
	return f, true
}

// Minion is what is asked of whoever runs the minions of the box's hosts elsewhere: POST to
// Options.MinionsURL + "/fingerprint", "/start" or "/stop". The answer to the first is text.
type Minion struct {
	ID   string `json:"id"`
	Seed string `json:"seed,omitempty"` // of its key
}

// elsewhere are minions that somebody else runs, such as real ones.
type elsewhere struct{ url string }

func (e elsewhere) Fingerprint(id, seed string) (string, error) {
	return e.ask("fingerprint", Minion{id, seed})
}

func (e elsewhere) Start(id, seed string) error {
	_, err := e.ask("start", Minion{id, seed})
	return err
}

func (e elsewhere) Stop(id string) error {
	_, err := e.ask("stop", Minion{ID: id})
	return err
}

func (e elsewhere) ask(what string, m Minion) (string, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/"+what, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s minion %s: %s: %s", what, m.ID, resp.Status, text)
	}
	return strings.TrimSpace(string(text)), err
}
