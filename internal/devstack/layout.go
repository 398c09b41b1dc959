package devstack

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"

	"github.com/cagenut/cagenut/internal/atomicfile"
	"github.com/cagenut/cagenut/internal/sim"
)

//go:embed profiles/*.yaml
var profiles embed.FS

// Stack is a folder with everything in it:
//
//	stack.json      settings that a restart keeps: addresses, speeds, the administrator's NetBox token
//	conf/           cagenut.yaml, profiles/, keys and tokens
//	postgres/ temporal.sqlite box/ netbox/ salt/
//	state/ firmware/ audit-head.json
//	cagenut-dev.log what Temporal logs, and what all programs of `up` and `demo` log
type Stack struct {
	dir  string
	set  settings
	rack sim.Rack
	log  *slog.Logger
	said io.Writer

	engine Engine // nil: part temporal cannot run in this process

	announced bool // see announce
}

type settings struct {
	NetBox        string  `json:"netbox"` // host:port
	NetBoxAdmin   string  `json:"netbox_admin_token"`
	API           string  `json:"api"`
	Serve         string  `json:"serve"` // firmware to BMCs, and what machines boot
	BoxAdmin      string  `json:"box_admin"`
	BMCPort       int     `json:"bmc_port"`
	TemporalPorts [4]int  `json:"temporal_ports"`
	Speed         float64 `json:"speed"`
	Latency       float64 `json:"latency"`
	Faster        int     `json:"faster"`
	Salt          string  `json:"salt"` // host:port of the box's salt-api
	SaltPassword  string  `json:"salt_password"`
	MinionsURL    string  `json:"minions_url,omitempty"`
	TemporalStore string  `json:"temporal_store,omitempty"` // empty: sqlite
	PostgresPort  int     `json:"postgres_port,omitempty"`  // for Temporal on PostgreSQL
	// Rack is what the box runs, so that a part in a process of its own runs the same.
	Rack sim.Rack   `json:"rack"`
	More []sim.Rack `json:"more_racks,omitempty"`
}

// Open makes the folder, or goes on with the one that is there.
func Open(o Options) (*Stack, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Rack.Name == "" {
		o.Rack = sim.DefaultRack()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{dir: dir, log: o.Log, said: o.Said, engine: o.Engine}
	if s.said == nil {
		s.said = io.Discard
	}
	// The folder itself can be entered by PostgreSQL's user; what is secret in it cannot.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the stack's folder: %w", err)
	}
	for _, sub := range []string{"conf", "conf/profiles", "state", "firmware", "box", "netbox", "salt"} {
		if err := os.MkdirAll(s.path(sub), 0o700); err != nil {
			return nil, fmt.Errorf("make the stack's folder: %w", err)
		}
	}
	raw, err := os.ReadFile(s.path("stack.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if s.set, err = newSettings(o); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(raw, &s.set); err != nil {
			return nil, fmt.Errorf("%s: %w; remove the folder to begin anew", s.path("stack.json"), err)
		}
	}
	s.rack = s.set.Rack
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // Temporal would let others read it
	if err != nil {
		return nil, fmt.Errorf("make the stack's log: %w", err)
	}
	return s, errors.Join(s.write(), log.Close())
}

func newSettings(o Options) (settings, error) {
	token := make([]byte, 20)
	if _, err := rand.Read(token); err != nil {
		return settings{}, err
	}
	set := settings{NetBoxAdmin: hex.EncodeToString(token), Speed: o.Speed, Latency: o.Latency, Faster: o.Faster, Rack: o.Rack, More: o.More, TemporalStore: o.TemporalStore, MinionsURL: o.MinionsURL}
	if s := o.TemporalStore; s != "" && s != StoreSQLite && s != StorePostgres {
		return set, fmt.Errorf("store of Temporal %q: use %s or %s", s, StoreSQLite, StorePostgres)
	}
	if set.Speed == 0 {
		set.Speed = 20
	}
	if set.Faster == 0 {
		set.Faster = 10
	}
	set.SaltPassword = rand.Text()
	ports, err := freePorts(11)
	if err != nil {
		return set, err
	}
	local := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
	set.NetBox, set.API, set.Serve, set.BoxAdmin, set.BMCPort = local(ports[0]), local(ports[1]), local(ports[2]), local(ports[3]), ports[4]
	copy(set.TemporalPorts[:], ports[5:])
	set.PostgresPort, set.Salt = ports[9], local(ports[10])
	return set, nil
}

// freePorts finds ports that nobody uses now, all different. They are below those that the kernel
// hands out by itself, so that a stack that was down for a while mostly finds them free again, and
// begin anywhere, so that stacks that are made at the same moment do not choose the same.
func freePorts(n int) ([]int, error) {
	const low, high = 17780, 32000
	var out []int
	begin := mrand.IntN(high - low)
	for i := 0; len(out) < n && i < high-low; i++ {
		port := low + (begin+i)%(high-low)
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		out = append(out, port)
	}
	if len(out) < n {
		return nil, fmt.Errorf("no %d free ports between %d and %d", n, low, high)
	}
	return out, nil
}

// checkPorts tells in the stack's words of a port that another program has taken: what listens there
// names settings that nobody here has written.
func (s *Stack) checkPorts(ctx context.Context) error {
	uses := []struct{ what, address string }{
		{"NetBox", s.set.NetBox}, {"the API", s.set.API}, {"the firmware server", s.set.Serve}, {"the box", s.set.BoxAdmin},
		{"Salt", s.set.Salt},
	}
	for _, port := range s.set.TemporalPorts {
		uses = append(uses, struct{ what, address string }{"Temporal", fmt.Sprintf("127.0.0.1:%d", port)})
	}
	for _, u := range uses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", u.address)
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			return fmt.Errorf("the port of %s in this stack is taken (%w): end what listens there, or remove %s to begin anew with other ports", u.what, err, s.dir)
		}
	}
	return nil
}

// logFile is where logs go that are not for a person's eyes.
func (s *Stack) logFile() string { return s.path("cagenut-dev.log") }

func (s *Stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// ConfigFile is the configuration of the product's programs.
func (s *Stack) ConfigFile() string { return s.path("conf", "cagenut.yaml") }

// Dir is the stack's folder.
func (s *Stack) Dir() string { return s.dir }

// API is the address of the API.
func (s *Stack) API() string { return "http://" + s.set.API }

// NetBox is the URL of the box's NetBox, and the token of its administrator.
func (s *Stack) NetBox() (url, adminToken string) { return "http://" + s.set.NetBox, s.set.NetBoxAdmin }

// BoxAdmin is the URL of the box's admin API.
func (s *Stack) BoxAdmin() string { return "http://" + s.set.BoxAdmin }

// BMCPort is the port of every Redfish BMC of the site.
func (s *Stack) BMCPort() int { return s.set.BMCPort }

// Temporal is the address of the Temporal server.
func (s *Stack) Temporal() string { return fmt.Sprintf("127.0.0.1:%d", s.set.TemporalPorts[0]) }

// AdminToken is the file of the administrator's API token.
func (s *Stack) AdminToken() string { return s.path("conf", "admin-token") }

// Rack is the first rack that the box runs.
func (s *Stack) Rack() sim.Rack { return s.rack }

// Racks are all racks of the box.
func (s *Stack) Racks() []sim.Rack { return append([]sim.Rack{s.rack}, s.set.More...) }

// Servers lists the machines of all racks of the box.
func (s *Stack) Servers() []sim.PlannedDevice {
	var out []sim.PlannedDevice
	for _, r := range s.Racks() {
		out = append(out, r.Servers()...)
	}
	return out
}

// write puts settings, keys, profiles and the configuration in place. Keys that are there are kept.
func (s *Stack) write() error {
	raw, err := json.MarshalIndent(s.set, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(s.path("stack.json"), append(raw, '\n')); err != nil {
		return err
	}
	if err := atomicfile.Write(s.path("conf", "salt-password"), []byte(s.set.SaltPassword+"\n")); err != nil {
		return err
	}
	for _, name := range []string{"secrets.key", "audit.key"} {
		if err := makeKey(s.path("conf", name)); err != nil {
			return err
		}
	}
	names, err := fs.Glob(profiles, "profiles/*.yaml")
	if err != nil {
		return err
	}
	for _, name := range names {
		body, err := profiles.ReadFile(name)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(s.path("conf", name), body); err != nil {
			return err
		}
	}
	return atomicfile.Write(s.ConfigFile(), []byte(s.config()))
}

// makeKey writes 32 random bytes in base64, unless the file is there.
func makeKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	return atomicfile.Write(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
}
