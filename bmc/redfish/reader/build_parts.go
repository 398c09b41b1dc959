package reader

import (
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// parts reads processors, memory and PCIe devices.
func (b *builder) parts() {
	b.of(func(key string, v value) {
		p := bmc.Processor{Part: b.part(v, key), Type: v.get("ProcessorType").str(), System: b.systemOf(key),
			Socket: v.get("Socket").str(), Cores: int(v.get("TotalCores").integer()), Threads: int(v.get("TotalThreads").integer()),
			MaxMHz: v.get("MaxSpeedMHz").float(), UUID: v.get("UUID").str(), Firmware: b.firmwareOf(v)}
		if absent(v) || !anyText(p.Model, p.Manufacturer, p.Serial, p.PartNumber) && p.Cores == 0 && p.Type == "" {
			return
		}
		if p.Type == "" {
			p.Type = "CPU" // the property came with Processor 1.0, but old BMCs leave it out
		}
		b.inv.Processors = append(b.inv.Processors, p)
	}, "Processor")
	b.of(func(key string, v value) {
		m := bmc.Memory{Part: b.part(v, key), System: b.systemOf(key), Type: v.first("MemoryDeviceType", "DIMMType"),
			MHz: v.first1("OperatingSpeedMhz", "AllowedSpeedsMHz", "MaximumFrequencyMHz"), Firmware: b.firmwareOf(v)}
		m.GiB = v.get("CapacityMiB").float() / 1024
		if m.GiB == 0 {
			m.GiB = v.get("SizeMB").float() / 1024
		}
		if absent(v) || m.GiB == 0 && !anyText(m.Serial) {
			return
		}
		b.inv.Memory = append(b.inv.Memory, m)
	}, "Memory")
	seen := map[string]int{}
	b.of(func(key string, v value) {
		d := bmc.PCIeDevice{Part: b.part(v, key), Type: v.get("DeviceType").str(), Firmware: b.firmwareOf(v),
			Slot: v.first("Slot.Location.PartLocation.ServiceLabel", "Slot.SlotType")}
		if absent(v) {
			return
		}
		id := d.ID + "\x00" + d.Serial + "\x00" + d.Name + "\x00" + d.Model
		if i, twice := seen[id]; twice && !blank(d.Serial) && b.inv.PCIeDevices[i].URI != d.URI {
			return // the same card listed under system and chassis
		}
		seen[id] = len(b.inv.PCIeDevices)
		b.inv.PCIeDevices = append(b.inv.PCIeDevices, d)
	}, "PCIeDevice")
	b.of(func(key string, v value) {
		class := v.get("DeviceClass").str()
		device, _, _ := strings.Cut(key, "/PCIeFunctions/")
		for i := range b.inv.PCIeDevices {
			d := &b.inv.PCIeDevices[i]
			if class != "" && d.Class == "" && (d.URI == device || containsKey(b.targets(v.get("Links", "PCIeDevice")), d.URI)) {
				d.Class = class
			}
		}
	}, "PCIeFunction")
	b.accelerators()
}

// accelerators takes over what the PCIe view knows of a GPU: some BMCs name its model only there.
func (b *builder) accelerators() {
	for i := range b.inv.Processors {
		p := &b.inv.Processors[i]
		for _, d := range b.inv.PCIeDevices {
			if blank(p.Serial) || strings.TrimSpace(p.Serial) != strings.TrimSpace(d.Serial) {
				continue
			}
			fillPart(&p.Part, d.Part)
			if blank(p.Model) {
				p.Model = d.Name
			}
			fill(&p.Firmware, d.Firmware)
		}
	}
}

func containsKey(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}

// first1 gives the first number at one of the names: the value itself, or the largest of an array.
func (v value) first1(names ...string) float64 {
	for _, name := range names {
		child := v.get(name)
		best := child.float()
		child.each(func(_ string, n value) bool { best = max(best, n.float()); return true })
		if best > 0 {
			return best
		}
	}
	return 0
}

// powerAndCooling reads power supplies, fans and temperatures, from the old Power and Thermal and
// from the newer resources of their own.
func (b *builder) powerAndCooling() {
	b.of(func(key string, v value) { b.powerSupply(key, v) }, "PowerSupply")
	b.of(func(key string, v value) {
		b.inside(key, v, "PowerSupplies", b.powerSupply)
	}, "Power")
	b.of(func(key string, v value) { b.fan(key, v) }, "Fan")
	b.of(func(key string, v value) {
		b.inside(key, v, "Fans", b.fan)
		b.inside(key, v, "Temperatures", b.temperature)
	}, "Thermal")
	b.of(func(key string, v value) {
		v.get("TemperatureReadingsCelsius").each(func(_ string, t value) bool {
			if celsius, ok := t.get("Reading").number(); ok {
				b.addTemperature(bmc.Temperature{Part: bmc.Part{ID: lastSegment(t.get("DataSourceUri").str()),
					Name: t.get("DeviceName").str(), URI: keyOf(t.get("DataSourceUri").str())}, Celsius: &celsius}, key)
			}
			return true
		})
	}, "ThermalMetrics")
	fans := len(b.inv.Fans)
	b.of(func(key string, v value) {
		switch {
		case strings.EqualFold(v.get("ReadingType").str(), "Temperature"):
			b.temperature(key, v)
		case fans == 0 && (strings.EqualFold(v.get("ReadingType").str(), "Rotational") || strings.EqualFold(v.get("PhysicalContext").str(), "Fan")):
			b.fan(key, v)
		}
	}, "Sensor")
}

// inside calls f for each element of an array of things inside a resource.
func (b *builder) inside(key string, v value, name string, f func(key string, v value)) {
	v.get(name).each(func(_ string, child value) bool {
		if !child.isObject() {
			return true
		}
		own := child.first("@odata.id", "href")
		if own == "" {
			own = key + "#/" + name + "/" + child.first("MemberId", "Id", "Name")
		}
		if child.len() > 1 { // more than a link
			f(own, child)
		}
		return true
	})
}

func (b *builder) powerSupply(key string, v value) {
	p := bmc.PowerSupply{Part: b.part(v, key), Firmware: b.firmwareOf(v), Chassis: under(key, "Chassis"),
		Watts: v.first1("PowerCapacityWatts"), InputVolts: v.first1("LineInputVoltage")}
	if absent(v) || !anyText(p.Serial, p.Model, p.PartNumber) && !strings.EqualFold(p.State, "Enabled") {
		return
	}
	if p.Watts == 0 {
		v.get("InputRanges").each(func(_ string, r value) bool {
			p.Watts = max(p.Watts, r.first1("OutputWattage", "CapacityWatts"))
			return true
		})
	}
	for i := range b.inv.PowerSupplies {
		have := &b.inv.PowerSupplies[i]
		same := !blank(p.Serial) && strings.TrimSpace(have.Serial) == strings.TrimSpace(p.Serial) ||
			blank(p.Serial) && have.Chassis == p.Chassis && have.Name == p.Name && have.URI != p.URI && viewOfOther(have.URI, p.URI)
		if !same {
			continue
		}
		have.Watts, have.InputVolts = nonZero(have.Watts, p.Watts), nonZero(have.InputVolts, p.InputVolts)
		fill(&have.Firmware, p.Firmware)
		fillPart(&have.Part, p.Part)
		return
	}
	b.inv.PowerSupplies = append(b.inv.PowerSupplies, p)
}

// viewOfOther tells whether of two paths one is in the old Power or Thermal and the other is not, so
// that they are two views of the same things.
func viewOfOther(a, c string) bool { return strings.Contains(a, "#") != strings.Contains(c, "#") }

func (b *builder) fan(key string, v value) {
	f := bmc.Fan{Part: b.part(v, key)}
	fill(&f.Name, v.get("FanName").str())
	if absent(v) {
		return
	}
	f.Reading, f.Units = v.get("Reading").float(), v.first("ReadingUnits", "Units")
	if rpm, ok := v.path("SpeedPercent.SpeedRPM").number(); ok {
		f.Reading, f.Units = rpm, "RPM"
	} else if percent, ok := v.path("SpeedPercent.Reading").number(); ok {
		f.Reading, f.Units = percent, "Percent"
	} else if rpm, ok := v.get("ReadingRPM").number(); ok {
		f.Reading, f.Units = rpm, "RPM"
	}
	chassis := under(key, "Chassis")
	for i := range b.inv.Fans {
		have := &b.inv.Fans[i]
		if under(have.URI, "Chassis") == chassis && have.Name == f.Name && viewOfOther(have.URI, f.URI) {
			if have.Reading == 0 {
				have.Reading, have.Units = f.Reading, f.Units
			}
			fillPart(&have.Part, f.Part)
			return
		}
	}
	b.inv.Fans = append(b.inv.Fans, f)
}

func (b *builder) temperature(key string, v value) {
	if absent(v) || strings.EqualFold(v.path("Status.State").str(), "Disabled") {
		return
	}
	t := bmc.Temperature{Part: b.part(v, key)}
	if c, ok := first2(v, "ReadingCelsius", "Reading"); ok {
		t.Celsius = &c
	}
	if c, ok := first2(v, "UpperThresholdCritical", "Thresholds.UpperCritical.Reading"); ok {
		t.Critical = &c
	}
	b.addTemperature(t, key)
}

func first2(v value, paths ...string) (float64, bool) {
	for _, p := range paths {
		if f, ok := v.path(p).number(); ok {
			return f, true
		}
	}
	return 0, false
}

// addTemperature adds a sensor once, however many resources tell of it.
func (b *builder) addTemperature(t bmc.Temperature, key string) {
	chassis := under(key, "Chassis")
	for i := range b.inv.Temperatures {
		have := &b.inv.Temperatures[i]
		if have.URI == t.URI || under(have.URI, "Chassis") == chassis && viewOfOther(have.URI, t.URI) && have.Name == t.Name {
			if have.Celsius == nil {
				have.Celsius = t.Celsius
			}
			if have.Critical == nil {
				have.Critical = t.Critical
			}
			fillPart(&have.Part, t.Part)
			return
		}
	}
	b.inv.Temperatures = append(b.inv.Temperatures, t)
}

func fill(p *string, s string) {
	if blank(*p) && s != "" {
		*p = s
	}
}

func nonZero(a, b float64) float64 {
	if a != 0 {
		return a
	}
	return b
}

// fillPart takes over what a second view of the same thing knows more.
func fillPart(have *bmc.Part, more bmc.Part) {
	fill(&have.Name, more.Name)
	fill(&have.Manufacturer, more.Manufacturer)
	fill(&have.Model, more.Model)
	fill(&have.PartNumber, more.PartNumber)
	fill(&have.Serial, more.Serial)
	fill(&have.Location, more.Location)
	fill(&have.Health, more.Health)
	fill(&have.State, more.State)
}
