package redfish

import (
	"context"
	"fmt"
	"slices"

	"github.com/cagenut/cagenut/bmc"
)

// bootTargets are the BootSourceOverrideTarget values of DSP0268 ComputerSystem.
var bootTargets = map[bmc.BootDevice]string{
	bmc.BootNone: "None", bmc.BootDisk: "Hdd", bmc.BootPXE: "Pxe", bmc.BootHTTP: "UefiHttp",
	bmc.BootCD: "Cd", bmc.BootBIOS: "BiosSetup",
}

// BootOverride reads the boot override.
func (c *Controller) BootOverride(ctx context.Context) (bmc.BootOverride, error) {
	_, sys, err := c.systemNow(ctx)
	if err != nil {
		return bmc.BootOverride{}, err
	}
	if !sys.has("Boot", "BootSourceOverrideTarget") {
		return bmc.BootOverride{}, c.unsupported("boot override", "boot override")
	}
	return bootOverride(sys), nil
}

func bootOverride(sys object) bmc.BootOverride {
	b := sys.obj("Boot")
	o := bmc.BootOverride{Device: bmc.BootNone, UEFI: b.str("BootSourceOverrideMode") == "UEFI"}
	enabled, target := b.str("BootSourceOverrideEnabled"), b.str("BootSourceOverrideTarget")
	if enabled == "Disabled" || target == "None" {
		return o
	}
	o.Device = bmc.BootDevice("other: " + target)
	for d, t := range bootTargets {
		if t == target {
			o.Device = d
		}
	}
	o.Once = enabled == "Once"
	if o.Device == bmc.BootHTTP {
		o.URI = b.str("HttpBootUri")
	}
	return o
}

// SetBootOverride sets the boot override and reads it back. UEFI false asks for legacy BIOS; with
// BootNone only Device counts.
//
// It does not use bmclib, which sends back the whole Boot object with the boot order in it, cannot
// set HttpBootUri, clears with "None, Once", and when refused asks again for something else.
func (c *Controller) SetBootOverride(ctx context.Context, o bmc.BootOverride) error {
	op := "set boot override " + string(o.Device)
	p, sys, err := c.systemNow(ctx)
	if err != nil {
		return err
	}
	boot := sys.obj("Boot")
	target, known := bootTargets[o.Device]
	if !known || !boot.has("BootSourceOverrideTarget") {
		return c.unsupported(op, "boot override to "+string(o.Device))
	}
	enabled := "Continuous"
	switch {
	case o.Device == bmc.BootNone:
		enabled = "Disabled"
	case o.Once:
		enabled = "Once"
	}
	for property, value := range map[string]string{"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled} {
		if v := boot.strs(property + "@Redfish.AllowableValues"); len(v) > 0 && !slices.Contains(v, value) && value != "None" {
			return c.unsupported(op, fmt.Sprintf("%s %s (it has %v)", property, value, v))
		}
	}
	if sameOverride(bootOverride(sys), o, boot.has("BootSourceOverrideMode")) {
		return nil
	}
	want := map[string]any{"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled}
	if o.Device != bmc.BootNone && boot.has("BootSourceOverrideMode") {
		mode := "Legacy"
		if o.UEFI {
			mode = "UEFI"
		}
		if boot.str("BootSourceOverrideMode") != mode {
			want["BootSourceOverrideMode"] = mode
		}
	}
	if o.Device == bmc.BootHTTP && o.URI != "" {
		want["HttpBootUri"] = o.URI
	}
	if err := c.change(ctx, p.system, sys.etag(), map[string]any{"Boot": want}); err != nil {
		return err
	}
	return c.readBack(ctx, op, func() (bool, string, error) {
		now, err := c.get(ctx, p.system)
		if err != nil {
			return false, "", err
		}
		is := bootOverride(now)
		return sameOverride(is, o, now.has("Boot", "BootSourceOverrideMode")), fmt.Sprintf("%+v", is), nil
	})
}

func sameOverride(is, want bmc.BootOverride, modeKnown bool) bool {
	if is.Device != want.Device {
		return false
	}
	if want.Device == bmc.BootNone {
		return true
	}
	return is.Once == want.Once && (!modeKnown || is.UEFI == want.UEFI) && (want.URI == "" || sameURL(is.URI, want.URI))
}
