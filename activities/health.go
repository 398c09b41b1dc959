package activities

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cagenut/cagenut/bmc"
)

// healthy is a part with the word for its kind.
type healthy struct {
	kind string
	bmc.Part
}

// parts lists everything of a machine that may have a health, in the order in which people look.
func parts(inv *bmc.Inventory) []healthy {
	var out []healthy
	add := func(kind string, p bmc.Part) { out = append(out, healthy{kind, p}) }
	for _, p := range inv.Systems {
		add("system", p.Part)
	}
	for _, p := range inv.Chassis {
		add("chassis", p.Part)
	}
	for _, p := range inv.Managers {
		add("manager", p.Part)
	}
	for _, p := range inv.Processors {
		kind := "processor"
		if p.Type != "" && p.Type != "CPU" {
			kind = p.Type
		}
		add(kind, p.Part)
	}
	for _, p := range inv.Memory {
		add("DIMM", p.Part)
	}
	for _, p := range inv.Storage {
		add("storage controller", p.Part)
	}
	for _, p := range inv.Drives {
		add("drive", p.Part)
	}
	for _, p := range inv.Volumes {
		add("volume", p.Part)
	}
	for _, p := range inv.NetworkInterfaces {
		add("network port", p.Part)
	}
	for _, p := range inv.PCIeDevices {
		add("PCIe device", p.Part)
	}
	for _, p := range inv.PowerSupplies {
		add("power supply", p.Part)
	}
	for _, p := range inv.Fans {
		add("fan", p.Part)
	}
	for _, p := range inv.Temperatures {
		add("temperature", p.Part)
	}
	for _, p := range inv.Components {
		add(p.Type, p.Part)
	}
	return out
}

// worse tells whether a health is worse than the profile accepts. One that is not told is not judged:
// many parts have none.
func worse(health, accept string) bool {
	return health != "" && health != "OK" && (health != "Warning" || accept != "Warning")
}

// health lists every part whose health is worse than the profile accepts, and a system that sums up
// something worse in parts that it does not show. A machine of which no part tells a health is not
// healthy for that.
func (j *judgement) health(accept string) {
	if accept == "" {
		return
	}
	told, before := 0, len(j.items)
	for _, p := range parts(j.inv) {
		if p.Health == "" || p.State == "Absent" {
			continue
		}
		told++
		if worse(p.Health, accept) {
			j.add(p.kind+" "+p.ID+" health", accept, p.Health)
		}
	}
	for _, s := range j.inv.Systems {
		if s.HealthRollup == "" {
			continue
		}
		told++
		if len(j.items) == before && worse(s.HealthRollup, accept) {
			j.add("system "+s.ID+" health, summed up", accept, s.HealthRollup)
		}
	}
	if told == 0 {
		j.add("health", accept, "told of no part")
	}
}

// tellers are the kinds of parts that tell a health on nearly every BMC.
var tellers = []string{"system", "processor", "GPU", "DIMM", "storage controller", "drive", "volume", "power supply", "fan"}

// silentParts names the kinds of parts that tell no health, with their numbers; "" when health is not
// judged, or all tell it. Ports, cards, boards and sensors are left out: most BMCs give those none.
func silentParts(accept string, inv *bmc.Inventory) string {
	if accept == "" {
		return ""
	}
	silent := map[string]int{}
	for _, p := range parts(inv) {
		if p.Health == "" && p.State != "Absent" && slices.Contains(tellers, p.kind) {
			silent[p.kind]++
		}
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(silent)) {
		out = append(out, fmt.Sprintf("%d %s", silent[kind], kind))
	}
	return list(out)
}
