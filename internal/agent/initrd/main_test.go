package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The archive is the same however it was filled, and in the form that the kernel reads.
func TestArchive(t *testing.T) {
	a, b := archive{}, archive{}
	a.file("lib/x", []byte("12345"), 0o644)
	a.node("dev/console", 5, 1)
	b.node("dev/console", 5, 1)
	b.file("lib/x", []byte("12345"), 0o644)
	raw := a.cpio()
	if !bytes.Equal(raw, b.cpio()) {
		t.Error("two fillings give two archives")
	}
	want := []string{
		"070701000000010000" + "41ed" + "0000000000000000" + "00000002" + "00000000" + "00000000" + "0000000000000000" + "0000000000000000" + "00000004" + "00000000" + "dev",
		"070701000000020000" + "2180" + "0000000000000000" + "00000001" + "00000000" + "00000000" + "0000000000000000" + "0000000500000001" + "0000000c" + "00000000" + "dev/console",
		"070701000000030000" + "41ed" + "0000000000000000" + "00000002" + "00000000" + "00000000" + "0000000000000000" + "0000000000000000" + "00000004" + "00000000" + "lib",
		"070701000000040000" + "81a4" + "0000000000000000" + "00000001" + "00000000" + "00000005" + "0000000000000000" + "0000000000000000" + "00000006" + "00000000" + "lib/x",
		"12345",
		"070701000000000000" + "0000" + "0000000000000000" + "00000001" + "00000000" + "00000000" + "0000000000000000" + "0000000000000000" + "0000000b" + "00000000" + "TRAILER!!!",
	}
	got := strings.FieldsFunc(string(raw), func(r rune) bool { return r == 0 })
	if diff := cmp.Diff(want, got); diff != "" || len(raw)%4 != 0 {
		t.Errorf("archive of %d bytes (-want +got)\n%s", len(raw), diff)
	}
}

func TestModules(t *testing.T) {
	all := tree{
		"virtio_net": {name: "virtio_net", file: "n/virtio_net.ko", needs: []string{"failover", "virtio"}, alias: []string{"virtio:d00000001v*"}},
		"failover":   {name: "failover", file: "n/failover.ko", needs: []string{"virtio"}},
		"virtio":     {name: "virtio", file: "a/virtio.ko", soft: []string{"crc", "gone"}},
		"crc":        {name: "crc", file: "z/crc.ko"},
		"other":      {name: "other", file: "o/other.ko", needs: []string{"gone"}},
	}
	chosen, err := all.choose(words("virtio-net # comment\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a/virtio.ko: z/crc.ko\nn/failover.ko: a/virtio.ko z/crc.ko\nn/virtio_net.ko: n/failover.ko a/virtio.ko z/crc.ko\nz/crc.ko:\n", string(all.depends(chosen))); diff != "" {
		t.Errorf("modules.dep (-want +got)\n%s", diff)
	}
	if got := string(aliases(chosen)); got != "alias virtio:d00000001v* virtio_net\n" {
		t.Errorf("modules.alias %q", got)
	}
	if _, err := all.choose([]string{"other"}); err == nil || !strings.Contains(err.Error(), "other needs: module gone") {
		t.Errorf("a module without what it needs: %v", err)
	}
}
