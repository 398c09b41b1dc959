package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nvmeCommand is struct nvme_admin_cmd of linux/nvme_ioctl.h.
type nvmeCommand struct {
	opcode, flags    uint8
	_                uint16
	nsid             uint32
	_, _             uint32
	metadata         uint64
	addr             unsafe.Pointer
	metadataLen, len uint32
	cdw10, cdw11     uint32
	_, _, _, _       uint32
	timeoutMs, _     uint32
}

const (
	nvmeAdmin = 0xc0484e41 // _IOWR('N', 0x41, struct nvme_admin_cmd)
	nvmeID    = 0x4e40     // _IO('N', 0x40)
)

// admin sends a command to the drive; what it reads goes into data.
func (d *device) admin(c nvmeCommand, data []byte) error {
	if len(data) > 0 {
		c.addr, c.len = unsafe.Pointer(&data[0]), uint32(len(data)) //nolint:gosec // the kernel wants an address
	}
	s, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), nvmeAdmin, uintptr(unsafe.Pointer(&c))) //nolint:gosec // it is an ioctl
	switch {
	case e != 0:
		return e
	case s != 0:
		return fmt.Errorf("the drive answers with status %#x", s)
	}
	return nil
}

// errNoFormat is a drive that cannot format this namespace alone.
var errNoFormat = errors.New("the drive has no format that ends at this namespace")

// format has the drive erase its namespace, in the form that it has. Some drives then erase all of their
// namespaces: where there are others, that is not done.
func (d *device) format(namespaces int) error {
	ns, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), nvmeID, 0)
	if e != 0 {
		return errNoFormat
	}
	ctrl, space := make([]byte, 4096), make([]byte, 4096)
	if err := d.admin(nvmeCommand{opcode: 0x06, cdw10: 1}, ctrl); err != nil {
		return err
	}
	if err := d.admin(nvmeCommand{opcode: 0x06, nsid: uint32(ns)}, space); err != nil {
		return err
	}
	const oacs, fna, flbas, dps = 256, 524, 26, 29
	if binary.LittleEndian.Uint16(ctrl[oacs:])&2 == 0 || ctrl[fna]&3 != 0 && namespaces > 1 {
		return errNoFormat
	}
	const userData = 1 << 9
	form := uint32(space[flbas]&0x0f) | uint32(space[flbas]>>4&1)<<4 | uint32(space[dps]&7)<<5 | uint32(space[dps]>>3&1)<<8
	return d.admin(nvmeCommand{opcode: 0x80, nsid: uint32(ns), cdw10: form | userData, timeoutMs: 30 * 60 * 1000}, nil)
}

var namespace = regexp.MustCompile(`^(nvme\d+)n\d+$`)

// siblings counts the namespaces of a drive.
func (m *Machine) siblings(name string) int {
	n, own := 0, namespace.FindStringSubmatch(name)
	for _, other := range m.names("sys/block") {
		if its := namespace.FindStringSubmatch(other); own != nil && its != nil && its[1] == own[1] {
			n++
		}
	}
	return n
}
