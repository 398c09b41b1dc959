package activities

import (
	"cmp"
	"strings"
)

// compareVersions orders firmware versions as vendors count them: runs of digits by value, runs of
// letters by letter case folded, separators only separate. "2.10" is after "2.9", "1.8.2" before
// "1.8.2a", "U46 v2.72" after "U46 v2.68".
func compareVersions(a, b string) int {
	x, y := segments(a), segments(b)
	for i := range min(len(x), len(y)) {
		if c := compareSegments(x[i], y[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

func compareSegments(a, b string) int {
	digitsA, digitsB := isDigit(a[0]), isDigit(b[0])
	if digitsA && digitsB {
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	}
	return cmp.Compare(strings.ToLower(a), strings.ToLower(b))
}

func segments(v string) []string {
	var out []string
	start := -1
	for i := 0; i <= len(v); i++ {
		if start >= 0 && (i == len(v) || !isWord(v[i]) || isDigit(v[i]) != isDigit(v[start])) {
			out = append(out, v[start:i])
			start = -1
		}
		if i < len(v) && start < 0 && isWord(v[i]) {
			start = i
		}
	}
	return out
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWord(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
