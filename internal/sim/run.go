package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Running is what a box that was started tells the world, and writes to box.json in its folder.
type Running struct {
	PID      int              `json:"pid"`
	Admin    string           `json:"admin_url"`
	Port     int              `json:"port"`
	Machines []RunningMachine `json:"machines"`
}

// RunningMachine says how to reach one machine. Its factory password is FactoryPassword(serial).
type RunningMachine struct {
	Name    string `json:"name"`
	Flavour string `json:"flavour"`
	Serial  string `json:"serial"`
	URL     string `json:"url"`
	User    string `json:"user"`
}

// Run runs a box until ctx ends. It writes box.json once everything listens, and calls ready, which
// may be nil.
func Run(ctx context.Context, o Options, ready func(*Box)) error {
	b, err := New(o)
	if err != nil {
		return err
	}
	if err := b.Start(ctx); err != nil {
		return errors.Join(err, b.Close())
	}
	raw, err := json.MarshalIndent(b.Running(), "", "  ")
	if err == nil {
		err = writeFile(filepath.Join(o.Dir, "box.json"), append(raw, '\n'))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("sim: write box.json: %w", err), b.Close())
	}
	if ready != nil {
		ready(b)
	}
	<-ctx.Done()
	return b.Close()
}

// Running describes a started box.
func (b *Box) Running() Running {
	r := Running{PID: os.Getpid(), Admin: b.AdminURL(), Port: b.port}
	for _, m := range b.machines {
		r.Machines = append(r.Machines, RunningMachine{m.spec.Name, m.f.name, m.spec.Serial, m.URL(), m.spec.User})
	}
	return r
}
