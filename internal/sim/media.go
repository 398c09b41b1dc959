package sim

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bootTargets are what a host can be told to boot from.
var bootTargets = []string{"None", "Pxe", "Cd", "Hdd", "BiosSetup", "UefiHttp", "Usb"}

// patchSystem is PATCH of the ComputerSystem.
func patchSystem(c *call) *answer {
	st := &c.m.st
	o := st.Override
	put := func() {
		if o.Target == "None" || o.Enabled == "Disabled" {
			o.Target, o.Enabled, o.URI = "None", "Disabled", ""
		}
		if st.Override != o {
			st.Override = o
			c.m.effect(c.now, EffectBootOverride, strings.TrimSpace(o.Target+" "+o.Enabled+" "+o.Mode+" "+bareURL(o.URI)))
		}
	}
	boot := map[string]setter{
		"BootSourceOverrideTarget": oneOfSetter("Boot/BootSourceOverrideTarget", bootTargets, func(s string) {
			if o.Target = s; s != "None" && o.Enabled == "Disabled" {
				o.Enabled = "Once"
			}
		}),
		"BootSourceOverrideEnabled": oneOfSetter("Boot/BootSourceOverrideEnabled", []string{"Disabled", "Once", "Continuous"}, func(s string) { o.Enabled = s }),
		"BootSourceOverrideMode":    oneOfSetter("Boot/BootSourceOverrideMode", []string{"UEFI", "Legacy"}, func(s string) { o.Mode = s }),
		"HttpBootUri":               textSetter("Boot/HttpBootUri", 2000, func(s string) { o.URI = s }),
	}
	set := map[string]setter{
		"AssetTag": textSetter("AssetTag", 32, func(s string) {
			st.AssetTag = s
			c.m.effect(c.now, EffectAssetTag, s)
		}),
		"LocationIndicatorActive": boolSetter("LocationIndicatorActive", func(b bool) { st.LED = b }),
		"Boot": func(v any) (func(), *answer) {
			// Enabled stands before Target in the alphabet, but Target decides what Enabled may be.
			b, isObject := v.(obj)
			if !isObject {
				return nil, badValue("Boot", v, "it must be an object")
			}
			apply, bad := check(b, boot, "Boot/")
			if bad != nil {
				return nil, bad
			}
			return func() {
				enabled, given := b["BootSourceOverrideEnabled"].(string)
				for _, f := range apply {
					f()
				}
				if given {
					o.Enabled = enabled
				}
				put()
			}, nil
		},
	}
	return patch(c, set)
}

// patchSecureBoot is PATCH of SecureBoot; it counts from the next boot.
func patchSecureBoot(c *call) *answer {
	if c.f.bootMode(c.m.st.BIOS) == "Legacy" {
		if c.body["SecureBootEnable"] == true {
			return badValue("SecureBootEnable", true, "the boot mode is Legacy")
		}
	}
	return patch(c, map[string]setter{
		"SecureBootEnable": boolSetter("SecureBootEnable", func(b bool) { c.m.st.SecureBoot = b }),
	})
}

// insertMedia is VirtualMedia.InsertMedia.
func insertMedia(c *call) *answer {
	image, _ := c.body["Image"].(string)
	u, err := url.Parse(image)
	if image == "" || err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "nfs" {
		return failure(400, "ActionParameterMissing", "The action %s requires the parameter %s to be present.", "VirtualMedia.InsertMedia", "Image")
	}
	if c.m.st.Media != "" {
		return failure(409, "ResourceInUse", "The change to the requested resource failed because the resource is in use or in transition.")
	}
	c.m.st.Media = image
	c.m.effect(c.now, EffectMedia, "inserted "+bareURL(image))
	return noContent()
}

// oneTime finds the token of a one-time URL of the boot service.
var oneTime = regexp.MustCompile(`(/boot/)[A-Za-z0-9_-]{22,}`)

// bareURL is a URL without what may be secret in it: user, password, query and one-time token.
func bareURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + oneTime.ReplaceAllString(u.Path, "${1}(token)")
}

// ejectMedia is VirtualMedia.EjectMedia.
func ejectMedia(c *call) *answer {
	if c.m.st.Media == "" {
		return failure(400, "OperationFailed", "There is no image to eject.")
	}
	c.m.st.Media = ""
	c.m.effect(c.now, EffectMedia, "ejected")
	return noContent()
}

// createVolume is POST of a RAID controller's volumes.
func createVolume(c *call) *answer {
	raid, _ := c.body["RAIDType"].(string)
	least := map[string]int{"RAID0": 1, "RAID1": 2, "RAID5": 3, "RAID6": 4, "RAID10": 4}[raid]
	if least == 0 {
		return badValue("RAIDType", c.body["RAIDType"], "use RAID0, RAID1, RAID5, RAID6 or RAID10")
	}
	links, _ := c.body["Links"].(obj)
	list, _ := links["Drives"].([]any)
	v := volume{RAID: raid}
	var size int64
	for _, x := range list {
		o, _ := x.(obj)
		path, _ := o["@odata.id"].(string)
		d, found := c.f.raidDrive(path)
		if !found || slices.Contains(v.Drives, d.id) {
			return badValue("Links/Drives", path, "it is no free drive of this controller")
		}
		for _, other := range c.m.st.Volumes {
			if slices.Contains(other.Drives, d.id) {
				return badValue("Links/Drives", path, "the drive belongs to volume "+other.ID)
			}
		}
		v.Drives, size = append(v.Drives, d.id), d.bytes
	}
	if len(v.Drives) < least {
		return badValue("Links/Drives", len(v.Drives), raid+" needs "+strconv.Itoa(least)+" drives")
	}
	n := int64(len(v.Drives))
	v.Bytes = size * map[string]int64{"RAID0": n, "RAID1": 1, "RAID5": n - 1, "RAID6": n - 2, "RAID10": n / 2}[raid]
	st := &c.m.st
	v.ID = c.f.volumeID(st.next())
	if v.Name, _ = c.body["Name"].(string); v.Name == "" {
		v.Name = "Volume " + v.ID
	}
	st.Tasks = append(st.Tasks, task{
		ID: c.f.taskID(st.next()), Kind: taskVolume, Name: "Create volume", State: "Running", Start: c.now,
		Message: "The volume is being made.", Volume: v, Stuck: c.stuckTask,
	})
	t := &st.Tasks[len(st.Tasks)-1]
	if !t.Stuck {
		c.m.later(c.now, timeVolume, doVolume, t.ID)
	}
	return c.accepted(t)
}

func (m *Machine) volumeReady(t time.Time, id string) {
	k := m.st.taskOf(id)
	if k == nil || k.done() {
		return
	}
	k.State, k.End, k.Message = "Completed", t, "The volume was made."
	m.st.Volumes = append(m.st.Volumes, k.Volume)
	m.effect(t, EffectVolumeCreated, k.Volume.ID+" "+k.Volume.RAID)
}

func deleteVolume(c *call) *answer {
	st := &c.m.st
	st.Volumes = slices.DeleteFunc(st.Volumes, func(v volume) bool { return v.ID == c.id })
	c.m.effect(c.now, EffectVolumeDeleted, c.id)
	return noContent()
}

// clearLog is LogService.ClearLog.
func clearLog(c *call) *answer {
	c.m.st.Log = nil
	c.m.effect(c.now, EffectLogCleared, "")
	c.m.log(&c.m.st, c.now, "OK", "LogCleared", "The log was cleared.")
	return noContent()
}

// resetManager is Manager.Reset.
func resetManager(c *call) *answer {
	kind, _ := c.body["ResetType"].(string)
	if kind != "ForceRestart" && kind != "GracefulRestart" {
		return failure(400, "ActionParameterNotSupported", "The value %s for the parameter ResetType of the action Manager.Reset is not supported.", short(kind))
	}
	c.m.rebootBMC(c.now, "asked for")
	return noContent()
}
