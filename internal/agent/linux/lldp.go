package linux

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cagenut/cagenut/internal/bootproto"
)

// Listener hears who stands at the other ends of the machine's cables. Switches say it every 30 seconds.
type Listener struct {
	until time.Time // when everybody has spoken
	mu    sync.Mutex
	heard map[string]bootproto.Neighbour
}

const lldpType = 0x88cc

// Listen begins to hear LLDP on ports that are up, until its context ends.
func Listen(ctx context.Context, ports []string) (*Listener, error) {
	l := &Listener{until: time.Now().Add(33 * time.Second), heard: map[string]bootproto.Neighbour{}}
	const network = lldpType>>8 | lldpType&0xff<<8 // its bytes as the network has them
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, network)
	if err != nil {
		return nil, fmt.Errorf("listen for LLDP: %w", err)
	}
	for _, port := range ports {
		i, err := net.InterfaceByName(port)
		if err != nil {
			continue // it went away
		}
		group := unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6, Address: [8]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e}}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &group); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for LLDP on %s: %w", port, err), unix.Close(fd))
		}
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	go func() {
		defer func() { _ = unix.Close(fd) }()
		frame := make([]byte, 2048)
		for ctx.Err() == nil {
			n, from, err := unix.Recvfrom(fd, frame, 0)
			ll, ok := from.(*unix.SockaddrLinklayer)
			if err != nil || !ok {
				continue // it looks after a second whether anybody wants it still
			}
			i, err := net.InterfaceByIndex(ll.Ifindex)
			neighbour, ok := lldp(frame[:n])
			if err == nil && ok {
				l.mu.Lock()
				l.heard[i.Name] = neighbour
				l.mu.Unlock()
			}
		}
	}()
	return l, nil
}

// Heard gives who was heard on which port, when everybody has had the time to speak.
func (l *Listener) Heard(ctx context.Context) map[string]bootproto.Neighbour {
	t := time.NewTimer(time.Until(l.until))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]bootproto.Neighbour{}
	for port, n := range l.heard {
		out[port] = n
	}
	return out
}

// lldp reads a frame.
func lldp(frame []byte) (n bootproto.Neighbour, ok bool) {
	if len(frame) < 14 || binary.BigEndian.Uint16(frame[12:]) != lldpType {
		return n, false
	}
	for b := frame[14:]; len(b) >= 2; {
		head := binary.BigEndian.Uint16(b)
		kind, size := head>>9, int(head&0x1ff)
		if len(b) < 2+size {
			break
		}
		v := b[2 : 2+size]
		b = b[2+size:]
		switch {
		case kind == 0:
			return n, n.Chassis != "" && n.Port != ""
		case kind == 1 && size > 1:
			n.Chassis = lldpID(v[0] == 4, v[0] == 5, v[1:])
		case kind == 2 && size > 1:
			n.Port = lldpID(v[0] == 3, v[0] == 4, v[1:])
		case kind == 5:
			n.Name = string(v)
		}
	}
	return n, n.Chassis != "" && n.Port != ""
}

// lldpID is how a chassis or port names itself: a MAC, an address, or text.
func lldpID(mac, network bool, v []byte) string {
	if mac && len(v) == 6 {
		return net.HardwareAddr(v).String()
	}
	if addr, ok := netip.AddrFromSlice(v[1:]); network && ok { // behind the family of addresses
		return addr.String()
	}
	for _, c := range v {
		if c < ' ' || c > '~' {
			return hex.EncodeToString(v)
		}
	}
	return string(v)
}
