package bmctest

import (
	"errors"
	"strings"
	"testing"

	"github.com/cagenut/cagenut/bmc"
)

func (s suite) credentials(t *testing.T) {
	c, err := s.Open(t.Context(), s.User, s.Password+"x")
	if err == nil {
		// A driver may log in with its first request.
		_, err = c.PowerState(t.Context())
		defer c.Close(t.Context())
	}
	if !errors.Is(err, bmc.ErrBadCredentials) {
		t.Errorf("a wrong password: %v, want %v", err, bmc.ErrBadCredentials)
	}
	checkError(t, "open", err)
	if err != nil && strings.Contains(err.Error(), s.Password) {
		t.Errorf("the error tells the password: %v", err)
	}
}

func (s suite) identify(t *testing.T) {
	id, err := s.open(t).Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.lacks(Serial) {
		if id.Serial != "" {
			t.Errorf("serial %q from a target that has none", id.Serial)
		}
		return
	}
	if id.Serial != s.Serial || id.SerialSource == "" {
		t.Errorf("serial %q from %q, want %q", id.Serial, id.SerialSource, s.Serial)
	}
}

func (s suite) read(t *testing.T) {
	c := s.open(t)
	before := 0
	for _, scope := range []bmc.Scope{bmc.ScopeIdentity, bmc.ScopeHardware, bmc.ScopeComplete} {
		inv, err := c.Read(t.Context(), scope)
		if err != nil {
			t.Fatalf("Read(%s): %v", scope, err)
		}
		if inv.Schema != bmc.InventorySchema || inv.Scope != scope || inv.ReadAt.IsZero() || inv.Protocol == "" {
			t.Errorf("Read(%s): schema %q, scope %q, protocol %q, read at %v", scope, inv.Schema, inv.Scope, inv.Protocol, inv.ReadAt)
		}
		if len(inv.Systems)+len(inv.Chassis) == 0 {
			t.Errorf("Read(%s): neither a system nor a chassis", scope)
		}
		if !s.lacks(Serial) && inv.Identity.Serial != s.Serial {
			t.Errorf("Read(%s): serial %q, want %q", scope, inv.Identity.Serial, s.Serial)
		}
		if inv.Complete != (len(inv.Unread) == 0) {
			t.Errorf("Read(%s): complete is %v with unread %v", scope, inv.Complete, inv.Unread)
		}
		n := len(inv.Systems) + len(inv.Chassis) + len(inv.Managers) + len(inv.Drives) + len(inv.NetworkInterfaces) +
			len(inv.Memory) + len(inv.Processors) + len(inv.Temperatures) + len(inv.Fans) + len(inv.Events) + len(inv.Accounts)
		if n < before {
			t.Errorf("Read(%s) knows %d things, the smaller scope knew %d", scope, n, before)
		}
		before = n
	}
}

// switchTo brings the host to a power state and waits for it.
func (s suite) switchTo(t *testing.T, c bmc.Controller, action bmc.PowerAction, want bmc.PowerState) {
	t.Helper()
	if err := c.SetPower(t.Context(), action); err != nil {
		t.Fatalf("SetPower(%s): %v", action, err)
	}
	until(t, s.PowerWithin, "power "+string(want), func() (bool, any) {
		now, err := c.PowerState(t.Context())
		if err != nil {
			return false, err
		}
		return now == want, now
	})
}

func (s suite) power(t *testing.T) {
	c := s.open(t)
	s.switchTo(t, c, bmc.PowerActionOff, bmc.PowerOff)
	s.sendsNothing(t, "SetPower(off)", func() error { return c.SetPower(t.Context(), bmc.PowerActionOff) })
	s.switchTo(t, c, bmc.PowerActionOn, bmc.PowerOn)
	s.sendsNothing(t, "SetPower(on)", func() error { return c.SetPower(t.Context(), bmc.PowerActionOn) })
	if s.lacks(Shutdown) {
		s.must(t, Shutdown, "SetPower(shutdown)", c.SetPower(t.Context(), bmc.PowerActionShutdown))
	} else {
		s.switchTo(t, c, bmc.PowerActionShutdown, bmc.PowerOff)
		s.switchTo(t, c, bmc.PowerActionOn, bmc.PowerOn)
	}
	if err := c.SetPower(t.Context(), "explode"); !errors.Is(err, bmc.ErrUnsupported) {
		t.Errorf(`SetPower("explode"): %v, want %v`, err, bmc.ErrUnsupported)
	}
	at, err := c.BootProgress(t.Context())
	switch {
	case err != nil:
		t.Errorf("BootProgress: %v", err)
	case s.lacks(BootProgress) && at != "":
		t.Errorf("BootProgress() = %q from a target that has none", at)
	case !s.lacks(BootProgress):
		until(t, s.PowerWithin, "boot progress", func() (bool, any) {
			at, err := c.BootProgress(t.Context())
			return at != "", err
		})
	}
}

func (s suite) boot(t *testing.T) {
	c := s.open(t)
	uefi, once := !s.lacks(BootUEFI), !s.lacks(BootOnce)
	for _, tt := range []struct {
		o     bmc.BootOverride
		needs Capability
	}{
		{bmc.BootOverride{Device: bmc.BootPXE, UEFI: uefi}, BootAlways},
		{bmc.BootOverride{Device: bmc.BootDisk, UEFI: uefi}, BootAlways},
		{bmc.BootOverride{Device: bmc.BootCD, UEFI: uefi}, BootAlways},
		{bmc.BootOverride{Device: bmc.BootPXE, UEFI: uefi, Once: true}, BootOnce},
		{bmc.BootOverride{Device: bmc.BootDisk, UEFI: uefi, Once: true}, BootOnce},
		{bmc.BootOverride{Device: bmc.BootBIOS, UEFI: uefi, Once: once}, BootSetup},
		{bmc.BootOverride{Device: bmc.BootPXE, UEFI: true, Once: once}, BootUEFI},
		{bmc.BootOverride{Device: bmc.BootPXE, Once: once}, BootLegacy},
		{bmc.BootOverride{Device: bmc.BootHTTP, UEFI: true, Once: once, URI: "http://192.0.2.1/boot.efi"}, BootHTTP},
	} {
		set := func() error { return c.SetBootOverride(t.Context(), tt.o) }
		if !s.must(t, tt.needs, "SetBootOverride", set()) {
			continue
		}
		got, err := c.BootOverride(t.Context())
		if err != nil || got != tt.o {
			t.Errorf("BootOverride() = %+v, %v after setting %+v", got, err, tt.o)
		}
		s.sendsNothing(t, "SetBootOverride", set)
	}
	clearIt := func() error { return c.SetBootOverride(t.Context(), bmc.BootOverride{Device: bmc.BootNone}) }
	if err := clearIt(); err != nil {
		t.Fatalf("clear: %v", err)
	}
	if got, err := c.BootOverride(t.Context()); err != nil || got.Device != bmc.BootNone || got.Once {
		t.Errorf("BootOverride() = %+v, %v after clearing", got, err)
	}
	s.sendsNothing(t, "clear the override", clearIt)
}

func (s suite) media(t *testing.T) {
	c := s.open(t)
	if s.lacks(Media) {
		s.must(t, Media, "InsertMedia", c.InsertMedia(t.Context(), "http://192.0.2.1/a.iso"))
		s.must(t, Media, "EjectMedia", c.EjectMedia(t.Context()))
		return
	}
	insert := func() error { return c.InsertMedia(t.Context(), s.ImageURL) }
	eject := func() error { return c.EjectMedia(t.Context()) }
	if err := eject(); err != nil {
		t.Fatalf("eject what may be there: %v", err)
	}
	s.sendsNothing(t, "EjectMedia", eject)
	if err := insert(); err != nil {
		t.Fatalf("InsertMedia: %v", err)
	}
	if now := s.Inserted(t); now != s.ImageURL {
		t.Errorf("the target presents %q, want %q", now, s.ImageURL)
	}
	s.sendsNothing(t, "InsertMedia", insert)
	if err := eject(); err != nil {
		t.Fatalf("EjectMedia: %v", err)
	}
	if now := s.Inserted(t); now != "" {
		t.Errorf("the target still presents %q", now)
	}
}

func (s suite) bios(t *testing.T) {
	c := s.open(t)
	state, err := c.BIOS(t.Context())
	if !s.must(t, BIOS, "BIOS", err) {
		s.must(t, BIOS, "SetBIOS", c.SetBIOS(t.Context(), bmc.Attributes{"X": "y"}))
		return
	}
	before := bmc.Attributes{}
	for name := range s.BIOSChange {
		before[name] = state.Current[name]
	}
	if err := c.SetBIOS(t.Context(), bmc.Attributes{"CagenutNoSuchAttribute": "x"}); !errors.Is(err, bmc.ErrRejected) {
		t.Errorf("an unknown attribute: %v, want %v", err, bmc.ErrRejected)
	}
	s.applyBIOS(t, c, s.BIOSChange, state.Current)
	s.applyBIOS(t, c, before, nil)
}

// applyBIOS asks for attributes, cycles the host's power and sees them current. Attributes that were
// not asked for must stay as in others.
func (s suite) applyBIOS(t *testing.T, c bmc.Controller, attrs, others bmc.Attributes) {
	t.Helper()
	set := func() error { return c.SetBIOS(t.Context(), attrs) }
	if err := set(); err != nil {
		t.Fatalf("SetBIOS(%v): %v", attrs, err)
	}
	asked, err := c.BIOS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range attrs {
		is := asked.Current[name]
		if p, ok := asked.Pending[name]; ok {
			is = p
		}
		if text(is) != text(want) {
			t.Errorf("%s is %v after SetBIOS, want %v", name, is, want)
		}
	}
	for name := range asked.Pending {
		if _, ours := attrs[name]; !ours {
			t.Errorf("%s is pending and was not asked for", name)
		}
	}
	s.sendsNothing(t, "SetBIOS", set)
	s.switchTo(t, c, bmc.PowerActionOff, bmc.PowerOff)
	s.switchTo(t, c, bmc.PowerActionOn, bmc.PowerOn)
	until(t, s.PowerWithin, "BIOS attributes current", func() (bool, any) {
		now, err := c.BIOS(t.Context())
		if err != nil {
			return false, err
		}
		for name, want := range attrs {
			if text(now.Current[name]) != text(want) {
				return false, name + " " + text(now.Current[name])
			}
		}
		for name, was := range others {
			if _, ours := attrs[name]; !ours && text(now.Current[name]) != text(was) {
				t.Errorf("%s was %v and is %v; it was not asked for", name, was, now.Current[name])
			}
		}
		return true, nil
	})
}
