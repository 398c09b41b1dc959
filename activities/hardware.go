package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/bmc"
	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/plan"
	"github.com/cagenut/cagenut/internal/profile"
)

// hardware reads the machine and stops with a list of everything that is not what the profile and
// NetBox say. It changes nothing.
func (a *Site) hardware(ctx context.Context, c Call) (Result, error) {
	want, err := plan.Decode[plan.WantHardware](c.Step)
	if err != nil {
		return Result{}, err
	}
	ctrl, err := a.open(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = ctrl.Close(ctx) }()
	inv, err := ctrl.Read(ctx, bmc.ScopeHardware)
	if err != nil {
		return Result{}, err
	}
	items := judge(want, inv)
	code, u := spoiled(inv.Unread)
	if len(items) > 0 {
		subjects := make([]string, len(items))
		for i, item := range items {
			subjects[i] = item.Subject
		}
		f := fault.New(fault.Differs, "the hardware of %s differs: %s", c.Asset.Name, list(subjects))
		if code != "" {
			f = fault.New(code, "the hardware of %s could not be judged, since %s could not be read (%s): %s",
				c.Asset.Name, u.URI, strings.TrimSpace(u.Reason+" "+u.Detail), list(subjects))
		}
		f.Details = items
		return Result{}, f
	}
	if slices.Contains(passing, code) { // what was read is as wanted, but the reading broke off
		return Result{}, fault.New(code, "the hardware of %s was not read completely: %s could not be read (%s)",
			c.Asset.Name, u.URI, strings.TrimSpace(u.Reason+" "+u.Detail))
	}
	data, err := json.Marshal(inv)
	if err != nil {
		return Result{}, fmt.Errorf("hardware: encode: %w", err)
	}
	return Result{Done: &Done{
		Summary:  hardwareSummary(want, inv),
		Evidence: []operation.Evidence{{Kind: "hardware", Title: "The machine as its BMC reads it", Data: data}},
	}}, nil
}

// hardwareSummary says what was judged, and what could not be.
func hardwareSummary(want plan.WantHardware, inv *bmc.Inventory) string {
	said := fmt.Sprintf("%d CPUs, %d DIMMs, %d drives, %d network ports as the profile and NetBox say",
		count(inv, "CPU"), len(inv.Memory), len(inv.Drives), len(inv.NetworkInterfaces))
	if len(want.Named()) == 0 {
		said = "nothing is asked for that could be judged"
	}
	if len(want.NotJudged) > 0 {
		said += "; not judged: " + list(want.NotJudged)
	}
	if silent := silentParts(want.Hardware.Health, inv); silent != "" {
		said += "; without a health: " + silent
	}
	var lost []string
	for _, u := range inv.Unread {
		if slices.ContainsFunc(unreadable, func(x unreadableReason) bool { return x.reason == u.Reason }) {
			lost = append(lost, fmt.Sprintf("%s (%s)", u.URI, u.Reason))
		}
	}
	if n := len(lost); n > 0 {
		said += fmt.Sprintf("; %d resources could not be read: %s", n, list(lost[:min(n, 3)]))
	}
	return said
}

// passing are the codes of a reading that broke off for reasons that pass by themselves or that a person
// must look into: it is read again. A BMC that fails at one resource each time is passed, and that is said.
var passing = []fault.Code{fault.PinChanged, fault.Untrusted, fault.BadCredentials, fault.Unreachable, fault.Busy}

type unreadableReason struct {
	reason string
	code   fault.Code
}

// unreadable are the reasons of bmc.Unread (docs/bmc-read.md) that say something of the BMC's state and
// nothing of its hardware, worst first. What differs for lack of such a resource is not a difference yet.
var unreadable = []unreadableReason{
	{"pin_changed", fault.PinChanged}, {"tls", fault.Untrusted}, {"unauthorized", fault.BadCredentials},
	{"unreachable", fault.Unreachable}, {"timeout", fault.Unreachable}, {"cancelled", fault.Unreachable},
	{"busy", fault.Busy}, {"breaker_open", fault.Busy}, {"server_error", fault.ServerError},
	{"html", fault.Malformed}, {"malformed", fault.Malformed}, {"too_large", fault.Malformed}, {"truncated", fault.Malformed},
}

// spoiled gives the worst reason for which a reading is no ground to judge on; "" when there is none.
func spoiled(unread []bmc.Unread) (fault.Code, bmc.Unread) {
	for _, x := range unreadable {
		for _, u := range unread {
			if u.Reason == x.reason {
				return x.code, u
			}
		}
	}
	return "", bmc.Unread{}
}

// judge compares what was read with what is wanted and lists all differences. What could not be
// read is never taken for absent: a judgement that needs it is itself a difference.
func judge(want plan.WantHardware, inv *bmc.Inventory) []fault.Item {
	j := judgement{inv: inv}
	h := want.Hardware
	j.number("CPUs", float64(h.CPUs), float64(count(inv, "CPU")), "/Processors")
	j.number("GPUs", float64(h.GPUs), float64(count(inv, "GPU")), "/Processors")
	for _, p := range inv.Processors {
		if h.CPUModel != "" && p.Type == "CPU" && !containsFold(p.Model, h.CPUModel) {
			j.add("CPU "+p.ID, h.CPUModel, p.Model)
		}
	}
	var gib float64
	for _, m := range inv.Memory {
		gib += m.GiB
	}
	j.number("memory GiB", h.MemoryGiB, gib, "/Memory")
	j.number("DIMMs", float64(h.DIMMs), float64(len(inv.Memory)), "/Memory")
	j.drives(h.Drives)
	j.volumes(h.Volumes)
	j.atLeast("NIC ports", h.NICPorts, hostPorts(inv))
	j.number("power supplies", float64(h.PowerSupplies), float64(len(inv.PowerSupplies)), "/Power")
	j.macs(want.MACs)
	j.secureBoot(h.SecureBoot)
	j.tpm(h.TPM)
	j.health(h.Health)
	return j.items
}

type judgement struct {
	inv   *bmc.Inventory
	items []fault.Item
}

func (j *judgement) add(subject, expected, seen string) {
	j.items = append(j.items, fault.Item{Subject: subject, Expected: expected, Seen: seen})
}

// number judges a count; 0 is not judged. Where it differs and a URI that contains path could not
// be read, that is said.
func (j *judgement) number(subject string, want, seen float64, path string) {
	if want == 0 || want == seen {
		return
	}
	said := fmt.Sprintf("%g", seen)
	for _, u := range j.inv.Unread {
		if strings.Contains(u.URI, path) {
			said += fmt.Sprintf(" (%s could not be read: %s)", u.URI, u.Reason)
			break
		}
	}
	j.add(subject, fmt.Sprintf("%g", want), said)
}

func (j *judgement) atLeast(subject string, want, seen int) {
	if seen < want {
		j.add(subject, fmt.Sprintf("at least %d", want), fmt.Sprint(seen))
	}
}

// drives gives every group drives that fit it, each drive once, so that as many as possible are
// given; where there are too few, the narrowest groups get theirs first.
func (j *judgement) drives(groups []profile.Drives) {
	if len(groups) == 0 {
		return
	}
	order := slices.Clone(groups)
	slices.SortStableFunc(order, func(a, b profile.Drives) int { return narrowness(b) - narrowness(a) })
	need := make([]int, len(order))
	for i, g := range order {
		need[i] = g.Count
	}
	holder := match(need, len(j.inv.Drives), func(g, d int) bool { return fits(order[g], j.inv.Drives[d]) })
	for i, g := range order {
		if seen := held(holder, i); seen != g.Count {
			j.add("drives "+describeDrives(g), fmt.Sprint(g.Count), fmt.Sprint(seen))
		}
	}
	var extra []string
	for i, d := range j.inv.Drives {
		if holder[i] < 0 {
			extra = append(extra, strings.TrimSpace(d.ID+" "+d.Model))
		}
	}
	if len(extra) > 0 {
		j.add("drives beyond the profile", "none", list(extra))
	}
}

// match gives things to groups, of which group g needs need[g] and takes those that fit. It tells for
// each thing which group holds it, or -1. A thing moves on to another group when that makes room
// (augmenting paths), so no group goes short because of the order, and one that came first keeps its number.
func match(need []int, things int, fit func(group, thing int) bool) []int {
	holder := make([]int, things)
	for i := range holder {
		holder[i] = -1
	}
	var give func(g int, tried []bool) bool
	give = func(g int, tried []bool) bool {
		for pass := range 2 { // a free thing first, then one that another group can do without
			for i := range things {
				if tried[i] || !fit(g, i) || pass == 0 && holder[i] >= 0 {
					continue
				}
				if holder[i] == g {
					continue
				}
				tried[i] = true
				if holder[i] < 0 || give(holder[i], tried) {
					holder[i] = g
					return true
				}
			}
		}
		return false
	}
	for g, n := range need {
		for range n {
			if !give(g, make([]bool, things)) {
				break
			}
		}
	}
	return holder
}

func held(holder []int, group int) int {
	n := 0
	for _, h := range holder {
		if h == group {
			n++
		}
	}
	return n
}

func narrowness(g profile.Drives) int {
	n := 0
	for _, set := range []bool{g.Media != "", g.Bus != "", g.MinGB > 0, g.Models != ""} {
		if set {
			n++
		}
	}
	return n
}

func fits(g profile.Drives, d bmc.Drive) bool {
	return (g.Media == "" || strings.EqualFold(g.Media, d.Media)) &&
		(g.Bus == "" || strings.EqualFold(g.Bus, d.Protocol)) &&
		float64(d.Bytes) >= g.MinGB*1e9 &&
		containsFold(d.Model, g.Models)
}

func describeDrives(g profile.Drives) string {
	var words []string
	for _, w := range []string{g.Media, g.Bus, g.Models} {
		if w != "" {
			words = append(words, w)
		}
	}
	if g.MinGB > 0 {
		words = append(words, fmt.Sprintf(">= %g GB", g.MinGB))
	}
	return strings.Join(words, " ")
}

func (j *judgement) volumes(wanted []profile.Volume) {
	need := make([]int, len(wanted))
	for i, w := range wanted {
		need[i] = max(w.Count, 1)
	}
	holder := match(need, len(j.inv.Volumes), func(w, v int) bool {
		return strings.EqualFold(j.inv.Volumes[v].RAID, wanted[w].RAID) && float64(j.inv.Volumes[v].Bytes) >= wanted[w].MinGB*1e9
	})
	for i, w := range wanted {
		if seen := held(holder, i); seen < need[i] {
			j.add("volumes "+w.RAID, fmt.Sprint(need[i]), fmt.Sprint(seen))
		}
	}
}

// macs looks for every MAC that NetBox names on any port of the machine.
func (j *judgement) macs(wanted []plan.WantMAC) {
	seen := map[string]bool{}
	for _, n := range j.inv.NetworkInterfaces {
		for _, m := range n.MACs {
			if normal, ok := asset.NormalMAC(m); ok {
				seen[normal] = true
			}
		}
	}
	for _, w := range wanted {
		if normal, ok := asset.NormalMAC(w.MAC); !ok || !seen[normal] {
			j.items = append(j.items, fault.Item{Subject: "MAC of " + w.Interface, Expected: w.MAC, Seen: "on no port",
				Remedy: "look whether another card was fitted; where NetBox is wrong, correct the MAC there, `cagenut op abort` and install again"})
		}
	}
}

func (j *judgement) secureBoot(want *bool) {
	for _, s := range j.inv.Systems {
		if want != nil && s.SecureBoot != nil && s.SecureBoot.Enabled != *want {
			j.add("Secure Boot of "+s.ID, onOff(*want), onOff(s.SecureBoot.Enabled))
		}
		if want != nil && s.SecureBoot == nil {
			j.add("Secure Boot of "+s.ID, onOff(*want), "not told by the BMC")
		}
	}
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func (j *judgement) tpm(version string) {
	if version == "" {
		return
	}
	for _, s := range j.inv.Systems {
		for _, t := range s.TPMs {
			if strings.Contains(strings.ReplaceAll(t.Type, "_", "."), version) {
				return
			}
		}
	}
	j.add("TPM", version, "none of that version")
}

func count(inv *bmc.Inventory, processorType string) int {
	n := 0
	for _, p := range inv.Processors {
		if p.Type == processorType {
			n++
		}
	}
	return n
}

// hostPorts counts the ports that belong to the host: those of the BMC do not carry its traffic.
func hostPorts(inv *bmc.Inventory) int {
	macs := map[string]bool{}
	for _, n := range inv.NetworkInterfaces {
		if strings.HasPrefix(n.Owner, "manager") {
			continue
		}
		for _, m := range n.MACs[:min(1, len(n.MACs))] {
			macs[m] = true
		}
	}
	return len(macs)
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}
