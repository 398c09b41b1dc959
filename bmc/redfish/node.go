package redfish

import (
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
)

// onlyNode leaves out of a reading what belongs to the other nodes of a BMC that serves several, so that
// one node is not judged by the DIMMs of four. Another node is a system with a BIOS of its own: boards of
// accelerators, which have none, are parts of the machine. What all share, such as power supplies, stays.
func onlyNode(inv *bmc.Inventory) {
	others := map[string]bool{} // by Id
	for _, s := range inv.Systems {
		if s.URI != inv.Identity.System && s.BIOSVersion != "" {
			others[s.ID] = true
		}
	}
	if inv.Identity.System == "" || len(others) == 0 {
		return
	}
	inv.Systems = slices.DeleteFunc(inv.Systems, func(s bmc.System) bool { return others[s.ID] })
	inv.Chassis = slices.DeleteFunc(inv.Chassis, func(c bmc.Chassis) bool {
		return len(c.Systems) > 0 && !slices.ContainsFunc(c.Systems, func(id string) bool { return !others[id] })
	})
	inv.Processors = slices.DeleteFunc(inv.Processors, func(p bmc.Processor) bool { return others[p.System] })
	inv.Memory = slices.DeleteFunc(inv.Memory, func(m bmc.Memory) bool { return others[m.System] })
	inv.Storage = slices.DeleteFunc(inv.Storage, func(s bmc.StorageController) bool { return others[s.System] })
	inv.Drives = slices.DeleteFunc(inv.Drives, func(d bmc.Drive) bool { return others[d.System] })
	inv.Volumes = slices.DeleteFunc(inv.Volumes, func(v bmc.Volume) bool { return others[v.System] })
	inv.NetworkInterfaces = slices.DeleteFunc(inv.NetworkInterfaces, func(n bmc.NetworkInterface) bool {
		id, ofSystem := strings.CutPrefix(n.Owner, "system/")
		return ofSystem && others[id]
	})
	// What could not be read of another node is no gap in this one.
	inv.Unread = slices.DeleteFunc(inv.Unread, func(u bmc.Unread) bool {
		_, rest, found := strings.Cut(u.URI, "/Systems/")
		id, _, _ := strings.Cut(rest, "/")
		return found && others[id]
	})
	inv.Complete = len(inv.Unread) == 0
}
