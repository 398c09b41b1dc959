package reader

import (
	"slices"
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
		for _, have := range b.inv.Memory { // a chassis may list its systems' DIMMs once more
			if !blank(m.Serial) && have.Serial == m.Serial && have.ID == m.ID && have.PartNumber == m.PartNumber && under(have.URI, "Systems") != under(m.URI, "Systems") {
				return
			}
		}
		b.inv.Memory = append(b.inv.Memory, m)
	}, "Memory")
	seen := map[string]string{}
	b.of(func(key string, v value) {
		d := bmc.PCIeDevice{Part: b.part(v, key), Type: v.get("DeviceType").str(), Firmware: b.firmwareOf(v),
			Slot: v.first("Slot.Location.PartLocation.ServiceLabel", "Slot.SlotType")}
		if absent(v) {
			return
		}
		// The same card may be listed under its system and under its chassis.
		id := strings.Join([]string{d.ID, strings.TrimSpace(d.Serial), d.Name, d.Model}, "\x00")
		if other, twice := seen[id]; twice && (under(other, "Systems") == "") != (under(key, "Systems") == "") {
			return
		}
		seen[id] = key
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
	b.graphics()
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

// graphics adds the GPUs that a BMC lists as graphics controllers or PCIe devices alone. The BMC's
// own display chip has no serial and is none.
func (b *builder) graphics() {
	add := func(part bmc.Part, firmware string) {
		for _, p := range b.inv.Processors {
			if strings.TrimSpace(p.Serial) == strings.TrimSpace(part.Serial) {
				return
			}
		}
		if blank(part.Serial) {
			return
		}
		if blank(part.Model) {
			part.Model = part.Name
		}
		b.inv.Processors = append(b.inv.Processors, bmc.Processor{Part: part, Type: "GPU", System: b.systemOf(part.URI), Firmware: firmware})
	}
	b.of(func(key string, v value) {
		if !absent(v) && len(b.targets(v.get("Links", "Processors"))) == 0 {
			add(b.part(v, key), b.firmwareOf(v))
		}
	}, "GraphicsController")
	for _, d := range b.inv.PCIeDevices {
		if d.Class == "DisplayController" || d.Class == "ProcessingAccelerators" {
			add(d.Part, d.Firmware)
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

// powerAndCooling reads power supplies, fans and temperatures. BMCs tell of them in the old Power
// and Thermal, in newer resources of their own, or in both under other names: see views.
func (b *builder) powerAndCooling() {
	var supplies views[bmc.PowerSupply]
	var fans views[bmc.Fan]
	var temperatures views[bmc.Temperature]
	chassisOf := func(key string) string { return under(key, "Chassis") }
	b.of(func(key string, v value) { addTo(&supplies, 0, chassisOf(key))(b.powerSupply(key, v)) }, "PowerSupply")
	b.of(func(key string, v value) {
		b.inside(key, v, "PowerSupplies", func(own string, p value) { addTo(&supplies, 1, chassisOf(key))(b.powerSupply(own, p)) })
	}, "Power")
	b.of(func(key string, v value) { addTo(&fans, 0, chassisOf(key))(b.fan(key, v)) }, "Fan")
	b.of(func(key string, v value) {
		b.inside(key, v, "Fans", func(own string, f value) { addTo(&fans, 1, chassisOf(key))(b.fan(own, f)) })
		b.inside(key, v, "Temperatures", func(own string, t value) { addTo(&temperatures, 0, chassisOf(key))(b.temperature(own, t)) })
	}, "Thermal")
	b.of(func(key string, v value) {
		switch {
		case strings.EqualFold(v.get("ReadingType").str(), "Temperature"):
			addTo(&temperatures, 1, chassisOf(key))(b.temperature(key, v))
		case strings.EqualFold(v.get("ReadingType").str(), "Rotational"), strings.EqualFold(v.get("PhysicalContext").str(), "Fan"):
			addTo(&fans, 2, chassisOf(key))(b.fan(key, v))
		}
	}, "Sensor")
	b.of(func(key string, v value) {
		v.get("TemperatureReadingsCelsius").each(func(_ string, t value) bool {
			source := keyOf(t.get("DataSourceUri").str())
			if celsius, ok := t.get("Reading").number(); ok {
				p := bmc.Part{ID: lastSegment(source), Name: t.first("DeviceName", "PhysicalContext"), URI: source}
				addTo(&temperatures, 2, chassisOf(key))(bmc.Temperature{Part: p, Celsius: &celsius}, true)
			}
			return true
		})
	}, "ThermalMetrics")

	b.inv.PowerSupplies = append(b.inv.PowerSupplies, supplies.merged(func(p bmc.PowerSupply) bmc.Part { return p.Part },
		func(have *bmc.PowerSupply, more bmc.PowerSupply) {
			have.Watts, have.InputVolts = nonZero(have.Watts, more.Watts), nonZero(have.InputVolts, more.InputVolts)
			fill(&have.Firmware, more.Firmware)
			fillPart(&have.Part, more.Part)
		})...)
	b.inv.Fans = append(b.inv.Fans, fans.merged(func(f bmc.Fan) bmc.Part { return f.Part }, func(have *bmc.Fan, more bmc.Fan) {
		if have.Reading == 0 {
			have.Reading, have.Units = more.Reading, more.Units
		}
		fillPart(&have.Part, more.Part)
	})...)
	b.inv.Temperatures = append(b.inv.Temperatures, temperatures.merged(func(t bmc.Temperature) bmc.Part { return t.Part },
		func(have *bmc.Temperature, more bmc.Temperature) {
			if have.Celsius == nil {
				have.Celsius = more.Celsius
			}
			if have.Critical == nil {
				have.Critical = more.Critical
			}
		})...)
}

// views are the same things of a chassis as several resources tell of them, the preferred view
// first. Names and numbers often differ between views, so that not every thing can be matched: the
// view with the most things is taken, and what another knows more of a matched thing is filled in.
type views[T any] struct {
	chassis []string // in order of appearance
	of      map[string]*[3][]T
}

// addTo gives a function that adds a thing to a view unless it is not there.
func addTo[T any](v *views[T], view int, chassis string) func(thing T, there bool) {
	return func(thing T, there bool) {
		if !there {
			return
		}
		if v.of == nil {
			v.of = map[string]*[3][]T{}
		}
		if v.of[chassis] == nil {
			v.of[chassis] = &[3][]T{}
			v.chassis = append(v.chassis, chassis)
		}
		v.of[chassis][view] = append(v.of[chassis][view], thing)
	}
}

// merged gives the things; fill takes over what the second view of the same thing knows more.
func (v *views[T]) merged(part func(T) bmc.Part, fill func(have *T, more T)) []T {
	var out []T
	for _, chassis := range v.chassis {
		all := v.of[chassis]
		best := 0
		for i := range all {
			if len(all[i]) > len(all[best]) {
				best = i
			}
		}
		things := all[best]
		for i := range all {
			if i == best {
				continue
			}
			for _, more := range all[i] {
				j := slices.IndexFunc(things, func(have T) bool { return sameThing(part(have), part(more)) })
				if j >= 0 {
					fill(&things[j], more)
				} else if !blank(part(more).Serial) {
					things = append(things, more) // surely another thing
				}
			}
		}
		out = append(out, things...)
	}
	return out
}

// sameThing tells whether two views of a chassis' things are surely of the same one.
func sameThing(a, c bmc.Part) bool {
	if !blank(a.Serial) && !blank(c.Serial) {
		return strings.TrimSpace(a.Serial) == strings.TrimSpace(c.Serial)
	}
	return a.URI == c.URI || !blank(a.Name) && a.Name == c.Name
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

func (b *builder) powerSupply(key string, v value) (p bmc.PowerSupply, there bool) {
	p = bmc.PowerSupply{Part: b.part(v, key), Firmware: b.firmwareOf(v), Chassis: under(key, "Chassis"),
		Watts: v.first1("PowerCapacityWatts"), InputVolts: v.first1("LineInputVoltage")}
	if p.Watts == 0 {
		v.get("InputRanges").each(func(_ string, r value) bool {
			p.Watts = max(p.Watts, r.first1("OutputWattage", "CapacityWatts"))
			return true
		})
	}
	return p, !absent(v) && (anyText(p.Serial, p.Model, p.PartNumber) || strings.EqualFold(p.State, "Enabled"))
}

func (b *builder) fan(key string, v value) (f bmc.Fan, there bool) {
	f = bmc.Fan{Part: b.part(v, key)}
	fill(&f.Name, v.get("FanName").str())
	f.Reading, f.Units = v.get("Reading").float(), v.first("ReadingUnits", "Units")
	if rpm, ok := v.path("SpeedPercent.SpeedRPM").number(); ok {
		f.Reading, f.Units = rpm, "RPM"
	} else if percent, ok := v.path("SpeedPercent.Reading").number(); ok {
		f.Reading, f.Units = percent, "Percent"
	} else if rpm, ok := v.get("ReadingRPM").number(); ok {
		f.Reading, f.Units = rpm, "RPM"
	}
	return f, !absent(v)
}

func (b *builder) temperature(key string, v value) (t bmc.Temperature, there bool) {
	t = bmc.Temperature{Part: b.part(v, key)}
	if c, ok := first2(v, "ReadingCelsius", "Reading"); ok {
		t.Celsius = &c
	}
	if c, ok := first2(v, "UpperThresholdCritical", "Thresholds.UpperCritical.Reading"); ok {
		t.Critical = &c
	}
	return t, !absent(v) && !strings.EqualFold(v.path("Status.State").str(), "Disabled")
}

func first2(v value, paths ...string) (float64, bool) {
	for _, p := range paths {
		if f, ok := v.path(p).number(); ok {
			return f, true
		}
	}
	return 0, false
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
