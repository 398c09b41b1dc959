package reader

import (
	"strings"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/bmc/quirks"
)

// Sections choose parts of bmc.ScopeHardware.
type Sections uint16

// The sections.
const (
	SectionProcessors Sections = 1 << iota
	SectionMemory              // DIMMs
	SectionStorage             // controllers and drives
	SectionVolumes             // RAID volumes and namespaces
	SectionNetwork             // host interfaces, NICs and their ports
	SectionFunctions           // functions of NICs
	SectionManagers            // the managers' own interfaces
	SectionPower               // power supplies
	SectionThermal             // fans and temperatures
	SectionPCIe                // PCIe devices
	SectionFirmware            // the update service's list
	SectionBIOS                // attributes
	SectionSecureBoot          // Secure Boot

	AllSections = 1<<iota - 1
)

// sectionOf is the section of a link by the property that holds it. Links that are not here are
// followed by bmc.ScopeComplete alone.
var sectionOf = map[string]Sections{
	"Processors": SectionProcessors, "SubProcessors": SectionProcessors, "GraphicsControllers": SectionProcessors,
	"Memory": SectionMemory,

	"Storage": SectionStorage, "SimpleStorage": SectionStorage, "Drives": SectionStorage,
	"Controllers": SectionStorage, "StorageEnclosures": SectionStorage, "SmartStorage": SectionStorage,
	"ArrayControllers": SectionStorage, "HostBusAdapters": SectionStorage, "PhysicalDrives": SectionStorage,
	"DiskDrives": SectionStorage, "UnconfiguredDrives": SectionStorage,
	"Volumes": SectionVolumes, "LogicalDrives": SectionVolumes,

	"EthernetInterfaces": SectionNetwork, "NetworkInterfaces": SectionNetwork, "NetworkAdapters": SectionNetwork,
	"NetworkAdapter": SectionNetwork, "BaseNetworkAdapters": SectionNetwork, "NetworkPorts": SectionNetwork,
	"Ports": SectionNetwork, "NetworkDeviceFunctions": SectionFunctions,

	"Power": SectionPower, "PowerSubsystem": SectionPower, "PowerSupplies": SectionPower,
	"Thermal": SectionThermal, "ThermalSubsystem": SectionThermal, "Fans": SectionThermal, "ThermalMetrics": SectionThermal,
	"PCIeDevices": SectionPCIe, "PCIeDevice": SectionPCIe, "PCIeFunctions": SectionPCIe,
	"UpdateService": SectionFirmware, "FirmwareInventory": SectionFirmware,
	"Bios": SectionBIOS, "SecureBoot": SectionSecureBoot,
}

// olderView are links that bmc.ScopeHardware leaves out where the resource also has the other link:
// the other tells the same parts, in one answer.
var olderView = map[string]string{
	"PowerSubsystem": "Power", "ThermalSubsystem": "Thermal", "SimpleStorage": "Storage",
}

// machineLinks lead to who the machine is, in every scope.
var machineLinks = map[string]bool{
	"Systems": true, "Managers": true, "Chassis": true, "ComputerSystems": true, "ManagedBy": true,
	"ManagerForServers": true, "ContainedBy": true, "Contains": true, "ManagersInChassis": true,
}

// The order in which links are followed. Identity must survive a reading that is cut short; logs
// are slow on every BMC and come last.
const (
	rankMachine = iota
	rankHardware
	rankRest
	rankLog
)

// wants decides whether a link from a resource at from is followed, and when.
func (w *walker) wants(l link, from item) (rank int, ok bool) {
	rank, ok = w.inScope(l, from)
	return rank, ok && !w.skip.Match(l.key)
}

func (w *walker) inScope(l link, from item) (rank int, ok bool) {
	if l.via == "Members" {
		return from.rank, w.wantsMember(l, from)
	}
	if machineLinks[l.via] {
		return rankMachine, true
	}
	section, hardware := sectionOf[l.via]
	switch w.opt.Scope {
	case bmc.ScopeIdentity:
		return 0, false
	case bmc.ScopeHardware:
		if l.via == "EthernetInterfaces" && under(l.key, "Managers") != "" {
			section = SectionManagers
		}
		return rankHardware, hardware && w.opt.Sections&section != 0 && !w.toldBetter(l, from)
	}
	switch {
	case hardware:
		return rankHardware, true
	case l.via == "LogServices" || l.via == "Entries" || from.rank == rankLog:
		return rankLog, true
	}
	return rankRest, true
}

// toldBetter: see olderView; controllers that stand inside their Storage need no resource either.
func (w *walker) toldBetter(l link, from item) bool {
	if l.via == "SimpleStorage" && l.aside {
		return true // a Storage that points to its simple view
	}
	r := w.resources[from.key]
	if r == nil {
		return false
	}
	if other := olderView[l.via]; other != "" {
		return r.v.get(other).exists()
	}
	return l.via == "Controllers" && r.v.get("StorageControllers").len() > 0
}

// wantsMember: sensors are many and slow where they cannot be had in one answer. Only those that
// are temperatures or fans by their name are fetched one by one; the others hold nothing that the
// inventory has a place for.
func (w *walker) wantsMember(l link, from item) bool {
	if lastSegment(from.key) != "Sensors" {
		return true
	}
	id := strings.ToLower(lastSegment(l.key))
	for _, hint := range [...]string{"temp", "fan", "tach", "rpm"} {
		if strings.Contains(id, hint) {
			return true
		}
	}
	return false
}

// expandValue is the $expand that a ServiceRoot's ExpandQuery offers and that shows the members of
// a collection, or "". DSP0266: "." expands what is not in Links, "*" everything, "~" only Links.
// The members of a collection are not in Links.
func expandValue(root value, p quirks.Profile) string {
	if p.NoExpand {
		return ""
	}
	if p.Expand != "" {
		return p.Expand
	}
	offer := root.get("ProtocolFeaturesSupported", "ExpandQuery")
	yes := func(name string) bool { b := offer.get(name).boolean(); return b != nil && *b }
	var form string
	switch {
	case yes("NoLinks"):
		form = "."
	case yes("ExpandAll"):
		form = "*"
	default:
		return ""
	}
	if yes("Levels") {
		form += "($levels=1)"
	}
	return form
}

// expandable tells whether a path is likely a collection whose members are wanted together. Logs
// are not: all their entries at once take a BMC many seconds.
func expandable(it item) bool {
	if it.member || it.page > 0 {
		return false
	}
	last := lastSegment(it.key)
	return collectionTypes[last] != "" && last != "Entries" && last != "LogServices"
}

// factsFrom reads what quirks match on out of what was read so far.
func (w *walker) factsFrom(f quirks.Facts, r *resource) quirks.Facts {
	set := func(p *string, s string) {
		if *p == "" {
			*p = strings.TrimSpace(s)
		}
	}
	switch r.kind {
	case "ServiceRoot":
		set(&f.Vendor, r.v.get("Vendor").str())
		set(&f.Product, r.v.get("Product").str())
		r.v.get("Oem").each(func(name string, child value) bool {
			if child.isObject() {
				set(&f.Vendor, name)
			}
			return true
		})
	case "Manager":
		set(&f.Manager, r.v.get("Model").str())
		set(&f.Firmware, r.v.get("FirmwareVersion").str())
	case "ComputerSystem":
		set(&f.Vendor, r.v.get("Manufacturer").str())
		set(&f.Model, r.v.get("Model").str())
	}
	return f
}
