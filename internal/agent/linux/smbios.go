package linux

import (
	"encoding/binary"
	"strings"

	"github.com/cagenut/cagenut/internal/bootproto"
)

// smbios reads memory modules (type 17) and the way to the BMC (type 38) out of the firmware's table.
// A table that breaks off tells what stands before.
func smbios(table []byte) (modules []bootproto.Module, ipmi string) {
	for len(table) >= 4 {
		kind, size := table[0], int(table[1])
		if size < 4 || size > len(table) {
			break
		}
		s, rest := table[:size], table[size:]
		end := strings.Index(string(rest), "\x00\x00")
		if end < 0 {
			break
		}
		words := strings.Split(string(rest[:end]), "\x00")
		table = rest[end+2:]
		word := func(at int) string {
			if at < len(s) && s[at] > 0 && int(s[at]) <= len(words) {
				return strings.TrimSpace(words[s[at]-1])
			}
			return ""
		}
		switch {
		case kind == 17 && size >= 0x15:
			mib := int(binary.LittleEndian.Uint16(s[0x0c:]))
			switch {
			case mib == 0xffff: // unknown
				continue
			case mib == 0x7fff && size >= 0x20:
				mib = int(binary.LittleEndian.Uint32(s[0x1c:]) & 0x7fffffff)
			case mib&0x8000 != 0:
				mib = (mib & 0x7fff) >> 10
			}
			if mib > 0 {
				modules = append(modules, bootproto.Module{Slot: word(0x10), MiB: mib, Part: word(0x1a), Serial: word(0x18)})
			}
		case kind == 38 && size >= 5:
			ipmi = map[byte]string{1: "kcs", 2: "smic", 3: "bt", 4: "ssif"}[s[4]]
		case kind == 127:
			return modules, ipmi
		}
	}
	return modules, ipmi
}
