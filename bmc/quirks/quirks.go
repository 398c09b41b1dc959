// Package quirks is data about how management controllers differ, and the matching that finds what
// applies to one of them. Nothing here does anything: drivers ask For and obey.
//
// Words
//
//   - Facts: what a BMC says of itself (ServiceRoot, managers, systems).
//   - Quirk: one row of the table in table.go: which BMCs it is about, why it is there, and what
//     differs. A row is added when a difference was seen or is documented by the vendor.
//   - Profile: what all matching quirks say together. Lists add up; of single values the last
//     matching row's counts, so general rows stand before special ones.
//
// The table is never changed after the program starts, and a Profile is a copy, so both may be used
// by several goroutines.
package quirks

import (
	"slices"
	"strings"
)

// Facts are what a BMC says of itself. Unknown ones are empty.
type Facts struct {
	Vendor   string // ServiceRoot.Vendor, else the name of its OEM section, else the maker of the system
	Product  string // ServiceRoot.Product
	Model    string // of the system
	Manager  string // Manager.Model
	Firmware string // Manager.FirmwareVersion
}

// Match says which BMCs a quirk is about. Each non-empty list must hold a part of the fact, without
// regard to case. A Match without lists is about every BMC.
type Match struct {
	Vendor   []string
	Product  []string
	Model    []string
	Manager  []string
	Firmware []string
}

// Quirk is one row of the table.
type Quirk struct {
	Name   string
	Reason string // why the row exists, for people
	Match  Match

	// CipherSuites (IANA numbers) are offered in addition to Go's defaults, TLS 1.2 only.
	CipherSuites []uint16
	// InFlight is the most requests to have open at once; 0 leaves the caller's choice.
	InFlight int
	// NoExpand forbids $expand although the ServiceRoot offers it.
	NoExpand bool
	// Expand is the value of $expand to use instead of what the ServiceRoot's offer suggests.
	Expand string
	// Identity are the fields that name the machine, best first, as Type.Property.
	Identity []string
	// Pending are path patterns of objects that hold settings for the next boot, not hardware.
	Pending []string
	// Skip are path patterns that hold nothing an inventory wants.
	Skip []string
	// Roots are further paths to start from, for what no link leads to.
	Roots []string
	// Types gives an OEM resource type the standard type that it is read as.
	Types map[string]string
}

// Profile is what all quirks that match one BMC say together.
type Profile struct {
	Names        []string
	CipherSuites []uint16
	InFlight     int
	NoExpand     bool
	Expand       string
	Identity     []string
	Pending      []string
	Skip         []string
	Roots        []string
	Types        map[string]string
}

// For gives the profile of a BMC. The common rows, which match every BMC, are not named in Names.
func For(f Facts) Profile { return profile(table, f) }

func profile(rows []Quirk, f Facts) Profile {
	p := Profile{Names: []string{}, Types: map[string]string{}}
	for _, q := range rows {
		if !q.Match.holds(f) {
			continue
		}
		if !q.Match.empty() {
			p.Names = append(p.Names, q.Name)
		}
		p.CipherSuites = append(p.CipherSuites, q.CipherSuites...)
		if q.InFlight > 0 {
			p.InFlight = q.InFlight
		}
		p.NoExpand = p.NoExpand || q.NoExpand
		if q.Expand != "" {
			p.Expand = q.Expand
		}
		if len(q.Identity) > 0 {
			p.Identity = slices.Clone(q.Identity)
		}
		p.Pending = append(p.Pending, q.Pending...)
		p.Skip = append(p.Skip, q.Skip...)
		p.Roots = append(p.Roots, q.Roots...)
		for oem, standard := range q.Types {
			p.Types[oem] = standard
		}
	}
	return p
}

// Table gives a copy of all rows, for documentation and tests.
func Table() []Quirk { return slices.Clone(table) }

func (m Match) empty() bool {
	return len(m.Vendor)+len(m.Product)+len(m.Model)+len(m.Manager)+len(m.Firmware) == 0
}

func (m Match) holds(f Facts) bool {
	return contains(f.Vendor, m.Vendor) && contains(f.Product, m.Product) && contains(f.Model, m.Model) &&
		contains(f.Manager, m.Manager) && contains(f.Firmware, m.Firmware)
}

func contains(fact string, parts []string) bool {
	if len(parts) == 0 {
		return true
	}
	fact = strings.ToLower(fact)
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(fact, strings.ToLower(p)) })
}

// Paths is a set of path patterns, prepared for matching many paths. A pattern is one or more whole
// path segments that stand together anywhere in a path, without regard to case; * is any one
// segment. "Oem/*/LEDs" matches /redfish/v1/Chassis/1/Oem/Lenovo/LEDs/3.
type Paths struct {
	byLength map[int][][]string // patterns by the length of their first segment
	any      [][]string         // patterns that begin with *
}

// NewPaths prepares patterns.
func NewPaths(patterns []string) Paths {
	p := Paths{byLength: map[int][][]string{}}
	for _, pattern := range patterns {
		segments := strings.Split(pattern, "/")
		if segments[0] == "*" {
			p.any = append(p.any, segments)
			continue
		}
		p.byLength[len(segments[0])] = append(p.byLength[len(segments[0])], segments)
	}
	return p
}

// Match tells whether one of the patterns fits a path.
func (p Paths) Match(path string) bool {
	for rest := strings.Trim(path, "/"); rest != ""; {
		segment, after, _ := strings.Cut(rest, "/")
		for _, want := range p.byLength[len(segment)] {
			if strings.EqualFold(want[0], segment) && begins(after, want[1:]) {
				return true
			}
		}
		for _, want := range p.any {
			if begins(after, want[1:]) {
				return true
			}
		}
		rest = after
	}
	return false
}

// begins tells whether a path begins with the segments.
func begins(path string, want []string) bool {
	for _, w := range want {
		if path == "" {
			return false
		}
		segment, after, _ := strings.Cut(path, "/")
		if w != "*" && !strings.EqualFold(w, segment) {
			return false
		}
		path = after
	}
	return true
}
