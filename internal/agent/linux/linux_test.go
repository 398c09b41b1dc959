package linux

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"go.uber.org/goleak"

	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/profile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a kernel made of files; a name that ends in "->..." is a link.
func machine(t *testing.T, files map[string]string) *Machine {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "->"); ok {
			if err = os.MkdirAll(filepath.Join(root, to), 0o755); err == nil {
				err = os.Symlink(filepath.Join(root, to), path)
			}
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return New(Options{Root: root, HTTP: client, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// page89 is what an ATA drive says of itself.
func page89(model, serial string) string {
	p := make([]byte, 4+568)
	binary.BigEndian.PutUint16(p[2:], 568)
	put := func(word int, s string, size int) {
		s += strings.Repeat(" ", size-len(s))
		for i := 0; i < size; i += 2 {
			p[60+2*word+i], p[60+2*word+i+1] = s[i+1], s[i]
		}
	}
	put(27, model, 40)
	put(10, serial, 20)
	return string(p)
}

func TestDisks(t *testing.T) {
	const pci = "sys/devices/pci0000:00/"
	m := machine(t, map[string]string{
		"sys/block/sda": "->" + pci + "ata1/host0/block/sda", pci + "ata1/host0/block/sda/size": "1000", pci + "ata1/host0/block/sda/queue/rotational": "1",
		pci + "ata1/host0/block/sda/device/model": "ST4000NM000A-2HZ", pci + "ata1/host0/block/sda/device/vpd_pg89": page89("ST4000NM000A-2HZ100", "ZC1A  B2"),
		pci + "ata1/host0/block/sda/device/wwid": "naa.5000c500a1b2c3d4",
		"sys/block/sdb/size":                     "2000", "sys/block/sdb/device/model": "PERC H755 Front ", "sys/block/sdb/device/wwid": "naa.6f4ee080abcdef", "sys/block/sdb/device/vendor": "DELL",
		"sys/block/sdb/device/vpd_pg80": "\x00\x80\x00\x04AB12", "sys/block/sdb/queue/rotational": "0",
		"sys/block/sdc": "->" + pci + "usb1/1-1/block/sdc", pci + "usb1/1-1/block/sdc/size": "500",
		"sys/block/sdd/size": "500", "sys/block/sdd/removable": "1",
		"sys/block/loop0/size": "500", "sys/block/dm-0/size": "500", "sys/block/md0/size": "1", "sys/block/sr0/size": "9",
		"sys/block/nvme0n1/size": "4000", "sys/block/nvme0n1/device/model": "Micron 7450 MTFD", "sys/block/nvme0n1/device/serial": "2238A1", "sys/block/nvme0n1/wwid": "eui.00a0752238a1",
		"sys/block/nvme0n2/size": "0",
		"sys/block/vda/size":     "8", "sys/block/vdb/size": "8", "sys/block/vdb/serial": "root01",
	})
	var got []profile.Disk
	for _, d := range m.drives() {
		got = append(got, d.Disk)
	}
	want := []profile.Disk{
		{Path: "/dev/disk/by-id/nvme-Micron_7450_MTFD_2238A1", Serial: "2238A1", WWN: "eui.00a0752238a1", Model: "Micron 7450 MTFD", Bus: "NVMe", Bytes: 4000 * 512},
		{Path: "/dev/disk/by-id/ata-ST4000NM000A-2HZ100_ZC1A_B2", Serial: "ZC1A  B2", WWN: "0x5000c500a1b2c3d4", Model: "ST4000NM000A-2HZ100", Bus: "SATA", Bytes: 1000 * 512, Rotational: true},
		{Path: "/dev/disk/by-id/scsi-36f4ee080abcdef", Serial: "AB12", WWN: "0x6f4ee080abcdef", Model: "PERC H755 Front", Bus: "SAS", Bytes: 2000 * 512},
		{Path: "/dev/vda", Bus: "virtio", Bytes: 8 * 512},
		{Path: "/dev/disk/by-id/virtio-root01", Serial: "root01", Bus: "virtio", Bytes: 8 * 512},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("disks (-want +got)\n%s", diff)
	}
	if m.siblings("nvme0n1") != 2 || m.siblings("sda") != 0 {
		t.Errorf("namespaces %d, %d", m.siblings("nvme0n1"), m.siblings("sda"))
	}
}

func TestReport(t *testing.T) {
	module := append([]byte{17, 0x20, 1, 0}, make([]byte, 0x1c)...)
	binary.LittleEndian.PutUint16(module[0x0c:], 0x7fff)
	binary.LittleEndian.PutUint32(module[0x1c:], 65536)
	module[0x10], module[0x18], module[0x1a] = 1, 2, 3
	table := string(module) + "A1\x00S1\x00P1\x00\x00" + "\x26\x06\x02\x00\x01\x20\x00\x00" + "\x7f\x04\x03\x00\x00\x00"
	m := machine(t, map[string]string{
		"sys/class/dmi/id/product_serial": "X1\n", "sys/class/dmi/id/board_serial": "X1", "sys/class/dmi/id/product_uuid": "AA-BB\n", "sys/class/dmi/id/sys_vendor": "Dell Inc.",
		"sys/firmware/dmi/tables/DMI": table, "sys/class/tpm/tpm0/tpm_version_major": "2",
		"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x06\x00\x00\x00\x01",
		"proc/cpuinfo":             strings.Repeat("processor: 0\nmodel name\t: EPYC\nphysical id: 0\ncore id: 0\n\n", 2) + "processor: 2\nphysical id: 1\ncore id: 0\n",
		"sys/class/net/lo/address": "00:00:00:00:00:00", "sys/class/net/bond0/address": "02:00:00:00:00:09", "sys/class/net/bond0/type": "1",
		"sys/class/net/eth0/address": "02:00:00:00:00:0A", "sys/class/net/eth0/type": "1", "sys/class/net/eth0/carrier": "1", "sys/class/net/eth0/speed": "25000",
		"sys/class/net/eth0/device/driver": "->sys/bus/pci/drivers/ice",
	})
	m.o.Neighbours = func(context.Context) map[string]bootproto.Neighbour {
		return map[string]bootproto.Neighbour{"eth0": {Chassis: "leaf-1", Port: "Ethernet7"}}
	}
	got, err := m.Report(t.Context())
	want := bootproto.HardwareReport{BootIdentity: bootproto.BootIdentity{MACs: []string{"02:00:00:00:00:0a"}, Serials: []string{"X1"}, UUID: "aa-bb"},
		Vendor: "Dell Inc.", Firmware: "uefi", SecureBoot: "on", TPM: "2.0", IPMI: "kcs", CPU: "EPYC", CPUs: 2, Cores: 2, MemoryMiB: 65536,
		Modules: []bootproto.Module{{Slot: "A1", MiB: 65536, Part: "P1", Serial: "S1"}}, Disks: []profile.Disk{},
		Ports: []bootproto.Port{{Name: "eth0", MAC: "02:00:00:00:00:0a", Driver: "ice", Link: true, Mbps: 25000, Neighbour: &bootproto.Neighbour{Chassis: "leaf-1", Port: "Ethernet7"}}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("report (-want +got)\n%s%v", diff, err)
	}
	for i := range table { // a table that breaks off
		smbios([]byte(table[:i]))
	}
}

func TestLLDP(t *testing.T) {
	frame := append(make([]byte, 12), 0x88, 0xcc)
	for _, tlv := range []struct {
		kind byte
		v    string
	}{{1, "\x04\x02\x00\x00\x00\x00\x01"}, {2, "\x05Ethernet7"}, {3, "\x00\x78"}, {5, "leaf-1"}, {0, ""}} {
		frame = append(append(frame, tlv.kind<<1, byte(len(tlv.v))), tlv.v...)
	}
	got, ok := lldp(frame)
	if diff := cmp.Diff(bootproto.Neighbour{Chassis: "02:00:00:00:00:01", Port: "Ethernet7", Name: "leaf-1"}, got); diff != "" || !ok {
		t.Errorf("neighbour (-want +got)\n%s", diff)
	}
	for i := range frame {
		lldp(frame[:i])
	}
}

func TestHealth(t *testing.T) {
	p := make([]byte, 512)
	p[0], p[5] = 4, 12
	binary.LittleEndian.PutUint16(p[1:], 273+41)
	p[128], p[160] = 99, 3
	if diff := cmp.Diff(bootproto.DiskHealth{Failing: true, Celsius: 41, WearPercent: 12, Reallocated: 3, Hours: 99}, nvmeHealth(p)); diff != "" {
		t.Errorf("NVMe (-want +got)\n%s", diff)
	}
	p = make([]byte, 512)
	for i, a := range [][]byte{{5, 0, 0, 100, 100, 7}, {9, 0, 0, 90, 90, 1, 2}, {194, 0, 0, 60, 60, 35, 0, 20}, {177, 0, 0, 93, 93}} {
		copy(p[2+12*i:], a)
	}
	if diff := cmp.Diff(bootproto.DiskHealth{Celsius: 35, WearPercent: 7, Reallocated: 7, Hours: 513}, ataHealth(p)); diff != "" {
		t.Errorf("ATA (-want +got)\n%s", diff)
	}
}

// Every way of packing gives the same disk, also over a connection that breaks every megabyte.
func TestImages(t *testing.T) {
	content := make([]byte, 3<<20+512)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	packed := map[string][]byte{"raw": content}
	var z, x bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	xw, err := xz.NewWriter(&x)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{zw, xw} {
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	packed["zstd"], packed["xz"], packed["qcow2"], packed["empty"] = z.Bytes(), x.Bytes(), []byte("QFI\xfb and more"), nil
	packed["large"] = bytes.Repeat(content, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file := packed[strings.TrimPrefix(r.URL.Path, "/")]
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("Range") == "" && len(file) > 1<<20 { // breaks off
			w.Header().Set("Content-Length", strconv.Itoa(len(file)))
			_, _ = w.Write(file[:1<<20])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
	}))
	defer srv.Close()
	for name, want := range map[string]string{"raw": "", "zstd": "", "xz": "", "qcow2": "convert it with qemu-img", "empty": "the image is empty", "large": "larger than the disk"} {
		m := machine(t, map[string]string{"sys/block/vda/size": "8192", "sys/block/vda/serial": "a", "dev/vda": strings.Repeat("x", 4<<20)})
		sum := sha256.Sum256(packed[name])
		got, err := m.WriteImage(t.Context(), bootproto.ImageArgs{Disks: []string{"/dev/disk/by-id/virtio-a"}, URL: srv.URL + "/" + name, SHA256: hex.EncodeToString(sum[:])}, func(string, int) {})
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
			continue
		}
		disk, rerr := os.ReadFile(m.at("dev/vda"))
		if err != nil || rerr != nil || got.Bytes != int64(len(content)) || !bytes.Equal(disk[:len(content)], content) {
			t.Errorf("%s: %+v: %v", name, got, err)
		}
	}
}
