package bmctest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

func text(v any) string { return fmt.Sprint(v) }

func (s suite) settings(t *testing.T) {
	c := s.open(t)
	before, unsupported, err := c.ManagerSettings(t.Context())
	if !s.must(t, Settings, "ManagerSettings", err) {
		s.must(t, Settings, "SetManagerSettings", c.SetManagerSettings(t.Context(), bmc.ManagerSettings{Hostname: "x"}))
		return
	}
	on := true
	for _, tt := range []struct {
		needs Capability
		want  bmc.ManagerSettings
		shown func(now bmc.ManagerSettings) any
		back  bmc.ManagerSettings
	}{
		{NTP, bmc.ManagerSettings{NTPServers: []string{"192.0.2.11", "192.0.2.12"}, NTPEnabled: &on},
			func(n bmc.ManagerSettings) any { return n.NTPServers }, bmc.ManagerSettings{NTPServers: before.NTPServers, NTPEnabled: before.NTPEnabled}},
		{DNS, bmc.ManagerSettings{DNSServers: []string{"192.0.2.13"}}, func(n bmc.ManagerSettings) any { return n.DNSServers },
			bmc.ManagerSettings{DNSServers: before.DNSServers}},
		{Syslog, bmc.ManagerSettings{Syslog: "192.0.2.14:514"}, func(n bmc.ManagerSettings) any { return n.Syslog },
			bmc.ManagerSettings{Syslog: before.Syslog}},
		{Hostname, bmc.ManagerSettings{Hostname: "conformance-1"}, func(n bmc.ManagerSettings) any { return n.Hostname },
			bmc.ManagerSettings{Hostname: before.Hostname}},
	} {
		field := strings.TrimPrefix(string(tt.needs), "settings/")
		if slices.Contains(unsupported, field) != s.lacks(tt.needs) {
			t.Errorf("unsupported is %v, and the target lacks %s: %v", unsupported, tt.needs, s.lacks(tt.needs))
		}
		set := func() error { return c.SetManagerSettings(t.Context(), tt.want) }
		if !s.must(t, tt.needs, "SetManagerSettings("+field+")", set()) {
			continue
		}
		until(t, 30*time.Second, field, func() (bool, any) {
			now, _, err := c.ManagerSettings(t.Context())
			if errors.Is(err, bmc.ErrPinChanged) || errors.Is(err, bmc.ErrUnreachable) {
				// A new host name may bring a restart and a new certificate: meet it anew.
				c = s.reopen(t, c)
			}
			return err == nil && text(tt.shown(now)) == text(tt.shown(tt.want)), fmt.Sprint(tt.shown(now), " ", err)
		})
		s.sendsNothing(t, "SetManagerSettings("+field+")", set)
		if err := c.SetManagerSettings(t.Context(), tt.back); err != nil {
			t.Errorf("setting %s back: %v", field, err)
		}
	}
	c = s.reopen(t, c)
	if s.must(t, Clock, "SetManagerSettings(clock)", c.SetManagerSettings(t.Context(), bmc.ManagerSettings{Clock: time.Now()})) {
		until(t, 30*time.Second, "clock", func() (bool, any) {
			now, _, err := c.ManagerSettings(t.Context())
			return err == nil && time.Since(now.Clock).Abs() < 10*time.Second, now.Clock
		})
	}
}

// reopen gives c back before it logs in anew: a BMC has few sessions.
func (s suite) reopen(t *testing.T, c bmc.Controller) bmc.Controller {
	t.Helper()
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	return s.open(t)
}

func (s suite) firmware(t *testing.T) {
	c := s.open(t)
	list, err := c.Firmware(t.Context())
	if s.must(t, FirmwareList, "Firmware", err) {
		if len(list) == 0 {
			t.Error("no firmware component")
		}
		for _, f := range list {
			if f.ID == "" || f.URI == "" {
				t.Errorf("component %+v has no ID or URI", f)
			}
		}
	}
	for _, way := range []struct {
		needs Capability
		push  bool
	}{{FirmwareFetch, false}, {FirmwarePush, true}} {
		if s.lacks(way.needs) {
			u := bmc.FirmwareUpdate{ImageURI: "http://192.0.2.1/fw.bin", Name: "fw.bin"}
			if way.push {
				u = bmc.FirmwareUpdate{Name: "fw.bin", Size: 1, Push: true, Open: openByte}
			}
			_, err := c.StartUpdate(t.Context(), u)
			s.must(t, way.needs, "StartUpdate", err)
			continue
		}
		s.update(t, c, way.push)
	}
}

func (s suite) update(t *testing.T, c bmc.Controller, push bool) {
	t.Helper()
	u := s.Update(t)
	before, err := c.Tasks(t.Context())
	if err != nil {
		t.Fatalf("Tasks: %v", err)
	}
	ask := bmc.FirmwareUpdate{ImageURI: u.URI, Name: u.Name, Targets: u.Targets}
	if push {
		ask = bmc.FirmwareUpdate{Name: u.Name, Size: u.Size, Open: u.Open, Targets: u.Targets, Push: true}
	}
	ref, err := c.StartUpdate(t.Context(), ask)
	if err != nil {
		t.Fatalf("StartUpdate: %v", err)
	}
	// After a crash the caller has no reference: the list of tasks must lead to what was started.
	if after, err := c.Tasks(t.Context()); err != nil || ref.URI != "" && len(after) <= len(before) {
		t.Errorf("Tasks() gives %d before and %d after StartUpdate, %v", len(before), len(after), err)
	}
	shown := func() (bool, any) {
		list, err := c.Firmware(t.Context())
		seen := []string{}
		for _, f := range list {
			if f.Name == u.Component {
				seen = append(seen, f.Version)
			}
		}
		return slices.Contains(seen, u.Version), fmt.Sprint(seen, " ", err)
	}
	ended := func() (bool, any) {
		state, err := c.Task(t.Context(), ref)
		if state.Done && !state.OK {
			t.Errorf("the task failed: %+v", state)
		}
		return err == nil && (state.Done || state.Gone), fmt.Sprint(state, " ", err)
	}
	// Some machines' tasks wait for the host's reboot, with the standard's state for that.
	until(t, time.Minute, "the update's task", func() (bool, any) {
		ok, seen := ended()
		state, _ := c.Task(t.Context(), ref)
		return ok || state.State == "Pending", seen
	})
	if now, _ := shown(); !now {
		s.switchTo(t, c, bmc.PowerActionOff, bmc.PowerOff)
		s.switchTo(t, c, bmc.PowerActionOn, bmc.PowerOn)
	}
	until(t, time.Minute, "the update's task after the reboot", ended)
	until(t, time.Minute, "version "+u.Version+" of "+u.Component, shown)
}

func (s suite) tasks(t *testing.T) {
	c := s.open(t)
	all, err := c.Tasks(t.Context())
	if !s.must(t, Tasks, "Tasks", err) {
		_, err := c.Task(t.Context(), bmc.TaskRef{URI: "/redfish/v1/TaskService/Tasks/none"})
		if err != nil {
			s.must(t, Tasks, "Task", err)
		}
		return
	}
	for _, task := range all {
		if task.URI == "" || task.State == "" {
			t.Errorf("task %+v has no URI or state", task)
		}
	}
	none, err := c.Task(t.Context(), bmc.TaskRef{URI: "/redfish/v1/TaskService/Tasks/no-such-task"})
	if err != nil || !none.Gone {
		t.Errorf("a task that the BMC does not know: %+v, %v; want Gone", none, err)
	}
}

func (s suite) events(t *testing.T) {
	c := s.open(t)
	all, err := c.Events(t.Context(), 50)
	if !s.must(t, Events, "Events", err) {
		return
	}
	if len(all) == 0 || len(all) > 50 {
		t.Fatalf("%d events, want 1 to 50", len(all))
	}
	for i, e := range all {
		if e.Message == "" {
			t.Errorf("event %+v has no message", e)
		}
		if i > 0 && e.Time > all[i-1].Time {
			t.Errorf("event %d at %s stands after one at %s; want the newest first", i, e.Time, all[i-1].Time)
		}
	}
	if one, err := c.Events(t.Context(), 1); err != nil || len(one) != 1 || one[0].ID != all[0].ID {
		t.Errorf("Events(1) = %+v, %v; want the newest, %+v", one, err, all[0])
	}
}

// context: every call ends when its context does.
func (s suite) context(t *testing.T) {
	c := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Writes != nil {
		s.Writes(t)
	}
	for name, call := range map[string]func() error{
		"Identify":        func() error { _, err := c.Identify(ctx); return err },
		"Read":            func() error { _, err := c.Read(ctx, bmc.ScopeComplete); return err },
		"PowerState":      func() error { _, err := c.PowerState(ctx); return err },
		"SetPower":        func() error { return c.SetPower(ctx, bmc.PowerActionOff) },
		"BootOverride":    func() error { _, err := c.BootOverride(ctx); return err },
		"SetBootOverride": func() error { return c.SetBootOverride(ctx, bmc.BootOverride{Device: bmc.BootPXE, Once: true}) },
		"InsertMedia":     func() error { return c.InsertMedia(ctx, "http://192.0.2.1/x.iso") },
		"EjectMedia":      func() error { return c.EjectMedia(ctx) },
		"Accounts":        func() error { _, err := c.Accounts(ctx); return err },
		"SetPassword":     func() error { return c.SetPassword(ctx, "nobody", "x") },
		"ManagerSettings": func() error { _, _, err := c.ManagerSettings(ctx); return err },
		"BIOS":            func() error { _, err := c.BIOS(ctx); return err },
		"Firmware":        func() error { _, err := c.Firmware(ctx); return err },
		"Tasks":           func() error { _, err := c.Tasks(ctx); return err },
		"Events":          func() error { _, err := c.Events(ctx, 1); return err },
	} {
		start := time.Now()
		err := call()
		if err == nil {
			t.Errorf("%s with an ended context succeeded", name)
		}
		checkError(t, name, err)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s with an ended context took %s", name, d)
		}
	}
	if s.Writes != nil {
		if w := s.Writes(t); len(w) > 0 {
			t.Errorf("calls with an ended context changed %v", w)
		}
	}
}

func (s suite) concurrency(t *testing.T) {
	c := s.open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.PowerState(t.Context()); err != nil {
				t.Errorf("PowerState: %v", err)
			}
			if _, err := c.BootOverride(t.Context()); err != nil {
				t.Errorf("BootOverride: %v", err)
			}
		})
	}
	wg.Wait()
}

func (s suite) accounts(t *testing.T) {
	c := s.open(t)
	all, err := c.Accounts(t.Context())
	if s.must(t, AccountList, "Accounts", err) &&
		!slices.ContainsFunc(all, func(a bmc.Account) bool { return a.User == s.User && a.Enabled }) {
		t.Errorf("Accounts() = %+v without the enabled %s", all, s.User)
	}
	if s.lacks(Password) {
		s.must(t, Password, "SetPassword", c.SetPassword(t.Context(), s.User, s.Password+"y"))
		return
	}
	s.sendsNothing(t, "SetPassword to what it is", func() error { return c.SetPassword(t.Context(), s.User, s.Password) })
	if err := c.SetPassword(t.Context(), "no-such-user", s.OtherPassword); !errors.Is(err, bmc.ErrRejected) {
		t.Errorf("an unknown account: %v, want %v", err, bmc.ErrRejected)
	}
	if err := c.SetPassword(t.Context(), s.User, s.OtherPassword); err != nil {
		t.Fatalf("SetPassword: %v", err)
	}
	changed, err := s.Open(t.Context(), s.User, s.OtherPassword)
	if err != nil {
		t.Fatalf("log in with the new password: %v", err)
	}
	defer changed.Close(context.Background())
	if err := c.Close(t.Context()); err != nil { // what changed the password is good for Close alone
		t.Errorf("close: %v", err)
	}
	if _, err := changed.PowerState(t.Context()); err != nil {
		t.Errorf("PowerState with the new password: %v", err)
	}
	if old, err := s.Open(t.Context(), s.User, s.Password); err == nil {
		if _, err := old.PowerState(t.Context()); !errors.Is(err, bmc.ErrBadCredentials) {
			t.Errorf("the old password: %v, want %v", err, bmc.ErrBadCredentials)
		}
		old.Close(context.Background())
	} else if !errors.Is(err, bmc.ErrBadCredentials) {
		t.Errorf("the old password: %v, want %v", err, bmc.ErrBadCredentials)
	}
	if err := changed.SetPassword(t.Context(), s.User, s.Password); err != nil {
		t.Fatalf("changing it back: %v", err)
	}
}

// sessions: when everything is closed, nothing is left on the BMC.
func (s suite) sessions(t *testing.T) {
	c, err := s.Open(t.Context(), s.User, s.Password)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(c.Close(ctx), c.Close(ctx)); err != nil {
		t.Errorf("Close with an ended context, twice: %v", err)
	}
	if s.Sessions == nil {
		return
	}
	if n := s.Sessions(t); n != 0 {
		t.Errorf("%d sessions are open on the BMC after everything was closed", n)
	}
}

func openByte() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
