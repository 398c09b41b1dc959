package sim

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Identifying values of a box are derived, not random: the same name gives the same serial, MAC
// and UUID in every run, and different names give different ones for all practical purposes.

// digest is what everything of a seed is derived from.
func digest(seed, what string) [32]byte { return sha256.Sum256([]byte(seed + "\x00" + what)) }

// word gives n characters of A-Z and 2-9 without the ones that people confuse.
func word(seed, what string, n int) string {
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	d := digest(seed, what)
	var b strings.Builder
	for i := range n {
		b.WriteByte(alphabet[int(d[i%len(d)])%len(alphabet)])
	}
	return b.String()
}

// macOf gives the n-th MAC address of a machine. 02 marks it as locally administered, so that no
// address of a real vendor is used.
func macOf(serial string, n int) string {
	d := digest(serial, "mac")
	return fmt.Sprintf("02:CA:%02X:%02X:%02X:%02X", d[0], d[1], d[2], byte(int(d[3]&0xF0)+n&0xFF))
}

// uuidOf gives a UUID of version 8 (derived).
func uuidOf(seed, what string) string {
	d := digest(seed, "uuid/"+what)
	d[6] = d[6]&0x0F | 0x80
	d[8] = d[8]&0x3F | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", d[0:4], d[4:6], d[6:8], d[8:10], d[10:16])
}
