package profile

import (
	"fmt"
	"strings"
)

// RootDisk are hints that must point at exactly the disks that the operating system goes to. All set
// hints must hold.
type RootDisk struct {
	Serial string  `json:"serial,omitempty" yaml:"serial"` // letter case ignored
	WWN    string  `json:"wwn,omitempty" yaml:"wwn"`       // with or without 0x, naa., eui. or nvme.
	Model  string  `json:"model,omitempty" yaml:"model"`   // contained in the model, letter case ignored
	Bus    string  `json:"bus,omitempty" yaml:"bus"`       // NVMe, SATA, SAS
	MinGB  float64 `json:"min_gb,omitempty" yaml:"min_gb"` // 1 GB is 10^9 bytes, as on the label
	MaxGB  float64 `json:"max_gb,omitempty" yaml:"max_gb"`
	// Rotational asks for a hard disk when true and for flash when false; absent, it is not judged.
	Rotational *bool `json:"rotational,omitempty" yaml:"rotational"`
}

// Disk is a drive as the machine itself sees it.
type Disk struct {
	Path       string `json:"path"` // /dev/disk/by-id/...
	Serial     string `json:"serial"`
	WWN        string `json:"wwn,omitempty"`
	Model      string `json:"model"`
	Bus        string `json:"bus"`
	Bytes      int64  `json:"bytes"`
	Rotational bool   `json:"rotational"`
}

// String describes the disk for people who must choose between several.
func (d Disk) String() string {
	kind := "flash"
	if d.Rotational {
		kind = "rotational"
	}
	return fmt.Sprintf("%s (serial %q, wwn %q, model %q, %s, %g GB, %s)", d.Path, d.Serial, d.WWN, d.Model, d.Bus, d.GB(), kind)
}

// GB is the size in units of 10^9 bytes.
func (d Disk) GB() float64 { return float64(d.Bytes) / 1e9 }

func (h RootDisk) validate(prefix string) []Problem {
	c := checker{prefix: prefix + "."}
	if h.Bus != "" {
		c.oneOf("bus", h.Bus, "NVMe", "SATA", "SAS")
	}
	if h.WWN != "" && normalWWN(h.WWN) == "" {
		c.bad("wwn", h.WWN, "give the hexadecimal digits from the drive's label")
	}
	if h.MinGB < 0 {
		c.bad("min_gb", h.MinGB, "use GB, 0 or more")
	}
	if h.MaxGB < 0 || h.MaxGB > 0 && h.MaxGB < h.MinGB {
		c.bad("max_gb", h.MaxGB, "use GB, at least min_gb")
	}
	return c.out
}

// miss says why a disk does not fit, in the order of the hints; empty means that it fits.
func (h RootDisk) miss(d Disk) string {
	contains := func(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }
	same := func(a, b string) bool { // what is empty is the same as nothing
		a, b = strings.TrimSpace(a), strings.TrimSpace(b)
		return a != "" && strings.EqualFold(a, b)
	}
	switch {
	case h.Serial != "" && !same(h.Serial, d.Serial):
		return "serial is not " + h.Serial
	case h.WWN != "" && !same(normalWWN(h.WWN), normalWWN(d.WWN)):
		return "wwn is not " + h.WWN
	case h.Model != "" && !contains(d.Model, h.Model):
		return "model does not contain " + h.Model
	case h.Bus != "" && !same(h.Bus, d.Bus):
		return "bus is not " + h.Bus
	case h.Rotational != nil && *h.Rotational && !d.Rotational:
		return "is not rotational"
	case h.Rotational != nil && !*h.Rotational && d.Rotational:
		return "is rotational"
	case h.MinGB > 0 && d.GB() < h.MinGB:
		return fmt.Sprintf("is smaller than %g GB", h.MinGB)
	case h.MaxGB > 0 && d.GB() > h.MaxGB:
		return fmt.Sprintf("is larger than %g GB", h.MaxGB)
	}
	return ""
}

// normalWWN gives the small hexadecimal digits of a WWN, and nothing when it is none.
func normalWWN(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, prefix := range []string{"0x", "naa.", "eui.", "nvme."} {
		s = strings.TrimPrefix(s, prefix)
	}
	s = strings.NewReplacer(":", "", "-", "").Replace(s)
	if strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// ChooseRootDisks gives the disks that the operating system goes to: exactly as many as asked for
// must fit the hints, in the order of the list. The error lists every candidate. No hint at all
// chooses nothing: empty is not all.
func ChooseRootDisks(disks []Disk, h RootDisk, count int) ([]Disk, error) {
	if h == (RootDisk{}) {
		return nil, fmt.Errorf("root disk: no hint is given, and none is not any%s", candidates(disks, h, false))
	}
	var fit []Disk
	for _, d := range disks {
		if h.miss(d) == "" {
			fit = append(fit, d)
		}
	}
	switch {
	case count < 1:
		return nil, fmt.Errorf("root disk: %d disks asked for", count)
	case len(fit) == count:
		return fit, nil
	case len(fit) > count:
		return nil, fmt.Errorf("root disk: %d disks fit the hints where %d must: add a hint%s", len(fit), count, candidates(fit, h, false))
	}
	return nil, fmt.Errorf("root disk: %d of %d disks fit the hints where %d must%s", len(fit), len(disks), count, candidates(disks, h, true))
}

// ChooseRootDisk is ChooseRootDisks for one disk.
func ChooseRootDisk(disks []Disk, h RootDisk) (Disk, error) {
	got, err := ChooseRootDisks(disks, h, 1)
	if err != nil {
		return Disk{}, err
	}
	return got[0], nil
}

func candidates(disks []Disk, h RootDisk, why bool) string {
	if len(disks) == 0 {
		return ": the machine shows no disk"
	}
	var b strings.Builder
	for i, d := range disks {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + d.String())
		if miss := h.miss(d); why && miss != "" {
			b.WriteString(" " + miss)
		} else if why {
			b.WriteString(" fits")
		}
	}
	return b.String()
}
