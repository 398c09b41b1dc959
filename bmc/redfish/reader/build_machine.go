package reader

import (
	"slices"
	"strings"
	"time"

	"github.com/cagenut/cagenut/bmc"
)

// service reads the ServiceRoot.
func (b *builder) service() {
	b.of(func(_ string, v value) {
		s := &b.inv.Service
		s.Vendor, s.Product = v.get("Vendor").str(), v.get("Product").str()
		s.RedfishVersion, s.UUID = v.get("RedfishVersion").str(), v.get("UUID").str()
		s.Expand = b.w.expand
	}, "ServiceRoot")
	if b.inv.Service.Vendor == "" {
		b.inv.Service.Vendor = b.w.facts.Vendor
	}
}

// machines reads systems, chassis and managers.
func (b *builder) machines() {
	b.of(func(key string, v value) { b.inv.Systems = append(b.inv.Systems, b.system(key, v)) }, "ComputerSystem")
	b.of(func(key string, v value) {
		c := bmc.Chassis{Part: b.part(v, key), Type: v.get("ChassisType").str(), SKU: v.get("SKU").str(),
			AssetTag: v.get("AssetTag").str(), UUID: v.get("UUID").str(), IndicatorLED: v.get("IndicatorLED").str(),
			Systems: ids(b.targets(v.get("Links", "ComputerSystems"))), OtherSerials: b.otherSerials(v)}
		for _, parent := range ids(b.targets(v.get("Links", "ContainedBy"))) {
			c.ContainedBy = parent
		}
		b.inv.Chassis = append(b.inv.Chassis, c)
	}, "Chassis")
	b.of(func(key string, v value) {
		m := bmc.Manager{Part: b.part(v, key), Type: v.get("ManagerType").str(), UUID: v.get("UUID").str(),
			Firmware: b.firmwareOf(v), Clock: v.get("DateTime").str(), LastReset: v.get("LastResetTime").str()}
		if t, err := time.Parse(time.RFC3339, m.Clock); err == nil {
			skew := t.Sub(b.w.resources[key].got).Round(time.Second).Seconds()
			m.ClockSkew = &skew
		}
		b.inv.Managers = append(b.inv.Managers, m)
	}, "Manager")
}

func (b *builder) system(key string, v value) bmc.System {
	s := bmc.System{
		Part: b.part(v, key), UUID: v.get("UUID").str(), SKU: v.get("SKU").str(), AssetTag: v.get("AssetTag").str(),
		HostName: v.get("HostName").str(), Type: v.get("SystemType").str(),
		PowerState:    bmc.PowerState(v.first("PowerState", "Power")),
		BIOSVersion:   v.first("BiosVersion", "Bios.Current.VersionString"),
		CPUCount:      int(v.path("ProcessorSummary.Count").integer()),
		MemoryGiB:     v.path("MemorySummary.TotalSystemMemoryGiB").float(),
		HealthRollup:  v.first("Status.HealthRollup", "Status.HealthRollUp"),
		BootProgress:  v.path("BootProgress.LastState").str(),
		LastResetTime: v.get("LastResetTime").str(),
		ChassisIDs:    ids(b.targets(v.get("Links", "Chassis"))),
		ManagerIDs:    ids(b.targets(v.get("Links", "ManagedBy"))),
		OtherSerials:  b.otherSerials(v),
	}
	v.get("Oem").each(func(_ string, oem value) bool {
		s.PostState = oem.first("PostState")
		return s.PostState == ""
	})
	s.TPMs = b.tpms(v)
	b.boot(&s, v, key)
	b.bios(&s, v, key)
	b.secureBoot(&s, v, key)
	return s
}

func (b *builder) tpms(v value) []bmc.TPM {
	var out []bmc.TPM
	v.get("TrustedModules").each(func(_ string, t value) bool {
		tpm := bmc.TPM{Type: t.get("InterfaceType").str(), Firmware: t.get("FirmwareVersion").str(), State: t.path("Status.State").str()}
		if !absent(t) && (tpm.Type != "" || anyText(tpm.Firmware) || tpm.State != "") {
			out = append(out, tpm)
		}
		return true
	})
	return out
}

var bootDevices = map[string]bmc.BootDevice{
	"none": bmc.BootNone, "pxe": bmc.BootPXE, "hdd": bmc.BootDisk, "cd": bmc.BootCD, "uefihttp": bmc.BootHTTP,
	"biossetup": bmc.BootBIOS,
}

func (b *builder) boot(s *bmc.System, v value, key string) {
	boot := v.get("Boot")
	target := boot.get("BootSourceOverrideTarget").str()
	device, known := bootDevices[strings.ToLower(target)]
	if !known {
		device = bmc.BootDevice(strings.ToLower(target)) // such as usb: told as the BMC does
	}
	if device == "" || strings.EqualFold(boot.get("BootSourceOverrideEnabled").str(), "Disabled") {
		device = bmc.BootNone
	}
	s.BootOverride = bmc.BootOverride{
		Device: device,
		Once:   device != bmc.BootNone && strings.EqualFold(boot.get("BootSourceOverrideEnabled").str(), "Once"),
		UEFI:   strings.EqualFold(boot.get("BootSourceOverrideMode").str(), "UEFI"),
		URI:    boot.get("HttpBootUri").str(),
	}
	s.BootMode = bootMode(boot.get("BootSourceOverrideMode").str())

	options := map[string]value{}
	b.of(func(optionKey string, o value) {
		if under(optionKey, "Systems") == lastSegment(key) {
			options[o.first("BootOptionReference", "Id")] = o
		}
	}, "BootOption")
	boot.get("BootOrder").each(func(_ string, ref value) bool {
		o := bmc.BootOption{Reference: ref.str()}
		if d, ok := options[o.Reference]; ok {
			o.Name, o.DevicePath, o.Enabled = d.first("DisplayName", "Name"), d.get("UefiDevicePath").str(), d.get("BootOptionEnabled").boolean()
		}
		s.BootOrder = append(s.BootOrder, o)
		return true
	})
}

func bootMode(s string) string {
	s = strings.ToLower(s)
	switch {
	case strings.Contains(s, "uefi") || s == "efi":
		return "UEFI"
	case strings.Contains(s, "legacy") || s == "bios":
		return "Legacy"
	}
	return ""
}

// bios reads the attributes, and of the pending ones those that differ.
func (b *builder) bios(s *bmc.System, v value, key string) {
	biosKey := ""
	for _, k := range b.targets(v.get("Bios")) {
		biosKey = k
	}
	r := b.w.lookup(biosKey)
	if r == nil {
		return
	}
	s.BIOS = b.attributes(r.v.get("Attributes"))
	for name, value := range s.BIOS {
		if strings.HasSuffix(strings.ToLower(name), "bootmode") {
			if mode, ok := value.(string); ok && bootMode(mode) != "" {
				s.BootMode = bootMode(mode)
			}
		}
	}
	later := b.w.lookup(keyOf(settings(r.v, b.w.host)))
	if later == nil || later == r {
		return
	}
	for name, value := range b.attributes(later.v.get("Attributes")) {
		if current, ok := s.BIOS[name]; ok && current != value {
			if s.BIOSPending == nil {
				s.BIOSPending = bmc.Attributes{}
			}
			s.BIOSPending[name] = value
		}
	}
}

// attributes gives scalars under their names; whole numbers as int64.
func (b *builder) attributes(v value) bmc.Attributes {
	var out bmc.Attributes
	v.each(func(name string, child value) bool {
		if out == nil {
			out = make(bmc.Attributes, v.len())
		}
		switch n := child.node(); n.kind {
		case kindString:
			out[name] = n.text
		case kindBool:
			out[name] = n.text == "true"
		case kindNumber:
			if strings.ContainsAny(n.text, ".eE") {
				out[name] = child.float()
			} else {
				out[name] = child.integer()
			}
		}
		return true
	})
	return out
}

func (b *builder) secureBoot(s *bmc.System, v value, key string) {
	for _, k := range b.targets(v.get("SecureBoot")) {
		r := b.w.lookup(k)
		if r == nil {
			continue
		}
		sb := &bmc.SecureBoot{Current: r.v.get("SecureBootCurrentBoot").str(), Mode: r.v.get("SecureBootMode").str()}
		if on := r.v.get("SecureBootEnable").boolean(); on != nil {
			sb.Enabled = *on
		}
		s.SecureBoot = sb
	}
}

// otherSerials are the serials in a resource beside its own, under their property paths.
func (b *builder) otherSerials(v value) []bmc.NamedValue {
	var out []bmc.NamedValue
	own := v.get("SerialNumber").str()
	b.identifying(v, func(path, text string, class valueClass) {
		if class == classSerial && text != own {
			out = append(out, bmc.NamedValue{Name: path, Value: text})
		}
	})
	return out
}

// serials are those of a system and of the chassis that it may stand in, by the names that quirks give
// to their fields, nearest first where several have one name.
func (b *builder) serials(system *bmc.System) map[string]string {
	candidates := map[string]string{}
	add := func(name, serial string) {
		serial = strings.TrimSpace(serial)
		if !blank(serial) && candidates[name] == "" {
			candidates[name] = serial
		}
	}
	if system != nil {
		add("ComputerSystem.SerialNumber", system.Serial)
		add("ComputerSystem.SKU", system.SKU)
		for _, o := range system.OtherSerials {
			add("ComputerSystem."+o.Name, o.Value)
		}
	}
	for distance := range 3 {
		for _, c := range b.inv.Chassis {
			if chassisDistance(system, c) != distance || b.shared(c, system) {
				continue
			}
			add("Chassis.SerialNumber", c.Serial)
			add("Chassis.SKU", c.SKU)
		}
	}
	return candidates
}

// shared tells whether a chassis may hold another host too, so that its serial does not name this one: on
// a BMC that serves several, one names a host only when it says that it holds that host, and no other.
// Where the caller names the system by its Id, the serial of the enclosure proves the enclosure.
func (b *builder) shared(c bmc.Chassis, system *bmc.System) bool {
	if system == nil || b.w.opt.System != "" {
		return false
	}
	holds := func(s *bmc.System) bool {
		return slices.Contains(s.ChassisIDs, c.ID) || slices.Contains(c.Systems, s.ID) || c.ID == s.ID
	}
	others := false
	for _, s := range b.inv.Systems {
		if s.URI == system.URI || !b.isHost(&s) {
			continue
		}
		if others = true; holds(&s) {
			return true
		}
	}
	return others && !holds(system)
}

// isHost tells a system that an operating system runs on from accelerator trays and DPUs.
func (b *builder) isHost(s *bmc.System) bool {
	v := b.w.resources[s.URI].v
	return s.BIOSVersion != "" || v.get("Boot").isObject() && v.get("Actions", "#ComputerSystem.Reset").isObject()
}

// twins are the hosts that have the serial of this system, or none as it has.
func (b *builder) twins(system *bmc.System, serial string) []string {
	if system == nil || b.w.opt.System != "" {
		return nil
	}
	var out []string
	for _, s := range b.inv.Systems {
		if s.URI == system.URI {
			out = append(out, s.ID)
		} else if other, _ := b.serialOf(b.serials(&s)); b.isHost(&s) && strings.EqualFold(other, serial) {
			out = append(out, s.ID)
		}
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

// serialOf is the serial that names the machine, by the fields that the quirks name, best first.
func (b *builder) serialOf(candidates map[string]string) (serial, source string) {
	for _, name := range b.w.profile.Identity {
		if candidates[name] != "" {
			return candidates[name], name
		}
	}
	return "", ""
}

// identity says which machine this is.
func (b *builder) identity() {
	system := b.chosenSystem()
	id := &b.inv.Identity
	id.OtherSerials = map[string]string{}
	if system != nil {
		id.System = system.URI
		id.Manufacturer, id.Model = strings.TrimSpace(system.Manufacturer), strings.TrimSpace(system.Model)
	}
	for distance := range 3 {
		for _, c := range b.inv.Chassis {
			if chassisDistance(system, c) == distance && id.Manufacturer == "" {
				id.Manufacturer, id.Model = strings.TrimSpace(c.Manufacturer), strings.TrimSpace(c.Model)
			}
		}
	}
	candidates := b.serials(system)
	id.Serial, id.SerialSource = b.serialOf(candidates)
	id.Twins = b.twins(system, id.Serial)
	for name, serial := range candidates {
		if serial != id.Serial && (!strings.HasSuffix(name, ".SKU") || slices.Contains(b.w.profile.Identity, name)) {
			id.OtherSerials[name] = serial
		}
	}
	for _, c := range b.inv.Chassis {
		if s := strings.TrimSpace(c.Serial); !blank(s) && s != id.Serial && !slices.Contains(mapValues(id.OtherSerials), s) {
			id.OtherSerials["Chassis/"+c.ID] = s
		}
	}
	for _, s := range b.inv.Systems {
		if serial := strings.TrimSpace(s.Serial); !blank(serial) && serial != id.Serial && !slices.Contains(mapValues(id.OtherSerials), serial) {
			id.OtherSerials["Systems/"+s.ID] = serial
		}
	}
	for _, m := range b.inv.Managers {
		if m.Firmware != "" && (id.Firmware == "" || strings.EqualFold(m.Type, "BMC")) {
			id.Firmware = m.Firmware
		}
	}
}

// chassisDistance: 0 the system's own chassis, 1 one that holds this system alone, 2 one that
// stands in no other. Others, such as boards, do not name a machine: 3.
func chassisDistance(system *bmc.System, c bmc.Chassis) int {
	switch {
	case system != nil && (slices.Contains(system.ChassisIDs, c.ID) || c.ID == system.ID):
		return 0
	case system != nil && len(c.Systems) == 1 && c.Systems[0] == system.ID:
		return 1
	case c.ContainedBy == "":
		return 2
	}
	return 3
}

func mapValues(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// chosenSystem is the one that the caller named by its Id, or by its serial; else the one that looks
// most like a host that an operating system runs on, for BMCs that also present accelerator trays or
// DPUs as systems. It is the only place that chooses: what writes to a system asks for its Identity.
func (b *builder) chosenSystem() *bmc.System {
	best, bestScore := -1, -1
	for i, s := range b.inv.Systems {
		if b.w.opt.System != "" {
			if s.ID == b.w.opt.System {
				return &b.inv.Systems[i]
			}
			continue
		}
		if score := b.hostLikeness(&s); score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return nil
	}
	return &b.inv.Systems[best]
}

// hostLikeness says how much a system looks like a host. The wanted serial counts more than all else, and
// what the BMC's own design says more than what may be gone at the next reading. What goes with the host's
// power, or comes from its operating system, counts for nothing; of equals, the first by path is taken.
func (b *builder) hostLikeness(s *bmc.System) int {
	score := 0
	count := func(weight int, signs ...bool) {
		for _, sign := range signs {
			if sign {
				score += weight
			}
		}
	}
	v := b.w.resources[s.URI].v
	count(10, v.get("Boot").isObject(), v.get("Bios").isObject(), v.get("Actions", "#ComputerSystem.Reset").isObject(),
		strings.EqualFold(s.Type, "Physical"))
	count(1, s.BIOSVersion != "", !blank(s.Serial), s.CPUCount > 0, s.MemoryGiB > 0)
	if serial, _ := b.serialOf(b.serials(s)); serial != "" && strings.EqualFold(serial, strings.TrimSpace(b.w.opt.Serial)) {
		score += 100
	}
	return score
}
