// Package asset holds the words for what Cagenut works on: an asset is a server, switch or other
// device, known by its NetBox device ID and proved by its serial number. The lifecycle of an asset
// is one table (lifecycle.go), which PostgreSQL holds too.
//
// The package is pure: no I/O, no clocks, no goroutines. All values are safe to copy and compare.
package asset

import (
	"fmt"
	"strconv"
	"strings"
)

// ID is a NetBox device ID. It never changes while the device exists, unlike its name.
type ID int64

// String gives the ID in base 10.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseID reads a NetBox device ID. It refuses zero and negative numbers.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("asset ID %q: want a positive number, the device's ID in NetBox", s)
	}
	return ID(n), nil
}

// Ref names one asset as a plan froze it.
type Ref struct {
	ID     ID     `json:"id"`
	Name   string `json:"name"`
	Serial string `json:"serial"`
	Site   string `json:"site"` // NetBox slug
	Rack   string `json:"rack,omitempty"`
}

// SameSerial tells whether two serial numbers name the same device. Letter case and surrounding
// space do not count, since people type serials; an empty serial is never the same as anything.
func SameSerial(a, b string) bool {
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	return a != "" && strings.EqualFold(a, b)
}

// NormalMAC gives a MAC address in NetBox's form, AA:BB:CC:DD:EE:FF, and false when s is not one.
// It accepts colons, dashes, dots and no separators.
func NormalMAC(s string) (string, bool) {
	var hex [12]byte
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ':' || c == '-' || c == '.':
			continue
		case c >= 'a' && c <= 'f':
			c -= 'a' - 'A'
		case c >= '0' && c <= '9', c >= 'A' && c <= 'F':
		default:
			return "", false
		}
		if n == len(hex) {
			return "", false
		}
		hex[n] = c
		n++
	}
	if n != len(hex) {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(hex); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.Write(hex[i : i+2])
	}
	return b.String(), true
}
