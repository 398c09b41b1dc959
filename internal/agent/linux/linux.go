// Package linux is the Machine of an agent that runs on Linux: what the kernel tells in /sys and /proc,
// and what is done to block devices. It starts no programs: the agent's initramfs has none.
//
// Disks are named by the links that udev would make in /dev/disk/by-id, which is how the installed
// system and its installer find them again; no such links are needed here. What is removable, or hangs
// on USB, is no disk of the machine: it may be virtual media, or a person's stick.
//
// A Machine does one thing at a time.
package linux

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/bootproto"
)

// Options are what a Machine works with.
type Options struct {
	Root string       // below which /sys, /proc and /dev are; empty: the machine's own
	HTTP *http.Client // fetches images
	Log  *slog.Logger
	// Minute is how long a minute of burn-in lasts; 0: a minute.
	Minute time.Duration
	// Neighbours, when set, gives who was heard on a port.
	Neighbours func(ctx context.Context) map[string]bootproto.Neighbour
}

// Machine is the machine that this program runs on.
type Machine struct{ o Options }

// New makes a Machine.
func New(o Options) *Machine {
	if o.Minute == 0 {
		o.Minute = time.Minute
	}
	return &Machine{o: o}
}

// at is where a path of the machine is.
func (m *Machine) at(path ...string) string {
	return filepath.Join(append([]string{"/", m.o.Root}, path...)...)
}

// text reads a small file of the kernel's; what is not there is empty.
func (m *Machine) text(path ...string) string {
	raw, err := os.ReadFile(m.at(path...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Trim(string(raw), "\x00"))
}

// number reads a number; ok is false where there is none.
func (m *Machine) number(path ...string) (n int64, ok bool) {
	n, err := strconv.ParseInt(m.text(path...), 10, 64)
	return n, err == nil
}

// names lists a folder; one that is not there is empty.
func (m *Machine) names(path ...string) []string {
	entries, err := os.ReadDir(m.at(path...))
	if err != nil {
		return nil
	}
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// exists tells whether a file is there.
func (m *Machine) exists(path ...string) bool {
	_, err := os.Stat(m.at(path...))
	return err == nil
}

// target is where a link of the kernel's points, below the root.
func (m *Machine) target(path ...string) string {
	out, err := filepath.EvalSymlinks(m.at(path...))
	if err != nil {
		return ""
	}
	return out
}

// Identity is what the machine is known by.
func (m *Machine) Identity() (bootproto.BootIdentity, error) {
	i := bootproto.BootIdentity{UUID: strings.ToLower(m.text("sys/class/dmi/id/product_uuid"))}
	for _, p := range m.ports() {
		i.MACs = append(i.MACs, p.MAC)
	}
	for _, name := range []string{"product_serial", "board_serial"} {
		if s := m.text("sys/class/dmi/id", name); s != "" && !slices.Contains(i.Serials, s) {
			i.Serials = append(i.Serials, s)
		}
	}
	return i, nil
}

// ports are the network ports that are hardware.
func (m *Machine) ports() []bootproto.Port {
	var out []bootproto.Port
	for _, name := range m.names("sys/class/net") {
		at := filepath.Join("sys/class/net", name)
		mac := m.text(at, "address")
		if !m.exists(at, "device") || m.text(at, "type") != "1" || mac == "" || mac == "00:00:00:00:00:00" {
			continue
		}
		p := bootproto.Port{Name: name, MAC: strings.ToLower(mac), Link: m.text(at, "carrier") == "1"}
		if d := m.target(at, "device/driver"); d != "" {
			p.Driver = filepath.Base(d)
		}
		if n, ok := m.number(at, "speed"); ok && n > 0 && p.Link {
			p.Mbps = int(n)
		}
		out = append(out, p)
	}
	return out
}
