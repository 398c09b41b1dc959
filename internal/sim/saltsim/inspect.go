package saltsim

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/cagenut/cagenut/configmgmt"
)

// coded is an answer with a code other than zero: a refusal in words, or what a program said by its code.
type coded struct {
	answer any
	code   int
}

// facts gives what a host tells of itself. The caller does not hold the lock, for the one who knows may
// be calling us.
func (s *Server) facts(id string) configmgmt.Facts {
	if s.o.Facts != nil {
		if f, ok := s.o.Facts(id); ok {
			return f
		}
	}
	return configmgmt.Facts{OS: "debian 12", Kernel: "6.1.0-box", Mounts: []configmgmt.Mount{{Path: "/", Filesystem: "ext4", FreeMiB: 100_000}}}
}

// tell answers a question about the host.
func (s *Server) tell(l low) func(string) (any, error) {
	return func(id string) (any, error) {
		f := l.facts
		switch arg := argument(l); l.Fun {
		case "file.read":
			return read(f, arg), nil
		case "service.status":
			return s.active(f, id, arg), nil
		case "mount.active":
			out := object{"/proc": object{"alt_device": "proc", "device": "proc", "fstype": "proc", "opts": []string{"rw"}}}
			for i, m := range f.Mounts {
				out[m.Path] = object{"alt_device": device(i), "device": device(i), "fstype": m.Filesystem, "opts": []string{"rw", "relatime"}}
			}
			return out, nil
		case "disk.usage":
			out := object{}
			for i, m := range f.Mounts {
				free := fmt.Sprint(m.FreeMiB * 1024)
				out[m.Path] = object{"filesystem": device(i), "1K-blocks": free, "used": "0", "available": free, "capacity": "0%"}
			}
			return out, nil
		case "network.interfaces":
			out := object{"lo": object{"up": true, "hwaddr": "00:00:00:00:00:00", "inet": []object{inet("lo", netip.MustParsePrefix("127.0.0.1/8"))}}}
			for _, i := range f.Links {
				out[i.Name] = link(i)
			}
			return out, nil
		case "status.time":
			if arg != "%s.%f" {
				return nil, fmt.Errorf("the box tells the time as %%s.%%f alone")
			}
			now := s.o.Clock().Add(f.Clock.Skew)
			return fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000), nil
		}
		return pings(f, argument(l)), nil // network.ping
	}
}

func read(f configmgmt.Facts, path string) any {
	switch path {
	case "/etc/os-release":
		id, version, _ := strings.Cut(f.OS, " ")
		return fmt.Sprintf("PRETTY_NAME=\"%s (box)\"\nVERSION_ID=\"%s\"\nID=%s\n", f.OS, version, id)
	case "/proc/sys/kernel/osrelease":
		return f.Kernel + "\n"
	}
	return coded{fmt.Sprintf("ERROR: [Errno 2] No such file or directory: '%s'", path), 1}
}

// pings answers with ping's own code, as the real one does.
func pings(f configmgmt.Facts, address string) any {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return coded{false, 2}
	}
	if reached, known := f.Reached[a]; known && !reached {
		return coded{false, 1}
	}
	return true
}

// active tells whether a service runs: as the facts say, or because a state that was applied, or found
// nothing to do, made it so.
func (s *Server) active(f configmgmt.Facts, id, name string) bool {
	plain := func(n string) string { return strings.TrimSuffix(n, ".service") }
	for n, is := range f.Services {
		if plain(n) == plain(name) {
			return is == configmgmt.Active
		}
	}
	for sls, file := range s.o.Files {
		if slices.ContainsFunc(file.States, func(st State) bool {
			return st.Module == "service" && st.Func == "running" && plain(st.named()) == plain(name) && st.Fail == "" &&
				(!st.Changes || s.minions[id].Applied[sls+"/"+st.ID])
		}) {
			return true
		}
	}
	return false
}

func device(i int) string { return fmt.Sprintf("/dev/sda%d", i+1) }

// link is an interface as network.interfaces has it.
func link(l configmgmt.Link) object {
	out := object{"up": l.Up}
	if l.MAC != "" {
		out["hwaddr"] = l.MAC
	}
	for _, p := range l.Addresses {
		key, entry := "inet", inet(l.Name, p)
		if p.Addr().Is6() {
			key, entry = "inet6", object{"address": p.Addr().String(), "prefixlen": fmt.Sprint(p.Bits()), "scope": "global"}
		}
		list, _ := out[key].([]object)
		out[key] = append(list, entry)
	}
	return out
}

func inet(name string, p netip.Prefix) object {
	mask := net.IP(net.CIDRMask(p.Bits(), 32)).String()
	return object{"address": p.Addr().String(), "netmask": mask, "broadcast": nil, "label": name}
}
