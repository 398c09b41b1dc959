package sim_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/sim"
	"github.com/cagenut/cagenut/internal/sim/simtest"
)

const sessions = "/redfish/v1/SessionService/Sessions"

func login(c *simtest.Client, want int) simtest.Answer {
	c.T.Helper()
	return c.Do(want, "POST", sessions, map[string]any{"UserName": c.User, "Password": c.Password})
}

func TestSessions(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourBase))
	m := box.Machines()[0]
	c := simtest.Login(t, m)
	var first simtest.Answer
	for i := range 8 {
		if a := login(c, http.StatusCreated); i == 0 {
			first = a
		}
		clock.Advance(time.Minute)
	}
	if id := simtest.At(login(c, http.StatusServiceUnavailable).Body, "error", "code"); id != "Base.1.18.SessionLimitExceeded" {
		t.Errorf("ninth session: %v", id)
	}
	if got := box.Sessions()[0]; got != (sim.Sessions{Machine: m.Name(), Open: 8, Max: 8, Limit: 8}) {
		t.Errorf("sessions: %+v", got)
	}

	// The first stays in use, the others idle away.
	kept := *c
	kept.User, kept.Token = "", first.Header.Get("X-Auth-Token")
	clock.Advance(15 * time.Minute)
	kept.Get("/redfish/v1/Systems")
	clock.Advance(16 * time.Minute)
	kept.Get("/redfish/v1/Systems")
	if got := box.Sessions()[0].Open; got != 1 {
		t.Errorf("sessions after half an hour: %d, want 1", got)
	}
	kept.Do(http.StatusNoContent, "DELETE", first.Header.Get("Location"), nil)
	kept.Do(http.StatusUnauthorized, "GET", "/redfish/v1/Systems", nil)
	counts := map[string]int{}
	for _, e := range box.Journal(sim.Query{Kind: sim.KindEffect}) {
		counts[e.Effect]++
	}
	want := map[string]int{sim.EffectSessionOpened: 8, sim.EffectSessionExpired: 7, sim.EffectSessionClosed: 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
}

func TestWhoMayReadWhat(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourBase))
	c := simtest.Login(t, box.Machines()[0])
	nobody := *c
	nobody.User = ""
	for path, want := range map[string]int{
		"/redfish": 200, "/redfish/v1": 200, "/redfish/v1/": 200, "/redfish/v1/odata": 200, "/redfish/v1/$metadata": 200,
		"/redfish/v1/Systems": 401, sessions: 401,
	} {
		nobody.Do(want, "GET", path, nil)
	}
	c.Do(http.StatusCreated, "POST", "/redfish/v1/AccountService/Accounts", map[string]any{"UserName": "eve", "Password": "Readonly1", "RoleId": "ReadOnly"})
	eve := *c
	eve.User, eve.Password = "eve", "Readonly1"
	eve.Get("/redfish/v1/Systems/1")
	eve.Do(http.StatusForbidden, "PATCH", "/redfish/v1/Systems/1", map[string]any{"AssetTag": "x"})
}

func TestFactoryPasswordMustBeChanged(t *testing.T) {
	for _, flavour := range []string{sim.FlavourBase, sim.FlavourSupermicro, sim.FlavourOpenBMC} {
		t.Run(flavour, func(t *testing.T) {
			box := simtest.Start(t, sim.MachineSpec{Flavour: flavour})
			c := simtest.Login(t, box.Machines()[0])
			a := c.Do(http.StatusForbidden, "GET", "/redfish/v1/Systems", nil)
			if id := simtest.At(a.Body, "error", "code"); id != "Base.1.18.PasswordChangeRequired" {
				t.Errorf("code: %v", id)
			}
			own := simtest.At(a.Body, "error", "@Message.ExtendedInfo", 0, "MessageArgs", 0).(string)
			s := login(c, http.StatusCreated)
			bySession := *c
			bySession.Token = s.Header.Get("X-Auth-Token")
			bySession.Do(http.StatusForbidden, "GET", "/redfish/v1/Systems", nil)
			bySession.Do(http.StatusBadRequest, "PATCH", own, map[string]any{"Password": c.Password})
			bySession.Do(http.StatusBadRequest, "PATCH", own, map[string]any{"Password": "short"})
			bySession.Do(0, "PATCH", own, map[string]any{"Password": "Another1Secret"})
			bySession.Get("/redfish/v1/Systems")
			c.Do(http.StatusUnauthorized, "GET", "/redfish/v1/Systems", nil)
			c.Password = "Another1Secret"
			c.Get("/redfish/v1/Systems")
			if got := box.Journal(sim.Query{Effect: sim.EffectPasswordChanged}); len(got) != 1 || got[0].Detail != c.User {
				t.Errorf("journal: %+v", got)
			}
		})
	}
}

func TestAccountsHaveSlotsOrArePosted(t *testing.T) {
	box := simtest.Start(t, ready(sim.FlavourDell), ready(sim.FlavourOpenBMC))
	dell := simtest.Login(t, box.Machines()[0])
	const accounts = "/redfish/v1/AccountService/Accounts"
	dell.Do(http.StatusMethodNotAllowed, "POST", accounts, map[string]any{"UserName": "eve", "Password": "Password1", "RoleId": "Operator"})
	if u := dell.Get(accounts + "/3")["UserName"]; u != "" {
		t.Errorf("slot 3: %v", u)
	}
	dell.Do(http.StatusOK, "PATCH", accounts+"/3", map[string]any{"UserName": "eve", "Password": "Password1", "RoleId": "Operator", "Enabled": true})
	eve := *dell
	eve.User, eve.Password = "eve", "Password1"
	eve.Get(accounts)
	dell.Do(http.StatusNoContent, "DELETE", accounts+"/3", nil)
	eve.Do(http.StatusUnauthorized, "GET", accounts, nil)

	open := simtest.Login(t, box.Machines()[1])
	a := open.Do(http.StatusCreated, "POST", accounts, map[string]any{"UserName": "eve", "Password": "Password1", "RoleId": "Operator"})
	if l := a.Header.Get("Location"); l != accounts+"/eve" {
		t.Errorf("Location: %s", l)
	}
	open.Do(http.StatusBadRequest, "DELETE", accounts+"/root", nil)
}

func TestWrongPasswordsLockTheAccount(t *testing.T) {
	box, clock := timed(t, ready(sim.FlavourHPE))
	c := simtest.Login(t, box.Machines()[0])
	wrong := *c
	wrong.Password = "guess"
	for range 5 {
		wrong.Do(http.StatusUnauthorized, "GET", "/redfish/v1/Systems", nil)
	}
	c.Do(http.StatusUnauthorized, "GET", "/redfish/v1/Systems", nil)
	if got := box.Journal(sim.Query{Effect: sim.EffectAccountLocked}); len(got) != 1 {
		t.Errorf("journal: %+v", got)
	}
	clock.Advance(31 * time.Second)
	c.Get("/redfish/v1/Systems")
}
