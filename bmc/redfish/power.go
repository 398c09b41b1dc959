package redfish

import (
	"context"
	"net/http"
	"slices"

	provider "github.com/bmc-toolbox/bmclib/v2/providers/redfish"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/broker"
)

// PowerState reads the host's power.
func (c *Controller) PowerState(ctx context.Context) (bmc.PowerState, error) {
	_, sys, err := c.systemNow(ctx)
	if err != nil {
		return bmc.PowerUnknown, err
	}
	return powerState(sys), nil
}

func powerState(sys object) bmc.PowerState {
	switch s := bmc.PowerState(sys.str("PowerState")); s {
	case bmc.PowerOn, bmc.PowerOff, bmc.PowerPoweringOn, bmc.PowerPoweringOff:
		return s
	}
	return bmc.PowerUnknown
}

// SetPower asks for a change of power. The state follows later: observe PowerState.
func (c *Controller) SetPower(ctx context.Context, action bmc.PowerAction) error {
	op := "power " + string(action)
	p, sys, err := c.systemNow(ctx)
	if err != nil {
		return err
	}
	state := powerState(sys)
	var types []string
	switch action {
	case bmc.PowerActionOn:
		if state == bmc.PowerOn || state == bmc.PowerPoweringOn {
			return nil
		}
		types = []string{"On", "ForceOn"}
	case bmc.PowerActionOff:
		if state == bmc.PowerOff {
			return nil
		}
		types = []string{"ForceOff"}
	case bmc.PowerActionShutdown:
		if state == bmc.PowerOff || state == bmc.PowerPoweringOff {
			return nil
		}
		types = []string{"GracefulShutdown"}
	default:
		return c.fail(bmc.ErrUnsupported, op, "the actions are on, off and shutdown")
	}
	target := sys.action("ComputerSystem.Reset")
	if target == "" {
		return c.unsupported(op, "ComputerSystem.Reset")
	}
	allowed := c.allowed(ctx, sys.obj("Actions", "#ComputerSystem.Reset"), "ResetType")
	kind := types[0]
	if len(allowed) > 0 {
		i := slices.IndexFunc(types, func(t string) bool { return slices.Contains(allowed, t) })
		if i < 0 {
			return c.unsupported(op, "reset type "+types[0])
		}
		kind = types[i]
	}
	// bmclib does On and ForceOff. A shutdown it reports as failed after it has succeeded, ForceOn it
	// does not know, and systems it tells apart by Name, not by Id.
	switch {
	case kind == "On" && !p.unnamed:
		err = c.library(ctx, p, func(ctx context.Context, l *provider.Conn) (bool, error) { return l.PowerSet(ctx, "on") })
	case kind == "ForceOff" && !p.unnamed:
		err = c.library(ctx, p, func(ctx context.Context, l *provider.Conn) (bool, error) { return l.PowerSet(ctx, "off") })
	default:
		_, err = c.conn.Do(ctx, http.MethodPost, target, map[string]string{"ResetType": kind}, broker.Options{})
	}
	if err == nil {
		return nil
	}
	// A BMC may refuse because the host has reached the state in the meantime.
	if now, readErr := c.PowerState(ctx); readErr == nil && now != state &&
		(now == bmc.PowerOn || now == bmc.PowerPoweringOn) == (action == bmc.PowerActionOn) {
		return nil
	}
	return err
}

// allowed gives the values that an action takes for a parameter, from the action itself or from its
// ActionInfo; none when the BMC does not tell.
func (c *Controller) allowed(ctx context.Context, action object, parameter string) []string {
	if v := action.strs(parameter + "@Redfish.AllowableValues"); len(v) > 0 {
		return v
	}
	info := action.link("@Redfish.ActionInfo")
	if info == "" {
		return nil
	}
	o, err := c.get(ctx, info)
	if err != nil {
		return nil
	}
	for _, p := range o.objs("Parameters") {
		if p.str("Name") == parameter {
			return p.strs("AllowableValues")
		}
	}
	return nil
}

// BootProgress tells how far the host's boot is, "" where the BMC does not tell.
func (c *Controller) BootProgress(ctx context.Context) (string, error) {
	_, sys, err := c.systemNow(ctx)
	if err != nil {
		return "", err
	}
	if s := sys.str("BootProgress", "LastState"); s != "" && s != "OEM" {
		return s, nil
	}
	// What BMCs without BootProgress have: the vendor's own name of the state of POST.
	for _, at := range []string{"BootProgress/OemLastState", "Oem/Hpe/PostState", "Oem/Lenovo/SystemStatus"} {
		if s := sys.str(at); s != "" {
			return s, nil
		}
	}
	return "", nil
}
