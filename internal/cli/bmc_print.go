package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"github.com/cagenut/cagenut/bmc"
)

func printInventory(out io.Writer, format string, inv *bmc.Inventory) error {
	var buf bytes.Buffer
	switch format {
	case "json", "yaml":
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(inv); err != nil {
			return fmt.Errorf("print the inventory as JSON: %w", err)
		}
		if format == "yaml" {
			y, err := yaml.JSONToYAML(buf.Bytes())
			if err != nil {
				return fmt.Errorf("print the inventory as YAML: %w", err)
			}
			buf.Reset()
			buf.Write(y)
		}
	default:
		inventoryTable(&buf, inv)
	}
	_, err := out.Write(buf.Bytes())
	return err
}

// inventoryTable is the page that is read standing in front of the machine: who it is, what is in
// it, what is wrong, and what is not known.
func inventoryTable(out io.Writer, inv *bmc.Inventory) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	row := func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, clean(fmt.Sprint(c)))
		}
		fmt.Fprintln(w)
	}
	id := inv.Identity
	row("SERIAL", id.Serial, "("+id.SerialSource+")")
	row("MACHINE", strings.TrimSpace(id.Manufacturer+" "+id.Model))
	row("BMC", strings.TrimSpace(inv.Service.Vendor+" "+inv.Service.Product), id.Firmware)
	for _, s := range inv.Systems {
		row("SYSTEM "+s.ID, join("power "+string(s.PowerState), "health "+orDash(first(s.HealthRollup, s.Health)), "BIOS "+orDash(s.BIOSVersion),
			"boot "+orDash(s.BootMode), secureBoot(s)))
	}
	w.Flush()

	fmt.Fprintln(out)
	row("PART", "COUNT", "WHAT")
	row("processors", len(inv.Processors), tally(inv.Processors, func(p bmc.Processor) string { return p.Type + " " + first(p.Model, p.Name) }))
	row("memory", len(inv.Memory), tally(inv.Memory, func(m bmc.Memory) string { return fmt.Sprintf("%g GiB %s", m.GiB, m.Type) }))
	row("drives", len(inv.Drives), tally(inv.Drives, func(d bmc.Drive) string {
		return join(fmt.Sprintf("%.4g TB", float64(d.Bytes)/1e12), d.Protocol, d.Media, first(d.Model, d.Name))
	}))
	row("volumes", len(inv.Volumes), tally(inv.Volumes, func(v bmc.Volume) string { return v.RAID }))
	row("storage controllers", len(inv.Storage), tally(inv.Storage, func(c bmc.StorageController) string { return first(c.Model, c.Name) }))
	row("network interfaces", len(inv.NetworkInterfaces), tally(inv.NetworkInterfaces, func(n bmc.NetworkInterface) string { return first(n.Model, n.Name) }))
	row("PCIe devices", len(inv.PCIeDevices), tally(inv.PCIeDevices, func(d bmc.PCIeDevice) string { return d.Class }))
	row("power supplies", len(inv.PowerSupplies), tally(inv.PowerSupplies, func(p bmc.PowerSupply) string { return fmt.Sprintf("%g W %s", p.Watts, p.Model) }))
	row("fans", len(inv.Fans))
	row("firmware", len(inv.Firmware))
	row("accounts", len(inv.Accounts), tally(inv.Accounts, func(a bmc.Account) string { return a.User }))
	row("certificates", len(inv.Certificates))
	row("log entries", len(inv.Events), tally(inv.Events, func(e bmc.Event) string { return orDash(e.Severity) }))
	row("further components", len(inv.Components))
	w.Flush()

	if len(inv.NetworkInterfaces) > 0 {
		fmt.Fprintln(out)
		row("INTERFACE", "OWNER", "MAC", "LINK")
		for _, n := range inv.NetworkInterfaces {
			link := "-"
			if n.LinkUp != nil {
				link = map[bool]string{true: "up", false: "down"}[*n.LinkUp]
			}
			row(n.ID, n.Owner, orDash(strings.Join(n.MACs, " ")), link)
		}
		w.Flush()
	}
	if ill := unhealthy(inv); len(ill) > 0 {
		fmt.Fprintln(out)
		row("NOT HEALTHY", "HEALTH", "WHERE")
		for _, p := range ill {
			row(first(p.Name, p.ID), p.Health, p.URI)
		}
		w.Flush()
	}
	if len(inv.Unread) > 0 {
		fmt.Fprintln(out)
		row("NOT READ", "REASON", "DETAIL")
		for i, u := range inv.Unread {
			if i == 20 {
				row(fmt.Sprintf("and %d more (-o json lists all)", len(inv.Unread)-i))
				break
			}
			row(u.URI, u.Reason, u.Detail)
		}
		w.Flush()
	}
	r := inv.Requests
	fmt.Fprintf(out, "\n%d requests, %.1f s, at most %d at once; answers took %.0f ms in the median, %.0f ms at most\n",
		r.Count, r.WallMS/1000, r.InFlight, r.LatencyMS.Median, r.LatencyMS.Max)
}

// unhealthy gives the parts whose health is told and is not OK.
func unhealthy(inv *bmc.Inventory) []bmc.Part {
	var out []bmc.Part
	add := func(p bmc.Part) {
		if p.Health != "" && !strings.EqualFold(p.Health, "OK") {
			out = append(out, p)
		}
	}
	each(inv.Systems, func(x bmc.System) { add(x.Part) })
	each(inv.Chassis, func(x bmc.Chassis) { add(x.Part) })
	each(inv.Managers, func(x bmc.Manager) { add(x.Part) })
	each(inv.Processors, func(x bmc.Processor) { add(x.Part) })
	each(inv.Memory, func(x bmc.Memory) { add(x.Part) })
	each(inv.Storage, func(x bmc.StorageController) { add(x.Part) })
	each(inv.Drives, func(x bmc.Drive) { add(x.Part) })
	each(inv.Volumes, func(x bmc.Volume) { add(x.Part) })
	each(inv.NetworkInterfaces, func(x bmc.NetworkInterface) { add(x.Part) })
	each(inv.PCIeDevices, func(x bmc.PCIeDevice) { add(x.Part) })
	each(inv.PowerSupplies, func(x bmc.PowerSupply) { add(x.Part) })
	each(inv.Fans, func(x bmc.Fan) { add(x.Part) })
	each(inv.Temperatures, func(x bmc.Temperature) { add(x.Part) })
	each(inv.Components, func(x bmc.Component) { add(x.Part) })
	return out
}

func each[T any](all []T, f func(T)) {
	for _, x := range all {
		f(x)
	}
}

// tally counts equal texts, the most frequent first: "2x A, 1x B".
func tally[T any](all []T, text func(T) string) string {
	counts := map[string]int{}
	var order []string
	for _, x := range all {
		s := strings.TrimSpace(text(x))
		if s == "" {
			continue
		}
		if counts[s] == 0 {
			order = append(order, s)
		}
		counts[s]++
	}
	slices.SortStableFunc(order, func(a, b string) int { return counts[b] - counts[a] })
	var parts []string
	for i, s := range order {
		if i == 4 {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, fmt.Sprintf("%dx %s", counts[s], s))
	}
	return strings.Join(parts, ", ")
}

func reasons(unread []bmc.Unread) string {
	return tally(unread, func(u bmc.Unread) string { return u.Reason })
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clean keeps a BMC's text from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
}

func first(texts ...string) string {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			return t
		}
	}
	return ""
}

func orDash(s string) string { return first(s, "-") }

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.TrimSpace(p) == "" }), ", ")
}

func secureBoot(s bmc.System) string {
	switch {
	case s.SecureBoot == nil:
		return ""
	case s.SecureBoot.Enabled:
		return "Secure Boot on"
	}
	return "Secure Boot off"
}
