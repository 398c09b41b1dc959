package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func disks() []Disk {
	return []Disk{
		{Path: "/dev/disk/by-id/ata-A", Serial: "S1A", WWN: "0x5002538e40000001", Model: "Contoso SSD 480", Bus: "SATA", Bytes: 480e9},
		{Path: "/dev/disk/by-id/ata-B", Serial: "S1B", WWN: "0x5002538e40000002", Model: "Contoso SSD 480", Bus: "SATA", Bytes: 480e9},
		{Path: "/dev/disk/by-id/nvme-C", Serial: "S2C", WWN: "eui.36344830529001250025384100000001", Model: "Fabrikam NVMe 3840", Bus: "NVMe", Bytes: 3840e9},
		{Path: "/dev/disk/by-id/ata-D", Serial: "S3D", WWN: "0x5000c500a0000001", Model: "Northwind HDD", Bus: "SATA", Bytes: 8000e9, Rotational: true},
		{Path: "/dev/disk/by-id/ata-unnamed", Bus: "SATA", Bytes: 800e9},
	}
}

func TestChooseRootDisks(t *testing.T) {
	yes, no := true, false
	for name, tc := range map[string]struct {
		hints RootDisk
		count int
		want  []string // serials
		err   []string // parts of the error
	}{
		"serial, any case":           {RootDisk{Serial: "s1b"}, 1, []string{"S1B"}, nil},
		"wwn without its prefix":     {RootDisk{WWN: "5002538E40000001"}, 1, []string{"S1A"}, nil},
		"wwn with colons":            {RootDisk{WWN: "50:02:53:8e:40:00:00:02"}, 1, []string{"S1B"}, nil},
		"model, any case":            {RootDisk{Model: "fabrikam"}, 1, []string{"S2C"}, nil},
		"bus":                        {RootDisk{Bus: "NVMe"}, 1, []string{"S2C"}, nil},
		"rotational":                 {RootDisk{Rotational: &yes}, 1, []string{"S3D"}, nil},
		"flash of a size":            {RootDisk{Rotational: &no, MinGB: 1000}, 1, []string{"S2C"}, nil},
		"at most":                    {RootDisk{MaxGB: 480}, 2, []string{"S1A", "S1B"}, nil},
		"size is inclusive":          {RootDisk{MinGB: 480, MaxGB: 480}, 2, []string{"S1A", "S1B"}, nil},
		"all hints must hold":        {RootDisk{Serial: "S1A", Bus: "NVMe"}, 1, nil, []string{"0 of 5", "S1A", "bus is not NVMe"}},
		"several":                    {RootDisk{MaxGB: 500}, 1, nil, []string{"2 disks fit", "where 1 must", "ata-A", "ata-B"}},
		"none":                       {RootDisk{Serial: "S9"}, 1, nil, []string{"0 of 5", "ata-A", "ata-B", "nvme-C", "ata-D", "serial is not S9"}},
		"one of two":                 {RootDisk{Bus: "NVMe"}, 2, nil, []string{"1 of 5", "where 2 must", "fits"}},
		"no hint is not any":         {RootDisk{}, 1, nil, []string{"no hint", "ata-A"}},
		"an empty wwn never matches": {RootDisk{WWN: "0x"}, 1, nil, []string{"0 of 5", "wwn is not 0x"}},
		"nor does an empty serial":   {RootDisk{Serial: " "}, 1, nil, []string{"0 of 5", "ata-unnamed"}},
		"no disks asked for":         {RootDisk{Bus: "NVMe"}, 0, nil, []string{"0 disks"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ChooseRootDisks(disks(), tc.hints, tc.count)
			var serials []string
			for _, d := range got {
				serials = append(serials, d.Serial)
			}
			if diff := cmp.Diff(tc.want, serials); diff != "" {
				t.Errorf("disks (-want +got):\n%s", diff)
			}
			if (err == nil) != (tc.err == nil) {
				t.Fatalf("error %v; want one with %q", err, tc.err)
			}
			for _, part := range tc.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
		})
	}
	if _, err := ChooseRootDisk(nil, RootDisk{Bus: "NVMe"}); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("without disks: %v", err)
	}
	if d, err := ChooseRootDisk(disks(), RootDisk{Serial: "S2C"}); err != nil || d.Serial != "S2C" {
		t.Errorf("ChooseRootDisk: %v, %v", d, err)
	}
}
