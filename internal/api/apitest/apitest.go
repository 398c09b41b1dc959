package apitest

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/internal/api"
	"github.com/cagenut/cagenut/internal/api/client"
	"github.com/cagenut/cagenut/internal/config"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/firmware"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
	"github.com/cagenut/cagenut/inventory"
)

// API is a running API with its fakes.
type API struct {
	URL    string
	Store  *MemoryStore
	Fleet  *Fleet
	Runs   *Runs
	Safe   *Safe
	Server *api.Server
	Clock  *Clock
	Files  *firmware.Store
	// MissingFile, when set, is a firmware file that the runbook does not find.
	MissingFile string
	// RackWindow, when set, is how many machines of a rack are worked on at once.
	RackWindow int

	mu       sync.Mutex
	profiles []profile.Profile
	problems error
}

func (a *API) plan(f plan.Facts, p profile.Profile, files []operation.FirmwareFile, until string) (plan.Target, error) {
	if a.MissingFile != "" {
		e := fault.New(fault.BadImage, "%s is missing", a.MissingFile)
		e.Details = []fault.Item{{Subject: "firmware file " + a.MissingFile, Remedy: "add it"}}
		return plan.Target{}, e
	}
	return TwoSteps(f, p, files, until)
}

// HookKey is the secret of NetBox's webhook.
const HookKey = "hook-secret"

// Clock is a clock that stands until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Move moves it on.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Start starts an API with a fleet of machines. It ends with the test.
func Start(t testing.TB, machines int) *API {
	t.Helper()
	store := NewMemoryStore()
	a := &API{Store: store, Fleet: NewFleet(machines), Runs: &Runs{Store: store}, Safe: &Safe{},
		Clock: &Clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		profiles: []profile.Profile{{Name: "box", Version: 3, Match: profile.Match{DeviceTypes: []string{"box-1u"}},
			BMC: profile.BMC{Protocol: "redfish", Account: "root"}}}}
	store.Clock = a.Clock.Now
	files, err := firmware.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	a.Files = files
	a.Server, err = api.New(api.Options{Store: store, Steerer: a.Runs, Inventory: a.Fleet, Secrets: a.Safe, Firmware: files, Planner: a.plan,
		Profiles: a.readProfiles, Sites: []string{"ams01", "fra01"}, Window: func(string) int { return 8 },
		RackWindow:  func(string) int { return a.RackWindow },
		Setup:       inventory.SetupOptions{User: "cagenut", WebhookURL: "https://cagenut.example/v1/netbox/webhook", WebhookKey: HookKey},
		OOBPrefixes: func(string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")} }, Version: "test",
		MaxFirmware: 1 << 20, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Clock: a.Clock.Now, EventPoll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(a.Server)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)
	srv.Start()
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	a.URL = srv.URL
	return a
}

func (a *API) readProfiles() ([]profile.Profile, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.profiles, a.problems
}

// SetProfiles changes what is in the profile folder.
func (a *API) SetProfiles(ps []profile.Profile, problems config.Problems) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.profiles, a.problems = ps, nil
	if problems != nil {
		a.problems = problems
	}
}

// Token makes a token and gives its secret.
func (a *API) Token(t testing.TB, person string, role operation.Role, sites ...string) string {
	t.Helper()
	token, secret, err := api.NewToken(person, role, sites, "test", a.Clock.Now(), time.Time{})
	if err == nil {
		err = a.Store.CreateToken(t.Context(), token, api.Sum(secret))
	}
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// As gives a client of a person with a role.
func (a *API) As(t testing.TB, role operation.Role, sites ...string) *client.Client {
	t.Helper()
	c, err := client.New(a.URL, a.Token(t, string(role)+"-person", role, sites...), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
