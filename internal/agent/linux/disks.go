package linux

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cagenut/cagenut/internal/profile"
)

// drive is a disk of the machine with what the kernel calls it.
type drive struct {
	profile.Disk
	name string // sda
	dev  string // its device node
}

// skipped are block devices that are no disks of their own.
var skipped = []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "rbd", "mtdblock", "pmem"}

// drives are the disks of the machine, in the kernel's order of names.
func (m *Machine) drives() []drive {
	var out []drive
next:
	for _, name := range m.names("sys/block") {
		for _, prefix := range skipped {
			if strings.HasPrefix(name, prefix) {
				continue next
			}
		}
		at := filepath.Join("sys/block", name)
		place := m.target(at)
		sectors, _ := m.number(at, "size") // of 512 bytes, whatever the drive's are
		if sectors == 0 || m.text(at, "removable") == "1" || m.text(at, "hidden") == "1" || strings.Contains(place, "/usb") {
			continue
		}
		d := drive{name: name, dev: m.at("dev", name)}
		d.Bytes, d.Rotational = sectors*512, m.text(at, "queue/rotational") == "1"
		m.describe(&d, at, place)
		out = append(out, d)
	}
	return out
}

// describe fills in what a disk says of itself, and names it as udev's rules do.
func (m *Machine) describe(d *drive, at, place string) {
	wwid := cmp.Or(m.text(at, "wwid"), m.text(at, "device/wwid"))
	d.Path = "/dev/" + d.name // only where the disk says nothing that it could be known by
	switch {
	case strings.HasPrefix(d.name, "nvme"):
		d.Bus, d.Model, d.Serial = "NVMe", m.text(at, "device/model"), m.text(at, "device/serial")
		d.WWN = strings.TrimPrefix(wwid, "nvme.")
		d.byID("nvme", d.Model+"_"+d.Serial, d.Serial)
	case strings.HasPrefix(d.name, "vd"):
		d.Bus, d.Serial = "virtio", m.text(at, "serial")
		d.byID("virtio", d.Serial, d.Serial)
	default:
		d.Bus, d.Model = "SAS", m.text(at, "device/model")
		naa, isNAA := strings.CutPrefix(wwid, "naa.")
		if isNAA {
			d.WWN = "0x" + naa
		}
		d.Serial = pageText(m.page(at, "vpd_pg80"))
		if model, serial, ok := identify(m.page(at, "vpd_pg89")); ok || strings.Contains(place, "/ata") {
			d.Bus, d.Model, d.Serial = "SATA", cmp.Or(model, d.Model), cmp.Or(serial, d.Serial)
			d.byID("ata", d.Model+"_"+d.Serial, d.Serial)
			return
		}
		if isNAA {
			d.byID("scsi", "3"+naa, naa)
		} else {
			d.byID("scsi", "S"+m.text(at, "device/vendor")+"_"+d.Model+"_"+d.Serial, d.Serial)
		}
	}
}

// byID gives the disk the name of udev's link, when there is something that tells it from others.
func (d *drive) byID(kind, name, unique string) {
	if unique != "" {
		d.Path = "/dev/disk/by-id/" + kind + "-" + escape(name)
	}
}

// escape makes a part of a file's name as udev does: runs of space are one "_", and so is what is unsafe.
func escape(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c > 127 || strings.ContainsRune("#+-.:=@_", c) {
			return c
		}
		return '_'
	}, strings.Join(strings.Fields(s), "_"))
}

// page reads a page of a disk's vital product data.
func (m *Machine) page(at, name string) []byte {
	raw, err := os.ReadFile(m.at(at, "device", name))
	if err != nil || len(raw) < 4 {
		return nil
	}
	return raw[4:min(len(raw), 4+int(binary.BigEndian.Uint16(raw[2:])))]
}

func pageText(page []byte) string { return strings.TrimSpace(strings.Trim(string(page), "\x00")) }

// identify reads model and serial out of what an ATA drive says (page 0x89, IDENTIFY DEVICE at byte 60):
// SCSI's own fields are too short for them.
func identify(page []byte) (model, serial string, ok bool) {
	const at = 56 // 60 less the page's header
	if len(page) < at+512 {
		return "", "", false
	}
	words := func(from, to int) string { // two letters a word, the second first
		b := []byte{}
		for i := from; i < to; i++ {
			b = append(b, page[at+2*i+1], page[at+2*i])
		}
		return pageText(b)
	}
	return words(27, 47), words(10, 20), true
}

// chosen finds disks by their paths. One that is not here is an error, and so is none at all, or one
// that is named twice.
func (m *Machine) chosen(paths []string) ([]drive, error) {
	if len(paths) == 0 {
		return nil, errors.New("no disks are named: empty is not all")
	}
	all, seen := m.drives(), map[string]bool{}
	var out []drive
	for _, p := range paths {
		found := 0
		for _, d := range all {
			if d.Path == p {
				found++
				out = append(out, d)
			}
		}
		switch {
		case found == 0:
			return nil, fmt.Errorf("disk %s is not here", p)
		case found > 1:
			return nil, fmt.Errorf("%d disks are called %s: their serials do not tell them apart", found, p)
		case seen[p]:
			return nil, fmt.Errorf("disk %s is named twice", p)
		}
		seen[p] = true
	}
	return out, nil
}
