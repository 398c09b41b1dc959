package bootproto

import "github.com/cagenut/cagenut/internal/profile"

// HardwareReport is the result of AgentReport: what the machine itself sees. What it cannot tell is
// left out.
type HardwareReport struct {
	BootIdentity
	Vendor     string         `json:"vendor,omitempty"`
	Product    string         `json:"product,omitempty"`
	BIOS       string         `json:"bios,omitempty"`        // version
	Firmware   string         `json:"firmware"`              // uefi, bios
	SecureBoot string         `json:"secure_boot,omitempty"` // on, off
	TPM        string         `json:"tpm,omitempty"`         // 1.2, 2.0
	IPMI       string         `json:"ipmi,omitempty"`        // how the machine reaches its own BMC: kcs, smic, bt, ssif
	CPU        string         `json:"cpu,omitempty"`         // model
	CPUs       int            `json:"cpus"`
	Cores      int            `json:"cores"`
	MemoryMiB  int            `json:"memory_mib"`
	Modules    []Module       `json:"modules,omitempty"`
	Disks      []profile.Disk `json:"disks"`
	Health     []DiskHealth   `json:"health,omitempty"`
	Ports      []Port         `json:"ports"`
}

// Module is a memory module.
type Module struct {
	Slot   string `json:"slot"`
	MiB    int    `json:"mib"`
	Part   string `json:"part,omitempty"`
	Serial string `json:"serial,omitempty"`
}

// DiskHealth is what a drive says of itself (SMART). -1: it does not say.
type DiskHealth struct {
	Path        string  `json:"path"`
	Failing     bool    `json:"failing,omitempty"` // in its own judgement
	Celsius     float64 `json:"celsius"`
	WearPercent float64 `json:"wear_percent"`
	Reallocated int     `json:"reallocated_sectors"` // an NVMe drive: media errors
	Hours       int     `json:"hours"`
}

// Port is a network port.
type Port struct {
	Name      string     `json:"name"`
	MAC       string     `json:"mac"`
	Driver    string     `json:"driver,omitempty"`
	Link      bool       `json:"link,omitempty"`
	Mbps      int        `json:"mbps,omitempty"`
	Neighbour *Neighbour `json:"neighbour,omitempty"`
}

// Neighbour is who stands at the other end of a port's cable, by LLDP.
type Neighbour struct {
	Chassis string `json:"chassis"`
	Port    string `json:"port"`
	Name    string `json:"name,omitempty"`
}

// BurnInArgs are the arguments of AgentBurnIn.
type BurnInArgs struct {
	profile.BurnIn
	Minutes int `json:"minutes"` // of all its tests
}

// BurnInResult is its result; errors also fail the command.
type BurnInResult struct {
	Minutes int      `json:"minutes"`
	Errors  []string `json:"errors"`
	Seen    []string `json:"seen,omitempty"` // what was measured
}

// DiskArgs are the arguments of AgentDiskLayout: the disks to erase, by /dev/disk/by-id path. Empty is
// an error, not all.
type DiskArgs struct {
	Disks []string `json:"disks"`
}

// DiskResult is what was done to the disks.
type DiskResult struct {
	Disks []profile.Disk `json:"disks"`
	How   []string       `json:"how,omitempty"` // each was erased and verified
}

// ImageArgs are the arguments of AgentWriteImage.
type ImageArgs struct {
	Disks  []string `json:"disks"` // one
	URL    string   `json:"url"`   // of a raw image, also packed with gzip, zstd or xz
	SHA256 string   `json:"sha256"`
	OS     string   `json:"os"` // as os-release will say: ID and VERSION_ID
}

// ImageResult is what was written, as it was read back.
type ImageResult struct {
	SHA256  string `json:"sha256"`            // of the file that was fetched
	Content string `json:"content,omitempty"` // SHA-256 of what is on the disk
	Bytes   int64  `json:"bytes,omitempty"`   // on the disk
}
