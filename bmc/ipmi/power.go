package ipmi

import (
	"context"
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/cagenut/cagenut/bmc"
)

// PowerState reads the host's power; IPMI knows no states between on and off.
func (c *Controller) PowerState(ctx context.Context) (bmc.PowerState, error) {
	var status *chassis.GetChassisStatusResponse
	err := c.do(ctx, "Get Chassis Status", func(ctx context.Context) (err error) {
		status, err = c.c.GetChassisStatus(ctx)
		return err
	})
	switch {
	case err != nil:
		return bmc.PowerUnknown, err
	case status.PowerIsOn:
		return bmc.PowerOn, nil
	}
	return bmc.PowerOff, nil
}

// SetPower asks for a change of power. The state follows later: observe PowerState.
func (c *Controller) SetPower(ctx context.Context, action bmc.PowerAction) error {
	op := "Chassis Control " + string(action)
	var control chassis.ChassisControl
	want := bmc.PowerOff
	switch action {
	case bmc.PowerActionOn:
		control, want = chassis.ChassisControlPowerUp, bmc.PowerOn
	case bmc.PowerActionOff:
		control = chassis.ChassisControlPowerDown
	case bmc.PowerActionShutdown:
		control = chassis.ChassisControlSoftShutdown
	default:
		return c.unsupported(op)
	}
	now, err := c.PowerState(ctx)
	if err != nil || now == want {
		return err
	}
	return c.do(ctx, op, func(ctx context.Context) error {
		_, err := c.c.ChassisControl(ctx, control)
		return err
	})
}

// BootProgress is "": IPMI has no such thing.
func (c *Controller) BootProgress(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", &bmc.Error{Kind: bmc.ErrIncomplete, Op: "boot progress", Host: c.host, Err: err}
	}
	return "", nil
}

var bootSelectors = map[bmc.BootDevice]types.BootDeviceSelector{
	bmc.BootNone: types.BootDeviceSelectorNoOverride, bmc.BootPXE: types.BootDeviceSelectorForcePXE,
	bmc.BootDisk: types.BootDeviceSelectorForceHardDrive, bmc.BootCD: types.BootDeviceSelectorForceCDROM,
	bmc.BootBIOS: types.BootDeviceSelectorForceBIOSSetup,
}

// BootOverride reads the boot flags (IPMI 2.0 28.13, parameter 5).
func (c *Controller) BootOverride(ctx context.Context) (bmc.BootOverride, error) {
	var flags types.BootOptionParam_BootFlags
	err := c.do(ctx, "Get System Boot Options", func(ctx context.Context) error {
		return c.c.GetSystemBootOptionsParamFor(ctx, &flags)
	})
	if err != nil {
		return bmc.BootOverride{}, err
	}
	o := bmc.BootOverride{Device: bmc.BootNone, UEFI: bool(flags.BIOSBootType)}
	if !flags.BootFlagsValid && !c.cfg.NoValidBit || flags.BootDeviceSelector == types.BootDeviceSelectorNoOverride {
		return o, nil
	}
	o.Device = bmc.BootDevice("other: " + flags.BootDeviceSelector.String())
	for d, s := range bootSelectors {
		if s == flags.BootDeviceSelector {
			o.Device = d
		}
	}
	o.Once = !flags.Persist
	return o, nil
}

// SetBootOverride sets the boot flags and reads them back. A BMC forgets them by itself when the
// host is not switched within 60 s; it is asked not to, and not all obey.
func (c *Controller) SetBootOverride(ctx context.Context, o bmc.BootOverride) error {
	op := "Set System Boot Options " + string(o.Device)
	selector, ok := bootSelectors[o.Device]
	if !ok {
		return c.unsupported(op)
	}
	now, err := c.BootOverride(ctx)
	if err != nil || same(now, o) {
		return err
	}
	err = c.do(ctx, op, func(ctx context.Context) error {
		if o.Device != bmc.BootNone {
			// Without it, most BMCs drop the flags before a slow power-on. It only helps.
			_ = c.c.SetSystemBootOptionsParamFor(ctx, &types.BootOptionParam_BMCBootFlagValidBitClear{DontClearOnCommandReceivedTimeout: true})
		}
		return c.c.SetSystemBootOptionsParamFor(ctx, &types.BootOptionParam_BootFlags{
			BootFlagsValid: o.Device != bmc.BootNone, Persist: o.Device != bmc.BootNone && !o.Once,
			BIOSBootType: types.BIOSBootType(o.UEFI && o.Device != bmc.BootNone), BootDeviceSelector: selector,
		})
	})
	if err != nil {
		return err
	}
	end := c.cfg.Clock.Now().Add(3 * time.Second)
	for {
		if now, err = c.BootOverride(ctx); err != nil || same(now, o) {
			return err
		}
		if !c.cfg.Clock.Now().Before(end) {
			return &bmc.Error{Kind: bmc.ErrNotApplied, Op: op, Host: c.host, Detail: fmt.Sprintf("it still shows %+v", now)}
		}
		if err := c.cfg.Clock.Sleep(ctx, 300*time.Millisecond); err != nil {
			return &bmc.Error{Kind: bmc.ErrIncomplete, Op: op, Host: c.host, Err: err}
		}
	}
}

func same(is, want bmc.BootOverride) bool {
	if want.Device == bmc.BootNone {
		return is.Device == bmc.BootNone
	}
	return is.Device == want.Device && is.Once == want.Once && is.UEFI == want.UEFI
}
