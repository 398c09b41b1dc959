package templates

// Role says what a partition is for.
type Role string

// The roles of partitions.
const (
	EFI      Role = "efi"      // UEFI's system partition
	BIOSGrub Role = "biosgrub" // where GRUB lives on GPT without UEFI
	BootFS   Role = "boot"     // /boot beside LVM
	RootFS   Role = "root"
	Swap     Role = "swap"
	PV       Role = "pv" // LVM
)

// The sizes of what every layout has, in MiB.
const (
	efiMiB  = 512
	grubMiB = 2
	bootMiB = 1024
)

// Partition is a partition of the root disk; of a mirrored layout, of both alike.
type Partition struct {
	Number     int
	Role       Role
	SizeMiB    int // 0: the rest of the disk
	Filesystem string
	Path       string
}

// Volume is a logical volume.
type Volume struct {
	Name       string
	SizeMiB    int // 0: the rest
	Filesystem string
	Path       string // empty: swap
}

// Mirrored tells whether two of this partition make a RAID1. Firmware and GRUB read the other two
// as they are.
func (p Partition) Mirrored() bool { return p.Role != EFI && p.Role != BIOSGrub }

// Partitions are the partitions in the order of the disk. The one that takes the rest is the last:
// not every installer can leave room behind it.
func (m Machine) Partitions() []Partition {
	l := m.OS.Layout
	fs := or(l.Filesystem, "ext4")
	first := Partition{Number: 1, Role: BIOSGrub, SizeMiB: grubMiB}
	if m.UEFI() {
		first = Partition{Number: 1, Role: EFI, SizeMiB: efiMiB, Filesystem: "vfat", Path: "/boot/efi"}
	}
	out := []Partition{first}
	if m.LVM() {
		return append(out, Partition{2, BootFS, bootMiB, "ext4", "/boot"}, Partition{Number: 3, Role: PV})
	}
	if l.SwapMiB > 0 {
		out = append(out, Partition{Number: 2, Role: Swap, SizeMiB: l.SwapMiB, Filesystem: "swap"})
	}
	return append(out, Partition{len(out) + 1, RootFS, l.RootMiB, fs, "/"})
}

// Volumes are the logical volumes; none without LVM. The one that takes the rest is the last.
func (m Machine) Volumes() []Volume {
	if !m.LVM() {
		return nil
	}
	l := m.OS.Layout
	fs := or(l.Filesystem, "ext4")
	var out []Volume
	if l.SwapMiB > 0 {
		out = append(out, Volume{"swap", l.SwapMiB, "swap", ""})
	}
	for _, v := range l.Volumes {
		out = append(out, Volume{v.Name, v.SizeMiB, or(v.Filesystem, fs), v.Path})
	}
	return append(out, Volume{"root", l.RootMiB, fs, "/"})
}
