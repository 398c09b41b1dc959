package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// A firmware image of the box is a text header, an empty line, and a payload:
//
//	CAGENUT-BOX-FIRMWARE 1
//	component: bios
//	version: 2.4.1
//	size: 4096
//	sha256: 0f3a...
//
//	<size bytes, whose SHA-256 is the one above>
//
// Installing it sets exactly that component to exactly that version. A BMC refuses an image whose
// size or sum is wrong, or whose component it does not have. The components are those of
// Components.
const imageMagic = "CAGENUT-BOX-FIRMWARE 1"

// maxImage bounds what a BMC of the box downloads or accepts, in bytes.
const maxImage = 64 << 20

// The components that firmware images are for.
const (
	ComponentBIOS = "bios"
	ComponentBMC  = "bmc"
	ComponentNIC  = "nic"
	ComponentRAID = "raid"
	ComponentPSU  = "psu"
	ComponentCPLD = "cpld"
)

// Components lists the components that firmware images are for.
func Components() []string {
	return []string{ComponentBIOS, ComponentBMC, ComponentNIC, ComponentRAID, ComponentPSU, ComponentCPLD}
}

// Image is what the header of a firmware image says.
type Image struct {
	Component string `json:"component,omitempty"`
	Version   string `json:"version,omitempty"`
}

// FirmwareImage makes an image. The same arguments give the same bytes.
func FirmwareImage(component, version string) []byte {
	const size = 4096
	payload := make([]byte, 0, size)
	for i := 0; len(payload) < size; i++ {
		block := digest(component+"/"+version, "payload/"+strconv.Itoa(i))
		payload = append(payload, block[:]...)
	}
	sum := sha256.Sum256(payload)
	return append(fmt.Appendf(nil, "%s\ncomponent: %s\nversion: %s\nsize: %d\nsha256: %x\n\n",
		imageMagic, component, version, len(payload), sum), payload...)
}

// ParseFirmwareImage reads and checks an image.
func ParseFirmwareImage(data []byte) (Image, error) {
	header, payload, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(header), "\n")
	if !found || lines[0] != imageMagic {
		return Image{}, fmt.Errorf("not a firmware image of the box: the first line is not %q", imageMagic)
	}
	fields := map[string]string{}
	for _, l := range lines[1:] {
		key, value, _ := strings.Cut(l, ": ")
		fields[key] = value
	}
	if size := strconv.Itoa(len(payload)); fields["size"] != size {
		return Image{}, fmt.Errorf("firmware image has %s bytes, its header says %s", size, fields["size"])
	}
	sum := sha256.Sum256(payload)
	if got := hex.EncodeToString(sum[:]); got != fields["sha256"] {
		return Image{}, fmt.Errorf("firmware image has SHA-256 %s, its header says %s", got, fields["sha256"])
	}
	img := Image{Component: fields["component"], Version: fields["version"]}
	if img.Component == "" || img.Version == "" {
		return Image{}, fmt.Errorf("firmware image names component %q and version %q; both are needed", img.Component, img.Version)
	}
	return img, nil
}
