package linux

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cagenut/cagenut/internal/bootproto"
)

// health asks a drive how it is; false: it does not say.
func (m *Machine) health(d drive) (bootproto.DiskHealth, bool) {
	f, err := os.OpenFile(d.dev, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return bootproto.DiskHealth{}, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		return bootproto.DiskHealth{}, false
	}
	dev := &device{File: f, block: true}
	var h bootproto.DiskHealth
	page := make([]byte, 512)
	switch d.Bus {
	case "NVMe":
		const log = 0x02
		if dev.admin(nvmeCommand{opcode: log, nsid: 0xffffffff, cdw10: 0x02 | (512/4-1)<<16}, page) != nil {
			return h, false
		}
		h = nvmeHealth(page)
	case "SATA":
		if dev.smart(page) != nil {
			return h, false
		}
		h = ataHealth(page)
	default:
		return h, false
	}
	h.Path = d.Path
	return h, true
}

// nvmeHealth reads the SMART log of an NVMe drive.
func nvmeHealth(p []byte) bootproto.DiskHealth {
	return bootproto.DiskHealth{Failing: p[0]&^2 != 0, // being warm is judged by the profile
		Celsius: float64(binary.LittleEndian.Uint16(p[1:])) - 273, WearPercent: float64(p[5]),
		Hours: int(binary.LittleEndian.Uint32(p[128:])), Reallocated: int(binary.LittleEndian.Uint32(p[160:]))}
}

// ataHealth reads the SMART attributes of an ATA drive. Vendors agree on these few.
func ataHealth(p []byte) bootproto.DiskHealth {
	h := bootproto.DiskHealth{Celsius: -1, WearPercent: -1, Reallocated: -1, Hours: -1}
	for i := range 30 {
		a := p[2+12*i:]
		raw := int(binary.LittleEndian.Uint32(a[5:]))
		switch a[0] {
		case 5:
			h.Reallocated = raw
		case 9:
			h.Hours = raw & 0xffffff // above are minutes, of some
		case 177, 231, 233: // wear levelling, life left, wear-out: what is left is counted down from 100
			if h.WearPercent < 0 && a[3] <= 100 {
				h.WearPercent = float64(100 - int(a[3]))
			}
		case 194:
			h.Celsius = float64(raw & 0xff)
		case 190:
			if h.Celsius < 0 {
				h.Celsius = float64(raw & 0xff)
			}
		}
	}
	return h
}

// sgHeader is struct sg_io_hdr of scsi/sg.h.
type sgHeader struct {
	id, direction     int32
	cmdLen, senseLen  uint8
	_                 uint16
	dataLen           uint32
	data, cmd, sense  unsafe.Pointer
	timeoutMs, flags  uint32
	packID            int32
	_                 uintptr
	status, masked    uint8
	msg, senseWritten uint8
	host, driver      uint16
	resid             int32
	duration, info    uint32
}

// smart reads the SMART attributes of an ATA drive, through SCSI's ATA PASS-THROUGH (16).
func (d *device) smart(page []byte) error {
	const sgIO, fromDevice = 0x2285, -3
	sense := make([]byte, 32)
	cmd := []byte{0x85, 4 << 1, 0x0e, 0, 0xd0, 0, 1, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0}
	h := sgHeader{id: 'S', direction: fromDevice, cmdLen: uint8(len(cmd)), senseLen: uint8(len(sense)), dataLen: uint32(len(page)), timeoutMs: 10_000,
		data: unsafe.Pointer(&page[0]), cmd: unsafe.Pointer(&cmd[0]), sense: unsafe.Pointer(&sense[0])} //nolint:gosec // the kernel wants addresses
	if err := d.ioctl(sgIO, unsafe.Pointer(&h)); err != nil { //nolint:gosec // it is an ioctl
		return err
	}
	if h.info&1 != 0 {
		return fmt.Errorf("the drive answers with status %#x", h.status)
	}
	return nil
}

// celsius is the hottest sensor of a kind, from the kernel's hardware monitoring; -1: there is none.
func (m *Machine) celsius(kinds ...string) float64 {
	hottest := -1.0
	for _, mon := range m.names("sys/class/hwmon") {
		at := filepath.Join("sys/class/hwmon", mon)
		if !slices.Contains(kinds, m.text(at, "name")) {
			continue
		}
		for _, f := range m.names(at) {
			if n, ok := m.number(at, f); ok && strings.HasPrefix(f, "temp") && strings.HasSuffix(f, "_input") {
				hottest = max(hottest, float64(n)/1000)
			}
		}
	}
	return hottest
}

// memoryErrors are the errors that memory controllers have counted.
func (m *Machine) memoryErrors() (corrected, uncorrected int) {
	for _, mc := range m.names("sys/devices/system/edac/mc") {
		ce, _ := m.number("sys/devices/system/edac/mc", mc, "ce_count")
		ue, _ := m.number("sys/devices/system/edac/mc", mc, "ue_count")
		corrected, uncorrected = corrected+int(ce), uncorrected+int(ue)
	}
	return corrected, uncorrected
}
