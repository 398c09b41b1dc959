package saltsim

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/cagenut/cagenut/configmgmt"
)

// hostFacts are what a minion's host tells of itself; without Options.Facts it is a host like any other.
func (s *Server) hostFacts(id string) configmgmt.Facts {
	if s.o.Facts != nil {
		if f, ok := s.o.Facts(id); ok {
			return f
		}
	}
	return configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-box", Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 400_000}},
		Links: []configmgmt.Link{{Name: "eth0", MAC: "02:00:00:00:00:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24")}}}}
}

// osNames are systems that the grain os calls otherwise than os-release does.
var osNames = map[string]string{"debian": "Debian", "ubuntu": "Ubuntu", "rocky": "Rocky", "almalinux": "AlmaLinux", "rhel": "RedHat", "centos": "CentOS Stream", "ol": "OEL"}

// inspect answers the functions that only tell something.
func (s *Server) inspect(l low) func(id string) (any, error) {
	return func(id string) (any, error) {
		f := s.hostFacts(id)
		out := object{}
		switch l.Fun {
		case "grains.item":
			name, release, _ := strings.Cut(f.OS, " ")
			if n := osNames[name]; n != "" {
				name = n
			}
			all := object{"os": name, "osrelease": release, "kernelrelease": f.Kernel, "id": id}
			for _, g := range l.Arg {
				if v, ok := all[fmt.Sprint(g)]; ok {
					out[fmt.Sprint(g)] = v
				}
			}
		case "service.status":
			return s.serviceRuns(s.minions[id], f, argument(l)), nil
		case "mount.active":
			for _, m := range f.Mounts {
				out[m.Path] = object{"device": "/dev/sda1", "alt_device": "/dev/sda1", "fstype": m.Filesystem, "opts": []string{"rw", "relatime"}}
			}
		case "disk.usage":
			for _, m := range f.Mounts {
				out[m.Path] = object{"filesystem": "/dev/sda1", "1K-blocks": "500000000", "used": "1000", "available": strconv.FormatInt(m.FreeMiB*1024, 10), "capacity": "1%"}
			}
		case "network.interfaces":
			out["lo"] = object{"up": true, "hwaddr": "00:00:00:00:00:00", "inet": []any{object{"address": "127.0.0.1", "netmask": "255.0.0.0", "broadcast": nil, "label": "lo"}}}
			for _, link := range f.Links {
				out[link.Name] = shown(link)
			}
		case "network.ping":
			a, err := netip.ParseAddr(argument(l))
			answers, known := f.Reached[a]
			return err == nil && (answers || !known), nil
		case "status.time":
			now := s.o.Clock().Add(f.Clock.Skew)
			return fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/int(time.Microsecond)), nil
		}
		return out, nil
	}
}

// shown is a link as network.interfaces has it.
func shown(l configmgmt.Link) object {
	out := object{"up": l.Up, "hwaddr": l.MAC}
	var inet, inet6 []any
	for _, p := range l.Addresses {
		if p.Addr().Is4() {
			inet = append(inet, object{"address": p.Addr().String(), "netmask": net.IP(net.CIDRMask(p.Bits(), 32)).String(), "broadcast": nil, "label": l.Name})
		} else {
			inet6 = append(inet6, object{"address": p.Addr().String(), "prefixlen": strconv.Itoa(p.Bits()), "scope": "global"})
		}
	}
	if inet != nil {
		out["inet"] = inet
	}
	if inet6 != nil {
		out["inet6"] = inet6
	}
	return out
}

// serviceRuns tells whether a service runs: as the facts say, else when a state that is well keeps it running.
func (s *Server) serviceRuns(m *Minion, f configmgmt.Facts, unit string) bool {
	unit = strings.TrimSuffix(unit, ".service")
	for name, state := range f.Services {
		if strings.TrimSuffix(name, ".service") == unit {
			return state == configmgmt.Active
		}
	}
	for name, file := range s.o.Files {
		for _, st := range file.States {
			if st.Module == "service" && st.Func == "running" && strings.TrimSuffix(st.named(), ".service") == unit {
				return !st.Changes || m.Applied[name+"/"+st.ID]
			}
		}
	}
	return false
}
