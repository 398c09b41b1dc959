package sim_test

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simclient"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

const system = "/redfish/v1/Systems/1"

func faulty(t *testing.T, f sim.Fault) (*sim.Box, *simtest.Client) {
	t.Helper()
	box := simtest.Start(t, ready(sim.FlavourBase))
	if _, err := box.AddFault(f); err != nil {
		t.Fatal(err)
	}
	return box, simtest.Login(t, box.Machines()[0])
}

func TestFaultsFireAsOftenAsAsked(t *testing.T) {
	box, c := faulty(t, sim.Fault{Method: "GET", Path: "Systems/1$", Action: sim.ActStatus, Status: 503, Body: `{"error":{}}`, Count: 2})
	c.Do(http.StatusOK, "GET", "/redfish/v1/Systems", nil)
	c.Do(http.StatusServiceUnavailable, "GET", system, nil)
	c.Do(http.StatusServiceUnavailable, "GET", system, nil)
	c.Do(http.StatusOK, "GET", system, nil)
	if f := box.Faults()[0]; f.Fired != 2 {
		t.Errorf("fired %d times", f.Fired)
	}
	if !box.RemoveFault("") || len(box.Faults()) != 0 {
		t.Error("the rules are still there")
	}
}

func TestFaultsLetSomeRequestsPass(t *testing.T) {
	_, c := faulty(t, sim.Fault{Method: "GET", Path: "Systems/1$", Action: sim.ActStatus, Status: 503, Body: `{"error":{}}`, Skip: 2})
	c.Do(http.StatusOK, "GET", system, nil)
	c.Do(http.StatusOK, "GET", "/redfish/v1/Systems", nil)
	c.Do(http.StatusOK, "GET", system, nil)
	c.Do(http.StatusServiceUnavailable, "GET", system, nil)
	c.Do(http.StatusOK, "GET", system, nil)
}

func TestFaultsOnlyOnTheirMachine(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase), ready(sim.FlavourBase))
	if _, err := box.AddFault(sim.Fault{Machine: "machine-2", Action: sim.ActStatus, Status: 500, Count: -1}); err != nil {
		t.Fatal(err)
	}
	simtest.Login(t, box.Machines()[0]).Do(http.StatusOK, "GET", system, nil)
	for range 3 {
		simtest.Login(t, box.Machines()[1]).Do(http.StatusInternalServerError, "GET", system, nil)
	}
}

func TestAnswersAreSpoilt(t *testing.T) {
	for _, action := range []string{sim.ActReset, sim.ActHang} {
		t.Run(action, func(t *testing.T) {
			_, c := faulty(t, sim.Fault{Path: "Systems/1$", Action: action})
			c.HTTP.Timeout = time.Second
			if a, err := c.Try("GET", system, nil); err == nil {
				t.Errorf("answered %d", a.Status)
			}
			c.Get(system)
		})
	}
	for action, spoilt := range map[string]func(simtest.Answer) bool{
		sim.ActHTML:        func(a simtest.Answer) bool { return a.Header.Get("Content-Type") == "text/html" && a.Body == nil },
		sim.ActMalformed:   func(a simtest.Answer) bool { return a.Status == 200 && len(a.Raw) > 100 && a.Body == nil },
		sim.ActBig:         func(a simtest.Answer) bool { return len(a.Raw) > 10_000_000 },
		sim.ActWrongSerial: func(a simtest.Answer) bool { return a.Body["SerialNumber"] == "OTHER1" },
		sim.ActLatency:     func(a simtest.Answer) bool { return a.Status == 200 },
		sim.ActDrip:        func(a simtest.Answer) bool { return a.Body["v1"] == "/redfish/v1/" },
	} {
		t.Run(action, func(t *testing.T) {
			path := system
			if action == sim.ActDrip {
				path = "/redfish" // short
			}
			_, c := faulty(t, sim.Fault{Path: "^" + path + "$", Action: action, Size: 10 << 20, Serial: "OTHER1", DelayMS: 1})
			if a := c.Do(0, "GET", path, nil); !spoilt(a) {
				t.Errorf("got %d %s", a.Status, bytes.TrimSpace(a.Raw[:min(200, len(a.Raw))]))
			}
			if s := c.Get(system)["SerialNumber"]; s != "SNMACHINE-1" {
				t.Errorf("the second answer is spoilt too: %v", s)
			}
		})
	}
}

// Before the effect nothing happened; after it everything did.
func TestPhases(t *testing.T) {
	for phase, want := range map[string]string{sim.Before: "", sim.After: "tagged"} {
		for _, action := range []string{sim.ActStatus, sim.ActReset} {
			t.Run(phase+" "+action, func(t *testing.T) {
				box, c := faulty(t, sim.Fault{Method: "PATCH", Phase: phase, Action: action, Status: 502})
				a, err := c.Try("PATCH", system, object{"AssetTag": "tagged"})
				if (err == nil) != (action == sim.ActStatus) || err == nil && a.Status != 502 {
					t.Errorf("got %d, %v", a.Status, err)
				}
				if tag := c.Get(system)["AssetTag"]; tag != want {
					t.Errorf("asset tag: got %q, want %q", tag, want)
				}
				if n := len(box.Journal(sim.Query{Kind: sim.KindRequest})); n != 1 {
					t.Errorf("requests in the journal: %d", n)
				}
			})
		}
	}
}

func TestFaultsOfTheMachine(t *testing.T) {
	t.Run("power ignored", func(t *testing.T) {
		box, c := faulty(t, sim.Fault{Action: sim.ActPowerIgnored, Path: "Reset$"})
		resetTo(c, http.StatusNoContent, "ForceOff")
		if p := c.Get(system)["PowerState"]; p != "On" || len(effects(box, box.Machines()[0])) != 0 {
			t.Errorf("power: %v", p)
		}
	})
	t.Run("stuck task", func(t *testing.T) {
		box, clock := timed(t, ready(sim.FlavourBase))
		if _, err := box.AddFault(sim.Fault{Action: sim.ActStuckTask, Path: "MultipartUpload"}); err != nil {
			t.Fatal(err)
		}
		c := simtest.Login(t, box.Machines()[0])
		a := c.Do(http.StatusAccepted, "POST", "/redfish/v1/UpdateService/MultipartUpload", multipartImage(t, "psu", "3"), "Content-Type", multipartType)
		clock.Advance(time.Hour)
		if k := c.Get(a.Body["@odata.id"].(string)); k["TaskState"] != "Running" || k["PercentComplete"] != 42.0 {
			t.Errorf("task: %v", k)
		}
	})
	t.Run("expired session", func(t *testing.T) {
		box, c := faulty(t, sim.Fault{Action: sim.ActExpiredSession, Path: "Systems/1$"})
		c.Token = login(c, http.StatusCreated).Header.Get("X-Auth-Token")
		c.Do(http.StatusUnauthorized, "GET", system, nil)
		if n := box.Sessions()[0].Open; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
	t.Run("certificate", func(t *testing.T) {
		box, c := faulty(t, sim.Fault{Action: sim.ActCertificate, Path: "Systems/1$"})
		c.Get("/redfish/v1")
		before := box.Machines()[0].Summary().Fingerprint
		if _, err := c.Try("GET", system, nil); err == nil {
			t.Error("answered")
		}
		if box.Machines()[0].Summary().Fingerprint == before {
			t.Error("the certificate is the same")
		}
		c.HTTP = simtest.PinnedClient()
		c.Get(system)
	})
}

func TestFaultsAreChecked(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase))
	for _, f := range []sim.Fault{
		{Machine: sim.Salt, Action: sim.ActMalformed}, {Action: sim.ActMinionLost}, {Machine: sim.NetBox, Action: sim.ActMinionSays},
		{}, {Action: "explode"}, {Action: sim.ActStatus}, {Action: sim.ActDrip}, {Action: sim.ActWrongSerial},
		{Action: sim.ActHang, Path: "("}, {Action: sim.ActHang, Phase: "during"}, {Action: sim.ActStuckTask, Phase: sim.After},
	} {
		if _, err := box.AddFault(f); err == nil {
			t.Errorf("accepted: %+v", f)
		}
	}
}

// Holds, as the kill harness uses them: through the admin API.
func TestHolds(t *testing.T) {
	for phase, want := range map[string]string{sim.Before: "", sim.After: "held"} {
		t.Run(phase+", client gone", func(t *testing.T) {
			box, admin, c, ctx := held(t, phase)
			ctx2, cancel := context.WithCancel(ctx)
			var wg sync.WaitGroup
			wg.Go(func() { c.patchUntilDone(ctx2) })
			h := waitHold(t, ctx, admin)
			if h.Machine != "machine-1" || h.Method != "PATCH" || h.Path != system || h.Phase != phase {
				t.Errorf("hold: %+v", h)
			}
			cancel()
			wg.Wait()
			simtest.Eventually(t, "the hold ends", func() bool { return len(box.Holds()) == 0 })
			simtest.Eventually(t, "the request is in the journal", func() bool {
				return len(box.Journal(sim.Query{Kind: sim.KindRequest})) == 1
			})
			if tag := c.Get(system)["AssetTag"]; tag != want {
				t.Errorf("asset tag: got %q, want %q", tag, want)
			}
		})
		t.Run(phase+", released", func(t *testing.T) {
			_, admin, c, ctx := held(t, phase)
			var wg sync.WaitGroup
			var status int
			wg.Go(func() { status = c.patchUntilDone(ctx) })
			h := waitHold(t, ctx, admin)
			// The answer is kept back, the BMC is not.
			if tag := c.Get(system)["AssetTag"]; tag != want {
				t.Errorf("asset tag while held: got %q, want %q", tag, want)
			}
			if err := admin.Release(ctx, h.ID); err != nil {
				t.Error(err)
			}
			wg.Wait()
			if tag := c.Get(system)["AssetTag"]; tag != "held" || status != http.StatusOK {
				t.Errorf("after the release: %d, asset tag %q", status, tag)
			}
			if err := admin.Release(ctx, h.ID); err == nil {
				t.Error("released twice")
			}
		})
	}
}

type holdClient struct{ *simtest.Client }

func (c holdClient) patchUntilDone(ctx context.Context) int {
	req, err := http.NewRequestWithContext(ctx, "PATCH", c.Base+system, bytes.NewReader([]byte(`{"AssetTag":"held"}`)))
	if err != nil {
		c.T.Error(err)
		return 0
	}
	req.SetBasicAuth(c.User, c.Password)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func held(t *testing.T, phase string) (*sim.Box, *simclient.Client, holdClient, context.Context) {
	t.Helper()
	box := simtest.Start(t, ready(sim.FlavourBase))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	admin := simclient.New(box.AdminURL())
	// Only mutating requests are held, so that the GETs of the test pass.
	if _, err := admin.AddFault(ctx, sim.Fault{Action: sim.ActHold, Phase: phase, Path: "^" + system + "$"}); err != nil {
		t.Fatal(err)
	}
	return box, admin, holdClient{simtest.Login(t, box.Machines()[0])}, ctx
}

func waitHold(t *testing.T, ctx context.Context, admin *simclient.Client) sim.Hold {
	t.Helper()
	f, err := admin.Faults(ctx)
	if err != nil {
		t.Fatal(err)
	}
	h, err := admin.WaitHold(ctx, f[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAdmin(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase), ready(sim.FlavourDell))
	ctx := context.Background()
	admin := simclient.New(box.AdminURL())
	c := simtest.Login(t, box.Machines()[0])
	c.Do(http.StatusOK, "PATCH", system, object{"AssetTag": "A1"})
	login(c, http.StatusCreated)

	entries, err := admin.Journal(ctx, sim.Query{Machine: "machine-1", Kind: sim.KindRequest})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Method+" "+e.Path+" by "+e.User)
	}
	want := []string{"PATCH /redfish/v1/Systems/1 by admin", "POST /redfish/v1/SessionService/Sessions by admin"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	since, err := admin.Journal(ctx, sim.Query{Since: entries[0].Seq, Kind: sim.KindRequest})
	if err != nil || len(since) != 1 {
		t.Errorf("since: %v, %v", since, err)
	}
	if err := admin.PowerLoss(ctx, "machine-2"); err != nil {
		t.Error(err)
	}
	if m, err := admin.Machine(ctx, "machine-2"); err != nil || m.Power != "Off" || !m.Away {
		t.Errorf("machine-2: %+v, %v", m, err)
	}
	if all, err := admin.Machines(ctx); err != nil || len(all) != 2 {
		t.Errorf("machines: %d, %v", len(all), err)
	}
	if s, err := admin.Sessions(ctx); err != nil || s[0].Open != 1 {
		t.Errorf("sessions: %+v, %v", s, err)
	}
	for _, err := range []error{
		admin.PowerLoss(ctx, "nobody"), admin.Release(ctx, "h9"), admin.RemoveFault(ctx, "f9"),
	} {
		if err == nil {
			t.Error("an unknown name was accepted")
		}
	}
	if _, err := admin.AddFault(ctx, sim.Fault{Action: "explode"}); err == nil {
		t.Error("an unknown action was accepted")
	}
}
