package sim

// Description is what the machines of a flavour look like from the factory, for those who write
// profiles and firmware for them.
type Description struct {
	Flavour    string      `json:"flavour"`
	Type       DeviceType  `json:"device_type"`
	User       string      `json:"user"`
	Components []Installed `json:"components"`
	BIOS       []Setting   `json:"bios"`
	CPUs       int         `json:"cpus"`
	GPUs       int         `json:"gpus"`
	CPUModel   string      `json:"cpu_model"`
	DIMMs      int         `json:"dimms"`
	MemoryGiB  int         `json:"memory_gib"`
	Drives     int         `json:"drives"`
	RAID       string      `json:"raid"` // of the volume that is there
	Ports      int         `json:"nic_ports"`
	PSUs       int         `json:"power_supplies"`
}

// Installed is a firmware component. Image names it in FirmwareImage; ID (which an iDRAC's firmware
// inventory wraps in the version) and Name are the BMC's.
type Installed struct {
	Image   string `json:"image"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version string `json:"version"`
	After   string `json:"after"` // when a new version runs: host, bmc (their next restart), now
}

// Setting is a BIOS attribute. It can be written only While another has a value, where that is set.
type Setting struct {
	Name   string   `json:"name"`
	Value  any      `json:"value"`
	Values []string `json:"values,omitempty"` // of enumerations
	While  string   `json:"while,omitempty"`  // name=value
}

// Describe describes a flavour; false when there is no such one.
func Describe(name string) (Description, bool) {
	f, known := flavours[name]
	if !known {
		return Description{}, false
	}
	d := Description{
		Flavour: name, Type: deviceTypes[name], User: f.user, CPUModel: f.hw.cpus[0].model, RAID: f.raidVolume,
		Drives: len(f.hw.raidDrives) + len(f.hw.nvmeDrives), Ports: f.hw.ports, PSUs: len(f.hw.psus),
	}
	for _, p := range f.hw.cpus {
		if p.kind == "CPU" {
			d.CPUs++
		} else {
			d.GPUs++
		}
	}
	for i := range f.hw.dimmSlots {
		if f.dimmIn(i) {
			d.DIMMs++
		}
	}
	d.MemoryGiB = d.DIMMs * f.hw.dimmGiB
	for _, c := range f.components {
		d.Components = append(d.Components, Installed{c.key, c.id, c.name, c.version, c.after})
	}
	for _, a := range f.bios {
		if a.readOnly {
			continue
		}
		s := Setting{Name: a.name, Value: a.value, Values: a.values}
		if a.needs != "" {
			s.While = a.needs + "=" + a.equals
		}
		d.BIOS = append(d.BIOS, s)
	}
	return d, true
}
