package plan

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/cagenut/cagenut/internal/asset"
	"github.com/cagenut/cagenut/internal/fault"
	"github.com/cagenut/cagenut/internal/profile"
)

// Facts are what was known about one asset when it was planned: its NetBox record and our own
// history. Nothing in them is secret.
type Facts struct {
	Asset        asset.Ref
	Status       asset.Status
	Type         string // NetBox slugs
	Role         string
	Manufacturer string
	Model        string
	Position     float64
	Face         string
	OOB          netip.Prefix
	OOBInterface string // the mgmt_only interface that carries OOB; empty when it is on none
	Primary      []netip.Prefix
	PrimaryPool  []netip.Prefix // where a primary address could come from
	Domain       string         // of the site's DNS names; empty: machines get none
	Interfaces   []Port
	// SameSerial are other NetBox devices with this serial.
	SameSerial []string
	// Holder is the operation that holds the asset now; zero: none.
	Holder Holder
	// EverActive tells that our history, or for a failed asset NetBox's changelog, shows it in service
	// at some time or cannot exclude it; InstallBegan that an install of ours once began and never
	// reached active.
	EverActive   bool
	InstallBegan bool
	// SiteGaps are what is missing in Cagenut's own configuration of the asset's site.
	SiteGaps []fault.Item
	// HasSecret tells that a password for the BMC is known, imported or our own.
	HasSecret bool
}

// Holder is the operation that holds an asset, as it is told to who asks for the asset too.
type Holder struct {
	Operation string
	Actor     string // whose it is
	State     string // of its run for the asset
	Asset     string // the asset's name there
}

// Says tells whose operation it is, and how it stands.
func (h Holder) Says() string {
	return fmt.Sprintf("held by operation %s of %s (%s)", h.Operation, h.Actor, h.State)
}

// Remedy gives a command that ends the run of this asset and no other.
func (h Holder) Remedy() string {
	return fmt.Sprintf("wait for it, or agree with %s and run `cagenut op abort %s --asset %s`", h.Actor, h.Operation, h.Asset)
}

// Port is an interface of the asset.
type Port struct {
	Name  string
	Mgmt  bool
	MACs  []string // NetBox form
	Cable string   // far end "device:port", empty: none
	LAG   string   // the bond that it is a member of, empty: none
}

// Check judges whether an asset may be installed. It returns all gaps at once, each with its
// remedy, or a refusal. prof is nil when no profile, or several, match; noProfile says which.
func Check(f Facts, prof *profile.Profile, noProfile error) *fault.Error {
	name := f.Asset.Name
	switch {
	case f.Holder.Operation != "":
		e := fault.New(fault.Locked, "%s is %s", name, f.Holder.Says())
		e.Holder, e.Remedy = f.Holder.Operation, f.Holder.Remedy()
		return e
	case f.Status == asset.Planned || f.Status == asset.Staged:
	case f.Status == asset.Failed && f.InstallBegan && !f.EverActive:
	case f.Status == asset.Failed:
		return fault.New(fault.InService,
			"%s is failed in NetBox, and neither our history nor NetBox's changelog proves that it was never in service: it may hold data or load", name)
	case f.Status.InService():
		return fault.New(fault.InService, "%s is %s in NetBox; install takes planned and staged machines only", name, f.Status)
	default:
		return fault.New(fault.IllegalMove, "%s is %s in NetBox; install takes planned and staged machines only", name, f.Status)
	}
	var gaps []fault.Item
	gap := func(missing bool, subject, seen, remedy string) {
		if missing {
			gaps = append(gaps, fault.Item{Subject: subject, Expected: "set", Seen: seen, Remedy: remedy})
		}
	}
	gap(f.Asset.Serial == "", "serial", "empty", "enter the serial from the machine's label")
	if len(f.SameSerial) > 0 {
		gaps = append(gaps, fault.Item{Subject: "serial", Expected: "unique", Seen: f.Asset.Serial + ", also of " + strings.Join(f.SameSerial, ", "),
			Remedy: "correct it where it is wrong, by the machines' labels"})
	}
	gap(f.Asset.Site == "", "site", "empty", "assign the device to its site")
	gap(f.Asset.Rack == "", "rack", "empty", "assign the device to its rack")
	gap(f.Position == 0 || f.Face == "", "position", fmt.Sprintf("U%g %s", f.Position, f.Face), "enter the lowest rack unit and the face")
	gap(f.Type == "", "device type", "empty", "choose the device type")
	gap(f.Role == "", "role", "empty", "choose the role")
	switch {
	case !f.OOB.IsValid():
		gap(true, "oob_ip", "empty", "assign the BMC's address to the mgmt_only interface and set it as out-of-band IP")
	case f.OOBInterface == "":
		gap(true, "oob_ip", f.OOB.String()+" on an interface that is not mgmt_only", "mark the BMC's interface as management only")
	}
	var macs, cables int
	for _, p := range f.Interfaces {
		if p.Mgmt {
			gap(p.Name == f.OOBInterface && p.Cable == "", "cable of "+p.Name, "none", "plan the cable to the management switch")
			continue
		}
		if len(p.MACs) > 0 {
			macs++
		} else {
			gap(p.Cable != "", "MAC address of "+p.Name, "none, though it is cabled", "enter it from the shipping manifest")
		}
		if p.Cable != "" {
			cables++
		}
	}
	gap(macs == 0, "MAC addresses", "none on any data interface", "enter the MACs from the shipping manifest")
	gap(cables == 0, "cables", "none on any data interface", "plan the cables to the switches")
	gap(len(f.Primary) == 0 && len(f.PrimaryPool) == 0, "primary IP", "none, and no prefix to take one from",
		"assign a primary IP, or make a prefix with role \"primary\" in the device's site, of the untagged VLAN of its interfaces or of no VLAN")
	if prof == nil {
		gaps = append(gaps, fault.Item{Subject: "profile", Expected: "exactly one", Seen: noProfile.Error(),
			Remedy: "add or narrow a profile; `cagenut profile check` tests them"})
	}
	gaps = append(gaps, f.SiteGaps...)
	gap(!f.HasSecret, "BMC password", "none known for serial "+f.Asset.Serial, "import it: `cagenut bmc import manifest.csv`")
	if len(gaps) == 0 {
		return nil
	}
	subjects := make([]string, len(gaps))
	for i, g := range gaps {
		subjects[i] = g.Subject
	}
	code := fault.Incomplete
	if len(f.SameSerial) > 0 {
		code = fault.DuplicateSerial
	}
	e := fault.New(code, "%s is not ready: %s", name, strings.Join(subjects, ", "))
	e.Details = gaps
	return e
}

// Reads lists what a plan depends on, so that a change in between is seen: a plan keeps the list,
// and the preflight step reads again and compares (Drift). Sensors, time stamps and our own writes
// are not among them.
func Reads(f Facts) []Read {
	object := "device " + f.Asset.Name
	values := []struct {
		field string
		value any
	}{
		{"name", f.Asset.Name},
		{"serial", f.Asset.Serial},
		{"status", f.Status},
		{"site", f.Asset.Site},
		{"rack", f.Asset.Rack},
		{"position", fmt.Sprintf("%g %s", f.Position, f.Face)},
		{"device type", f.Type},
		{"role", f.Role},
		{"oob_ip", f.OOB.String()},
		{"interfaces", f.Interfaces},
		{"primary IP", f.Primary},
	}
	reads := make([]Read, 0, len(values))
	for _, v := range values {
		sum, err := Digest(v.value)
		if err != nil { // strings and slices of strings always have a JSON form
			panic(err)
		}
		reads = append(reads, Read{Object: object, Field: v.field, SHA256: sum})
	}
	return reads
}

// Drift names the fields of object whose value is no longer what was planned with, in plan order.
func Drift(planned, now []Read) []string {
	current := make(map[[2]string]string, len(now))
	for _, r := range now {
		current[[2]string{r.Object, r.Field}] = r.SHA256
	}
	var out []string
	for _, r := range planned {
		if current[[2]string{r.Object, r.Field}] != r.SHA256 {
			out = append(out, r.Object+": "+r.Field)
		}
	}
	return out
}
