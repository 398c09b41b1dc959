package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	got := arguments("cagenut.url=http://boot/boot/x cagenut.operation=op_1 BOOTIF=01-02-00-00-00-65-0A console=tty0 cagenut.ca=sha256:AB quiet\n")
	want := settings{url: "http://boot/boot/x", caFile: caFile, fingerprint: "AB", bootMAC: "02:00:00:00:65:0a"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := arguments("BOOTIF=20-02"); got.bootMAC != "" || got.url != "" {
		t.Errorf("got %+v", got)
	}
}

func TestModules(t *testing.T) {
	m := &modules{dir: t.TempDir(), needs: map[string][]string{}, tried: map[string]bool{}, log: slog.New(slog.DiscardHandler)}
	for name, text := range map[string]string{
		"modules.dep":   "kernel/a/virtio-net.ko: kernel/a/failover.ko kernel/a/virtio.ko\nkernel/a/virtio.ko:\n",
		"modules.alias": "alias virtio:d00000001v* virtio_net\nalias pci:v00008086d*sv*bc01sc06i01* ahci\n",
	} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.read(); err != nil {
		t.Fatal(err)
	}
	m.probe("virtio:d00000001v00001AF4")
	m.probe("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01") // not in the initramfs
	if diff := cmp.Diff(map[string]bool{"virtio_net": true}, m.tried); diff != "" {
		t.Errorf("tried (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"kernel/a/virtio-net.ko", "kernel/a/failover.ko", "kernel/a/virtio.ko"}, m.needs["virtio_net"]); diff != "" {
		t.Errorf("needs (-want +got)\n%s", diff)
	}
}
