package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/atomicfile"
	"github.com/cagenut/cagenut/internal/cli"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/netboxload"
	"github.com/cagenut/cagenut/inventory"
	"github.com/cagenut/cagenut/inventory/netbox"
)

// Programs are the arguments of the product's programs that a stack needs, as `cagenut` takes them.
func (s *Stack) Programs() [][]string {
	hurry := []string{"--config", s.ConfigFile(), "--hurry", strconv.Itoa(s.set.Faster)}
	return [][]string{
		{"serve", "--config", s.ConfigFile()},
		append([]string{"worker"}, hurry...),
		append([]string{"worker", "--site", s.rack.Site.Slug}, hurry...),
	}
}

// Prepare does what must be done before the programs start: migrations, tokens, and NetBox's account
// for Cagenut. The parts must be up.
func (s *Stack) Prepare(ctx context.Context) error {
	if err := s.command(ctx, "migrate", "--config", s.ConfigFile()); err != nil {
		return err
	}
	url, err := os.ReadFile(s.path("conf", "database-url"))
	if err != nil {
		return err
	}
	for _, t := range []struct{ file, person, role string }{{"admin-token", "demo", "admin"}, {"worker-token", "worker-" + s.rack.Site.Slug, "worker"}} {
		args := []string{"token", "create", t.person, "--role", t.role, "--database-url", strings.TrimSpace(string(url))}
		if t.role == "worker" {
			args = append(args, "--site", s.rack.Site.Slug)
		}
		if err := s.once(t.file, func() (string, error) {
			var out bytes.Buffer
			err := s.commandTo(ctx, &out, args...)
			return out.String(), err
		}); err != nil {
			return err
		}
	}
	base, admin := s.NetBox()
	return s.once("netbox-token", func() (string, error) {
		return netboxload.Account(ctx, base, admin)
	})
}

// Seed gives the running product what a person would give it: factory passwords and firmware files.
// It waits until the API answers.
func (s *Stack) Seed(ctx context.Context) error {
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	manifest := s.path("conf", "manifest.csv")
	if err := atomicfile.Write(manifest, s.manifest()); err != nil {
		return err
	}
	if err := s.command(ctx, s.asAdmin("bmc", "import", manifest)...); err != nil {
		return err
	}
	files, err := s.firmwareFiles()
	if err != nil {
		return err
	}
	return s.command(ctx, s.asAdmin(append([]string{"firmware", "add"}, files...)...)...)
}

// asAdmin completes a command's arguments with where the API is and who asks.
func (s *Stack) asAdmin(args ...string) []string {
	return append(args, "--url", s.API(), "--token-file", s.AdminToken())
}

// Replan puts every machine of the rack back in the box's NetBox, as a person would, so that the rack can
// be installed once more: one in service to staged, since it has its system, and any other to planned.
func (s *Stack) Replan(ctx context.Context) error {
	_, devices, err := s.devices(ctx)
	if err != nil {
		return err
	}
	back := map[int64]string{}
	for _, d := range devices {
		switch d.Status {
		case asset.Planned:
		case asset.Active:
			back[int64(d.ID)] = string(asset.Staged)
		default:
			back[int64(d.ID)] = string(asset.Planned)
		}
	}
	base, admin := s.NetBox()
	return netboxload.SetStatus(ctx, base, admin, back)
}

// devices reads the machines of the rack from the box's NetBox, and gives the client for it.
func (s *Stack) devices(ctx context.Context) (*netbox.Client, []inventory.Device, error) {
	base, admin := s.NetBox()
	nb, err := netbox.New(netbox.Options{URL: base, Token: admin})
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, d := range s.rack.Servers() {
		names = append(names, d.Name)
	}
	devices, err := nb.Find(ctx, inventory.Query{Names: names, Site: s.rack.Site.Slug})
	return nb, devices, err
}

// manifest is what the vendor ships with the machines.
func (s *Stack) manifest() []byte {
	var b bytes.Buffer
	b.WriteString("serial,mac,user,password\n")
	for _, d := range s.Servers() {
		mac := ""
		for _, i := range d.Interfaces {
			if i.Mgmt {
				mac = i.MAC
			}
		}
		fmt.Fprintf(&b, "%s,%s,%s,%s\n", d.Serial, mac, sim.FactoryUser(d.Flavour), sim.FactoryPassword(d.Serial))
	}
	return b.Bytes()
}

// firmwareFiles writes the images that the profiles name. A file's name says what is in it:
// <device type>-<component>-<version>.box.
func (s *Stack) firmwareFiles() ([]string, error) {
	list, err := config.LoadProfiles(s.path("conf", "profiles"))
	if err != nil {
		return nil, err
	}
	dir := s.path("conf", "firmware")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var out []string
	for _, p := range list {
		for _, c := range p.Firmware.Components {
			rest, ok := strings.CutPrefix(c.File, p.Match.DeviceTypes[0]+"-")
			component, _, ok2 := strings.Cut(rest, "-")
			if !ok || !ok2 {
				return nil, fmt.Errorf("profile %s: file %q is not named <device type>-<component>-<version>.box", p.Name, c.File)
			}
			file := filepath.Join(dir, c.File)
			if err := atomicfile.Write(file, sim.FirmwareImage(component, c.Version)); err != nil {
				return nil, err
			}
			out = append(out, file)
		}
	}
	return out, nil
}

// once makes the content of a file in conf, unless the file is there.
func (s *Stack) once(name string, makeIt func() (string, error)) error {
	file := s.path("conf", name)
	if _, err := os.Stat(file); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content, err := makeIt()
	if err != nil {
		return err
	}
	return atomicfile.Write(file, []byte(strings.TrimSpace(content)+"\n"))
}

// waitReady waits until the API answers that it is ready.
func (s *Stack) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("not asked yet")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.API()+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			if err := res.Body.Close(); err != nil {
				return err
			}
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API at %s is not ready: %w", s.API(), last)
		case <-tick.C:
		}
	}
}

// command runs one of the product's commands in this process. What it says goes to our log.
func (s *Stack) command(ctx context.Context, args ...string) error {
	return s.commandTo(ctx, io.Discard, args...)
}

func (s *Stack) commandTo(ctx context.Context, out io.Writer, args ...string) error {
	said := &tail{next: s.said}
	if code := cli.Main(ctx, cli.Streams{In: strings.NewReader(""), Out: out, Err: said}, args); code != cli.ExitOK && ctx.Err() == nil {
		return fmt.Errorf("cagenut %s ended with %d: %s", args[0], code, said.last)
	}
	return nil
}

// tail passes on what is written and keeps the lines since the last that was no log.
type tail struct {
	next io.Writer
	last string
}

func (t *tail) Write(p []byte) (int, error) {
	for line := range strings.SplitSeq(strings.TrimSpace(string(p)), "\n") {
		switch {
		case strings.HasPrefix(line, "cagenut: "):
			t.last = strings.TrimPrefix(line, "cagenut: ")
		case !strings.HasPrefix(line, "{"):
			t.last += "; " + strings.TrimSpace(line)
		}
	}
	return t.next.Write(p)
}
