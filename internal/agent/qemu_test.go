//go:build qemu

package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/profile"
)

// TestARealKernel boots what `make agent` built in a virtual machine, whose clock is a year behind, and has
// it do what an install does with a virtio, an NVMe and a SATA drive. `make agent-qemu` runs it.
func TestARealKernel(t *testing.T) {
	r := newRig(t)
	r.most = 10 * time.Minute // QEMU emulates, maybe beside others
	dist := "../../dist/agent"
	for _, name := range []string{"virtio", "nvme", "sata"} {
		if err := os.WriteFile(filepath.Join(r.root, name), bytes.Repeat([]byte("old data"), 4<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	drive := func(name string) string {
		return "id=" + name + ",if=none,format=raw,file=" + filepath.Join(r.root, name)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Minute)
	defer stop()
	log := filepath.Join(dist, "console.log")
	console, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	vm := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-m", "512", "-smp", "1", "-nographic", "-no-reboot", "-rtc", "base=2025-01-01",
		"-kernel", dist+"/vmlinuz", "-initrd", dist+"/initrd.img",
		"-append", fmt.Sprintf("cagenut.url=%s BOOTIF=01-%s console=ttyS0", strings.Replace(r.url, "127.0.0.1", "10.0.2.2", 1), strings.ReplaceAll(mac, ":", "-")),
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,mac="+mac, "-smbios", "type=1,manufacturer=QEMU,product=q35,serial="+serial,
		"-drive", drive("virtio"), "-device", "virtio-blk-pci,drive=virtio,serial=root01",
		"-drive", drive("nvme"), "-device", "nvme,drive=nvme,serial=NV01",
		"-drive", drive("sata"), "-device", "ide-hd,drive=sata,serial=SATA01,bus=ide.0")
	vm.Stdout, vm.Stderr = console, console
	if err := vm.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- vm.Wait() }()
	t.Logf("the console is in %s", log)
	begun := time.Now()
	report := result[bootproto.HardwareReport](t, r.order("c1", bootproto.AgentReport, nil))
	t.Logf("reported after %s: %+v", time.Since(begun).Round(time.Second), report)
	want := []profile.Disk{
		{Path: "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_NV01", Serial: "NV01", Model: "QEMU NVMe Ctrl", Bus: "NVMe", Bytes: 32 << 20},
		{Path: "/dev/disk/by-id/ata-QEMU_HARDDISK_SATA01", Serial: "SATA01", Model: "QEMU HARDDISK", Bus: "SATA", Bytes: 32 << 20, Rotational: true},
		{Path: disk, Serial: "root01", Bus: "virtio", Bytes: 32 << 20, Rotational: true},
	}
	disks := append([]profile.Disk(nil), report.Disks...)
	disks[0].WWN = "" // QEMU makes one
	if diff := cmp.Diff(want, disks); diff != "" {
		t.Errorf("disks (-want +got)\n%s", diff)
	}
	if report.Firmware != "bios" || report.Vendor != "QEMU" || report.CPUs != 1 || report.MemoryMiB != 512 || len(report.Ports) != 1 || report.Ports[0].Driver != "virtio_net" || len(report.Health) != 2 {
		t.Errorf("report %+v", report)
	}
	var paths []string
	for _, d := range report.Disks {
		paths = append(paths, d.Path)
	}
	erased := result[bootproto.DiskResult](t, r.order("c2", bootproto.AgentDiskLayout, bootproto.DiskArgs{Disks: paths}))
	t.Logf("erased: %q", erased.How)
	for _, name := range []string{"virtio", "nvme", "sata"} {
		if raw, err := os.ReadFile(filepath.Join(r.root, name)); err != nil || !bytes.Equal(raw, make([]byte, 32<<20)) {
			t.Errorf("%s is not erased: %v", name, err)
		}
	}
	burnt := result[bootproto.BurnInResult](t, r.order("c3", bootproto.AgentBurnIn, bootproto.BurnInArgs{Minutes: 2,
		BurnIn: profile.BurnIn{MemoryMinutes: 1, DiskMinutes: 1, DiskWrites: true}}))
	t.Logf("burn-in: %q", burnt.Seen)
	url, sum, content := image(t)
	wrote := result[bootproto.ImageResult](t, r.order("c4", bootproto.AgentWriteImage,
		bootproto.ImageArgs{Disks: paths[:1], URL: strings.Replace(url, "127.0.0.1", "10.0.2.2", 1), SHA256: sum}))
	if raw, err := os.ReadFile(filepath.Join(r.root, "nvme")); err != nil || !bytes.Equal(raw[:len(content)], content) {
		t.Errorf("the image is not on the disk: %+v, %v", wrote, err)
	}
	if c := r.order("c5", bootproto.AgentStop, nil); c.State != operation.CommandDone {
		t.Errorf("stop is %s: %s", c.State, c.Error)
	}
	if err := <-ended; err != nil {
		t.Errorf("the machine did not switch off: %v", err)
	}
	if said, err := os.ReadFile(log); err != nil || !strings.Contains(string(said), "the clock was far off and is set") {
		t.Errorf("the machine has no time: %v", err)
	}
}
