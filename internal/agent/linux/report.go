package linux

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/cagenut/cagenut/internal/bootproto"
	"github.com/cagenut/cagenut/internal/profile"
)

// Report is what the machine itself sees.
func (m *Machine) Report(ctx context.Context) (bootproto.HardwareReport, error) {
	id, err := m.Identity()
	if err != nil {
		return bootproto.HardwareReport{}, err
	}
	const dmi = "sys/class/dmi/id"
	r := bootproto.HardwareReport{BootIdentity: id, Vendor: m.text(dmi, "sys_vendor"), Product: m.text(dmi, "product_name"), BIOS: m.text(dmi, "bios_version"),
		Firmware: "bios", Disks: []profile.Disk{}, Ports: m.ports()}
	if m.exists("sys/firmware/efi") {
		r.Firmware, r.SecureBoot = "uefi", m.secureBoot()
	}
	if major := m.text("sys/class/tpm/tpm0/tpm_version_major"); major != "" {
		r.TPM = map[string]string{"1": "1.2", "2": "2.0"}[major]
	}
	r.CPU, r.CPUs, r.Cores = m.processors()
	raw, _ := os.ReadFile(m.at("sys/firmware/dmi/tables/DMI")) // what is not there tells nothing
	r.Modules, r.IPMI = smbios(raw)
	for _, mod := range r.Modules {
		r.MemoryMiB += mod.MiB
	}
	if r.MemoryMiB == 0 {
		r.MemoryMiB = int(m.memory("MemTotal") >> 20)
	}
	for _, d := range m.drives() {
		r.Disks = append(r.Disks, d.Disk)
		if h, ok := m.health(d); ok {
			r.Health = append(r.Health, h)
		}
	}
	if m.o.Neighbours != nil {
		heard := m.o.Neighbours(ctx)
		for i := range r.Ports {
			if n, ok := heard[r.Ports[i].Name]; ok {
				r.Ports[i].Neighbour = &n
			}
		}
	}
	return r, ctx.Err()
}

// secureBoot is the state of Secure Boot: a variable of UEFI, four bytes of attributes and one of value.
func (m *Machine) secureBoot() string {
	raw, err := os.ReadFile(m.at("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	if err != nil || len(raw) < 5 {
		return ""
	}
	if raw[4] == 1 {
		return "on"
	}
	return "off"
}

// processors counts sockets and cores.
func (m *Machine) processors() (model string, sockets, cores int) {
	f, err := os.Open(m.at("proc/cpuinfo"))
	if err != nil {
		return "", 0, 0
	}
	defer f.Close()
	threads, socket := 0, ""
	seenSockets, seenCores := map[string]bool{}, map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			threads++
			socket = ""
		case "model name":
			model = value
		case "physical id":
			socket = value
			seenSockets[value] = true
		case "core id":
			seenCores[socket+"/"+value] = true
		}
	}
	if len(seenSockets) == 0 { // a virtual machine may not say
		return model, min(threads, 1), threads
	}
	return model, len(seenSockets), max(len(seenCores), 1)
}

// memory gives a line of /proc/meminfo in bytes.
func (m *Machine) memory(key string) int64 {
	for line := range strings.Lines(m.text("proc/meminfo")) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); name == key && len(f) > 0 {
			kib, err := strconv.ParseInt(f[0], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
