package sim

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/cagenut/cagenut/internal/operation"
	"github.com/cagenut/cagenut/internal/profile"
)

// httpAnswer is what a host gets.
type httpAnswer struct {
	status int
	body   []byte
}

// ask sends one request as the machine: from its own address, where the other side is on loopback too.
func (m *Machine) ask(ctx context.Context, method, url, kind, body string, timeout time.Duration) (httpAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return httpAnswer{}, fmt.Errorf("%s %s: %w", method, bareURL(url), err)
	}
	if body != "" {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("User-Agent", "cagenut-box/"+m.spec.Name)
	res, err := m.hostClient.Do(req)
	if err != nil {
		return httpAnswer{}, err
	}
	defer func() { _ = res.Body.Close() }()                  // read
	raw, err := io.ReadAll(io.LimitReader(res.Body, 16<<20)) // files are some kilobytes
	return httpAnswer{res.StatusCode, raw}, err
}

// hostClientOf makes the client of a host. Nothing is kept open: a machine that loses its power says
// no goodbye.
func hostClientOf(own netip.Addr) *http.Client {
	direct := &net.Dialer{Timeout: 5 * time.Second}
	local := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: own.AsSlice()}}
	return &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if to, err := netip.ParseAddrPort(address); err == nil && to.Addr().IsLoopback() && to.Addr().Is4() == own.Is4() {
				return local.DialContext(ctx, network, address)
			}
			return direct.DialContext(ctx, network, address)
		}}}
}

const (
	textKind = "text/plain"
	jsonKind = "application/json"
	quick    = 15 * time.Second
)

// errRefused is an answer that asking again does not change.
var errRefused = errors.New("refused")

// insist asks until there is an answer that counts: success, or a refusal. Everything else (nobody
// there, 429, 5xx) is tried again as hook.sh does it.
func (m *Machine) insist(ctx context.Context, method, url, kind, body string) (httpAnswer, error) {
	var last error
	for n := range tries {
		if n > 0 && !pause(ctx, timeAgain) {
			return httpAnswer{}, ctx.Err()
		}
		a, err := m.ask(ctx, method, url, kind, body, quick)
		switch {
		case ctx.Err() != nil:
			return httpAnswer{}, ctx.Err()
		case err != nil:
			last = errors.New("no answer")
		case a.status < 300:
			return a, nil
		case a.status < 500 && a.status != http.StatusTooManyRequests:
			return a, fmt.Errorf("%w: HTTP %d: %s", errRefused, a.status, strings.TrimSpace(short(string(a.body))))
		default:
			last = fmt.Errorf("HTTP %d", a.status)
		}
	}
	return httpAnswer{}, fmt.Errorf("%d tries: %w", tries, last)
}

// identity is what the host says of itself at a point of its way.
func (m *Machine) identity(point string) operation.BootIdentity {
	i := operation.BootIdentity{Serials: []string{m.spec.Serial, m.partSerial("board")}, UUID: uuidOf(m.spec.Serial, "system")}
	macs := m.spec.MACs[1:]
	if m.box.faults.takeHost(m.spec.Name, ActWrongMAC, point) {
		macs = []string{macOf("another machine than "+m.spec.Serial, 1)}
	}
	for _, mac := range macs {
		i.MACs = append(i.MACs, strings.ToLower(mac)) // as Linux says it
	}
	return i
}

// facts are the lines with which hook.sh begins every report.
func (m *Machine) facts(stage string) string {
	i := m.identity(stage)
	var b strings.Builder
	fmt.Fprintf(&b, "stage=%s\nproduct_serial=%s\nproduct_uuid=%s\nboard_serial=%s\n", stage, i.Serials[0], i.UUID, i.Serials[1])
	for _, mac := range i.MACs {
		fmt.Fprintf(&b, "mac=%s\n", mac)
	}
	b.WriteString("kernel=" + HostKernel + "\n")
	return b.String()
}

// disks are the disks that the host's kernel sees: volumes of the RAID controller, its other drives,
// and NVMe drives. The caller holds the lock.
func (m *Machine) disks() []profile.Disk {
	var out []profile.Disk
	add := func(kind, model, serial, bus string, bytes int64, rotational bool) {
		name := strings.Map(func(c rune) rune {
			if c == ' ' || c == '/' {
				return '_'
			}
			return c
		}, model+"_"+serial)
		out = append(out, profile.Disk{Path: "/dev/disk/by-id/" + kind + "-" + name, Serial: serial, WWN: "0x5" + strings.ToLower(hexOf(serial, 15)),
			Model: model, Bus: bus, Bytes: bytes, Rotational: rotational})
	}
	used := map[string]bool{}
	for _, v := range m.st.Volumes {
		add("scsi", m.f.hw.raid.model, m.partSerial("volume "+v.ID), "SAS", v.Bytes, false)
		for _, d := range v.Drives {
			used[d] = true
		}
	}
	for _, d := range m.f.hw.raidDrives {
		if !used[d.id] && !m.lacks(d.id) {
			add("ata", d.model, m.partSerial(d.id), d.protocol, d.bytes, d.media == "HDD")
		}
	}
	for _, d := range m.f.hw.nvmeDrives {
		if !m.lacks(d.id) {
			add("nvme", d.model, m.partSerial(d.id), "NVMe", d.bytes, false)
		}
	}
	return out
}

func hexOf(seed string, n int) string {
	d := digest(seed, "wwn")
	return fmt.Sprintf("%x", d)[:n]
}

// report is what the agent tells of the hardware.
func (m *Machine) report() operation.HardwareReport {
	r := operation.HardwareReport{BootIdentity: m.identity(operation.AgentReport)}
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Firmware = m.bootFirmware()
	for _, p := range m.f.hw.cpus {
		if p.kind == "CPU" {
			r.CPUs++
			r.Cores += p.cores
		}
	}
	for i, slot := range m.f.hw.dimmSlots {
		if m.f.dimmIn(i) && !m.lacks(slot) {
			r.MemoryMiB += m.f.hw.dimmGiB * 1024
		}
	}
	r.Disks = m.disks()
	for i, mac := range m.spec.MACs[1:] {
		r.Ports = append(r.Ports, operation.Port{Name: fmt.Sprintf("eno%d", i+1), MAC: strings.ToLower(mac)})
	}
	return r
}

// bootFirmware is how the host boots. The caller holds the lock.
func (m *Machine) bootFirmware() string {
	if m.f.bootMode(m.st.BIOS) == "Legacy" {
		return "bios"
	}
	return "uefi"
}

// HostKey is the SSH key that an installed system makes. Another install makes another one.
func HostKey(serial, operation string) ed25519.PrivateKey {
	seed := digest(serial, "ssh host key/"+operation)
	return ed25519.NewKeyFromSeed(seed[:])
}

// hostKey is its public half, as OpenSSH writes it.
func hostKey(serial, operation string) string {
	public := HostKey(serial, operation).Public().(ed25519.PublicKey)
	var wire []byte
	for _, part := range [][]byte{[]byte("ssh-ed25519"), public} {
		wire = append(binary.BigEndian.AppendUint32(wire, uint32(len(part))), part...)
	}
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(wire)
}
