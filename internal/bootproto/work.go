package bootproto

import "github.com/cagenut/cagenut/internal/profile"

// HardwareReport is the result of AgentReport: what the machine itself sees.
type HardwareReport struct {
	BootIdentity
	Firmware  string         `json:"firmware"` // uefi, bios
	CPUs      int            `json:"cpus"`
	Cores     int            `json:"cores"`
	MemoryMiB int            `json:"memory_mib"`
	Disks     []profile.Disk `json:"disks"`
	Ports     []Port         `json:"ports"`
}

// Port is a network port.
type Port struct {
	Name string `json:"name"`
	MAC  string `json:"mac"`
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
}

// DiskArgs are the arguments of AgentDiskLayout: the disks to erase, by /dev/disk/by-id path. Empty is
// an error, not all.
type DiskArgs struct {
	Disks []string `json:"disks"`
}

// DiskResult is what was done to the disks.
type DiskResult struct {
	Disks []profile.Disk `json:"disks"`
}

// ImageArgs are the arguments of AgentWriteImage.
type ImageArgs struct {
	Disks  []string `json:"disks"`
	URL    string   `json:"url"`
	SHA256 string   `json:"sha256"`
	OS     string   `json:"os"` // as os-release will say: ID and VERSION_ID
}

// ImageResult is what was written, as it was read back.
type ImageResult struct {
	SHA256 string `json:"sha256"`
}
