package reader

import (
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// storage reads controllers, drives and volumes, wherever they hang.
func (b *builder) storage() {
	b.of(func(key string, v value) { b.controller(key, v, lastSegment(key)) }, "StorageController")
	b.of(func(key string, v value) {
		b.inside(key, v, "StorageControllers", func(own string, c value) { b.controller(own, c, lastSegment(key)) })
	}, "Storage")

	b.of(func(key string, v value) { b.drive(key, v) }, "Drive")
	b.of(func(key string, v value) {
		if b.hasDrives(b.systemOf(key)) {
			return // the simple view of what Storage tells in full
		}
		v.get("Devices").each(func(_ string, d value) bool {
			b.drive(key+"#/Devices/"+d.get("Name").str(), d)
			return true
		})
	}, "SimpleStorage")

	b.of(func(key string, v value) {
		vol := bmc.Volume{Part: b.part(v, key), System: b.systemOf(key), Controller: storageOf(key),
			RAID: v.first("RAIDType", "VolumeType", "Raid"), Bytes: bytesOf(v), Drives: ids(b.targets(v.get("Links", "Drives")))}
		if absent(v) {
			return
		}
		if vol.RAID != "" && vol.RAID[0] >= '0' && vol.RAID[0] <= '9' {
			vol.RAID = "RAID" + vol.RAID // "1" on older services
		}
		b.inv.Volumes = append(b.inv.Volumes, vol)
	}, "Volume")
}

func (b *builder) hasDrives(system string) bool {
	for _, d := range b.inv.Drives {
		if d.System == system {
			return true
		}
	}
	return false
}

// storageOf gives the Id of the controller or Storage that a path stands below.
func storageOf(key string) string {
	for _, name := range [...]string{"Storage", "ArrayControllers", "HostBusAdapters", "SimpleStorage"} {
		if id := under(key, name); id != "" {
			return id
		}
	}
	return ""
}

func (b *builder) controller(key string, v value, storage string) {
	c := bmc.StorageController{Part: b.part(v, key), System: b.systemOf(key), Firmware: b.firmwareOf(v)}
	if absent(v) {
		return
	}
	for i := range b.inv.Storage {
		have := &b.inv.Storage[i]
		same := !blank(c.Serial) && strings.TrimSpace(have.Serial) == strings.TrimSpace(c.Serial) ||
			have.System == c.System && storageOf(have.URI) == storageOf(c.URI) && have.Name == c.Name && viewOfOther(have.URI, c.URI)
		if same {
			fill(&have.Firmware, c.Firmware)
			fillPart(&have.Part, c.Part)
			return
		}
	}
	b.inv.Storage = append(b.inv.Storage, c)
}

// viewOfOther tells whether of two paths one is inside a resource and the other is a resource of its
// own, so that they may be two views of the same thing.
func viewOfOther(a, c string) bool { return strings.Contains(a, "#") != strings.Contains(c, "#") }

func bytesOf(v value) int64 {
	if n := v.get("CapacityBytes").integer(); n > 0 {
		return n
	}
	if n := v.path("Capacity.Data.AllocatedBytes").integer(); n > 0 {
		return n
	}
	if f := v.get("CapacityMiB").float(); f > 0 {
		return int64(f * (1 << 20))
	}
	if f := v.get("CapacityGB").float(); f > 0 {
		return int64(f * 1e9)
	}
	return 0
}

// drive adds a drive once: the same serial with the same model under a second path is the same
// drive, seen from its chassis or by the vendor's own resource.
func (b *builder) drive(key string, v value) {
	d := bmc.Drive{Part: b.part(v, key), System: b.systemOf(key), Controller: storageOf(key), Bytes: bytesOf(v),
		Media: v.get("MediaType").str(), Protocol: v.first("Protocol", "InterfaceType"), Firmware: b.firmwareOf(v),
		FailurePredicted: v.get("FailurePredicted").boolean(), LifeLeftPercent: v.first1("PredictedMediaLifeLeftPercent"),
		EncryptionAbility: v.get("EncryptionAbility").str()}
	if absent(v) || !anyText(d.Serial, d.Model, d.PartNumber) && d.Bytes == 0 {
		return
	}
	if owner := b.driveOwner[key]; owner != "" {
		d.Controller = owner
	}
	for i := range b.inv.Drives {
		have := &b.inv.Drives[i]
		if blank(d.Serial) || strings.TrimSpace(have.Serial) != strings.TrimSpace(d.Serial) || !sameModel(have.Model, d.Model) {
			continue
		}
		fillPart(&have.Part, d.Part)
		for _, f := range []struct {
			have *string
			more string
		}{{&have.System, d.System}, {&have.Controller, d.Controller}, {&have.Media, d.Media}, {&have.Protocol, d.Protocol},
			{&have.Firmware, d.Firmware}, {&have.EncryptionAbility, d.EncryptionAbility}} {
			fill(f.have, f.more)
		}
		if have.Bytes == 0 {
			have.Bytes = d.Bytes
		}
		if have.FailurePredicted == nil {
			have.FailurePredicted = d.FailurePredicted
		}
		return
	}
	b.inv.Drives = append(b.inv.Drives, d)
}

func sameModel(a, c string) bool {
	a, c = strings.TrimSpace(a), strings.TrimSpace(c)
	return a == "" || c == "" || strings.EqualFold(a, c) || strings.Contains(a, c) || strings.Contains(c, a)
}
